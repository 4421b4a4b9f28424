"""Few-shot evaluation by training on clouds, fold by fold: full fine-tuning, and the releases' own training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bench.errors import unknown_name
from bench.models.classifier import Classifier
from bench.protocols.base import Candidate, Subject, Task
from bench.protocols.dense_clouds import DenseClouds, dense_clouds
from bench.protocols.features import prepared_clouds
from bench.protocols.fewshot.folds import Fold, Folds
from bench.protocols.fewshot.frozen import Judged
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.fewshot.training import (
    How,
    TrainedFold,
    eager,
    fold_answer,
    fold_notes,
    fresh,
    mean_curves,
    selected,
    stream,
    tried_epochs,
    val_objects,
)
from bench.protocols.selection import first_best
from bench.protocols.trained_classifier import set_drop_path
from bench.protocols.trained_state import Notebook
from bench.recipes.downstream import released_training
from bench.recipes.row import shortened
from bench.spec import Recipe, content_key
from bench.store.records import Metric
from bench.training.checkpoint import deserialise, serialise, write_checkpoint
from bench.training.contract import TrainingPlace
from bench.training.finetuning import finetune
from bench.training.progress import ProgressEvent
from bench.training.schedule import epochs_run

Index = npt.NDArray[np.int64]
OUTPUTS = 40
"""The released few-shot head keeps ModelNet40's outputs; a fold's labels are the first of them."""


def judge_full(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """Fine-tune encoder and head by the fair recipe, see `judge_clouds`."""
    how = How(options.full_recipe, options.normalise, ledger=task.legacy)
    return judge_clouds(subject, task, options, folds, how)


def judge_released(subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
    """Train as the method's authors do; the epoch is still chosen on validation, see `judge_clouds`."""
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
    """Train classifiers on clouds; of several candidates fold 0 chooses one by its validation accuracy.

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
    return Judged(chosen, rows, answers, fold_notes(trained), mean_curves(trained), tried)


@dataclass(frozen=True)
class Clouds:
    """Clouds that folds are trained and judged on.

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
    """Fine-tunes one candidate, fold by fold."""

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
        """Train a fold, or load it where a former session finished it."""
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
            place=TrainingPlace(folder=folder / "unfinished", on_progress=self._report),
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
        """A fold that a former session finished; None where there is none or its file is damaged."""
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

    def _report(self, event: ProgressEvent) -> None:
        self.task.progress(event.stage, event.done, event.total)
