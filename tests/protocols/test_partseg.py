"""Part segmentation on balls and rods whose halves are their parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bench.data.base import CloudSet
from bench.errors import UsageError
from bench.methods.crosspoint import CrossPoint
from bench.models.dgcnn import DGCNN
from bench.models.encoder import Encoder
from bench.models.grouping import Sampling
from bench.models.segmentation import PartSegmenter
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.protocols.base import Candidate, Evaluation, Facts, HeldOut, Subject, Task
from bench.protocols.partseg import PartSegmentation
from bench.protocols.partseg.clouds import PartTable, limit_objects
from bench.protocols.segmentation_metrics import VOID, part_scores
from bench.protocols.segmentation_options import HeadSizes
from bench.protocols.segmentation_training import SegmentationObjective, in_head_group, point_loss
from bench.spec import BackboneSpec, Recipe
from bench.training.contract import TrainingPlace
from bench.training.loop import Loop

from .conftest import NUMERICS, MomentEncoder, values

SMALL = BackboneSpec(points=32, groups=8, group_size=6, width=12, depth=2, heads=2, tokenizer_width=8, drop_path=0.0)
HEAD = HeadSizes(hidden=24, propagated=24, category=4, mixed=24, narrow=12)
RECIPE = Recipe(epochs=6, batch_size=8, lr=1e-2, warmup_epochs=1, clip_norm=10.0, augmentation=("isotropic_scale",))
PARTS = {0: (3, 7), 1: (10, 12)}
"""Ids of the lower and the upper half of a ball and of a rod."""


def objects(each: int, seed: int, points: int = 48, clutter: int = 0) -> CloudSet:
    """Balls and rods; a part is what lies above or below the middle; `clutter` points belong to none."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(2, dtype=np.int64), each)
    clouds = rng.normal(size=(len(labels), points, 3))
    clouds /= np.linalg.norm(clouds, axis=-1, keepdims=True)
    clouds[labels == 1] *= np.array([0.2, 1.0, 0.2])
    upper = clouds[..., 1] > 0
    ids = np.array([PARTS[label] for label in labels.tolist()])
    parts = np.where(upper, ids[:, 1:], ids[:, :1]).astype(np.int64)
    parts[:, :clutter] = -1
    names = tuple(f"thing-{seed}-{i}" for i in range(len(labels)))
    return CloudSet(clouds.astype(np.float32), labels, names, ("ball", "rod"), parts=parts)


def options(**changes: object) -> PartSegmentation.Options:
    return PartSegmentation.Options.model_validate({"head": HEAD, "recipe": RECIPE, "dropout": 0.0, **changes})


def encoder(kind: type[StandardEncoder] | type[TwoStreamEncoder] = StandardEncoder, seed: int = 1) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(SMALL, Sampling())


def subject(*names: str) -> Subject:
    found = {name: Candidate(name, partial(encoder, seed=i), f"key-{i}") for i, name in enumerate(names or ("",))}
    return Subject("toy", "toy", found)


MakeTask = Callable[..., Task]


@pytest.fixture
def make(tmp_path: Path) -> MakeTask:
    def task(folder: str = "w", test: CloudSet | None = None, **changes: object) -> Task:
        given = {
            "train": objects(16, 1),
            "data_manifest": "toy",
            "split_seed": 0,
            "seed": 0,
            "device": "cpu",
            "numerics": NUMERICS,
            "cache": tmp_path / "cache",
            "workdir": tmp_path / folder,
            "points": 32,
        }
        return Task(test=HeldOut(test or objects(6, 2)), **{**given, **changes})  # type: ignore[arg-type]

    return task


def judge(task: Task, chosen: PartSegmentation.Options | None = None, judged: Subject | None = None) -> Evaluation:
    return PartSegmentation.evaluate(judged or subject(), task, "all", chosen or options())


def whole(found: Evaluation, name: str) -> npt.NDArray[np.int64]:
    """A stored array of whole numbers."""
    return np.asarray(found.predictions[name], dtype=np.int64)


def test_it_learns(make: MakeTask) -> None:
    """Scores would say nothing about what an encoder knows."""
    found = judge(make())
    loss = [value for _, value in found.curves["partseg/total"]]
    assert loss[-1] < 0.6 * loss[0]
    truth, labels = whole(found, "parts"), whole(found, "labels")
    majority = np.where(labels[:, None] == 0, 3, 10) * np.ones_like(truth)
    numbers = PartTable(np.array([3, 7, 10, 12]), np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool))
    blind = part_scores(numbers.number(majority), numbers.number(truth), labels, numbers.allowed).instance_miou
    (score,) = values(found.metrics, name="instance_miou", split="test", selection="val")
    assert score > blind + 0.3


def test_any_figure_can_be_made_again_from_what_is_stored(make: MakeTask) -> None:
    """Nobody could check a figure, or compute another one, without training again."""
    task = make(test=objects(6, 2, clutter=5))
    found = judge(task)
    stored = found.predictions
    assert stored["ids"].tolist() == list(task.test.ids)
    assert stored["predicted_parts"].shape == stored["parts"].shape == (12, 32)
    assert stored["predicted_parts"].dtype == np.int16
    table = PartTable(np.array([3, 7, 10, 12]), np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool))
    predicted, truth = whole(found, "predicted_parts"), whole(found, "parts")
    again = part_scores(table.number(predicted), table.number(truth), whole(found, "labels"), table.allowed)
    assert values(found.metrics, name="instance_miou", split="test", selection="val") == [again.instance_miou]
    assert values(found.metrics, name="class_miou", split="test", selection="val") == [again.class_miou]
    assert values(found.metrics, name="iou[rod]") == [again.by_category[1]]
    np.testing.assert_allclose(np.asarray(stored["instance_iou"], float), again.instances, rtol=1e-6)
    assert (stored["parts"] == -1).any()


def test_only_parts_of_the_category_are_answered(make: MakeTask) -> None:
    """A rod could be given parts of a ball, which the published measure rules out."""
    untrained = options(recipe=RECIPE.model_copy(update={"epochs": 1, "lr": 1e-9, "warmup_epochs": 0}))
    stored = judge(make(), untrained).predictions
    for category, ids in PARTS.items():
        answered = set(np.unique(stored["predicted_parts"][stored["labels"] == category]).tolist())
        assert answered <= set(ids)


def test_every_selection_rule_is_stored_and_the_test_split_read_once(make: MakeTask) -> None:
    """The inflation by choosing on test could not be measured, or the headline itself would have looked."""
    plain, ledger = make("a"), make("b", legacy=True)
    first, second = judge(plain), judge(ledger)
    assert plain.test.revealed == ledger.test.revealed == 1
    rules = {(m.split, m.selection) for m in first.metrics if m.name == "instance_miou"}
    assert rules == {("val", "val"), ("val", "last"), ("test", "val"), ("test", "last")}
    where = {"name": "instance_miou", "split": "test"}
    assert values(first.metrics, selection="val", **where) == values(second.metrics, selection="val", **where)
    (best,) = values(second.metrics, selection="test", **where)
    curve = [value for _, value in second.curves["partseg/test_instance_miou"]]
    assert len(curve) == RECIPE.epochs
    assert best == max(curve)
    assert values(second.metrics, selection="last", **where) == [curve[-1]]
    chosen = next(m for m in second.metrics if m.name == "instance_miou" and m.split == "test" and m.selection == "val")
    assert chosen.epoch is not None
    assert chosen.value == curve[chosen.epoch - 1]


def test_the_same_task_gives_the_same_numbers_and_finished_work_is_not_repeated(make: MakeTask) -> None:
    """Reruns would differ, or an interrupted evaluation train from the start again."""
    first = judge(make("a"))
    assert judge(make("b")).metrics == first.metrics
    stages: list[str] = []
    again = judge(make("a", progress=lambda done, total, what="", note="": stages.append(what)))
    assert again.metrics == first.metrics
    assert "partseg" not in stages


def test_validation_chooses_among_candidates_by_short_trainings(make: MakeTask) -> None:
    """The untrained network would be judged by a start that nobody would choose."""
    found = judge(make(), judged=subject("one", "two"))
    pilots = {m.variant: m for m in found.metrics if m.name == "instance_miou[pilot]"}
    assert set(pilots) == {"one", "two"}
    assert found.notes["candidate"] == max(pilots.values(), key=lambda m: m.value).variant
    assert {m.variant for m in found.metrics if m.split == "test"} == {found.notes["candidate"]}
    assert [m.headline for m in pilots.values()].count(True) == 1


def test_two_steps_per_iteration_are_taken_under_reference_only(make: MakeTask) -> None:
    """A defect of the releases would be the default, or could not be restored."""
    model = PartSegmenter(encoder(), 4, 0, 0.0)

    def draw(index: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, None]:
        return torch.rand(len(index), 32, 3, generator=generator), torch.zeros(len(index), 32, dtype=torch.int64), None

    for double in (False, True):
        objective = SegmentationObjective(model, draw, lambda points, _: points, None, double)
        loop = Loop(objective, 8, RECIPE, NUMERICS, 0, "toy", TrainingPlace())
        loop.set_up(lambda name, parameter: True, None, "")
        loop.step(torch.arange(8), True)
        steps = {int(state["step"]) for state in loop.optimiser.state.values()}
        assert steps == {2 if double else 1}
    short = RECIPE.model_copy(update={"epochs": 2})
    once, twice = (judge(make(str(r)), options(recipe=short, reference=r)) for r in (False, True))
    assert once.curves["partseg/total"] != twice.curves["partseg/total"]


def test_loss_counts_labelled_points_only() -> None:
    """Clutter would be learnt as the last part, or a batch of clutter end training with NaN."""
    scores = torch.log_softmax(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), -1)
    labels = torch.tensor([[0, 1, VOID], [VOID, VOID, 3]])
    by_hand = -(scores[0, 0, 0] + scores[0, 1, 1] + scores[1, 2, 3]) / 3
    torch.testing.assert_close(point_loss(scores, labels), by_hand)
    weights = torch.tensor([1.0, 2.0, 5.0, 3.0])
    weighted = -(scores[0, 0, 0] + 2 * scores[0, 1, 1] + 3 * scores[1, 2, 3]) / 6
    torch.testing.assert_close(point_loss(scores, labels, weights), weighted)
    assert point_loss(scores, torch.full((2, 3), VOID)) == 0


def test_published_recipes_and_sizes_are_the_released_ones() -> None:
    """The published form would be somebody's guess."""
    chosen = PartSegmentation.defaults("base", "published")
    assert (chosen.points, chosen.groups, chosen.group_size, chosen.recipe) == (2048, 128, 32, None)
    assert chosen.head == HeadSizes(hidden=None, propagated=1024, category=64, mixed=512, narrow=256)
    from bench.protocols.segmentation_options import recipe_of
    from bench.recipes.downstream import released_segmentation

    mae, recon = (released_segmentation("partseg", method) for method in ("point-mae", "recon"))
    scene = released_segmentation("semseg", "act")
    assert mae.reference_schedule == recon.reference_schedule == scene.reference_schedule == "late"
    assert (mae.lr, mae.epochs, mae.batch_size, mae.head_lr_scale, mae.clip_norm) == (2e-4, 300, 16, 1.0, 10.0)
    assert (recon.lr, recon.head_lr_scale) == (1e-4, 10.0)
    assert (scene.lr, scene.epochs, scene.batch_size, scene.warmup_epochs) == (2e-4, 60, 32, 10)
    assert recipe_of(PartSegmentation.defaults("nano", "published"), recon).epochs == 8
    names = [name for name, _ in PartSegmenter(encoder(TwoStreamEncoder), 4, 2).named_parameters()]
    fast = {name.rpartition(".")[0] for name in names if in_head_group(name)}
    linear = ("propagation.first", "propagation.second", "mix", "narrow", "out", "category.embed", "category.norm")
    assert fast == {f"head.{name}" for name in linear}


def test_published_form_runs_and_forms_do_not_mix(make: MakeTask) -> None:
    """An option of one form would be ignored in silence under the other."""
    released = PartSegmentation.Options.model_validate(
        {"head": HEAD, "form": "published", "published_epochs": 2, "recipe": None}
    )
    found = judge(make(form="published"), released)
    assert any(m.selection == "test" for m in found.metrics)
    with pytest.raises(UsageError, match="use --form published"):
        judge(make(), released)
    with pytest.raises(ValueError, match="published_epochs shortens the authors' recipe"):
        PartSegmentation.Options(published_epochs=3)


def test_what_cannot_be_judged_is_said_in_one_line(make: MakeTask) -> None:
    """A run would end in a traceback, or a table be short without a word."""
    assert PartSegmentation.skip(Facts("recon", parts=True), options()) is None
    assert PartSegmentation.skip(Facts("recon"), options()) == "the data set has no part labels"
    assert PartSegmentation.skip(Facts("recon", objects=False), options()) == "the data set has no labelled objects"
    bare = Subject("toy", "toy", {"": Candidate("", MomentEncoder, "k")})
    with pytest.raises(UsageError, match="does not return patch tokens of its inner blocks"):
        judge(make(), judged=bare)
    blank = objects(6, 3)
    with pytest.raises(UsageError, match="has no part labels"):
        judge(make(train=CloudSet(blank.points, blank.labels, blank.ids, blank.classes)))


def test_numbering_parts_keeps_clutter_and_unknown_apart() -> None:
    """Sparse ids would need a label each; a part unseen in training would be taken for another."""
    table = PartTable(np.array([3, 7, 12]), np.ones((1, 3), dtype=bool))
    stored = np.array([[3, 7, 12, -1, 9, 99]])
    assert table.number(stored).tolist() == [[0, 1, 2, VOID, 3, 3]]
    assert table.restore(np.array([0, 1, 2, VOID])).tolist() == [3, 7, 12, VOID]


def test_limiting_objects_is_the_same_for_every_method_and_nested() -> None:
    """Methods would train on different objects, or more data not contain the less."""
    labels = np.repeat(np.arange(3), (9, 2, 5))
    few, more = limit_objects(labels, 2, 0), limit_objects(labels, 4, 0)
    assert np.bincount(labels[more]).tolist() == [4, 2, 4]
    assert set(few.tolist()) <= set(more.tolist())
    assert limit_objects(labels, None, 0).tolist() == list(range(16))


@pytest.mark.parametrize("backbone", ["dgcnn", "pointnet"])
def test_networks_on_points_label_them_without_patches(backbone: str) -> None:
    """CrossPoint's published backbone could not be judged on parts."""
    chosen = CrossPoint.Options.model_validate({"backbone": backbone, "neighbours": 4, "embedding": 16})
    net = CrossPoint.build_encoder(SMALL, chosen).eval()
    segmenter = PartSegmenter(net, 3, 2).eval()
    points = torch.rand(2, 20, 3, generator=torch.Generator().manual_seed(0))
    outputs = net.block_outputs(points, [0])
    assert outputs.centres is points
    direct = segmenter.head(points, outputs, torch.tensor([0, 1]))
    # Interpolating between points that are their own centres gives each point its own token.
    outputs.centres = points.clone()
    torch.testing.assert_close(direct, segmenter.head(points, outputs, torch.tensor([0, 1])), atol=1e-4, rtol=1e-4)
    assert isinstance(net, DGCNN) == (backbone == "dgcnn")


def test_a_denser_sample_than_the_clouds_hold_is_told(make: MakeTask) -> None:
    """Every step would see the same points while the card promises a draw from 1.2 times as many."""
    short = options(recipe=RECIPE.model_copy(update={"epochs": 1, "warmup_epochs": 0}))
    thin = make(train=objects(16, 1, points=36), test=objects(6, 2, points=36))
    assert judge(thin, short).notes["clipped"] == "39 points wanted to draw from, the clouds have 36: all are used"
    assert "clipped" not in judge(make("dense"), short).notes
