"""Compare arrays with recorded ones and count the comparisons.

Keeps the largest error, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Status = Literal["pass", "fail", "not-covered"]
Array = npt.NDArray[np.generic]

EXACT = 0.0
ARRAY = 1e-5
"""Tolerance of arrays in evaluation mode, losses and buffers: largest difference over largest magnitude."""
BATCH_NORM = 1e-4
"""The same for arrays after a BatchNorm in train mode."""
GRADIENT = 1e-4
"""Tolerance of a gradient norm: its relative difference..."""
GRADIENT_FLOOR = 1e-5
"""... to the recorded norm, or to this fraction of the set's largest norm if that is larger."""

_REQUIRED = ("out/", "after/", "grad/")


@dataclass(frozen=True)
class FileResult:
    """Result of one recorded file.

    Attributes:
        name: File name.
        status: ``pass`` only if every ``out/``, ``after/`` and ``grad/`` array was compared and agrees.
        worst: Error of the array that came closest to (or exceeded) its tolerance, in units of `tolerance`'s scale.
        tolerance: Tolerance of that array.
        compared: Number of ``out/``, ``after/`` and ``grad/`` arrays compared (a gradient set counts once).
        total: Number of such arrays in the file.
        detail: What failed or was not covered; how many intermediate arrays were compared.
    """

    name: str
    status: Status
    worst: float
    tolerance: float
    compared: int
    total: int
    detail: str


@dataclass
class Comparison:
    """Comparison of one file's arrays, by name.

    Attributes:
        recorded: Arrays of the file by key.
        failures: One phrase per array that disagrees.
    """

    recorded: dict[str, Array]
    failures: list[str] = field(default_factory=list)
    _done: set[str] = field(default_factory=set)
    _worst: tuple[float, float, float] = (-1.0, 0.0, 0.0)

    def has(self, name: str) -> bool:
        """Return whether the file holds this array."""
        return name in self.recorded

    def required(self) -> set[str]:
        """Return the names that must be compared.

        The two halves of a gradient set count as one name.
        """
        names = {name for name in self.recorded if name.startswith(_REQUIRED)}
        return {
            name.removesuffix(".names").removesuffix(".norms") if name.startswith("grad/") else name for name in names
        }

    def array(self, name: str, ours: Array, tolerance: float = ARRAY) -> None:
        """Compare one array, if the file holds it.

        The error is relative to the recorded array's largest magnitude.
        """
        if name not in self.recorded:
            return
        theirs = self.recorded[name]
        self._done.add(name)
        if ours.shape != theirs.shape:
            self._fail(name, f"shape {ours.shape}, recorded {theirs.shape}")
            return
        if tolerance == EXACT:
            differing = int(np.sum(ours != theirs))
            self._note(name, float(differing), EXACT, f"{differing} of {theirs.size} entries differ")
            return
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        scale = float(np.max(np.abs(b), initial=0.0)) or 1.0
        error = float(np.max(np.abs(a - b), initial=0.0)) / scale
        self._note(name, error, tolerance, f"off by {error:.2e}, allowed {tolerance:.0e}")

    def gradients(self, loss: str, names: list[str], norms: npt.NDArray[np.float64], ours: dict[str, float]) -> None:
        """Compare the gradient norms of one loss.

        A missing gradient counts as zero.

        Args:
            loss: Name of the set in the file.
            names: Recorded parameter names.
            norms: Recorded norms.
            ours: Our norms by the same names.
        """
        name = f"grad/{loss}"
        self._done.add(name)
        if set(names) != set(ours) or len(names) != len(norms):
            extra, absent = sorted(set(ours) - set(names)), sorted(set(names) - set(ours))
            self._fail(name, f"trainable parameters differ (ours only: {extra[:3]}, recorded only: {absent[:3]})")
            return
        theirs = np.nan_to_num(norms, nan=0.0, posinf=np.inf, neginf=-np.inf)
        mine = np.array([ours[parameter] for parameter in names])
        largest = float(np.max(np.abs(theirs), initial=0.0))
        unit = np.maximum(np.abs(theirs), largest * GRADIENT_FLOOR / GRADIENT)
        error = np.abs(mine - theirs) / np.where(unit > 0, unit, 1.0)
        at = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
        self._note(name, float(error[at]), GRADIENT, f"{names[at]} off by {error[at]:.2e}, allowed {GRADIENT:.0e}")

    def fail(self, reason: str) -> None:
        """Record a failure that is not about one array."""
        self.failures.append(reason)

    def result(self, name: str) -> FileResult:
        """Return the result of the comparison."""
        required = self.required()
        compared = required & self._done
        left = sorted(required - self._done)
        intermediate = {key for key in self.recorded if key.startswith("mid/")}
        notes = list(self.failures[:5])
        if len(self.failures) > 5:
            notes.append(f"and {len(self.failures) - 5} more")
        if left:
            notes.append(f"not compared: {', '.join(left[:5])}" + (" ..." if len(left) > 5 else ""))
        if intermediate:
            notes.append(f"mid {len(intermediate & self._done)}/{len(intermediate)}")
        status: Status = "fail" if self.failures else "not-covered" if left or not required else "pass"
        _, error, tolerance = self._worst
        return FileResult(name, status, error, tolerance, len(compared), len(required), "; ".join(notes))

    def _note(self, name: str, error: float, tolerance: float, failure: str) -> None:
        agrees = error <= tolerance  # False for NaN
        ratio = error / tolerance if tolerance else error * np.inf if error else 0.0
        ratio = np.inf if np.isnan(ratio) else ratio
        if ratio > self._worst[0]:
            self._worst = (ratio, error, tolerance)
        if not agrees:
            self.failures.append(f"{name}: {failure}")

    def _fail(self, name: str, failure: str) -> None:
        self._note(name, np.inf, EXACT, failure)
