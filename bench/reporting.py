"""From the store to tables and files."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from rich.console import Console

from bench.paths import Workspace
from bench.plan.code import current_fingerprint
from bench.plan.deviations import DeviationReader
from bench.report.build import build_report, write_text
from bench.report.model import ReportModel, build_model
from bench.report.page import read_page, render_page
from bench.report.summary import summarise_report
from bench.report.terminal import print_report
from bench.stats.deviations import Deviations
from bench.store.queries import MetricRow, failed_rows, metric_rows, run_rows
from bench.store.records import RunRecord
from bench.store.store import Store
from bench.tuning.studies import read_studies


def read_results(
    workspace: Workspace, store_url: str | None, keys: Collection[str] | None = None
) -> tuple[list[MetricRow], list[RunRecord]]:
    """Read metric rows and records, of all runs or of those with the given keys.

    Every number is read from the run folders, every checksum verified; the index is believed nothing. Runs made by
    code that has changed since are marked; damaged ones are named and left out. Trials of searches are left out too:
    their test scores may not be looked at.
    """
    store = Store.open_readonly(workspace.results, store_url, keys=keys, verify=True, keep=True)
    newest = [store.load(row.stored) for row in run_rows(store, keys=keys)]
    current = {record.key: digest for record in newest if (digest := current_fingerprint(record)) is not None}
    rows = metric_rows(store, keys=keys, current=current)
    chosen = [store.load(row.stored) for row in run_rows(store, keys=keys, current=current)]
    failed = [store.load(row.stored) for row in failed_rows(store, keys=keys, unresolved=True)]
    records = [*chosen, *failed]
    trials = {record.key for record in records if record.spec.get("trial")}
    return [row for row in rows if row.run_key not in trials], [r for r in records if r.key not in trials]


def print_results(
    workspace: Workspace, store_url: str | None, screen: Console, keys: Collection[str] | None = None
) -> None:
    """Print the tables of stored runs."""
    model = read_model(workspace, store_url, keys)
    print_report(model, tuple(summarise_report(model)), screen)


def read_model(workspace: Workspace, store_url: str | None, keys: Collection[str] | None = None) -> ReportModel:
    """Return what a report says of all runs, or of those with the given keys (see `read_results`)."""
    rows, records = read_results(workspace, store_url, keys)
    return build_model(rows, records, deviations_by_key(records))


def write_report(
    workspace: Workspace,
    store_url: str | None,
    out: Path,
    screen: Console | None = None,
    *,
    selection: bool = False,
    keys: Collection[str] | None = None,
) -> Path:
    """Write the report's files; with a screen, print the tables, or how selection changes them.

    Returns:
        Path of the HTML page.
    """
    rows, records = read_results(workspace, store_url, keys)
    studies = read_studies(workspace.results) if keys is None else ()
    deviations = deviations_by_key(records)
    return build_report(
        rows, records, out, console=screen, selection=selection, studies=studies, deviations=deviations
    ).html


def write_page(workspace: Workspace, store_url: str | None, page: Path, screen: Console) -> Path:
    """Write the Markdown page that a YAML file describes (`bench.report.page`), beside that file.

    Returns:
        Path of the page.

    Raises:
        UsageError: The file describes no page, or no stored run fits any section.
        SetupError: The page cannot be written.
    """
    described = read_page(page)
    rows, records = read_results(workspace, store_url)
    out = page.with_suffix(".md")
    write_text(out, render_page(described, str(page), rows, records, deviations_by_key(records)))
    return out


def deviations_by_key(records: Iterable[RunRecord]) -> dict[str, Deviations]:
    """Name what each run has that its preset would not give it."""
    read = DeviationReader()
    return {record.key: read(record.spec) for record in records}
