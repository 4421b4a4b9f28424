"""Parts of data, pairs of data sets and matched sizes: what a request comes down to, and what it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chosen import chosen_method
from bench.data.base import CloudSet
from bench.data.transfer import common_classes, restrict
from bench.errors import DataError, UsageError
from bench.execution.task_data import task_data
from bench.plan.labels import run_label
from bench.plan.match import closest_width, match_sizes
from bench.plan.presets import preset
from bench.plan.recipes import part_of
from bench.plan.request import RunRequest, parse_fractions, validated
from bench.plan.resolve import Resolution
from bench.registry import METHODS
from bench.spec import DataSpec, Numerics, PretrainSpec, ProtocolSpec, Recipe, RunSpec, content_key
from tests.plan.small_requests import resolved

quick = settings(max_examples=40, deadline=None, derandomize=True)


def labels(resolution: Resolution, name: str) -> list[str]:
    return list(dict.fromkeys(run_label(run, resolution)[name] for run in resolution.runs))


@pytest.mark.parametrize(("text", "parts"), [("0.1,0.25,1", (0.1, 0.25, 1.0)), ("10%,100 %", (0.1, 1.0)), ("1", (1,))])
def test_fractions_are_read(text: str, parts: tuple[float, ...]) -> None:
    assert parse_fractions(text) == pytest.approx(parts)


@pytest.mark.parametrize("text", ["", "half", "0", "1.5", "0.1,0.1", "-0.2"])
@pytest.mark.parametrize("field", ["pretrain_fractions", "label_fractions"])
def test_bad_fractions_are_named(text: str, field: str) -> None:
    with pytest.raises(UsageError, match=f"request.{field} = '{text}': .*fractions") as error:
        validated(RunRequest, {field: text}, "request")
    assert "\n" not in str(error.value)


@quick
@given(
    objects=st.integers(40, 5000),
    fraction=st.floats(0.05, 1.0),
    epochs=st.integers(1, 300),
    batch=st.integers(2, 128),
    reference=st.booleans(),
)
def test_a_part_gets_as_many_steps_as_the_whole(
    objects: int, fraction: float, epochs: int, batch: int, reference: bool
) -> None:
    """Otherwise a curve over data would be one over training time."""
    recipe = Recipe(epochs=epochs, batch_size=batch, warmup_epochs=0, reference_schedule=reference)
    part = part_of("toy", recipe, objects, fraction, "steps")
    extra = int(reference)
    whole = (epochs + extra) * (objects // min(batch, objects))
    steps = part.objects // min(batch, part.objects)
    made = (part.recipe.epochs + extra) * steps
    assert abs(made - whole) <= steps / 2 or part.recipe.epochs == 1
    assert f"{made} steps, all of it {whole}" in part.note
    assert part_of("toy", recipe, objects, fraction, "epochs").recipe == recipe


def test_a_part_keeps_its_share_of_warm_up_and_says_where_batches_shrink() -> None:
    recipe = Recipe(epochs=50, batch_size=64, warmup_epochs=10)
    part = part_of("toy", recipe, 640, 0.05, "steps")
    assert (part.objects, part.recipe.epochs, part.recipe.warmup_epochs) == (32, 500, 100)
    assert "batches of 32 instead of 64" in part.note
    with pytest.raises(UsageError, match="1 of 10 objects"):
        part_of("toy", recipe, 10, 0.05, "steps")


def test_parts_are_encoders_of_their_own_and_scratch_is_made_once(tmp_path: Path) -> None:
    """One scratch is the level of every part; a part that shared a key with the whole would never be trained."""
    found = resolved(tmp_path, pretrain_fractions=[0.25, 1.0], seeds=[0, 1])
    encoders = {content_key(run.encoder): run.encoder for run in found.runs}
    assert [e.fraction for e in encoders.values() if e.method != "scratch"] == [0.25, 0.25, 1.0, 1.0]
    assert sum(e.method == "scratch" for e in encoders.values()) == 2
    assert labels(found, "pretrain_data") == ["shapes (25 %)", "shapes", "none"]
    whole = resolved(tmp_path, seeds=[0, 1])
    assert {content_key(run) for run in whole.runs} < {content_key(run) for run in found.runs}
    epochs = resolved(tmp_path, pretrain_fractions=[0.25, 1.0], budget="epochs")
    assert labels(epochs, "pretrain_data") == ["shapes (25 %, same epochs)", "shapes", "none"]
    assert any("25 %: 24 of 96 objects" in note for note in found.notes)


def test_parts_of_the_labels_cross_with_every_protocol(tmp_path: Path) -> None:
    found = resolved(tmp_path, protocols=["linear", "fewshot"], label_fractions="0.1,1", datasets=["shapes-scan"])
    assert labels(found, "setting") == ["all, 10 % of labels", "all", "5w2s, 10 % of labels", "5w2s"]
    rooms = resolved(tmp_path, label_fractions="0.1", datasets=["shapes-rooms"])
    assert not rooms.runs
    assert "these are rooms" in rooms.skipped[0].reason


@pytest.mark.parametrize("protocol", ["zeroshot", "retrieval"])
def test_what_trains_on_no_labels_is_judged_once(tmp_path: Path, protocol: str) -> None:
    """The same number under every part of the labels, and on every training set, would draw a line about nothing."""
    parts = resolved(tmp_path, methods=["recon"], protocols=[protocol], label_fractions=[0.1, 1], baseline=False)
    assert {run.label_fraction for run in parts.runs} == {1.0}
    assert "trains on no labels, of which a part could be left out" in parts.skipped[0].reason
    pair = {"datasets": ["shapes-cad", "shapes-scan"], "transfer": True, "baseline": False}
    matrix = resolved(tmp_path, methods=["recon"], protocols=[protocol], **pair)
    assert all(run.train_data is None for run in matrix.runs)
    assert "no other set to train on" in matrix.skipped[0].reason


def test_a_matrix_is_every_pair_and_one_training_set_one_row(tmp_path: Path) -> None:
    """Train on clean, test on scans: the label says which is which, and classes are matched by name."""
    found = resolved(tmp_path, datasets=["shapes-cad", "shapes-scan"], transfer=True)
    assert sorted(labels(found, "dataset")) == sorted(
        ["shapes-cad", "shapes-scan", "shapes-cad > shapes-scan", "shapes-scan > shapes-cad"]
    )
    row = resolved(tmp_path, datasets=["shapes-cad", "shapes-scan"], train_on="shapes-cad")
    assert labels(row, "dataset") == ["shapes-cad", "shapes-cad > shapes-scan"]
    assert any(note.startswith("shapes-cad > shapes-scan:") and "classes in common" in note for note in row.notes)
    apart = resolved(tmp_path, datasets=["shapes-scan-novel"], train_on="shapes-scan")
    assert not apart.runs
    assert "0 classes in common" in apart.skipped[0].reason
    rooms = resolved(tmp_path, datasets=["shapes-rooms"], train_on="shapes-scan")
    assert "no labelled objects whose classes could be matched" in rooms.skipped[0].reason
    with pytest.raises(ValueError, match="two data sets or more"):
        RunRequest(datasets=("shapes-cad",), transfer=True)
    with pytest.raises(ValueError, match="give one of the two"):
        RunRequest(datasets=("shapes-cad", "shapes-scan"), transfer=True, train_on="shapes-cad")


def test_class_names_are_matched_whatever_joins_their_words() -> None:
    common = common_classes(("Night_Stand", "chair", "toilet"), ("desk", "chair", "night stand", "night-stand"))
    assert (common.names, common.train, common.test) == (("chair", "night stand"), (1, 0), (1, 2))
    assert common.left_out == (("toilet",), ("desk", "night-stand"))
    assert "2 classes in common" in common.describe()


def clouds(classes: tuple[str, ...], each: int, mark: float) -> CloudSet:
    own = np.tile(np.arange(len(classes)), each).astype(np.int64)
    points = np.full((len(own), 8, 3), mark, np.float32) + own[:, None, None].astype(np.float32)
    return CloudSet(points, own, tuple(f"{mark}-{i}" for i in range(len(own))), classes)


def run_of(**fields: object) -> RunSpec:
    numerics = Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch="2")
    encoder = PretrainSpec(
        method="toy", backbone=preset("smoke").backbone, recipe=None, data=None, numerics=numerics, seed=0
    )
    values = {
        "preset": "smoke",
        "encoder": encoder,
        "protocol": ProtocolSpec(name="linear", revision=1),
        "setting": "all",
        "data": DataSpec(name="tested", manifest="b"),
        "seed": 0,
        **fields,
    }
    return RunSpec.model_validate(values)


def test_objects_of_common_classes_are_relabelled_and_found_in_the_cache() -> None:
    """A wrong label here would be a wrong number everywhere; a wrong row would be another object's features."""
    train, test = clouds(("chair", "table", "lamp"), 6, 0.0), clouds(("lamp", "sofa", "chair"), 4, 100.0)
    found = task_data(run_of(train_data=DataSpec(name="trained", manifest="a")), train, test)
    assert found.train.classes == found.test.classes == ("lamp", "chair")
    assert [("lamp", "chair")[label] for label in found.test.labels[:4]] == ["lamp", "chair", "lamp", "chair"]
    names = np.asarray(train.classes)[train.labels]
    for split, data, whole in (("train", found.train, train), ("test", found.test, test)):
        origin = found.origins[split]
        np.testing.assert_array_equal(origin.points[origin.rows], data.points)
        original = np.asarray(whole.classes)[whole.labels[origin.rows]]
        np.testing.assert_array_equal(np.asarray(data.classes)[data.labels], original)
    assert (found.origins["train"].manifest, found.origins["test"].manifest) == ("a", "b")
    assert found.manifest not in ("a", "b")
    assert len(found.train) == int(np.isin(names, ["lamp", "chair"]).sum())
    with pytest.raises(DataError, match="at least 2 are needed"):
        restrict(test, (1,), ("sofa",))


def test_parts_of_labels_are_nested_by_seed_and_say_what_they_keep() -> None:
    """The protocol gets no object beyond its labels, for its validation part neither."""
    train, test = clouds(("a", "b", "c", "d"), 50, 0.0), clouds(("a", "b", "c", "d"), 5, 9.0)
    assert task_data(run_of(), train, test).train is train
    small, large = (task_data(run_of(label_fraction=f), train, test) for f in (0.1, 0.5))
    assert (len(small.train), len(large.train)) == (20, 100)
    assert set(small.train.ids) < set(large.train.ids)
    other = task_data(run_of(label_fraction=0.1, seed=1), train, test)
    assert other.train.ids != small.train.ids
    assert other.manifest != small.manifest
    split = [task_data(run_of(label_fraction=f).model_copy(update={"split_seed": 3}), train, test) for f in (0.1, 0.5)]
    assert set(split[0].train.ids) < set(split[1].train.ids)
    assert len({each.train.ids for each in (small, other, split[0])}) == 3
    assert len({each.manifest for each in (small, other, split[0])}) == 3, (
        "cached clouds would be those of another part"
    )
    tiny = task_data(run_of(label_fraction=0.01), train, test)
    assert np.bincount(tiny.train.labels).tolist() == [2, 2, 2, 2]
    assert "2 would be the share, but every class keeps 2" in str(tiny.notes["labels"])


@quick
@given(st.integers(1, 8), st.integers(1, 60), st.integers(1, 10**6), st.floats(0.5, 300))
def test_the_closest_width_is_found(heads: int, multiple: int, target: int, slope: float) -> None:
    """Of all widths the heads divide, none in reach may be closer to the cost that is to be met."""
    start = heads * multiple

    def cost(width: int) -> int:
        return int(slope * width * width) + width

    found = closest_width(target, cost, start, heads)
    assert found % heads == 0
    reach = range(heads, 8 * start + 1, heads)
    assert abs(cost(found) - target) == min(abs(cost(width) - target) for width in reach)
    assert closest_width(target, lambda width: 7, start, heads) == start


@pytest.mark.parametrize("by", ["params", "flops"])
def test_sizes_are_matched_to_the_first_method(by: str) -> None:
    """ReCon has nearly twice Point-MAE's parameters: at one width it wins by size alone."""
    backbone = preset("smoke").backbone
    methods = [
        chosen_method(name, METHODS.load(name).defaults("smoke").model_dump()) for name in ("recon", "point-mae")
    ]
    found = match_sizes(by, methods, backbone)  # type: ignore[arg-type]
    assert found.backbones["recon"] == backbone
    other = found.backbones["point-mae"]
    assert other.width > backbone.width
    assert other.width % other.heads == 0
    assert f"matched by {by}: point-mae width {other.width} instead of {backbone.width}" in found.notes[0]


def test_one_method_has_nothing_to_be_matched_to(tmp_path: Path) -> None:
    """The option would be dropped in silence, and the table would promise equal cost."""
    with pytest.raises(
        UsageError, match=r"--match params makes the encoders of several .* point-mae is pretrained here"
    ):
        resolved(tmp_path, match="params")


def test_a_data_set_named_twice_is_judged_once(tmp_path: Path) -> None:
    """Every run would be listed twice, and a matrix would have two rows of one name."""
    twice = resolved(tmp_path, datasets=["shapes-scan", "shapes-cad", "shapes-scan"], transfer=True, baseline=False)
    assert labels(twice, "dataset") == [
        "shapes-scan",
        "shapes-scan > shapes-cad",
        "shapes-cad > shapes-scan",
        "shapes-cad",
    ]
    assert len(twice.runs) == 4


def test_matched_runs_say_so_and_scratch_follows(tmp_path: Path) -> None:
    """Scratch must have the size of the method it is compared with, and the tables must know that costs are equal."""
    found = resolved(tmp_path, methods=["recon", "point-mae"], match="params", captions="none")
    widths = {(r.encoder.method, r.encoder.options.get("architecture")): r.encoder.backbone.width for r in found.runs}
    assert widths["point-mae", None] == widths["scratch", "point-mae"] > widths["recon", None]
    assert all(run.matched is not None and run.matched.by == "params" for run in found.runs)
    assert len({run.matched.target for run in found.runs if run.matched}) == 1
    assert any(note.startswith("matched by params: point-mae") for note in found.notes)


def test_matched_widths_fit_every_part_of_the_method(tmp_path: Path) -> None:
    """ACT's first stage and a decoder with heads of its own would fail when their jobs begin, hours later."""
    overrides = {"backbone.width": 48, "backbone.heads": 6, "act.decoder_heads": 16}
    found = resolved(tmp_path, methods=["recon", "act"], match="params", captions="none", overrides=overrides)
    act = next(run.encoder for run in found.runs if run.encoder.method == "act")
    assert act.first_stage is not None
    assert act.backbone.width == act.first_stage.backbone.width
    assert act.backbone.width % 48 == 0
    with pytest.raises(UsageError, match=r"backbone\.width = 24 is not a multiple of 10, as point-mae needs"):
        resolved(tmp_path, methods=["point-mae"], overrides={"point-mae.decoder_heads": 5})
