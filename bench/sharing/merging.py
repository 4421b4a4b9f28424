"""Take runs of other machines into a results folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import SetupError, UsageError
from bench.paths import Workspace
from bench.plan.skips import Skipped, remembered, take_in
from bench.sharing.archive import SKIPPED, opened
from bench.sharing.bundling import files_of
from bench.sharing.checking import Examined, Finding, Numbers, checked_head, malformed, numbers_of, wrong_number
from bench.store import folders
from bench.store.codec import Content
from bench.store.failures import file_failure
from bench.store.folders import DamagedFolderError
from bench.store.maintenance import sweep
from bench.store.records import MetricPath
from bench.store.scan import check_run, run_folders
from bench.store.store import Store

_SAME = 1e-9
"""Largest difference between the same numbers computed on two machines."""


@dataclass
class Merged:
    """Result of taking runs in.

    Attributes:
        done: Finished runs taken in.
        failed: Failed runs taken in.
        there: Runs that were there already.
        skipped: Skipped combinations that were not known yet.
        unverified: Runs taken in of which no test score follows from predictions, with the reason.
        beside: Runs taken in beside other numbers of the same key, which another version of the code gave.
        conflicts: Runs left out because the same run is there with other numbers.
        refused: Runs left out because they are damaged or their numbers do not follow from their predictions.
    """

    done: int = 0
    failed: int = 0
    there: int = 0
    skipped: int = 0
    unverified: dict[str, str] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)
    conflicts: list[Finding] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)


Files = Mapping[str, bytes]


def merge(workspace: Workspace, store_url: str | None, source: Path) -> Merged:
    """Take the runs of another results folder, or of a bundle, in.

    Every run is verified first. Run folders come in whole, byte for byte, each by one rename, so that a merge that was
    killed is completed by the next one; nothing that is there is changed.

    Args:
        workspace: Results folder, made if need be.
        store_url: Database URL, or None.
        source: The other results folder, or a bundle.

    Raises:
        UsageError: There is nothing to take in.
        DataError: The bundle is not safe to read.
        SetupError: The results folder cannot be written.
    """
    if source.is_dir() and workspace.results.is_dir() and source.samefile(workspace.results):
        raise UsageError(f"{source} is the results folder itself; name another one or a bundle")
    _require_runs(source)
    found = Merged()
    store = Store(workspace.results, store_url)
    sweep(store.database)
    try:
        skipped: list[Skipped] = []
        for name, files in _runs_of(source, found, skipped):
            _take(store, name, files, found)
        found.skipped = take_in(workspace.results, skipped)
    finally:
        store.refresh()
    return found


def _runs_of(source: Path, found: Merged, skipped: list[Skipped]) -> Iterator[tuple[str, Files]]:
    """Yield the run folders of a results folder or a bundle.

    Adds its skipped combinations.
    """
    if not source.is_dir():
        with opened(source) as archive:
            told = Examined(source)
            named = checked_head(archive, told)["runs"]
            found.refused += (wrong := [one for one in told.findings if one.where == SKIPPED])
            skipped += [] if wrong else told.skipped
            for name in archive.runs:
                if name not in named:
                    found.refused.append(Finding(name, "the bundle does not name it in bundle.json"))
                else:
                    yield name, archive.run(name)
            for name in sorted(set(named) - set(archive.runs)):
                found.refused.append(Finding(name, "the bundle names it and does not have it"))
        return
    skipped += remembered(source)
    for folder in run_folders(source):
        name = folder.relative_to(source).as_posix()
        try:
            yield name, files_of(source, name)
        except DamagedFolderError as damage:
            found.refused.append(Finding(name, damage.reason))


def _require_runs(source: Path) -> None:
    """Refuse a source without runs before anything is made."""
    if not source.is_dir():
        with opened(source):
            return
    if next(iter(run_folders(source)), None) is None:
        raise UsageError(f"no runs in {source}; give a results folder, or a file that bench bundle create wrote")


def _take(store: Store, name: str, files: Files, found: Merged) -> None:
    """Verify a run and place its folder."""
    try:
        run, content = check_run(name, files, keep=True)
    except SetupError as error:
        found.refused.append(Finding(name, error.reason if isinstance(error, DamagedFolderError) else str(error)))
        return
    numbers = numbers_of(content)
    if wrong := [check for check in numbers.checks if not check.holds]:
        found.refused.append(wrong_number(name, wrong[0]))
        return
    if numbers.malformed:
        found.refused.append(malformed(name, numbers))
        return
    destination = store.results / name
    if destination.exists():
        _meet(store, name, content, found)
        return
    if run.status == "done" and (other := _other_code(store, name, content)):
        found.beside.append(other)
    _place(store, destination, files)
    _note(run.status, name, numbers, found)


def _note(status: str, name: str, numbers: Numbers, found: Merged) -> None:
    found.done += status == "done"
    found.failed += status == "failed"
    if numbers.unreadable:
        found.unverified[name] = numbers.unreadable


def _meet(store: Store, name: str, content: Content, found: Merged) -> None:
    """Compare a run with the one that is there."""
    try:
        _, own = check_run(name, files_of(store.results, name))
    except DamagedFolderError as damage:
        words = f"the run that is here is damaged ({damage.reason}); bench db rebuild sets it aside, then merge again"
        found.conflicts.append(Finding(name, words))
        return
    difference = _difference(own, content)
    if difference:
        found.conflicts.append(Finding(name, f"{difference}; kept what is here"))
    else:
        found.there += 1


def _other_code(store: Store, name: str, content: Content) -> str:
    """Say how a run of the same key by other code differs.

    Empty where there is none, or its numbers are the same.
    """
    parent = (store.results / name).parent
    for folder in folders.subfolders(parent):
        other = folder.relative_to(store.results).as_posix()
        try:
            _, own = check_run(other, files_of(store.results, other))
        except SetupError:
            continue
        if words := _difference(own, content):
            return f"{name}: {words} by code {folder.name}; both are kept, and tables show the newer one"
    return ""


def _difference(here: Content, there: Content) -> str:
    """Describe the first number in which two runs differ."""
    own, theirs = _numbers(here), _numbers(there)
    for path in own.keys() | theirs.keys():
        if path not in own or path not in theirs:
            return f"{_title(path)} is {'here' if path in own else 'there'} only"
    different = [path for path, value in own.items() if not _close(value, theirs[path])]
    if different:
        # The headline says most.
        path = next((one for one in different if one.headline and one.split == "test"), different[0])
        return f"{_title(path)} is {own[path]:.6f} here and {theirs[path]:.6f} there"
    return "" if here.error == there.error else "the error is another one"


def _numbers(content: Content) -> dict[MetricPath, float]:
    return {
        MetricPath(**{name: getattr(row, name) for name in MetricPath._fields}): row.value for row in content.rows()
    }


def _close(first: float, second: float) -> bool:
    return first == second or abs(first - second) <= _SAME or (first != first and second != second)


def _title(path: MetricPath) -> str:
    fold = "" if path.fold is None else f" of fold {path.fold}"
    return f"{path.name}{f' of {path.variant}' if path.variant else ''}{fold} ({path.split})"


def _place(store: Store, destination: Path, files: Files) -> None:
    """Write a run folder and rename it into place."""
    try:
        staged = folders.stage(destination.parent.parent, files)
        try:
            folders.flush(staged)
            folders.place(staged, destination, lambda damage: folders.quarantine(store.results, damage.folder, "merge"))
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        raise file_failure("write", destination, error) from error
