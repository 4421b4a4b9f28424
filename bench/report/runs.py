"""Cost, provenance and failures of runs in a report.

Fields read from a run record, all optional:

- ``cost``: ``parameters_encoder``, ``flops_forward``, ``pretrain_step_flops``,
  ``pretrain_seconds``, ``evaluate_seconds``, and of both
  the processor time, ``pretrain_cpu_seconds``, ``evaluate_cpu_seconds``.
- ``provenance``: ``feature`` (the transfer feature in words), ``card`` (what the protocol does, in sentences),
  ``method_card`` (what the method declares about itself, see `bench.report.methods`),
  ``notes`` (with ``clipped``, why a setting is smaller than its name, ``labels`` and ``classes``, what of the data the
  protocol was given, ``warnings``), ``commit``, ``dirty``, ``versions`` (by name),
  ``host``, ``machine``, ``device``, ``seeds`` (by role), ``finished``, ``log``.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.stats.cells import flatten

if TYPE_CHECKING:
    from bench.store.records import RunRecord

NOT_RECORDED = "not recorded"
MOST_RUNS = 1000
"""Runs whose provenance a report lists, the newest ones; `bench runs` lists all."""


@dataclass(frozen=True)
class RunFacts:
    """Facts shared by a cell's runs, besides their scores.

    Attributes:
        parameters: Parameters of the encoder, None if not recorded.
        trained: Parameters that the protocol trained, head included; None where it counts none.
        flops: Operations of its forward pass over one cloud, None if not recorded.
        feature: The transfer feature in words.
        card: Description of the protocol, in sentences.
        clipped: Why the setting is smaller than its name says; empty if it is not.
        pretrain_seconds: Mean seconds of pretraining per seed, a first stage included.
        evaluate_seconds: Mean seconds of the evaluation per seed.
        pretrain_cpu_seconds: Processor time of the pretraining, as its seconds; None for runs of older code.
        evaluate_cpu_seconds: The same of the evaluation.
        step_flops: Operations of a training step of the last stage, backward included; None for runs of older code.
        labelled: Number of labelled objects, in words; empty if all are labelled.
        classes: Classes that the set trained on and the set tested on have in common; empty for one set.
        trained_on: Name of the set trained on, where it is another than the one tested on.
        tested_on: Name of the set tested on.
        warnings: Warnings, and the number of runs with each.
        chosen: Whether anything was chosen on validation; retrieval, for one, chooses nothing.
        queries: Source of the queries, if not the test split.
    """

    parameters: int | None
    flops: int | None
    feature: str
    card: str
    clipped: str
    pretrain_seconds: float | None
    evaluate_seconds: float | None
    trained: int | None = None
    pretrain_cpu_seconds: float | None = None
    evaluate_cpu_seconds: float | None = None
    step_flops: float | None = None
    labelled: str = ""
    classes: str = ""
    trained_on: str = ""
    tested_on: str = ""
    warnings: tuple[tuple[str, int], ...] = ()
    chosen: bool = True
    queries: str = ""

    @classmethod
    def of(cls, runs: Sequence[RunRecord], chosen: bool = True) -> RunFacts:
        """Collect the facts of a cell's runs.

        `chosen` says whether any of them was scored on validation.
        """
        costs = [run.cost for run in runs]
        parameters = [cost["parameters_encoder"] for cost in costs if "parameters_encoder" in cost]
        trained = [cost["parameters_trained"] for cost in costs if "parameters_trained" in cost]
        flops = [cost["flops_forward"] for cost in costs if "flops_forward" in cost]
        notes = [note for run in runs if isinstance(note := run.recorded("notes"), dict)]
        stage = "first_stage_pretrain"
        whole = [cost for cost in costs if f"{stage}_cpu_seconds" in cost or f"{stage}_seconds" not in cost]

        def noted(name: str) -> str:
            return _first(_text(note.get(name)) for note in notes)

        return cls(
            parameters=int(parameters[0]) if parameters else None,
            trained=int(trained[0]) if trained else None,
            flops=int(flops[0]) if flops else None,
            feature=_first(run.recorded("feature") for run in runs),
            card=_first(run.recorded("card") for run in runs),
            clipped=noted("clipped"),
            pretrain_seconds=_mean(costs, "pretrain_seconds", "first_stage_pretrain_seconds"),
            evaluate_seconds=_mean(costs, "evaluate_seconds"),
            pretrain_cpu_seconds=_mean(whole, "pretrain_cpu_seconds", "first_stage_pretrain_cpu_seconds"),
            evaluate_cpu_seconds=_mean(costs, "evaluate_cpu_seconds"),
            step_flops=_mean(costs, "pretrain_step_flops"),
            labelled=noted("labels"),
            classes=noted("classes"),
            trained_on=_first(run.label.get("trained_on") for run in runs),
            tested_on=_first(run.label.get("tested_on") for run in runs),
            warnings=_warnings(runs),
            chosen=chosen,
            queries=noted("queries"),
        )


@dataclass(frozen=True)
class RunLine:
    """One run in a table of provenance or of failures.

    Attributes:
        run: The run.
        older_code: Whether it was made by code that has changed since.
    """

    run: RunRecord
    older_code: bool = False

    @cached_property
    def provenance(self) -> Mapping[str, JsonValue]:
        """Provenance of the run."""
        return self.run.provenance

    @property
    def label(self) -> str:
        """Description of the run."""
        return run_name(self.run.label)

    @property
    def seed(self) -> str:
        """Seed of the run."""
        return seed_of(self.run)

    @property
    def order(self) -> tuple[str, str, str]:
        """Sort key, independent of the order of storing."""
        return self.label, self.seed.zfill(12), self.run.key

    def told(self, name: str) -> str:
        """Return a field of the provenance as text, or nothing."""
        return _text(self.provenance.get(name))

    @property
    def reason(self) -> str:
        """The error without its log path."""
        reason = (self.run.error or "no reason recorded").strip()
        return reason.removesuffix(f"(log: {self.told('log')})").rstrip()


@dataclass(frozen=True)
class RescoredNumber:
    """A number that newer metric code computed anew.

    Attributes:
        line: Its run.
        number: Metric, with variant and fold.
        old: Value before.
        code: Metric code that gave it; 0 where an older bench stored none.
        new: Value after; None where it is not recorded.
    """

    line: RunLine
    number: str
    old: float
    code: int
    new: float | None


@dataclass(frozen=True)
class Environment:
    """Software and machines of finished runs.

    Attributes:
        runs: Number of finished runs.
        commits: Commits, with ``+ uncommitted changes`` where the tree was dirty.
        hosts: Hosts.
        devices: Devices.
        machines: Kinds of machine.
        versions: Versions by package.
        seconds: Seconds of all evaluations and of every pretraining once; None if not recorded.
    """

    runs: int
    commits: tuple[str, ...]
    hosts: tuple[str, ...]
    devices: tuple[str, ...]
    machines: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    seconds: float | None

    @property
    def dirty(self) -> bool:
        """Whether a run's code was not committed."""
        return any("uncommitted" in commit for commit in self.commits)


def _edge(run: RunRecord, notes: dict[str, JsonValue]) -> list[JsonValue]:
    """Say that validation chose the edge of its grid.

    A better setting may lie beyond.
    """
    protocol, chosen = run.spec.get("protocol"), notes.get("strength")
    options = protocol.get("options") if isinstance(protocol, dict) else None
    grid = options.get("strengths") if isinstance(options, dict) else None
    known = [float(one) for one in grid if isinstance(one, int | float)] if isinstance(grid, list) else []
    if len(known) < 2 or not isinstance(chosen, int | float) or chosen not in (min(known), max(known)):
        return []
    return [f"validation chose the {'smallest' if chosen == min(known) else 'largest'} C of its grid ({chosen:g})"]


def _warnings(runs: Iterable[RunRecord]) -> tuple[tuple[str, int], ...]:
    """Collect and count warnings of runs."""
    lists: list[JsonValue] = []
    for run in runs:
        notes = run.recorded("notes")
        if isinstance(notes, dict):
            own = notes.get("warnings")
            lists.append([*(own if isinstance(own, list) else []), *_edge(run, notes)])
    return tuple(
        sorted(Counter(str(one) for own in lists if isinstance(own, list) for one in set(map(str, own))).items())
    )


def run_name(label: dict[str, str]) -> str:
    """Name a run in words, without its seed."""
    method = label.get("method", "?")
    if method == "scratch" and label.get("architecture"):
        method = f"scratch ({label['architecture']})"
    judged = f"{label.get('protocol', '?')} {label.get('setting', '')}".strip()
    name = f"{method}, {judged} on {label.get('dataset', '?')}"
    pretrain = label.get("pretrain_data", "none")
    return f"{name}, {label.get('preset', '?')}" + ("" if pretrain in ("", "none") else f", from {pretrain}")


def seed_of(run: RunRecord) -> str:
    """Return a run's pretraining seed as text."""
    return str(run.seeds[0])


def failures(runs: Iterable[RunRecord]) -> tuple[RunLine, ...]:
    """List failed runs that were not repeated successfully.

    Of repeated failures the last is kept.
    """
    runs = list(runs)
    finished = {run.key for run in runs if run.status == "done"}
    lines = [RunLine(run) for run in runs if run.status != "done" and run.key not in finished]
    last = {line.run.key: line for line in sorted(lines, key=lambda line: line.told("finished"))}
    return tuple(sorted(last.values(), key=lambda line: line.order))


def run_lines(runs: Iterable[RunRecord], older: Collection[str]) -> tuple[RunLine, ...]:
    """Return the newest finished runs, newest first.

    `older` holds the keys of runs made by older code.
    """
    finished = [(_text(run.recorded("finished")), run) for run in runs]
    least = sorted((time for time, _ in finished), reverse=True)[:MOST_RUNS][-1:]
    newest = [(time, RunLine(run, run.key in older)) for time, run in finished if [time] >= least]
    newest.sort(key=lambda one: one[1].order)
    newest.sort(key=lambda one: one[0], reverse=True)
    return tuple(line for _, line in newest[:MOST_RUNS])


def rescored_numbers(runs: Iterable[RunRecord]) -> tuple[RescoredNumber, ...]:
    """Return what was rescored, by run, oldest value first."""
    found = []
    for line in sorted((RunLine(run) for run in runs if run.recorded("rescored")), key=lambda line: line.order):
        entries = line.provenance["rescored"]
        for entry in entries if isinstance(entries, list) else ():
            # A bundle may say anything here.
            told = entry if isinstance(entry, dict) else {}
            code, old, new = told.get("metric_code"), told.get("values"), told.get("new")
            after = new if isinstance(new, dict) else {}
            for name, value in old.items() if isinstance(old, dict) else ():
                if isinstance(value, int | float):
                    later = after.get(name)
                    known = float(later) if isinstance(later, int | float) else None
                    found.append(RescoredNumber(line, name, float(value), code if isinstance(code, int) else 0, known))
    return tuple(found)


def environment(runs: Iterable[RunRecord]) -> Environment:
    """Collect software and machines of finished runs."""
    told: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, set[str]] = defaultdict(set)
    once: dict[tuple[str, int], float] = {}
    encoders: dict[str, str] = {}
    evaluations, n = [], 0
    for run in runs:
        cost, n = run.cost, n + 1
        told["commit"].add(_commit(run))
        for name in ("host", "device", "machine"):
            told[name].add(_text(run.recorded(name)))
        recorded = run.recorded("versions")
        for name, version in (recorded if isinstance(recorded, dict) else {}).items():
            versions[name].add(_text(version))
        if "pretrain_seconds" in cost:
            once[encoder_name(run, encoders), run.seeds[0]] = cost["pretrain_seconds"]
        if "evaluate_seconds" in cost:
            evaluations.append(cost["evaluate_seconds"])
    return Environment(
        runs=n,
        commits=_distinct(told["commit"]),
        hosts=_distinct(told["host"]),
        devices=_distinct(told["device"]),
        machines=_distinct(told["machine"]),
        versions=tuple((name, " / ".join(sorted(found))) for name, found in sorted(versions.items())),
        seconds=sum(once.values()) + sum(evaluations) if once or evaluations else None,
    )


def encoder_of(spec: Mapping[str, JsonValue]) -> Mapping[str, str]:
    """Return the encoder's fields of a spec, without seeds."""
    return {name: value for name, value in flatten(spec).items() if name.startswith("encoder.")}


def encoder_name(run: RunRecord, known: dict[str, str]) -> str:
    """Return an identity of a run's encoder, equal for all seeds.

    Args:
        run: The run.
        known: Names by what runs have in common that differ in their seeds only; is added to.
    """
    alike = run.alike
    if not alike or alike not in known:
        known[alike] = json.dumps(encoder_of(run.spec), sort_keys=True)
    return known[alike]


def _commit(run: RunRecord) -> str:
    commit = _text(run.recorded("commit"))[:12] or NOT_RECORDED
    return f"{commit} + uncommitted changes" if run.recorded("dirty") is True else commit


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _first(values: Iterable[JsonValue]) -> str:
    return next((text for value in values if (text := _text(value))), "")


def _mean(costs: Iterable[Mapping[str, float]], name: str, *added: str) -> float | None:
    """Return a cost's mean over the runs that state it.

    Further costs are added where a run has them.
    """
    known = [cost[name] + sum(cost.get(other, 0.0) for other in added) for cost in costs if name in cost]
    return statistics.fmean(known) if known else None


def _text(value: JsonValue) -> str:
    """Format a recorded value; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
