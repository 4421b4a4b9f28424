"""Search problems, one per method, in the same search space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.labels import method_label
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.plan.sweeps import read_axes
from bench.registry import METHODS, PROTOCOLS
from bench.spec import RunSpec, TunedSpec, content_key
from bench.tuning.spaces import PRETRAINING, SearchSpace, What, search_space

SCRATCH = "scratch"
_PRETRAINING_GROUPS = frozenset({"recipe", "first_recipe", "pretrain_data", "teacher", "text_teacher"})
"""Groups of ``--set`` that have no effect on an encoder without pretraining."""


@dataclass(frozen=True)
class Problem:
    """Search problem of one method.

    Attributes:
        name: Name of the search, unique for everything that changes a trial.
        label: Method, for ``scratch`` with its architecture.
        request: Fields that all trials have in common.
        offered: Search space of the protocol, the same for every method.
        space: Those of its dimensions that have an effect on this method.
        first: Default values in the sampler's form; those outside the space are missing.
        facts: Description of the search for reports.
        notes: Decisions of the plan, one line each.
    """

    name: str
    label: str
    request: RunRequest
    offered: SearchSpace
    space: SearchSpace
    first: dict[str, float | int | str]
    facts: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the digest of the name, for leases and files."""
        return content_key(self.name)

    def trial(self, values: dict[str, JsonValue]) -> RunRequest:
        """Return the request of one trial."""
        return self.request.model_copy(update={"overrides": {**self.request.overrides, **values}, "trial": True})

    def tuned(self, values: dict[str, JsonValue], trials: int) -> RunRequest:
        """Return the request with the best values of a search.

        The request records that its values were tuned.
        """
        spec = TunedSpec(
            study=self.name,
            method=self.request.methods[0],
            trials=trials,
            space=self.offered.digest,
            values=values,
        )
        return self.request.model_copy(update={"overrides": {**self.request.overrides, **values}, "tuned": spec})


@dataclass(frozen=True)
class Subject:
    """Method to tune; ``scratch`` with an architecture."""

    method: str
    architecture: str = ""

    @property
    def label(self) -> str:
        """Return the name for tables."""
        return f"{self.method} ({self.architecture})" if self.architecture else self.method


def make_problems(
    request: RunRequest, what: What, workspace: Workspace, *, baseline: bool
) -> tuple[list[Problem], list[str]]:
    """Make one search problem per method of a request.

    Args:
        request: Methods (``all`` for every one), one protocol, one data set, one seed.
        what: Part of the training that is searched.
        workspace: Results folder.
        baseline: Whether ``scratch`` is tuned too, in the architecture of each method.

    Returns:
        The problems, and a reason for each method that is left out.

    Raises:
        UsageError: The request is wrong, or nothing of it can be tuned.
    """
    for kind, given in (("protocol", request.protocols), ("dataset", request.datasets)):
        if len(given) != 1 or "all" in given:
            raise UsageError(f"bench tune searches one {kind} at a time: name one with --{kind}")
    if request.form != "fair":
        raise UsageError("--form published: its values are the authors'; bench tune searches in the fair form only")
    PROTOCOLS.entry(request.protocols[0])
    for axis in read_axes(request, workspace):
        raise UsageError(f"--set {axis.path}: bench tune tries one value of it; bench run sweeps several")
    subjects = _subjects(request, baseline)
    _check_overrides(request, subjects)
    problems, left_out = [], []
    for subject in subjects:
        found = _problem(subject, request, what, workspace, alone=len(subjects) == 1)
        if isinstance(found, str):
            left_out.append(f"{subject.label}: {found}")
        else:
            problems.append(found)
    if not problems:
        raise UsageError(f"nothing to tune: {'; '.join(left_out)}")
    return problems, left_out


def _subjects(request: RunRequest, baseline: bool) -> list[Subject]:
    """Return the methods, then ``scratch`` in each requested architecture."""
    names = METHODS.standalone() if "all" in request.methods else tuple(dict.fromkeys(request.methods))
    for name in names:
        METHODS.own(name)
    trained = [name for name in names if name != SCRATCH]
    architectures = [name for name in trained if METHODS.load(name).has_encoder] if baseline else []
    if SCRATCH in names and not architectures:
        asked = request.overrides.get("scratch.architecture")
        architectures = [str(asked)] if asked else [name for name in trained if METHODS.load(name).has_encoder]
        architectures = architectures or ["recon"]
    for name in architectures:
        METHODS.entry(name)
    return [*map(Subject, trained), *(Subject(SCRATCH, name) for name in architectures)]


def _check_overrides(request: RunRequest, subjects: list[Subject]) -> None:
    """Refuse an assignment that applies to none of several methods.

    For a single method the planner reports it.
    """
    for path in request.overrides:
        if path != "scratch.architecture" and not any(path in _overrides(request, subject) for subject in subjects):
            raise UsageError(f"--set {path}: no method of this request has that field; see bench list methods -v")


def _overrides(request: RunRequest, subject: Subject) -> dict[str, JsonValue]:
    """Return the assignments that apply to a method."""
    others = frozenset(METHODS.names()) - {subject.method, subject.architecture}
    foreign = others | (_PRETRAINING_GROUPS if subject.method == SCRATCH else frozenset())
    kept = {path: value for path, value in request.overrides.items() if path.partition(".")[0] not in foreign}
    return {**kept, "scratch.architecture": subject.architecture} if subject.method == SCRATCH else kept


def _problem(subject: Subject, request: RunRequest, what: What, workspace: Workspace, *, alone: bool) -> Problem | str:
    """Return a method's search problem, or why it has none."""
    if not METHODS.load(subject.method).has_encoder:
        return "it has no encoder, only a teacher: nothing of it is trained"
    if subject.method == SCRATCH and what == "pretrain":
        return "it is not pretrained (--what downstream tunes how it is judged)"
    overrides = request.overrides if alone and subject.method != SCRATCH else _overrides(request, subject)
    base = request.model_copy(update={"methods": (subject.method,), "overrides": overrides, "baseline": False})
    resolution = resolve(base, workspace)
    if not resolution.runs:
        return "; ".join(dict.fromkeys(skipped.reason for skipped in resolution.skipped)) or "nothing applies"
    run = resolution.runs[0]
    offered = search_space(run.protocol.name, run.protocol.options, what)
    space = offered.of(pretrained=run.encoder.recipe is not None)
    for dimension in space.dimensions:
        if dimension.path in overrides:
            raise UsageError(f"--set {dimension.path}: this field is searched; leave it out, or set it in bench run")
    label = subject.label if subject.method == SCRATCH else method_label(run.encoder)
    places = resolution.places[run.data.manifest]
    identity: JsonValue = {"runs": [content_key(run) for run in resolution.runs], "space": space.digest, "what": what}
    name = " | ".join(
        (label, run.protocol.name, places.label, run.preset, what, f"seed {run.seed} {content_key(identity)[:8]}")
    )
    settings = list(dict.fromkeys(run.setting for run in resolution.runs))
    facts = {
        "method": label,
        "protocol": run.protocol.name,
        "dataset": places.label,
        "preset": run.preset,
        "settings": settings,
        "what": what,
        "seed": run.seed,
        "metric": PROTOCOLS.load(run.protocol.name).metric,
        "space": offered.digest,
        "dimensions": [dimension.describe() for dimension in space.dimensions],
    }
    first = _shipped(run, space)
    return Problem(name, label, base, offered, space, first, facts, tuple(resolution.notes))


def _shipped(run: RunSpec, space: SearchSpace) -> dict[str, float | int | str]:
    """Return the default values that lie in the search space."""
    found = {}
    for dimension in space.dimensions:
        if dimension in PRETRAINING:
            holder: Any = run.encoder.recipe.model_dump(mode="json") if run.encoder.recipe is not None else {}
        else:
            holder = run.protocol.options
        for part in dimension.path.split(".")[1:]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        drawn = dimension.drawn(holder)
        if drawn is not None:
            found[dimension.path] = drawn
    return found
