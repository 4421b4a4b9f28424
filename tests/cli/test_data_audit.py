"""``bench data audit``: shapes that pretraining saw and the test set holds must come to light, with their pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from bench.cli.main import main
from bench.data.duplicates import turned
from tests.data.test_duplicates import disguised, thing

KINDS = ("odd", "even")


def write_set(root: Path, train: list[np.ndarray], test: list[np.ndarray]) -> Path:
    """A folder in the ModelNet40 HDF5 layout; classes by turns."""
    root.mkdir()
    (root / "shape_names.txt").write_text("\n".join(KINDS) + "\n")
    for split, clouds in (("train", train), ("test", test)):
        with h5py.File(root / f"ply_data_{split}0.h5", "w") as file:
            file["data"] = np.stack(clouds)
            file["label"] = (np.arange(len(clouds)) % 2)[:, None].astype(np.uint8)
    return root


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bench", "data", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def learnt(tmp_path: Path) -> Path:
    return write_set(tmp_path / "learnt", [thing(n) for n in range(6)], [thing(n) for n in (20, 21)])


def test_shapes_learnt_from_are_found_in_a_test_set(audit: Any, learnt: Path, tmp_path: Path) -> None:
    """A contaminated benchmark would look like progress."""
    leaked = [disguised(thing(2), 1), thing(30), disguised(turned(thing(3), 2.0), 2, jitter=0.01), thing(31)]
    tested = write_set(tmp_path / "tested", [thing(40), thing(41)], leaked)
    out = tmp_path / "audit"
    code, text, _ = audit(f"modelnet-h5:{learnt}", f"modelnet-h5:{tested}", "--out", out)
    assert code == 0
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("wrote "))
    assert "1 exact and 1 near pairs; 2 of 4 modelnet-h5:tested test objects (50.0 %)" in " ".join(text.split())
    rows = list(csv.DictReader((out / "pairs.csv").open()))
    assert [(row["kind"], row["a"], row["b"]) for row in rows] == [
        ("exact", "ply_data_train0/2", "ply_data_test0/0"),
        ("near", "ply_data_train0/3", "ply_data_test0/2"),
    ]
    assert float(rows[1]["turn"]) == pytest.approx(360 - np.degrees(2.0), abs=3)
    found = json.loads((out / "audit.json").read_text())
    assert (found["a_objects"], found["b_objects"], found["affected"], found["within"]) == (6, 4, 2, False)
    with Image.open(out / "pairs.png") as picture:
        assert (np.asarray(picture.convert("L")) < 250).mean() > 0.02


def test_clean_sets_have_no_pairs_and_no_picture(audit: Any, learnt: Path, tmp_path: Path) -> None:
    """False alarms make the true one unheard."""
    tested = write_set(tmp_path / "clean", [thing(50), thing(51)], [thing(60), thing(61)])
    code, text, _ = audit(f"modelnet-h5:{learnt}", f"modelnet-h5:{tested}", "--out", tmp_path / "audit")
    assert code == 0
    assert "0 exact and 0 near pairs; 0 of 2" in " ".join(text.split())
    assert not (tmp_path / "audit" / "pairs.png").exists()


def test_one_set_with_itself_counts_test_objects_that_train_holds(audit: Any, tmp_path: Path) -> None:
    """Copies inside train are a nuisance, copies across the split are a leak; the share is of the leak."""
    train = [thing(0), thing(1), disguised(thing(1), 3), thing(2)]
    root = write_set(tmp_path / "own", train, [disguised(thing(2), 4), thing(9)])
    code, text, _ = audit(f"modelnet-h5:{root}")
    assert code == 0
    assert (
        "2 exact and 0 near pairs (1 of them across the split); 1 of 2 test objects (50.0 %) have a partner in train"
        in " ".join(text.split())
    )
    assert audit(f"modelnet-h5:{root}", f"modelnet-h5:{root}")[1].split()[-20:] == text.split()[-20:]


def test_wrong_wishes_are_one_line(audit: Any, learnt: Path) -> None:
    """A threshold of nought finds nothing and would be taken for a clean bill."""
    for arguments, said in (
        (("--threshold", 0), "--threshold 0: expected a number above 0"),
        (("--neighbours", 0), "--neighbours 0: expected at least 1"),
        (("shapes-rooms",), "holds rooms; an audit compares objects"),
        (("shapez",), "unknown data set 'shapez'"),
    ):
        code, _, error = audit(f"modelnet-h5:{learnt}", *arguments)
        assert code == 2
        assert len(error.splitlines()) == 1
        assert said in " ".join(error.split())
