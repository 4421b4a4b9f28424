"""Intersection over union, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.protocols.segmentation_metrics import VOID, confusion, instance_ious, part_scores, scene_scores

ALLOWED = np.array([[True, True, False, False], [False, False, True, True]])


def test_part_scores_are_those_worked_out_by_hand() -> None:
    """Every figure of part segmentation would be another measure than the one it is called."""
    truth = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [2, 2, 3, 3]])
    predicted = np.array([[0, 1, 1, 1], [0, 0, 0, 1], [3, 3, 2, 2]])
    scores = part_scores(predicted, truth, np.array([0, 0, 1]), ALLOWED)
    first = (1 / 2 + 2 / 3) / 2  # part 0: 1 of 2, part 1: 2 of 3
    second = (3 / 4 + 0) / 2  # part 1 is predicted but not there
    np.testing.assert_allclose(scores.instances, [first, second, 0.0])
    assert scores.instance_miou == pytest.approx((first + second) / 3)
    assert scores.by_category == {0: pytest.approx((first + second) / 2), 1: 0.0}
    assert scores.class_miou == pytest.approx((first + second) / 4)
    assert scores.point_accuracy == pytest.approx(6 / 12)


def test_a_part_that_is_neither_there_nor_predicted_is_found() -> None:
    """Objects without some part of their category would be punished for it, unlike in every published figure."""
    whole = np.zeros((1, 5), dtype=np.int64)
    assert instance_ious(whole, whole, ALLOWED[[0]]).tolist() == [1.0]
    one_wrong = np.array([[0, 0, 0, 0, 1]])
    np.testing.assert_allclose(instance_ious(one_wrong, whole, ALLOWED[[0]]), [(4 / 5 + 0) / 2])


def test_clutter_is_not_judged_and_unknown_parts_count_against() -> None:
    """Scans would be scored on points that belong to nothing; parts nobody could learn would count as found."""
    truth = np.array([[0, 0, VOID, VOID], [VOID, VOID, VOID, VOID], [0, 0, 4, 4]])
    predicted = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = part_scores(predicted, truth, np.array([0, 1, 0]), ALLOWED)
    assert scores.instances[0] == 1.0
    assert np.isnan(scores.instances[1])
    assert scores.instances[2] == pytest.approx((2 / 4 + 1) / 2)
    assert scores.instance_miou == pytest.approx((1 + 3 / 4) / 2)
    assert scores.point_accuracy == pytest.approx(4 / 6)
    assert list(scores.by_category) == [0]
    nothing = part_scores(predicted[[1]], truth[[1]], np.array([1]), ALLOWED)
    assert (nothing.instance_miou, nothing.class_miou, nothing.point_accuracy) == (0.0, 0.0, 0.0)


def test_scene_scores_are_those_worked_out_by_hand() -> None:
    """Every figure of semantic segmentation would be another measure than the one it is called."""
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0])
    table = confusion(predicted, truth, 5)
    assert table[:3, :3].tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    scores = scene_scores(table)
    assert scores.by_class == {0: pytest.approx(2 / 4), 1: pytest.approx(2 / 3), 2: 0.0}
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert scores.macc == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores.oa == pytest.approx(4 / 6)
    # A class that is predicted but nowhere there costs its IoU, and no accuracy.
    extra = scene_scores(confusion(np.array([0, 3]), np.array([0, 0]), 5))
    assert extra.miou == pytest.approx((1 / 2 + 0) / 2)
    assert extra.macc == pytest.approx(1 / 2)


@given(
    arrays(np.int64, (3, 12), elements=st.integers(0, 2)),
    arrays(np.int64, (3, 12), elements=st.integers(VOID, 2)),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_counting_agrees_with_the_definition(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Counting all objects at once could mix one object's points into another's."""
    allowed = np.ones((3, 3), dtype=bool)
    for found, guess, right in zip(instance_ious(predicted, truth, allowed), predicted, truth, strict=True):
        guess, right = guess[right != VOID], right[right != VOID]
        ious = []
        for part in range(3):
            union = int(((guess == part) | (right == part)).sum())
            ious.append(1.0 if union == 0 else int(((guess == part) & (right == part)).sum()) / union)
        assert (np.isnan(found) and not len(right)) or found == pytest.approx(np.mean(ious))
