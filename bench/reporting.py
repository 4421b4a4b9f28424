"""Read stored results and write reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.comparing.naming import class_names
from bench.errors import UsageError, unknown_name
from bench.paths import Workspace
from bench.plan.code import current_fingerprint
from bench.plan.deviations import DeviationReader
from bench.plan.skips import remembered
from bench.report import choice, contents
from bench.report.build import BuiltReport, report_model, require_writable, write_model, write_text
from bench.report.forms import ALWAYS, NAMES, FigureWidth, Format, PageFormat
from bench.report.model import ReportModel, build_model
from bench.report.page import PAGE_RENDERERS, page_document, read_page
from bench.report.terminal import render_terminal
from bench.stats.cells import SCRATCH, TEACHER_ALONE
from bench.stats.deviations import Deviations
from bench.store.index import IndexedRun
from bench.store.queries import (
    RunNumbers,
    failed_runs,
    finished_runs,
    fitting,
    nothing_stored,
    require_labels,
    require_stored,
    run_numbers,
)
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
    store = _opened(workspace, store_url, keys, labels or {}, verify)
    require_stored(store, labels or {})
    return _read(store, keys, labels or {})


def read_folders(
    workspaces: Sequence[Workspace],
    store_url: str | None,
    keys: Collection[str] | None = None,
    *,
    labels: Mapping[str, Collection[str]] | None = None,
    where: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
) -> choice.Runs:
    """Read and join the runs of several results folders.

    Args:
        workspaces: Results folders; one that is named twice is read once.
        store_url: Database URL of the only folder, or None.
        keys: As in `read_results`.
        labels: As in `read_results`; a value that one of the folders has will do.
        where: Accepted values of fields (`bench.report.choice.narrowed`).
        verify: As in `read_results`.

    Raises:
        UsageError: No run fits, or two folders have other numbers of one run.
    """
    places = {workspace.results.resolve(): workspace for workspace in workspaces}
    if len(places) > 1 and store_url is not None:
        raise UsageError("--store-url names the index of one results folder: give it with one --results")
    stores = [_opened(workspace, store_url, keys, labels or {}, verify) for workspace in places.values()]
    if labels:
        require_labels([head for store in stores for head in store.heads()], labels)
    found = [(store.results, _read(store, keys, labels or {})) for store in stores]
    return choice.narrowed(choice.joined(found) if len(found) > 1 else found[0][1], where or {})


def _opened(
    workspace: Workspace,
    store_url: str | None,
    keys: Collection[str] | None,
    labels: Mapping[str, Collection[str]],
    verify: bool,
) -> Store:
    return Store.open_readonly(
        workspace.results, store_url, keys=keys, verify=verify, fits=fitting(labels) if labels else None
    )


def _read(store: Store, keys: Collection[str] | None, labels: Mapping[str, Collection[str]]) -> choice.Runs:
    fits = fitting(labels)
    runs = [run for run in store.runs() if fits(run.row) and (keys is None or run.key in keys) and not run.row.trial]
    wanted = {run.key for run in runs}
    code = _CodeReader()
    current = {}
    for run in runs:
        if run.status == "done" and (digest := code(run, store)) is not None:
            current[run.key] = digest
    chosen = finished_runs(store, keys=wanted, current=current)
    failed = failed_runs(store, keys=wanted)
    found = run_numbers(store, chosen, current), [store.record(run) for run in (*chosen, *failed)]
    store.forget()
    return found


def keys_where(store: Store, keys: Collection[str] | None, where: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Return the keys of runs whose fields have some values.

    Args:
        store: The store.
        keys: Only the runs of these keys; None for all.
        where: Accepted values of fields (`bench.report.choice.narrowed`).

    Raises:
        UsageError: No run has such a field, such a value, or all of them together.
    """
    records = [store.record(run) for run in store.runs() if keys is None or run.key in keys]
    if not records:
        raise UsageError(nothing_stored(store))
    return frozenset(record.key for record in choice.narrowed(([], records), where)[1])


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
    model = build_model(numbers, records, deviations_by_key(records))
    return replace(model, skipped=tuple(remembered(workspace.results)))


def compared_results(
    workspace: Workspace,
    store_url: str | None,
    labels: Mapping[str, Collection[str]],
    *,
    keys: Collection[str] | None = None,
    verify: bool = False,
) -> ReportModel:
    """Return the content of a report about comparisons.

    Baselines stay beside the chosen methods, so that there is something to compare these with.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        labels: Only runs that have, of every label, one of these values.
        keys: Only the runs of these keys; None for all.
        verify: Believe nothing of the index.

    Raises:
        UsageError: No run has such labels.
    """
    others = {name: values for name, values in labels.items() if name != "method"}
    numbers, records = read_results(workspace, store_url, keys, labels=others, verify=verify)
    if chosen := labels.get("method"):
        known = {run.method for run in numbers}
        if strange := sorted(set(chosen) - known):
            raise unknown_name("method of a stored run", strange[0], known)
        kept = {*chosen, SCRATCH, TEACHER_ALONE}
        numbers = [run for run in numbers if run.method in kept]
        records = [record for record in records if record.label.get("method") in kept]
    return build_model(numbers, records, deviations_by_key(records))


def write_report(
    workspaces: Workspace | Sequence[Workspace],
    store_url: str | None,
    out: Path,
    screen: Console | None = None,
    *,
    selection: bool = False,
    keys: Collection[str] | None = None,
    labels: Mapping[str, Collection[str]] | None = None,
    where: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
    forms: Sequence[Format] = ALWAYS,
    title: str = "",
    group_by: str = "",
    figures: FigureWidth | None = None,
    published: bool = False,
) -> BuiltReport:
    """Write the report's files; print its tables if requested.

    Args:
        workspaces: Results folder, or several.
        store_url: Database URL of the only folder, or None.
        out: Folder of the report.
        screen: Screen for the tables, or for how selection changes them; None prints nothing.
        selection: Whether how selection changes the numbers is printed.
        keys: Only the runs of these keys; None for all.
        labels: Only runs that have, of every label, one of these values.
        where: Accepted values of fields (`bench.report.choice.narrowed`).
        verify: Believe nothing of the index: read every run folder.
        forms: Files to write.
        title: Title.
        group_by: Field whose values have tables of their own.
        figures: Width of figures that are written as files; None writes none.
        published: Whether published figures stand beside the runs.

    Raises:
        UsageError: No run fits, or two folders have other numbers of one run.
        SetupError: The folder cannot be written.
    """
    require_writable(out)
    places = [workspaces] if isinstance(workspaces, Workspace) else list(workspaces)

    def content() -> ReportModel:  # Of which the runs are freed before its files are made.
        numbers, records = read_folders(places, store_url, keys, labels=labels, where=where, verify=verify)
        return report_model(
            numbers,
            records,
            deviations_by_key(records),
            forms=forms,
            group_by=group_by,
            class_names=lambda record: class_names(places[0], record),
        )

    model = content()
    whole = keys is None and not labels and not where
    studies = [study for place in places for study in read_studies(place.results)] if whole else []
    skipped = [one for place in places for one in remembered(place.results)]
    model = replace(model, studies=tuple(studies), skipped=tuple(dict.fromkeys(skipped)))
    return write_model(
        model,
        out,
        console=screen,
        selection=selection,
        forms=forms,
        title=title,
        figures=figures,
        published=published,
    )


def write_page(
    workspaces: Sequence[Workspace],
    store_url: str | None,
    page: Path,
    form: PageFormat = "markdown",
    title: str = "",
) -> Path:
    """Write the page that a YAML file describes.

    See `bench.report.page`; it lies beside that file.

    Args:
        workspaces: Results folders.
        store_url: Database URL of the only folder, or None.
        page: The YAML file.
        form: Form of the page.
        title: Title; that of the file by default.

    Returns:
        Path of the page.

    Raises:
        UsageError: The file describes no page, or no stored run fits any section.
        SetupError: The page cannot be written.
    """
    described = read_page(page)
    numbers, records = read_folders(workspaces, store_url)
    out = page.with_suffix(Path(NAMES[form]).suffix)
    document = page_document(described, str(page), numbers, records, deviations_by_key(records))
    write_text(out, PAGE_RENDERERS[form](replace(document, title=title or document.title)))
    return out


def deviations_by_key(records: Iterable[RunRecord]) -> dict[str, Deviations]:
    """Return each run's deviations from its preset."""
    read = DeviationReader()
    return {record.key: read(record) for record in records}
