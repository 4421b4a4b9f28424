"""Few-shot heads trained by epochs, one fold at a time.

They are trained on frozen features, or on clouds together with the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.errors import unknown_name
from bench.models.classifier import Classifier
from bench.models.heads import HeadKind, classification_head
from bench.protocols.base import Candidate, Subject, Task
from bench.protocols.dense_clouds import DenseClouds, dense_clouds
from bench.protocols.features import features_of, frozen_features, prepared_clouds
from bench.protocols.fewshot.folds import Fold, Folds
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.fewshot.scoring import Answer, Judged, Tried
from bench.protocols.selection import first_best
from bench.protocols.threads import torch_threads
from bench.protocols.trained_classifier import set_drop_path
from bench.protocols.trained_state import Notebook
from bench.recipes.downstream import released_training
from bench.recipes.row import shortened
from bench.seeds import derive, seed_torch
from bench.spec import Numerics, Recipe, content_key
from bench.store.records import Metric
from bench.training.checkpoint import deserialise, serialise, write_checkpoint
from bench.training.contract import Curves, FitResult, TrainingPlace
from bench.training.finetuning import finetune, predict
from bench.training.schedule import epochs_run

Index = npt.NDArray[np.int64]
Module = TypeVar("Module", bound=nn.Module)
OUTPUTS = 40
"""The released few-shot head keeps ModelNet40's outputs; a fold's labels are the first of them."""


@dataclass(frozen=True)
class TrainedFold:
    """A fold's classifier at the epoch that validation chose.

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
    """Settings for training the classifiers of the folds.

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
        """Whether predictions for the queries are stored after an epoch."""
        return self.ledger or epoch == epochs_run(self.recipe)


def judge_mlp(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """Train MLP-3 heads on frozen features of every candidate.

    The candidate is chosen by its mean validation accuracy over folds.
    """
    # Heads are small: train them on the CPU in float32 on one thread, so that results do not depend on the machine.
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
            task.progress(at * len(folds.test) + fold.number, total, f"heads {folds.setting.name}")
            queries = torch.from_numpy(features["test"][positions[fold.number]])
            trained[name].append(_train_mlp(features["train"], queries, fold, folds, task, how, numerics))
        answers[name] = fold_answer(trained[name], features["test"], numerics)
    task.progress(total, total, f"heads {folds.setting.name}")
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

    def corrupted(conditions: Sequence[str]) -> list[Answer]:
        candidate = subject.candidates[chosen]
        found = features_of(candidate, task, options.feature, conditions, normalise=options.normalise)
        return [fold_answer(trained[chosen], found[condition], numerics) for condition in conditions]

    curves = mean_curves(trained[chosen])
    return Judged(chosen, rows, answers, fold_notes(trained[chosen]), curves, tried, corrupted)


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
    """State, number and validation accuracy of the chosen epoch."""

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
    """Return the query predictions of every stored epoch."""
    rows = [np.stack([fold.noted[epoch] for epoch in sorted(fold.noted)]) for fold in trained]

    def answers(position: int, query: Index) -> npt.NDArray[np.integer]:
        return rows[position][:, np.searchsorted(queries[position], query)]

    return Tried(answers, last=-1, complete=complete)


def fold_answer(trained: list[TrainedFold], inputs: npt.NDArray[np.float32], numerics: Numerics) -> Answer:
    """Return a function that answers with each fold's chosen classifier.

    `inputs` are those of the test split.
    """

    def answer(position: int, query: Index) -> npt.NDArray[np.floating]:
        logits: npt.NDArray[np.floating] = predict(
            trained[position].load(), torch.from_numpy(np.array(inputs[query])), numerics
        ).numpy()
        return logits

    return answer


def eager(numerics: Numerics) -> Numerics:
    """Turn compilation off: a fold is too short to profit."""
    return numerics.model_copy(update={"compile": False})


def stream(task: Task, folds: Folds, fold: Fold, purpose: str) -> int:
    """Return the seed of one purpose in one fold."""
    return derive(task.seed, "probe", "fewshot", purpose, folds.setting.way, folds.setting.shot, fold.number)


def fresh(task: Task, folds: Folds, fold: Fold, build: Callable[[], Module]) -> Module:
    """Build a module with its initialisation seeded by the fold."""
    with torch.random.fork_rng(devices=[]):
        seed_torch(stream(task, folds, fold, "head"))
        return build()


def val_objects(folds: tuple[Fold, ...]) -> int:
    """Count the different validation objects of all folds."""
    return len(np.unique(np.concatenate([fold.val for fold in folds])))


def fold_notes(trained: list[TrainedFold]) -> dict[str, Any]:
    """Return notes on the epochs chosen in the folds."""
    return {"epochs_chosen": [t.epoch for t in trained]}


def mean_curves(trained: list[TrainedFold]) -> Curves:
    """Average every training curve over folds, as ``finetune/NAME``."""
    return {
        f"finetune/{name}": [
            (x, float(np.mean([t.curves[name][i][1] for t in trained])))
            for i, (x, _) in enumerate(trained[0].curves[name])
        ]
        for name in trained[0].curves
    }


def judge_full(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """Fine-tune encoder and head by the fair recipe, see `judge_clouds`."""
    how = How(options.full_recipe, options.normalise, ledger=task.legacy)
    return judge_clouds(subject, task, options, folds, how)


def judge_released(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """Train as the method's authors do; choose epochs on validation.

    See `judge_clouds`.
    """
    assert options.head != "svm"  # the options say so
    published = released_training("fewshot", subject.method, stage="full" if options.head == "full" else "probe")
    how = How(
        recipe=options.recipe or shortened(published.recipe, options.published_epochs),
        normalise=published.normalise,
        head="linear" if options.head == "linear" else "mlp",
        probe=options.head != "full",
        outputs=OUTPUTS,
        drop_path=published.drop_path,
        ledger=True,
    )
    judged = judge_clouds(subject, task, options, folds, how)
    judged.notes["published_recipe"] = "own" if options.recipe is not None else published.title
    judged.notes["recipe"] = how.recipe.model_dump(mode="json")
    return judged


def judge_clouds(subject: Subject, task: Task, options: FewShotOptions, folds: Folds, how: How) -> Judged:
    """Train classifiers on clouds, one fold after the other.

    Of several candidates, the one with the best validation accuracy in fold 0 is used.

    Finished folds are kept in the work folder, so that an interrupted evaluation goes on where it was.
    """
    clouds = Clouds(
        dense=dense_clouds(task, normalise=how.normalise),
        train=prepared_clouds(task, "train", normalise=how.normalise),
        test=prepared_clouds(task, "test", normalise=how.normalise),
        queries=folds.positions(task),
    )
    pilots = {
        name: _Full(subject, candidate, task, options, folds, clouds, how).train(folds.test[0])
        for name, candidate in subject.candidates.items()
    }
    chosen = first_best({name: pilot.accuracy for name, pilot in pilots.items()})
    tuner = _Full(subject, subject.candidates[chosen], task, options, folds, clouds, how)
    trained = [pilots[chosen], *(tuner.train(fold) for fold in folds.test[1:])]
    rows = [
        Metric(
            value=pilot.accuracy,
            split="val",
            variant=subject.variant(name),
            headline=name == chosen,
            fold=0,
            n_objects=len(folds.test[0].val),
        )
        for name, pilot in pilots.items()
    ]
    rows.append(
        Metric(
            value=float(np.mean([t.accuracy for t in trained])),
            split="val",
            variant=subject.variant(chosen),
            n_objects=val_objects(folds.test),
        )
    )
    answers = {chosen: fold_answer(trained, clouds.test, eager(task.numerics))}
    tried = tried_epochs(trained, clouds.queries, how.ledger)

    def corrupted(conditions: Sequence[str]) -> list[Answer]:
        seen = (prepared_clouds(task, condition, normalise=how.normalise) for condition in conditions)
        return [fold_answer(trained, inputs, eager(task.numerics)) for inputs in seen]

    return Judged(chosen, rows, answers, fold_notes(trained), mean_curves(trained), tried, corrupted)


@dataclass(frozen=True)
class Clouds:
    """Clouds on which folds are trained and judged.

    Attributes:
        dense: Training split with points to draw from.
        train: Training split as it is evaluated, for validation.
        test: Test split as it is evaluated.
        queries: Positions of each fold's queries in the test split.
    """

    dense: DenseClouds
    train: npt.NDArray[np.float32]
    test: npt.NDArray[np.float32]
    queries: list[Index]


class _Full:
    """Fine-tunes one candidate, one fold at a time."""

    def __init__(
        self,
        subject: Subject,
        candidate: Candidate,
        task: Task,
        options: FewShotOptions,
        folds: Folds,
        clouds: Clouds,
        how: How,
    ) -> None:
        self.candidate, self.task, self.options, self.folds = candidate, task, options, folds
        self.clouds, self.how = clouds, how
        self.title = f"fine-tune {folds.setting.name}" + (f" ({candidate.name})" if subject.variant("x") else "")

    def train(self, fold: Fold) -> TrainedFold:
        """Train a fold, or load it if finished earlier."""
        identity = self._identity(fold)
        folder = self.task.workdir / f"fewshot-{self.folds.setting.name}" / identity[:16]
        done = self._finished(folder / "fold.safetensors", identity, fold)
        if done is not None:
            return done
        classifier = self._classifier(fold)
        numerics = eager(self.task.numerics)
        asked = torch.from_numpy(np.array(self.clouds.test[self.clouds.queries[fold.number]]))
        notebook = Notebook(folder / "epochs", asked, weights=False)

        def note(epoch: int) -> None:
            if self.how.notes(epoch):
                notebook.note(epoch, classifier, numerics)

        result = finetune(
            classifier,
            torch.from_numpy(np.array(self.clouds.dense.points[fold.support])),
            torch.from_numpy(fold.support_labels),
            torch.from_numpy(np.array(self.clouds.train[fold.val])),
            torch.from_numpy(fold.val_labels),
            self.how.recipe,
            numerics,
            stream(self.task, self.folds, fold, "train"),
            n_points=min(self.task.points, self.clouds.dense.points.shape[1]),
            cut=self.clouds.dense.cut,
            stage=f"{self.title} fold {fold.number}",
            place=TrainingPlace(folder=folder / "unfinished", progress=self.task.progress),
            identity=identity,
            after_epoch=note,
        )
        best = selected(result)
        epochs = [epoch for epoch in range(1, epochs_run(self.how.recipe) + 1) if self.how.notes(epoch)]
        noted = {epoch: notebook.predicted(epoch) for epoch in epochs}
        header = {"identity": identity, "epoch": best.epoch, "accuracy": best.accuracy, "curves": result.curves}
        header["noted"] = {str(epoch): labels.tolist() for epoch, labels in noted.items()}
        write_checkpoint(folder / "fold.safetensors", serialise(best.state, header))
        rmtree(folder / "unfinished", ignore_errors=True)
        rmtree(folder / "epochs", ignore_errors=True)
        file = folder / "fold.safetensors"
        return TrainedFold(lambda: self._load(file, fold), best.accuracy, best.epoch, result.curves, noted)

    def _classifier(self, fold: Fold) -> Classifier:
        encoder = self.candidate.build()
        way, feature = self.folds.setting.way, self.options.feature
        if feature not in encoder.feature_dims:
            raise unknown_name("encoder feature", feature, encoder.feature_dims)
        if self.how.drop_path is not None:
            set_drop_path(encoder, self.how.drop_path)
        outputs = max(way, self.how.outputs)
        classifier = fresh(self.task, self.folds, fold, lambda: Classifier(encoder, outputs, self.how.head, feature))
        return classifier.freeze(reference=True) if self.how.probe else classifier

    def _identity(self, fold: Fold) -> str:
        return content_key(
            {
                "candidate": self.candidate.key,
                "manifest": self.task.data_manifest,
                "options": self.options.model_dump(mode="json"),
                "numerics": self.task.numerics.model_dump(mode="json"),
                "seed": self.task.seed,
                "points": self.task.points,
                "how": asdict(replace(self.how, recipe=Recipe())) | {"recipe": self.how.recipe.model_dump(mode="json")},
                "queries": self.clouds.queries[fold.number].tolist(),
                "fold": fold.number,
                "support": fold.support.tolist(),
                "val": fold.val.tolist(),
            }
        )

    def _finished(self, file: Path, identity: str, fold: Fold) -> TrainedFold | None:
        """Load a finished fold; None if missing or damaged."""
        try:
            _, header = deserialise(file.read_bytes())
        except (OSError, ValueError):
            return None
        if header.get("identity") != identity:
            return None
        curves = {name: [(float(x), float(y)) for x, y in series] for name, series in header["curves"].items()}
        noted = {int(epoch): np.asarray(labels, dtype=np.int64) for epoch, labels in header["noted"].items()}
        accuracy, epoch = float(header["accuracy"]), int(header["epoch"])
        return TrainedFold(lambda: self._load(file, fold), accuracy, epoch, curves, noted)

    def _load(self, file: Path, fold: Fold) -> nn.Module:
        classifier = self._classifier(fold)
        classifier.load_state_dict(deserialise(file.read_bytes())[0])
        return classifier
