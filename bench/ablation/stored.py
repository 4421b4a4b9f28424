"""Ablations kept in the results folder, read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench.ablation.designs import Design
from bench.errors import UsageError
from bench.spec import Frozen
from bench.store.publish import write_whole

FOLDER = "ablations"


class StoredAxis(Frozen):
    """An axis.

    `source` is empty for a user's own.
    """

    path: str
    label: str
    values: tuple[str, ...]
    source: str = ""


class StoredSetting(Frozen):
    """A setting: the value of each axis, and the keys of its runs."""

    values: tuple[str, ...]
    runs: tuple[str, ...]


class StoredAblation(Frozen):
    """An ablation; its runs lie in the results folder like all others."""

    version: Literal[1] = 1
    name: str
    method: str
    preset: str
    design: Design
    axes: tuple[StoredAxis, ...]
    base: tuple[str, ...]
    settings: tuple[StoredSetting, ...]
    left_out: tuple[str, ...] = ()

    @property
    def reference(self) -> tuple[str, ...]:
        """Return the reference value of each axis.

        It is the base where that was tried, else the first value.
        """
        tried = [{setting.values[at] for setting in self.settings} for at in range(len(self.axes))]
        return tuple(
            base if base in own else axis.values[0] for axis, base, own in zip(self.axes, self.base, tried, strict=True)
        )

    @property
    def effects(self) -> int:
        """Return how many main effects and interactions each of its tables tests."""
        from bench.stats.effects import Tried, effects
        from bench.stats.intervals import Unit

        run = {Unit(0, 0): "planned"}
        tried = [Tried(setting.values, {}, {}, run, 1) for setting in self.settings]
        labels = [axis.label for axis in self.axes]
        return len(effects(labels, tried, self.reference, fraction=self.design == "fractional"))


def keep(results: Path, ablation: StoredAblation) -> None:
    """Write an ablation; runs of earlier seeds stay in it.

    Raises:
        SetupError: It cannot be written.
    """
    path = results / FOLDER / f"{ablation.name}.json"
    earlier = {}
    if path.is_file():
        try:
            earlier = {one.values: one.runs for one in _read(path).settings}
        except UsageError:
            earlier = {}
    merged = tuple(
        StoredSetting(values=one.values, runs=tuple(dict.fromkeys((*earlier.get(one.values, ()), *one.runs))))
        for one in ablation.settings
    )
    whole = ablation.model_copy(update={"settings": merged})
    write_whole(path, whole.model_dump_json(indent=1), "the ablation")


def stored_ablations(
    results: Path, method: str, axes: Sequence[str] = (), design: Design | None = None
) -> list[StoredAblation]:
    """Return the stored ablations of a method.

    Args:
        results: Results folder.
        method: The method.
        axes: Only those of exactly these axes, by path or short name; all by default.
        design: Only those of this design.

    Raises:
        UsageError: There is none, or a file is damaged.
    """
    known = [_read(path) for path in sorted((results / FOLDER).glob("*.json"))]
    own = [one for one in known if one.method == method]
    found = [
        one
        for one in own
        if design in (None, one.design)
        and (not axes or (len(axes) == len(one.axes) and all(a.path in axes or a.label in axes for a in one.axes)))
    ]
    if not found:
        told = "; ".join(dict.fromkeys(", ".join(axis.label for axis in one.axes) for one in own))
        others = sorted({one.method for one in known})
        there = (
            f"; stored are those over {told}" if own else f"; stored are those of {', '.join(others)}" if others else ""
        )
        raise UsageError(
            f"no such ablation of {method} is stored in {results}{there}; without --no-run it is made of stored runs"
        )
    return found


def stored_ablation(results: Path, name: str) -> StoredAblation:
    """Return the ablation of a name.

    Raises:
        UsageError: It was never run, or its file is damaged.
    """
    path = results / FOLDER / f"{name}.json"
    if not path.is_file():
        raise UsageError("this study was never run; call run(), or plan() to see what it takes")
    return _read(path)


def _read(path: Path) -> StoredAblation:
    try:
        found = StoredAblation.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{path} cannot be read as an ablation ({reason}); delete it and give bench ablate again: it runs "
            "nothing twice"
        ) from error
    return found
