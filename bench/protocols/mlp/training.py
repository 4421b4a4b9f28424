"""MLP-3 head on cached features, with scores of every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from bench.data.splits import carve_validation, object_groups, split_digest
from bench.models.heads import classification_head
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.features import clipped_points, features_of, frozen_features
from bench.protocols.ledger import Answers, Labels, ledger_rows, test_curve
from bench.protocols.mlp.options import MlpOptions
from bench.protocols.robustness import add_corrupted
from bench.protocols.selection import first_best
from bench.protocols.threads import torch_threads
from bench.seeds import derive, seed_torch
from bench.store.records import Metric
from bench.training.contract import Curves
from bench.training.finetuning import finetune, predict

if TYPE_CHECKING:
    from pydantic import JsonValue


Array = npt.NDArray[np.float32]


def judge_mlp_probe(subject: Subject, task: Task, options: MlpOptions) -> Evaluation:
    """Train heads, choose on validation, score test once.

    Epoch and candidate are chosen on validation.

    Raises:
        UsageError, DataError, BenchError: See `Mlp.evaluate`.
    """
    groups = object_groups(task.train.ids)
    train, val = carve_validation(task.train.labels, options.validation_fraction, task.split_seed, groups)
    heads = {}
    for at, (name, candidate) in enumerate(subject.candidates.items()):
        task.progress(at, len(subject.candidates), "mlp head")
        features = frozen_features(candidate, task, options.feature, normalise=options.normalise)
        heads[name] = _Head(task, options, train, val, features["train"], features["test"])
    task.progress(len(heads), len(heads), "mlp head")
    chosen = first_best({name: head.accuracy[0] for name, head in heads.items()})
    labels = task.test.reveal()
    metrics: list[Metric] = []
    predictions: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.array(task.test.ids),
        "labels": labels.astype(np.int32),
    }
    for name, head in heads.items():
        variant, headline = subject.variant(name), name == chosen
        metrics += head.validation_rows(variant, headline)
        metrics += ledger_rows(head.answers, labels, variant, headline)
        predicted = head.answers.of(head.answers.best).astype(np.int32)
        predictions["predicted" if headline else f"predicted.{name}"] = predicted
    best = heads[chosen]
    predictions["logits"] = best.answers.logits[best.answers.best].astype(np.float32)
    curves = {f"mlp/{name}": series for name, series in best.curves.items()}
    if task.legacy:
        curves["mlp/test_accuracy"] = test_curve(best.answers, labels)
    notes: dict[str, JsonValue] = {
        "candidate": chosen,
        "head": "mlp",
        "feature": options.feature,
        "feature_width": best.width,
        "epoch": best.answers.best,
        "last_epoch": best.answers.last,
        "validation_objects": len(val),
    }
    clipped = clipped_points(task)
    if clipped:
        notes["clipped"] = clipped
    evaluation = Evaluation(metrics, predictions, curves, notes, split_digest(train, val))

    def named(conditions: Sequence[str]) -> Sequence[Labels]:
        candidate = subject.candidates[chosen]
        found = features_of(candidate, task, options.feature, conditions, normalise=options.normalise)
        return [best.named(found[condition]) for condition in conditions]

    add_corrupted(evaluation, task, subject.variant(chosen), named)
    return evaluation


class _Head:
    """The trained head of one candidate.

    Attributes:
        width: Width of the feature.
        accuracy: Validation accuracy at the chosen and at the last epoch.
        answers: Its test predictions.
        named: Returns the classes that it names for features ``[n, F]``.
        curves: Training curves.
    """

    def __init__(self, task: Task, options: MlpOptions, train: Labels, val: Labels, seen: Array, test: Array) -> None:
        assert options.recipe is not None
        self.width = int(seen.shape[1])
        self.n_val = len(val)
        # Heads are small: train them on the CPU in float32 on one thread, so that results do not depend on the machine.
        numerics = task.numerics.model_copy(update={"device": "cpu", "precision": "fp32", "compile": False})
        inputs, asked = _standardised(seen, train), _standardised(seen, train, test)
        labels = torch.from_numpy(task.train.labels)
        predicted: dict[int, Labels] = {}
        with torch_threads(1):
            with torch.random.fork_rng(devices=[]):
                seed_torch(derive(task.seed, "probe", "mlp", "head"))
                head = classification_head("mlp", self.width, len(task.train.classes))

            def note(epoch: int) -> None:
                if task.legacy:
                    predicted[epoch] = predict(head, asked, numerics).argmax(1).numpy()

            result = finetune(
                head,
                inputs[train],
                labels[train],
                inputs[val],
                labels[val],
                options.recipe,
                numerics,
                derive(task.seed, "probe", "mlp", "train"),
                stage="mlp head",
                after_epoch=note,
            )
            assert result.best is not None  # there is a validation part
            best, last = result.best.epoch, len(result.curves["val_accuracy"])
            logits = {last: predict(head, asked, numerics).numpy()}
            head.load_state_dict(result.best.state)
            logits[best] = predict(head, asked, numerics).numpy()

        def named(features: Array) -> Labels:
            with torch_threads(1):
                found: Labels = predict(head, _standardised(seen, train, features), numerics).argmax(1).numpy()
            return found

        self.named = named
        self.curves: Curves = result.curves
        self.accuracy = (float(result.best.metrics["accuracy"]), float(result.curves["val_accuracy"][-1][1]))
        self.answers = Answers(best, last, logits, predicted)

    def validation_rows(self, variant: str, headline: bool) -> list[Metric]:
        """Return validation accuracy at the chosen and last epoch."""
        found = zip(("val", "last"), (self.answers.best, self.answers.last), self.accuracy, strict=True)
        return [
            Metric.model_validate(
                {"value": value, "split": "val", "selection": rule, "variant": variant, "headline": headline}
                | {"epoch": epoch, "n_objects": self.n_val}
            )
            for rule, epoch, value in found
        ]


def _standardised(features: Array, train: Labels, query: Array | None = None) -> torch.Tensor:
    """Standardise features by the training part.

    `query` are the features to standardise, if not the same.
    """
    known = np.asarray(features[train], dtype=np.float64)
    deviation = known.std(0)
    mean = known.mean(0)
    scale = np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12), deviation, 1.0)
    wanted = np.asarray(features if query is None else query, dtype=np.float64)
    return torch.from_numpy(((wanted - mean) / scale).astype(np.float32))
