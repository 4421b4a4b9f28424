"""Look at the run folders, take from the index what agrees with them, and read the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import SetupError
from bench.store import codec, files, folders, index
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.folders import DamagedFolderError
from bench.store.index import IndexedRun
from bench.store.records import RunRecord

RUNS = "runs"
FAILED = "failed"
KIND = "run"

_NAMED = 3
"""Folders that a line names before it only counts."""
_TRIES = 5


@dataclass
class View:
    """Run folders of a results folder, and differences of the index.

    Attributes:
        runs: Every sound run, oldest first.
        records: Whole records by folder, where they were asked for.
        damaged: Folders that cannot be believed, which nothing may use.
        refused: Folders that cannot be read by this bench or this user, with the reason.
        fresh: Those of `runs` that were read from their folder.
        missing: Folders without a row.
        altered: Folders whose row was altered.
        changed: Folders whose content changed after it was indexed.
        moved: Folders whose files have other times or places than when they were indexed, with the same content.
        gone: Rows without a folder.
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

    def disagreement(self) -> str:
        """Say in words where index and folders differ; empty where they agree."""
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
    indexed: Mapping[str, IndexedRun | None],
    *,
    keys: Collection[str] | None = None,
    verify: bool = False,
    keep: bool = False,
) -> View:
    """Look at every run folder; nothing is changed.

    A row is taken where it is unaltered and the signature of its folder's files is the one it was made with. All
    other folders are read, every checksum verified. Rows must be read before this is called: a run is placed before
    it is indexed, so that every row of a sound index has its folder by then.

    Args:
        results: Results folder.
        indexed: Rows of the index by folder (`bench.store.index.read`).
        keys: Only the runs of these keys; None for all.
        verify: Read every folder, predictions and curves too.
        keep: Keep the whole records of the folders that are read.
    """
    view, there = View(), set()
    for folder in run_folders(results, keys):
        name = folder.relative_to(results).as_posix()
        there.add(name)
        row = indexed.get(name)
        try:
            if row is not None and not verify and row.signature == files.signature(folder):
                view.runs.append(row)
                continue
            run, record = read_run(results, folder, series=verify or keep)
        except DamagedFolderError as damage:
            if folder.exists() or folder.is_symlink():  # Else somebody moved it meanwhile.
                view.damaged.append(damage)
        except (SetupError, OSError) as error:
            refusal = file_failure("read", folder, error) if isinstance(error, OSError) else error
            view.refused.append((folder, refusal))
        else:
            view.runs.append(run)
            view.fresh.append(run)
            if keep:
                view.records[name] = record
            if name not in indexed:
                view.missing.append(name)
            elif row is None:
                view.altered.append(name)
            elif not index.same(row, run):
                (view.altered if row.signature == run.signature else view.changed).append(name)
            elif row.signature != run.signature:
                view.moved.append(name)
    view.runs.sort(key=lambda run: (run.values["created_at"], run.folder))
    view.gone = [name for name in indexed if name not in there and _key(name, keys)]
    return view


def read_run(results: Path, folder: Path, *, series: bool) -> tuple[IndexedRun, RunRecord]:
    """Read a run folder, every checksum verified.

    Args:
        results: Results folder.
        folder: Run folder below it.
        series: Read predictions and curves too.

    Raises:
        DamagedFolderError: It is incomplete, was altered, or is not what its place says.
        SetupError: A newer bench wrote it, or it changes while it is read.
        OSError: The system refuses to read it.
    """
    keep = [name for name in codec.LIMITS if series or name not in codec.SERIES]
    if folder.is_symlink() or folder.parent.is_symlink():
        raise DamagedFolderError(folder, "it is reached by a symbolic link")
    for _ in range(_TRIES):
        try:
            before = files.signature(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DamagedFolderError(folder, "it is no folder") from error
        manifest, contents = folders.read(folder, codec.LIMITS, keep)
        finished = folder.parent.parent == results / RUNS
        folders.check_place(folder, manifest, kind=KIND, by_fingerprint=finished)
        try:
            record = codec.decode(contents)
        except ValueError as error:
            raise DamagedFolderError(folder, str(error)) from error
        if (record.key, record.fingerprint) != (manifest.key, manifest.fingerprint):
            raise DamagedFolderError(folder, f"record.json and {folders.MANIFEST} belong to different runs")
        if record.status != ("done" if finished else "failed"):
            raise DamagedFolderError(
                folder, f"record.json has status '{record.status}' in '{folder.parent.parent.name}'"
            )
        if files.signature(folder) == before:
            name = folder.relative_to(results).as_posix()
            return index.describe(name, before, record, manifest), record
    raise SetupError(f"'{shown(folder)}' changes while it is read; let nothing write to it, then try again")


def run_folders(results: Path, keys: Collection[str] | None = None) -> Iterator[Path]:
    """Yield every run folder, finished ones first, or those of some keys."""
    for parent in (RUNS, FAILED):
        for key in folders.subfolders(results / parent, keys):
            try:
                yield from folders.subfolders(key)
            except SetupError:
                yield key / "*"  # Cannot be listed, which its reader will say.


def set_aside(results: Path, damage: DamagedFolderError) -> Path | None:
    """Move a damaged folder to quarantine; None where another process did.

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
    """Name the first few, by kind and the beginning of the key."""
    parts = [shown("/".join(part[:12] for part in name.split("/")[:2])) for name in names[:_NAMED]]
    return ", ".join(parts) + (", ..." if len(names) > _NAMED else "")
