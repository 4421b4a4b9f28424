"""A toy data set of pictures with captions, easy enough to learn in seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.data.base import CloudSet, DataPlace, Dataset, DatasetCard, SplitName
from bench.teachers.tiny_clip import TinyClip

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 230), "grey": (128, 128, 128)}
SHAPES = ("square", "disc", "stripe")
PLACES = ("above", "below")
SIDE = 32


def picture(shape: str, colour: str, place: str, rng: np.random.Generator) -> np.ndarray:
    """One uint8 ``[SIDE, SIDE, 3]`` picture."""
    image = np.full((SIDE, SIDE, 3), 250, dtype=np.uint8)
    row = (8 if place == "above" else 22) + int(rng.integers(-2, 3))
    column = 16 + int(rng.integers(-4, 5))
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = {
        "square": (abs(y - row) <= 6) & (abs(x - column) <= 6),
        "disc": (y - row) ** 2 + (x - column) ** 2 <= 36,
        "stripe": abs(y - row) <= 2,
    }[shape]
    image[inside] = COLOURS[colour]
    return image


class Toy(Dataset):
    """Coloured shapes above or below."""

    name: ClassVar[str] = "toy"
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="toy pictures", licence="MIT", terms="none", citation="none", normalisation="none"
    )

    class Options(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid")

        train: int = 480
        test: int = 48
        captions: bool = True

    def _options(self) -> Options:
        assert isinstance(self.options, Toy.Options)
        return self.options

    def manifest(self) -> str:
        return hashlib.sha256(self._options().model_dump_json().encode()).hexdigest()

    def train_size(self) -> int:
        return self._options().train

    def classes(self) -> tuple[str, ...]:
        return SHAPES

    def load(self, split: SplitName) -> CloudSet:
        options = self._options()
        n = options.train if split == "train" else options.test
        rng = np.random.default_rng(0 if split == "train" else 1)
        labels = np.arange(n, dtype=np.int64) % len(SHAPES)
        colours = [list(COLOURS)[i] for i in rng.integers(len(COLOURS), size=n)]
        places = [PLACES[i] for i in rng.integers(len(PLACES), size=n)]
        what = [(SHAPES[label], colour, place) for label, colour, place in zip(labels, colours, places, strict=True)]
        views = np.stack([np.stack([picture(*w, rng) for _ in range(2)]) for w in what])
        return CloudSet(
            points=rng.normal(size=(n, 4, 3)).astype(np.float32),
            labels=labels,
            ids=tuple(f"{split}-{i}" for i in range(n)),
            classes=SHAPES,
            captions=tuple(f"A {c} {s}, {p} the middle." for s, c, p in what) if options.captions else None,
            views=views,
            views_kind="shaded",
        )


def toy_teacher(cache: Path, data: Toy.Options | None = None, **options: float) -> TinyClip:
    """A teacher small enough to fit in a second or two."""
    small = {
        "view_size": SIDE,
        "embed": 16,
        "image_width": 4,
        "text_width": 32,
        "text_layers": 1,
        "context": 12,
        "buckets": 4,
        "epochs": 12,
        "batch_size": 32,
        "threads": 1,
        "depth_share": 0.0,
        "lr": 3e-3,
        "shift": 0.06,
        "zoom": 0.0,
    }
    source = Toy(DataPlace(cache=cache), data)
    return TinyClip(cache, TinyClip.Options.model_validate(small | options), source)
