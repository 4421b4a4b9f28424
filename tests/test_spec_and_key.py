"""The content key: if it missed a field, two different experiments would be taken for one and the same number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.plan.encoders import encoder_key
from bench.registry import METHODS, PROTOCOLS
from bench.seeds import derive, numpy_stream
from bench.spec import (
    BackboneSpec,
    DataSpec,
    MatchSpec,
    Numerics,
    PretrainSpec,
    ProtocolSpec,
    Recipe,
    RunSpec,
    TeacherSpec,
    canonical_json,
    content_key,
)

NUMERICS = Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch="2.15")
DATA = DataSpec(name="shapes", options={"objects": 10}, manifest="ab" * 32)
STAGE = PretrainSpec(
    method="recon",
    options={"mask_ratio": 0.6},
    backbone=BackboneSpec(
        block="other",
        block_options={"kernel": 3},
        norm="rms",
        norm_options={"eps": 1e-6},
        tokenizer="plain",
        tokenizer_options={"layers": 2},
    ),
    recipe=Recipe(augmentation=("rotate_y",), clip_norm=10.0),
    data=DATA,
    fraction=0.5,
    budget="epochs",
    images="dataset",
    captions="dataset",
    teacher=TeacherSpec(name="tiny-clip", options={"epochs": 2}, identity="cd" * 32),
    text_teacher=TeacherSpec(name="open-clip", options={"model": "m"}, identity="ef" * 32),
    imported="12" * 32,
    texts="34" * 32,
    numerics=NUMERICS,
    seed=3,
)
ENCODER = STAGE.model_copy(update={"first_stage": STAGE})
RUN = RunSpec(
    preset="nano",
    encoder=ENCODER,
    protocol=ProtocolSpec(name="fewshot", revision=1, options={"folds": 10, "head": "linear"}),
    setting="5w10s",
    data=DATA,
    train_data=DATA,
    label_fraction=0.25,
    matched=MatchSpec(by="params", target=1000),
    seed=3,
)


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]
    return [path]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 + 0.001
    if isinstance(value, list):
        return [*value, "jitter"]
    if value is None:
        return 1.0
    if isinstance(value, dict):
        return {"new": "1"}
    swaps = {"fp32": "bf16", "cpu": "cuda", "dataset": "none", "fair": "published", "adamw": "adam"}
    swaps |= {"epochs": "steps", "params": "flops"}
    return swaps.get(value, f"{value}x")


PLAIN = json.loads(RUN.model_dump_json())


@pytest.mark.parametrize("path", leaves(PLAIN), ids=".".join)
def test_every_field_is_in_the_key(path: tuple[str, ...]) -> None:
    other = json.loads(RUN.model_dump_json())
    place = other
    for part in path[:-1]:
        place = place[part]
    at = path[-1]
    place[at] = json.loads(STAGE.model_dump_json()) if at == "first_stage" else changed(place[at])
    assert content_key(RunSpec.model_validate(other)) != content_key(RUN)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=st.dictionaries(st.text(), json_values, max_size=5))
def test_key_ignores_order_and_survives_json(value: dict[str, Any]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert content_key(value) == content_key(backwards) == content_key(json.loads(canonical_json(value)))


def test_later_fields_leave_earlier_keys_alone() -> None:
    """Results stored before a field existed are found again where it is at its default."""
    whole = ENCODER.model_copy(
        update={"fraction": 1.0, "budget": "steps", "first_stage": None, "backbone": BackboneSpec()}
    )
    plain = RUN.model_copy(update={"encoder": whole, "train_data": None, "label_fraction": 1.0, "matched": None})
    later = {"fraction", "budget", "train_data", "label_fraction", "matched"}
    assert not later & {*json.loads(canonical_json(plain)), *json.loads(canonical_json(whole))}
    parts = {name for part in ("block", "norm", "tokenizer") for name in (part, f"{part}_options")}
    assert not parts & json.loads(canonical_json(whole))["backbone"].keys()
    assert RunSpec.model_validate_json(canonical_json(plain)) == plain


STORED = [json.loads(line) for line in Path(__file__).with_name("stored_specs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["name"])
def test_keys_of_stored_runs_never_change(stored: dict[str, Any]) -> None:
    """Otherwise every result of a user is lost to the next version: it is computed again under another key.

    A field that a spec or the options of a method or protocol gain later is left out of JSON at its default.
    """
    spec = RunSpec.model_validate(stored["spec"])
    assert spec.model_dump(mode="json") == stored["spec"]
    assert content_key(spec) == stored["key"]
    assert encoder_key(spec.encoder) == stored["encoder_key"]
    for unit, kept in ((METHODS, spec.encoder), (PROTOCOLS, spec.protocol)):
        name = kept.method if isinstance(kept, PretrainSpec) else kept.name
        assert unit.load(name).Options.model_validate(kept.options).model_dump(mode="json") == kept.options


def test_a_spec_survives_storage_unchanged() -> None:
    again = RunSpec.model_validate_json(canonical_json(RUN))
    assert again == RUN
    assert content_key(again) == content_key(RUN)


def test_a_spec_is_immutable_and_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        RUN.seed = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="workers"):
        RunSpec.model_validate({**PLAIN, "workers": 8})


def test_not_a_number_never_enters_a_key() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        content_key({"lr": float("nan")})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(root=st.integers(0, 2**40), first=st.integers(0, 10**6), second=st.integers(0, 10**6))
def test_streams_are_reproducible_and_apart(root: int, first: int, second: int) -> None:
    """If streams ran together, augmentation of one step would repeat in another."""
    assert derive(root, "order", first) == derive(root, "order", first)
    assert (derive(root, "order", first) == derive(root, "order", second)) == (first == second)
    assert derive(root, "order", first) != derive(root, "augmentation", first)
    assert derive(root, "fold", 1, 23) != derive(root, "fold", 12, 3)
    assert derive(root, "fold", 1) != derive(root, "fold", "1")
    assert 0 <= derive(root, "init") < 2**63


def test_streams_never_change_between_releases() -> None:
    """Stored results name their seeds; the numbers drawn from them must stay what they were."""
    assert derive(0, "split") == 6812300375708456965
    assert numpy_stream(0, "fold", "5w10s", 0).integers(0, 1000, 4).tolist() == [433, 155, 974, 309]
