"""Teacher `open-clip`: CLIP by name and tag, or from files."""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import BaseModel

from bench.errors import SetupError, UsageError
from bench.progress import Progress, silent
from bench.spec import Frozen, TransformerShape
from bench.teachers.pretrained import PretrainedTeacher
from bench.teachers.weights import Weights, download, hub_file, hub_offline, local_weights, read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.teachers.preprocess import BatchTransform

DEFAULT_MODEL = "ViT-B-32"
_HUB_FILES = ("open_clip_model.safetensors",)
_CONFIG = "open_clip_config.json"


class ClipNetwork:
    """A CLIP model with its own preprocessing and tokenizer.

    Attributes:
        model: The model, frozen and in evaluation mode.
        transform: Its image transform.
        tokenize: Function from sentences to token ids ``[B, context]``.
    """

    def __init__(self, model: Any, transform: BatchTransform, tokenize: Any) -> None:
        self.model = model
        self.transform = transform
        self.tokenize = tokenize


class OpenClipTeacher(PretrainedTeacher):
    """CLIP's projected features of images and texts.

    They are not normalised (docs/reference.md#recon-teachers).
    """

    name: ClassVar[str] = "open-clip"
    summary: ClassVar[str] = "any model of open_clip by name and tag, or from a file"
    packages = ("open_clip_torch", "timm", "torch", "torchvision")
    by_place = "checkpoint"

    class Options(Frozen):
        """Options of `open-clip`."""

        model: str = ""
        """Name in open_clip. Empty: ViT-B-32, or with a checkpoint what its weights' shapes say (OpenAI's layout)."""
        tag: str = "openai"
        """Which weights of that model; of no meaning with a checkpoint."""
        checkpoint: str = ""
        """A state dict (.safetensors, .pt), or a folder with open_clip_config.json and open_clip_model.safetensors."""
        lend: Literal["image", "text"] = "image"
        """Which tower's transformer a method may build upon."""

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        super().__init__(cache, options)
        self.image_dim = self.text_dim = self._embed_dim()

    @property
    def _options(self) -> Options:
        return cast(OpenClipTeacher.Options, self.options)

    @property
    def _model(self) -> str:
        return self._options.model or DEFAULT_MODEL

    @property
    def _layout(self) -> Literal["tag", "named", "shapes", "folder"]:
        """Return the source of the architecture."""
        if not self._options.checkpoint:
            return "tag"
        if self.weights.path.is_dir():
            return "folder"
        return "named" if self._options.model else "shapes"

    def _embed_dim(self) -> int:
        if self._layout == "shapes":
            from bench.teachers.open_clip_towers import clip_sizes

            return clip_sizes(self._state).embed
        return int(self._config["model_cfg"]["embed_dim"])

    @cached_property
    def _state(self) -> dict[str, Tensor]:
        return read_tensors(self.weights.path, "teacher.checkpoint")

    @cached_property
    def _config(self) -> dict[str, Any]:
        """Return the configuration in the form of open_clip's folders.

        It has the parts ``model_cfg`` and ``preprocess_cfg``.
        """
        if self._layout == "folder":
            return self._folder_config()
        import open_clip

        model = open_clip.get_model_config(self._model)
        if model is None:
            near = difflib.get_close_matches(self._model, open_clip.list_models(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "see open_clip.list_models()"
            raise UsageError(f"unknown open_clip model '{self._model}': {hint}")
        return {"model_cfg": model, "preprocess_cfg": {}}

    def _folder_config(self) -> dict[str, Any]:
        folder = self.weights.path
        for name in (_CONFIG, *_HUB_FILES):
            if not (folder / name).is_file():
                raise UsageError(
                    f"teacher.checkpoint = {folder}: a folder needs {_CONFIG} and {_HUB_FILES[0]}, and has no {name}"
                )
        try:
            config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            int(config["model_cfg"]["embed_dim"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder / _CONFIG}: is not open_clip's configuration of a model") from error
        return config

    def given_by_path(self) -> bool:
        """Return whether a checkpoint was given."""
        return bool(self._options.checkpoint)

    def find_weights(self) -> Weights:
        """Return the checkpoint, or the tag's weights.

        Looks for the latter in the cache of Hugging Face's library.
        """
        if self._options.checkpoint:
            return local_weights(self._options.checkpoint, self.cache, "teacher.checkpoint")
        repository, names = self._hub()
        found = hub_file(repository, names, self.cache)
        if found is None:
            settings = f"--set teacher.model={self._model} --set teacher.tag={self._options.tag}"
            raise SetupError(
                f"weights '{self._options.tag}' of open_clip model '{self._model}' are not on disk: run `bench "
                f"teachers fit open-clip {settings}` where the model hub can be reached, or give a file with --set "
                "teacher.checkpoint=FILE (text_teacher.checkpoint for --text-teacher)"
            )
        return found

    def fetch(self, progress: Progress = silent) -> None:
        """Download the tag's weights if they are needed and absent."""
        if not self.ready():
            repository, names = self._hub()
            download(repository, names, "give a file with --set teacher.checkpoint=FILE")
        progress(1, 1)

    def _hub(self) -> tuple[str, tuple[str, ...]]:
        """Return the repository and file name of the tag's weights."""
        import open_clip

        config = self._tag_config()
        if not config:
            tags = open_clip.list_pretrained_tags_by_model(self._model)
            known = ", ".join(tags) or "none"
            raise UsageError(f"open_clip model '{self._model}' has no weights '{self._options.tag}': known are {known}")
        repository, _, name = str(config.get("hf_hub", "")).rpartition("/")
        if not repository:
            raise SetupError(
                f"weights '{self._options.tag}' of '{self._model}' are at {config.get('url')} only: download them and "
                "give the file with --set teacher.checkpoint=FILE"
            )
        safe = name.rpartition(".")[0] + ".safetensors" if name else ""
        return repository, (safe, *_HUB_FILES) if safe else _HUB_FILES

    def _tag_config(self) -> dict[str, Any]:
        from open_clip.pretrained import get_pretrained_cfg

        config: dict[str, Any] = get_pretrained_cfg(self._model, self._options.tag)
        return config

    @property
    def crop_side(self) -> int:
        """Return the side of the network's input."""
        if self._layout == "shapes":
            from bench.teachers.open_clip_towers import clip_sizes

            return clip_sizes(self._state).image_size
        size = self._preprocess()["size"]
        return int(size if isinstance(size, int) else size[0])

    def _preprocess(self) -> dict[str, Any]:
        """Return size, mean, deviation, interpolation and kind of resizing."""
        if self._layout == "shapes":
            return {"size": self.crop_side}
        config = dict(self._config.get("preprocess_cfg") or {})
        if self._layout == "tag":
            known = ("mean", "std", "interpolation", "resize_mode")
            config |= {name: value for name, value in self._tag_config().items() if name in known}
        return config | {"size": config.get("size", self._config["model_cfg"]["vision_cfg"].get("image_size", 224))}

    def _empty(self) -> Any:
        """Build the model without weights.

        They are random, or on torch's meta device."""
        if self._layout == "shapes":
            from bench.teachers.open_clip_towers import clip_sizes, empty_clip

            return empty_clip(clip_sizes(self._state))
        import open_clip

        # The names alone would build the usual activation even for weights that were trained with the quick one.
        quick = self._layout == "tag" and bool(self._tag_config().get("quick_gelu", False))
        name = f"local-dir:{self.weights.path}" if self._layout == "folder" else self._model
        with hub_offline(), _quiet():
            return open_clip.create_model(
                name, load_weights=False, pretrained_text=False, force_quick_gelu=quick, device=_current_device()
            )

    def build(self) -> ClipNetwork:
        """Read the weights; none of the model's may be missing."""
        import open_clip

        from bench.teachers.preprocess import BatchTransform

        folder = self._layout == "folder"
        path = self.weights.path / _HUB_FILES[0] if folder else self.weights.path
        state = self._state if not folder else read_tensors(path, "teacher.checkpoint")
        model = self._empty()
        _load(model, state, path)
        model = model.requires_grad_(False).eval().to(self.device)
        config = open_clip.transform.PreprocessCfg(**self._preprocess())
        transform = open_clip.transform.image_transform_v2(config, is_train=False)
        return ClipNetwork(model, BatchTransform(transform, self.crop_side), self._tokenizer(model))

    def _tokenizer(self, model: Any) -> Any:
        import open_clip

        if self._layout == "shapes":
            tokenizer = open_clip.SimpleTokenizer(context_length=int(model.context_length))
        else:
            name = f"local-dir:{self.weights.path}" if self._layout == "folder" else self._model
            try:
                with hub_offline():
                    tokenizer = open_clip.get_tokenizer(name)
            except (OSError, ValueError, ImportError) as error:
                raise SetupError(
                    f"the tokenizer of open_clip model '{self._model}' is not on disk: run `bench teachers fit "
                    f"open-clip --set teacher.model={self._model}` where the model hub can be reached"
                ) from error
        known, wanted = int(model.vocab_size), int(getattr(tokenizer, "vocab_size", 0))
        if wanted > known:
            raise UsageError(
                f"this CLIP model knows {known} tokens and open_clip's tokenizer has {wanted}: it was trained with "
                "another tokenizer, which a folder with open_clip_config.json can name"
            )
        return tokenizer

    def embed_images(self, images: Tensor, cropped: bool) -> Tensor:
        """See `PretrainedTeacher.embed_images`."""
        network = cast(ClipNetwork, self.network)
        features: Tensor = network.model.encode_image(network.transform(images, cropped=cropped), normalize=False)
        return features

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """See `PretrainedTeacher.embed_texts`."""
        network = cast(ClipNetwork, self.network)
        features: Tensor = network.model.encode_text(network.tokenize(list(texts)).to(self.device), normalize=False)
        return features

    def transformer_shape(self) -> TransformerShape | None:
        """Return the architecture of the chosen tower's blocks.

        None for CLIP's ResNets.
        """
        import torch

        from bench.teachers import transformers

        with torch.device("meta"):
            model = self._empty()
        try:
            if self._options.lend == "image":
                return transformers.shape_of_open_clip_visual(model)
            return transformers.shape_of_open_clip_text(model)
        except UsageError:
            return None

    def token_transformer(self) -> nn.Module:
        """Return the chosen tower's blocks and final norm, frozen."""
        from bench.teachers import transformers

        model = cast(ClipNetwork, self.network).model
        if self._options.lend == "image":
            return transformers.from_open_clip_visual(model)
        return transformers.from_open_clip_text(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip's warning about missing weights.

    They are loaded afterwards.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _current_device() -> str:
    import torch

    return torch.empty(0).device.type


def _load(model: Any, state: dict[str, Tensor], path: Path) -> None:
    """Load a state dict with open_clip's names.

    OpenAI's names are the same.

    Raises:
        UsageError: A weight of the model is missing or has another shape.
    """
    wanted = model.state_dict()
    for weight, value in wanted.items():
        if weight == "logit_scale" and weight not in state:
            state = state | {weight: value}  # serves CLIP's own training only
        if weight not in state or state[weight].shape != value.shape:
            found = f"is {tuple(state[weight].shape)} there" if weight in state else "is not there"
            raise UsageError(
                f"teacher.checkpoint = {path}: does not fit this CLIP model: {weight} {tuple(value.shape)} {found}; "
                "choose the model with --set teacher.model=NAME"
            )
    model.load_state_dict({weight: state[weight] for weight in wanted})
