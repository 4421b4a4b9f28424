"""What is lost if these fail: a data set larger than the memory would be read into it, or rows would be mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from bench.data.base import CloudSet
from bench.data.converted import Deferred
from bench.data.rows import MappedRows, mapping, placement, release, resident_limit, select, underlying
from bench.errors import UsageError
from bench.paths import Workspace

GB = 10**9


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    np.save(tmp_path / "a.npy", np.arange(60, dtype=np.float32).reshape(10, 2, 3))
    return cast("np.ndarray", np.load(tmp_path / "a.npy", mmap_mode="r"))


@pytest.mark.parametrize(
    ("nbytes", "free", "limit", "place"),
    [
        (8 * GB, None, 8 * GB, "device"),
        (8 * GB + 1, None, 8 * GB, "map"),
        (5 * GB, 10 * GB, 8 * GB, "device"),
        (5 * GB + 1, 10 * GB, 8 * GB, "memory"),
        (9 * GB, 100 * GB, 8 * GB, "map"),
        (1, None, 0, "map"),
        (0, 0, 0, "device"),
    ],
)
def test_data_lie_where_they_fit(nbytes: int, free: int | None, limit: int, place: str) -> None:
    """Too near the device's end nothing can be trained; on the disk everything is slow."""
    assert placement(nbytes, free, limit) == place


def test_rows_over_the_limit_stay_in_the_map(mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A split whose rows do not follow one another would be copied, whatever its size."""
    index = np.array([7, 2, 2, 9])
    assert mapping(select(mapped, index)) is None
    monkeypatch.setenv("BENCH_RESIDENT_GB", "0")
    rows = select(mapped, index)
    assert isinstance(rows, MappedRows)
    assert (rows.shape, rows.dtype, rows.nbytes, len(rows), rows.ndim) == ((4, 2, 3), np.float32, 96, 4, 3)
    np.testing.assert_array_equal(rows[1:3], mapped[[2, 2]])
    np.testing.assert_array_equal(rows[np.array([3, 0]), np.array([1, 0])], mapped[[9, 7], [1, 0]])
    np.testing.assert_array_equal(np.array(rows, dtype=np.float64), mapped[index])
    again = select(rows, np.array([3, 1]))
    assert isinstance(again, MappedRows)
    np.testing.assert_array_equal(np.asarray(again), mapped[[9, 2]])
    in_memory = np.array(mapped)
    assert not isinstance(select(in_memory, index), MappedRows), "what is in memory already gains nothing"


def test_part_of_a_set_stays_in_the_map(mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the labels, or the common classes of two sets, would be copied, pictures included."""
    monkeypatch.setenv("BENCH_RESIDENT_GB", "0")
    pictures = cast("np.ndarray", Deferred(mapped.shape, "float32", lambda: mapped))
    clouds = CloudSet(mapped, np.arange(10), tuple("abcdefghij"), ("x",), views=pictures)
    part = clouds.subset(np.array([4, 1]))
    assert isinstance(part.points, MappedRows)
    assert isinstance(part.views, MappedRows)
    assert part.ids == ("e", "b")
    np.testing.assert_array_equal(part.points[:], mapped[[4, 1]])
    assert underlying(pictures) is not pictures


def test_released_pages_can_be_read_again(mapped: np.ndarray) -> None:
    """Rows that were read once would be lost, or writable copies would lose what was written."""
    before = np.array(mapped[3:])
    release(mapped[3:])
    np.testing.assert_array_equal(mapped[3:], before)
    private = np.load(str(mapped.filename), mmap_mode="c")  # type: ignore[attr-defined]
    private[0] = -1
    release(private)
    assert (private[0] == -1).all()


def test_the_limit_is_read_or_sensible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in the variable would quietly stream everything, or fill the memory."""
    monkeypatch.delenv("BENCH_RESIDENT_GB", raising=False)
    assert 0 < resident_limit() <= 8 * GB
    monkeypatch.setenv("BENCH_RESIDENT_GB", "1.5")
    assert resident_limit() == 1_500_000_000
    for wrong in ("8GB", "-1", "nan", "inf"):
        monkeypatch.setenv("BENCH_RESIDENT_GB", wrong)
        with pytest.raises(UsageError, match=f"BENCH_RESIDENT_GB = '{wrong}': expected how many gigabytes") as error:
            Workspace.at(tmp_path / "results").prepare()
        assert "\n" not in str(error.value)
