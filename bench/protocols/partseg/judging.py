"""One evaluation by part segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.splits import carve_validation, object_groups, split_digest
from bench.models.adaptation import trained_parameters
from bench.models.segmentation import PartSegmenter
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.partseg.clouds import FixedClouds, Index, Parts, PartTable, fixed_clouds, limit_objects, part_table
from bench.protocols.partseg.options import PartSegmentationOptions
from bench.protocols.segmentation_metrics import VOID, PartScores, part_scores
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
from bench.recipes.downstream import released_segmentation
from bench.upload import upload

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.store.records import Metric

OVERSAMPLING = 1.2
"""Training clouds keep this many times the points that are labelled; each step draws from them."""


def judge_parts(subject: Subject, task: Task, options: PartSegmentationOptions) -> Evaluation:
    """Train a segmenter, choose on validation, score test once."""
    session = _Session(task, options, part_table(task))
    work = session.work(subject.architecture)
    name, pilots = choose_candidate(subject, work)
    trained = train(subject.candidates[name], work, work.recipe, final=True)
    best, last = trained.epochs
    noted = {epoch: trained.noted(epoch)["predicted"] for epoch in range(1, last + 1)} if session.ledger else {}
    predicted = noted | {e: session.predict(trained.at(e), session.test) for e in dict.fromkeys((best, last))}
    parts = session.test.clouds.of(task.test.reveal_parts())
    truth = session.table.number(parts)
    scored = {epoch: session.scores(answer, truth, session.test) for epoch, answer in predicted.items()}
    metrics = session.metrics(subject.variant(name), trained, scored, bool(noted))
    for other, value in pilots.items():
        pilot = {"instance_miou[pilot]": value}
        metrics += metric_rows(pilot, "val", "val", other, other == name, n_objects=len(session.val_index))
    curves = {f"partseg/{curve}": series for curve, series in trained.curves.items()}
    if noted:
        curves["partseg/test_instance_miou"] = [(float(e), scored[e].instance_miou) for e in sorted(noted)]
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.array(task.test.ids),
        "labels": session.test.category.astype(np.int32),
        "parts": parts.astype(np.int16),
        "predicted_parts": session.table.restore(predicted[best]),
        "instance_iou": scored[best].instances.astype(np.float32),
    }
    digest = split_digest(session.train_index, session.val_index)
    return Evaluation(metrics, predictions, curves, session.notes(name, trained), digest)


@dataclass(frozen=True)
class _Objects:
    """Objects to segment: clouds, and the category of each ``[n]``."""

    clouds: FixedClouds
    category: Index


class _Session:
    """One evaluation: the prepared data and the training on it."""

    def __init__(self, task: Task, options: PartSegmentationOptions, table: PartTable) -> None:
        self.task, self.options, self.table = task, options, table
        self.ledger = task.legacy or options.form == "published"
        available = min(task.train.points.shape[1], task.test.points.shape[1])
        self.wanted = options.points or task.points
        self.points = min(self.wanted, available)
        labels = task.train.labels
        kept = limit_objects(labels, options.objects_per_category, task.split_seed)
        groups = object_groups([task.train.ids[i] for i in kept])
        train_at, val_at = carve_validation(labels[kept], options.validation_fraction, task.split_seed, groups)
        self.train_index, self.val_index = kept[train_at], kept[val_at]
        self.wanted_dense = 0 if options.form == "published" else int(np.ceil(OVERSAMPLING * self.points))
        dense = self.wanted_dense or task.train.points.shape[1]
        assert task.train.parts is not None
        self.train = _Objects(self._clouds("train", self.train_index, dense), labels[self.train_index])
        self.val = _Objects(self._clouds("train", self.val_index, self.points), labels[self.val_index])
        self.test = _Objects(self._clouds("test", None, self.points), task.test.categories())
        self.val_truth = table.number(self.val.clouds.of(task.train.parts[self.val_index]))
        device = torch.device(task.numerics.device)
        parts = table.number(self.train.clouds.of(task.train.parts[self.train_index]))
        # Parts that no training object shows cannot be learnt.
        parts = np.where(parts == len(table), VOID, parts)
        self._points = torch.from_numpy(self.train.clouds.points).to(device)
        self._parts = torch.from_numpy(parts.astype(np.int64)).to(device)
        self._category = torch.from_numpy(self.train.category).to(device)
        self._allowed = torch.from_numpy(table.allowed).to(device)

    def _clouds(self, split: Literal["train", "test"], rows: Index | None, count: int) -> FixedClouds:
        return fixed_clouds(self.task, split, rows, count, normalise=self.options.normalise)

    def draw(self, index: Tensor, generator: torch.Generator) -> Batch:
        """Return a training batch with points drawn anew.

        With replacement in the published form only.
        """
        batch, available = len(index), self._points.shape[1]
        if self.options.form == "published":
            picks = torch.randint(available, (batch, self.points), generator=generator)
        else:
            picks = torch.rand((batch, available), generator=generator).argsort(1)[:, : self.points]
        index, picks = upload(index, self._points.device), upload(picks, self._points.device)
        points = self._points[index].gather(1, picks[..., None].expand(-1, -1, 3))
        return points, self._parts[index].gather(1, picks), self._category[index]

    def work(self, architecture: str) -> Work:
        """Return the description of the training."""
        published = self.options.form == "published"
        return Work(
            protocol="partseg",
            task=self.task,
            options=self.options,
            recipe=recipe_of(self.options, released_segmentation("partseg", architecture if published else "")),
            outputs=len(self.table),
            categories=len(self.table.allowed),
            draw=self.draw,
            objects=len(self.train_index),
            measure=self._measure,
            select="instance_miou",
            note=self._note if self.ledger else None,
            note_weights=False,
            weights=None,
            act_head=published and architecture == "act",
            identity={"train": self.train_index.tolist(), "parts": self.table.ids.tolist()},
        )

    def _measure(self, segmenter: PartSegmenter) -> dict[str, float]:
        return _named(self.scores(self.predict(segmenter, self.val), self.val_truth, self.val))

    def _note(self, segmenter: PartSegmenter) -> dict[str, Tensor]:
        return {"predicted": torch.from_numpy(self.predict(segmenter, self.test))}

    def predict(self, segmenter: PartSegmenter, objects: _Objects) -> Parts:
        """Predict the part of each point ``[n, N]``.

        Only parts of the object's category may be named.
        """
        found = np.empty(objects.clouds.points.shape[:2], dtype=np.int16)
        numerics = self.task.numerics

        def take(start: int, stop: int, labelled: Tensor) -> None:
            told = torch.from_numpy(objects.category[start:stop]).to(labelled.device)
            masked = labelled.masked_fill(~self._allowed[told][:, None], -torch.inf)
            found[start:stop] = masked.argmax(-1).cpu().numpy()

        log_probabilities(segmenter, objects.clouds.points, objects.category, numerics, take)
        return found

    def scores(self, predicted: Parts, truth: Parts, objects: _Objects) -> PartScores:
        """Score predicted parts."""
        return part_scores(predicted, truth, objects.category, self.table.allowed)

    def metrics(self, variant: str, trained: Trained, scored: dict[int, PartScores], noted: bool) -> list[Metric]:
        """Return all scores of the chosen candidate.

        Each selection rule on both splits, and the IoU of every category.
        """
        best, last = trained.epochs
        rows: list[Metric] = []
        for rule, epoch, values in zip(("val", "last"), trained.epochs, trained.validation, strict=True):
            rows += metric_rows(values, "val", rule, variant, epoch=epoch, n_objects=len(self.val_index))
        chosen = {"val": best, "last": last}
        if noted:
            chosen["test"] = max(sorted(scored), key=lambda epoch: scored[epoch].instance_miou)
        for rule, epoch in chosen.items():
            rows += metric_rows(
                _named(scored[epoch]), "test", rule, variant, epoch=epoch, n_objects=len(self.task.test)
            )
        for category, value in scored[best].by_category.items():
            count = int((self.test.category == category).sum())
            named = {f"iou[{self.task.train.classes[category]}]": value}
            rows += metric_rows(named, "test", "val", variant, False, epoch=best, n_objects=count)
        return rows

    def notes(self, name: str, trained: Trained) -> dict[str, JsonValue]:
        """Return the notes for the run's record."""
        notes: dict[str, JsonValue] = {
            "trained_parameters": trained_parameters(trained.load()),
            "candidate": name,
            "epoch": trained.epochs[0],
            "last_epoch": trained.epochs[1],
            "points": self.points,
            "parts": len(self.table),
            "train_objects": len(self.train_index),
            "validation_objects": len(self.val_index),
        }
        if self.points < self.wanted:
            notes["clipped"] = f"{self.wanted} points wanted, the clouds have {self.points}: all are used"
        elif self._points.shape[1] < self.wanted_dense:
            held = self._points.shape[1]
            notes["clipped"] = f"{self.wanted_dense} points wanted to draw from, the clouds have {held}: all are used"
        return notes


def _named(scores: PartScores) -> dict[str, float]:
    return {
        "instance_miou": scores.instance_miou,
        "class_miou": scores.class_miou,
        "point_accuracy": scores.point_accuracy,
    }
