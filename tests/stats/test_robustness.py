"""What a user would lose: mCE and RmCE that are not those of the ModelNet-C tables."""

from __future__ import annotations

import pytest

from bench.stats.robustness import DGCNN, Robust, mean_corruption_error, relative_corruption_error


def test_the_reference_has_errors_of_one() -> None:
    for published in (False, True):
        assert mean_corruption_error(DGCNN, DGCNN, published=published) == 1
        assert relative_corruption_error(DGCNN, DGCNN, published=published) == 1


def test_a_case_by_hand() -> None:
    reference = Robust(0.9, {"jitter": 0.5, "scale": 0.8})
    own = Robust(0.8, {"jitter": 0.7, "scale": 0.7})
    # Errors 0.3 and 0.3 over 0.5 and 0.2; losses 0.1 and 0.1 over 0.4 and 0.1.
    assert own.overall == pytest.approx(0.7)
    assert mean_corruption_error(own, reference) == pytest.approx((0.6 + 1.5) / 2)
    assert relative_corruption_error(own, reference) == pytest.approx((0.25 + 1.0) / 2)


def test_published_rounding_is_step_by_step() -> None:
    own = Robust(0.80049, {"jitter": 0.70051, "scale": 0.70049})
    reference = Robust(0.9, {"jitter": 0.5, "scale": 0.8})
    assert mean_corruption_error(own, reference, published=True) == round((round(0.299 / 0.5, 3) + 1.5) / 2, 3)


def test_no_ratio_without_a_reference_that_errs() -> None:
    own = Robust(0.8, {"jitter": 0.7})
    assert mean_corruption_error(own, Robust(1.0, {"jitter": 1.0})) is None
    assert relative_corruption_error(own, Robust(0.9, {"jitter": 0.9})) is None
    assert mean_corruption_error(own, Robust(0.9, {"scale": 0.5})) is None
