"""``bench runs`` and ``bench why``: what is stored, and why it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.common import ResultsOption, StoreOption, VerifyOption, console, reading
from bench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from bench.store.queries import RunRow
    from bench.store.store import Store

COLUMNS = ("key", "code", "method", "protocol", "form", "setting", "dataset", "pretrained on", "preset", "seed")
TRIAL = "trial of a search"


def runs(
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Only this method; repeatable.")] = None,
    protocol: Annotated[list[str] | None, typer.Option("--protocol", "-p", help="Only this; repeatable.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this, as listed; repeatable.")] = None,
    preset: Annotated[list[str] | None, typer.Option(help="Only this preset; repeatable.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Runs that failed and were not done since, and why.")
    ] = False,
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """List stored runs with their keys, scores and what failed."""
    from rich.table import Table
    from rich.text import Text

    from bench.store.queries import failed_rows, metric_rows, nothing_stored, run_rows
    from bench.store.store import Store

    screen = console()
    store = Store.open_readonly(reading(results).results, store_url, verify=verify)
    broken = failed_rows(store, unresolved=True)
    rows = broken if failed else run_rows(store, every_fingerprint=True)
    if not rows:
        nothing = "no run failed, or what failed was done since" if failed else nothing_stored(store)
        screen.print(nothing, highlight=False, markup=False)
    rows = _narrow(rows, {"method": method, "protocol": protocol, "dataset": dataset, "preset": preset})
    scores = {
        (row.run_key, row.fingerprint): f"{100 * row.value:.1f} {row.name}"
        for row in reversed([] if failed else metric_rows(store, every_fingerprint=True))
        if row.headline and row.split == "test" and row.selection == "val" and row.fold is None
    }
    table = Table(box=None, pad_edge=False)
    drawn = any(row.split_seed for row in rows)
    changes = _changes(store, rows)
    marks = {text: f"({at})" for at, text in enumerate(dict.fromkeys(filter(None, changes)), start=1)}
    extra = [*(["split seed"] if drawn else []), *(["changed"] if marks else [])]
    for column in (*COLUMNS, *extra, "why" if failed else "test score, %"):
        table.add_column(column, overflow="fold")
    for row, changed in zip(rows, changes, strict=True):
        score = scores.get((row.stored.key, row.stored.fingerprint), "")
        told = [str(row.split_seed)] if drawn else []
        told += [marks.get(changed, "")] if marks else []
        told.append(row.error or "" if failed else TRIAL if row.trial else score)
        table.add_row(*map(Text, (*_labels(row), *told)))
    if rows:
        screen.print(table)
    for text, mark in marks.items():
        screen.print(f"{mark} changed of the preset: {text}", highlight=False, markup=False)
    if broken and not failed:
        screen.print(f"{len(broken)} failed runs are not listed: bench runs --failed", highlight=False)


def _changes(store: Store, rows: Sequence[RunRow]) -> list[str]:
    """Return each run's deviations from its preset; none if unreadable."""
    from bench.plan.deviations import DeviationReader
    from bench.store.folders import DamagedFolderError

    read, found = DeviationReader(), []
    for row in rows:
        try:
            found.append(", ".join(one.short for one in read(store.load(row.stored).spec)))
        except DamagedFolderError:
            found.append("")
    return found


def _narrow(rows: list[RunRow], wanted: Mapping[str, Sequence[str] | None]) -> list[RunRow]:
    """Keep the rows with the values asked for.

    Raises:
        UsageError: No row has one of the values, or none has them together.
    """
    asked = {field: values for field, values in wanted.items() if values}
    for field, values in asked.items() if rows else ():
        known = {str(getattr(row, field)) for row in rows}
        for name in values:
            if name not in known:
                raise unknown_name(f"{field} of a stored run", name, known)
    kept = [row for row in rows if all(getattr(row, field) in values for field, values in asked.items())]
    if rows and not kept:
        words = ", ".join(f"{field} {' or '.join(values)}" for field, values in asked.items())
        raise UsageError(f"no stored run has {words} together")
    return kept


def _labels(row: RunRow) -> tuple[str, ...]:
    return (
        row.stored.key[:12],
        row.stored.fingerprint[:8],
        f"{row.method} ({row.architecture})" if row.method == "scratch" else row.method,
        row.protocol,
        row.form,
        row.setting,
        row.dataset,
        row.pretrain_data,
        row.preset,
        str(row.seed),
    )


def why(
    first: Annotated[str, typer.Argument(metavar="A", help="Key of a run (first characters suffice), see bench runs.")],
    second: Annotated[
        str, typer.Argument(metavar="B", help="Key of another run, or KEY@CODE for one version of the code.")
    ],
    verify: VerifyOption = False,
    results: ResultsOption = None,
    store_url: StoreOption = None,
) -> None:
    """Say which field or module made two runs differ."""
    from bench.comparing.differences import explain

    for line in explain(reading(results), store_url, first, second, verify=verify):
        console().print(line, highlight=False, markup=False)
