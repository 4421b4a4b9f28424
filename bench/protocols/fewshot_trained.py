"""Few-shot evaluation with trained heads: MLP-3 on frozen features, or full fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.errors import unknown_name
from bench.models.classifier import Classifier
from bench.models.heads import classification_head
from bench.protocols.base import Candidate, Subject, Task
from bench.protocols.features import frozen_features, prepared_clouds
from bench.protocols.fewshot_run import Answer, Judged
from bench.protocols.folds import Fold, Folds
from bench.protocols.selection import first_best
from bench.protocols.threads import torch_threads
from bench.seeds import derive
from bench.spec import Numerics, content_key
from bench.store.records import Metric
from bench.training.checkpoint import deserialise, serialise, write_atomically
from bench.training.contract import Curves, FitResult, TrainingPlace
from bench.training.finetuning import finetune, predict
from bench.training.progress import ProgressEvent

if TYPE_CHECKING:
    from bench.protocols.fewshot import FewShot

Index = npt.NDArray[np.int64]
Module = TypeVar("Module", bound=nn.Module)

OVERSAMPLING = 1.2
"""Training clouds keep this many times the points an encoder sees; each step draws from them (1200 for 1024)."""


@dataclass(frozen=True)
class _Trained:
    """A fold's classifier at the epoch validation chose.

    Attributes:
        load: Returns the classifier.
        accuracy: Validation accuracy at that epoch.
        epoch: The epoch, counted from 1.
        curves: Training curves.
    """

    load: Callable[[], nn.Module]
    accuracy: float
    epoch: int
    curves: Curves


def judge_mlp(subject: Subject, task: Task, options: FewShot.Options, folds: Folds) -> Judged:
    """MLP-3 on frozen features of every candidate; the candidate is chosen by the mean over folds."""
    # Heads are trained on the CPU in float32 and on one thread: they are small, and add no noise of the machine.
    numerics = task.numerics.model_copy(update={"device": "cpu", "precision": "fp32", "compile": False})
    trained: dict[str, list[_Trained]] = {}
    answers: dict[str, Answer] = {}
    total = len(subject.candidates) * len(folds.test)
    for at, (name, candidate) in enumerate(subject.candidates.items()):
        features = frozen_features(candidate, task, options.feature, normalise=options.normalise)
        trained[name] = []
        for fold in folds.test:
            task.progress(f"heads {folds.setting.name}", at * len(folds.test) + fold.number, total)
            trained[name].append(_train_mlp(features["train"], fold, folds, task, options, numerics))
        answers[name] = _answer(trained[name], features["test"], numerics)
    task.progress(f"heads {folds.setting.name}", total, total)
    accuracy = {name: float(np.mean([t.accuracy for t in items])) for name, items in trained.items()}
    chosen = first_best(accuracy)
    rows = [
        Metric(
            value=value,
            split="val",
            variant=subject.variant(name),
            headline=name == chosen,
            n_objects=_objects(folds.test),
        )
        for name, value in accuracy.items()
    ]
    return Judged(chosen, rows, answers, _notes(trained[chosen]), _mean_curves(trained[chosen]))


def _train_mlp(
    features: npt.NDArray[np.float32],
    fold: Fold,
    folds: Folds,
    task: Task,
    options: FewShot.Options,
    numerics: Numerics,
) -> _Trained:
    head = _fresh(task, folds, fold, lambda: classification_head("mlp", features.shape[1], folds.setting.way))
    with torch_threads(1):
        result = finetune(
            head,
            torch.from_numpy(features[fold.support]),
            torch.from_numpy(fold.support_labels),
            torch.from_numpy(features[fold.val]),
            torch.from_numpy(fold.val_labels),
            options.mlp_recipe,
            numerics,
            _seed(task, folds, fold, "train"),
            stage=f"head, fold {fold.number}",
        )
    return _at_best(head, result)


def judge_full(subject: Subject, task: Task, options: FewShot.Options, folds: Folds) -> Judged:
    """Fine-tune encoder and head; of several candidates fold 0 chooses one by its validation accuracy.

    Finished folds are kept in the work folder, so that an interrupted evaluation goes on where it was.
    """
    clouds = prepared_clouds(task, "train", normalise=options.normalise, count=int(np.ceil(OVERSAMPLING * task.points)))
    evaluated = {split: prepared_clouds(task, split, normalise=options.normalise) for split in ("train", "test")}
    pilots = {
        name: _Full(subject, candidate, task, options, folds, clouds, evaluated["train"]).train(folds.test[0])
        for name, candidate in subject.candidates.items()
    }
    chosen = first_best({name: pilot.accuracy for name, pilot in pilots.items()})
    tuner = _Full(subject, subject.candidates[chosen], task, options, folds, clouds, evaluated["train"])
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
            n_objects=_objects(folds.test),
        )
    )
    answers = {chosen: _answer(trained, evaluated["test"], _eager(task.numerics))}
    return Judged(chosen, rows, answers, _notes(trained), _mean_curves(trained))


class _Full:
    """Fine-tunes one candidate, fold by fold."""

    def __init__(
        self,
        subject: Subject,
        candidate: Candidate,
        task: Task,
        options: FewShot.Options,
        folds: Folds,
        clouds: npt.NDArray[np.float32],
        evaluated: npt.NDArray[np.float32],
    ) -> None:
        self.candidate, self.task, self.options, self.folds = candidate, task, options, folds
        self.clouds, self.evaluated = clouds, evaluated
        self.title = f"fine-tune {folds.setting.name}" + (f" ({candidate.name})" if subject.variant("x") else "")

    def train(self, fold: Fold) -> _Trained:
        """Train a fold, or load it where a former session finished it."""
        identity = self._identity(fold)
        folder = self.task.workdir / f"fewshot-{self.folds.setting.name}" / identity[:16]
        done = self._finished(folder / "fold.safetensors", identity, fold)
        if done is not None:
            return done
        classifier = self._classifier(fold)
        result = finetune(
            classifier,
            torch.from_numpy(np.array(self.clouds[fold.support])),
            torch.from_numpy(fold.support_labels),
            torch.from_numpy(np.array(self.evaluated[fold.val])),
            torch.from_numpy(fold.val_labels),
            self.options.full_recipe,
            _eager(self.task.numerics),
            _seed(self.task, self.folds, fold, "train"),
            n_points=min(self.task.points, self.clouds.shape[1]),
            stage=f"{self.title} fold {fold.number}",
            place=TrainingPlace(folder=folder / "unfinished", on_progress=self._report),
            identity=identity,
        )
        best = _selected(result)
        header = {"identity": identity, "epoch": best.epoch, "accuracy": best.accuracy, "curves": result.curves}
        write_atomically(folder / "fold.safetensors", serialise(best.state, header))
        rmtree(folder / "unfinished", ignore_errors=True)
        return _Trained(lambda: self._load(folder / "fold.safetensors", fold), best.accuracy, best.epoch, result.curves)

    def _classifier(self, fold: Fold) -> Classifier:
        encoder = self.candidate.build()
        way, feature = self.folds.setting.way, self.options.feature
        if feature not in encoder.feature_dims:
            raise unknown_name("encoder feature", feature, encoder.feature_dims)
        return _fresh(self.task, self.folds, fold, lambda: Classifier(encoder, way, "mlp", feature))

    def _identity(self, fold: Fold) -> str:
        return content_key(
            {
                "candidate": self.candidate.key,
                "manifest": self.task.data_manifest,
                "options": self.options.model_dump(mode="json"),
                "numerics": self.task.numerics.model_dump(mode="json"),
                "seed": self.task.seed,
                "points": self.task.points,
                "fold": fold.number,
                "support": fold.support.tolist(),
                "val": fold.val.tolist(),
            }
        )

    def _finished(self, file: Path, identity: str, fold: Fold) -> _Trained | None:
        """A fold that a former session finished; None where there is none or its file is damaged."""
        try:
            _, header = deserialise(file.read_bytes())
        except (OSError, ValueError):
            return None
        if header.get("identity") != identity:
            return None
        curves = {name: [(float(x), float(y)) for x, y in series] for name, series in header["curves"].items()}
        return _Trained(lambda: self._load(file, fold), float(header["accuracy"]), int(header["epoch"]), curves)

    def _load(self, file: Path, fold: Fold) -> nn.Module:
        classifier = self._classifier(fold)
        classifier.load_state_dict(deserialise(file.read_bytes())[0])
        return classifier

    def _report(self, event: ProgressEvent) -> None:
        self.task.progress(event.stage, event.done, event.total)


@dataclass(frozen=True)
class _Best:
    state: dict[str, Tensor]
    epoch: int
    accuracy: float


def _selected(result: FitResult) -> _Best:
    if result.best is None:
        raise AssertionError("fine-tuning with a validation part always selects an epoch")
    return _Best(result.best.state, result.best.epoch, float(result.best.metrics["accuracy"]))


def _at_best(module: nn.Module, result: FitResult) -> _Trained:
    best = _selected(result)
    module.load_state_dict(best.state)
    return _Trained(lambda: module, best.accuracy, best.epoch, result.curves)


def _answer(trained: list[_Trained], inputs: npt.NDArray[np.float32], numerics: Numerics) -> Answer:
    def answer(position: int, query: Index) -> npt.NDArray[np.floating]:
        logits: npt.NDArray[np.floating] = predict(
            trained[position].load(), torch.from_numpy(np.array(inputs[query])), numerics
        ).numpy()
        return logits

    return answer


def _eager(numerics: Numerics) -> Numerics:
    """A fold is over before a compiler has paid for itself."""
    return numerics.model_copy(update={"compile": False})


def _seed(task: Task, folds: Folds, fold: Fold, purpose: str) -> int:
    return derive(task.seed, "probe", "fewshot", purpose, folds.setting.way, folds.setting.shot, fold.number)


def _fresh(task: Task, folds: Folds, fold: Fold, build: Callable[[], Module]) -> Module:
    """Build a module with its initialisation drawn from the probe stream of the fold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(task, folds, fold, "head"))
        return build()


def _objects(folds: tuple[Fold, ...]) -> int:
    return len(np.unique(np.concatenate([fold.val for fold in folds])))


def _notes(trained: list[_Trained]) -> dict[str, Any]:
    return {"epochs_chosen": [t.epoch for t in trained]}


def _mean_curves(trained: list[_Trained]) -> Curves:
    """Mean over folds of every curve, as ``finetune/NAME``."""
    return {
        f"finetune/{name}": [
            (x, float(np.mean([t.curves[name][i][1] for t in trained])))
            for i, (x, _) in enumerate(trained[0].curves[name])
        ]
        for name in trained[0].curves
    }
