"""Made-up results that look like real ones: rows as the store's queries give them, and their run records."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from bench.report.build import BuiltReport, build_report
from bench.store.queries import MetricRow, by_run
from bench.store.records import RunRecord

FEWSHOT = ("5w10s", "5w20s", "10w10s", "10w20s")
GAIN = {"recon": 0.09, "act": 0.07, "crosspoint": 0.06, "point-mae": 0.05, "scratch": 0.0}
LEVEL = {"shapes-scan": 0.62, "shapes-scan-novel": 0.58, "ldraw40": 0.47}
EASE = {"5w10s": 0.12, "5w20s": 0.16, "10w10s": 0.0, "10w20s": 0.05, "all": 0.02}
CANDIDATES = ("default", "default+bn", "trunc", "trunc+bn")


@dataclass
class Results:
    """Rows and records that belong together."""

    rows: list[MetricRow] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)

    def __iadd__(self, other: Results) -> Results:
        self.rows += other.rows
        self.runs += other.runs
        return self


def sha(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def noise(*parts: object, scale: float) -> float:
    """A normal draw that depends on the names only."""
    return float(np.random.default_rng(zlib.crc32("/".join(map(str, parts)).encode())).normal(0.0, scale))


@dataclass(frozen=True)
class Maker:
    """Makes the rows and the record of one run."""

    preset: str = "nano"
    folds: int = 10
    overrides: tuple[tuple[str, object], ...] = ()
    seen: tuple[str, ...] = ()
    older_code: bool = False
    fingerprint: str = "f00d"

    def spec(self, method: str, architecture: str, protocol: str, dataset: str, seed: int, setting: str) -> dict:
        encoder = {
            "method": method,
            "options": {"architecture": architecture} if method == "scratch" else {"mask_ratio": 0.6},
            "backbone": {"width": 128, "depth": 4},
            "recipe": None if method == "scratch" else {"epochs": 50, "lr": 0.001},
            "data": None if method == "scratch" else {"name": "shapes", "options": {}, "manifest": sha("shapes")},
            "numerics": {"precision": "bf16", "device": "cpu"},
            "seed": seed,
        }
        options = {"head": "linear", "folds": self.folds} if protocol == "fewshot" else {"feature": "transfer"}
        spec: dict = {
            "preset": self.preset,
            "encoder": encoder,
            "protocol": {"name": protocol, "revision": 1, "form": "fair", "options": options},
            "setting": setting,
            "data": {"name": dataset, "options": {}, "manifest": sha(dataset)},
            "split_seed": 0,
            "seed": seed,
        }
        trained, between, tested = dataset.partition(" > ")
        if between:
            spec["data"] = {"name": tested, "options": {}, "manifest": sha(tested)}
            spec["train_data"] = {"name": trained, "options": {}, "manifest": sha(trained)}
        for path, value in self.overrides:
            *above, last = path.split(".")
            place = spec
            for name in above:
                place = place[name]
            place[last] = value
        return spec

    def run(
        self, method: str, architecture: str, protocol: str, dataset: str, seed: int, setting: str, status: str = "done"
    ) -> Results:
        spec = self.spec(method, architecture, protocol, dataset, seed, setting)
        key = sha(spec, self.fingerprint if status == "failed" else "")
        scratch = method == "scratch"
        label = {
            "method": method,
            "architecture": architecture,
            "protocol": protocol,
            "form": "fair",
            "setting": setting,
            "dataset": dataset,
            "pretrain_data": "none" if scratch else "shapes",
            "preset": self.preset,
        }
        record = RunRecord(
            key=key,
            fingerprint=sha(self.fingerprint),
            status="failed" if status == "failed" else "done",
            spec=spec,
            label=label,
            curves={} if scratch else _curves(method, seed),
            cost={"parameters_encoder": 1.9e6 if architecture == "recon" else 1.1e6, "evaluate_seconds": 2.5},
            provenance={
                "commit": "0123456789abcdef0123456789abcdef01234567",
                "dirty": False,
                "versions": {"torch": "2.15.0", "numpy": "2.4.6", "python": "3.11.2"},
                "host": "worker-1",
                "machine": "Some CPU, 2 cores, Linux",
                "device": "cpu",
                "seeds": {"root": seed, "split": 0},
                "finished": f"2025-06-0{1 + seed % 9}T12:00:00+00:00",
                "feature": "cls+image+text+max (4C)" if architecture == "recon" else "cls+max (2C)",
                "card": f"What {protocol} does, in sentences.",
                "split_digest": sha("split", dataset, setting),
            },
        )
        if not scratch:
            record.cost["pretrain_seconds"] = 141.0 + 7 * seed + (60 if method == "recon" else 0)
        if status == "failed":
            record.error = "BenchError: loss is nan at epoch 3, step 41 (lr 0.001) (log: results/logs/job.log)"
            record.failure = "diverged"
            record.provenance["log"] = "results/logs/job.log"
            return Results(runs=[record])
        return Results(self._rows(record, seed), [record])

    def _rows(self, record: RunRecord, seed: int) -> list[MetricRow]:
        label = record.label
        scratch = label["method"] == "scratch"
        rows = []
        best = CANDIDATES[1] if seed % 2 else CANDIDATES[3]
        for variant in CANDIDATES if scratch else ("",):
            level = self._level(label, seed) - (0.0 if variant in ("", best) else 0.04 + 0.02 * len(variant) / 10)
            headline = variant in ("", best)
            parts = [
                level + noise("fold", label["dataset"], label["setting"], f, scale=0.03) for f in range(self.folds)
            ]
            folds = parts if label["protocol"] == "fewshot" else []
            values: list[tuple[int | None, float]] = [(f, _accuracy(v)) for f, v in enumerate(folds)]
            mean = float(np.mean([v for _, v in values])) if values else _accuracy(level)
            rows.append(self._row(record, seed, "val", variant, headline, None, _accuracy(mean + 0.02), 160))
            rows.append(self._row(record, seed, "test", variant, headline, None, mean, 480))
            rows += [self._row(record, seed, "test", variant, headline, f, v, 100) for f, v in values]
        return rows

    def _level(self, label: dict[str, str], seed: int) -> float:
        gain = GAIN[label["method"]] * (0.25 if label["setting"] == "5w20s" else 1.0)
        shared = noise("seed", label["dataset"], seed, scale=0.01)
        own = noise(
            "own", label["method"], label["architecture"], label["dataset"], label["setting"], seed, scale=0.012
        )
        level = LEVEL.get(label["dataset"], 0.55)
        return level + EASE.get(label["setting"], 0.0) + gain + shared + own

    def _row(
        self,
        record: RunRecord,
        seed: int,
        split: str,
        variant: str,
        headline: bool,
        fold: int | None,
        value: float,
        n: int,
    ) -> MetricRow:
        return MetricRow(
            run_key=record.key,
            fingerprint=record.fingerprint,
            seed=seed,
            split=split,
            selection="val",
            variant=variant,
            headline=headline,
            fold=fold,
            epoch=None,
            votes=1,
            name="accuracy",
            value=value,
            n_objects=n,
            seen=() if record.label["method"] == "scratch" else self.seen,
            seen_total=40,
            status=record.status,
            older_code=self.older_code,
            created_at="2025-06-01T12:00:00+00:00",
            folder=Path("results/runs") / record.key,
            **record.label,
        )


def _accuracy(value: float) -> float:
    return min(1.0, max(0.0, round(value, 4)))


def _curves(method: str, seed: int) -> dict[str, list[tuple[float, float]]]:
    epochs = range(1, 31)
    names = ("total", "reconstruction", "image", "text") if method == "recon" else ("total",)
    return {
        "pretrain/lr": [(float(e), 0.001) for e in epochs],
        **{
            f"pretrain/{name}": [
                (float(e), (1.0 + 0.4 * i) * e**-0.35 + noise(method, seed, name, e, scale=0.004)) for e in epochs
            ]
            for i, name in enumerate(names)
        },
    }


ENCODERS = (("recon", "recon"), ("point-mae", "point-mae"), ("scratch", "recon"), ("scratch", "point-mae"))


def grid(
    maker: Maker,
    datasets: Sequence[str] = tuple(LEVEL),
    seeds: Sequence[int] = range(5),
    settings: Sequence[str] = FEWSHOT,
    linear: bool = True,
    encoders: Sequence[tuple[str, str]] = ENCODERS,
) -> Results:
    """Every combination, few-shot and (optionally) the linear protocol."""
    results = Results()
    for dataset in datasets:
        for protocol, setting in [("fewshot", s) for s in settings] + [("linear", "all")] * linear:
            for method, architecture in encoders:
                for seed in seeds:
                    results += maker.run(method, architecture, protocol, dataset, seed, setting)
    return results


@pytest.fixture(scope="session")
def make_grid() -> Callable[..., Results]:
    return grid


@pytest.fixture(scope="session")
def maker() -> type[Maker]:
    return Maker


@pytest.fixture(scope="session")
def full_results() -> Results:
    """Five seeds, three methods, three data sets, ten folds; on one data set pretraining saw class names."""
    results = grid(Maker(), datasets=("shapes-scan-novel", "ldraw40"))
    results += grid(Maker(seen=("chair", "table", "lamp")), datasets=("shapes-scan",))
    results += Maker().run("recon", "recon", "linear", "household7", 3, "all", status="failed")
    results += grid(
        Maker(preset="smoke", folds=2), datasets=("shapes-scan",), seeds=(0,), settings=("5w2s",), linear=False
    )
    return results


@pytest.fixture(scope="session")
def one_seed() -> Results:
    return grid(Maker(), datasets=("shapes-scan",), seeds=(0,))


@pytest.fixture(scope="session")
def smoke() -> Results:
    return grid(Maker(preset="smoke"), datasets=("shapes-scan",), settings=("5w2s",), linear=False)


@pytest.fixture(scope="session")
def full(full_results: Results, tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    """The report of `full_results`; its files are read only."""
    return build_report(by_run(full_results.rows), full_results.runs, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="session")
def one_seed_page(one_seed: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `one_seed`; it is read only."""
    return build_report(by_run(one_seed.rows), one_seed.runs, tmp_path_factory.mktemp("one")).html
