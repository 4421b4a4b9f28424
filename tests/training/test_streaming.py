"""What is lost if these fail: data larger than the memory would fill it, or train another network than in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from bench.data.rows import MappedRows
from bench.errors import DataError
from bench.training.pretraining import PretrainData
from bench.training.streaming import StreamedRows

OBJECTS, POINTS = 3_000, 8_192
FILE_MB = OBJECTS * POINTS * 12 / 1e6

PEAK = """
import re, sys
from pathlib import Path
import numpy as np, torch
from bench.spec import BackboneSpec, PretrainSpec, Recipe
from bench.training.precision import resolve_numerics
from bench.training.pretraining import PretrainData, pretrain
from bench.training.streaming import StreamedRows

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
    def prepare(self, batch):
        return batch.points
    def compute(self, prepared):
        return {"total": (self.weight * prepared + self.weight).square().mean()}

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3

small = BackboneSpec(points=64, groups=8, group_size=8, width=8, depth=1, heads=1)
recipe = Recipe(epochs=1, batch_size=128, warmup_epochs=0)
spec = PretrainSpec(method="probe", backbone=small, recipe=recipe, data=None,
                    numerics=resolve_numerics("cpu", "fp32", compile=False), seed=0)
points = np.load(sys.argv[1], mmap_mode="r")
data = PretrainData(StreamedRows(points, "points"))
pretrain(Network(), PretrainData(StreamedRows(points[:256], "points")), spec)
before = peak()
result = pretrain(Network(), data.resident(0), spec)
streamed = peak()
data.resident(10**12)
print(result.samples, streamed - before, peak() - before)
"""


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(12, 4, 3)).astype(np.float32))
    return cast("np.ndarray", np.load(tmp_path / "a.npy", mmap_mode="r"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from Linux's /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Streaming that keeps every page it has read ends as large as the file."""
    file = tmp_path / "points.npy"
    with file.open("wb") as sink:  # a sparse file: zeros that take no disk
        head = {"descr": "<f4", "fortran_order": False, "shape": (OBJECTS, POINTS, 3)}
        np.lib.format.write_array_header_1_0(sink, head)
        sink.truncate(sink.tell() + OBJECTS * POINTS * 12)
    done = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    samples, streamed, in_memory = (float(value) for value in done.stdout.split())
    assert samples >= 0.97 * OBJECTS, "nearly every row was read"
    assert streamed < 0.2 * FILE_MB
    assert in_memory > 0.9 * FILE_MB, "the file is large enough to show"


@pytest.mark.parametrize("ahead", [False, True])
def test_rows_are_those_asked_for_read_ahead_or_not(mapped: np.ndarray, ahead: bool) -> None:
    """A batch read for another step, or for a validation in between, would be trained on in its place."""
    rows = StreamedRows(mapped, "points", ahead=ahead)
    whole = torch.from_numpy(np.array(mapped))
    first, second, other = (torch.tensor(index) for index in ([3, 0], [5, 11], [7, 7]))
    rows.expect(first)
    assert torch.equal(rows.pick(first), whole[first])
    rows.expect(second)
    assert torch.equal(rows.pick(other), whole[other])
    assert torch.equal(rows.pick(second), whole[second])
    rows.expect(first)
    assert torch.equal(rows.pick(first, torch.tensor([2, 1])), whole[[3, 0], [2, 1]])
    part = rows.part(torch.tensor([9, 4, 1]))
    assert isinstance(part.array, MappedRows)
    assert torch.equal(part.part(torch.tensor([2, 1])).everything(), whole[[1, 4]])


def test_a_single_picture_is_read_ahead(mapped: np.ndarray) -> None:
    """With one picture for each object the draw is known, and the disk need not be waited for."""
    rows = StreamedRows(mapped[:, :1], "images", ahead=True)
    index = torch.tensor([2, 8])
    rows.expect(index)
    assert torch.equal(
        rows.pick(index, torch.zeros(2, dtype=torch.int64)), torch.from_numpy(np.array(mapped))[index, 0]
    )


@pytest.mark.parametrize("ahead", [False, True])
def test_a_damaged_row_is_named_when_it_is_read(tmp_path: Path, ahead: bool) -> None:
    """Otherwise the loss diverges, and nobody looks at the data."""
    points = np.zeros((6, 4, 3), dtype=np.float32)
    points[4, 1, 2] = np.nan
    rows = StreamedRows(points, "points", ahead=ahead)
    rows.expect(torch.tensor([1, 4]))
    with pytest.raises(DataError, match="points of object 4 is not finite"):
        rows.pick(torch.tensor([1, 4]))


def test_small_fields_are_in_memory_beside_streamed_ones(mapped: np.ndarray) -> None:
    """Clouds would be read from the disk for the sake of pictures that do not fit."""
    pictures = np.zeros((12, 2, 5, 5, 3), dtype=np.uint8)
    data = PretrainData(StreamedRows(mapped, "points"), images=StreamedRows(pictures, "images"))
    held = data.resident(mapped.nbytes + pictures.nbytes - 1)
    assert isinstance(held.points, torch.Tensor)
    assert list(held.streamed) == ["images"]
    assert data.resident(mapped.nbytes + pictures.nbytes).streamed == {}
    assert set(data.resident(0).streamed) == {"points", "images"}
    held.check()
    with pytest.raises(DataError, match=r"points has shape \(12, 4, 2\)"):
        PretrainData(StreamedRows(mapped[..., :2], "points")).check()
