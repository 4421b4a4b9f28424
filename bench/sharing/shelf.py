"""Runs of a bundle, seen as those of a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.plan.skips import Skipped
from bench.report.build import BuiltReport, build_report
from bench.reporting import deviations_by_key
from bench.store.index import IndexedRun
from bench.store.queries import failed_runs, finished_runs, run_numbers
from bench.store.records import RunRecord
from bench.store.scan import View
from bench.store.store import Store, StoredRun


class Shelf(Store):
    """Runs that were read already, and a way to read one again.

    There is no folder and no database behind it.
    """

    def __init__(self, runs: Iterable[IndexedRun], read: Callable[[str], RunRecord]) -> None:
        """Take runs.

        Args:
            runs: The runs, with the texts that they name.
            read: Returns the whole record of a run, by its folder's name.
        """
        self.results, self.readonly, self.set_aside = Path(), True, []
        self._read = read
        view = View()
        for run in runs:
            view.texts.raw |= run.texts or {}
            run.texts = None
            view.runs.append(run)
        view.runs.sort(key=lambda run: (run.row.created_at, run.folder))
        self._seen = view

    def _whole(self, stored: StoredRun, taken: IndexedRun | None) -> RunRecord:
        """Read a whole run again, as its bundle or folder has it."""
        return self._read(stored.folder.as_posix())


def write_report_of(shelf: Shelf, out: Path, skipped: Sequence[Skipped]) -> BuiltReport:
    """Write the report of all runs of a shelf.

    It depends on the runs alone: not on places, nor on whether the code has changed since they were made.

    Args:
        shelf: The runs.
        out: Folder of the report.
        skipped: Combinations without runs, and why.

    Raises:
        SetupError: It cannot be written.
    """
    done, failed = finished_runs(shelf), failed_runs(shelf)
    records = [shelf.record(run) for run in (*done, *failed)]
    numbers = run_numbers(shelf, done, {})
    return build_report(numbers, records, out, skipped=skipped, deviations=deviations_by_key(records))
