"""An ablation: axes, design, and the settings that it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from bench.ablation.designs import Design, fractional, full, one_at_a_time, same
from bench.ablation.papers import PAPERS
from bench.ablation.stored import StoredAblation, StoredAxis, StoredSetting
from bench.errors import UsageError, unknown_name
from bench.paths import Workspace
from bench.plan.graph import Plan
from bench.plan.request import SWEPT_FIELDS, RunRequest, parse_assignment, split_values
from bench.plan.resolve import Resolution, resolve, resolve_points
from bench.plan.sweeps import MOST_POINTS, Axis, Point, point_at, read_axes, shown
from bench.registry import METHODS
from bench.spec import PretrainSpec, RunSpec, content_key
from bench.yamltext import parse_yaml

DEFAULT = "default"
"""Name of an axis's base where the option is not one of the stored spec."""
_NO_STUDY = ("seeds", "split_seeds", "plugins", "legacy", "engine", "engine_config")
"""Fields of a request in which one study may differ from run to run."""
Values = tuple[JsonValue, ...]


@dataclass(frozen=True)
class Ablation:
    """A study of some options of one method.

    Attributes:
        method: The method.
        design: Which settings are run.
        axes: The options, with their values.
        base: Value of each without the study: the preset's, or the user's.
        sources: Source of each axis; empty for the user's own.
        left_out: Axes of the paper that are not in it, and why.
        request: The request without axes.
        points: The settings.
    """

    method: str
    design: Design
    axes: tuple[Axis, ...]
    base: Values
    sources: tuple[str, ...]
    left_out: tuple[str, ...]
    request: RunRequest
    points: tuple[Point, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Short names of the axes."""
        short = [axis.path.rpartition(".")[2] for axis in self.axes]
        return tuple(name if short.count(name) == 1 else axis.path for name, axis in zip(short, self.axes, strict=True))

    @property
    def name(self) -> str:
        """Name that the same study has whenever it is asked for, whatever its seeds."""
        fields = self.request.model_dump(mode="json", exclude=set(_NO_STUDY))
        axes: JsonValue = [[axis.path, list(axis.values)] for axis in self.axes]
        return f"{self.method}-{self.design}-{content_key([self.design, axes, fields])[:10]}"

    def resolve(self, workspace: Workspace) -> Resolution:
        """Resolve the settings to runs.

        Raises:
            UsageError: A setting cannot be carried out; the line names it.
        """
        return resolve_points(self.axes, self.points, workspace)

    def stored(self, plan: Plan) -> StoredAblation:
        """Return the study as it is kept in the results folder."""
        return StoredAblation(
            name=self.name,
            method=self.method,
            preset=self.request.preset,
            design=self.design,
            axes=tuple(
                StoredAxis(path=axis.path, label=label, values=tuple(map(shown, axis.values)), source=source)
                for axis, label, source in zip(self.axes, self.labels, self.sources, strict=True)
            ),
            base=tuple(map(shown, self.base)),
            settings=tuple(
                StoredSetting(values=tuple(shown(point.values[axis.path]) for axis in self.axes), runs=runs)
                for point, runs in plan.points
            ),
            left_out=self.left_out,
        )


def make_ablation(
    request: RunRequest,
    texts: Sequence[str],
    workspace: Workspace,
    design: Design | None = None,
    *,
    paper: bool = False,
) -> Ablation:
    """Plan an ablation.

    Args:
        request: One method, and everything that the study leaves alone.
        texts: Axes as after ``--axis``: ``mask_ratio=0.2,0.4`` of the method, ``recipe.lr=1e-3,5e-4``, or
            ``teacher=A,B``.
        workspace: Results and cache folder.
        design: Which settings are run; None for ``full``, or for ``one-at-a-time`` with `paper`.
        paper: Whether the axes of the method's paper are added (`bench.ablation.papers`).

    Raises:
        UsageError: An axis or the request is wrong, or the design does not fit the axes.
    """
    if len(request.methods) != 1 or request.encoders:
        raise UsageError("bench ablate studies one method at a time")
    (method,) = request.methods
    request.check_names()
    if method == "all" or not METHODS.load(method).recipes:
        raise UsageError(f"bench ablate studies the options of a pretraining; {method} has none")
    for axis in read_axes(request, workspace):
        raise UsageError(f"--set {axis.path}: has several values; give it as --axis {axis.path}=A,B")
    design = design or ("one-at-a-time" if paper else "full")
    asked, left_out = _asked(method, texts, paper)
    axes = _axes(request, asked, workspace)
    if not axes:
        raise UsageError("name an axis, e.g. --axis mask_ratio=0.2,0.4,0.6, or the paper's with --paper")
    base = _base(request, axes, workspace)
    settings = _settings(design, axes, base)
    points = []
    for values in settings:
        own = {axis.path: value for axis, value in zip(axes, values, strict=True)}
        # What is at its base is left alone: the run is then the one that is made without any study.
        changed = {
            axis.path: value for axis, value, plain in zip(axes, values, base, strict=True) if not same(value, plain)
        }
        points.append(Point(own, point_at(request, changed).request))
    sources = tuple(asked[name] for name in asked)
    return Ablation(method, design, axes, base, sources, left_out, request, tuple(points))


def _asked(method: str, texts: Sequence[str], paper: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the source of each axis by its text, and what is left out.

    An axis of the user's replaces the paper's of the same name.
    """
    names = [text.partition("=")[0].strip() for text in texts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--axis {name}: given twice; give all its values once, e.g. --axis {name}=A,B,C")
    if not paper:
        return dict.fromkeys(texts, ""), ()
    if method not in PAPERS:
        raise UsageError(f"--paper: no axes of a paper are written down for {method}, only for {', '.join(PAPERS)}")
    rows = PAPERS[method]
    kept = {
        row.axis: f"{row.what}: {row.source}" for row in rows if row.axis and row.axis.partition("=")[0] not in names
    }
    left = tuple(f"{row.what}: {row.missing} ({row.source})" for row in rows if row.missing)
    return {**kept, **dict.fromkeys(texts, "")}, left


def _axes(request: RunRequest, texts: Iterable[str], workspace: Workspace) -> tuple[Axis, ...]:
    given = [_split(text) for text in texts]
    group = "method" if any(name == "method" for name, _ in given) else request.methods[0]
    axes: list[Axis] = []
    for name, text in given:
        path = name if "." in name or name in SWEPT_FIELDS else f"{group}.{name}"
        if path.startswith(f"{group}.") and name not in SWEPT_FIELDS and "." not in name:
            known = METHODS.load(request.methods[0]).Options.model_fields
            if name not in known:
                raise unknown_name(f"option of {request.methods[0]}", name, [*known, *SWEPT_FIELDS])
        if path in request.overrides:
            raise UsageError(f"--axis {name}: --set {path} fixes it; leave one of the two out")
        axis = _axis(request, path, text, workspace)
        if any(axis.path == other.path for other in axes):
            raise UsageError(f"--axis {name}: given twice")
        axes.append(axis)
    return tuple(axes)


def _split(text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise UsageError(f"--axis '{text}' is not of the form OPTION=A,B,C, e.g. --axis mask_ratio=0.2,0.4,0.6")
    return name.strip(), values.strip()


def _axis(request: RunRequest, path: str, text: str, workspace: Workspace) -> Axis:
    """Read the values of an axis as ``--set`` reads them."""
    if "." not in path:
        pieces = split_values(text)
        if not all(pieces) or len(set(pieces)) < len(pieces):
            raise UsageError(f"--axis {path}={text}: a value is empty or stands twice")
        return Axis(path, tuple(parse_yaml(piece) for piece in pieces))
    _, value = parse_assignment(f"{path}={text}")
    alone = request.model_copy(update={"overrides": {**request.overrides, path: value}})
    try:
        found = read_axes(alone, workspace)
    except UsageError as error:
        raise UsageError(str(error).replace("--set", "--axis", 1)) from error
    return found[0] if found else Axis(path, (value,))


def _base(request: RunRequest, axes: Sequence[Axis], workspace: Workspace) -> Values:
    """Return the value that each axis has without the study."""
    runs = resolve(request, workspace).runs
    if not runs:
        raise UsageError("no protocol of this request applies to the method; see bench run --dry-run")
    return tuple(_value(axis.path, request, runs[0]) for axis in axes)


def _all_options(encoder: PretrainSpec) -> dict[str, JsonValue]:
    """Return a method's options, with those that a spec leaves out."""
    return dict(METHODS.load(encoder.method).parse(encoder.options)) | encoder.options


def _value(path: str, request: RunRequest, run: RunSpec) -> JsonValue:
    """Return the value of an option in a run.

    `DEFAULT` where the spec does not hold it.
    """
    if path == "method":
        return run.encoder.method
    if "." not in path:
        value: JsonValue = getattr(request, path)
        return value
    group, _, rest = path.partition(".")
    encoder, first = run.encoder, run.encoder.first_stage
    holders: Mapping[str, Any] = {
        "recipe": encoder.recipe,
        "first_recipe": first.recipe if first is not None else None,
        "backbone": encoder.backbone,
        "method": _all_options(encoder),
        encoder.method: _all_options(encoder),
        **({first.method: first.options} if first is not None else {}),
        "protocol": run.protocol.options,
        run.protocol.name: run.protocol.options,
        "data": run.data.options,
        "pretrain_data": encoder.data.options if encoder.data is not None else None,
        "teacher": encoder.teacher.options if encoder.teacher is not None else None,
        "text_teacher": encoder.text_teacher.options if encoder.text_teacher is not None else None,
        "numerics": encoder.numerics,
    }
    found = holders.get(group)
    if found is None:
        return DEFAULT
    found = json.loads(found.model_dump_json()) if hasattr(found, "model_dump_json") else found
    for part in rest.split("."):
        if not isinstance(found, dict) or part not in found:
            return DEFAULT
        found = found[part]
    plain: JsonValue = found
    return plain


def _settings(design: Design, axes: Sequence[Axis], base: Values) -> list[Values]:
    levels = [axis.values for axis in axes]
    if design == "one-at-a-time":
        found = one_at_a_time(levels, base)
    else:
        for axis in axes:
            if len(axis.values) < 2:
                raise UsageError(
                    f"--axis {axis.path}: has one value; give two or more, or compare it with the default by --design "
                    "one-at-a-time"
                )
        size = 1
        for values in levels:
            size *= len(values)
        if design == "full" and size > MOST_POINTS:
            raise UsageError(
                f"--design full: {size:,} settings, at most {MOST_POINTS:,} are taken; use --design one-at-a-time"
            )
        found = fractional(levels) if design == "fractional" else full(levels)
    if len(found) < 2:
        raise UsageError("every axis has its default as only value: there is nothing to compare")
    return found
