"""Inputs of pretraining: clouds, teacher features, texts, towers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.data.base import CloudSet
from bench.data.contents import pretraining_contents
from bench.data.depth import with_views
from bench.data.rows import resident_limit
from bench.data.seen import UNKNOWN_TEXTS
from bench.models.tower import Tower
from bench.progress import Progress, named
from bench.spec import PretrainSpec
from bench.teachers.base import Space, Teacher
from bench.teachers.captions import class_name_captions, class_names, prompted, templates
from bench.teachers.features import Features as CachedFeatures
from bench.teachers.features import (
    Pictures,
    distinct_sentences,
    image_features,
    sentence_features,
)
from bench.teachers.sources import CachedImages, CachedTexts, DrawnPictures, LiveImages, LiveTexts
from bench.training.pretraining import Features, PretrainData
from bench.training.streaming import StreamedRows

DEPTH_VIEWS = 4
DEPTH_SIZE = 64


@dataclass
class Gathering:
    """Collects the inputs that a pretraining reads.

    Attributes:
        spec: The encoder's specification.
        uses: What its method reads besides points.
        teacher: Teacher of images, and of texts where there is no other.
        text_teacher: Teacher of texts where it is another one.
        cache: Cache folder.
        progress: Receives progress.
        kept: Positions of the objects that are trained on; None for all. Features are made of all objects, so that
            every part of a data set reads one cache.
        limit: Bytes of clouds, pictures and features that are read into memory; no number depends on it.
        towers: Networks of the teachers that the method trains along, by space; none before the data are gathered.
        texts: Every text that reached the encoder so far, or `UNKNOWN_TEXTS`.
        costs: Size and time of the feature caches.
        contents: Digests of what was read of the data set, by part (`bench.data.contents`).
    """

    spec: PretrainSpec
    uses: frozenset[str]
    teacher: Teacher | None
    text_teacher: Teacher | None
    cache: Path
    progress: Progress
    kept: npt.NDArray[np.int64] | None = None
    limit: int = field(default_factory=resident_limit)
    towers: dict[Space, Tower] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    costs: dict[str, float] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)

    def gather(self, clouds: CloudSet) -> PretrainData:
        """Return the training data; record texts, costs and contents."""
        spec = self.spec
        if spec.images == "depth-of-points":
            clouds = with_views(clouds, DEPTH_VIEWS, DEPTH_SIZE, named(self.progress, "depth views"))
        for teacher in (self.teacher, self.text_teacher):
            if teacher is not None:
                teacher.run_on(spec.numerics.device)
                seen = teacher.captions_seen()
                self.texts |= {UNKNOWN_TEXTS} if seen is None else set(seen)
        images = texts = pictures = tokens = None
        tuned = "towers" in self.uses
        if self.teacher is not None and "images" in self.uses and spec.images != "none":
            if tuned:
                pictures = self._pictures(self.teacher, clouds)
            else:
                images = self._images(self.teacher, clouds)
        elif "pixels" in self.uses and clouds.views is not None:
            pictures = StreamedRows(clouds.views, "images")
        speaker = self.text_teacher if self.text_teacher is not None else self.teacher
        if speaker is not None and spec.captions != "none":
            if tuned:
                tokens = self._tokens(speaker, clouds)
            else:
                texts = self._texts(speaker, clouds)
        supervised = "labels" in self.uses
        if supervised:
            self.texts |= {clouds.classes[label] for label in np.unique(clouds.labels[self._trained_on(clouds)])}
        sentences = texts is not None or tokens is not None
        self.contents |= pretraining_contents(
            clouds,
            pictures=images is not None or pictures is not None,
            captions=sentences and spec.captions == "dataset",
            labels=supervised or (sentences and spec.captions == "class-names"),
        )
        data = PretrainData(
            points=StreamedRows(clouds.points, "points"),
            image_features=images,
            text_features=texts,
            labels=torch.from_numpy(clouds.labels.copy()) if supervised else None,
            images=pictures,
            tokens=tokens,
        )
        data = data if self.kept is None else data.part(torch.from_numpy(self.kept))
        return self._resident(data)

    def _resident(self, data: PretrainData) -> PretrainData:
        """Load arrays that fit into memory; report the others."""
        data = data.resident(self.limit)
        size = sum(rows.nbytes for rows in data.streamed.values())
        if size:
            self.costs["streamed_bytes"] = float(size)
            names = " and ".join(data.streamed)
            print(
                f"{names}: {size / 1e9:.3g} GB are read from the disk step by step, more than the "
                f"{self.limit / 1e9:.3g} GB that may be in memory (BENCH_RESIDENT_GB)",
                file=sys.stderr,
                flush=True,
            )
        return data

    def _trained_on(self, clouds: CloudSet) -> npt.NDArray[np.int64]:
        return np.arange(len(clouds), dtype=np.int64) if self.kept is None else self.kept

    def _images(self, teacher: Teacher, clouds: CloudSet) -> Features:
        """Return features of images, or of crops of them."""
        crops = self._recipe("teacher_crops")
        if self.spec.live_teacher:
            return LiveImages(Pictures(teacher, clouds, crops))
        assert self.spec.data is not None
        manifest = self.spec.data.manifest
        features = self._cached(
            "teacher images",
            len(clouds),
            lambda report: image_features(teacher, clouds, manifest, self.cache, report, crops),
        )
        return CachedImages(features) if crops else StreamedRows(features, "image_features")

    def _pictures(self, teacher: Teacher, clouds: CloudSet) -> Features:
        """Return pictures, or crops of them, for a tuned teacher."""
        crops = self._recipe("teacher_crops")
        pictures = Pictures(teacher, clouds, crops)
        self._tower(teacher, "image", cropped=crops > 0)
        return DrawnPictures(pictures) if crops else StreamedRows(pictures.views, "images")

    def _tokens(self, teacher: Teacher, clouds: CloudSet) -> Features:
        """Return tokens of captions, or of prompts around them."""
        rows, prompts = self._sentences(clouds)
        distinct, index = distinct_sentences(rows)
        tokens = self._tower(teacher, "text").inputs(distinct).numpy()
        return CachedTexts(tokens, index) if prompts else torch.from_numpy(tokens[index[:, 0]])

    def _tower(self, teacher: Teacher, space: Space, *, cropped: bool = False) -> Tower:
        if space not in self.towers:
            self.towers[space] = teacher.tower(space, cropped=cropped)
        return self.towers[space]

    def _sentences(self, clouds: CloudSet) -> tuple[Sequence[Sequence[str]], int]:
        """Return sentences per object, and how many prompts; record them."""
        prompts = self._recipe("teacher_prompts")
        captions = self._captions(clouds, bool(prompts))
        self.texts |= {captions[at] for at in self._trained_on(clouds)}
        self.texts |= set(templates()) if prompts else set()
        return prompted(captions, clouds.ids, prompts) if prompts else [[caption] for caption in captions], prompts

    def _texts(self, teacher: Teacher, clouds: CloudSet) -> Features:
        """Return features of captions, or of prompts around them."""
        rows, prompts = self._sentences(clouds)
        if self.spec.live_teacher:
            return LiveTexts(teacher, rows, drawn=bool(prompts))
        distinct, index = distinct_sentences(rows)
        features = self._cached(
            "teacher captions", len(clouds), lambda report: sentence_features(teacher, distinct, self.cache, report)
        )
        return CachedTexts(features, index) if prompts else torch.from_numpy(features[index[:, 0]])

    def _captions(self, clouds: CloudSet, prompted_later: bool) -> tuple[str, ...]:
        if self.spec.captions == "class-names":
            return class_names(clouds) if prompted_later else class_name_captions(clouds, self.spec.seed)
        if clouds.captions is None:
            name = self.spec.data.name if self.spec.data is not None else ""
            raise ValueError(f"data set {name} promises captions and has none")
        return clouds.captions

    def _recipe(self, field_name: str) -> int:
        return 0 if self.spec.recipe is None else int(getattr(self.spec.recipe, field_name))

    def _cached(self, stage: str, objects: int, work: Callable[[Progress], CachedFeatures]) -> CachedFeatures:
        """Compute or load features; report cost and payback of caching.

        A live teacher computes one feature of each object in an epoch.
        """
        computed = False

        def report(done: int, total: int, _: str = "", note: str = "") -> None:
            nonlocal computed
            computed = True
            self.progress(done, total, stage, note)

        start = time.perf_counter()
        features = work(report)
        seconds = time.perf_counter() - start
        kind = stage.replace(" ", "_")
        stored = features.size // features.shape[-1]
        epochs = stored / objects
        self.costs |= {
            f"{kind}_features": float(stored),
            f"{kind}_computed": float(stored if computed else 0),
            f"{kind}_pay_after_epochs": epochs,
        }
        how = f"computed once in {seconds:.1f} s" if computed else "found in the cache"
        trained = self.spec.recipe.epochs if self.spec.recipe is not None else 0
        size = f"{features.nbytes / 1e6:.3g} MB"
        note = (
            f"{stored} features of {objects} objects ({size}) {how}; a live teacher computes {objects} in an epoch, so "
            f"this has paid after {epochs:.3g} of the {trained} epochs"
        )
        self.progress(stored, stored, stage, note)
        print(f"{stage}: {note}", file=sys.stderr, flush=True)
        return features
