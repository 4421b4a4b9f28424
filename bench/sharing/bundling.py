"""Write stored runs into one file that others can verify."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass
from hashlib import sha256
from operator import attrgetter
from pathlib import Path

from pydantic import JsonValue

from bench.errors import UsageError
from bench.fingerprint import fingerprint
from bench.paths import Workspace
from bench.plan.skips import Skipped, encoded, remembered
from bench.protocols.metric_code import METRIC_CODE
from bench.sharing.archive import ENVIRONMENT, HEAD, MOST_RUNS, PAGES, REPORT, REQUESTS, SKIPPED, digest_of
from bench.sharing.shelf import Shelf, write_report_of
from bench.store import codec, folders, jsontext
from bench.store.failures import file_failure
from bench.store.files import NoRegularFileError, read_file
from bench.store.index import IndexedRun, provenance_of
from bench.store.publish import whole_file
from bench.store.queries import failed_runs, fitting, nothing_stored, require_stored
from bench.store.records import RunRecord
from bench.store.scan import FILES, check_run
from bench.store.scratch import temporary_folder
from bench.store.store import Store
from bench.version import __version__

FORMAT = 2
"""Raised when a bundle's layout changes in a way older code cannot read."""
KIND = "bundle"
_WHEN = (1980, 1, 1, 0, 0, 0)
_PACKED = ("predictions.npz",)
"""Files that are compressed already."""
_MACHINE = ("versions", "machine", "device", "threads", "commit", "dirty")
"""Fields of provenance that make up an environment."""


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written.

    Attributes:
        path: The file.
        sha256: Its digest, to be cited beside it.
        size: Its bytes.
        done: Finished runs in it.
        failed: Failed runs in it.
        trials: Trials of searches, which were left out.
        skipped: Combinations that plans skipped, with the reason.
    """

    path: Path
    sha256: str
    size: int
    done: int
    failed: int
    trials: int
    skipped: int


def report_code() -> str:
    """Return the fingerprint of the code that writes a report."""
    return fingerprint(["bench.report.build", "bench.sharing.shelf"]).digest


def create(
    workspace: Workspace,
    store_url: str | None,
    out: Path,
    *,
    keys: Collection[str] | None = None,
    labels: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
    force: bool = False,
) -> Bundled:
    """Write selected runs with their report into a zip file.

    The same runs give the same bytes. Trials of searches are left out: their test scores may not be looked at.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        out: The file; it appears whole or not at all.
        keys: Only the runs of these keys; None for all.
        labels: Only runs that have, of every label, one of these values.
        verify: Believe nothing of the index while choosing.
        force: Replace an existing file.

    Raises:
        UsageError: The file exists, no run fits, or there are too many.
        SetupError: A run folder is damaged, or the file cannot be written.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file, such as {out / 'mine.zip'}")
    if out.exists() and not force:
        raise UsageError(f"{out} exists already; add --force (force=True) to replace it, or choose another file")
    store = Store.open_readonly(workspace.results, store_url, keys=keys, verify=verify)
    chosen, trials = chosen_runs(store, keys, labels or {})
    if len(chosen) > MOST_RUNS:
        raise UsageError(
            f"{len(chosen):,} runs fit, a bundle holds at most {MOST_RUNS:,}; narrow with --method, --protocol, "
            "--dataset or --preset"
        )
    head: dict[str, JsonValue] = {"format": FORMAT, "kind": KIND, "bench": __version__, "metric_code": METRIC_CODE}
    head["report_code"] = report_code()
    with whole_file(out, "the bundle", suffix=".zip") as stream, zipfile.ZipFile(stream, "w") as archive:
        runs = [_add_run(archive, workspace.results, run.folder) for run in chosen]
        head["runs"] = {run.folder: run.row.manifest_sha256 for run in runs}
        shelf = Shelf(runs, lambda name: record_in(workspace.results, name))
        skipped = skipped_in(workspace.results, labels or {})
        pages = {ENVIRONMENT: _environments(shelf), REQUESTS: _requests(shelf), SKIPPED: encoded(skipped)}
        with temporary_folder() as place:
            write_report_of(shelf, place, skipped)
            pages |= {f"{REPORT}/{page}": (place / page).read_bytes() for page in PAGES}
        head["files"] = {name: sha256(content).hexdigest() for name, content in pages.items()}
        for name, content in {**pages, HEAD: jsontext.dump_bytes(head)}.items():
            _add(archive, name, content)
    done = sum(run.status == "done" for run in runs)
    return Bundled(out, digest_of(out), out.stat().st_size, done, len(runs) - done, trials, len(skipped))


def skipped_in(results: Path, labels: Mapping[str, Collection[str]]) -> list[Skipped]:
    """Return skipped combinations of wanted names, in order.

    Args:
        results: Results folder.
        labels: Accepted methods, protocols and data sets; other labels no combination has.
    """
    wanted = {name: values for name, values in labels.items() if name in ("method", "protocol", "dataset")}
    fits = (one for one in remembered(results) if all(getattr(one, name) in wanted[name] for name in wanted))
    return sorted(fits, key=astuple)


def chosen_runs(
    store: Store, keys: Collection[str] | None, labels: Mapping[str, Collection[str]]
) -> tuple[list[IndexedRun], int]:
    """Return wanted runs by folder, and count left-out trials.

    A failed run is one of them while no later one of its key finished.

    Args:
        store: The store.
        keys: Only the runs of these keys; None for all.
        labels: Only runs that have, of every label, one of these values.

    Raises:
        UsageError: No run fits.
    """
    fits = fitting(labels)
    require_stored(store, labels)
    runs = [run for run in store.runs() if fits(run.row) and (keys is None or run.key in keys)]
    failed = {run.folder for run in failed_runs(store)}
    wanted = [run for run in runs if run.status == "done" or run.folder in failed]
    chosen = sorted((run for run in wanted if not run.row.trial), key=attrgetter("folder"))
    if not chosen:
        raise UsageError("all runs that fit are trials of searches" if wanted else nothing_stored(store))
    return chosen, len(wanted) - len(chosen)


def files_of(results: Path, name: str) -> dict[str, bytes]:
    """Read the files of a run folder, as bytes.

    Raises:
        SetupError: It is incomplete, holds what no run has, or cannot be read.
    """
    folder = results / name
    contents = {}
    try:
        for file in FILES:
            limit = codec.LIMITS.get(file, folders.MANIFEST_BYTES)
            contents[file] = read_file(folder / file, limit)
    except NoRegularFileError as error:
        raise folders.DamagedFolderError(folder, str(error)) from error
    except FileNotFoundError as error:
        raise folders.DamagedFolderError(folder, f"{Path(str(error.filename)).name} is missing") from error
    except OSError as error:
        raise file_failure("read", folder, error) from error
    return contents


def record_in(results: Path, name: str) -> RunRecord:
    """Return the whole record of a run folder, every checksum verified.

    Raises:
        SetupError: It is damaged or cannot be read.
    """
    return check_run(name, files_of(results, name), keep=True)[1].record()


def _add_run(archive: zipfile.ZipFile, results: Path, name: str) -> IndexedRun:
    contents = files_of(results, name)
    try:
        run, _ = check_run(name, contents)
    except folders.DamagedFolderError as damage:
        raise folders.DamagedFolderError(results / name, damage.reason) from damage
    for file in FILES:
        _add(archive, f"{name}/{file}", contents[file])
    return run


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an entry whose bytes depend on its content only."""
    entry = zipfile.ZipInfo(name, date_time=_WHEN)
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    packed = name.endswith(_PACKED)
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(entry, content, compresslevel=None if packed else 6)


def _environments(shelf: Shelf) -> bytes:
    """Return the machines and versions that made the runs."""
    facts = (
        {name: found[name] for name in _MACHINE if name in found}
        for found in (provenance_of(run, shelf.texts()) for run in shelf.runs())
    )
    return _counted("environment", facts)


def _requests(shelf: Shelf) -> bytes:
    """Return the commands that asked for the runs, as typed."""
    texts = shelf.texts()
    return _counted("command", (provenance_of(run, texts).get("command", "") for run in shelf.runs()))


def _counted(what: str, values: Iterable[JsonValue]) -> bytes:
    """Return different values with the number of their runs."""
    counts = Counter(jsontext.dumps(value) for value in values)
    return jsontext.dump_bytes([{what: jsontext.loads(text), "runs": count} for text, count in sorted(counts.items())])
