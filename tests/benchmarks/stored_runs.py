"""Make a results folder of many runs, and time what reads it: ``make benchmark-index``.

The runs are those of a large study: every method and `scratch`, linear, SVM and few-shot protocols, several data sets,
swept recipes, pretraining seeds crossed with split seeds. Specifications, labels, code fingerprints and provenance are
real ones; scores are drawn at random. Folders are complete and sealed as those of the store are. Runs share their
files of predictions by hard links, so that 100,000 folders take minutes and a few gigabytes.

    python tests/benchmarks/stored_runs.py make FOLDER --runs 10000
    python tests/benchmarks/stored_runs.py measure FOLDER
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.spec import content_key
from bench.store import codec, folders, jsontext
from bench.store.scan import FAILED, KIND, RUNS

DATA_SETS = ("shapes-scan-novel", "shapes-scan", "shapes-cad-novel", "shapes")
PROTOCOLS = ("linear", "svm", "fewshot")
SEEDS, SPLITS = 10, 3
LEARNING_RATES = tuple(round(1e-4 * 1.2**step, 7) for step in range(60))
STRENGTHS = (0.1, 1, 10, 100, 1000, 10000)
FAILS = 200
"""Every this many runs, one failed."""
_CHUNK = 500
_VALUE = "@value@"

TARGETS = {
    "bench runs": 5,
    "bench runs, filtered": 5,
    "bench report, filtered": 5,
    "bench report": 60,
    "bench db rebuild": 300,
}
"""Seconds that each command may take on 100,000 runs."""
MOST_MEMORY_MB, MOST_INDEX_MB = 1000, 300


@dataclass(frozen=True, eq=False)
class Template:
    """A planned run, of which others differ in data, learning rate and seeds.

    Attributes:
        spec: Its specification.
        label: Its labels.
        fingerprint: Digest of its code.
        modules: Digests of the modules of its code.
        card: Description of its protocol.
        method_card: Description of its method.
    """

    spec: dict[str, Any]
    label: dict[str, str]
    fingerprint: str
    modules: dict[str, str]
    card: str
    method_card: dict[str, Any]

    @property
    def pretrained(self) -> bool:
        return self.label["method"] != "scratch"


@cache
def templates(place: Path) -> list[Template]:
    """Plan one run of every method and protocol."""
    import bench
    from bench.registry import METHODS
    from bench.registry import PROTOCOLS as KINDS

    place.mkdir(parents=True, exist_ok=True)
    study = bench.study(methods="all", protocols=list(PROTOCOLS), dataset=DATA_SETS[0], results=place)
    found = []
    for run in study.plan().plan.runs:
        protocol = KINDS.load(run.spec.protocol.name)
        card = protocol.card(protocol.parse(run.spec.protocol.options))
        method_card = METHODS.load(run.spec.encoder.method).card.model_dump(mode="json")
        code = run.fingerprint
        found.append(
            Template(run.spec.model_dump(mode="json"), run.label, code.digest, code.modules, card, method_card)
        )
    return found


def wanted(place: Path, count: int) -> Iterator[tuple[Template, str, int, int, int]]:
    """Yield template, data set, step of the sweep, seed and split seed of each run."""
    found = templates(place)
    swept = [one for one in found if one.pretrained]
    every = (
        (template, data, step, seed, split)
        for step in range(len(LEARNING_RATES))
        for data in DATA_SETS
        for template in (found if step == 0 else swept)
        for seed in range(SEEDS)
        for split in range(SPLITS)
    )
    yield from itertools.islice(every, count)


def make(results: Path, count: int, processes: int = 2) -> None:
    """Make a results folder with so many runs."""
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        works = list(wanted(Path(place), count))
    pool = _predictions(results / "pool")
    chunks = [(results, pool, start, works[start : start + _CHUNK]) for start in range(0, count, _CHUNK)]
    if processes == 1 or len(chunks) == 1:
        for chunk in chunks:
            _write_chunk(chunk)
    else:
        with ProcessPoolExecutor(processes) as workers:
            list(workers.map(_write_chunk, chunks))
    shutil.rmtree(results / "pool")


def _predictions(place: Path) -> dict[str, list[tuple[Path, folders.FileEntry]]]:
    """Write files of predictions to link to: of 100 to 2,000 objects."""
    place.mkdir()
    draw, pool = np.random.default_rng(0), {}
    for protocol, sizes in (("linear", (100, 400, 1000)), ("svm", (100, 400, 1000)), ("fewshot", (2000,))):
        pool[protocol] = []
        for number in range(12):
            n = sizes[number % len(sizes)]
            logits = draw.normal(size=(n, 10)).round(3).astype(np.float32)
            arrays: codec.Arrays = {
                "ids": np.array([f"object-{one % 400:05d}" for one in range(n)]),
                "labels": (np.arange(n) % 10).astype(np.int32),
                "predicted": logits.argmax(1).astype(np.int32),
                "logits": logits,
            }
            if protocol == "fewshot":
                arrays["fold"] = (np.arange(n) // 200).astype(np.int16)
                arrays["classes"] = np.tile(np.arange(10, dtype=np.int32), (10, 1))
            content = codec.encode_arrays(arrays)
            path = place / f"{protocol}-{number}.npz"
            path.write_bytes(content)
            pool[protocol].append((path, folders.FileEntry(len(content), hashlib.sha256(content).hexdigest())))
    return pool


def _write_chunk(chunk: tuple[Path, Any, int, list[tuple[Template, str, int, int, int]]]) -> None:
    results, pool, start, works = chunk
    draw = np.random.default_rng(start)
    for number, work in enumerate(works, start):
        _write(results, pool, number, *work, draw)


def _write(
    results: Path, pool: Any, number: int, template: Template, data: str, step: int, seed: int, split: int, draw: Any
) -> None:
    spec = json.loads(json.dumps(template.spec)) | {"seed": seed, "split_seed": split}
    spec["data"] |= {"name": data, "manifest": hashlib.sha256(data.encode()).hexdigest()}
    encoder = spec["encoder"]
    encoder["seed"] = seed
    if encoder.get("first_stage"):
        encoder["first_stage"]["seed"] = seed
    if step and encoder["recipe"]:
        encoder["recipe"]["lr"] = LEARNING_RATES[step]
    key, label = content_key(spec), template.label | {"dataset": data}
    fails = number % FAILS == FAILS - 1
    parent = results / (FAILED if fails else RUNS) / key
    name = "20260101T000000Z-00000000" if fails else template.fingerprint[: folders.SHORT]
    folder = parent / name
    folder.mkdir(parents=True)
    cost = {
        name: float(draw.uniform(0.1, 400))
        for name in (
            "compile_seconds",
            "data_seconds",
            "evaluate_seconds",
            "pretrain_seconds",
            "teacher_feature_seconds",
        )
    } | {"flops_forward": 1762496.0, "parameters_encoder": 24496.0, "pretrain_samples": 4800.0}
    record = {
        "key": key,
        "fingerprint": template.fingerprint,
        "status": "failed" if fails else "done",
        "label": label,
        "seen_names": {"seen": ["chair", "table"] if template.pretrained else [], "total": 10},
        "cost": cost,
        "error": "RuntimeError: the loss is not finite (log: logs/run.log)" if fails else None,
        **({"failure": "diverged"} if fails else {}),
    }
    score = 0.5 + 0.1 * template.pretrained + 0.002 * step + float(draw.normal(0, 0.02))
    shape = [] if fails else _metrics_text(template.label["protocol"], template.pretrained)
    values = np.clip(score + draw.normal(0, 0.03, max(len(shape) - 1, 0)), 0, 1).tolist()
    metrics = "".join(itertools.chain(*zip(shape, map(repr, values), strict=False), shape[-1:])) if shape else "[]\n"
    curves = {} if not template.pretrained else _curves(seed, step)
    moment = f"2026-01-{1 + number // 20_000:02d}T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
    files = {
        "curves.json": (json.dumps(curves) + "\n").encode(),
        "metrics.json": metrics.encode(),
        "provenance.json": _provenance_text(template, data)
        .replace("@moment@", moment)
        .replace("@seed@", str(seed))
        .encode(),
        "record.json": jsontext.dump_bytes(record),
        "spec.json": jsontext.dump_bytes(spec),
    }
    entries = {}
    for file, content in files.items():
        (folder / file).write_bytes(content)
        entries[file] = folders.FileEntry(len(content), hashlib.sha256(content).hexdigest())
    source, entry = pool[template.label["protocol"]][number % 12]
    (folder / "predictions.npz").hardlink_to(source)
    entries["predictions.npz"] = entry
    manifest = {
        "format": folders.FORMAT,
        "kind": KIND,
        "key": key,
        "fingerprint": template.fingerprint,
        "created_at": f"{moment}.{number % 1_000_000:06d}+00:00",
        "files": {name: entries[name]._asdict() for name in sorted(entries)},
    }
    (folder / folders.MANIFEST).write_bytes(jsontext.dump_bytes(manifest))


@cache
def _metrics_text(protocol: str, pretrained: bool) -> list[str]:
    """Return the text of ``metrics.json`` around the values, with the metrics that such a run has."""
    variants = ("trained", "trained+bn") if pretrained else ("default", "default+bn", "trunc", "trunc+bn")
    rows: list[dict[str, Any]] = []
    for at, variant in enumerate(variants):
        base = {"epoch": None, "fold": None, "headline": at == 0, "selection": "val", "variant": variant, "votes": 1}
        base |= {"value": _VALUE}
        rows.append(base | {"name": "accuracy", "split": "val", "n_objects": 126})
        rows.append(base | {"name": "accuracy", "split": "test", "n_objects": 400})
        if protocol == "fewshot":
            for fold in range(10):
                rows.append(base | {"name": "accuracy", "split": "test", "n_objects": 200, "fold": fold})
        else:
            rows.append(base | {"name": "mean_class_accuracy", "split": "test", "n_objects": 400})
        for strength in STRENGTHS if protocol == "fewshot" else STRENGTHS[1:3]:
            named = {"name": f"accuracy[C={strength:g}]", "split": "val", "n_objects": 126, "headline": False}
            rows.append(base | named)
    return jsontext.dump_bytes(rows).decode().split(f'"{_VALUE}"')


@cache
def _curves(seed: int, step: int) -> dict[str, list[tuple[float, float]]]:
    draw = np.random.default_rng((seed, step))
    return {
        f"pretrain/{name}": [(float(epoch), 1 / epoch + float(draw.normal(0, 0.01))) for epoch in range(1, 21)]
        for name in ("total", "reconstruction")
    }


@lru_cache(1000)
def _provenance_text(template: Template, data: str) -> str:
    command = f"bench run -m all -p {','.join(PROTOCOLS)} --dataset {data} --seeds {SEEDS} --split-seeds {SPLITS}"
    digests = {name: hashlib.sha256((name + data).encode()).hexdigest() for name in _CONTENTS}
    provenance = {
        "argv": command.split(),
        "command": command,
        "card": template.card,
        "card_hash": hashlib.sha256(template.card.encode()).hexdigest(),
        "method_card": template.method_card,
        "modules": template.modules,
        "commit": "0" * 40,
        "dirty": False,
        "contents": digests,
        "data_root": {data: None},
        "device": "cpu",
        "environment": dict.fromkeys(("BENCH_CORES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONUTF8"), "1"),
        "feature": "class token + max over patches (2C)",
        "finished": "@moment@+00:00",
        "started": "@moment@+00:00",
        "host": "node",
        "machine": "CPU (avx2), 2 cores, Linux",
        "metric": "accuracy",
        "notes": {"candidate": "trained", "feature": "transfer", "feature_width": 128, "strength": 10.0},
        "plugin_files": [],
        "seeds": {"probe": 4477911432222919899, "root": "@seed@", "split": 0},
        "split_digest": digests["test objects"],
        "threads": 1,
        "versions": {"bench": "0.1.0", "numpy": "2.3", "python": "3.11", "torch": "2.15"},
    }
    return jsontext.dump_bytes(provenance).decode()


_CONTENTS = tuple(
    f"{split} {what}" for split in ("test", "training") for what in ("classes", "clouds", "labels", "objects")
)


# --- measuring


@dataclass(frozen=True)
class Measured:
    """Time and memory of a command in a fresh process."""

    wall: float
    cpu: float
    peak_mb: float
    output: str


_CHILD = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.stdout.decode()]))
"""


def run(*arguments: str) -> Measured:
    """Run a bench command in a fresh process.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-c", _CHILD, sys.executable, "-P", "-m", "bench", *arguments]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code, wall, cpu, peak, output = json.loads(told)
    if code:
        raise RuntimeError(f"bench {' '.join(arguments)} ended with {code}:\n{output}")
    return Measured(wall, cpu, peak, output)


def measure(results: Path, only: list[str] | None = None) -> str:
    """Time every command on a results folder; return a Markdown table."""
    scratch = Path(tempfile.mkdtemp())
    there = ["--results", str(results)]
    cell = ["--method", "recon", "--protocol", "fewshot", "--dataset", DATA_SETS[0]]
    commands: dict[str, list[str]] = {
        "bench db rebuild": ["db", "rebuild", *there],
        "bench runs": ["runs", *there],
        "bench runs, filtered": ["runs", *cell, *there],
        "bench report, filtered": ["report", *cell, "--out", str(scratch / "filtered"), *there],
        "bench report": ["report", "--out", str(scratch / "all"), *there],
    }
    lines = ["| command | wall, s | processor, s | peak memory, MB | target, s |", "|---|---|---|---|---|"]
    for name, command in commands.items():
        if only and name not in only:
            continue
        found = run(*command)
        lines.append(f"| `{name}` | {found.wall:.1f} | {found.cpu:.1f} | {found.peak_mb:.0f} | {TARGETS[name]} |")
        print(lines[-1], flush=True)
    shutil.rmtree(scratch)
    index = sum(path.stat().st_size for path in results.glob("bench.sqlite*")) / 1e6
    count = sum(1 for _ in (results / RUNS).iterdir())
    lines.append(f"\n{count:,} finished runs, index {index:.0f} MB; {_machine()}.")
    return "\n".join(lines)


def _machine() -> str:
    model = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores of {model or platform.machine()}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("make", "measure", "all"))
    parser.add_argument("results", type=Path, help="results folder; `all` makes it and deletes it")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--only", action="append", help="measure only this command")
    given = parser.parse_args()
    if given.action != "measure":
        if given.results.exists():
            parser.error(f"'{given.results}' exists already; name a folder that does not")
        began = time.monotonic()
        make(given.results, given.runs)
        print(f"made {given.runs:,} runs in {time.monotonic() - began:.0f} s", flush=True)
    if given.action != "make":
        print(measure(given.results, given.only))
    if given.action == "all":
        shutil.rmtree(given.results)


if __name__ == "__main__":
    main()
