"""Small stored runs whose numbers follow from their predictions, and ways to forge bundles of them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.plan.skips import Skipped, remember
from bench.protocols.selection import mean_class_accuracy
from bench.spec import content_key
from bench.store import Metric, RunRecord, Store, codec, folders, jsontext

CODE = "c0de" * 16
OBJECTS, KINDS = 60, 4


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def spec_of(method: str, seed: int, dataset: str = "shapes-scan", **more: Any) -> dict[str, Any]:
    scratch = method == "scratch"
    encoder = {
        "method": method,
        "options": {"architecture": "recon"} if scratch else {"mask_ratio": 0.6},
        "backbone": {"width": 128, "depth": 4},
        "recipe": None if scratch else {"epochs": 50, "lr": 0.001},
        "data": None if scratch else {"name": "shapes", "options": {}, "manifest": sha("shapes")},
        "numerics": {"precision": "fp32", "device": "cpu"},
        "seed": seed,
    }
    return {
        "preset": "nano",
        "encoder": encoder,
        "protocol": {"name": "linear", "revision": 2, "form": "fair", "options": {"feature": "transfer"}},
        "setting": "all",
        "data": {"name": dataset, "options": {}, "manifest": sha(dataset)},
        "split_seed": 0,
        "seed": seed,
        **more,
    }


def a_run(method: str = "recon", seed: int = 0, right: float = 0.6, **changes: Any) -> RunRecord:
    """A finished run of a linear probe, of which about so much is right."""
    spec = changes.pop("spec", None) or spec_of(method, seed)
    draw = np.random.default_rng([seed, *method.encode()])
    labels = np.arange(OBJECTS, dtype=np.int32) % KINDS
    logits = draw.normal(size=(OBJECTS, KINDS)).astype(np.float32)
    hit = draw.random(OBJECTS) < right
    logits[np.arange(OBJECTS)[hit], labels[hit]] += 9
    predicted = logits.argmax(1).astype(np.int32)
    values: dict[str, Any] = {
        "fingerprint": CODE,
        "status": "done",
        "spec": spec,
        "label": {
            "preset": "nano", "method": method, "architecture": "recon" if method == "scratch" else method,
            "protocol": "linear", "form": "fair", "setting": "all", "dataset": spec["data"]["name"],
            "pretrain_data": "none" if method == "scratch" else "shapes",
        },
        "metrics": [
            Metric(value=0.5, split="val", n_objects=20),
            Metric(value=float((predicted == labels).mean()), split="test", n_objects=OBJECTS),
            Metric(
                name="mean_class_accuracy", value=mean_class_accuracy(labels, predicted), split="test",
                n_objects=OBJECTS,
            ),
        ],
        "predictions": {
            "ids": np.array([f"object-{at}" for at in range(OBJECTS)]), "labels": labels, "logits": logits,
            "predicted": predicted,
        },
        "curves": {} if method == "scratch" else {"pretrain/total": [(1.0, 0.9), (2.0, 0.5)]},
        "cost": {"evaluate_seconds": 1.5, "pretrain_seconds": 60.0},
        "provenance": {
            "command": f"bench run -m {method} -p linear --seeds 3", "commit": "0" * 40, "dirty": False,
            "contents": {"test objects": sha(spec["data"]["name"])}, "device": "cpu", "machine": "CPU, 2 cores, Linux",
            "metric": "accuracy", "notes": {"candidate": ""}, "seeds": {"root": seed}, "split_digest": sha("split"),
            "versions": {"bench": "0.1.0", "python": "3.11"}, "started": "2026-01-01T00:00:00+00:00",
        },
    }  # fmt: skip
    values |= changes
    return RunRecord(**({"key": content_key(values["spec"])} | values))


def store_runs(results: Path, *runs: RunRecord) -> Path:
    store = Store(results)
    for run in runs:
        store.publish(run)
    return results


def some_runs(results: Path, seeds: int = 3) -> Path:
    """A method and scratch, so many seeds each, and a run that diverged."""
    runs = [a_run(method, seed, right) for method, right in (("recon", 0.8), ("scratch", 0.5)) for seed in range(seeds)]
    lost = a_run("recon", 7, status="failed", error="RuntimeError: the loss is not finite", metrics=[], predictions={})
    return store_runs(results, *runs, replace(lost, failure="diverged"))


SKIPPED = (
    Skipped("act", "linear", "shapes-scan", "its teacher's weights are not here"),
    Skipped("recon", "partseg", "shapes-scan", "the data set has no part labels"),
    Skipped("recon", "linear", "shapes-scan", "few: another setting"),
)


def with_skipped(results: Path, *skipped: Skipped) -> Path:
    """Let a plan of a results folder have skipped combinations."""
    remember(results, skipped or SKIPPED)
    return results


# --- forging


Entries = dict[str, bytes]


def entries_of(bundle: Path) -> Entries:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, entries: Entries) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def resealed(entries: Entries) -> Entries:
    """Make every checksum right again, as a forger would."""
    entries = dict(entries)
    head = json.loads(entries["bundle.json"])
    for run in head["runs"]:
        manifest = json.loads(entries[f"{run}/{folders.MANIFEST}"])
        for name in codec.LIMITS:
            content = entries[f"{run}/{name}"]
            manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        entries[f"{run}/{folders.MANIFEST}"] = jsontext.dump_bytes(manifest)
        head["runs"][run] = hashlib.sha256(entries[f"{run}/{folders.MANIFEST}"]).hexdigest()
    for name in head["files"]:
        head["files"][name] = hashlib.sha256(entries[name]).hexdigest()
    return entries | {"bundle.json": jsontext.dump_bytes(head)}


def forge(bundle: Path, out: Path, name: str, change: Callable[[bytes], bytes]) -> tuple[Path, str]:
    """Change a finished run's file, or a page; return the forged bundle and the entry's folder."""
    entries = entries_of(bundle)
    entry = next(one for one in entries if one.endswith(name) and not one.startswith("failed/"))
    entries[entry] = change(entries[entry])
    return write_zip(out, resealed(entries)), entry.rpartition("/")[0]
