"""ScanObjectNN: every published variant is read from its own file, with its mask and the release's counts."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace
from bench.data.scanobjectnn_h5 import CLASSES, COUNTS, SUFFIXES, ScanObjectNNH5
from bench.errors import DataError

FILES = {
    "obj_bg": ("main_split", "objectdataset.h5"),
    "obj_only": ("main_split_nobg", "objectdataset.h5"),
    "pb_t25": ("main_split", "objectdataset_augmented25_norot.h5"),
    "pb_t25_r": ("main_split", "objectdataset_augmented25rot.h5"),
    "pb_t50_r": ("main_split", "objectdataset_augmentedrot.h5"),
    "pb_t50_rs": ("main_split", "objectdataset_augmentedrot_scale75.h5"),
}
"""The official names, written out: the loader must not be tested against its own table."""


def write(path: Path, rows: int, mask: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(rows)
    with h5py.File(path, "w") as file:
        file["data"] = rng.normal(size=(rows, 16, 3)).astype(np.float32)
        file["label"] = (np.arange(rows) % 15).astype(np.int32)
        file["mask"] = rng.choice([-1, 3], (rows, 16)).astype(np.int32) if mask is None else mask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Every variant with another number of objects."""
    for place, (folder, name) in enumerate(FILES.values()):
        write(tmp_path / "h5_files" / folder / f"training_{name}", 15 + place)
        write(tmp_path / "h5_files" / folder / f"test_{name}", 30 + place)
    return tmp_path


def scan(root: Path, **options: str) -> ScanObjectNNH5:
    return ScanObjectNNH5(DataPlace(root / "cache", root), ScanObjectNNH5.Options.model_validate(options))


@pytest.mark.parametrize("variant", FILES)
def test_each_variant_is_read_from_its_own_file(root: Path, variant: str) -> None:
    """A figure for the hardest variant that was measured on an easier one would be off by ten points."""
    place = list(FILES).index(variant)
    dataset = scan(root, variant=variant)
    train, test = dataset.load("train"), dataset.load("test")
    assert (len(train), len(test)) == (15 + place, 30 + place)
    assert train.classes == CLASSES
    assert train.parts is not None
    assert set(np.unique(train.parts).tolist()) == {-1, 3}


def test_all_variants_are_known() -> None:
    assert set(SUFFIXES) == set(FILES)
    assert len(CLASSES) == 15
    assert CLASSES[4] == "chair"
    assert CLASSES[14] == "toilet"


def test_counts_are_the_releases(root: Path) -> None:
    assert scan(root).known_counts() == ScanObjectNNH5.card.counts == {"train": 2309, "test": 581}
    assert scan(root, variant="pb_t50_rs").known_counts() == {"train": 11416, "test": 2882}
    assert scan(root, variant="pb_t25").known_counts() == {}
    assert scan(root, split="split2").known_counts() == {}
    assert set(COUNTS) <= set(FILES)


def test_other_splits_are_read(root: Path) -> None:
    write(root / "h5_files" / "split3_nobg" / "training_objectdataset.h5", 17)
    write(root / "h5_files" / "split3_nobg" / "test_objectdataset.h5", 16)
    assert len(scan(root, split="split3", variant="obj_only").load("train")) == 17


def test_a_mask_stored_as_floats_is_read_if_it_holds_whole_numbers(root: Path) -> None:
    path = root / "h5_files" / "main_split" / "training_objectdataset.h5"
    write(path, 15, np.full((15, 16), -1.0, np.float32))
    train = scan(root).load("train")
    assert train.parts is not None
    assert train.parts.dtype == np.int64
    write(path, 15, np.full((15, 16), 0.5, np.float32))
    with pytest.raises(DataError, match=r"training_objectdataset.h5: field 'mask' row 0 point 0 is 0.5"):
        scan(root).load("train")
    write(path, 15, np.full((15, 16), np.nan, np.float32))
    with pytest.raises(DataError, match="row 0 point 0 is nan"):
        scan(root).load("train")


def test_the_mask_is_no_part_segmentation(root: Path) -> None:
    """Scores of one part per object would be 100 % for every method."""
    assert not scan(root).offers_parts()
