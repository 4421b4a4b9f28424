"""Checks of a data set: splits, array formats, manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.conformance.checks import Checks, fail, listed, skip
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.data.base import CloudSet, DataPlace, Dataset, DatasetCard, SplitName
from bench.store.scratch import scratch_name


@dataclass
class DatasetKit:
    """A data set under test, with its folder.

    Attributes:
        dataset: The data set's class.
        root: Its folder, for a set that comes as files.
    """

    dataset: type[Dataset]
    root: Path | None = None

    @cached_property
    def _cache(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix=f"{scratch_name()}-")

    def open(self) -> Dataset:
        """Open the data set anew, with its default options."""
        if self.dataset.needs_root and self.root is None:
            skip("comes as files: name their folder with --root DIR")
        return self.dataset(DataPlace(Path(self._cache.name), self.root))

    @cached_property
    def splits(self) -> dict[SplitName, CloudSet]:
        """Both splits, loaded once."""
        opened = self.open()
        return {"train": opened.load("train"), "test": opened.load("test")}


DATASET_CHECKS: Checks[DatasetKit] = Checks()
_ROUNDING = 1e-3
"""Tolerance for mean and radius of clouds in the unit sphere."""


@DATASET_CHECKS.add("import")
def importing(kit: DatasetKit) -> str:
    """Importing the module is quick and changes no global state."""
    return check_import(kit.dataset, "bench.data.base")


@DATASET_CHECKS.add("options")
def options(kit: DatasetKit) -> str:
    """Options are immutable, refuse unknown fields and survive JSON."""
    return check_options(kit.dataset)


@DATASET_CHECKS.add("metadata")
def metadata(kit: DatasetKit) -> str:
    """Name and card are complete."""
    check_name(kit.dataset)
    card = getattr(kit.dataset, "card", None)
    if not isinstance(card, DatasetCard):
        fail("card is missing: give it a bench.data.base.DatasetCard (summary, licence, terms, citation, ...)")
    if empty := [field for field in ("summary", "licence", "terms", "citation") if not getattr(card, field).strip()]:
        fail(f"the card leaves {listed(empty)} empty")
    return f"licence {card.licence}"


@DATASET_CHECKS.add("texts")
def texts(kit: DatasetKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.dataset)


@DATASET_CHECKS.add("manifest", "options")
def manifest(kit: DatasetKit) -> str:
    """The manifest is a repeatable SHA-256 digest."""
    first, second = kit.open(), kit.open()
    digest = first.manifest()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        fail(f"manifest() is {digest!r}, expected a SHA-256 hex digest of everything the arrays depend on")
    if digest != first.manifest() or digest != second.manifest():
        fail("manifest() changes from call to call; a stored result could never be found again")
    return digest[:12]


@DATASET_CHECKS.add("splits", "manifest")
def splits(kit: DatasetKit) -> str:
    """Both splits load: finite float32 clouds, valid labels, unique names."""
    classes = kit.open().classes()
    if not classes or len(set(classes)) < len(classes):
        fail("classes() is empty or names a class twice")
    for split, clouds in kit.splits.items():
        n = len(clouds.labels)
        if not n:
            fail(f"split {split} is empty")
        points = clouds.points.shape[1] if clouds.points.ndim == 3 else 0
        _check_array(split, "points", clouds.points, np.float32, (n, points, 3))
        _check_array(split, "labels", clouds.labels, np.int64, (n,))
        if not np.isfinite(clouds.points).all():
            row = int(np.flatnonzero(~np.isfinite(clouds.points).all((1, 2)))[0])
            fail(f"{split}: the cloud of object {row} is not finite")
        if getattr(getattr(kit.dataset, "card", None), "in_unit_sphere", False) and (off := _off_sphere(clouds.points)):
            fail(f"{split}: the card says in_unit_sphere, but {off}")
        if int(clouds.labels.min()) < 0 or int(clouds.labels.max()) >= len(classes):
            fail(
                f"{split}: labels reach from {clouds.labels.min()} to {clouds.labels.max()}, expected 0 to "
                f"{len(classes) - 1}"
            )
        if tuple(clouds.classes) != tuple(classes):
            fail(f"{split}: classes differ from classes() of the data set")
        if len(clouds.ids) != n or len(set(clouds.ids)) < n:
            fail(f"{split}: {len(set(clouds.ids))} different ids for {n} objects, expected one each")
    if shared := sorted(set(kit.splits["train"].ids) & set(kit.splits["test"].ids)):
        fail(f"objects in both splits: {listed(shared)}")
    sizes = ", ".join(f"{len(clouds)} {split}" for split, clouds in kit.splits.items())
    return f"{sizes}, {len(classes)} classes, {kit.splits['train'].points.shape[1]} points"


def _off_sphere(points: npt.NDArray[np.float32]) -> str:
    """Locate the first cloud outside the unit sphere, if any."""
    middle = np.abs(points.mean(1)).max(1)
    radius = np.linalg.norm(points, axis=-1).max(1)
    wrong = np.flatnonzero((middle > _ROUNDING) | (np.abs(radius - 1) > _ROUNDING))
    if not wrong.size:
        return ""
    row = int(wrong[0])
    return f"object {row} has its mean at {middle[row]:.3g} and reaches out to {radius[row]:.3g}"


def _check_array(
    split: str, what: str, array: npt.NDArray[np.generic], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape or 0 in shape:
        wanted = f"{np.dtype(dtype)} [{', '.join(map(str, shape))}]"
        fail(f"{split}: {what} is {array.dtype} {list(array.shape)}, expected {wanted}")


@DATASET_CHECKS.add("extras", "splits", "metadata")
def extras(kit: DatasetKit) -> str:
    """Captions, views, normals and parts match objects and card."""
    card = kit.dataset.card
    found = []
    for split, clouds in kit.splits.items():
        n, points = clouds.points.shape[:2]
        present: dict[str, Any] = {
            "captions": clouds.captions,
            "views": clouds.views,
            "normals": clouds.normals,
            "parts": clouds.parts,
        }
        if clouds.captions is not None and len(clouds.captions) != n:
            fail(f"{split}: {len(clouds.captions)} captions for {n} objects")
        if clouds.views is not None:
            if clouds.views.ndim != 5 or clouds.views.shape[-1] not in (1, 3):
                fail(f"{split}: views has shape {list(clouds.views.shape)}, expected [n, V, H, W, 1 or 3]")
            _check_array(split, "views", clouds.views, np.uint8, (n, *clouds.views.shape[1:]))
        if clouds.normals is not None:
            _check_array(split, "normals", clouds.normals, np.float32, (n, points, 3))
        if clouds.parts is not None:
            _check_array(split, "parts", clouds.parts, np.int64, (n, points))
        if split == "train":
            found = [name for name, value in present.items() if value is not None]
            for flag, name in (("has_images", "views"), ("has_captions", "captions"), ("has_parts", "parts")):
                if name == "views" and not kit.open().offers_images():  # pictures that this folder does not have
                    continue
                if getattr(card, flag) and name not in found:
                    fail(f"the card says {flag}, but the training split has no {name}")
    return ", ".join(found) or "none"


@DATASET_CHECKS.add("repeats", "splits")
def repeats(kit: DatasetKit) -> str:
    """Loading again gives the same objects, train_size() of them."""
    again = kit.open()
    if again.train_size() != len(kit.splits["train"]):
        fail(f"train_size() is {again.train_size()}, the training split has {len(kit.splits['train'])} objects")
    for split, clouds in kit.splits.items():
        other = again.load(split)
        same = np.array_equal(clouds.points, other.points) and np.array_equal(clouds.labels, other.labels)
        if not same or clouds.ids != other.ids:
            fail(f"{split} differs when it is loaded again, under the same manifest")
    return "identical"
