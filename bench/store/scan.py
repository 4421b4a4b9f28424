"""Compare run folders with the index; read what differs."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import SetupError
from bench.signals import stop_signals
from bench.store import codec, files, folders, index
from bench.store.codec import Content
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.folders import DamagedFolderError
from bench.store.index import Brief, Head, IndexedRun
from bench.store.records import RunRecord
from bench.store.shared import Texts

RUNS = "runs"
FAILED = "failed"
KIND = "run"

_NAMED = 3
"""Folders that a line names before it only counts."""
_TRIES = 5
FILES = (folders.MANIFEST, *codec.LIMITS)
"""Files of a run folder."""
_TICK = 2.0
"""Seconds that the coarsest clock of a file system may stand still."""
_MANY = 2_000
"""From so many folders on, several processes read them."""
_READERS = 8


@dataclass
class View:
    """State of the run folders, and differences from the index.

    Attributes:
        runs: Every sound run, oldest first.
        records: Whole records by folder, if requested.
        damaged: Damaged folders, which nothing may use.
        refused: Folders that this bench or this user cannot read, with the reason.
        fresh: Runs that were read from their folder, and whose row is not the same.
        missing: Folders without a row.
        altered: Folders whose row was altered.
        changed: Folders whose content changed after it was indexed.
        moved: Folders whose files have other times or places than when they were indexed, with the same content.
        gone: Rows without a folder.
        others: Heads of rows that were not chosen; their folders were not read.
        unlisted: Rows of runs alone in their parent folder that lack its state, with that state.
        texts: Texts that the rows of `runs` name.
        new_texts: Texts of the runs that were read from their folders, by name.
        indexed: Heads of index rows by folder; None for an altered row.
    """

    runs: list[IndexedRun] = field(default_factory=list)
    records: dict[str, RunRecord] = field(default_factory=dict)
    damaged: list[DamagedFolderError] = field(default_factory=list)
    refused: list[tuple[Path, SetupError]] = field(default_factory=list)
    fresh: list[IndexedRun] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    others: list[Head] = field(default_factory=list)
    unlisted: list[tuple[IndexedRun, str]] = field(default_factory=list)
    texts: Texts = field(default_factory=Texts)
    new_texts: dict[str, str] = field(default_factory=dict)
    indexed: Mapping[str, Head | None] = field(default_factory=dict)

    @functools.cached_property
    def by_key(self) -> dict[str, list[IndexedRun]]:
        """Finished runs by key, oldest first."""
        found: dict[str, list[IndexedRun]] = {}
        for run in self.runs:
            if run.status == "done":
                found.setdefault(run.key, []).append(run)
        return found

    def disagreement(self) -> str:
        """Describe how index and folders differ; empty if they agree."""
        said = {
            "row altered": self.altered,
            "row without a run folder": self.gone,
            "run folder changed since it was indexed": self.changed,
            "run folder copied or touched since it was indexed": self.moved,
            "run folder not in it": self.missing,
        }
        return "; ".join(f"{len(names)} x {what} ({_some(names)})" for what, names in said.items() if names)


def look(
    results: Path,
    indexed: Mapping[str, Head | None],
    complete: Callable[[list[Head]], Iterator[IndexedRun]] | None = None,
    *,
    keys: Collection[str] | None = None,
    verify: bool = False,
    keep: bool = False,
    fits: Fits | None = None,
    choose: Choose | None = None,
    texts: Texts | None = None,
) -> View:
    """Look at run folders beside the index; change nothing.

    A row is taken where it is unaltered and the signature of its folder's files is the one it was made with. All
    other folders are read, every checksum verified. Rows must be read before this is called: a run is placed before
    it is indexed, so that every row of a sound index has its folder by then.

    Args:
        results: Results folder.
        indexed: Rows of the index by folder (`bench.store.index.heads`).
        complete: Reads whole rows and yields the unaltered ones. None without an index.
        keys: Only the runs of these keys; None for all.
        verify: Read every folder, predictions and curves too.
        keep: Keep the whole records of the folders that are read.
        fits: Says by its labels whether a row may be wanted. Of one that may not, only the name of its key's folder
            is looked for: other runs of that key have the same labels.
        choose: Picks the rows that are wanted, of those that fit; of the others only the place of the folder is looked
            at. Runs without a row are read, whatever they are.
        texts: Receives the texts that `complete` reads.
    """
    view, there = View(texts=texts or Texts(), indexed=indexed), set()
    rows: list[Head] = []
    unread: list[str] = []
    unlisted: dict[str, str] = {}
    for name, row, state in _entries(results, indexed, keys, fits):
        there.add(name)
        if row is None:
            unread.append(name)
        elif state is None:
            view.others.append(row)
        else:
            rows.append(row)
            if state and state != row.listed:
                unlisted[name] = state
    wanted = rows if choose is None else choose(rows)
    known: dict[str, Brief] = {}
    told = () if complete is None else complete(wanted)
    if verify:  # Of the old rows only what is compared: both old and new ones of 100,000 runs fill the memory.
        known = {run.folder: Brief.of(run) for run in told}
    else:
        for run in list(told):
            if run.row.signature == _signature(f"{results}/{run.folder}"):
                view.runs.append(run)
            else:
                known[run.folder] = Brief.of(run)
    taken = {run.folder: run for run in view.runs}
    unread += [head.folder for head in wanted if head.folder not in taken]
    chosen = {head.folder for head in wanted}
    view.others += [head for head in rows if head.folder not in chosen]
    view.unlisted = [(taken[name], state) for name, state in unlisted.items() if name in taken]
    once: dict[Any, Any] = {}
    for name, found in _read_all(results, unread, series=verify or keep, keep=keep):
        if not isinstance(found, SetupError):
            found[0].row = index.shared_row(found[0].row, once)
        _note(view, results, name, known.get(name), found)
    view.texts.raw |= view.new_texts
    view.runs.sort(key=lambda run: (run.row.created_at, run.folder))
    view.gone = sorted(name for name in indexed if name not in there and _key(name, keys))
    return view


Read = tuple[IndexedRun, RunRecord | None]
Fits = Callable[[Head], bool]
Choose = Callable[[list[Head]], list[Head]]


def _note(view: View, results: Path, name: str, row: Brief | None, found: Read | SetupError) -> None:
    """Add a folder's finding to a view, beside what its row says."""
    folder = results / name
    if isinstance(found, DamagedFolderError):
        if folder.exists() or folder.is_symlink():  # Otherwise another process has moved it.
            view.damaged.append(found)
        return
    if isinstance(found, SetupError):
        view.refused.append((folder, found))
        return
    run, record = found
    new = Brief.of(run)
    view.runs.append(run)
    if row is None or row.digest != new.digest:
        view.fresh.append(run)
    view.new_texts |= run.texts or {}
    run.texts = None
    if record is not None:
        view.records[name] = record
    if name not in view.indexed:
        view.missing.append(name)
    elif row is None:
        view.altered.append(name)
    elif row.content != new.content:
        (view.altered if row.signature == new.signature else view.changed).append(name)
    elif row.signature != new.signature:
        view.moved.append(name)


def _read_all(results: Path, names: list[str], *, series: bool, keep: bool) -> Iterator[tuple[str, Read | SetupError]]:
    """Read folders, in parallel if there are many."""
    one = functools.partial(_read_one, results, series=series, keep=keep)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(names) < _MANY or cores < 2 or keep or threading.active_count() > 1:
        yield from ((name, one(name)) for name in names)
        return
    with multiprocessing.get_context("fork").Pool(min(cores, _READERS), _end_at_once) as pool:
        yield from zip(names, pool.imap(functools.partial(_lean, one), names, chunksize=50), strict=True)


def _end_at_once() -> None:
    """Ignore Ctrl-C; let other signals end this process silently.

    The process that started this one handles Ctrl-C.
    """
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN if number is signal.SIGINT else signal.SIG_DFL)


_SENT: set[str] = set()


def _lean(read: Callable[[str], Read | SetupError], name: str) -> Read | SetupError:
    """Read a folder in a worker; send each text once."""
    found = read(name)
    if not isinstance(found, SetupError) and (texts := found[0].texts) is not None:
        found[0].texts = {name: text for name, text in texts.items() if name not in _SENT}
        _SENT.update(texts)
    return found


def _read_one(results: Path, name: str, *, series: bool, keep: bool) -> Read | SetupError:
    folder = results / name
    try:
        run, content = read_run(results, folder, series=series, keep=keep)
    except SetupError as error:
        return error
    except OSError as error:
        return file_failure("read", folder, error)
    return run, content.record() if keep else None


def _signature(folder: Path | str) -> str:
    """Return a run folder's signature; empty if files are missing."""
    try:
        return files.signature(folder, FILES)
    except OSError:
        return ""


def read_run(results: Path, folder: Path, *, series: bool, keep: bool = False) -> tuple[IndexedRun, Content]:
    """Read a run folder, every checksum verified.

    Args:
        results: Results folder.
        folder: Run folder below it.
        series: Look at predictions and curves too.
        keep: Return them.

    Raises:
        DamagedFolderError: It is incomplete, was altered, or is not what its place says.
        SetupError: A newer bench wrote it, or it changes while it is read.
        OSError: The system refuses to read it.
    """
    wanted = [name for name in codec.LIMITS if series or name not in codec.SERIES]
    if folder.is_symlink() or folder.parent.is_symlink():
        raise DamagedFolderError(folder, "it is reached by a symbolic link")
    for _ in range(_TRIES):
        if not folder.is_dir():
            raise DamagedFolderError(folder, "it is no folder")
        listed, before = _alone(folder), _signature(folder)
        manifest, contents = folders.read(folder, codec.LIMITS, wanted)
        content = _understood(folder, manifest, contents, folder.parent.parent == results / RUNS, keep=keep)
        if _signature(folder) == before:
            name = folder.relative_to(results).as_posix()
            return index.describe(name, before, content, manifest, listed), content
    raise SetupError(f"'{shown(folder)}' changes while it is read; let nothing write to it, then try again")


def check_run(name: str, contents: Mapping[str, bytes], *, keep: bool = False) -> tuple[IndexedRun, Content]:
    """Check the files of a run folder, held in memory.

    Args:
        name: The folder, relative to its results folder.
        contents: Bytes of its files, the manifest included.
        keep: Return predictions.

    Raises:
        DamagedFolderError: It is incomplete, was altered, or is not what its place says.
        SetupError: A newer bench wrote it.
    """
    folder = Path(name)
    manifest = folders.check(folder, contents, codec.LIMITS)
    content = _understood(folder, manifest, contents, name.startswith(f"{RUNS}/"), keep=keep)
    return index.describe(name, "", content, manifest), content


def _understood(
    folder: Path, manifest: folders.Manifest, contents: Mapping[str, bytes], finished: bool, *, keep: bool
) -> Content:
    """Read the content of a run's files, and compare it with their place."""
    folders.check_place(folder, manifest, kind=KIND, by_fingerprint=finished)
    try:
        content = codec.decode(contents, keep=keep)
    except ValueError as error:
        raise DamagedFolderError(folder, str(error)) from error
    if (content.key, content.fingerprint) != (manifest.key, manifest.fingerprint):
        raise DamagedFolderError(folder, f"record.json and {folders.MANIFEST} belong to different runs")
    if content.status != ("done" if finished else "failed"):
        raise DamagedFolderError(folder, f"record.json has status '{content.status}' in '{folder.parent.parent.name}'")
    return content


def _alone(folder: Path) -> str:
    """Return the parent's state if a run is alone there.

    Empty where it is not, or may change.
    """
    state = os.lstat(folder.parent)
    return files.listing(state) if folders.names_in(folder.parent) == [folder.name] and _settled(state) else ""


def _settled(state: os.stat_result) -> bool:
    """Whether a later change surely has another time stamp."""
    return time.time() - state.st_ctime > _TICK


def _entries(
    results: Path, indexed: Mapping[str, Head | None], keys: Collection[str] | None, fits: Fits | None = None
) -> Iterator[tuple[str, Head | None, str | None]]:
    """Yield run folders with rows and the parents' states.

    The state is that of the folder above, if the run is alone in it, and None of a row that does not fit.

    A folder that has held one run and has not changed since is not listed again.
    """
    rows: dict[str, Head | None] = {}
    for name, row in indexed.items():
        above = name.rpartition("/")[0]
        rows[above] = None if above in rows else row
    root = str(results)
    for parent in (RUNS, FAILED):
        for key in _keys(results / parent, keys):
            row = rows.get(above := f"{parent}/{key}")
            if row is not None and fits is not None and not fits(row):
                yield row.folder, row, None
                continue
            try:
                found = os.lstat(place := f"{root}/{above}")
            except OSError:  # Gone meanwhile.
                continue
            state = files.listing(found) if stat.S_ISDIR(found.st_mode) and keys is None else ""
            if row is not None and state and row.listed == state:
                yield row.folder, row, state
                continue
            if not state and not Path(place).is_dir():
                continue
            try:
                names = folders.names_in(place)
            except SetupError:
                names = ["*"]  # Cannot be listed; reading it will raise the error.
            single = len(names) == 1 and state != "" and _settled(found)
            for name in names:
                row = indexed.get(f"{above}/{name}")
                fitting = row is None or fits is None or fits(row)
                yield f"{above}/{name}", row, (state if single else "") if fitting else None


def _keys(parent: Path, keys: Collection[str] | None) -> list[str]:
    """Return the names of the folders of keys, sorted."""
    if keys is not None:
        return [folder.name for folder in folders.subfolders(parent, keys)]
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.name for entry in entries if entry.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise file_failure("list", parent, error) from error


def run_folders(results: Path, keys: Collection[str] | None = None) -> Iterator[Path]:
    """Yield run folders, finished ones first.

    Of some keys, or all.
    """
    return (results / name for name, _, _ in _entries(results, {}, keys))


def set_aside(results: Path, damage: DamagedFolderError) -> Path | None:
    """Quarantine a damaged folder; None if another process did.

    Raises:
        SetupError: It cannot be moved.
    """
    try:
        return folders.quarantine(results, damage.folder, damage.reason)
    except OSError as error:
        raise file_failure("move the damaged folder", damage.folder, error) from error


def _key(name: str, keys: Collection[str] | None) -> bool:
    return keys is None or f"{name}//".split("/")[1] in keys


def _some(names: list[str]) -> str:
    """Name the first few folders."""
    parts = [shown("/".join(part[:12] for part in name.split("/")[:2])) for name in names[:_NAMED]]
    return ", ".join(parts) + (", ..." if len(names) > _NAMED else "")
