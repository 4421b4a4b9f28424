"""Process that does one job.

It reads the job from standard input. Events go to standard output, everything else to standard error (the job's log).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.chosen import ChosenProtocol, chosen_protocol
from bench.data.base import DataPlace, Dataset
from bench.errors import BenchError, DataError, DivergedError, Interrupted
from bench.execution.events import Channel, Event, WarningsToParent
from bench.execution.failures import failed_record, open_store
from bench.execution.ranks import LOST, FirstRank, OtherRank, fork_ranks
from bench.models.ranks import RankLostError, Ranks
from bench.paths import Workspace
from bench.plan.code import encoder_fingerprint
from bench.plan.encoders import encoder_key
from bench.plan.graph import Job, PlannedRun
from bench.plan.teachers import open_teacher
from bench.plugins import line_in_plugin, load_entry_points, load_plugin_file
from bench.progress import named
from bench.protocols.cards import card_hash
from bench.protocols.metric_code import METRIC_CODE
from bench.provenance import provenance
from bench.registry import DATASETS, ENCODERS, METHODS
from bench.seeds import derive
from bench.signals import INTERRUPTED, like_ctrl_c
from bench.spec import DataSpec, PretrainSpec, RunSpec, TeacherSpec
from bench.store.once import once
from bench.store.scratch import scratch_name
from bench.teachers.base import Teacher
from bench.texts import Log

_LAST_WORDS = 60.0
"""Seconds in which a worker saves its state after its parent has died."""


class Worker:
    """Does one job.

    Args:
        payload: The job and its places.
        channel: Takes events.
        ranks: This process among the ranks of a pretraining; None for one process.
    """

    def __init__(self, payload: dict[str, Any], channel: Channel, ranks: FirstRank | OtherRank | None = None) -> None:
        self.job = Job.model_validate(payload["job"])
        self.ranks = ranks
        self.workspace = Workspace(Path(payload["results"]), Path(payload["cache"]))
        self.command: list[str] = payload["command"]
        self.channel = channel
        self.store = open_store(self.workspace.results, payload["store_url"], indexes=payload["indexes"])
        self.artifacts = self.store.artifacts
        load_entry_points()
        self.plugins: list[str] = payload["plugins"]
        for path in self.plugins:
            load_plugin_file(Path(path))
        self._fix_threads()

    def _fix_threads(self) -> None:
        """Set torch's thread count, whatever a plugin changed."""
        import torch

        torch.set_num_threads(self.job.threads)

    def perform(self) -> bool:
        """Do the job; return whether all of it succeeded."""
        if self.job.encoder is not None:
            from bench.models.ops.backend import set_backend

            set_backend(self.job.encoder.numerics.op_backend)
        if self.job.kind == "teacher":
            assert self.job.teacher is not None
            self._teacher(self.job.teacher)
            return True
        if self.job.kind == "encoder":
            assert self.job.encoder is not None
            self._encoder(self.job.encoder)
            return True
        return self._evaluate()

    def _once(self, kind: str, key: str, done: Callable[[], bool], work: Callable[[], None]) -> None:
        """Do work unless it is done or another process works.

        The log says so.
        """

        def logged() -> None:
            print(f"computing {kind} {key}", file=sys.stderr, flush=True)
            work()

        once(self.store, kind, key, done=done, work=logged, on_wait=self._say_waiting, note=self.job.title)

    def _say_waiting(self, who: str) -> None:
        self.channel.send(Event(kind="waiting", note=who))

    def _teacher(self, spec: TeacherSpec) -> None:
        teacher = open_teacher(spec, self.workspace)
        self._once(
            "teacher",
            spec.identity,
            teacher.ready,
            lambda: teacher.prepare(named(self.channel.progress, f"fit {spec.name}")),
        )

    def _ready_teacher(self, spec: TeacherSpec | None) -> Teacher | None:
        """Open a teacher, fitting it first if need be."""
        if spec is None:
            return None
        self._teacher(spec)
        teacher = open_teacher(spec, self.workspace)
        teacher.prepare()
        return teacher

    def _encoder(self, spec: PretrainSpec) -> None:
        from bench.execution.pretrain import Along, PretrainJob, run_pretraining

        data = spec.data
        assert data is not None
        key, code = self.job.key, self.job.fingerprint
        dataset = self._open_dataset(data)
        teacher, text_teacher = self._ready_teacher(spec.teacher), self._ready_teacher(spec.text_teacher)
        workdir = self.workspace.work(f"{key[:16]}-{code.digest[:16]}")
        first = None
        if spec.first_stage is not None:
            first = (self._encoder_folder(spec.first_stage), METHODS.load(spec.first_stage.method))
        job = PretrainJob(
            spec=spec,
            method=METHODS.load(spec.method),
            dataset=dataset,
            teacher=teacher,
            cache=self.workspace.cache,
            workdir=workdir,
            progress=self.channel.progress,
            first_stage=first,
            text_teacher=text_teacher,
            checkpoint_seconds=float(os.environ.get("BENCH_CHECKPOINT_SECONDS", "20")),
            join=self._join(spec),
        )
        keys = {share: encoder_key(spec.after(share)) for share in self.job.shares}
        started = _now()

        @contextmanager
        def stored(share: float) -> Iterator[Path]:
            """Yield a folder for an encoder, and publish it."""
            with tempfile.TemporaryDirectory(dir=self.workspace.results, prefix=f"{scratch_name()}-") as name:
                folder = Path(name) / "artifact"
                folder.mkdir()
                yield folder
                facts = provenance(code, spec.numerics.device, {"root": spec.seed}, started, self.command)
                labels = [place.label for place in self.job.places if place.manifest == data.manifest]
                facts |= {"trained_on": labels[0]} if labels else {}
                facts |= {"ranks": [*self.ranks.devices]} if isinstance(self.ranks, FirstRank) else {}
                (folder / "provenance.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
                self.artifacts.publish_folder("encoder", keys[share], code.digest, folder)

        def missing() -> tuple[float, ...]:
            found = self.artifacts.find_folder
            return tuple(share for share, own in keys.items() if found("encoder", own, code.digest) is None)

        if isinstance(self.ranks, OtherRank):
            run_pretraining(replace(job, along=Along(self.job.shares, stored)), None)
            return

        def work() -> None:
            self._materialise(data, dataset)
            shares = missing()
            with stored(shares[-1]) as folder:
                run_pretraining(replace(job, along=Along(shares, stored)), folder)
            shutil.rmtree(workdir, ignore_errors=True)

        self._once("encoder", f"{key}:{code.digest[:16]}", lambda: not missing(), work)

    def _join(self, spec: PretrainSpec) -> Callable[[], Ranks] | None:
        """Return what connects this process with other ranks."""
        if isinstance(self.ranks, OtherRank):
            return partial(self.ranks.join, spec)
        return None if self.ranks is None else partial(self.ranks.join, spec, self._give_up)

    def _give_up(self, reason: str) -> None:
        """Fail and end, whatever the main thread waits for."""
        print(reason, file=sys.stderr, flush=True)
        self.channel.send(Event(kind="failed", note=reason))
        os._exit(1)

    def _encoder_folder(self, spec: PretrainSpec) -> Path:
        """Find a trained encoder and verify its digests."""
        key = encoder_key(spec)
        folder = self.artifacts.find_folder("encoder", key, encoder_fingerprint(spec).digest, digests=True)
        if folder is None:
            raise BenchError(f"encoder {key[:12]} is missing from the results folder; run the command again")
        return folder

    def _evaluate(self) -> bool:
        from bench.execution.evaluate import EncoderSource, Judge

        spec = self.job.encoder
        assert spec is not None
        architecture = spec.method
        folder = None
        digest = self.job.runs[0].fingerprint.digest
        if spec.method == "scratch":
            architecture = str(spec.options["architecture"])
        elif METHODS.load(spec.method).has_encoder and spec.method not in ENCODERS:
            folder = self._encoder_folder(spec)
            if (
                spec.imported is None
            ):  # imported weights have no training code, so their features carry the running code's fingerprint
                digest = encoder_fingerprint(spec).digest
        source = EncoderSource(
            spec=spec,
            method=METHODS.load(spec.method),
            architecture=METHODS.load(architecture),
            folder=folder,
            fingerprint=digest,
            teacher=lambda: self._ready_teacher(spec.text_teacher or spec.teacher),
            file=Path(self.job.file) if self.job.file is not None else None,
        )
        source.verify(self.workspace.cache)
        judges: dict[tuple[str, str], Judge] = {}
        good = True
        for run in self.job.runs:
            tested, trained = run.spec.data, run.spec.train_data
            place = (tested.manifest, trained.manifest if trained is not None else "")
            try:
                if place not in judges:
                    judge = Judge(source, self._ready_dataset(tested), self.workspace.cache, self.channel.progress)
                    judge.trained = self._ready_dataset(trained) if trained is not None else None
                    judges[place] = judge
                self._run(run, judges[place])
            except Interrupted:
                raise
            except Exception as error:
                good = False
                self._failed(run, error)
        return good

    def _run(self, run: PlannedRun, judge: Any) -> None:
        from bench.execution.evaluate import evaluate_run

        code = run.fingerprint
        started = _now()

        def work() -> None:
            workdir = self.workspace.work(f"{run.key[:16]}-{code.digest[:16]}")
            protocol = chosen_protocol(run.spec.protocol.name, run.spec.protocol.options)
            record = evaluate_run(run.spec, judge, protocol, workdir)
            record.fingerprint = code.digest
            record.label = dict(run.label)
            seeds = {"root": run.spec.seed, "split": run.spec.split_seed, "probe": derive(run.spec.seed, "probe")}
            record.provenance |= provenance(code, run.spec.encoder.numerics.device, seeds, started, self.command)
            record.provenance |= {
                **_statement(run.spec, protocol),
                "finished": _now(),
                "metric_code": METRIC_CODE,
                "plugin_files": [*self.plugins],
                "data_root": {place.label: place.root for place in self.job.places},
            }
            self.store.publish(record)
            shutil.rmtree(workdir, ignore_errors=True)

        self._once(
            "run",
            f"{run.key}:{code.digest[:16]}",
            lambda: self.store.find(run.key, code.digest) is not None,
            work,
        )
        self.channel.send(Event(kind="run", key=run.key, stage=run.spec.setting))

    def _failed(self, run: PlannedRun, error: Exception) -> None:
        traceback.print_exc()
        line = describe(error)
        log = self.workspace.logs / f"{self.job.id}.log"
        self.store.publish(failed_record(run, line, log, self.command, diverged=has_diverged(error)))
        stage = f"{run.spec.protocol.name} {run.spec.setting}"
        self.channel.send(Event(kind="failed", key=run.key, stage=stage, note=line))

    def _open_dataset(self, spec: DataSpec) -> Dataset:
        dataset_class = DATASETS.load(spec.name)
        root = next((place.root for place in self.job.places if place.manifest == spec.manifest), None)
        place = DataPlace(
            self.workspace.cache,
            Path(root) if root else None,
            named(self.channel.progress, f"data {spec.name}"),
        )
        return dataset_class(place, dataset_class.Options.model_validate(spec.options))

    def _ready_dataset(self, spec: DataSpec) -> Dataset:
        dataset = self._open_dataset(spec)
        self._materialise(spec, dataset)
        return dataset

    def _materialise(self, spec: DataSpec, dataset: Dataset) -> None:
        """Generate or convert a data set, in one process only.

        Raises:
            DataError: Its files are no longer those that the run was planned with.
        """
        ready = False

        def load() -> None:
            nonlocal ready
            if dataset.card.has_rooms:
                dataset.rooms()
            else:
                dataset.load("train")
                dataset.load("test")
            ready = True

        self._once("data", spec.manifest, lambda: ready, load)
        if self._open_dataset(spec).manifest() != spec.manifest:
            raise DataError(
                f"data set '{spec.name}' has changed since this run was planned; run the same command again"
            )


def _statement(run: RunSpec, chosen: ChosenProtocol) -> dict[str, Any]:
    """Return the card's hash, and the search that chose options."""
    found: dict[str, Any] = {"card_hash": card_hash(chosen.protocol, chosen.options, run.protocol.form)}
    return found if run.tuned is None else found | {"tuned": run.tuned.model_dump(mode="json")}


def describe(error: BaseException) -> str:
    """Describe an error in one line.

    An unexpected one with its place in a plugin.
    """
    text = " ".join(str(error).split())
    return text if isinstance(error, BenchError) else f"{type(error).__name__}: {text}{line_in_plugin(error)}"


def has_diverged(error: BaseException) -> bool:
    """Whether a number of a network stopped being finite.

    Plugins may raise Python's own error of that kind.
    """
    return isinstance(error, DivergedError | FloatingPointError)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _follow(parent: int) -> None:
    """Stop with a checkpoint when the parent process is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_WORDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _ranks(payload: dict[str, Any]) -> FirstRank | OtherRank | None:
    """Fork the other ranks that the job asks for."""
    job = Job.model_validate(payload["job"])
    return fork_ranks(job.processes) if job.processes > 1 else None


def _perform(payload: dict[str, Any], channel: Channel, ranks: FirstRank | None) -> bool:
    """Do the job; return whether all of it succeeded.

    Raises:
        BenchError: Among others, a rank ended too early.
    """
    done = False
    try:
        done = Worker(payload, channel, ranks).perform()
    except RankLostError as error:
        raise (BenchError(ranks.reason()) if ranks is not None else error) from error
    finally:
        if ranks is not None:
            ranks.end(now=not done)
    return done


def _as_other_rank(payload: dict[str, Any], ranks: OtherRank) -> int:
    """Train as a rank that reports and stores nothing."""
    if not ranks.begins():
        return 0
    channel = Channel(os.open(os.devnull, os.O_WRONLY))
    try:
        with like_ctrl_c():
            return 0 if Worker(payload, channel, ranks).perform() else 1
    except (Interrupted, KeyboardInterrupt):
        return INTERRUPTED
    except RankLostError as error:
        print(describe(error), file=sys.stderr)
        return LOST
    except Exception as error:
        traceback.print_exc()
        ranks.tell(describe(error))
        return 1


def main(parent: int) -> int:
    """Do the job on standard input; return the exit code.

    0 good, 1 something failed, 130 interrupted.

    Args:
        parent: Process that started this one; the job stops when it is gone.
    """
    events = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print belongs in the log
    channel = Channel(events)
    sys.stdout = sys.stderr = Log(sys.stderr)
    logging.basicConfig(format="%(message)s")  # into the log
    logging.getLogger("bench").addHandler(WarningsToParent(channel))
    payload = json.load(sys.stdin)
    sys.path[:] = payload["path"]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    os.environ |= payload.get("environment", {})
    ranks = _ranks(payload)
    if isinstance(ranks, OtherRank):
        return _as_other_rank(payload, ranks)
    _follow(parent)
    print(f"--- {_now()} {payload['job']['title']}", file=sys.stderr)
    from bench.models.memory import keep_freed_memory

    keep_freed_memory()
    try:
        with like_ctrl_c():
            return 0 if _perform(payload, channel, ranks) else 1
    except (Interrupted, KeyboardInterrupt) as error:
        print(describe(error), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        channel.send(Event(kind="failed", note=describe(error), diverged=has_diverged(error)))
        return 1
