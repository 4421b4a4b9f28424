"""Verify a bundle: digests, every number from predictions, the report."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.plan.skips import Skipped, decoded
from bench.protocols.metric_code import METRIC_CODE
from bench.sharing.archive import (
    ENVIRONMENT,
    HEAD,
    PAGES,
    REPORT,
    REQUESTS,
    SKIPPED,
    Archive,
    digest_of,
    not_a_bundle,
    opened,
)
from bench.sharing.bundling import FORMAT, KIND, report_code
from bench.sharing.shelf import Shelf, write_report_of
from bench.stats.recomputed import Check, TooMuchError, recompute
from bench.store import jsontext
from bench.store.codec import Content
from bench.store.files import shown
from bench.store.folders import DamagedFolderError
from bench.store.index import IndexedRun
from bench.store.records import Metric, RunRecord
from bench.store.scan import check_run
from bench.store.scratch import temporary_folder

MOST_FINDINGS = 1_000
"""Findings that are kept; more are only counted."""
_SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)
_CLOSE = 1e-9
_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Finding:
    """Something that does not hold.

    Attributes:
        where: Folder of the run, or the file.
        what: What is wrong, in words.
        metric: Number that does not follow from predictions; empty for anything else.
        stored: Its stored value.
        recomputed: The value that predictions give.
    """

    where: str
    what: str
    metric: str = ""
    stored: float | None = None
    recomputed: float | None = None

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.where}: {self.what}"


@dataclass
class Examined:
    """Result of verifying a bundle.

    Attributes:
        path: The file.
        sha256: Its digest.
        size: Its bytes.
        done: Finished runs.
        failed: Failed runs.
        digests: Files whose checksum is right.
        followed: Stored numbers that follow from predictions.
        findings: What does not hold; the first `MOST_FINDINGS`.
        wrong: How much does not hold, all together.
        unverified: Numbers that nothing in the bundle determines, by the reason.
        unverified_runs: Why none of a run's test scores could be computed, by its folder.
        skipped: Combinations without runs, with the reasons that the bundle gives.
        notes: Remarks for the reader.
    """

    path: Path
    sha256: str = ""
    size: int = 0
    done: int = 0
    failed: int = 0
    digests: int = 0
    followed: int = 0
    findings: list[Finding] = field(default_factory=list)
    wrong: int = 0
    unverified: Counter[str] = field(default_factory=Counter)
    unverified_runs: dict[str, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.wrong

    def add(self, finding: Finding) -> None:
        """Note a finding."""
        self.wrong += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def as_json(self) -> dict[str, Any]:
        """Return the fields of ``bench bundle verify --json`` (docs/share.md)."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "holds": self.holds,
            "runs": self.done,
            "failed_runs": self.failed,
            "digests": self.digests,
            "followed": self.followed,
            "wrong": self.wrong,
            "findings": [{name: _plain(value) for name, value in vars(one).items()} for one in self.findings],
            "unverified": dict(sorted(self.unverified.items())),
            "unverified_runs": self.unverified_runs,
            "skipped": [asdict(one) for one in self.skipped],
            "notes": self.notes,
        }


def _plain(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Numbers:
    """Verified numbers of a run.

    Attributes:
        checks: Every number that predictions determine, beside the stored one.
        unverified: The other numbers, counted by the reason.
        unreadable: Why predictions determine none; empty where they do.
        malformed: Whether that is because they are not in the form that a protocol of the package stores.
    """

    checks: tuple[Check, ...] = ()
    unverified: Counter[str] = field(default_factory=Counter)
    unreadable: str = ""
    malformed: bool = False


def verify(path: Path, *, report: bool = True) -> Examined:
    """Verify a bundle, offline, without unpacking it to disk.

    Args:
        path: The file.
        report: Write its report again and compare.

    Raises:
        DataError: It is no bundle, or one that is not safe to read.
        SetupError: The system refuses to read it, or a newer bench wrote it.
    """
    found = Examined(path)
    with opened(path) as archive:
        found.sha256, found.size = digest_of(path), path.stat().st_size
        head = checked_head(archive, found)
        runs: list[IndexedRun] = []
        for name, run, content in checked_runs(archive, found):
            runs.append(run)
            if head["runs"].get(name) != run.row.manifest_sha256:
                found.add(Finding(name, f"{HEAD} names another manifest"))
            note_numbers(found, name, numbers_of(content))
        missing = sorted(set(head["runs"]) - set(archive.runs))
        for name in missing:
            found.add(Finding(shown(name)[:120], f"{HEAD} names this run, and the bundle does not have it"))
        _check_derived(archive, found)
        if report and runs:
            _check_report(archive, found, runs, head)
    return found


def checked_runs(archive: Archive, found: Examined) -> Iterator[tuple[str, IndexedRun, Content]]:
    """Yield the sound runs of a bundle; note what is wrong with others."""
    for name in archive.runs:
        contents = archive.run(name)
        try:
            run, content = check_run(name, contents, keep=True)
        except DamagedFolderError as damage:
            found.add(Finding(name, damage.reason))
            continue
        found.digests += len(contents)
        found.done += run.status == "done"
        found.failed += run.status == "failed"
        yield name, run, content


def numbers_of(content: Content) -> Numbers:
    """Recompute the numbers of a run from its predictions."""
    if content.status != "done":
        return Numbers()
    metrics = content.rows()
    try:
        with np.errstate(all="ignore"):
            checks = tuple(recompute(content.predictions, metrics))
    except _UNREADABLE as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        malformed = not content.spec.get("plugins") and not isinstance(error, TooMuchError)
        return Numbers((), Counter(_reason(row, why) for row in metrics), why, malformed)
    known = {check.at for check in checks}
    rest = [row for at, row in enumerate(metrics) if at not in known]
    unverified = Counter(_reason(row) for row in rest)
    if points := sum(map(len, content.curves.values())):
        unverified["points of curves"] = points
    headline = any(row.split == "test" and row.headline and row.selection == "val" for row in metrics)
    lacking = "its predictions determine no test score" if headline and not known - {None} else ""
    return Numbers(checks, unverified, lacking)


def _reason(row: Metric, why: str = "") -> str:
    """Return why a number cannot be computed again."""
    if row.split == "val":
        return "validation scores"
    if why:
        return "test scores of runs whose predictions cannot be scored"
    if row.votes > 1:
        return "voted test scores"
    if row.selection != "val":
        return "test scores of other epochs or settings"
    if row.name.endswith("[chance]"):
        return "chance levels"
    return "other test scores"


def note_numbers(found: Examined, name: str, numbers: Numbers) -> None:
    """Add what was found about a run's numbers."""
    for check in numbers.checks:
        if check.holds:
            found.followed += check.at is not None
        else:
            found.add(wrong_number(name, check))
    found.unverified += numbers.unverified
    if numbers.malformed:
        found.add(malformed(name, numbers))
    elif numbers.unreadable:
        found.unverified_runs[name] = numbers.unreadable


def malformed(name: str, numbers: Numbers) -> Finding:
    """Describe predictions in a form their protocol never stores.

    Any score could stand beside them.
    """
    return Finding(name, f"its test scores do not follow from predictions: {numbers.unreadable}")


def wrong_number(name: str, check: Check) -> Finding:
    """Describe a number that does not follow from predictions."""
    words = (
        f"{shown(check.title)[:120]} is stored as {_number(check.stored)}, but the stored predictions give "
        f"{_number(check.recomputed)}"
    )
    return Finding(name, words, check.title, check.stored, check.recomputed)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) > 1 and value % 1 == 0 else f"{value:.6f}"


def checked_head(archive: Archive, found: Examined) -> dict[str, Any]:
    """Return the bundle's own statement; compare its digests.

    Reads the skipped combinations, too.
    """
    path = archive.path
    try:
        head = jsontext.loads(archive.page(HEAD))
        if head["kind"] != KIND or type(head["format"]) is not int:
            raise ValueError(f"it is no {KIND}")
        version, runs, files = head["format"], head["runs"], head["files"]
        texts = [*runs, *runs.values(), *files, *files.values()]
        if not all(isinstance(text, str) for text in texts) or set(files) - {*archive.pages} - {*_FOLLOWING}:
            raise ValueError("a field of another kind than expected")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        why = (
            str(error)[:100] if isinstance(error, ValueError) else "a field is missing or of another kind than expected"
        )
        raise not_a_bundle(path, f"{HEAD} is not what a bundle says ({why})") from error
    if version > FORMAT:
        raise not_a_bundle(path, f"a newer bench wrote it (format {version}, this one reads up to {FORMAT})")
    expected = _FOLLOWING if version > 1 else tuple(name for name in _FOLLOWING if name != SKIPPED)
    for name in sorted(archive.pages.keys() - {HEAD, *expected}):
        found.add(Finding(name, f"no bundle of format {version} has it"))
    for name in expected:
        if name not in archive.pages:
            found.add(Finding(name, "it is missing"))
        elif files.get(name) != sha256(archive.page(name)).hexdigest():
            found.add(Finding(name, f"it does not match its checksum in {HEAD}"))
        else:
            found.digests += 1
            if name == SKIPPED:
                _read_skipped(archive, found)
    if (code := head.get("metric_code")) != METRIC_CODE:
        found.notes.append(f"its numbers were computed by metric code {code!r:.20}, recomputed by {METRIC_CODE}")
    return dict(head)


_FOLLOWING = (ENVIRONMENT, REQUESTS, SKIPPED, *(f"{REPORT}/{page}" for page in PAGES))
"""Entries beside the head and the runs."""


def _read_skipped(archive: Archive, found: Examined) -> None:
    try:
        found.skipped = decoded(archive.page(SKIPPED))
    except ValueError as error:
        found.add(Finding(SKIPPED, f"it is not what a bundle says ({shown(error)[:150]})"))


def _check_derived(archive: Archive, found: Examined) -> None:
    """Require that lists of environments and requests can be read."""
    for name in (ENVIRONMENT, REQUESTS):
        try:
            if name in archive.pages and not isinstance(jsontext.loads(archive.page(name)), list):
                raise ValueError("no list")
        except ValueError as error:
            found.add(Finding(name, f"it is not what a bundle says ({str(error)[:100]})"))


def _check_report(archive: Archive, found: Examined, runs: list[IndexedRun], head: dict[str, Any]) -> None:
    """Write the report of the runs again, and compare."""

    def read(name: str) -> RunRecord:
        return check_run(name, archive.run(name), keep=True)[1].record()

    with temporary_folder() as place:
        try:
            write_report_of(Shelf(runs, read), place, found.skipped)
        except (*_UNREADABLE, BenchError) as error:
            found.add(Finding(REPORT, f"no report can be written of its runs: {' '.join(str(error).split())[:200]}"))
            return
        own = {page: (place / page).read_bytes() for page in PAGES}
    name = f"{REPORT}/results.csv"
    if name in archive.pages:
        for line in _different_cells(archive.page(name), own["results.csv"]):
            found.add(Finding(name, line))
    if head.get("report_code") != report_code():
        others = ", ".join(page for page in PAGES if page != "results.csv")
        found.notes.append(
            f"its report names another version of bench: only results.csv was compared, {others} were not; "
            "bench report writes them anew after bench db merge"
        )
        return
    for page, mine in own.items():
        name = f"{REPORT}/{page}"
        if name in archive.pages and _comparable(page, archive.page(name)) != _comparable(page, mine):
            found.add(Finding(name, "it is not the report of these runs"))


def _comparable(page: str, content: bytes) -> str:
    """Return a page without drawings, which depend on matplotlib's version."""
    text = content.decode("utf-8", "replace")
    return _SVG.sub("", text) if page.endswith(".html") else text


def _different_cells(stored: bytes, own: bytes) -> Iterator[str]:
    """Yield what differs between two tables of cells, in words."""
    try:
        theirs, mine = _cells(stored), _cells(own)
    except (ValueError, csv.Error) as error:
        yield f"it cannot be read ({str(error)[:100]})"
        return
    for key in sorted(set(theirs) ^ set(mine)):
        who = "the runs give no such cell" if key in theirs else "this cell of the runs is missing"
        yield f"{shown(' '.join(key[:6]))[:160]}: {who}"
    for key in sorted(set(theirs) & set(mine)):
        for column in _NUMBERS:
            if column not in theirs[key] or column not in mine[key]:
                continue
            a, b = theirs[key][column], mine[key][column]
            if not _equal(a, b):
                keys = " ".join(one[:12] for one in key[6].split())
                told = shown(" ".join(part for part in (*key[:6], keys) if part))
                yield f"{told[:160]}: {column} is reported as {shown(a)[:30]}, but the runs give {b}"


_KEY = ("method", "protocol", "setting", "dataset", "metric", "preset", "run_keys")
_NUMBERS = (
    "n_seeds", "n_objects", "mean", "low", "high", "min", "max", "paired_seeds", "paired_difference", "paired_low",
    "paired_high", "p", "p_holm", "verdict", "lost_runs", "values_by_seed",
)  # fmt: skip


def _cells(content: bytes) -> dict[tuple[str, ...], dict[str, str]]:
    csv.field_size_limit(1 << 24)
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
    if any(None in row or name not in row for row in rows for name in _KEY):
        raise ValueError("other columns than results.csv has")
    return {tuple(row[name] or "" for name in _KEY): row for row in rows}


def _equal(first: str | None, second: str | None) -> bool:
    if first == second:
        return True
    try:
        a, b = float(first or "nan"), float(second or "nan")
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)
