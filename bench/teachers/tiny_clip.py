"""Teacher `tiny-clip`: a small CLIP fitted on `shapes`."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, JsonValue

from bench.data.base import CloudSet, DataPlace, Dataset
from bench.data.depth import depth_views
from bench.errors import SetupError, UsageError
from bench.fingerprint import fingerprint
from bench.progress import Progress, silent
from bench.spec import LARGEST, MOST, WIDEST, Frozen, content_key
from bench.store import folders
from bench.store.scratch import remove_abandoned
from bench.teachers.base import Teacher
from bench.teachers.tokenizer import WordTokenizer

if TYPE_CHECKING:
    from bench.teachers.clip_fit import FitRecipe
    from bench.teachers.clip_model import ClipSize

HELD_OUT = 256
"""Objects of the source's test split on which a fit is judged."""
ENCODE_BATCH = 256
DEPTH_VIEWS = 4
"""Viewpoints of the depth pictures in the fit; the same as pretraining on sets without images uses."""
_CODE = (
    "bench.data.depth",
    "bench.data.normalise",
    "bench.seeds",
    "bench.teachers.clip_fit",
    "bench.teachers.clip_model",
    "bench.teachers.tiny_clip",
    "bench.teachers.tokenizer",
)
"""Modules that shape the weights or the features; the source's own code is in its manifest."""
Blocks = Annotated[int, Field(ge=1, le=64)]


class TinyClip(Teacher):
    """Small image and text tower, fitted once and then cached.

    The fit takes about 40 s of one core. Features lie in the joint space and all have one length: `feature_rms` per
    element, about what CLIP ViT-B/32 gives, so that ReCon's regression of them is weighted as with CLIP.

    Args:
        cache: Folder for caches; the fit goes to ``cache/teachers/<identity>``.
        options: Options that determine the weights.
        source: Images and captions to fit on; by default the teacher's own stream of `shapes`, which
            shares no object with pretraining or evaluation.
    """

    name: ClassVar[str] = "tiny-clip"
    summary: ClassVar[str] = "small CLIP fitted on shapes (embedded, no download, about 40 s of one core)"

    class Options(Frozen):
        """Options that determine the weights."""

        objects: int = Field(2000, ge=8, le=MOST)
        views: int = Field(1, ge=1, le=24)
        view_size: int = Field(64, ge=32, le=512, multiple_of=32)
        depth_share: float = Field(0.3, ge=0, le=1)
        """Part of the pictures that are depth pictures of the points, as sets without images have them."""
        epochs: int = Field(16, ge=1, le=MOST)
        batch_size: int = Field(64, ge=2, le=MOST)
        lr: float = Field(1e-3, gt=0)
        weight_decay: float = Field(0.1, ge=0)
        warmup_fraction: float = Field(0.1, ge=0, lt=1)
        zoom: float = Field(0.15, ge=0)
        shift: float = Field(0.06, ge=0, lt=0.5)
        word_dropout: float = Field(0.03, ge=0, lt=1)
        embed: int = Field(64, ge=1, le=4_096)
        image_width: int = Field(12, ge=2, le=1_024, multiple_of=2)
        image_blocks: tuple[Blocks, Blocks, Blocks, Blocks] = (1, 1, 1, 1)
        text_width: int = Field(64, ge=32, le=4_096, multiple_of=32)
        text_layers: int = Field(1, ge=1, le=256)
        context: int = Field(28, ge=3, le=1_024)
        buckets: int = Field(64, ge=1, le=WIDEST)
        feature_rms: float = Field(0.45, gt=0)
        """Root mean square of a feature's elements: the contrastive loss leaves the length free, so it is set here."""
        threads: int = Field(1, ge=1, le=1_024)
        """Threads of the fit, on which rounding depends; more than one stall each other on a busy machine."""
        seed: int = Field(0, ge=0, le=LARGEST)

    def __init__(self, cache: Path, options: BaseModel | None = None, source: Dataset | None = None) -> None:
        super().__init__(cache, options)
        self._given_source = source
        self._source: Dataset | None = None
        self._loaded: tuple[Any, WordTokenizer] | None = None
        self._identity: str | None = None
        self.image_dim = self.text_dim = self._options.embed

    @property
    def _options(self) -> Options:
        return cast(TinyClip.Options, self.options)

    @property
    def _length(self) -> float:
        """Return the Euclidean length of every feature."""
        return float(self._options.feature_rms * np.sqrt(self._options.embed))

    @property
    def folder(self) -> Path:
        """Return the folder of the fit.

        After the fit it holds weights, configuration, report and captions.
        """
        return self.cache / "teachers" / f"{self.name}-{self.identity()[:16]}"

    def source(self) -> Dataset:
        """Return the data set on which the teacher is fitted."""
        if self._source is None:
            self._source = self._given_source or _teacher_stream(self.cache, self._options)
        return self._source

    def identity(self) -> str:
        """Return the SHA-256 of everything that determines the features.

        Options, the source's manifest, the fitting code, and the versions of torch and open_clip.
        """
        if self._identity is None:
            self._identity = content_key(
                {
                    "teacher": self.name,
                    "options": self._options.model_dump(mode="json"),
                    "source": {"name": self.source().name, "manifest": self.source().manifest()},
                    "code": _code(),
                    "torch": ".".join(importlib.metadata.version("torch").split(".")[:2]),
                    "open_clip": importlib.metadata.version("open_clip_torch"),
                }
            )
        return self._identity

    def ready(self) -> bool:
        """Return whether the fit is in the cache.

        Its folder is published whole or not at all.
        """
        return (self.folder / folders.MANIFEST).is_file()

    def prepare(self, progress: Progress = silent) -> None:
        """Fit the teacher unless its weights are in the cache.

        An interrupted fit leaves nothing and starts again.

        Args:
            progress: Called with (thousandths done, 1000) while images are made and the towers are fitted.

        Raises:
            UsageError: The source has no views or captions, or fewer than two objects.
            SetupError: The cache cannot be written.
        """
        if self.ready():
            return
        from bench.teachers.clip_fit import FitData, fit
        from bench.teachers.clip_model import build, fixed_threads

        options = self._options
        train = self._load("train", _part(progress, 0.0, 0.2))
        test = self._load("test", _part(progress, 0.2, 0.25))
        captions = cast(tuple[str, ...], train.captions)
        tokenizer = WordTokenizer.from_captions(captions, options.context, options.buckets)
        model = build(self._size(), tokenizer.vocab_size, options.seed)
        data = FitData(*self._pictures(train), captions, tokenizer, options.view_size)
        with fixed_threads(options.threads):
            fitted = fit(model, data, self._recipe(), _part(progress, 0.25, 1.0))
        self._loaded = (model, tokenizer)
        try:
            report: dict[str, JsonValue] = {"teacher": self.name, "identity": self.identity(), "fit": fitted}
            report |= self._judge(test)
            self._publish(model, tokenizer, report, sorted(set(captions)))
        finally:
            self._loaded = None  # if another process was first, use its weights

    def fit_report(self) -> dict[str, JsonValue]:
        """Return figures of the fit and of held-out retrieval.

        Returns:
            ``fit`` (objects, steps, seconds, losses, ...) and, for each kind of picture, ``held_out`` and
            ``held_out_depth`` (``recall_at_1``, ``recall_at_5``, ``class_name_accuracy``, and their chance levels).

        Raises:
            SetupError: The teacher is not fitted, or its report is damaged.
        """
        self._require_fitted()
        return cast(dict[str, JsonValue], self._read_json("report.json"))

    def captions_seen(self) -> tuple[str, ...]:
        """Return the distinct sentences of the fit, sorted.

        Read from the source if the teacher is not fitted yet.
        """
        if self.ready():
            return tuple(cast(list[str], self._read_json("captions.json")))
        return tuple(sorted(set(cast(tuple[str, ...], self._load("train").captions))))

    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, embed]`` of uint8 images.

        Images are ``[n, H, W, C]`` with C 1 or 3, of any size.

        Raises:
            SetupError: The teacher is not fitted, or its weights are damaged.
            UsageError: The images have another shape or type.
        """
        if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
            raise UsageError(
                f"teacher '{self.name}' takes uint8 images [n, H, W, 1 or 3], not {images.dtype} {list(images.shape)}"
            )
        import torch

        from bench.teachers.clip_model import fixed_threads, on_white, to_pixels

        model, _ = self._network()
        features = np.empty((len(images), self.image_dim), dtype=np.float32)
        with torch.inference_mode(), fixed_threads(1):
            for start in range(0, len(images), ENCODE_BATCH):
                part = torch.from_numpy(np.array(images[start : start + ENCODE_BATCH]))
                pixels = to_pixels(on_white(part), self._options.view_size)
                features[start : start + len(part)] = self._length * model.encode_image(pixels, normalize=True)
                progress(start + len(part), len(images))
        return features

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, embed]`` of sentences.

        Words outside the vocabulary fall into hash buckets.

        Raises:
            SetupError: The teacher is not fitted, or its weights are damaged.
        """
        import torch

        from bench.teachers.clip_model import fixed_threads

        model, tokenizer = self._network()
        features = np.empty((len(texts), self.text_dim), dtype=np.float32)
        with torch.inference_mode(), fixed_threads(1):
            for start in range(0, len(texts), ENCODE_BATCH):
                part = torch.from_numpy(tokenizer.encode(texts[start : start + ENCODE_BATCH]))
                features[start : start + len(part)] = self._length * model.encode_text(part, normalize=True)
                progress(start + len(part), len(texts))
        return features

    def _network(self) -> tuple[Any, WordTokenizer]:
        """Return the fitted model and its tokenizer, read once."""
        if self._loaded is None:
            self._require_fitted()
            self._loaded = self._read_network()
        return self._loaded

    def _read_network(self) -> tuple[Any, WordTokenizer]:
        import safetensors.torch

        from bench.teachers.clip_model import build

        self._verify(digests=True)
        words = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["words"]
        tokenizer = WordTokenizer(words, self._options.context, self._options.buckets)
        model = build(self._size(), tokenizer.vocab_size, self._options.seed)
        model.load_state_dict(safetensors.torch.load_file(self.folder / "weights.safetensors"))
        return model.eval(), tokenizer

    def _verify(self, *, digests: bool) -> None:
        try:
            manifest = folders.verify(self.folder, digests=digests)
            if manifest.key != self.identity():
                raise folders.DamagedFolderError(self.folder, "it holds another fit")
        except folders.DamagedFolderError as damage:
            remedy = f"delete it and run `bench teachers fit {self.name}`"
            raise folders.DamagedFolderError(damage.folder, damage.reason, remedy) from damage

    def _read_json(self, name: str) -> JsonValue:
        self._verify(digests=False)
        try:
            return cast(JsonValue, json.loads((self.folder / name).read_text(encoding="utf-8")))
        except ValueError:
            self._verify(digests=True)
            raise

    def _require_fitted(self) -> None:
        if not self.ready():
            raise SetupError(
                f"teacher '{self.name}' with these options is not fitted (looked in {self.folder}): "
                f"run `bench teachers fit {self.name}`"
            )

    def _load(self, split: Literal["train", "test"], progress: Progress = silent) -> CloudSet:
        place = self.source().place
        before, place.progress = place.progress, progress
        try:
            cloudset = self.source().load(split)
        finally:
            place.progress = before
        for what, there in (("views", cloudset.views), ("captions", cloudset.captions)):
            if there is None:
                raise UsageError(
                    f"teacher '{self.name}' is fitted on images with captions, and data set "
                    f"'{self.source().name}' has no {what} in split '{split}': use one that has"
                )
        if len(cloudset) < 2:
            raise UsageError(
                f"teacher '{self.name}' needs at least 2 objects in split '{split}' of data set "
                f"'{self.source().name}', which has {len(cloudset)}"
            )
        return cloudset

    def _pictures(self, clouds: CloudSet) -> tuple[npt.NDArray[np.uint8], list[float]]:
        """Return pictures ``[n, V, H, W, C]`` and view weights.

        Pictures are the set's own views and depth pictures of its points.
        """
        views = cast(npt.NDArray[np.uint8], clouds.views)
        share = self._options.depth_share
        if share == 0:
            return np.array(views), [1.0] * views.shape[1]
        depth = depth_views(clouds.points, DEPTH_VIEWS, views.shape[2])
        depth = np.broadcast_to(depth, (*depth.shape[:-1], views.shape[-1]))
        weights = [(1 - share) / views.shape[1]] * views.shape[1] + [share / DEPTH_VIEWS] * DEPTH_VIEWS
        return np.concatenate([views, depth], axis=1), weights

    def _judge(self, test: CloudSet) -> dict[str, JsonValue]:
        """Return retrieval and class-name accuracy on held-out objects.

        For the first picture of each kind.
        """
        from bench.teachers.clip_scores import named_accuracy, retrieval

        chosen = np.unique(np.linspace(0, len(test) - 1, min(HELD_OUT, len(test))).astype(np.int64))
        test = test.subset(chosen)
        captions = cast(tuple[str, ...], test.captions)
        texts = self.encode_texts(captions)
        names = self.encode_texts([f"a {name.replace('_', ' ')}" for name in test.classes])
        pictures, _ = self._pictures(test)
        kinds = {"held_out": pictures[:, 0]}
        if self._options.depth_share:
            kinds["held_out_depth"] = pictures[:, -DEPTH_VIEWS]
        report: dict[str, JsonValue] = {}
        for kind, shown in kinds.items():
            images = self.encode_images(shown)
            accuracy = named_accuracy(images, names, test.labels)
            figures = retrieval(images, texts, captions)
            report[kind] = figures | {"class_name_accuracy": accuracy, "class_name_chance": 1 / len(test.classes)}
        return report

    def _publish(self, model: Any, tokenizer: WordTokenizer, report: dict[str, JsonValue], captions: list[str]) -> None:
        import safetensors.torch

        config = {"options": self._options.model_dump(mode="json"), "words": list(tokenizer.words)}
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        files = {
            "weights.safetensors": safetensors.torch.save(weights),
            "config.json": json.dumps(config, indent=1).encode(),
            "report.json": json.dumps(report, indent=1).encode(),
            "captions.json": json.dumps(captions, indent=0).encode(),
        }
        try:
            remove_abandoned(self.folder.parent)
            staged = folders.stage(self.folder.parent, files)
            try:
                folders.seal(staged, "teacher", self.identity(), content_key(_code()))
                folders.place(staged, self.folder, lambda damage: shutil.rmtree(damage.folder))
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        except OSError as error:
            raise SetupError(
                f"cannot write {self.folder}: {error.strerror or error}; "
                "free space there, or choose a results folder you can write to"
            ) from error

    def _size(self) -> ClipSize:
        from bench.teachers.clip_model import ClipSize

        return ClipSize(**{name: getattr(self._options, name) for name in ClipSize.__dataclass_fields__})

    def _recipe(self) -> FitRecipe:
        from bench.teachers.clip_fit import FitRecipe

        return FitRecipe(**{name: getattr(self._options, name) for name in FitRecipe.__dataclass_fields__})


def _teacher_stream(cache: Path, options: TinyClip.Options) -> Dataset:
    """Return the stream of `shapes` that only this teacher sees."""
    from bench.data.shapes import Shapes

    wanted = Shapes.Options(stream="teacher", objects=options.objects, views=options.views, view_size=options.view_size)
    return Shapes(DataPlace(cache=cache), wanted)


def _code() -> dict[str, JsonValue]:
    """Return the digest of every module that determines the features."""
    modules = fingerprint(_CODE).modules
    return {name: modules[name] for name in _CODE}


def _part(progress: Progress, start: float, stop: float) -> Progress:
    """Return a callback that reports a stage's overall progress.

    The stage runs from `start` to `stop` of the whole; progress is in thousandths.
    """

    def report(done: int, total: int, what: str = "", note: str = "") -> None:
        progress(round(1000 * (start + (stop - start) * done / max(total, 1))), 1000, what, note)

    return report
