"""Run records: the stored data of finished or failed runs.

A record is one folder, written beside its final place and renamed into it, with a manifest of SHA-256
digests. The database is only an index of these folders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue

Small = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Large = Annotated[int, Field(ge=0, lt=2**63)]
"""Integers that every database holds."""


class Metric(BaseModel):
    """A number with its provenance.

    A row with `fold` None is the run's own value (folds averaged); rows with a fold are its parts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "accuracy"
    value: float
    """Fraction in 0..1 for accuracies."""
    split: Literal["val", "test"]
    selection: Literal["val", "last", "test"] = "val"
    variant: str = ""
    """Candidate, if there are several (e.g. the initialisation of `scratch`); else empty."""
    headline: bool = True
    """False for candidates that validation did not choose."""
    fold: Small | None = None
    epoch: Small | None = None
    votes: Small = 1
    n_objects: Large


class MetricPath(NamedTuple):
    """Provenance of a number: everything but its value."""

    name: str
    split: Literal["val", "test"]
    selection: Literal["val", "last", "test"]
    variant: str
    headline: bool
    fold: int | None
    epoch: int | None
    votes: int
    n_objects: int


class SeenNames(BaseModel):
    """Count of evaluated class names that pretraining read.

    Through captions, the teacher or supervision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seen: tuple[str, ...]
    total: Small


Failure = Literal["diverged", "failed"]

_DIVERGED = ("not finite", "is nan", "diverged")
"""Words in errors of diverged trainings, for records that are older than the field `failure`."""


def failure_of(status: str, error: str | None, failure: Failure | None = None) -> Failure | None:
    """Return the outcome of a failed run.

    It is read from the error if nothing else was stored.
    """
    if status != "failed" or failure is not None:
        return failure
    told = (error or "").lower()
    return "diverged" if any(words in told for words in _DIVERGED) else "failed"


@dataclass
class RunRecord:
    """Everything stored about one run.

    Attributes:
        key: Content key of the spec.
        fingerprint: Code fingerprint of the modules the job imported.
        status: Failed runs are stored too, apart from the finished ones.
        spec: `RunSpec` as plain JSON.
        label: Names for tables: method, architecture, protocol, setting, dataset, pretrain_data, preset.
        metrics: Numbers.
        seen_names: For the "saw evaluated class names" column.
        predictions: Per-object arrays (``ids``, ``labels``, ``logits`` or ``predicted``), by name.
        curves: Series by name, each a list of (step, value).
        cost: seconds by stage, peak memory, samples seen, parameters.
        provenance: commit, dirty flag, versions, host, device, seeds, times, paths.
        error: Exception text and log path of a failed run.
        failure: Outcome of a failed run: ``diverged`` where a number of its networks stopped being finite, else
            ``failed``; None for a finished one. Read off the error where an older bench stored no more.
    """

    key: str
    fingerprint: str
    status: Literal["done", "failed"]
    spec: dict[str, JsonValue]
    label: dict[str, str]
    metrics: list[Metric] = field(default_factory=list)
    seen_names: SeenNames | None = None
    predictions: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, JsonValue] = field(default_factory=dict)
    error: str | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        self.failure = failure_of(self.status, self.error, self.failure)

    @property
    def alike(self) -> str:
        """Name that specs share which differ in their seeds only; empty where that is not known."""
        return ""

    @property
    def seeds(self) -> tuple[int, int]:
        """Return the root seed and the split seed."""
        seed, split = self.spec.get("seed"), self.spec.get("split_seed")
        return seed if isinstance(seed, int) else 0, split if isinstance(split, int) else 0

    def recorded(self, name: str) -> JsonValue:
        """Return a field of the provenance; None where it has none."""
        return self.provenance.get(name)
