"""Few-shot evaluation by training, fold by fold: MLP-3 on frozen features, and what all trained heads share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.models.heads import HeadKind, classification_head
from bench.protocols.base import Subject, Task
from bench.protocols.features import frozen_features
from bench.protocols.fewshot.folds import Fold, Folds
from bench.protocols.fewshot.frozen import Answer, Judged, Tried
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.selection import first_best
from bench.protocols.threads import torch_threads
from bench.seeds import derive
from bench.spec import Numerics, Recipe
from bench.store.records import Metric
from bench.training.contract import Curves, FitResult
from bench.training.finetuning import finetune, predict
from bench.training.schedule import epochs_run

Index = npt.NDArray[np.int64]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class TrainedFold:
    """A fold's classifier at the epoch validation chose.

    Attributes:
        load: Returns the classifier.
        accuracy: Validation accuracy at that epoch.
        epoch: The epoch, counted from 1.
        curves: Training curves.
        noted: Class ``[q]`` of the fold's queries, in ascending order of position, after each epoch noted down.
    """

    load: Callable[[], nn.Module]
    accuracy: float
    epoch: int
    curves: Curves
    noted: dict[int, Index]


@dataclass(frozen=True)
class How:
    """Training of the folds' classifiers on clouds.

    Attributes:
        recipe: Recipe.
        normalise: Centre each cloud and scale it into the unit sphere first.
        head: Kind of head.
        probe: Train head, class token and its position only, as the released probes do.
        outputs: Least number of logits; 0 for one per class of the fold.
        drop_path: Largest rate of stochastic depth; None leaves the encoder's own.
        ledger: Whether every epoch's answers are noted down, not only the last one's.
    """

    recipe: Recipe
    normalise: bool
    head: HeadKind = "mlp"
    probe: bool = False
    outputs: int = 0
    drop_path: float | None = None
    ledger: bool = False

    def notes(self, epoch: int) -> bool:
        """Whether an epoch is noted down."""
        return self.ledger or epoch == epochs_run(self.recipe)


def judge_mlp(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """MLP-3 on frozen features of every candidate; the candidate is chosen by the mean over folds."""
    # Heads are trained on the CPU in float32 and on one thread: they are small, and add no noise of the machine.
    numerics = task.numerics.model_copy(update={"device": "cpu", "precision": "fp32", "compile": False})
    how = How(options.mlp_recipe, options.normalise, ledger=task.legacy)
    positions = folds.positions(task)
    trained: dict[str, list[TrainedFold]] = {}
    answers: dict[str, Answer] = {}
    total = len(subject.candidates) * len(folds.test)
    for at, (name, candidate) in enumerate(subject.candidates.items()):
        features = frozen_features(candidate, task, options.feature, normalise=options.normalise)
        trained[name] = []
        for fold in folds.test:
            task.progress(f"heads {folds.setting.name}", at * len(folds.test) + fold.number, total)
            queries = torch.from_numpy(features["test"][positions[fold.number]])
            trained[name].append(_train_mlp(features["train"], queries, fold, folds, task, how, numerics))
        answers[name] = fold_answer(trained[name], features["test"], numerics)
    task.progress(f"heads {folds.setting.name}", total, total)
    accuracy = {name: float(np.mean([t.accuracy for t in items])) for name, items in trained.items()}
    chosen = first_best(accuracy)
    rows = [
        Metric(
            value=value,
            split="val",
            variant=subject.variant(name),
            headline=name == chosen,
            n_objects=val_objects(folds.test),
        )
        for name, value in accuracy.items()
    ]
    tried = tried_epochs(trained[chosen], positions, task.legacy)
    return Judged(chosen, rows, answers, fold_notes(trained[chosen]), mean_curves(trained[chosen]), tried)


def _train_mlp(
    features: npt.NDArray[np.float32],
    queries: Tensor,
    fold: Fold,
    folds: Folds,
    task: Task,
    how: How,
    numerics: Numerics,
) -> TrainedFold:
    noted: dict[int, Index] = {}

    def note(epoch: int) -> None:
        if how.notes(epoch):
            noted[epoch] = predict(head, queries, numerics).argmax(1).numpy()

    head = fresh(task, folds, fold, lambda: classification_head("mlp", features.shape[1], folds.setting.way))
    with torch_threads(1):
        result = finetune(
            head,
            torch.from_numpy(features[fold.support]),
            torch.from_numpy(fold.support_labels),
            torch.from_numpy(features[fold.val]),
            torch.from_numpy(fold.val_labels),
            how.recipe,
            numerics,
            stream(task, folds, fold, "train"),
            stage=f"head, fold {fold.number}",
            after_epoch=note,
        )
    return _at_best(head, result, noted)


@dataclass(frozen=True)
class BestEpoch:
    """State, number and validation accuracy of the epoch validation chose."""

    state: dict[str, Tensor]
    epoch: int
    accuracy: float


def selected(result: FitResult) -> BestEpoch:
    """Return the epoch that validation chose."""
    if result.best is None:
        raise AssertionError("fine-tuning with a validation part always selects an epoch")
    return BestEpoch(result.best.state, result.best.epoch, float(result.best.metrics["accuracy"]))


def _at_best(module: nn.Module, result: FitResult, noted: dict[int, Index]) -> TrainedFold:
    best = selected(result)
    module.load_state_dict(best.state)
    return TrainedFold(lambda: module, best.accuracy, best.epoch, result.curves, noted)


def tried_epochs(trained: list[TrainedFold], queries: list[Index], complete: bool) -> Tried:
    """Return the predictions of every noted epoch for the queries."""
    rows = [np.stack([fold.noted[epoch] for epoch in sorted(fold.noted)]) for fold in trained]

    def answers(position: int, query: Index) -> npt.NDArray[np.integer]:
        return rows[position][:, np.searchsorted(queries[position], query)]

    return Tried(answers, last=-1, complete=complete)


def fold_answer(trained: list[TrainedFold], inputs: npt.NDArray[np.float32], numerics: Numerics) -> Answer:
    """Answer with each fold's classifier at the epoch validation chose; `inputs` are those of the test split."""

    def answer(position: int, query: Index) -> npt.NDArray[np.floating]:
        logits: npt.NDArray[np.floating] = predict(
            trained[position].load(), torch.from_numpy(np.array(inputs[query])), numerics
        ).numpy()
        return logits

    return answer


def eager(numerics: Numerics) -> Numerics:
    """A fold is over before a compiler has paid for itself."""
    return numerics.model_copy(update={"compile": False})


def stream(task: Task, folds: Folds, fold: Fold, purpose: str) -> int:
    """Seed of a fold's own stream."""
    return derive(task.seed, "probe", "fewshot", purpose, folds.setting.way, folds.setting.shot, fold.number)


def fresh(task: Task, folds: Folds, fold: Fold, build: Callable[[], Module]) -> Module:
    """Build a module with its initialisation drawn from the probe stream of the fold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(task, folds, fold, "head"))
        return build()


def val_objects(folds: tuple[Fold, ...]) -> int:
    """Validation objects of all folds together."""
    return len(np.unique(np.concatenate([fold.val for fold in folds])))


def fold_notes(trained: list[TrainedFold]) -> dict[str, Any]:
    """Return the notes of a record on trained folds."""
    return {"epochs_chosen": [t.epoch for t in trained]}


def mean_curves(trained: list[TrainedFold]) -> Curves:
    """Mean over folds of every curve, as ``finetune/NAME``."""
    return {
        f"finetune/{name}": [
            (x, float(np.mean([t.curves[name][i][1] for t in trained])))
            for i, (x, _) in enumerate(trained[0].curves[name])
        ]
        for name in trained[0].curves
    }
