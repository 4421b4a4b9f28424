"""Check and measure everything that needs a GPU, on a bare machine with one.

    python tests/benchmarks/gpu_check.py [--out reports/gpu-check] [--seconds 460]

Runs the tests that need CUDA, profiles the pretraining step at base size (exact, exact with a live teacher, fast,
compiled), pretrains ReCon and Point-MAE at size tiny on the embedded data as long as time allows, evaluates them, and
writes one folder: ``report.md`` to read, ``report.json`` with every figure, and what each part said. Every part has a
share of the time that is left; one that takes longer or fails is noted, and the next begins. No file is larger than
16 MB.

``--device cpu --preset smoke`` does the same in a minute without a GPU: its figures mean nothing, but every part runs.
Ends with 1 if a part failed or a target was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 16 * 10**6
"""Largest file of the report."""
SIZES = {
    "tiny": {"pretrain_data.objects": 2000, "data.train_per_class": 30, "data.test_per_class": 25},
    "smoke": {"pretrain_data.objects": 96},
}
"""Embedded data that are made, as in ``make demo``: making all that preset tiny asks for takes a CPU hours."""
TEACHER = {"tiny": {"teacher.objects": 500, "teacher.epochs": 8}, "smoke": {}}
"""The embedded teacher, for methods that need one, as in ``make demo``."""
MOST_EPOCHS = {"tiny": 300, "smoke": 2}
TESTS = {
    "cuda": ("tests/training/test_on_a_gpu.py", "tests/models/test_ops.py", "tests/training/test_precision.py"),
    "cpu": ("tests/training/test_precision.py",),
}
WAITS = "test_a_step_waits_for_nothing_on_a_gpu"
"""Test behind the target that data never waits for the CPU."""
GPU_FIELDS = (
    "name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,mig.mode.current"
)
TRAINING = 0.5
"""Part of a pretraining's time that its steps may take; the rest is data, teacher and evaluation."""


@dataclass
class Part:
    """One part of the check.

    Attributes:
        name: Name in the report, and of its log.
        share: Weight in dividing the time that is left among the parts that are left.
        command: Makes its command line from the folders and the seconds it has, when its turn comes.
        limit: Seconds it had.
        seconds: Seconds it took.
        outcome: ``done``, ``failed``, ``out of time`` or ``no time left``.
        told: Last line it said, if it is not done.
    """

    name: str
    share: float
    command: Callable[[Check, float], list[str]]
    limit: float = 0.0
    seconds: float = 0.0
    outcome: str = ""
    told: str = ""


@dataclass
class Check:
    """What was asked for, and where results go.

    Attributes:
        device: ``cuda`` or ``cpu``.
        preset: Size of the pretrainings; that of the profile is base beside tiny, else the same.
        methods: Methods to pretrain.
        out: Folder of the report.
        work: Folder of everything else.
    """

    device: str
    preset: str
    methods: list[str]
    out: Path
    work: Path
    parts: list[Part] = field(default_factory=list)

    @property
    def sized(self) -> str:
        """Preset of the profile."""
        return "base" if self.preset == "tiny" else self.preset

    def found(self, name: str) -> dict[str, Any]:
        """Read what a profile wrote; empty if it did not."""
        with suppress(OSError, ValueError):
            return cast(dict[str, Any], json.loads((self.out / name).read_text(encoding="utf-8")))
        return {}


def bench(*arguments: object) -> list[str]:
    """Return a command line of ``bench``, of this source tree."""
    return [sys.executable, "-P", "-m", "bench", *map(str, arguments)]


def tests(check: Check, _: float) -> list[str]:
    """Run the tests that need the device."""
    files = TESTS[check.device]
    return [sys.executable, "-m", "pytest", "-q", "-rs", f"--junitxml={check.out / 'tests.xml'}", *files]


def profile(name: str, *more: str, method: str = "recon", preset: str = "") -> Callable[[Check, float], list[str]]:
    """Profile the pretraining step."""

    def command(check: Check, _: float) -> list[str]:
        quick = ["--quick"] if check.preset == "smoke" else []
        size = preset or check.sized
        asked = ("--method", method, "--preset", size, "--device", check.device, "--json", check.out / name)
        return bench("profile", *asked, *more, *quick)

    return command


def pretrained(method: str) -> Callable[[Check, float], list[str]]:
    """Pretrain a method for as many epochs as its time allows, and evaluate it."""

    def command(check: Check, limit: float) -> list[str]:
        from bench.registry import METHODS

        paths = check.found(f"rate-{method}.json").get("paths", [])
        rate = next((float(path["samples_per_second"]) for path in paths if path["name"] == "fast"), 0.0)
        sets: dict[str, int] = SIZES[check.preset] | (TEACHER[check.preset] if METHODS.load(method).uses_images else {})
        epochs = max(int(TRAINING * limit * rate / sets["pretrain_data.objects"]), 1)
        sets["recipe.epochs"] = min(epochs, MOST_EPOCHS[check.preset])
        if epochs <= 10:  # a warm-up as long as the training would leave nothing
            sets["recipe.warmup_epochs"] = 0
        asked = ("-m", method, "-p", "linear", "--preset", check.preset, "--device", check.device, "--no-baseline")
        place = ("--dataset", "shapes-scan", "--results", check.work / "results")
        assigned = (word for name, value in sets.items() for word in ("--set", f"{name}={value}"))
        return bench("run", *asked, *place, *assigned)

    return command


def report(check: Check, _: float) -> list[str]:
    """Write the tables of the runs."""
    return bench("report", "--results", check.work / "results", "--out", check.out / "tables")


def parts_of(methods: Sequence[str], preset: str) -> list[Part]:
    """Return the parts in order; what is most wanted comes first."""
    parts = [Part("tests", 1.5, tests), Part("profile", 1.5, profile("profile.json", "--no-compile"))]
    for method in methods:
        rate = profile(f"rate-{method}.json", "--no-compile", "--repeats", "2", method=method, preset=preset)
        parts += [Part(f"rate {method}", 0.5, rate), Part(f"pretrain {method}", 2.0, pretrained(method))]
    parts.append(Part("report", 0.3, report))
    if preset != "smoke":  # --quick compiles nothing
        parts.append(Part("profile compiled", 3.0, profile("profile-compiled.json", "--compile")))
    return parts


def run_part(part: Part, check: Check, limit: float) -> None:
    """Run a part within its time, and note how it ended."""
    part.limit = limit
    log, began = check.out / f"{part.name.replace(' ', '-')}.log", time.monotonic()
    # Workers stay in the process group, so that a part ends whole.
    place = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(check.work / "cache"), "COLUMNS": "120"}
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command(check, limit), cwd=ROOT, env=place, stdout=file, stderr=file, start_new_session=True
        )
        try:
            part.outcome = "done" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            part.outcome = "out of time"
            end(process)
    part.seconds = time.monotonic() - began
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    part.told = lines[-1] if lines and part.outcome != "done" else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
            if number == signal.SIGTERM:
                continue
            return


def machine(device: str) -> dict[str, Any]:
    """Describe the machine: processor, libraries, GPU, driver and clocks."""
    import torch

    from bench.provenance import commit, machine_kind

    found: dict[str, Any] = {
        "kind": machine_kind("cuda" if device == "cuda" else "cpu"),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda of torch": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit()[0],
    }
    if device == "cuda":
        asked = ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader"]
        try:
            said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
            values = [value.strip() for value in said.splitlines()[0].split(",")]
            found |= dict(zip(GPU_FIELDS.split(","), values, strict=True))
        except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
            found["nvidia-smi"] = f"says nothing: {error}"
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    return found


@dataclass(frozen=True)
class Verdict:
    """A target, what was found, and what follows."""

    target: str
    found: str
    verdict: str


def verdicts(check: Check) -> list[Verdict]:
    """Compare what was found with the targets."""
    listed = []
    profile = check.found("profile-compiled.json") or check.found("profile.json")
    for ratio in profile.get("ratios", []):
        if ratio["target"] is not None:
            told = f"{ratio['name']}: at least {ratio['target']:g}"
            listed.append(Verdict(told, f"{ratio['value']:.3g}", ratio["verdict"]))
    if not listed:
        told = "no profile at this size on this device" if profile else "the profile did not end"
        listed.append(Verdict("speed of the step at base size on a GPU", told, "not measured"))
    failed, passed = tests_named(check.out / "tests.xml", WAITS)
    verdict = "not reached" if failed else "reached" if passed else "not measured"
    listed.append(Verdict("a step waits for the CPU nowhere", f"{passed} methods do not, {failed} do", verdict))
    return listed


def tests_named(file: Path, name: str) -> tuple[int, int]:
    """Count the cases of a test that failed, and that passed."""
    if not file.exists():
        return 0, 0
    cases = [case for case in ElementTree.parse(file).iter("testcase") if case.get("name", "").startswith(name)]
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    return failed, sum(len(case) == 0 for case in cases)


def costs(check: Check) -> list[dict[str, Any]]:
    """Read what the pretrainings cost, and what was measured of them."""
    found = []
    for file in sorted((check.work / "results").glob("artifacts/encoder/*/*/cost.json")):
        spec = json.loads(file.with_name("spec.json").read_text(encoding="utf-8"))
        cost = json.loads(file.read_text(encoding="utf-8"))
        recipe = spec["recipe"]
        found.append({"method": spec["method"], "epochs": recipe["epochs"], "batch": recipe["batch_size"], **cost})
    return found


def drop_large(folder: Path) -> list[str]:
    """Delete files that are too large; return their names and sizes."""
    large = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.stat().st_size > MOST_BYTES]
    told = [f"{file.relative_to(folder)} ({file.stat().st_size / 1e6:.0f} MB)" for file in large]
    for file in large:
        file.unlink()
    return told


def page(facts: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ["# GPU check", "", *(f"- {name}: {value}" for name, value in facts["machine"].items()), ""]
    lines += ["## Targets", "", "| target | found | |", "|---|---|---|"]
    lines += [f"| {one['target']} | {one['found']} | {one['verdict']} |" for one in facts["verdicts"]]
    lines += ["", "## Parts", "", "| part | outcome | seconds | limit | |", "|---|---|---|---|---|"]
    lines += [
        f"| {one['name']} | {one['outcome']} | {one['seconds']:.0f} | {one['limit']:.0f} | {one['told'][:200]} |"
        for one in facts["parts"]
    ]
    for name, found in facts["profiles"].items():
        if found:
            lines += ["", f"## {name}: {found['method']}, preset {found['preset']}, {found['device']}", ""]
            lines += ["| | samples/s | GFLOP per sample | share of peak | peak memory, GiB | warm-up, s |"]
            lines += ["|---|---|---|---|---|---|"]
            for path in found["paths"]:
                lines.append(
                    f"| {path['name']} | {path['samples_per_second']:.1f} | {path['flops_per_sample'] / 1e9:.2f} | "
                    f"{path['share_of_peak']:.0%} | {path['peak_memory_bytes'] / 2**30:.2f} | "
                    f"{path['warmup_seconds']:.1f} |"
                )
    if facts["pretraining"]:
        lines += ["", "## Pretraining", "", "| method | epochs | batch | samples/s | peak memory, GiB |"]
        lines += ["|---|---|---|---|---|"]
        for one in facts["pretraining"]:
            rate = one["pretrain_samples"] / max(one["pretrain_seconds"], 1e-9)
            memory = one["pretrain_peak_memory_bytes"] / 2**30
            lines.append(f"| {one['method']} | {one['epochs']} | {one['batch']} | {rate:.0f} | {memory:.2f} |")
        lines += ["", "Scores: `tables/`."]
    if facts["left_out"]:
        lines += ["", f"Left out, larger than {MOST_BYTES / 1e6:.0f} MB: {', '.join(facts['left_out'])}"]
    return "\n".join(lines) + "\n"


def check_all(check: Check, seconds: float) -> dict[str, Any]:
    """Run every part, and return all that was found."""
    until = time.monotonic() + seconds
    for number, part in enumerate(check.parts):
        left = until - time.monotonic()
        limit = left * part.share / sum(one.share for one in check.parts[number:])
        if left < 1:
            part.outcome = "no time left"
        else:
            run_part(part, check, limit)
        print(f"{part.name}: {part.outcome}, {part.seconds:.0f} of {part.limit:.0f} s {part.told}".rstrip(), flush=True)
    profiles = {file.stem: check.found(file.name) for file in sorted(check.out.glob("*.json"))}
    return {
        "machine": machine(check.device),
        "verdicts": [asdict(one) for one in verdicts(check)],
        "parts": [{name: value for name, value in vars(part).items() if name != "command"} for part in check.parts],
        "profiles": profiles,
        "pretraining": costs(check),
        "left_out": drop_large(check.out),
    }


def main() -> int:
    """Run the check; return 1 if a part failed or a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "gpu-check", help="folder of the report")
    parser.add_argument("--seconds", type=float, default=460.0, help="time for everything, 460 by default")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--preset", choices=tuple(SIZES), default="tiny", help="size of the pretrainings")
    parser.add_argument("--method", action="append", help="method to pretrain; ReCon and Point-MAE by default")
    parser.add_argument("--only", action="append", help="only parts whose name begins so; may be repeated")
    asked = parser.parse_args()
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        print(
            "error: gpu-check measures a GPU, and torch finds none here; see nvidia-smi, or try the check itself with "
            "--device cpu --preset smoke",
            file=sys.stderr,
        )
        return 2
    out = asked.out.resolve()
    if out.exists() and not (out / "report.json").exists() and any(out.iterdir()):
        print(f"error: --out {out} holds something else; name a new or empty folder", file=sys.stderr)
        return 2
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    methods = asked.method or ["recon", "point-mae"]
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work:
        check = Check(asked.device, asked.preset, methods, out, Path(work), parts_of(methods, asked.preset))
        if asked.only:
            check.parts = [part for part in check.parts if part.name.startswith(tuple(asked.only))]
        facts = check_all(check, asked.seconds)
    (out / "report.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(page(facts), encoding="utf-8")
    print(f"report: {out / 'report.md'}")
    bad = [part.outcome for part in check.parts if part.outcome != "done"]
    return 1 if bad or any(one["verdict"] == "not reached" for one in facts["verdicts"]) else 0


if __name__ == "__main__":
    sys.exit(main())
