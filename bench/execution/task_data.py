"""Objects of a task: all, a part, or common classes.

Common classes are those of a training and another test set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.data.base import CloudSet
from bench.data.splits import nested_subset, object_groups
from bench.data.transfer import common_classes, restrict
from bench.protocols.base import Origin
from bench.seeds import derive
from bench.spec import RunSpec, content_key

FEWEST_LABELS = 2
"""Least number of labelled objects per class: one to train on, one to validate on."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskData:
    """Data that a run's protocol is given.

    Attributes:
        train: Training split.
        test: Test split.
        manifest: Digest of what is in them.
        origins: Position of the objects in whole data sets, see `bench.protocols.base.Task`.
        notes: Objects left out, for the record.
    """

    train: CloudSet
    test: CloudSet
    manifest: str
    origins: dict[str, Origin] = field(default_factory=dict)
    notes: dict[str, JsonValue] = field(default_factory=dict)


def task_data(run: RunSpec, train: CloudSet, test: CloudSet) -> TaskData:
    """Select the objects of a run.

    Args:
        run: The run.
        train: Whole training split of `run.train_data`, or of `run.data` where there is no such.
        test: Whole test split of `run.data`.

    Raises:
        DataError: Fewer than two common classes have objects.
    """
    if run.train_data is None and run.label_fraction == 1:
        return TaskData(train, test, run.data.manifest)
    facts: dict[str, JsonValue] = {"test": run.data.manifest}
    notes: dict[str, JsonValue] = {}
    origins: dict[str, Origin] = {}
    trained_on = run.train_data or run.data
    rows = np.arange(len(train), dtype=np.int64)
    kept = train
    if run.train_data is not None:
        common = common_classes(train.classes, test.classes)
        kept, rows = restrict(train, common.train, common.names)
        every = test
        test, test_rows = restrict(test, common.test, common.names)
        origins["test"] = Origin(run.data.manifest, every.points, test_rows, every.normals)
        facts["train"] = run.train_data.manifest
        notes["classes"] = common.describe()
    if run.label_fraction < 1:
        seed = _labels_seed(run)
        kept, taken, notes["labels"] = _labelled_part(kept, run.label_fraction, seed)
        rows = rows[taken]
        facts |= {"labels": run.label_fraction, "seed": seed}
    origins["train"] = Origin(trained_on.manifest, train.points, rows, train.normals)
    return TaskData(kept, test, content_key(facts), origins, notes)


def _labels_seed(run: RunSpec) -> int:
    """Return the seed for drawing labels.

    It differs for each pretraining seed and each split seed.
    """
    return derive(run.seed, "split", "labels", run.split_seed) if run.split_seed else run.seed


def _labelled_part(train: CloudSet, fraction: float, seed: int) -> tuple[CloudSet, Index, str]:
    """Select the labelled part; protocols take validation objects from it."""
    groups = object_groups(train.ids)
    taken = nested_subset(train.labels, fraction, seed, "labels", groups, FEWEST_LABELS)
    asked = nested_subset(train.labels, fraction, seed, "labels", groups)
    note = f"{len(taken)} of {len(train)} training objects are labelled ({100 * fraction:g} %)"
    if len(taken) > len(asked):
        note += f": {len(asked)} would be the share, but every class keeps {FEWEST_LABELS}, one of them for choices"
    return train.subset(taken), taken, note
