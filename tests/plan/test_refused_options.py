"""Numbers of absurd size, and options that do nothing, are refused before anything is planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.registry import REGISTRIES
from bench.spec import RunSpec, TransformerShape

OWN_RULES = {
    "Resources.time",
    "SlurmOptions.time",
    "Resources.sbatch",
    "SlurmOptions.sbatch",
    *("RunSpec.version", "PretrainSpec.version", "ProtocolSpec.revision"),  # no user gives them
    *("RunRequest.seeds", "RunRequest.split_seeds"),  # their validator bounds them
    "ShapesRooms.Options.seed",  # 64 bits, as any number; a change of its file would change the rooms' digest
}


def unbounded(model: type[BaseModel], seen: set[type] | None = None) -> Iterator[str]:
    """Name integer fields, those of models in it too, that any number fits."""
    seen = set() if seen is None else seen
    seen.add(model)
    for name, info in model.model_fields.items():
        for found in _integers(info.annotation, tuple(info.metadata), seen):
            yield found or f"{model.__qualname__}.{name}"


def _integers(annotation: Any, metadata: tuple[Any, ...], seen: set[type]) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        yield from _integers(annotation, (*metadata, *more), seen)
    elif annotation is int:
        rules = [rule for one in metadata for rule in (one, *getattr(one, "metadata", ()))]
        if not any(hasattr(rule, "le") or hasattr(rule, "lt") for rule in rules):
            yield ""
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from () if annotation in seen else unbounded(annotation, seen)
    elif get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from _integers(inner, metadata, seen)


def test_every_integer_that_a_user_can_give_has_a_largest_value() -> None:
    """A plan with 2**62 folds or heads was made, and its job died."""
    units = [registry.load(entry.name).Options for registry in REGISTRIES.values() for entry in registry]
    open_ended = {name for model in (*units, RunSpec, TransformerShape, RunRequest) for name in unbounded(model)}
    assert open_ended == OWN_RULES


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        ({"backbone.width": 2**62}, "backbone.width = 4611686018427387904: input should be less than or equal to"),
        ({"backbone.heads": 2**40}, "backbone.heads = "),
        ({"backbone.width": 16_380, "backbone.depth": 1_024}, r"backbone.width = 16380, .*weights take at least"),
        ({"recipe.epochs": 10**9}, "recipe.epochs = "),
        ({"recipe.batch_size": 2**62}, "recipe.batch_size = "),
        ({"backbone.points": 2**50}, "backbone.points = "),
        (
            {f"backbone.{name}": 262_144 for name in ("points", "groups", "group_size")},
            r"backbone.group_size = 262144: the patches of a step take at least [\d,]+ GB",
        ),
        ({"point-mae.decoder_depth": 2**62}, "point-mae.decoder_depth = "),
        ({"linear.recipe.epochs": 2**62}, "linear.recipe.epochs = "),
        ({"pretrain_data.objects": 2**62}, "pretrain_data.objects = "),
    ],
    ids=str,
)
def test_what_no_machine_holds_is_one_line_that_names_the_field(
    tmp_path: Path, assignments: dict[str, int], words: str
) -> None:
    """`bench run --dry-run` said how long it would take."""
    request = RunRequest(methods=("point-mae",), protocols=("linear",), preset="smoke", overrides=dict(assignments))
    with pytest.raises(UsageError) as refused:
        resolve(request, Workspace.at(tmp_path / "results"))
    assert re.search(words, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("protocol", "assignments", "words"),
    [
        ("fewshot", {"fewshot.mlp_recipe.lr": 0.1}, "does nothing with head=full; it needs head=mlp"),
        ("fewshot", {"protocol.strengths": [1.0]}, "does nothing with head=full; it needs head=linear or svm"),
        ("fewshot", {"fewshot.head": "linear", "fewshot.full_recipe.epochs": 9}, "it needs head=full"),
        ("mlp", {"mlp.recipe.head_lr_scale": 10}, "on frozen features, where the head alone is trained; set lr"),
        ("mlp", {"mlp.recipe.augmentation": ["jitter"]}, "on frozen features, which are computed once"),
        ("mlp", {"mlp.recipe.teacher_crops": 4}, "recipe: teacher_crops and teacher_prompts belong to the recipe of"),
        ("linear", {"recipe.head_lr_scale": 10}, "recipe.head_lr_scale = 10: does nothing in pretraining"),
    ],
    ids=str,
)
def test_what_does_nothing_is_refused(tmp_path: Path, protocol: str, assignments: dict[str, Any], words: str) -> None:
    """It made keys of its own, and a table named a difference where there was none."""
    request = RunRequest(methods=("point-mae",), protocols=(protocol,), preset="smoke", overrides=assignments)
    with pytest.raises(UsageError) as refused:
        resolve(request, Workspace.at(tmp_path / "results"))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
