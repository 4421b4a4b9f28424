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
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from bench.store.records import RunRecord

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class RunFacts:
    """Facts shared by a cell's runs, besides their scores.

    Attributes:
        parameters: Parameters of the encoder, None if not recorded.
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
        """Collect the facts of a cell's runs; `chosen` says whether any of them was scored on validation."""
        parameters = [run.cost["parameters_encoder"] for run in runs if "parameters_encoder" in run.cost]
        flops = [run.cost["flops_forward"] for run in runs if "flops_forward" in run.cost]
        notes = [run.provenance.get("notes") for run in runs]
        stage = "first_stage_pretrain"
        whole = [r for r in runs if f"{stage}_cpu_seconds" in r.cost or f"{stage}_seconds" not in r.cost]

        def noted(name: str) -> str:
            return _first(_text(note.get(name)) for note in notes if isinstance(note, dict))

        return cls(
            parameters=int(parameters[0]) if parameters else None,
            flops=int(flops[0]) if flops else None,
            feature=_first(run.provenance.get("feature") for run in runs),
            card=_first(run.provenance.get("card") for run in runs),
            clipped=noted("clipped"),
            pretrain_seconds=_mean(runs, "pretrain_seconds", "first_stage_pretrain_seconds"),
            evaluate_seconds=_mean(runs, "evaluate_seconds"),
            pretrain_cpu_seconds=_mean(whole, "pretrain_cpu_seconds", "first_stage_pretrain_cpu_seconds"),
            evaluate_cpu_seconds=_mean(runs, "evaluate_cpu_seconds"),
            step_flops=_mean(runs, "pretrain_step_flops"),
            labelled=noted("labels"),
            classes=noted("classes"),
            trained_on=_first(run.label.get("trained_on") for run in runs),
            tested_on=_first(run.label.get("tested_on") for run in runs),
            warnings=_warnings(runs),
            chosen=chosen,
            queries=noted("queries"),
        )


@dataclass(frozen=True)
class Failure:
    """A run without a result.

    Attributes:
        label: What it was, in words.
        seed: Its seed.
        status: ``failed`` or ``skipped``.
        reason: The exception or the reason for skipping.
        log: Where to read on; empty if not recorded.
        key: Run key.
    """

    label: str
    seed: str
    status: str
    reason: str
    log: str
    key: str


@dataclass(frozen=True)
class RunLine:
    """Provenance of one finished run, as text."""

    label: str
    seed: str
    key: str
    fingerprint: str
    commit: str
    dirty: bool
    older_code: bool
    host: str
    device: str
    seconds: float | None
    finished: str
    seeds: str


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
    """Collect what runs warn of, in sentences without a full stop, and count each."""
    lists: list[JsonValue] = []
    for run in runs:
        notes = run.provenance.get("notes")
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
    return _text(run.spec.get("seed"))


def failures(runs: Iterable[RunRecord]) -> tuple[Failure, ...]:
    """List runs without a result; attempts that a later run made good are left out, of repeats the last is kept."""
    runs = list(runs)
    finished = {run.key for run in runs if run.status == "done"}
    last: dict[str, Failure] = {}
    for run in sorted(
        (r for r in runs if r.status != "done" and r.key not in finished),
        key=lambda r: _text(r.provenance.get("finished")),
    ):
        last[run.key] = Failure(
            label=run_name(run.label),
            seed=seed_of(run),
            status=run.status,
            reason=_reason(run),
            log=_text(run.provenance.get("log")),
            key=run.key,
        )
    return tuple(sorted(last.values(), key=lambda f: (f.label, f.seed, f.key)))


def _reason(run: RunRecord) -> str:
    """The error without the log path, which has a column of its own."""
    reason = (run.error or "no reason recorded").strip()
    return reason.removesuffix(f"(log: {_text(run.provenance.get('log'))})").rstrip()


def run_lines(runs: Iterable[RunRecord], older: Collection[str]) -> tuple[RunLine, ...]:
    """One line of provenance per finished run; `older` holds the keys of runs made by older code."""
    lines = [
        RunLine(
            label=run_name(run.label),
            seed=seed_of(run),
            key=run.key,
            fingerprint=run.fingerprint,
            commit=_text(run.provenance.get("commit")) or NOT_RECORDED,
            dirty=run.provenance.get("dirty") is True,
            older_code=run.key in older,
            host=_text(run.provenance.get("host")),
            device=_text(run.provenance.get("device")),
            seconds=run.cost.get("evaluate_seconds"),
            finished=_text(run.provenance.get("finished")),
            seeds=_text(run.provenance.get("seeds")),
        )
        for run in runs
    ]
    return tuple(sorted(lines, key=lambda line: (line.label, line.seed.zfill(12), line.key)))


def environment(runs: Iterable[RunRecord]) -> Environment:
    """Collect what the finished runs were made with."""
    runs = list(runs)
    versions: dict[str, set[str]] = {}
    for run in runs:
        recorded = run.provenance.get("versions")
        for name, version in (recorded if isinstance(recorded, dict) else {}).items():
            versions.setdefault(name, set()).add(_text(version))
    return Environment(
        runs=len(runs),
        commits=_distinct(_commit(run) for run in runs),
        hosts=_distinct(_text(run.provenance.get("host")) for run in runs),
        devices=_distinct(_text(run.provenance.get("device")) for run in runs),
        machines=_distinct(_text(run.provenance.get("machine")) for run in runs),
        versions=tuple((name, " / ".join(sorted(found))) for name, found in sorted(versions.items())),
        seconds=_total_seconds(runs),
    )


def encoder_id(run: RunRecord) -> str:
    """Text that is equal for runs that share one pretraining."""
    return json.dumps(run.spec.get("encoder"), sort_keys=True)


def _total_seconds(runs: Sequence[RunRecord]) -> float | None:
    once = {encoder_id(run): run.cost["pretrain_seconds"] for run in runs if "pretrain_seconds" in run.cost}
    evaluations = [run.cost["evaluate_seconds"] for run in runs if "evaluate_seconds" in run.cost]
    return sum(once.values()) + sum(evaluations) if once or evaluations else None


def _commit(run: RunRecord) -> str:
    commit = _text(run.provenance.get("commit"))[:12] or NOT_RECORDED
    return f"{commit} + uncommitted changes" if run.provenance.get("dirty") is True else commit


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _first(values: Iterable[JsonValue]) -> str:
    return next((text for value in values if (text := _text(value))), "")


def _mean(runs: Iterable[RunRecord], name: str, *added: str) -> float | None:
    """Mean of a cost over the runs that state it, with further costs added where a run has them."""
    known = [run.cost[name] + sum(run.cost.get(other, 0.0) for other in added) for run in runs if name in run.cost]
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
