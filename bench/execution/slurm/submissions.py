"""Jobs handed to SLURM, as files of the results folder.

Each submission has a folder ``slurm/TIME/``: ``submitted.jsonl`` (a line per job, with its SLURM id), ``ended.jsonl``
(a line per job whose end was noted), per job ``ID.json`` (the job) and ``ID.events`` (what its worker told), and
``submitit/`` (scripts and SLURM's output). Whoever comes later reads there what still runs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.errors import SetupError
from bench.execution.events import Event
from bench.plan.graph import Job, JobKind
from bench.spec import Frozen
from bench.store.failures import file_failure
from bench.store.filelock import file_lock

SLURM = "slurm"
SUBMITIT = "submitit"
_SUBMITTED, _ENDED = "submitted.jsonl", "ended.jsonl"
_LOCK_SECONDS = 600.0

Outcome = Literal["done", "failed", "cancelled"]


class Submitted(Frozen):
    """A job that SLURM was given."""

    id: str
    title: str
    kind: JobKind
    makes: tuple[str, ...]
    """Keys of runs, or of the encoder or teacher, each with the code's fingerprint."""
    needs: tuple[str, ...]
    cluster: str
    slurm: str
    """SLURM's id, ``ARRAY_TASK`` for a task of an array; several jobs may share one."""
    at: str
    """UTC time of submission."""
    log: str


@dataclass
class Told:
    """Messages of a job's worker so far.

    Attributes:
        began: SLURM ids and hosts of its attempts.
        code: Exit code of the last attempt; None while it runs, or if it was stopped.
        error: Error of the job as a whole.
        diverged: Whether a number of a network stopped being finite.
        skipped: Job that it needs and that did not end well, so that nothing was begun.
        runs: Keys of runs that ended.
        latest: Last event on its progress.
    """

    began: list[tuple[str, str]] = field(default_factory=list)
    code: int | None = None
    error: str = ""
    diverged: bool = False
    skipped: str = ""
    runs: set[str] = field(default_factory=set)
    latest: Event | None = None


class Reader:
    """Reads what a worker tells, from where it stopped last."""

    def __init__(self, path: Path) -> None:
        self.told = Told()
        self._path = path
        self._at = 0

    def news(self) -> list[Event]:
        """Return new events, and bring `told` up to date."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        return [event for line in whole.splitlines() if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> Event | None:
        told = self.told
        try:
            values = json.loads(line)
            if "kind" in values:
                event = Event.model_validate(values)
                if event.kind in ("run", "failed") and event.key:
                    told.runs.add(event.key)
                elif event.kind == "failed":
                    told.error, told.diverged = event.note, event.diverged
                elif event.kind == "stage":
                    told.latest = event
                return event
            if "began" in values:
                told.began.append((str(values["began"]), str(values.get("host", ""))))
                told.code, told.error, told.skipped = None, "", ""
            elif "skipped" in values:
                told.skipped = str(values["skipped"])
            elif "ended" in values:
                told.code = int(values["ended"])
        except (ValueError, TypeError):
            pass  # a killed process can leave half a line
        return None


@dataclass(frozen=True)
class Unit:
    """A submitted job with its files.

    Attributes:
        folder: Folder of its submission.
        facts: What was submitted.
        outcome: How it ended, once that was noted.
        error: Why it failed, once that was noted.
    """

    folder: Path
    facts: Submitted
    outcome: Outcome | None = None
    error: str = ""

    @property
    def file(self) -> Path:
        """The job."""
        return self.folder / f"{self.facts.id}.json"

    @property
    def output(self) -> Path:
        """Output of SLURM and submitit."""
        return self.folder / SUBMITIT / f"{self.facts.slurm}_0_log.out"

    @cached_property
    def reader(self) -> Reader:
        """Messages of its worker."""
        return Reader(events_of(self.file))


def events_of(file: Path) -> Path:
    """Return the file with the messages of a job's worker."""
    return file.with_suffix(".events")


def makes(job: Job) -> tuple[str, ...]:
    """Name what a job makes, with the code's fingerprint."""
    if job.runs:
        return tuple(f"{run.key}:{run.fingerprint.digest}" for run in job.runs)
    return (f"{job.key}:{job.fingerprint.digest}",)


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Let only one process submit jobs or note their ends.

    Raises:
        SetupError: The folder cannot be written, or another process submits for minutes.
    """
    folder = results / SLURM
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(folder / ".lock", exclusive=True, timeout=_LOCK_SECONDS):
            yield
    except OSError as error:
        raise file_failure("write", folder, error) from error


def units(results: Path) -> list[Unit]:
    """Return jobs whose end nobody noted, and failed ones.

    Oldest first.

    A failed or cancelled one that was submitted again is left out.

    Raises:
        SetupError: A list of submitted jobs cannot be read.
    """
    found: list[Unit] = []
    for folder in _folders(results):
        ended = {line["id"]: line for line in _lines(folder / _ENDED)}
        for line in _lines(folder / _SUBMITTED):
            try:
                facts = Submitted.model_validate(line)
            except ValueError as error:
                raise SetupError(f"'{folder / _SUBMITTED}' was altered: remove the folder {folder}") from error
            end = ended.get(facts.id, {})
            if end.get("outcome") != "done":
                found.append(Unit(folder, facts, end.get("outcome"), str(end.get("error", ""))))
    newest = {thing: unit for unit in found for thing in unit.facts.makes}
    return [unit for unit in found if unit.outcome is None or any(newest[one] is unit for one in unit.facts.makes)]


def new_folder(results: Path) -> Path:
    """Create the folder of a new submission."""
    folder = results / SLURM / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    (folder / SUBMITIT).mkdir(parents=True)
    return folder


def note_submitted(folder: Path, facts: Iterable[Submitted]) -> None:
    """Note what SLURM was given."""
    _append(folder / _SUBMITTED, [one.model_dump(mode="json") for one in facts])


def note_ended(unit: Unit, outcome: Outcome, error: str = "") -> None:
    """Note how a job ended."""
    _append(unit.folder / _ENDED, [{"id": unit.facts.id, "outcome": outcome, "error": error}])


def remove_finished(results: Path) -> None:
    """Delete folders of submissions that went well."""
    left = {unit.folder for unit in units(results)}
    for folder in _folders(results):
        if folder not in left:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(results: Path) -> list[Path]:
    try:
        return sorted(path for path in (results / SLURM).iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read '{path}': {error}") from error
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a killed process can leave half a line
        if isinstance(value, dict):
            found.append(value)
    return found


def _append(path: Path, values: Iterable[dict[str, Any]]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(value, sort_keys=True)}\n" for value in values))
    except OSError as error:
        raise file_failure("write", path, error) from error
