"""One evaluation by semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.base import Dataset, Room
from bench.data.splits import split_digest
from bench.models.adaptation import trained_parameters
from bench.models.segmentation import PartSegmenter
from bench.progress import named
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.segmentation_metrics import Counts, SceneScores, confusion, scene_scores
from bench.protocols.segmentation_options import recipe_of
from bench.protocols.segmentation_training import (
    Batch,
    Trained,
    Work,
    choose_candidate,
    log_probabilities,
    metric_rows,
    train,
)
from bench.protocols.semseg.blocks import BlockSampler, Index, Points, RoomSplit, split_rooms, tile_blocks
from bench.protocols.semseg.options import SemanticSegmentationOptions
from bench.protocols.semseg.votes import label_rooms
from bench.recipes.downstream import released_segmentation
from bench.upload import upload

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.store.records import Metric

Labels = npt.NDArray[np.uint8]


def judge_rooms(subject: Subject, task: Task, dataset: Dataset, options: SemanticSegmentationOptions) -> Evaluation:
    """Train on blocks, choose on validation, score whole rooms once."""
    session = _Session(task, dataset, options)
    work = session.work(subject.architecture)
    name, pilots = choose_candidate(subject, work)
    trained = train(subject.candidates[name], work, work.recipe, final=True)
    best, last = trained.epochs
    chosen, curve = {"val": best, "last": last}, session.test_curve(trained)
    if curve:
        chosen["test"] = max(sorted(curve), key=lambda epoch: curve[epoch])
    labelled = {epoch: session.label(trained.at(epoch)) for epoch in dict.fromkeys(chosen.values())}
    truth = [np.asarray(room.labels, dtype=np.uint8) for room in session.test]
    tables = {epoch: session.tables(answers, truth) for epoch, answers in labelled.items()}
    scored = {epoch: scene_scores(table.sum(0)) for epoch, table in tables.items()}
    metrics = session.metrics(subject.variant(name), trained, chosen, scored, curve)
    for other, value in pilots.items():
        pilot = {"block_miou[pilot]": value}
        metrics += metric_rows(pilot, "val", "val", other, other == name, n_objects=len(session.val_blocks[0]))
    curves = {f"semseg/{curve_name}": series for curve_name, series in trained.curves.items()}
    if curve:
        curves["semseg/test_block_miou"] = [(float(epoch), curve[epoch]) for epoch in sorted(curve)]
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.array([room.name for room in session.test]),
        "offsets": np.cumsum([0, *(len(labels) for labels in truth)]).astype(np.int64),
        "labels": np.concatenate(truth),
        "predicted": np.concatenate(labelled[best]),
        "confusion": tables[best],
    }
    digest = split_digest(session.split.train, session.split.val, session.split.test)
    return Evaluation(metrics, predictions, curves, session.notes(name, trained), digest)


class _Session:
    """One evaluation: the prepared rooms and the training on them."""

    def __init__(self, task: Task, dataset: Dataset, options: SemanticSegmentationOptions) -> None:
        self.task, self.options = task, options
        self.ledger = task.legacy or options.form == "published"
        self.points = options.points or task.points
        self.classes = dataset.classes()
        rooms = dataset.rooms()
        area = options.validation_area
        self.split: RoomSplit = split_rooms(
            rooms, dataset.test_area, area, options.validation_fraction, task.split_seed
        )
        self.train = [rooms[i] for i in self.split.train.tolist()]
        self.val = [rooms[i] for i in self.split.val.tolist()]
        self.test = [rooms[i] for i in self.split.test.tolist()]
        self.test_area = dataset.test_area
        self.sampler = BlockSampler(self.train, self.points)
        self.val_blocks = tile_blocks(self.val, self.points, task.split_seed)

    @cached_property
    def _test_blocks(self) -> tuple[Points, Index]:
        """Tiles of the test rooms, for selection on test only."""
        return tile_blocks(self.test, self.points, self.task.split_seed)

    def draw(self, index: Tensor, generator: torch.Generator) -> Batch:
        """Draw as many blocks as `index` is long.

        Which ones depends on the generator only.
        """
        rng = np.random.Generator(np.random.PCG64(int(torch.randint(2**62, (), generator=generator))))
        drawn = [self.sampler.draw(rng) for _ in range(len(index))]
        device = torch.device(self.task.numerics.device)
        blocks, labels = (upload(torch.from_numpy(np.stack(part)), device) for part in zip(*drawn, strict=True))
        return blocks, labels, None

    def work(self, architecture: str) -> Work:
        """Return the description of the training."""
        options = self.options
        return Work(
            protocol="semseg",
            task=self.task,
            options=options,
            recipe=recipe_of(options, released_segmentation("semseg", "")),
            outputs=len(self.classes),
            categories=0,
            draw=self.draw,
            objects=options.blocks_per_epoch or max(self.sampler.total // self.points, 2),
            measure=lambda segmenter: {
                "block_miou": self._block_miou(self._label(segmenter, self.val_blocks[0]), True)
            },
            select="block_miou",
            note=self._note if self.ledger else None,
            note_weights=True,
            weights=torch.from_numpy(class_weights(self.train, len(self.classes))).to(self.task.numerics.device),
            act_head=options.form == "published" and architecture == "act",
            identity={"train": self.split.train.tolist(), "val": self.split.val.tolist()},
        )

    def _note(self, segmenter: PartSegmenter) -> dict[str, Tensor]:
        return {"predicted": torch.from_numpy(self._label(segmenter, self._test_blocks[0]))}

    def _label(self, segmenter: PartSegmenter, blocks: Points) -> Labels:
        """Predict the class of each point of blocks ``[b, N]``."""
        found = np.empty(blocks.shape[:2], dtype=np.uint8)

        def take(start: int, stop: int, labelled: Tensor) -> None:
            found[start:stop] = labelled.argmax(-1).cpu().numpy()

        log_probabilities(segmenter, blocks, None, self.task.numerics, take)
        return found

    def _block_miou(self, predicted: Labels, validation: bool) -> float:
        truth = (self.val_blocks if validation else self._test_blocks)[1]
        return scene_scores(confusion(predicted, truth, len(self.classes))).miou

    def test_curve(self, trained: Trained) -> dict[int, float]:
        """Return block mIoU on the test rooms by epoch.

        Computed from stored predictions; empty without ``--legacy``.
        """
        epochs = range(1, trained.epochs[1] + 1) if self.ledger else ()
        return {epoch: self._block_miou(trained.noted(epoch)["predicted"], False) for epoch in epochs}

    def label(self, segmenter: PartSegmenter) -> list[Labels]:
        """Predict the classes of whole test rooms."""
        options, task = self.options, self.task
        return label_rooms(
            segmenter,
            self.test,
            self.points,
            len(self.classes),
            options.votes,
            options.vote,
            task.split_seed,
            task.numerics,
            named(task.progress, "rooms"),
        )

    def tables(self, predicted: list[Labels], truth: list[Labels]) -> Counts:
        """Return the confusion matrix of each room ``[rooms, C, C]``."""
        pairs = zip(predicted, truth, strict=True)
        return np.stack([confusion(answer, labels, len(self.classes)) for answer, labels in pairs])

    def metrics(
        self,
        variant: str,
        trained: Trained,
        chosen: Mapping[str, int],
        scored: Mapping[int, SceneScores],
        curve: Mapping[int, float],
    ) -> list[Metric]:
        """Return all scores of the chosen candidate.

        Each selection rule, and the IoU of every class.
        """
        rows: list[Metric] = []
        for rule, epoch, values in zip(("val", "last"), trained.epochs, trained.validation, strict=True):
            rows += metric_rows(values, "val", rule, variant, epoch=epoch, n_objects=len(self.val_blocks[0]))
        rooms, votes = len(self.test), self.options.votes
        for rule, epoch in chosen.items():
            found = scored[epoch]
            named = {"miou": found.miou, "macc": found.macc, "oa": found.oa}
            rows += metric_rows(named, "test", rule, variant, epoch=epoch, votes=votes, n_objects=rooms)
            if curve:
                blocks = len(self._test_blocks[0])
                rows += metric_rows({"block_miou": curve[epoch]}, "test", rule, variant, epoch=epoch, n_objects=blocks)
        for label, value in scored[chosen["val"]].by_class.items():
            named, epoch = {f"iou[{self.classes[label]}]": value}, chosen["val"]
            rows += metric_rows(named, "test", "val", variant, False, epoch=epoch, votes=votes, n_objects=rooms)
        return rows

    def notes(self, name: str, trained: Trained) -> dict[str, JsonValue]:
        """Return the notes for the run's record."""
        return {
            "trained_parameters": trained_parameters(trained.load()),
            "candidate": name,
            "epoch": trained.epochs[0],
            "last_epoch": trained.epochs[1],
            "points": self.points,
            "test_area": self.test_area,
            "train_rooms": len(self.train),
            "validation_rooms": len(self.val),
            "test_rooms": len(self.test),
            "votes": self.options.votes,
        }


def class_weights(rooms: list[Room], classes: int) -> npt.NDArray[np.float32]:
    """Return class weights ``[C]``: (largest frequency / frequency)^(1/3).

    0 for a class that does not occur.
    """
    counts = np.sum([np.bincount(room.labels, minlength=classes) for room in rooms], axis=0)
    weights = np.cbrt(counts.max() / np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)
