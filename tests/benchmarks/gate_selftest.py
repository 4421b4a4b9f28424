"""Break the package on purpose, and see whether the accuracy check notices.

    python tests/benchmarks/gate_selftest.py [--page docs/gate-selftest.md] [--results FOLDER]

Copies of the package are broken in one line each; the check of every copy has to end in ``fail`` or ``broken``. Then
the unbroken package runs the suite with seeds that the baseline does not have; none of these may fail.

Every finished row is kept as a JSON file in the results folder. Rows that are there are not run again, as long as
package, suite, baseline and seeds are the same: so a killed test goes on, and ``--only`` fills one page in several
calls. Where a row has not been run again, the page shows the one of an earlier package, and its commit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_FRESH_SEED = 100
SEEN = ("fail", "broken")


@dataclass(frozen=True)
class Break:
    """One fault: `text` of `file` (below ``bench``) becomes `broken`."""

    what: str
    file: str
    text: str
    broken: str


BREAKS = (
    Break(
        "the reconstruction loss is detached",
        "models/losses.py",
        "(predicted.float(), target.float())",
        "(predicted.float().detach(), target.float())",
    ),
    Break(
        "the teacher's features are shuffled against the clouds",
        "models/guidance.py",
        '        found[f"{space}_inputs" if by_tower else name] = target',
        '        found[f"{space}_inputs" if by_tower else name] = target.roll(1, 0)',
    ),
    Break(
        "the labels are shuffled in the probe",
        "protocols/fewshot/frozen.py",
        "np.stack([fold.support_labels for fold in folds])",
        "np.stack([np.random.default_rng(0).permutation(fold.support_labels) for fold in folds])",
    ),
    Break(
        "clouds of pretraining alone are no longer scaled to the unit sphere",
        "data/shapes/objects.py",
        "return unit_sphere(points), normals",
        "return points.astype(np.float32), normals",
    ),
    Break(
        "the learning rate is 0",
        "training/schedule.py",
        "    base = recipe.lr * scale\n",
        "    return 0.0\n    base = recipe.lr * scale\n",
    ),
    Break(
        "the optimiser never steps",
        "training/loop.py",
        "        self.optimiser.step()\n        self.optimiser.zero_grad",
        "        self.optimiser.zero_grad",
    ),
)


@dataclass(frozen=True)
class Row:
    """What one check said.

    Attributes:
        what: What was broken, or the fresh seeds.
        fresh: Whether the package was unbroken.
        verdict: Of the check.
        lines: Lines that do not pass, or that came closest to not passing.
        minutes: Time of the clock.
        seeds: Seeds that were run.
        machine: Kind of machine.
        commit: Of the package.
        tested: Digest of breaks, package, suite and baseline.
    """

    what: str
    fresh: bool
    verdict: str
    lines: str
    minutes: float
    seeds: int
    machine: str
    commit: str
    tested: str

    @property
    def good(self) -> bool:
        """Whether the check noticed the break, or did not alarm without one."""
        return (self.verdict in SEEN) != self.fresh


def broken_copy(fault: Break, folder: Path) -> Path:
    """Copy the package with one fault in it, and return the folder to import it from.

    Raises:
        SystemExit: The line to break is not there, or not once.
    """
    shutil.copytree(ROOT / "bench", folder / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "bench" / fault.file
    source = file.read_text(encoding="utf-8")
    if source.count(fault.text) != 1:
        sys.exit(
            f"bench/{fault.file} holds {fault.text!r} {source.count(fault.text)} times, expected once: mend BREAKS"
        )
    file.write_text(source.replace(fault.text, fault.broken), encoding="utf-8")
    return folder


def check_broken(fault: Break, baseline: Path, seeds: int) -> tuple[str, str]:
    """Run ``bench check`` with a broken package, and return the verdict and the lines that are not ``pass``."""
    command = ["-m", "bench", "check", "--baseline", baseline, "--seeds", seeds, "--json"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", *map(str, command)],
            env={**os.environ, "PYTHONPATH": str(broken_copy(fault, Path(folder)))},
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.stdout.strip():  # an error before any decision
        return f"exit {done.returncode}", done.stderr.strip().splitlines()[-1]
    report = json.loads(done.stdout)
    lines = [line for line in report["lines"] if line["verdict"] != "pass"]
    return report["verdict"], "; ".join(f"{_short(line)} {line['verdict']}" for line in lines)


def _short(line: dict[str, str]) -> str:
    return f"{line['cell'].split(' | ')[0]} ({line['quantity']})" if line["quantity"] != "mean" else "mean"


def check_fresh(seeds: tuple[int, ...], baseline: Path) -> tuple[str, str]:
    """Run the suite with seeds of its own, and judge them as those of a change."""
    from bench.gate.baseline import read_baseline
    from bench.gate.check import Suite, measure
    from bench.stats.gate import Lines, Scales, judge, suite_lines
    from bench.texts import screen

    stored, suite = read_baseline(baseline), Suite.beside(baseline)
    lines, earlier = suite_lines(stored.results(), stored.earlier())
    scales = Scales.of(lines, earlier)
    scratch = {cell.cell: cell.scratch for cell in stored.cells if cell.scratch}
    request = suite.request.model_copy(update={"seeds": seeds})
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(request, Path(folder), suite.load_plugins(()), screen(stderr=True))
    now = Lines.of({cell.cell: cell.values for cell in measured.cells}, scratch, seeds)
    drops = lines.points.mean(1) - now.points.mean(1)
    verdicts, _ = judge(drops, len(seeds), scales)
    worst = max(verdicts, key=("pass", "undecided", "fail").index)
    largest = max(range(len(drops)), key=lambda i: drops[i] - scales.margin[i])
    cell, quantity = lines.names[largest]
    told = _short({"cell": cell, "quantity": quantity})
    return worst, f"closest to its margin: {told}, lower by {drops[largest]:.1f} of {scales.margin[largest]:.1f}"


def tested(baseline: Path) -> str:
    """Return a digest of breaks, package, suite and baseline: what a kept row holds for."""
    files = [*sorted((ROOT / "bench").rglob("*.py")), baseline, baseline.with_suffix(".yaml")]
    whole = hashlib.sha256(repr(BREAKS).encode())
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]


def planned(baseline: Path, seeds: int, repeats: int) -> dict[str, tuple[bool, Callable[[], tuple[str, str]]]]:
    """Return every row to run, by what is tested: whether the package is unbroken, and the check."""
    rows: dict[str, tuple[bool, Callable[[], tuple[str, str]]]] = {}
    for fault in BREAKS:
        rows[fault.what] = (False, partial(check_broken, fault, baseline, seeds))
    for repeat in range(repeats):
        first = FIRST_FRESH_SEED + repeat * seeds
        own = tuple(range(first, first + seeds))
        name = f"nothing, fresh seed{'s' if seeds > 1 else ''} {', '.join(map(str, own))}"
        rows[name] = (True, partial(check_fresh, own, baseline))
    return rows


def main() -> int:
    """Run what is asked for; return 1 if a break went unseen or a repeat failed."""
    from bench.provenance import commit, machine_kind

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, default=ROOT / "baselines" / "ci.json")
    parser.add_argument("--seeds", type=int, default=2, help="seeds of every check, two by default as `make check`")
    parser.add_argument("--repeats", type=int, default=5, help="repeats with fresh seeds")
    parser.add_argument("--only", action="append", help="only rows whose text contains this; may be repeated")
    parser.add_argument("--results", type=Path, help="folder that keeps finished rows; none by default")
    parser.add_argument("--page", type=Path, help="Markdown file to write, of all finished rows")
    asked = parser.parse_args()
    baseline = asked.baseline.resolve()
    state = tested(baseline)
    rows = kept_rows(asked.results)
    todo = planned(baseline, asked.seeds, asked.repeats)
    for what, (fresh, run) in todo.items():
        done = any((row.what, row.seeds, row.tested) == (what, asked.seeds, state) for row in rows)
        if done or (asked.only and not any(text in what for text in asked.only)):
            continue
        start = time.monotonic()
        verdict, lines = run()
        minutes = (time.monotonic() - start) / 60
        row = Row(what, fresh, verdict, lines, minutes, asked.seeds, machine_kind("cpu"), commit()[0][:7], state)
        rows.append(row)
        if asked.results is not None:
            keep(row, asked.results)
        print(f"{what}: {verdict} ({lines}), {minutes:.1f} min", flush=True)
    # Of several rows the one of today's package counts, then the one of more seeds.
    rows.sort(key=lambda row: (row.tested == state, row.seeds))
    best = {row.what: row for row in rows}
    if asked.page is not None:
        missing = [what for what in todo if what not in best]
        asked.page.write_text(page(list(best.values()), missing, asked.baseline.name), encoding="utf-8")
    return 0 if all(row.good for row in best.values()) else 1


def keep(row: Row, folder: Path) -> None:
    """Write a finished row."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{re.sub('[^a-z0-9]+', '-', row.what.lower())}-{row.seeds}.json"
    (folder / name).write_text(json.dumps(asdict(row), indent=1) + "\n", encoding="utf-8")


def kept_rows(folder: Path | None) -> list[Row]:
    """Read the finished rows."""
    files = sorted(folder.glob("*.json")) if folder is not None else []
    return [Row(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def page(rows: Sequence[Row], missing: Sequence[str], baseline: str) -> str:
    """Write what was found, and what was not run."""
    order = [fault.what for fault in BREAKS]
    breaks = sorted((row for row in rows if row.what in order), key=lambda row: order.index(row.what))
    repeats = sorted((row for row in rows if row.fresh), key=lambda row: row.what)
    machines = "; ".join(sorted({row.machine for row in rows}))
    parts = [
        "<!-- Written by `make gate-selftest`; change tests/benchmarks/gate_selftest.py, not this. -->\n",
        "# What the gate found\n",
        f"Each row is a real `bench check` of `baselines/{baseline}`, run from nothing by a copy of the package in "
        f"which one line is broken, at the commit named. Machine: {machines}.\n",
        _table("what is broken", breaks),
        _seen(breaks),
    ]
    if repeats:
        parts += [
            "## Nothing broken\n",
            "The package as it is runs the suite with seeds that the baseline lacks; its numbers are judged as those "
            "of a change. `make check` lets an undecided check pass.\n",
            _table("what", repeats),
            _alarms(repeats),
        ]
    if missing:
        parts.append(f"Not run: {'; '.join(missing)}.\n")
    return "\n".join(parts)


def _table(what: str, rows: Sequence[Row]) -> str:
    from bench.report.markdown import table

    body = [(row.what, str(row.seeds), row.verdict, row.lines, f"{row.minutes:.1f}", row.commit) for row in rows]
    return "\n".join(table((what, "seeds", "verdict", "lines", "minutes", "commit"), body)) + "\n"


def _seen(breaks: Sequence[Row]) -> str:
    unseen = [row.what for row in breaks if not row.good]
    told = f"; unseen: {'; '.join(unseen)}" if unseen else ""
    return f"The check noticed {len(breaks) - len(unseen)} of {len(breaks)} breaks that were run{told}.\n"


def _alarms(repeats: Sequence[Row]) -> str:
    verdicts = [row.verdict for row in repeats]
    told = ", ".join(f"{verdicts.count(v)} {v}" for v in ("pass", "undecided", "fail") if v in verdicts)
    return f"Verdicts without a break: {told}.\n"


if __name__ == "__main__":
    sys.exit(main())
