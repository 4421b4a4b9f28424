"""Turn a request into specifications of runs.

Everything that can change a number is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.applies import applies
from bench.plan.brought import Brought
from bench.plan.encoder_specs import AskedEncoders, asked_encoders, teacher_alone
from bench.plan.encoders import StoredEncoder
from bench.plan.inputs import Inputs, read_inputs
from bench.plan.located import DataPair, Located, data_pairs, open_dataset
from bench.plan.machine import versions
from bench.plan.match import Backbones
from bench.plan.protocol_specs import AskedProtocol, asked_protocols
from bench.plan.request import RunRequest
from bench.plan.skips import Skipped
from bench.plan.sweeps import Axis, Point, grid_points, read_axes
from bench.spec import PretrainSpec, Rotation, RunSpec, content_key


@dataclass
class Resolution:
    """The runs of a request, with notes.

    Attributes:
        runs: One specification per (method, protocol, data set, setting, seed, split seed), each once.
        places: Data sets by manifest.
        stored: Encoders of the results folder that were asked for.
        brought: Encoders that the user brings, by `bench.spec.PretrainSpec.imported`.
        notes: Decisions, one line each.
        skipped: Combinations that do not apply.
        axes: Swept options.
        points: Points of their grid, each with the places of its runs in `runs`.
    """

    runs: list[RunSpec] = field(default_factory=list)
    places: dict[str, Located] = field(default_factory=dict)
    stored: list[StoredEncoder] = field(default_factory=list)
    brought: dict[str, Brought] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    axes: tuple[Axis, ...] = ()
    points: list[tuple[Point, tuple[int, ...]]] = field(default_factory=list)


def resolve(request: RunRequest, workspace: Workspace) -> Resolution:
    """Turn a request into run specifications.

    Raises:
        UsageError: A name, a value or a path of the request is wrong.
    """
    request.check_names()
    axes = read_axes(request, workspace)
    if not axes:
        return _resolve(request, workspace, {})
    return resolve_points(axes, grid_points(request, axes), workspace)


def resolve_points(axes: tuple[Axis, ...], points: Iterable[Point], workspace: Workspace) -> Resolution:
    """Resolve points of a grid; a run that points share is there once.

    Options that one method has, or that no untrained network depends on, thus multiply no other runs.

    Raises:
        UsageError: A point of the grid cannot be carried out; the line names it.
    """
    found, opened = Resolution(axes=axes), dict[str, Located]()
    known: dict[str, int] = {}
    for point in points:
        try:
            one = _resolve(point.request, workspace, opened)
        except UsageError as error:
            named = any(str(error).startswith(f"{path} = ") for path in point.values)  # it says which value is wrong
            raise type(error)(str(error) if named else f"with {point}: {error}") from error
        places = []
        for spec in one.runs:
            place = known.setdefault(content_key(spec), len(found.runs))
            found.runs += [spec] if place == len(found.runs) else []
            places.append(place)
        found.points.append((point, tuple(dict.fromkeys(places))))
        found.places |= one.places
        found.brought |= one.brought
        found.stored += [encoder for encoder in one.stored if encoder not in found.stored]
        found.notes += [note for note in one.notes if note not in found.notes]
        found.skipped += [skipped for skipped in one.skipped if skipped not in found.skipped]
    return found


def _resolve(request: RunRequest, workspace: Workspace, opened: dict[str, Located]) -> Resolution:
    """Resolve a request without axes.

    Protocols come first, then data, then encoders: what is wrong and cheap to see is said before files are read.
    """
    inputs = read_inputs(request, workspace, opened)
    protocols = asked_protocols(inputs)
    pairs = data_pairs(inputs)
    backbones = Backbones(inputs)
    encoders = asked_encoders(inputs, backbones)
    judging = _Judging(inputs, backbones, encoders, Resolution(notes=inputs.notes))
    judging.result.stored, judging.result.brought = encoders.stored, encoders.brought
    located = [one for pair in pairs for one in (pair.train, pair.test)] + [encoders.data]
    judging.result.places = {one.spec.manifest: one for one in located if one is not None}
    for protocol in protocols:
        for pair in pairs:
            for fraction in request.label_fractions:
                for rotation in request.rotations:
                    judging.judge(protocol, pair, fraction, rotation)
    inputs.overrides.check_all_taken()
    return judging.result


@dataclass(frozen=True)
class _Judging:
    """Specifies the runs of each encoder under each protocol.

    Attributes:
        inputs: The request.
        backbones: Backbones of its methods.
        encoders: Its encoders.
        result: Receives the runs and what is skipped.
    """

    inputs: Inputs
    backbones: Backbones
    encoders: AskedEncoders
    result: Resolution

    def judge(self, protocol: AskedProtocol, pair: DataPair, fraction: float, rotation: Rotation) -> None:
        """Specify runs on one data set; note inapplicable ones.

        Args:
            protocol: The protocol.
            pair: Data that is trained and tested on.
            fraction: Part of the labels.
            rotation: How training and test clouds are turned.
        """
        inputs, judged = self.inputs, list(self.encoders.all)
        known = {encoder.identity for encoder in judged}
        impossible = pair.skip(inputs.workspace, protocol.spec.name, fraction)
        if rotation != "none" or inputs.request.corruptions:
            kept = protocol.chosen.protocol.keeps_clouds(protocol.chosen.options)
            impossible = impossible or (f"{kept}: no --corruptions, no --rotation" if kept else None)
        if pair.train is not None and impossible is None:
            inputs.note(f"{pair.label}: {pair.common(inputs.workspace).describe()}")
        common = {} if impossible is not None else self._common(protocol, pair, fraction, rotation)
        split_seeds = protocol.split_seeds(pair, fraction, inputs)
        for encoder in judged:  # baselines are appended while judging
            if impossible is not None:
                self._skip(encoder.spec, protocol, pair, impossible)
                continue
            found = applies(encoder, protocol, pair, inputs, self.encoders, rotation)
            for reason in found.reasons:
                self._skip(encoder.spec, protocol, pair, reason)
            matched = self.backbones.matched(encoder.spec)
            own = {**common, "encoder": found.encoder, "seed": encoder.seed, "matched": matched}
            self.result.runs += [
                RunSpec.model_validate({**own, "setting": setting, "split_seed": split_seed})
                for split_seed in split_seeds
                for setting in found.settings
            ]
            if found.opponent is not None and found.settings and inputs.request.baseline:
                name, teacher = found.opponent
                beside = teacher_alone(inputs, name, encoder.spec.backbone, teacher, encoder.seed)
                judged += [] if beside.identity in known else [beside]
                known.add(beside.identity)

    def _common(self, protocol: AskedProtocol, pair: DataPair, fraction: float, rotation: Rotation) -> dict[str, Any]:
        """Return fields shared by all runs on the data."""
        clouds: dict[str, str] = {"rotation": rotation}
        if self.inputs.request.corruptions:
            clouds["corruptions"] = open_dataset(pair.test, self.inputs.workspace).corruptions()[0]
        data, train = pair.test.spec, pair.train.spec if pair.train is not None else None
        names = dict.fromkeys(spec.name for spec in (train, data) if spec is not None)
        plugins: dict[str, str] = {}
        for name in names:
            plugins |= versions(dataset=name, protocol=protocol.spec.name)
        return {
            "preset": self.inputs.preset.name,
            "protocol": protocol.spec.model_copy(update=clouds),
            "data": data,
            "train_data": train,
            "label_fraction": fraction,
            "trial": self.inputs.request.trial,
            "tuned": self.inputs.request.tuned,
            "plugins": plugins,
        }

    def _skip(self, encoder: PretrainSpec, protocol: AskedProtocol, pair: DataPair, reason: str) -> None:
        skipped = Skipped(encoder.method, protocol.spec.name, pair.label, reason)
        self.result.skipped += [] if skipped in self.result.skipped else [skipped]
