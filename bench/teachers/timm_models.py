"""Teacher `timm`: image models by name, or from files."""

from __future__ import annotations

import difflib
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import BaseModel

from bench.errors import SetupError, UsageError
from bench.progress import Progress, silent
from bench.spec import Frozen, TransformerShape
from bench.teachers.pretrained import PretrainedTeacher
from bench.teachers.weights import Weights, download, hub_file, local_weights, read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.teachers.preprocess import BatchTransform

_HUB_FILES = ("model.safetensors", "open_clip_model.safetensors")
_FOLDER_FILE = "model.safetensors"
_PRE_LOGITS = "pre_logits.fc."


class TimmNetwork:
    """timm model without its classifier.

    Attributes:
        model: The model, frozen and in evaluation mode.
        transform: Its preprocessing.
        pre_logits: Weight and bias of the layer that early ImageNet-21k models have after pooling, or None.
    """

    def __init__(self, model: nn.Module, transform: BatchTransform, pre_logits: tuple[Tensor, Tensor] | None) -> None:
        self.model = model
        self.transform = transform
        self.pre_logits = pre_logits

    def features(self, images: Tensor, cropped: bool) -> Tensor:
        """Return pooled features ``[B, D]`` of uint8 images.

        Images are ``[B, H, W, C]``; the classifier is left out.
        """
        import torch

        pooled: Tensor = self.model(self.transform(images, cropped=cropped))
        if self.pre_logits is not None:
            pooled = torch.tanh(torch.nn.functional.linear(pooled, *self.pre_logits))
        return pooled


class TimmTeacher(PretrainedTeacher):
    """Pooled features of a timm model, before the classifier.

    `reference` restores ReCon's release: blue and red swapped, ImageNet's mean and deviation for every model, augmented
    crops with colours and a grey square, and for early ImageNet-21k weights the layer with tanh between pooling and
    classifier (docs/reference.md#recon-teachers).
    """

    name: ClassVar[str] = "timm"
    summary: ClassVar[str] = "any image model of timm, by name or from a file"
    packages = ("timm", "torch", "torchvision")
    by_place = "checkpoint"

    class Options(Frozen):
        """Options of `timm`."""

        model: str = "vit_base_patch16_224.augreg_in21k"
        """Name in timm, with or without a tag."""
        checkpoint: str = ""
        """Weights file (.safetensors, .pth) of that model, or a folder as timm saves it; empty: timm's own weights."""
        reference: bool = False
        """Restore the quirks of ReCon's release."""

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        super().__init__(cache, options)
        folder = self._folder()
        self._skeleton = _skeleton(self._options.model, str(folder) if folder else "")
        self.image_dim = int(getattr(self._skeleton, "head_hidden_size", None) or self._skeleton.num_features)
        self.text_dim = 0

    @property
    def _options(self) -> Options:
        return cast(TimmTeacher.Options, self.options)

    def _folder(self) -> Path | None:
        """Return the folder given as checkpoint, or None."""
        if not self.given_by_path() or not self.weights.path.is_dir():
            return None
        for name in ("config.json", _FOLDER_FILE):
            if not (self.weights.path / name).is_file():
                raise UsageError(
                    f"teacher.checkpoint = {self.weights.path}: a folder needs config.json and {_FOLDER_FILE}, as "
                    f"timm saves a model, and has no {name}"
                )
        return self.weights.path

    def given_by_path(self) -> bool:
        """Return whether a checkpoint was given."""
        return bool(self._options.checkpoint)

    def find_weights(self) -> Weights:
        """Return the checkpoint, or timm's own weights.

        Looks for the latter in the cache of Hugging Face's library.
        """
        if self._options.checkpoint:
            return local_weights(self._options.checkpoint, self.cache, "teacher.checkpoint")
        repository, names = self._hub()
        found = hub_file(repository, names, self.cache)
        if found is None:
            raise SetupError(
                f"weights of timm model '{self._options.model}' are not on disk: run `bench teachers fit timm "
                f"--set teacher.model={self._options.model}` where the model hub can be reached, or give a file with "
                "--set teacher.checkpoint=FILE"
            )
        return found

    def fetch(self, progress: Progress = silent) -> None:
        """Download timm's weights if they are needed and absent."""
        if not self.ready():
            repository, names = self._hub()
            download(repository, names, "give a file with --set teacher.checkpoint=FILE")
        progress(1, 1)

    def _hub(self) -> tuple[str, tuple[str, ...]]:
        """Return the repository and possible file names of the weights."""
        config = self._skeleton.pretrained_cfg
        repository = str(config.get("hf_hub_id") or "")
        if not repository:
            raise SetupError(
                f"timm has no weights for '{self._options.model}': give a file with --set teacher.checkpoint=FILE"
            )
        named = config.get("hf_hub_filename")
        return repository, (str(named), *_HUB_FILES) if named else _HUB_FILES

    @property
    def crop_side(self) -> int:
        """Return the side of the network's input."""
        return int(self._data_config()["input_size"][-1])

    @property
    def crop_style(self) -> Literal["plain", "recon"]:
        """Return ``recon`` with `reference`, else ``plain``."""
        return "recon" if self._options.reference else "plain"

    def _data_config(self) -> dict[str, Any]:
        from timm.data.config import resolve_data_config
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        config: dict[str, Any] = resolve_data_config(model=self._skeleton)  # type: ignore[no-untyped-call]
        if self._options.reference:
            config |= {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
        return config

    def build(self) -> TimmNetwork:
        """Read the weights; none of the model's may be missing."""
        from timm.data.transforms_factory import create_transform

        from bench.teachers.preprocess import BatchTransform

        folder = self._folder()
        model = _create(self._options.model, str(folder) if folder else "")
        path = folder / _FOLDER_FILE if folder else self.weights.path
        state = read_tensors(path, "teacher.checkpoint")
        pre_logits = None
        if self._options.reference and f"{_PRE_LOGITS}weight" in state:
            pre_logits = state[f"{_PRE_LOGITS}weight"].to(self.device), state[f"{_PRE_LOGITS}bias"].to(self.device)
        _load(model, state, path, self._options.model)
        model = model.requires_grad_(False).eval().to(self.device)
        transform = create_transform(**self._data_config(), is_training=False)
        return TimmNetwork(model, BatchTransform(transform, self.crop_side, self._options.reference), pre_logits)

    def embed_images(self, images: Tensor, cropped: bool) -> Tensor:
        """See `PretrainedTeacher.embed_images`."""
        return cast(TimmNetwork, self.network).features(images, cropped)

    def transformer_shape(self) -> TransformerShape | None:
        """Return the architecture of a vision transformer, or None."""
        from bench.teachers.transformers import shape_of_timm

        try:
            return shape_of_timm(self._skeleton)
        except UsageError:
            return None

    def token_transformer(self) -> nn.Module:
        """Return a vision transformer's blocks and final norm, frozen."""
        from bench.teachers.transformers import from_timm

        return from_timm(cast(TimmNetwork, self.network).model)


@lru_cache(maxsize=8)
def _skeleton(model: str, folder: str) -> Any:
    """Return the model on the meta device, without weights.

    It provides widths and preprocessing.
    """
    import torch

    with torch.device("meta"):
        return _create(model, folder)


def _create(model: str, folder: str) -> Any:
    import timm

    source = f"local-dir:{folder}" if folder else model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm tells of names it has renamed
            return timm.create_model(source, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError, TypeError, KeyError, OSError) as error:
        if folder:
            line = next(iter(str(error).splitlines()), type(error).__name__)
            raise UsageError(f"teacher.checkpoint = {folder}: timm cannot build its config.json ({line})") from error
        names = [*timm.list_models(), *timm.list_pretrained()]
        near = difflib.get_close_matches(model, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
        raise UsageError(f"unknown timm model '{model}': {hint}") from error


def _load(model: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> None:
    """Load a state dict, whose names timm may translate.

    Further tensors are ignored.

    Raises:
        UsageError: A weight of the model is missing or has another shape.
    """
    translate = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if translate is not None:
        state = translate(state, model)
    wanted = model.state_dict()
    for weight, value in wanted.items():
        if weight not in state or state[weight].shape != value.shape:
            found = f"is {tuple(state[weight].shape)} there" if weight in state else "is not there"
            raise UsageError(
                f"teacher.checkpoint = {path}: does not fit model '{name}': {weight} {tuple(value.shape)} {found}; "
                "choose the model with --set teacher.model=NAME"
            )
    model.load_state_dict({weight: state[weight] for weight in wanted})
