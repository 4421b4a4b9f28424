"""Numbers that are none: one line wherever a user may write them, and no key that could not be found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from bench.errors import UsageError
from bench.plan.request import RunRequest, parse_assignment, read_request, validated
from bench.registry import DATASETS, METHODS, PROTOCOLS, TEACHERS
from bench.spec import BackboneSpec, Frozen, Recipe, RunSpec, TransformerShape, content_key


def models() -> dict[str, type[BaseModel]]:
    """Every model that users fill in, those inside others too."""
    found: dict[str, type[BaseModel]] = {}

    def add(name: str, model: type[BaseModel]) -> None:
        if model in found.values():
            return
        found[name] = model
        for field, info in model.model_fields.items():
            for kind in (info.annotation, *get_args(info.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    add(f"{name}.{field}", kind)

    for registry in (METHODS, PROTOCOLS, DATASETS, TEACHERS):
        for entry in registry:
            add(entry.name, registry.load(entry.name).Options)
    add("run", RunSpec)
    add("request", RunRequest)
    return found


MODELS = models()
NUMBERS = [
    (name, field)
    for name, model in MODELS.items()
    for field, info in model.model_fields.items()
    if {int, float} & {info.annotation, *get_args(info.annotation)}
]


def test_every_model_refuses_what_no_key_can_hold() -> None:
    """A model that allows infinity lets a run begin that ends in a traceback."""
    assert {Recipe, BackboneSpec, TransformerShape} <= set(MODELS.values())
    assert [name for name, model in MODELS.items() if not issubclass(model, Frozen)] == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "inf", "nan", "1e999", True, 2**64])
def test_every_number_field_refuses_it_by_name(value: object) -> None:
    """`--set recipe.lr=inf` ended in a traceback; true was 1, and trained for one epoch."""
    taken = []
    for name, field in NUMBERS:
        model = MODELS[name]
        if value is True and "bool" in str(model.model_fields[field].annotation):
            continue
        if value == 2**64 and int not in {
            model.model_fields[field].annotation,
            *get_args(model.model_fields[field].annotation),
        }:
            continue
        try:
            model.model_validate({field: value})
        except ValidationError as error:
            if any(problem["loc"][:1] == (field,) for problem in error.errors()):
                continue
        taken.append(f"{name}.{field}")
    assert taken == []
    with pytest.raises(UsageError, match=r"^recipe\.epochs = [^\n]{1,200}$"):
        validated(Recipe, {"epochs": value}, "recipe")


def test_minus_nothing_is_nothing() -> None:
    """The same run would have two keys."""
    assert content_key(Recipe(weight_decay=-0.0)) == content_key(Recipe(weight_decay=0.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recipe.lr=.inf", "--set recipe.lr = inf: expected a finite number"),
        ("fewshot.strengths=[1, -.inf]", "--set fewshot.strengths = -inf: expected a finite number"),
        ("scratch.architecture_options={a: {b: .nan}}", "architecture_options.a.b = nan: expected a finite number"),
        (f"recipe.epochs={'9' * 5000}", "--set recipe.epochs"),
    ],
)
def test_an_assignment_is_refused_at_once(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_assignment(text)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("number", [".inf", "-.INF", ".nan"])
def test_a_file_of_a_request_is_refused_by_field(tmp_path: Path, number: str) -> None:
    """JSON and YAML both have words for numbers that are none."""
    path = tmp_path / "a.yaml"
    path.write_text(f"methods: [recon]\noverrides:\n  recipe.lr: {number}\n")
    with pytest.raises(UsageError, match=r"overrides\.recipe\.lr = -?(inf|nan): expected a finite number"):
        validated(RunRequest, read_request(path), path.name)


class Loose(BaseModel):
    """Options of a plugin that are not derived from ours."""

    strength: float = 1.0
    more: dict[str, Any] = {}


@pytest.mark.parametrize("values", [{"strength": "1e999"}, {"more": {"a": [float("nan")]}}])
def test_options_of_a_plugin_are_no_way_around(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"toy\.(strength|more\.a) = (inf|nan): expected a finite number"):
        validated(Loose, values, "toy")


def test_augmentations_are_names_that_exist() -> None:
    with pytest.raises(UsageError, match=r"recipe\.augmentation = .*unknown augmentation 'rotate_z': did you mean"):
        validated(Recipe, {"augmentation": ["rotate_z"]}, "recipe")
