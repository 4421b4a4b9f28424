"""Break the package on purpose, and see whether the accuracy check notices.

    python tests/benchmarks/gate_selftest.py [--page docs/gate-selftest.md]

Six copies of the package are broken in one line each; the check of every copy has to end in ``fail`` or ``broken``.
Then the unbroken package runs the suite with seeds that the baseline does not have; each of these has to pass.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_FRESH_SEED = 100


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
        "found[name] = target",
        "found[name] = target.roll(1, 0)",
    ),
    Break(
        "the labels are shuffled in the probe",
        "protocols/fewshot/frozen.py",
        "np.stack([fold.support_labels for fold in folds])",
        "np.stack([np.random.default_rng(0).permutation(fold.support_labels) for fold in folds])",
    ),
    Break(
        "clouds are no longer scaled to the unit sphere",
        "data/shapes/objects.py",
        "    centred = points - points.mean(axis=0)\n    reach",
        "    return points.astype(np.float32)\n    centred = points - points.mean(axis=0)\n    reach",
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


def check(package: Path, baseline: Path, seeds: int) -> tuple[str, str]:
    """Run ``bench check`` with a package, and return the verdict and the lines that are not ``pass``."""
    command = ["-m", "bench", "check", "--baseline", baseline, "--seeds", seeds, "--json"]
    done = subprocess.run(
        [sys.executable, "-P", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(package)},
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


def fresh_repeats(baseline: Path, repeats: int, seeds: int) -> list[tuple[str, str]]:
    """Run the suite with seeds of its own, and judge them as a change would be."""
    from bench.gate.baseline import read_baseline
    from bench.gate.check import Suite, measure
    from bench.stats.gate import Lines, Scales, judge, suite_lines
    from bench.texts import screen

    stored, suite = read_baseline(baseline), Suite.beside(baseline)
    lines, earlier = suite_lines(stored.results(), stored.earlier())
    scales = Scales.of(lines, earlier)
    scratch = {cell.cell: cell.scratch for cell in stored.cells if cell.scratch}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            own = tuple(range(FIRST_FRESH_SEED + repeat * seeds, FIRST_FRESH_SEED + (repeat + 1) * seeds))
            plugins = suite.load_plugins(())
            request = suite.request.model_copy(update={"seeds": own})
            measured = measure(request, Path(folder) / str(repeat), plugins, screen(stderr=True))
            now = Lines.of({cell.cell: cell.values for cell in measured.cells}, scratch, own)
            drops = lines.points.mean(1) - now.points.mean(1)
            verdicts, _ = judge(drops, seeds, scales)
            worst = max(verdicts, key=("pass", "undecided", "fail").index)
            largest = max(range(len(drops)), key=lambda i: drops[i] - scales.margin[i])
            told = f"closest to its margin: {lines.names[largest][0].split(' | ')[0]} ({lines.names[largest][1]}), "
            found.append((worst, f"{told}lower by {drops[largest]:.1f} of {scales.margin[largest]:.1f}"))
            print(f"fresh seeds {own}: {worst} ({found[-1][1]})", flush=True)
    return found


def main() -> int:
    """Run everything; return 1 if a break went unseen or a repeat did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, default=ROOT / "baselines" / "ci.json")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every check")
    parser.add_argument("--repeats", type=int, default=5, help="repeats with fresh seeds")
    parser.add_argument("--only", default="", help="only breaks whose text contains this")
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    asked = parser.parse_args()
    rows, good = [], True
    for fault in (fault for fault in BREAKS if asked.only in fault.what):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            verdict, why = check(broken_copy(fault, Path(folder)), asked.baseline.resolve(), asked.seeds)
        good &= verdict in ("fail", "broken")
        rows.append((fault.what, verdict, why, f"{(time.monotonic() - start) / 60:.1f}"))
        print(f"{fault.what}: {verdict} ({why}), {rows[-1][-1]} min", flush=True)
    start = time.monotonic()
    repeats = fresh_repeats(asked.baseline.resolve(), asked.repeats, asked.seeds)
    minutes = f"{(time.monotonic() - start) / 60 / max(1, len(repeats)):.1f}"
    rows += [
        (f"nothing, fresh seeds, repeat {i + 1}", verdict, why, minutes) for i, (verdict, why) in enumerate(repeats)
    ]
    good &= all(verdict == "pass" for verdict, _ in repeats)
    if asked.page is not None:
        asked.page.write_text(_page(rows, asked.seeds), encoding="utf-8")
    return 0 if good else 1


def _page(rows: list[tuple[str, ...]], seeds: int) -> str:
    from bench.provenance import machine_kind
    from bench.report.markdown import table

    head = (
        "<!-- Written by `make gate-selftest`; change tests/benchmarks/gate_selftest.py, not this. -->\n\n"
        "# What the gate found\n\n"
        f"Each row is a real `bench check` of `baselines/ci.json` with {seeds} seeds, run from nothing by a copy of "
        "the package in which one line is broken, or by the package as it is, with seeds that the baseline lacks. "
        f"Machine: {machine_kind('cpu')}.\n\n"
    )
    return head + "\n".join(table(("what is broken", "verdict", "lines that do not pass", "minutes"), rows)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
