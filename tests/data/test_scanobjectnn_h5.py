"""ScanObjectNN's folder of HDF5 files: every variant from any of the usual roots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data.scanobjectnn_h5 import CLASSES
from tests.data.test_h5_sets import clouds, refusal, scan, write


@pytest.fixture
def scan_root(tmp_path: Path) -> Path:
    base = tmp_path / "scans" / "h5_files"
    for folder, suffix, rows in (
        ("main_split", "", 15),
        ("main_split_nobg", "", 30),
        ("main_split", "_augmentedrot_scale75", 45),
    ):
        for prefix in ("training", "test"):
            mask = np.where(np.arange(16) < 5, -1, 2)[None].repeat(rows, 0).astype(np.int32)
            write(
                base / folder / f"{prefix}_objectdataset{suffix}.h5",
                data=clouds(rows, seed=rows),
                label=(np.arange(rows) % 15).astype(np.int32),
                mask=mask,
            )
    return tmp_path / "scans"


def test_variants_read_their_files_from_any_of_the_usual_roots(scan_root: Path) -> None:
    assert len(scan(scan_root).load("train")) == 15
    assert len(scan(scan_root / "h5_files").load("train")) == 15
    assert len(scan(scan_root / "h5_files" / "main_split").load("train")) == 15
    assert len(scan(scan_root, variant="obj_only").load("train")) == 30
    hardest = scan(scan_root, variant="pb_t50_rs").load("test")
    assert len(hardest) == 45
    assert hardest.classes == CLASSES, "15 unnamed classes are the published ones"
    assert hardest.parts is not None
    assert hardest.parts.min() == -1
    assert hardest.ids[1] == "test_objectdataset_augmentedrot_scale75/1"
    variants = {scan(scan_root, variant=v).manifest() for v in ("obj_bg", "obj_only", "pb_t50_rs")}
    assert len(variants) == 3


def test_missing_variants_and_splits_say_what_is_there(scan_root: Path) -> None:
    line = refusal(scan(scan_root, variant="pb_t25"))
    assert "training_objectdataset_augmented25_norot.h5: no such file (variant pb_t25)" in line
    assert "the folder holds: test_objectdataset.h5" in line
    assert "did you mean main_split" in refusal(scan(scan_root, split="mainsplit"))
    assert f"did you mean {scan_root}?" in refusal(scan(scan_root.parent))
