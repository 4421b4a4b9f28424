"""Sweeps: a grid runs exactly what its points ask for, and a slip of the keyboard is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.request import RunRequest, parse_assignment, parse_assignments, split_values
from bench.plan.resolve import Resolution, resolve
from bench.plan.sweeps import read_axes
from bench.spec import content_key

_LEAVES = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text("ab ,'[]{}:\"x", max_size=5)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a,", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(values=st.lists(_VALUES, min_size=1, max_size=4), gap=st.sampled_from(["", " "]))
def test_commas_inside_brackets_and_quotes_do_not_split(values: list[JsonValue], gap: str) -> None:
    """Otherwise a list would be torn apart, and its halves run as two settings."""
    texts = [json.dumps(value) for value in values]
    plain = [text for text in texts if "\\" not in text]
    if plain:
        assert split_values(f",{gap}".join(plain)) == plain


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "results", tmp_path / "cache")


def _resolved(place: Workspace, *sets: str, methods: tuple[str, ...] = ("recon",), **fields: Any) -> Resolution:
    return resolve(_request(*sets, methods=methods, **fields), place)


def _request(*sets: str, **fields: Any) -> RunRequest:
    return RunRequest.model_validate({"preset": "smoke", "overrides": parse_assignments(sets), **fields})


def _keys(found: Resolution) -> set[str]:
    return {content_key(spec) for spec in found.runs}


def test_a_swept_run_is_the_run_asked_for_alone(place: Workspace) -> None:
    swept = _resolved(place, "recon.mask_ratio=0.2,0.4", "recipe.lr=1e-3,0.002")
    alone = [
        _resolved(place, f"recon.mask_ratio={ratio}", f"recipe.lr={rate}")
        for ratio in (0.2, 0.4)
        for rate in (0.001, 0.002)
    ]
    assert [str(axis) for axis in swept.axes] == ["recon.mask_ratio: 0.2, 0.4", "recipe.lr: 0.001, 0.002"]
    assert _keys(swept) == set.union(*map(_keys, alone))
    assert [{content_key(swept.runs[at]) for at in own} for _, own in swept.points] == [*map(_keys, alone)]


def test_options_of_one_method_multiply_no_other_runs(place: Workspace) -> None:
    """Two swept ReCon options over four points: one Point-MAE, and one untrained network of each architecture."""
    found = _resolved(
        place, "recon.mask_ratio=0.2,0.4", "recon.stop_gradient=true,false", methods=("recon", "point-mae")
    )
    methods = [spec.encoder.method for spec in found.runs]
    assert (methods.count("recon"), methods.count("point-mae"), methods.count("scratch")) == (4, 1, 2)
    plain = _resolved(place, methods=("recon", "point-mae"))
    untrained = {content_key(spec) for spec in plain.runs if spec.encoder.method == "scratch"}
    assert untrained <= _keys(found), "scratch must stay the run that is stored already"


@pytest.mark.parametrize(
    ("method", "option", "networks"),
    [
        ("recon", "stop_gradient=true,false", 1),
        ("recon", "loss=cdl2,cdl1", 1),
        ("recon", "global_queries=true,false", 2),
        ("recon", "residual=normalised,prenorm", 2),
        ("recon", "reference=true,false", 2),  # differs in an attribute only: no weight tells
        ("two-tower", "streams=all,mdm,cmc", 3),
        ("two-tower", "skip_two_patches=true,false", 2),
        ("crosspoint", "temperature=0.1,0.2", 1),
        ("crosspoint", "backbone=transformer,dgcnn,pointnet", 3),
        ("act", "patch_width=null,12", 2),
    ],
)
def test_scratch_follows_the_network_not_the_option(place: Workspace, method: str, option: str, networks: int) -> None:
    found = _resolved(place, f"{method}.{option}", methods=(method,))
    assert sum(spec.encoder.method == "scratch" for spec in found.runs) == networks


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("recon.mask=rand,block", ["rand", "block"]),
        ("recon.smc=true, false", [True, False]),
        ("recon.decoder_heads=null,2", [None, 2]),
        ("recipe.augmentation=[],[rotate_y,jitter]", [[], ["rotate_y", "jitter"]]),
        ("backbone.depth=1,2", [1, 2]),
        ("fewshot.head=svm,logistic", ["svm", "logistic"]),
        ("pretrain_data.objects=48,96", [48, 96]),
        ("recipe.lr=1e-3,5e-4", [0.001, 0.0005]),
        ('crosspoint.image_network="resnet18","resnet34"', ["resnet18", "resnet34"]),
    ],
)
def test_values_are_split_by_the_kind_of_option(place: Workspace, text: str, values: list[JsonValue]) -> None:
    (axis,) = read_axes(_request(text), place)
    assert list(axis.values) == values


@pytest.mark.parametrize(
    "text", ["crosspoint.image_network=resnet18,resnet34", "recipe.augmentation=[rotate_y,jitter]"]
)
def test_texts_and_lists_stay_whole(place: Workspace, text: str) -> None:
    assert read_axes(_request(text), place) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recon.mask_ratio=0,05", r"decimal comma\? write 0.05"),
        ("recon.mask_ratio=0,5", r"decimal comma\? write 0.5; for 2 values write 0.0,5.0"),
        ("recipe.epochs=1,000", "decimal comma"),
        ("recon.mask_ratio=0.2,,0.4", "a value between the commas is empty"),
        ("recon.mask_ratio=0.2,", "a value between the commas is empty"),
        ("recon.mask_ratio=0.2,0.20", "the value 0.2 stands twice"),
        ("recon.mask_ratio=[0.2,0.4]", "leave out the brackets"),
        ("recon.mask_ratio=0.2,1.4", r"^recon.mask_ratio = 1.4: "),
        ("recon.mask_ratio=0.2,nan", "finite"),
        ("recon.mask_ratoi=0.2,0.4", "did you mean mask_ratio"),
        ("recon.mask_ratio=0.2,[0.4", "cannot read the value"),
        (f"recipe.epochs={','.join(map(str, range(1, 1200)))}", "1,199 points; at most 1,000"),
    ],
)
def test_slips_are_named_in_one_line(place: Workspace, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        resolve(_request(text), place)
    assert "\n" not in str(error.value)


def test_an_option_is_given_once(place: Workspace) -> None:
    with pytest.raises(UsageError, match=r"--set recon.mask_ratio: given twice"):
        parse_assignments(["recon.mask_ratio=0.2", "recon.mask_ratio=0.4"])
    with pytest.raises(ValueError, match="stands in 'overrides' and in 'sweep'"):
        RunRequest.model_validate({"overrides": {"recipe.lr": 1}, "sweep": {"recipe.lr": [1, 2]}})


def test_sweep_takes_teachers_and_methods_too(place: Workspace) -> None:
    request = RunRequest.model_validate(
        {"preset": "smoke", "sweep": {"method": ["multitask", "two-tower"], "recipe.lr": [0.001, 0.002]}}
    )
    found = resolve(request, place)
    trained = [spec.encoder.method for spec in found.runs if spec.encoder.method != "scratch"]
    assert sorted(trained) == ["multitask", "multitask", "two-tower", "two-tower"]
    with pytest.raises(ValueError, match="'mask_ratio' is neither"):
        RunRequest.model_validate({"sweep": {"mask_ratio": [0.2]}})


def test_several_values_that_are_no_yaml_stay_text() -> None:
    assert parse_assignment("recipe.augmentation=[jitter],[]") == ("recipe.augmentation", "[jitter],[]")
