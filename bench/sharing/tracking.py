"""Copy stored runs to an experiment tracker, each once.

What is there already is found by the tags that name run folder and manifest. The manifest's digest is written last, so
that a run whose copy was interrupted counts as unfinished and is completed by the next call.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from math import inf
from os import getuid
from pathlib import Path
from typing import Protocol, TypeVar

from bench.errors import SetupError, UsageError
from bench.paths import Workspace
from bench.progress import Progress
from bench.progress import silent as untold
from bench.sharing.bundling import chosen_runs, record_in
from bench.stats.cells import flatten
from bench.store.filelock import file_lock
from bench.store.index import IndexedRun
from bench.store.queries import LABELS
from bench.store.records import Metric, RunRecord
from bench.store.store import Store

FILES = ("record.json", "spec.json", "metrics.json", "curves.json", "provenance.json", "MANIFEST.json")
"""Files of a run folder that go along; predictions stay behind."""
_Value = TypeVar("_Value")
_SELECTION = {"val": "", "last": "last-epoch", "test": "chosen-on-test"}


@dataclass(frozen=True)
class TrackedRun:
    """A stored run as trackers take it.

    Attributes:
        folder: Run folder, relative to the results folder: its identity.
        digest: SHA-256 of the folder's manifest: its content.
        record: The run.
        labels: Method, protocol, data set, seed and so on.
        name: Short name for lists.
        place: Run folder, absolute.
        started: Milliseconds since 1970 at its start.
        finished: Milliseconds since 1970 at its end.
    """

    folder: str
    digest: str
    record: RunRecord
    labels: Mapping[str, str]
    name: str
    place: Path
    started: int
    finished: int

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return self.record.status == "failed"

    @property
    def parameters(self) -> dict[str, str]:
        """Labels, and every field of the specification by its dotted name."""
        return {**self.labels, **flatten(self.record.spec)}

    @property
    def numbers(self) -> dict[str, float]:
        """Scores and costs by name; a name tells how the score was chosen."""
        found = {name: metric.value for metric in self.record.metrics if (name := metric_name(metric))}
        return found | {f"cost/{name}": value for name, value in self.record.cost.items()}

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Series by name, with whole steps."""
        return {name: [(round(step), value) for step, value in series] for name, series in self.record.curves.items()}

    @property
    def tags(self) -> dict[str, str]:
        """Facts that find a run again, and where it comes from; all but the digest."""
        told = self.record.provenance
        found = {
            "bench.key": self.record.key,
            "bench.code": self.record.fingerprint,
            "bench.folder": self.folder,
            "bench.command": told.get("command"),
            "bench.commit": told.get("commit"),
            "bench.device": told.get("device"),
            "bench.error": self.record.error,
        }
        return {name: value for name, value in found.items() if isinstance(value, str)}

    @property
    def files(self) -> list[Path]:
        """Files that go along."""
        return [self.place / name for name in FILES]


@dataclass
class Tracked:
    """Result of copying runs to a tracker.

    Attributes:
        where: Tracker's address.
        projects: Experiments or projects that hold the runs.
        added: Runs that are new there.
        completed: Runs that an interrupted copy had left unfinished, or whose content has changed since.
        there: Runs that were there already.
        trials: Trials of searches, which were left out.
    """

    where: str
    projects: list[str] = field(default_factory=list)
    added: int = 0
    completed: int = 0
    there: int = 0
    trials: int = 0


class Tracker(Protocol):
    """Place that takes runs."""

    @property
    def where(self) -> str:
        """Its address."""

    def project_of(self, dataset: str) -> str:
        """Return the project of a data set, as it may be named there."""

    def known(self, project: str) -> Mapping[str, str]:
        """Return digests of runs there, by folder; empty if unfinished."""

    def put(self, project: str, run: TrackedRun) -> None:
        """Write a run, or complete it; its digest last."""


def track(
    workspace: Workspace,
    store_url: str | None,
    tracker: Tracker,
    *,
    keys: Collection[str] | None = None,
    labels: Mapping[str, Collection[str]] | None = None,
    verify: bool = False,
    project: str | None = None,
    progress: Progress = untold,
) -> Tracked:
    """Copy selected runs to a tracker; what is there stays as it is.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        tracker: The place.
        keys: Only the runs of these keys; None for all.
        labels: Only runs that have, of every label, one of these values.
        verify: Believe nothing of the index while choosing.
        project: Project of all runs; None for one per data set.
        progress: Told of runs done.

    Raises:
        UsageError: No run fits, or the project may not be used.
        SetupError: The tracker cannot be reached or written, or a run folder is damaged.
    """
    store = Store.open_readonly(workspace.results, store_url, keys=keys, verify=verify)
    chosen, trials = chosen_runs(store, keys, labels or {})
    found = Tracked(tracker.where, trials=trials)
    with _alone(tracker.where):
        known: dict[str, Mapping[str, str]] = {}
        for at, run in enumerate(chosen):
            into = tracker.project_of(run.row.dataset) if project is None else project
            if into not in known:
                known[into] = tracker.known(into)
            before = known[into].get(run.folder)
            if before == run.row.manifest_sha256:
                found.there += 1
                continue
            tracker.put(into, _tracked(workspace.results, run, record_in(workspace.results, run.folder)))
            found.added += before is None
            found.completed += before is not None
            progress(at + 1, len(chosen), tracker.where)
        found.projects = sorted(known)
    return found


def metric_name(metric: Metric) -> str:
    """Return a name that tells how a number was chosen.

    ``test/accuracy`` is the headline: chosen on validation data. Empty for folds of candidates that were not chosen.
    """
    if metric.fold is not None and not metric.headline:
        return ""
    parts = [metric.split, metric.name, _SELECTION[metric.selection]]
    parts += [] if metric.headline else [f"candidate-{metric.variant}"]
    parts += [] if metric.votes == 1 else [f"{metric.votes}-votes"]
    parts += [] if metric.fold is None else [f"fold-{metric.fold}"]
    return "/".join(filter(None, parts))


def plain(name: str, allowed: str, longest: int) -> str:
    """Return a name that a tracker takes.

    Args:
        name: Any name.
        allowed: Characters beside letters, digits and underscores, for a set of a regular expression.
        longest: Most characters; a longer name ends with a digest.
    """
    text = re.sub(rf"[^\w{allowed}]", "_", name, flags=re.ASCII)
    return text if len(text) <= longest else f"{text[: longest - 9]}_{sha256(name.encode()).hexdigest()[:8]}"


def installed(package: str, extra: str) -> None:
    """Raise if an optional package is missing.

    A folder of the package's name, as both trackers leave behind, is no package.

    Raises:
        SetupError: It is missing.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SetupError(f"the package {package} is not installed; install it with: pip install 'recon-bench[{extra}]'")


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return an error of a library as one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[:longest]}…"


def named_project(kind: str, name: str, refused: str, longest: int) -> str:
    """Return a project's name if the tracker takes it.

    Raises:
        UsageError: It is empty, too long, or has a character that is refused.
    """
    bad = next((sign for sign in name if sign in refused or not sign.isprintable()), None)
    if not name.strip() or len(name) > longest or bad is not None:
        why = f"has {bad!r}" if bad is not None else f"has {len(name)} characters"
        raise UsageError(f"{kind} {name[:60]!r} {why}; expected 1 to {longest} printable characters without {refused}")
    return name


@contextmanager
def _alone(where: str) -> Iterator[None]:
    """Let one process at a time write to a tracker.

    Two could add the same run twice.
    """
    name = f"bench-track-{getuid()}-{sha256(where.encode()).hexdigest()[:16]}.lock"
    with file_lock(Path(tempfile.gettempdir()) / name, exclusive=True, timeout=inf):
        yield


def _tracked(results: Path, run: IndexedRun, record: RunRecord) -> TrackedRun:
    labels = {name: str(getattr(run.row, name)) for name in LABELS}
    told = [labels["method"], labels["protocol"], labels["setting"], f"seed {labels['seed']}"]
    finished = _milliseconds(record.provenance.get("finished")) or _milliseconds(run.row.created_at) or 0
    return TrackedRun(
        folder=run.folder,
        digest=run.row.manifest_sha256,
        record=record,
        labels=labels,
        name=" ".join(part for part in told if part != "all"),
        place=results / run.folder,
        started=_milliseconds(record.provenance.get("started")) or finished,
        finished=finished,
    )


def _milliseconds(when: object) -> int | None:
    try:
        return round(1000 * datetime.fromisoformat(str(when)).timestamp())
    except ValueError:
        return None


def chunks(values: Sequence[_Value], size: int) -> Iterator[Sequence[_Value]]:
    """Yield parts of at most so many values."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
