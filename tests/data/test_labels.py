"""Labels: whatever numbers a file holds, they are taken as they are or refused by row."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.data.labels import MOST_PARTS, Held, class_numbers, count_unnamed, part_numbers
from bench.errors import DataError

NUMBERS = st.sampled_from(["u1", "i1", "<u2", ">i2", "i4", "u8", "i8", ">i8", "f2", "f4", "f8", ">f8", "?", "S3", "c8"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_labels_are_kept_or_the_first_wrong_row_is_named(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(NUMBERS))
    values = data.draw(hnp.arrays(dtype, st.integers(0, 12)))
    plain = values.tolist()
    fits = [
        dtype.kind in "iuf" and value == value and abs(value) != np.inf and value == int(value) and 0 <= value < 2**53
        for value in plain
    ]
    try:
        found = class_numbers(values, "x.h5: field 'label'")
    except DataError as error:
        text = str(error)
        assert "\n" not in text
        if dtype.kind not in "iuf":
            assert f"holds {values.dtype}" in text
            return
        row = int(re.search(r"row (\d+) is ", text)[1])  # type: ignore[index]
        assert not fits[row] or abs(plain[row]) >= 2**53
    else:
        assert found.dtype == np.int64
        assert found.tolist() == [int(value) for value in plain]
        assert (found >= 0).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(hnp.arrays(np.int64, st.integers(1, 8), elements=st.integers(0, 6) | st.integers(0, 2**40)), min_size=1)
)
def test_unnamed_classes_have_no_gaps(files: list[np.ndarray]) -> None:
    held = [Held(f"{place}.h5: field 'label'", labels) for place, labels in enumerate(files)]
    used = sorted({label for labels in files for label in labels.tolist()})
    try:
        assert count_unnamed(held, "name them") == len(used)
        assert used == list(range(len(used)))
    except DataError as error:
        place, row, value, gap = map(
            int,
            re.match(
                r"(\d+)\.h5: field 'label' row (\d+) is (\d+), but no object has the label (\d+)", str(error)
            ).groups(),  # type: ignore[union-attr]
        )
        assert files[place][row] == value > gap
        assert gap not in used
        assert set(range(gap)) <= set(used)


@pytest.mark.parametrize("value", [-2, -128, MOST_PARTS + 1, 2.5, np.nan, np.inf, 1e30])
def test_a_wrong_part_is_named_by_row_and_point(value: float) -> None:
    parts = np.zeros((3, 5))
    parts[2, 4] = value
    with pytest.raises(DataError, match=r"row 9 point 4 is"):
        part_numbers(parts, "x.h5: field 'pid'", 7)
    parts[2, 4] = -1
    assert part_numbers(parts, "x").min() == -1
