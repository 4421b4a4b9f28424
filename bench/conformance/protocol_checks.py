"""Checks of a protocol: declarations, and one small evaluation."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Literal, Union, get_args, get_origin

import numpy as np
import torch
from pydantic import BaseModel, ValidationError

from bench.conformance.checks import CheckFailed, Checks, fail, listed
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.data.base import CloudSet
from bench.errors import BenchError
from bench.models.encoder import Encoder
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.plan.presets import PRESETS
from bench.protocols.base import AnyProtocol, Candidate, Evaluation, Form, HeldOut, Subject, Task
from bench.protocols.cards import NOT_STATED, card_of
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import Numerics, canonical_json
from bench.store.records import Metric
from bench.store.scratch import scratch_name

SIZE = PRESETS["smoke"].backbone
CLASSES, TRAIN, TEST = 10, 12, 8
"""Made-up data: classes, and objects of each in the splits."""


@dataclass
class ProtocolKit:
    """A protocol under test; encoder and data are made up.

    Attributes:
        protocol: The protocol's class.
    """

    protocol: type[AnyProtocol]

    @cached_property
    def _folder(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix=f"{scratch_name()}-")

    def task(self, name: str, form: Form = "fair", split_seed: int = 0) -> Task:
        """Make a task with its own folders."""
        folder = Path(self._folder.name) / name
        folder.mkdir()
        return Task(
            train=_clouds("train", TRAIN),
            test=HeldOut(_clouds("test", TEST)),
            data_manifest="0" * 64,
            split_seed=split_seed,
            seed=0,
            device="cpu",
            numerics=Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch=""),
            cache=folder / "cache",
            workdir=folder / "work",
            points=SIZE.points,
            form=form,
        )

    def evaluate(self, task: Task, setting: int = 0) -> Evaluation:
        """Judge a small untrained encoder in a smoke setting."""
        options = self.protocol.defaults("smoke", task.form)
        subject = Subject("made-up", "made-up", {"": Candidate("", _encoder, "0" * 64)})
        return self.protocol.evaluate(subject, task, self.protocol.settings(options)[setting], options)


def _encoder() -> Encoder:
    with torch.random.fork_rng(devices=[]):
        seed_torch(0)
        return StandardEncoder(SIZE, Sampling())


def _clouds(split: str, per_class: int) -> CloudSet:
    """Make ellipsoids with different axes for every class."""
    axes = np.random.default_rng(7).uniform(0.2, 1.0, (CLASSES, 3))
    rng = np.random.default_rng(len(split))
    labels = np.repeat(np.arange(CLASSES, dtype=np.int64), per_class)
    points = rng.normal(size=(len(labels), SIZE.points, 3))
    points = points / np.linalg.norm(points, axis=-1, keepdims=True) * axes[labels][:, None]
    return CloudSet(
        points=points.astype(np.float32),
        labels=labels,
        ids=tuple(f"{split}-{i}" for i in range(len(labels))),
        classes=tuple(f"class {i}" for i in range(CLASSES)),
        captions=tuple(f"an object of class {i}" for i in labels),
        parts=(points[..., 1] > 0).astype(np.int64),
    )


PROTOCOL_CHECKS: Checks[ProtocolKit] = Checks()


@PROTOCOL_CHECKS.add("import")
def importing(kit: ProtocolKit) -> str:
    """Importing the module is quick and changes no global state."""
    return check_import(kit.protocol, "bench.protocols.base")


@PROTOCOL_CHECKS.add("options")
def options(kit: ProtocolKit) -> str:
    """Options are immutable, strict and survive JSON in every preset."""
    return check_options(kit.protocol)


@PROTOCOL_CHECKS.add("metadata")
def metadata(kit: ProtocolKit) -> str:
    """Name, revision, forms and a one-line summary are there."""
    check_name(kit.protocol)
    revision = getattr(kit.protocol, "revision", None)
    if not isinstance(revision, int) or revision < 1:
        fail(f"revision is {revision!r}, expected a whole number from 1; raise it whenever what is done changes")
    if not set(kit.protocol.forms) <= {"fair", "published"} or not kit.protocol.forms:
        fail(f"forms is {kit.protocol.forms!r}, expected 'fair', 'published' or both")
    opponent = kit.protocol.opponent
    if opponent and (opponent not in METHODS or METHODS.load(opponent).has_encoder):
        fail(f"opponent names '{opponent}', expected a registered method that is its teacher alone, or ''")
    return f"revision {revision}, {' and '.join(kit.protocol.forms)}"


@PROTOCOL_CHECKS.add("texts")
def texts(kit: ProtocolKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.protocol)


@PROTOCOL_CHECKS.add("statement", "options")
def statement(kit: ProtocolKit) -> str:
    """Every preset offers settings, and card() states what is done."""
    for preset, form in itertools.product(PRESETS, kit.protocol.forms):
        chosen, where = kit.protocol.defaults(preset, form), f"preset {preset}, form {form},"
        settings = kit.protocol.settings(chosen)
        if not settings or len(set(settings)) < len(settings):
            fail(f"settings() of {where} is {settings!r}: expected different names")
        if len(kit.protocol.card(chosen).split()) < 5:
            fail(f"card() of {where} says nothing: state in sentences what is done, so that readers can judge")
    return f"settings {', '.join(settings)}"


@PROTOCOL_CHECKS.add("description", "options")
def description(kit: ProtocolKit) -> str:
    """describe() is deterministic, and with card() covers every option."""
    protocol = kit.protocol
    for form in protocol.forms:
        chosen = protocol.defaults("smoke", form)
        card = card_of(protocol, chosen, form)
        if card_of(protocol, chosen, form) != card:
            fail(f"card() or describe() of the {form} form says something else when asked again")
        told = " ".join((card.statement, *card.points.values(), str(card.description.model_dump()))).lower()
        stated = {
            name
            for base in (chosen, *_other_choices(chosen))
            for name, other in _changes(base)
            if _told(protocol, other, form) != _told(protocol, base, form)
        }
        silent = [
            name
            for name, _ in _changes(chosen)
            if name not in stated and not re.search(rf"\b{re.escape(name.lower())}\b", told)
        ]
        if silent:
            fail(
                f"card() and describe() say nothing of option {listed(silent)}: they stay the same when it changes and "
                "do not name it; say what it does under the value it has"
            )
    open_points = [name for name, words in card.points.items() if words == NOT_STATED]
    return f"every option covered{f'; not stated: {listed(open_points)}' if open_points else ''}"


def _told(protocol: type[AnyProtocol], chosen: BaseModel, form: Form) -> tuple[str, str]:
    card = card_of(protocol, chosen, form)
    return card.statement, card.description.model_dump_json()


def _other_choices(chosen: BaseModel) -> Iterator[BaseModel]:
    """Yield options with another choice, under which others may matter."""
    for name, declared in type(chosen).model_fields.items():
        for choice in _choices(declared.annotation) if name != "form" else ():
            try:
                yield type(chosen).model_validate({**chosen.model_dump(), name: choice})
            except ValidationError:
                continue


def _changes(chosen: BaseModel) -> Iterator[tuple[str, BaseModel]]:
    """Yield options that differ in one field each."""
    others_only = "fair_only" if getattr(chosen, "form", "fair") == "published" else "published_only"
    used_by_other_form = (*getattr(chosen, others_only, ()), "form")
    for name, declared in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        others: list[object] = [choice for choice in _choices(declared.annotation) if choice != value]
        if others:
            pass
        elif isinstance(value, str):
            others = [f"{value} or another"]
        elif isinstance(value, bool):
            others = [not value]
        elif isinstance(value, int):
            others = [value + 1, max(value - 1, 0)]
        elif isinstance(value, float):
            others = [value * 0.75, value + 1]
        elif isinstance(value, tuple) and len(value) > 1:
            others = [value[:1]]
        for other in others if name not in used_by_other_form else ():
            try:
                yield name, type(chosen).model_validate({**chosen.model_dump(), name: other})
            except ValidationError:
                continue
            break


def _choices(annotation: object) -> tuple[object, ...]:
    """Return the values of a `Literal`, also of those in a union."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Literal:
        return inner
    return tuple(choice for one in inner for choice in _choices(one)) if kind in (Union, UnionType) else ()


@PROTOCOL_CHECKS.add("evaluates", "options")
def evaluates(kit: ProtocolKit) -> str:
    """An evaluation gives a headline score, predictions and split digest."""
    task = kit.task("evaluates", kit.protocol.forms[0])
    found = kit.evaluate(task)
    headline = _check_evaluation(kit, found, task)
    return f"{headline.name} {headline.value:.3f} on made-up objects"


@PROTOCOL_CHECKS.add("forms and settings", "evaluates")
def forms_and_settings(kit: ProtocolKit) -> str:
    """Every other setting and form gives such an evaluation too."""
    tried = 0
    for form in kit.protocol.forms:
        settings = kit.protocol.settings(kit.protocol.defaults("smoke", form))
        for number, setting in enumerate(settings):
            if (form, number) == (kit.protocol.forms[0], 0):
                continue  # evaluated above
            task = kit.task(f"{form}-{number}", form)
            try:
                _check_evaluation(kit, kit.evaluate(task, number), task)
            except (BenchError, CheckFailed) as error:
                fail(f"form {form}, setting {setting}: {error}")
            tried += 1
    return f"{tried} more" if tried else "there is one"


def _check_evaluation(kit: ProtocolKit, found: Evaluation, task: Task) -> Metric:
    """Fail unless an evaluation can be stored and compared.

    Returns its headline metric.
    """
    if not any(m.headline and m.split == "test" and m.fold is None for m in found.metrics):
        fail("no metric is a headline of the test split over all folds (headline=True, split='test', fold=None)")
    if broken := [m.name for m in found.metrics if not math.isfinite(m.value)]:
        fail(f"metric {listed(broken)} is not finite")
    if unstored := [name for name, array in found.predictions.items() if array.dtype.kind not in "biufSU"]:
        fail(f"predictions {listed(unstored)} hold Python objects, which no file of a run takes")
    found.check()
    for need in ("ids", "labels"):
        if need not in found.predictions:
            fail(f"predictions lack '{need}': every number has to be recomputable from its objects")
    sizes = {name: len(found.predictions[name]) for name in ("ids", "labels", "predicted") if name in found.predictions}
    if len(set(sizes.values())) > 1:
        fail(f"predictions differ in length ({listed([f'{name} {size}' for name, size in sizes.items()])})")
    if not found.split_digest:
        fail("split_digest is empty: runs could not be paired")
    canonical_json(found.notes)
    if task.test.revealed > 1:
        fail(f"the test labels were read {task.test.revealed} times; reveal() once, after every choice is made")
    headline = next(m for m in found.metrics if m.headline and m.split == "test" and m.fold is None)
    if headline.name != kit.protocol.metric:
        fail(f"the headline is '{headline.name}', but metric says '{kit.protocol.metric}': reports would look for that")
    return headline


@PROTOCOL_CHECKS.add("same seed", "evaluates")
def same_seed(kit: ProtocolKit) -> str:
    """The same task gives the same numbers and splits again."""
    found = []
    for seed in (1, 2):
        seed_torch(seed)
        found.append(kit.evaluate(kit.task(f"repeat-{seed}")))
    if found[0].split_digest != found[1].split_digest:
        fail("split_digest changes from run to run: derive splits from task.split_seed only")
    if found[0].metrics != found[1].metrics:
        fail("metrics change from run to run: derive every draw from task.seed and task.split_seed")
    return f"{len(found[0].metrics)} numbers"


@PROTOCOL_CHECKS.add("split seed", "same seed")
def split_seed(kit: ProtocolKit) -> str:
    """Another split seed has the effect that describe() states."""
    form = kit.protocol.forms[0]
    first, other = (kit.evaluate(kit.task(f"split-{seed}", form, seed)) for seed in (0, 1))
    moved = first.split_digest != other.split_digest or first.metrics != other.metrics
    split = kit.protocol.describe(kit.protocol.defaults("smoke", form)).split
    if split is None:
        return "describe() does not state the split; runs are repeated for each split seed"
    if moved and not split.drawn:
        fail(
            f"describe() states '{split.words}' with drawn=False, but another split seed gives other splits or "
            "numbers: state what is drawn"
        )
    if split.drawn and not moved:
        fail(
            f"describe() states '{split.words}' with drawn=True, but another split seed changes nothing: draw from "
            "task.split_seed, or state drawn=False"
        )
    return "another split, other draws" if moved else "nothing is drawn"
