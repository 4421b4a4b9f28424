"""Options that do nothing would make an ablation of them a comparison of a protocol with itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from bench.data.base import NO_OBJECTS
from bench.errors import UsageError
from bench.models.encoder import Encoder
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.protocols.base import Candidate, Form, HeldOut, Subject, Task
from bench.registry import PROTOCOLS
from bench.spec import BackboneSpec, Recipe

from .conftest import NUMERICS, cloud_set
from .test_semseg import ToyRooms, room
from .test_zeroshot import NAMES, aligned
from .toy_teacher import ToyTeacher

SIZE = BackboneSpec(points=64, groups=8, group_size=8, width=12, depth=1, heads=2, tokenizer_width=4, drop_path=0.2)
ROOMS = [room(area, number, 400, (1.4, 1.2)) for area in (1, 2, 5) for number in range(3)]
RECIPE = Recipe(epochs=2, batch_size=16, lr=2e-3, warmup_epochs=1, clip_norm=1.0)
ONCE = RECIPE.model_copy(update={"epochs": 1, "warmup_epochs": 0, "batch_size": 8})

OTHER: dict[str, Any] = {
    "strengths": (0.5, 5.0),
    "ways_shots": ("3w2s",),
    "ks": (2,),
    "distances": ("euclidean",),
    "ratios": (0.3, 0.9),
    "ratio": 0.4,
    "published_c": 3.0,
    "published_epochs": 3,
    "points": 48,
    "groups": 4,
    "group_size": 4,
    "hidden": 20,
    "validation_area": 2,
    "blocks_per_epoch": 32,
    "queries": 2,
    "objects_per_category": 3,
    "validation_fraction": 0.6,
    "epochs": 3,
    "batch_size": 8,
    "clip_norm": 1e-3,
    "augmentation": ("jitter",),
    "warmup_epochs": 0,
}
"""Another value; other numbers are halved, of choices the others are tried."""
BASES: dict[str, list[dict[str, Any]]] = {
    "fewshot": [{"head": "linear"}, {"head": "mlp", "mlp_recipe": RECIPE}, {"full_recipe": ONCE}],
    "finetune": [{"recipe": ONCE}, {"recipe": ONCE, "adapt": "lora"}],
    "mlp": [{"recipe": RECIPE}],
    "partseg": [{"recipe": ONCE}],
    "semseg": [{"recipe": ONCE, "blocks_per_epoch": 16}],
}
"""Values beside which options are changed in the fair form, so that each has something to act on."""
REFUSED = {
    "fewshot": {"episodes"},  # goes with one head and the published form alone
    "mlp": {f"recipe.{field}" for field in ("teacher_crops", "teacher_prompts", "head_lr_scale", "augmentation")},
    "semseg": {"head.category"},
}
ELSEWHERE = {"semseg": {"vote"}}
"""What acts on more than these few points show; see the protocol's own tests."""
FEW = ("lr", "hidden", "category")
"""Of recipes, which all but `mlp` hand to one training loop, and of the heads of `semseg`, which are `partseg`'s."""


def encoder() -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StandardEncoder(SIZE, Sampling())


def task(name: str, form: Form, place: Path) -> Task:
    """Objects, parts, captions or rooms, with a teacher where the protocol needs one."""
    clouds = []
    for number, per_class in ((1, 5), (2, 3)):
        made = cloud_set(per_class, number, points=96, noise=0.2)
        parts, captions = (made.points[..., 1] > 0).astype(np.int64), [f"{NAMES[i]} number{i}" for i in made.labels]
        clouds.append(replace(made, classes=NAMES, parts=parts, captions=tuple(captions)))
    rooms = name == "semseg"
    plain = Task(
        train=NO_OBJECTS if rooms else clouds[0], test=HeldOut(NO_OBJECTS if rooms else clouds[1]),
        data_manifest="toy", split_seed=0, seed=0, device="cpu", numerics=NUMERICS, cache=place / "cache",
        workdir=place / "work", points=SIZE.points, form=form, dataset=ToyRooms(ROOMS) if rooms else None,
    )  # fmt: skip
    return aligned(plain, ToyTeacher(place / "teacher")) if name in ("zeroshot", "retrieval") else plain


def trace(name: str, form: Form, options: BaseModel, place: Path) -> dict[str, Any]:
    """Everything that an option can act on."""
    subject = Subject("recon", "recon", {"": Candidate("", encoder, "0" * 64)})
    protocol = PROTOCOLS.load(name)
    found = protocol.evaluate(subject, task(name, form, place), protocol.settings(options)[0], options)
    return {
        "metrics": [metric.model_dump_json() for metric in found.metrics],
        "curves": found.curves,
        "predictions": {key: value.tobytes() for key, value in found.predictions.items()},
    }


def changes(options: BaseModel, name: str, within: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field, fields of recipes and heads too, with all options when it alone is another."""
    for field, info in type(options).model_fields.items():
        value, path = getattr(options, field), f"{within}{field}"
        if isinstance(value, BaseModel):
            for inner, changed in changes(value, name, f"{path}."):
                every = name == "mlp" or (name == "partseg" and not isinstance(value, Recipe))
                if every or inner.rpartition(".")[2] in FEW:
                    yield inner, {**options.model_dump(), field: changed}
            continue
        for other in others(field, info.annotation, value):
            yield path, {**options.model_dump(), field: other}


def others(field: str, annotation: Any, value: Any) -> list[Any]:
    kinds = [annotation, *get_args(annotation)]
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind) if choice != value]
    if field == "form" or (value is None and field == "recipe"):
        return []
    if field == "feature":
        return ["transfer" if value == "svm" else "svm"]
    if field in OTHER:
        return [OTHER[field]]
    if isinstance(value, bool):
        return [not value]
    if choices:
        return choices
    assert isinstance(value, int | float), f"{field}: give it another value in OTHER"
    return [value + 1 if isinstance(value, int) else value / 2 or 0.5]


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_every_option_of_every_protocol_acts_or_is_refused(name: str, tmp_path: Path) -> None:
    """It would make keys of its own and name a difference where there is none."""
    protocol = PROTOCOLS.load(name)
    acted, silent, seen = set(), set(), set()
    for number, (form, start) in enumerate((one, base) for one in protocol.forms for base in bases(name, one)):
        before = None
        for at, (field, values) in enumerate(changes(start, name)):
            seen.add(field)
            if field in acted or any(f"{field}.".startswith(f"{one}.") for one in protocol.idle(start)):
                continue
            try:
                changed = protocol.Options.model_validate(values)
                before = before or trace(name, form, start, tmp_path / f"{number}")
                after = trace(name, form, changed, tmp_path / f"{number}-{at}")
            except (ValidationError, UsageError):
                continue  # refused
            (acted if after != before else silent).add(field)
    assert silent - acted == ELSEWHERE.get(name, set()), "these change nothing"
    assert seen - acted <= REFUSED.get(name, set()) | ELSEWHERE.get(name, set()), (
        "these are refused wherever they are tried"
    )


def bases(name: str, form: Form) -> list[BaseModel]:
    defaults = PROTOCOLS.load(name).defaults("smoke", form)
    given = BASES.get(name, [{}]) if form == "fair" else [{}]
    return [type(defaults).model_validate(defaults.model_dump() | values) for values in given]
