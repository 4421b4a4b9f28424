"""Corruption errors of ModelNet-C: mOA, mCE and RmCE.

Definitions, constants and rounding: docs/reference.md#corrupted-test-sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Robust:
    """Accuracies of one classifier on clean and on corrupted clouds.

    Attributes:
        clean: Accuracy on clean clouds.
        kinds: Mean accuracy over the levels of each type, in the order of tables.
    """

    clean: float
    kinds: Mapping[str, float]

    @property
    def overall(self) -> float:
        """Mean over types (mOA)."""
        return sum(self.kinds.values()) / len(self.kinds)

    def rounded(self) -> Robust:
        """Round to three decimals, as the released evaluation does first."""
        return Robust(round(self.clean, 3), {kind: round(value, 3) for kind, value in self.kinds.items()})


DGCNN = Robust(
    0.926,
    {
        "scale": 0.906,
        "jitter": 0.684,
        "rotate": 0.785,
        "dropout_global": 0.752,
        "dropout_local": 0.793,
        "add_global": 0.705,
        "add_local": 0.725,
    },
)
"""DGCNN on ModelNet-C, whose errors those of others are divided by (arXiv 2202.03377)."""


def mean_corruption_error(own: Robust, reference: Robust, *, published: bool = False) -> float | None:
    """Return the error on corrupted clouds relative to a reference (mCE).

    Args:
        own: Accuracies.
        reference: Accuracies of the classifier that has mCE = 1.
        published: Round at every step, as the released evaluation does.

    Returns:
        Mean over types; None where the reference makes no error on a type, or lacks it.
    """
    return _mean_ratio(own, reference, published, relative=False)


def relative_corruption_error(own: Robust, reference: Robust, *, published: bool = False) -> float | None:
    """Return the loss by corruption relative to a reference's loss (RmCE).

    See `mean_corruption_error`; None where the reference loses nothing by a type.
    """
    return _mean_ratio(own, reference, published, relative=True)


def _mean_ratio(own: Robust, reference: Robust, published: bool, *, relative: bool) -> float | None:
    if published:
        own = own.rounded()
    ratios = []
    for kind, value in own.kinds.items():
        if kind not in reference.kinds:
            return None
        errors = [
            (one.clean if relative else 1.0) - accuracy
            for one, accuracy in ((own, value), (reference, reference.kinds[kind]))
        ]
        if errors[1] == 0:
            return None
        ratios.append(round(errors[0] / errors[1], 3) if published else errors[0] / errors[1])
    mean = sum(ratios) / len(ratios)
    return round(mean, 3) if published else mean
