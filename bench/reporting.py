"""Read stored results and write reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from rich.console import Console

from bench.paths import Workspace
from bench.plan.code import current_fingerprint
from bench.plan.deviations import DeviationReader
from bench.report import contents
from bench.report.build import BuiltReport, build_report, require_writable, write_text
from bench.report.model import ReportModel, build_model
from bench.report.page import read_page, render_page
from bench.report.terminal import render_terminal
from bench.stats.deviations import Deviations
from bench.store.index import IndexedRun
from bench.store.queries import RunNumbers, failed_runs, finished_runs, fitting, require_stored, run_numbers
from bench.store.records import RunRecord
from bench.store.store import Store
from bench.tuning.studies import read_studies


def read_results(
    workspace: Workspace,
    store_url: str | None,
    keys: Collection[str] | None = None,
    *,
    labels: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
) -> tuple[list[RunNumbers], list[RunRecord]]:
    """Read numbers and records of selected runs.

    Rows of the index count while they are unaltered and their folders are as they were; all else is read from the run
    folders, every checksum verified. Runs made by code that has changed since are marked; damaged ones are named and
    left out. Trials of searches are left out too: their test scores may not be looked at.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        keys: Only the runs of these keys; None for all.
        labels: Only runs that have, of every label, one of these values.
        verify: Believe nothing of the index: read every run folder.

    Raises:
        UsageError: No run has such labels.
    """
    fits = fitting(labels or {})
    store = Store.open_readonly(
        workspace.results,
        store_url,
        keys=keys,
        verify=verify,
        choose=(lambda heads: list(filter(fits, heads))) if labels else None,
    )
    if labels:
        require_stored(store, labels)
    runs = [run for run in store.runs() if fits(run.row) and (keys is None or run.key in keys) and not run.row.trial]
    wanted = {run.key for run in runs}
    code = _CodeReader()
    current = {}
    for run in runs:
        if run.status == "done" and (digest := code(run, store)) is not None:
            current[run.key] = digest
    chosen = finished_runs(store, keys=wanted, current=current)
    failed = failed_runs(store, keys=wanted)
    return run_numbers(store, chosen, current), [store.record(run) for run in (*chosen, *failed)]


class _CodeReader:
    """Computes the present code's fingerprint for stored runs.

    Once for those that differ in their seeds only.
    """

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def __call__(self, run: IndexedRun, store: Store) -> str | None:
        """Return the digest of today's code for a run.

        None if a plugin of it is missing.
        """
        if run.row.spec not in self._known:
            self._known[run.row.spec] = current_fingerprint(store.record(run))
        return self._known[run.row.spec]


def print_results(
    workspace: Workspace, store_url: str | None, screen: Console, keys: Collection[str] | None = None
) -> None:
    """Print the tables of stored runs."""
    render_terminal(contents.report(read_model(workspace, store_url, keys)), screen)


def read_model(workspace: Workspace, store_url: str | None, keys: Collection[str] | None = None) -> ReportModel:
    """Return the content of a report (see `read_results`)."""
    numbers, records = read_results(workspace, store_url, keys)
    return build_model(numbers, records, deviations_by_key(records))


def write_report(
    workspace: Workspace,
    store_url: str | None,
    out: Path,
    screen: Console | None = None,
    *,
    selection: bool = False,
    keys: Collection[str] | None = None,
    labels: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
) -> BuiltReport:
    """Write the report's files; print its tables if requested.

    With a screen, the tables are printed, or how selection changes them.
    """
    require_writable(out)
    numbers, records = read_results(workspace, store_url, keys, labels=labels, verify=verify)
    studies = read_studies(workspace.results) if keys is None and not labels else ()
    deviations = deviations_by_key(records)
    return build_report(
        numbers, records, out, console=screen, selection=selection, studies=studies, deviations=deviations
    )


def write_page(workspace: Workspace, store_url: str | None, page: Path, screen: Console) -> Path:
    """Write the Markdown page that a YAML file describes.

    See `bench.report.page`; it lies beside that file.

    Returns:
        Path of the page.

    Raises:
        UsageError: The file describes no page, or no stored run fits any section.
        SetupError: The page cannot be written.
    """
    described = read_page(page)
    numbers, records = read_results(workspace, store_url)
    out = page.with_suffix(".md")
    write_text(out, render_page(described, str(page), numbers, records, deviations_by_key(records)))
    return out


def deviations_by_key(records: Iterable[RunRecord]) -> dict[str, Deviations]:
    """Return each run's deviations from its preset."""
    read = DeviationReader()
    return {record.key: read(record.spec) for record in records}
