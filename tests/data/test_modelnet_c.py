"""What a user would lose: official corrupted files that are read as something else, or about other objects."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.data.base import DataPlace
from bench.data.corruptions import CLEAN, CONDITIONS, SUITE
from bench.data.modelnet_h5 import ModelNetH5
from bench.errors import DataError

N = 6


def write(path: Path, points: np.ndarray, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = points.astype(np.float32), labels.reshape(-1, 1).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draws, labels = np.random.default_rng(0), np.arange(N) % 3
    folder = tmp_path / "modelnet"
    for name in ("ply_data_train0", "ply_data_test0"):
        write(folder / f"{name}.h5", draws.normal(size=(N, 32, 3)), labels)
    (folder / "shape_names.txt").write_text("a\nb\nc\n")
    return folder


def opened(root: Path) -> ModelNetH5:
    return ModelNetH5(DataPlace(root.parent / "cache", root))


def released(root: Path, labels: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Write ModelNet-C's files; levels have different numbers of points, as in the release."""
    draws, own = np.random.default_rng(1), np.arange(N) % 3 if labels is None else labels
    made = {}
    for condition in (CLEAN, *map(str, CONDITIONS)):
        kind, _, level = condition.rpartition("-")
        points = draws.normal(size=(N, 20 + int(level), 3))
        made[condition] = points.astype(np.float32)
        write(root / "modelnet_c" / ("clean.h5" if kind == "clean" else f"{kind}_{int(level) - 1}.h5"), points, own)
    return made


def test_without_released_files_clouds_are_corrupted_here(root: Path) -> None:
    dataset = opened(root)
    assert dataset.corruptions() == (SUITE, tuple(map(str, CONDITIONS)))
    assert dataset.corrupted("dropout_global-5", dataset.load("test").points).shape == (N, 8, 3)


def test_released_files_are_read_as_they_are(root: Path) -> None:
    made = released(root)
    suite, conditions = opened(root).corruptions()
    assert suite.startswith("modelnet-c/")
    assert set(conditions) == set(made)
    for condition, points in made.items():
        assert np.array_equal(opened(root).corrupted(condition, points), points), condition
    write(root / "modelnet_c" / "jitter_2.h5", made["jitter-3"] + 1, np.arange(N) % 3)
    assert opened(root).corruptions()[0] != suite  # other files are other runs


def test_modelnet40_c_is_read(root: Path) -> None:
    folder = root / "modelnet40_c"
    folder.mkdir()
    draws = np.random.default_rng(2)
    names = [f"{kind}-{level}" for kind in ("occlusion", "lidar") for level in range(1, 6)]
    made = {name: draws.normal(size=(N, 16, 3)) for name in names}
    for name, points in made.items():
        np.save(folder / f"data_{name.replace('-', '_')}.npy", points)
    np.save(folder / "label.npy", (np.arange(N) % 3).reshape(-1, 1))
    suite, conditions = opened(root).corruptions()
    assert suite.startswith("modelnet40-c/")
    assert sorted(conditions) == sorted(made)
    assert np.allclose(opened(root).corrupted("lidar-2", np.empty(0)), made["lidar-2"], atol=1e-6)


@pytest.mark.parametrize("fault", ["labels", "fewer", "level", "clean", "both", "empty", "text"])
def test_wrong_files_are_one_line(root: Path, fault: str) -> None:
    released(root, np.arange(N)[::-1] % 3 if fault == "labels" else None)
    folder = root / "modelnet_c"
    if fault == "fewer":
        write(folder / "jitter_0.h5", np.random.default_rng(0).normal(size=(N - 1, 8, 3)), np.arange(N - 1) % 3)
    elif fault == "level":
        (folder / "scale_3.h5").unlink()
    elif fault == "clean":
        (folder / "clean.h5").unlink()
    elif fault == "both":
        (root / "modelnet40_c").mkdir()
    elif fault == "empty":
        for path in folder.iterdir():
            path.unlink()
    elif fault == "text":
        (folder / "jitter_0.h5").write_text("not HDF5")

    def read() -> None:
        opened(root).corruptions()
        opened(root).corrupted("jitter-1", np.empty(0))

    with pytest.raises(DataError, match="modelnet") as error:
        read()
    assert "\n" not in str(error.value)
