"""Semantic segmentation on toy rooms: a floor, a ceiling and boxes between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.data.base import NO_OBJECTS, DataPlace, Dataset, DatasetCard, Room
from bench.data.rooms.dataset import ShapesRooms
from bench.errors import DataError, UsageError
from bench.models.grouping import Sampling
from bench.models.segmentation import PartSegmenter
from bench.models.standard import StandardEncoder
from bench.protocols.base import Candidate, Evaluation, Facts, HeldOut, Subject, Task
from bench.protocols.linear import Linear
from bench.protocols.segmentation_metrics import scene_scores
from bench.protocols.segmentation_options import HeadSizes
from bench.protocols.semseg import SemanticSegmentation
from bench.protocols.semseg.blocks import (
    BLOCK,
    BlockSampler,
    RoomGrid,
    pick,
    split_rooms,
    tile_blocks,
    window_batches,
    windows,
)
from bench.protocols.semseg.judging import class_weights
from bench.protocols.semseg.votes import label_rooms
from bench.spec import BackboneSpec, Recipe

from .conftest import NUMERICS, values

SMALL = BackboneSpec(points=64, groups=12, group_size=8, width=12, depth=2, heads=2, tokenizer_width=8, drop_path=0.0)
HEAD = HeadSizes(hidden=24, propagated=24, category=4, mixed=24, narrow=12)
RECIPE = Recipe(epochs=4, batch_size=8, lr=1e-2, warmup_epochs=1, clip_norm=10.0)
CLASSES = ("floor", "ceiling", "box", "never")


def room(area: int, number: int = 0, points: int = 1500, size: tuple[float, float] = (2.3, 1.6)) -> Room:
    """Floor at 0, ceiling at 2, boxes at 0.4 to 1.2 m."""
    rng = np.random.default_rng([area, number])
    labels = rng.choice(3, points, p=(0.5, 0.3, 0.2)).astype(np.int64)
    cloud = rng.random((points, 3)) * [*size, 1.0]
    cloud[:, 2] = np.choose(labels, [0.02 * cloud[:, 2], 2 + 0.02 * cloud[:, 2], 0.4 + 0.8 * cloud[:, 2]])
    return Room(f"Area_{area}_room_{number}", area, (cloud - cloud.min(0)).astype(np.float32), None, labels)


class ToyRooms(Dataset):
    """Rooms in five areas."""

    name = "toy-rooms"
    card = DatasetCard(summary="", licence="", terms="", citation="", normalisation="", has_rooms=True)

    def __init__(self, rooms: Sequence[Room], test_area: int = 5) -> None:
        super().__init__(DataPlace(Path()))
        self._rooms, self._area = rooms, test_area

    @property
    def test_area(self) -> int:
        return self._area

    def manifest(self) -> str:
        return "toy"

    def train_size(self) -> int:
        return len(self._rooms)

    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def rooms(self) -> Sequence[Room]:
        return self._rooms

    def load(self, split: str) -> None:  # type: ignore[override]
        raise UsageError("rooms only")


def building() -> list[Room]:
    return [room(area, number) for area in (1, 2, 5) for number in range(2)]


def options(**changes: object) -> SemanticSegmentation.Options:
    given = {"head": HEAD, "recipe": RECIPE, "dropout": 0.0, "blocks_per_epoch": 48, **changes}
    return SemanticSegmentation.Options.model_validate(given)


def subject(*names: str) -> Subject:
    def build(seed: int) -> StandardEncoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return StandardEncoder(SMALL, Sampling())

    found = {name: Candidate(name, partial(build, i), f"key-{i}") for i, name in enumerate(names or ("",))}
    return Subject("toy", "toy", found)


MakeTask = Callable[..., Task]


@pytest.fixture
def make(tmp_path: Path) -> MakeTask:
    def task(folder: str = "w", **changes: object) -> Task:
        given = {
            "train": NO_OBJECTS,
            "test": HeldOut(NO_OBJECTS),
            "data_manifest": "toy",
            "split_seed": 0,
            "seed": 0,
            "device": "cpu",
            "numerics": NUMERICS,
            "cache": tmp_path / "cache",
            "workdir": tmp_path / folder,
            "points": 64,
            "dataset": ToyRooms(building()),
        }
        return Task(**{**given, **changes})  # type: ignore[arg-type]

    return task


def judge(task: Task, chosen: SemanticSegmentation.Options | None = None, judged: Subject | None = None) -> Evaluation:
    return SemanticSegmentation.evaluate(judged or subject(), task, "all", chosen or options())


def clouds(seed: int, points: int, width: float, depth: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = (rng.random((points, 3)) * [width, depth, 2.5]).astype(np.float32)
    # Whole and half metres, where edges of cells and windows fall.
    made[: points // 3, :2] = np.round(made[: points // 3, :2] * 2) / 2
    return made


ROOMS = st.tuples(st.integers(0, 10**6), st.integers(1, 300), st.floats(0.05, 4.2), st.floats(0.05, 3.1))


@given(ROOMS)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_every_point_of_a_room_is_answered(shape: tuple[int, int, float, float]) -> None:
    """Points in a corner would keep class 0 without ever being looked at."""
    points = clouds(*shape)
    for stride in (0.5, BLOCK):
        met = np.zeros(len(points), dtype=int)
        for x, y, rows in windows(RoomGrid(points), stride):
            assert (np.abs(points[rows, :2] - [x, y]) <= BLOCK / 2 + 1e-5).all()
            met[rows] += 1
        assert met.min() >= 1
        assert met.max() <= (1 / stride + 2) ** 2


@given(ROOMS, st.floats(-1, 5), st.floats(-1, 4))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_columns_are_those_of_a_search_through_all_points(
    shape: tuple[int, int, float, float], x: float, y: float
) -> None:
    """A block would lack points that lie in it."""
    points = clouds(*shape)
    inside = (np.abs(points[:, :2].astype(float) - [x, y]) <= BLOCK / 2 + 1e-6).all(1)
    assert RoomGrid(points).column(x, y).tolist() == np.flatnonzero(inside).tolist()


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 1000))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_dealing_a_window_leaves_no_point_out(count: int, points: int, seed: int) -> None:
    """Points of a dense window would go unanswered, or one block be answered at another size."""
    rows = np.arange(count, dtype=np.int64) * 3
    dealt = window_batches(rows, points, np.random.default_rng(seed))
    assert dealt.shape == (-(-count // points), points)
    assert set(dealt.ravel().tolist()) == set(rows.tolist())
    few = pick(rows, points, np.random.default_rng(seed))
    assert len(set(few.tolist())) == min(count, points)


def test_training_blocks_are_columns_of_one_metre() -> None:
    """Networks would see something else than the published blocks."""
    source = room(1, points=4000, size=(3.0, 3.0))
    sampler = BlockSampler([source], 128)
    rng = np.random.default_rng(0)
    for _ in range(5):
        block, labels = sampler.draw(rng)
        assert block.shape == (128, 3)
        assert np.abs(block[:, :2]).max() <= 0.5 + 1e-5
        assert len(np.unique(block, axis=0)) > 64  # columns at the wall hold fewer points, which then repeat
        # Height is kept, and so the class, which goes by height, belongs to its point.
        assert np.array_equal(labels, np.digitize(block[:, 2], [0.1, 1.5]) * 2 % 3)
    first, again = (BlockSampler([source], 128).draw(np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], again[0])


def test_rooms_are_drawn_by_their_size() -> None:
    """Small rooms would count as much as halls."""
    small, large = room(1, points=200), room(2, points=1800)
    large = Room(large.name, 2, large.points, None, np.full(1800, 3))
    rng = np.random.default_rng(0)
    sampler = BlockSampler([small, large], 16)
    share = np.mean([int(sampler.draw(rng)[1][0] == 3) for _ in range(200)])
    assert 0.8 < share < 0.97


def test_whole_areas_are_held_out_and_validation_is_carved_from_the_others() -> None:
    """Rooms of the test building would be trained on, or choices be made on them."""
    rooms = building()
    split = split_rooms(rooms, 5, None, 0.3, 0)
    areas = [[rooms[i].area for i in part] for part in (split.train, split.val, split.test)]
    assert areas == [[1, 2], [1, 2], [5, 5]]
    assert sorted([*split.train, *split.val, *split.test]) == list(range(6))
    by_area = split_rooms(rooms, 1, 2, 0.3, 0)
    assert [rooms[i].area for i in by_area.val] == [2, 2]
    assert [rooms[i].area for i in by_area.test] == [1, 1]
    single = split_rooms([room(area) for area in range(1, 6)], 5, None, 0.3, 0)
    assert len(single.val) == 1
    blocks = [Room(f"Area_{a}_hall#{i}", a, rooms[0].points, None, rooms[0].labels) for a in (1, 2, 5) for i in (0, 1)]
    pieces = split_rooms(blocks, 5, None, 0.3, 0)
    assert len({blocks[i].name.partition("#")[0] for i in pieces.val}) == 1
    with pytest.raises(UsageError, match="validation_area is 5, the held-out test area"):
        split_rooms(rooms, 5, 5, 0.3, 0)
    with pytest.raises(DataError, match="Area 4 is held out; expected rooms in and outside of it"):
        split_rooms(rooms, 4, None, 0.3, 0)
    with pytest.raises(DataError, match="validation_area is 3; expected an area with rooms"):
        split_rooms(rooms, 5, 3, 0.3, 0)


class ByHeight(nn.Module):
    """A network that knows the classes by their height, and says so with little confidence at the block's edge."""

    def forward(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        height = torch.bucketize(points[..., 2].contiguous(), torch.tensor([0.1, 1.5]))
        truth = torch.tensor([0, 2, 1])[height]
        wrong = points[..., 0].abs() > 0.25
        sure = torch.where(wrong, 0.6, 0.99)[..., None]
        guess = nn.functional.one_hot(torch.where(wrong, (truth + 1) % 3, truth), 4)
        return (guess * sure + (1 - guess) * (1 - sure) / 3).log()


def test_answers_of_all_windows_add_up() -> None:
    """One bad window would decide; or a vote would differ from run to run."""
    rooms = [room(5), room(5, 1)]
    model: PartSegmenter = ByHeight()  # type: ignore[assignment]

    def label(vote: str, votes: int = 1) -> list[np.ndarray]:
        return label_rooms(model, rooms, 64, 4, votes, vote, 0, NUMERICS, lambda done, total: None)  # type: ignore[arg-type]

    soft, hard = label("probability"), label("label")
    for answers in (soft, hard):
        assert [len(found) for found in answers] == [1500, 1500]
        assert answers[0].dtype == np.uint8
    right = [np.mean([np.mean(a == r.labels) for a, r in zip(x, rooms, strict=True)]) for x in (soft, hard)]
    assert right[0] > right[1] > 0.5
    assert all(np.array_equal(a, b) for a, b in zip(soft, label("probability"), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(hard, label("label", 3), strict=True))


def test_it_learns_and_any_figure_can_be_made_again(make: MakeTask) -> None:
    """Scores would say nothing about what an encoder knows, and nobody could check them."""
    found = judge(make())
    loss = [value for _, value in found.curves["semseg/total"]]
    assert loss[-1] < 0.7 * loss[0]
    (score,) = values(found.metrics, name="miou", split="test", selection="val")
    majority = 0.5 / 3
    assert score > majority + 0.2
    stored = found.predictions
    assert stored["ids"].tolist() == ["Area_5_room_0", "Area_5_room_1"]
    assert stored["offsets"].tolist() == [0, 1500, 3000]
    assert stored["labels"].shape == stored["predicted"].shape == (3000,)
    assert scene_scores(stored["confusion"].sum(0)).miou == score
    assert float(np.mean(stored["labels"] == stored["predicted"])) == values(
        found.metrics, name="oa", split="test", selection="val"
    )[0]  # fmt: skip
    assert values(found.metrics, name="iou[floor]")[0] > 0.3


def test_every_selection_rule_is_stored(make: MakeTask) -> None:
    """The inflation by choosing on test could not be measured, or the headline itself would have looked."""
    short = options(recipe=RECIPE.model_copy(update={"epochs": 2}), blocks_per_epoch=16)
    first, second = judge(make("a"), short), judge(make("b", legacy=True), short)
    assert {m.selection for m in first.metrics if m.name == "miou"} == {"val", "last"}
    assert {m.selection for m in second.metrics if m.name == "miou"} == {"val", "last", "test"}
    for rule in ("val", "last"):
        where = {"name": "miou", "split": "test", "selection": rule}
        assert values(first.metrics, **where) == values(second.metrics, **where)
    curve = [value for _, value in second.curves["semseg/test_block_miou"]]
    where = {"name": "block_miou", "split": "test"}
    assert values(second.metrics, selection="test", **where) == [max(curve)]
    assert values(second.metrics, selection="last", **where) == [curve[-1]]
    assert judge(make("c"), short).metrics == first.metrics


def test_candidates_and_the_published_form(make: MakeTask) -> None:
    """The untrained network could not be judged on rooms; the published form would not run."""
    tiny = {"head": HEAD, "form": "published", "published_epochs": 1}
    chosen = SemanticSegmentation.Options.model_validate({**tiny, "votes": 2, "vote": "label"})
    found = judge(make(form="published"), chosen, subject("one", "two"))
    assert found.notes["candidate"] in ("one", "two")
    assert {m.variant for m in found.metrics if m.name == "block_miou[pilot]"} == {"one", "two"}
    assert {m.votes for m in found.metrics if m.name == "miou"} == {2}


def test_validation_blocks_do_not_change() -> None:
    """Epochs would be chosen by the luck of a draw, differently for every method."""
    rooms = [room(1), room(2)]
    first, again = tile_blocks(rooms, 64, 0), tile_blocks(rooms, 64, 0)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[0].shape == (12, 64, 3)  # 3 x 2 tiles in each


def test_rare_classes_weigh_more() -> None:
    """Walls would drown everything else, unlike in the published training."""
    labels = np.repeat([0, 1, 2], [800, 100, 1])
    only = Room("Area_1_x_0", 1, np.zeros((901, 3), np.float32), None, labels)
    np.testing.assert_allclose(class_weights([only], 4), [1, 2, 800 ** (1 / 3), 0], rtol=1e-6)


def test_what_cannot_be_judged_is_said_in_one_line(make: MakeTask) -> None:
    """A run would end in a traceback, or a table be short without a word."""
    assert SemanticSegmentation.skip(Facts("recon", rooms=True, objects=False), options()) is None
    assert SemanticSegmentation.skip(Facts("recon"), options()) == "the data set has no rooms"
    assert Linear.skip(Facts("recon", rooms=True, objects=False), Linear.Options()) == (
        "the data set has no labelled objects"
    )
    with pytest.raises(UsageError, match="has no rooms"):
        judge(make(dataset=None))


def test_the_embedded_rooms_are_judged_by_their_own_test_area(tmp_path: Path, make: MakeTask) -> None:
    """``data.test_area`` would be ignored, or the embedded rooms not fit the protocol."""
    chosen = ShapesRooms.Options(rooms_per_area=1, points_per_room=600, test_area=3)
    dataset = ShapesRooms(DataPlace(tmp_path), chosen)
    short = options(recipe=RECIPE.model_copy(update={"epochs": 1}), blocks_per_epoch=8)
    found = judge(make(dataset=dataset), short)
    assert found.notes["test_area"] == 3
    assert all(str(name).startswith("Area_3_") for name in found.predictions["ids"])
