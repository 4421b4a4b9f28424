"""``bench runs`` and ``bench why``: stored runs and their differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.api.results import load
from bench.cli.common import (
    DatasetFilter,
    JsonOption,
    MethodFilter,
    PresetFilter,
    ProtocolFilter,
    ResultsOption,
    StoreOption,
    VerifyOption,
    chosen_labels,
    console,
    print_json,
    print_json_list,
    reading,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.store.index import Head
    from bench.store.queries import RunRow
    from bench.store.store import Store

TRIAL = "trial of a search"
SHOWN = 200
"""Runs that are listed unless all are asked for; a screen of thousands is read by nobody."""


def runs(
    method: MethodFilter = None,
    protocol: ProtocolFilter = None,
    dataset: DatasetFilter = None,
    preset: PresetFilter = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Runs that failed and were not done since, and why.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help=f"The newest N only (default {SHOWN}).")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, as with --json.")] = False,
    json: JsonOption = False,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """List stored runs with their keys, scores and what failed."""
    from bench.store.queries import (
        failed_rows,
        fitting,
        nothing_stored,
        require_stored,
        run_rows,
    )
    from bench.store.store import Store

    screen = console()
    labels = chosen_labels(method, protocol, dataset, preset)
    if every and limit is not None:
        raise UsageError("--all and --limit contradict each other; give one of them")
    most = limit or (None if json or every else SHOWN)
    status: Literal["done", "failed"] = "failed" if failed else "done"
    unread = 0

    def choose(found: list[Head]) -> list[Head]:
        nonlocal unread
        own = [run for run in found if run.status == status]
        if most is None:
            return own
        unread = max(0, len(own) - most)
        return sorted(own, key=attrgetter("created_at"))[unread:]

    store = Store.open_readonly(
        reading(results).results, store_url, verify=verify, fits=fitting(labels) if labels else None, choose=choose
    )
    heads = store.heads()
    done = {run.key for run in heads if run.status == "done"}
    broken = {run.key for run in heads if run.status == "failed"} - done
    rows = failed_rows(store, unresolved=True) if failed else run_rows(store, every_fingerprint=True)
    if not (broken if failed else done) and not json:
        nothing = "no run failed, or what failed was done since" if failed else nothing_stored(store)
        screen.print(nothing, highlight=False, markup=False)
    require_stored(store, labels, status)
    rows = [row for row in rows if all(str(getattr(row, label)) in values for label, values in labels.items())]
    more = 0 if most is None else unread + max(0, len(rows) - most)
    rows = rows if most is None else rows[-most:]
    if json:
        print_json_list(one.as_json() for one in _listed(store, rows))
        return
    if rows:
        _print(list(_listed(store, rows)), failed, screen)
    if rows and more:
        screen.print(
            f"the newest {len(rows):,} of {len(rows) + more:,} runs; narrow with --method, --protocol, --dataset or "
            "--preset, or list more with --limit N or --all",
            highlight=False,
        )
    if broken and not failed:
        screen.print(f"{len(broken)} failed runs are not listed: bench runs --failed", highlight=False)


@dataclass(frozen=True)
class Listed:
    """A run as ``bench runs`` lists it.

    Attributes:
        row: The run.
        changed: Its deviations from the preset, in short.
        score: Name and value of its test score; None for a trial or a failed run.
    """

    row: RunRow
    changed: tuple[str, ...]
    score: tuple[str, float] | None

    def as_json(self) -> dict[str, object]:
        """Return the fields of ``bench runs --json`` (docs/results-folder.md#json-output)."""
        from bench.store.queries import LABELS

        row = self.row
        return {
            "key": row.stored.key,
            "code": row.stored.fingerprint,
            **{label: getattr(row, label) for label in LABELS},
            "status": "failed" if row.error is not None else "done",
            "trial": row.trial,
            "changed": list(self.changed),
            "metric": None if self.score is None else self.score[0],
            "score": None if self.score is None or not math.isfinite(self.score[1]) else self.score[1],
            "rescored": row.provenance.get("rescored", []),
            "error": row.error,
            "folder": str(row.stored.folder),
        }


def _print(listed: Sequence[Listed], failed: bool, screen: Console) -> None:
    """Print a table, with common values once above it."""
    from bench.report.plain import TextTable
    from bench.stats.deviations import ALL

    parts = [_parts(one.row) for one in listed]
    same = [len(listed) > 1 and len(set(column)) == 1 for column in zip(*parts, strict=True)]
    if common := " ".join(part for part, alike in zip(parts[0], same, strict=True) if alike and part):
        screen.print(f"all {len(listed)} runs: {common}", highlight=False, markup=False)
    marks = {text: f"({at})" for at, text in enumerate(dict.fromkeys(one.changed for one in listed if one.changed), 1)}
    metrics = {one.score[0] for one in listed if one.score is not None}
    single = f"test {next(iter(metrics)).replace('_', ' ')} %" if len(metrics) == 1 else "test score %"
    last = "why" if failed else single
    columns: dict[str, list[str]] = {
        "key": [one.row.stored.key[:12] for one in listed],
        "code": [one.row.stored.fingerprint[:8] for one in listed],
        "method": [_method(one.row) for one in listed],
        "judged by": [
            " ".join(part for part, alike in zip(own, same, strict=True) if part and not alike) for own in parts
        ],
        "seed": [str(one.row.seed) for one in listed],
        "split seed": [str(one.row.split_seed) if one.row.split_seed else "" for one in listed],
        "changed": [marks.get(one.changed, "") for one in listed],
        last: [
            one.row.error or "" if failed else TRIAL if one.row.trial else _score(one, len(metrics) > 1)
            for one in listed
        ],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    names = ("key", "code", "method")
    rows = zip(*kept.values(), strict=True)
    screen.print(
        TextTable(kept, rows, whole=names, drop=("code",), below=("why",), sink=("judged by",), right=("seed", single))
    )
    for changed, mark in marks.items():
        text = ", ".join(changed)
        unknown = text.removeprefix(f"{ALL}=")
        told = f"changed of the preset: {text}" if unknown == text else f"what is changed of the preset is {unknown}"
        screen.print(f"{mark} {told}", highlight=False, markup=False)


def _method(row: RunRow) -> str:
    return f"{row.method} ({row.architecture})" if row.method == "scratch" else row.method


def _parts(row: RunRow) -> tuple[str, ...]:
    """Describe how a run was judged, in parts.

    Several runs may have some parts in common.
    """
    return (
        row.protocol + ("" if row.form == "fair" else f" ({row.form} form)"),
        row.setting,
        f"on {row.dataset},",
        row.preset,
        "" if row.pretrain_data in ("", "none") else f"from {row.pretrain_data}",
    )


def _score(one: Listed, named: bool) -> str:
    if one.score is None:
        return ""
    return f"{100 * one.score[1]:.1f} {one.score[0]}" if named else f"{100 * one.score[1]:.1f}"


def _listed(store: Store, rows: Sequence[RunRow]) -> Iterator[Listed]:
    """Yield runs with deviations and scores, one by one.

    There may be 100,000.
    """
    from bench.plan.deviations import DeviationReader
    from bench.store.index import numbers

    read, texts = DeviationReader(), store.texts()
    by_folder = {store.stored(run).folder: run for run in store.runs()}
    for row in rows:
        run = by_folder[row.stored.folder]
        found = (
            (path.name, value)
            for path, value in numbers(run, texts)
            if path.headline and path.split == "test" and path.selection == "val" and path.fold is None
        )
        score = None if row.trial or run.status == "failed" else next(found, None)
        yield Listed(row, tuple(one.short for one in read(store.record(run))), score)


def why(
    first: Annotated[str, typer.Argument(metavar="A", help="Key of a run (first characters suffice), see bench runs.")],
    second: Annotated[
        str, typer.Argument(metavar="B", help="Key of another run, or KEY@CODE for one version of the code.")
    ],
    json: JsonOption = False,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Say which field or module made two runs differ."""
    found = load(results, store_url=store_url, verify=verify).why(first, second)
    if json:
        print_json(found.as_json())
        return
    for line in found.lines():
        console().print(line, highlight=False, markup=False, soft_wrap=True)
