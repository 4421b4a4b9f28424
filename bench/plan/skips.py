"""Say which combinations of a request are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.store.publish import write_whole

Names = tuple[str, ...]
_FILE = "skipped.json"


@dataclass(frozen=True)
class Skipped:
    """A combination that does not apply, with the reason."""

    method: str
    protocol: str
    dataset: str
    reason: str


def skip_lines(skipped: Sequence[Skipped], methods: Iterable[str]) -> list[str]:
    """Say what is skipped and why, in few lines.

    Together the lines name exactly the given combinations.

    Args:
        skipped: Combinations.
        methods: Every method of the request, to say "every method" instead of naming them.

    Returns:
        Lines such as ``linear, svm on shapes-rooms (every method): the data set has no labelled objects``.
    """
    everyone = {*methods, *(one.method for one in skipped)}
    by_place: dict[tuple[str, str, str], list[str]] = {}
    for one in skipped:
        by_place.setdefault((one.reason, one.protocol, one.dataset), []).append(one.method)
    by_protocol: dict[tuple[str, str, Names], list[str]] = {}
    for (reason, protocol, dataset), names in by_place.items():
        by_protocol.setdefault((reason, protocol, tuple(dict.fromkeys(names))), []).append(dataset)
    merged: dict[tuple[str, Names, Names], list[str]] = {}
    for (reason, protocol, names_), datasets in by_protocol.items():
        merged.setdefault((reason, names_, tuple(datasets)), []).append(protocol)
    lines = []
    for (reason, names_, datasets_), protocols in merged.items():
        who = "every method" if len(everyone) > 1 and set(names_) == everyone else ", ".join(names_)
        lines.append(f"{', '.join(protocols)} on {', '.join(datasets_)} ({who}): {reason}")
    return lines


def remember(results: Path, skipped: Sequence[Skipped]) -> None:
    """Keep why combinations were skipped, for reports of the results folder.

    What an earlier plan said of the same combinations is replaced.

    Raises:
        SetupError: The file cannot be written.
    """
    before = remembered(results)
    again = {astuple(one)[:3] for one in skipped}
    found = [*(one for one in before if astuple(one)[:3] not in again), *skipped]
    if found != before:
        write_whole(results / _FILE, json.dumps([astuple(one) for one in found], indent=1) + "\n", "the skipped runs")


def remembered(results: Path) -> list[Skipped]:
    """Return what plans of a results folder skipped; nothing if it is not known."""
    try:
        stored = json.loads((results / _FILE).read_bytes())
        return [Skipped(*map(str, one)) for one in stored if len(one) == 4]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
