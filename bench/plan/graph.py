"""Job graph: teacher, encoder, evaluation, without stored results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.chosen import chosen_protocol
from bench.data.corruptions import SUITE
from bench.errors import UsageError
from bench.fingerprint import Fingerprint, fingerprint
from bench.plan.code import encoder_fingerprint, run_fingerprint
from bench.plan.encoders import encoder_key
from bench.plan.labels import encoder_title, kept_title, run_label
from bench.plan.presets import preset
from bench.plan.request import Reuse
from bench.plan.resolve import Resolution
from bench.plan.skips import Skipped
from bench.plan.sweeps import Axis, Point, shown
from bench.registry import ENCODERS, TEACHERS
from bench.spec import Frozen, PretrainSpec, RunSpec, TeacherSpec, content_key

JobKind = Literal["teacher", "encoder", "evaluate"]


class PlannedRun(Frozen):
    """A planned run with its key and code fingerprint."""

    spec: RunSpec
    key: str
    fingerprint: Fingerprint
    label: dict[str, str]


class Place(Frozen):
    """Location of a data set, by manifest."""

    manifest: str
    label: str
    root: str | None
    objects: int
    """Size of the training split."""


class Job(Frozen):
    """One unit of work for one process.

    `key` and `fingerprint` name what it makes: a teacher's identity, an encoder's key, or the encoder whose
    runs it evaluates; `file` is that of a brought encoder; `alone` is the key of the run that has the job to itself;
    `swept` is the part of the title that names the values of swept options; `shares` are those of a pretraining's steps
    after which an encoder is stored, ascending: it ends at the last one.
    """

    kind: JobKind
    key: str
    fingerprint: Fingerprint
    title: str
    needs: tuple[str, ...] = ()
    teacher: TeacherSpec | None = None
    encoder: PretrainSpec | None = None
    file: str | None = None
    runs: tuple[PlannedRun, ...] = ()
    places: tuple[Place, ...] = ()
    alone: str = ""
    swept: str = ""
    shares: tuple[float, ...] = (1.0,)

    @property
    def processes(self) -> int:
        """Processes that work together: the ranks of a pretraining."""
        ranks = self.encoder.ranks if self.kind == "encoder" and self.encoder is not None else None
        return 1 if ranks is None else ranks.count

    @property
    def threads(self) -> int:
        """Threads of an operator on the CPU."""
        return 1 if self.encoder is None else self.encoder.numerics.job_threads

    @property
    def id(self) -> str:
        """Name of the job in plan and log."""
        apart = self.alone if self.shares == (1.0,) else content_key([*self.shares])
        name = f"{self.kind}-{self.key[:12]}-{self.fingerprint.digest[:6]}"
        return f"{name}-{apart[:6]}" if apart else name


@dataclass
class Plan:
    """Jobs and stored results of a request.

    Attributes:
        jobs: Work to do, in an order that respects `Job.needs`.
        runs: Every run of the request, in order.
        reused: Keys of runs that are stored already, with whether older code made them.
        notes: Decisions worth saying.
        skipped: Combinations that do not apply.
        axes: Swept options.
        points: Points of their grid, each with the keys of its runs.
    """

    jobs: list[Job] = field(default_factory=list)
    runs: list[PlannedRun] = field(default_factory=list)
    reused: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    axes: tuple[Axis, ...] = ()
    points: list[tuple[Point, tuple[str, ...]]] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """Interface through which a plan looks up stored results."""

    run: Callable[[str, str | None], bool]
    """Whether a run is stored and finished; called with (key, fingerprint or None for any code)."""
    encoder: Callable[[str, str], bool]
    """Whether an encoder is stored; called with (key, fingerprint)."""
    teacher: Callable[[TeacherSpec], bool]
    """Whether a teacher is fitted already."""


def build_plan(resolution: Resolution, stored: Stored, reuse: Reuse = "exact") -> Plan:
    """Turn resolved runs into jobs, without stored results.

    Args:
        resolution: The runs.
        stored: The store's answers.
        reuse: ``exact`` (key and code must match) or ``same-spec`` (older code's results count, marked).

    Returns:
        The plan; every shared piece of work appears once.
    """
    plan = Plan(notes=list(resolution.notes), skipped=list(resolution.skipped), axes=resolution.axes)
    places = tuple(
        Place(manifest=manifest, label=place.label, root=str(place.root) if place.root else None, objects=place.objects)
        for manifest, place in resolution.places.items()
    )
    pending: dict[tuple[str, str], list[PlannedRun]] = {}
    encoders: dict[str, PretrainSpec] = {}
    for spec in resolution.runs:
        planned, done = _planned(spec, resolution, stored)
        plan.runs.append(planned)
        if done:
            plan.reused[planned.key] = False
        elif reuse == "same-spec" and stored.run(planned.key, None):
            plan.reused[planned.key] = True
        else:
            encoder_key = content_key(spec.encoder)
            encoders[encoder_key] = spec.encoder
            pending.setdefault((encoder_key, planned.key if _worth_a_process(planned) else ""), []).append(planned)
    plan.points = [(point, tuple(plan.runs[at].key for at in own)) for point, own in resolution.points]
    swept = _swept(resolution)
    making = _Making(places, stored, swept, encoders.values())
    for (key, alone), runs in pending.items():
        encoder = encoders[key]
        needs = making.needs(encoder)
        plan.jobs += making.added()
        plan.jobs.append(
            Job(
                kind="evaluate",
                key=key,
                fingerprint=runs[0].fingerprint,
                title=f"evaluate {encoder_title(encoder, resolution)}{swept.get(key, '')}: {_run_titles(runs)}",
                needs=needs,
                encoder=encoder,
                file=_file(encoder, resolution),
                runs=tuple(runs),
                places=places,
                alone=alone,
                swept=swept.get(key, ""),
            )
        )
    plan.notes += making.repeated()
    return plan


def _file(encoder: PretrainSpec, resolution: Resolution) -> str | None:
    """Return the file of a brought encoder."""
    brought = resolution.brought.get(str(encoder.imported))
    return None if brought is None or brought.file is None else str(brought.file)


def _swept(resolution: Resolution) -> dict[str, str]:
    """Name encoders by their values of swept options, by key.

    A value is named where all points that have the encoder share it, and other points do not.
    """
    points: dict[str, list[Point]] = {}
    for point, places in resolution.points:
        for key in {content_key(resolution.runs[place].encoder) for place in places}:
            points.setdefault(key, []).append(point)
    found = {}
    for key, own in points.items():
        values = {axis.path: {shown(point.values[axis.path]) for point in own} for axis in resolution.axes}
        told = [
            f"{axis.path}={min(values[axis.path])}"
            for axis in resolution.axes
            if len(values[axis.path]) == 1 < len(axis.values)
        ]
        found[key] = f" [{', '.join(told)}]" if told else ""
    return found


def _planned(spec: RunSpec, resolution: Resolution, stored: Stored) -> tuple[PlannedRun, bool]:
    """Return a planned run, and whether it is stored.

    If only a form with ``--legacy`` or ``--corruptions`` is stored, that one is returned: it holds the same numbers
    and more.
    """
    code, label = run_fingerprint(spec), run_label(spec, resolution)
    own = spec.protocol
    wanted = [
        {"legacy": legacy, "corruptions": corruptions}
        for corruptions in dict.fromkeys((own.corruptions, own.corruptions or SUITE))
        for legacy in dict.fromkeys((own.legacy, True))
    ]
    first: PlannedRun | None = None
    for fields in wanted:
        # The first form is the one that was asked for; runs share their protocol's specification.
        one = spec if first is None else spec.model_copy(update={"protocol": own.model_copy(update=fields)})
        run = PlannedRun(spec=one, key=content_key(one), fingerprint=code, label=label)
        if stored.run(run.key, code.digest):
            return run, True
        first = first or run
    assert first is not None
    return first, False


def _worth_a_process(run: PlannedRun) -> bool:
    """Whether a run trains long enough for its own process."""
    return preset(run.label["preset"]).comparable and trains_encoder(run.spec)


def trains_encoder(run: RunSpec) -> bool:
    """Return whether a run trains its encoder again."""
    chosen = chosen_protocol(run.protocol.name, run.protocol.options)
    return chosen.protocol.trains_encoder(chosen.options)


class _Making:
    """Makes jobs for teachers and encoders, each once, in order."""

    def __init__(
        self,
        places: tuple[Place, ...],
        stored: Stored,
        swept: Mapping[str, str],
        encoders: Iterable[PretrainSpec],
    ) -> None:
        self.places = places
        self.swept = swept
        self.stored = stored
        self.jobs: dict[str, Job] = {}
        self._new: list[Job] = []
        self._known: dict[str, bool] = {}
        self._shares: dict[str, set[float]] = {}
        """Shares of each pretraining whose encoders are wanted and not stored."""
        for spec in encoders:
            self._want(spec)

    def _want(self, spec: PretrainSpec | None) -> None:
        """Note that an encoder is missing, and its first stage."""
        if spec is not None and spec.recipe is not None and not self._is_stored(spec):
            self._shares.setdefault(encoder_key(spec.whole), set()).add(spec.at)
            self._want(spec.first_stage)

    def added(self) -> list[Job]:
        """Return jobs made since the last call."""
        new, self._new = self._new, []
        return new

    def needs(self, spec: PretrainSpec) -> tuple[str, ...]:
        """Return the jobs that an evaluation waits for.

        Its encoder's, or its teacher's where nothing is trained.
        """
        if spec.recipe is not None:
            return self.encoder(spec)
        made = self.encoder(spec) if spec.imported is not None and spec.method not in ENCODERS else ()
        return made + (self.teacher(spec.teacher) if spec.teacher is not None else ())

    def encoder(self, spec: PretrainSpec) -> tuple[str, ...]:
        """Return the job that makes an encoder; empty if stored."""
        if self._is_stored(spec):
            return ()
        spec = spec.whole
        key, code = encoder_key(spec), encoder_fingerprint(spec)
        if spec.imported is not None:
            raise UsageError(
                f"imported encoder {key[:12]} is not in the results folder any more; import its file again"
            )
        if key not in self.jobs:
            shares = tuple(sorted(self._shares.get(key, {1.0})))
            swept = next((self.swept[one] for one in _kept_keys(spec, shares) if one in self.swept), "")
            needs = [name for teacher in (spec.teacher, spec.text_teacher) if teacher for name in self.teacher(teacher)]
            if spec.first_stage is not None:
                needs += self.encoder(spec.first_stage)
            made = Job(
                kind="encoder",
                key=key,
                fingerprint=code,
                title=f"pretrain {encoder_title(spec)}{swept}{kept_title(shares)}",
                needs=tuple(dict.fromkeys(needs)),
                encoder=spec,
                places=self.places,
                swept=swept,
                shares=shares,
            )
            self._add(key, made)
        return (self.jobs[key].id,)

    def repeated(self) -> list[str]:
        """Name pretrainings that are done again for earlier encoders.

        A finished training leaves nothing to go on from.
        """
        found: dict[str, int] = {}
        for job in self.jobs.values():
            if job.encoder is not None and job.shares[-1] < 1 and self._is_stored(job.encoder):
                words = f"{job.encoder.method}{kept_title(job.shares)}"
                found[words] = found.get(words, 0) + 1
        return [
            f"{words}: {count} finished pretraining{'s' * (count > 1)} did not keep this, and "
            f"{'are' if count > 1 else 'is'} done again up to there"
            for words, count in found.items()
        ]

    def _is_stored(self, spec: PretrainSpec) -> bool:
        key = encoder_key(spec)
        if key not in self._known:
            self._known[key] = self.stored.encoder(key, encoder_fingerprint(spec).digest)
        return self._known[key]

    def teacher(self, spec: TeacherSpec) -> tuple[str, ...]:
        """Return the job that fits a teacher; empty if fitted."""
        if self.stored.teacher(spec):
            return ()
        if spec.identity not in self.jobs:
            made = Job(
                kind="teacher",
                key=spec.identity,
                fingerprint=fingerprint([TEACHERS.entry(spec.name).module]),
                title=f"fit teacher {spec.name}",
                teacher=spec,
            )
            self._add(spec.identity, made)
        return (self.jobs[spec.identity].id,)

    def _add(self, name: str, job: Job) -> None:
        self.jobs[name] = job
        self._new.append(job)


def _kept_keys(spec: PretrainSpec, shares: Iterable[float]) -> list[str]:
    """Return the keys of the encoders that a pretraining keeps."""
    return [content_key(spec.after(share)) for share in shares]


def _run_titles(runs: list[PlannedRun]) -> str:
    groups: dict[str, dict[str, None]] = {}
    seeds: dict[str, dict[str, None]] = {}
    for run in runs:
        name = f"{run.spec.protocol.name} on {run.label['dataset']}"
        groups.setdefault(name, {})[run.label["setting"]] = None
        seeds.setdefault(name, {})[str(run.spec.split_seed)] = None
    said = {name: f", split seed {', '.join(own)}" if [*own] != ["0"] else "" for name, own in seeds.items()}
    return "; ".join(f"{name} ({', '.join(settings)}{said[name]})" for name, settings in groups.items())
