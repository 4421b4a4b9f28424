"""Requests: what the user typed must be what runs, and a slip must be named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.plan.request import RunRequest, parse_assignment, parse_seeds, read_request, validated, write_request
from bench.spec import Recipe


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    methods=st.lists(st.sampled_from(["recon", "point-mae", "scratch"]), min_size=1, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True),
    split_seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True),
    preset=st.sampled_from(["smoke", "nano"]),
    overrides=st.dictionaries(
        st.sampled_from(["recipe.lr", "method.mask_ratio", "data.ä"]),
        st.floats(0, 1) | st.booleans() | st.none() | st.text(max_size=8),
    ),
)
def test_yaml_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    methods: list[str],
    seeds: list[int],
    split_seeds: list[int],
    preset: str,
    overrides: dict[str, object],
) -> None:
    request = RunRequest.model_validate(
        {"methods": methods, "seeds": seeds, "split_seeds": split_seeds, "preset": preset, "overrides": overrides}
    )
    path = tmp_path_factory.mktemp("request") / "request.yaml"
    write_request(request, path)
    assert RunRequest.model_validate(read_request(path)) == request


@pytest.mark.parametrize(("text", "seeds"), [("3", (0, 1, 2)), ("7,", (7,)), ("0,4,7", (0, 4, 7))])
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "-1", "many", "1,x", ""])
def test_bad_seeds_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a count such as 5"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("recipe.lr=1e-3", ("recipe.lr", "1e-3")), ("a.b=true", ("a.b", True)), ("a.b.c=[1, 2]", ("a.b.c", [1, 2]))],
)
def test_assignments(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["lr=1", "recipe.lr", "recipe.=1", "=1", "a.b=[1"])
def test_bad_assignments_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_assignment(text)


def test_numbers_written_with_an_exponent_are_numbers() -> None:
    """YAML reads 1e-3 as text; a learning rate given so must still arrive."""
    recipe: Recipe = validated(Recipe, {"lr": parse_assignment("recipe.lr=1e-3")[1]}, "recipe")
    assert recipe.lr == 0.001


def test_a_bad_value_is_one_line_with_field_and_reason() -> None:
    with pytest.raises(UsageError, match=r"recipe.lr = 'fast': input should be a valid number"):
        validated(Recipe, {"lr": "fast"}, "recipe")
    with pytest.raises(UsageError, match=r"unknown field of recipe 'epoch': did you mean epochs"):
        validated(Recipe, {"epoch": 3}, "recipe")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("- a\n", "must hold a mapping"), ("a: [", "YAML")]
)
def test_bad_files_are_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "request.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_request(path)
