"""Train a classifier on clouds; score it by every rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from shutil import rmtree
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.splits import carve_validation, object_groups, split_digest
from bench.errors import unknown_name
from bench.models.adaptation import adapt, check_frozen, frozen_tensors, trained_parameters
from bench.models.blocks import StochasticDepth, depth_rates
from bench.models.classifier import Classifier
from bench.models.heads import HeadKind
from bench.protocols.base import Candidate, Evaluation, Subject, Task
from bench.protocols.dense_clouds import DenseClouds, dense_clouds, dense_points
from bench.protocols.features import clipped_points, frozen_features, prepared_clouds
from bench.protocols.ledger import Answers, Labels, Scores, Voting, ledger_rows, test_curve
from bench.protocols.logistic import LogisticFit, fit_logistic
from bench.protocols.robustness import add_corrupted
from bench.protocols.selection import first_best
from bench.protocols.trained_state import Notebook, Trained, read_training, store_training
from bench.protocols.voting import Voter
from bench.recipes.row import shortened
from bench.seeds import derive, seed_torch
from bench.spec import Adapt, Numerics, Recipe, content_key
from bench.store.records import Metric
from bench.training.contract import Selected, TrainingPlace
from bench.training.finetuning import finetune, predict

if TYPE_CHECKING:
    from pydantic import JsonValue


PILOT_SHARE = 5
"""Of several candidates each is first trained for a fifth of the epochs; the best on validation then starts afresh."""


@dataclass(frozen=True)
class Training:
    """Settings for training and scoring a classifier.

    Attributes:
        protocol: Name of the protocol: it names stages, curves and seed streams.
        head: Kind of head.
        feature: Feature of the encoder under the head.
        normalise: Centre each cloud and scale it into the unit sphere first.
        recipe: Recipe of the training.
        validation_fraction: Part of every training class that choices are made on.
        class_token_only: Train head, class token and its position only, the rest frozen as in the released probes.
        drop_path: Largest rate of stochastic depth; None leaves the encoder's own.
        voting: Settings of votes; None for no votes.
        vote_augmentation: Transform of each vote's draw of points.
        ledger: Whether what choosing on test would give is stored too.
        strengths: Inverse penalties of the logistic regression on frozen features that a ``standardised`` head starts
            as; none: the head is drawn at random.
        adapt: Parameters of the encoder that are trained.
        adapt_size: Size of what is added to it (`bench.models.adaptation.adapt`).
    """

    protocol: str
    head: HeadKind
    feature: str
    normalise: bool
    recipe: Recipe
    validation_fraction: float
    class_token_only: bool = False
    drop_path: float | None = None
    voting: Voting | None = None
    vote_augmentation: tuple[str, ...] = ()
    ledger: bool = False
    strengths: tuple[float, ...] = ()
    adapt: Adapt = "full"
    adapt_size: int = 8


@dataclass(frozen=True)
class ProbeStart:
    """A linear probe that training starts from.

    Attributes:
        accuracy: Its accuracy on validation.
        strength: Its inverse penalty, chosen on validation.
        state: State dict of the head at that point.
    """

    accuracy: float
    strength: float
    state: dict[str, Tensor]


def judge_trained(subject: Subject, task: Task, training: Training) -> Evaluation:
    """Train, choose on validation, score the test split once.

    Raises:
        UsageError: The encoder has no such feature.
        DataError: Training classes are too small to carve a validation part.
        BenchError: Training diverged.
        SetupError: The work folder cannot be written or has lost a file.
        Interrupted: Training was asked to stop; its state is saved.
    """
    groups = object_groups(task.train.ids)
    train, val = carve_validation(task.train.labels, training.validation_fraction, task.split_seed, groups)
    session = _Session(task, training, train, val)
    name, pilots = session.choose(subject)
    trained = session.train(subject.candidates[name], training.recipe, final=True)
    answers = session.answers(trained)
    labels = task.test.reveal()
    metrics = _validation_rows(trained, subject.variant(name), len(val))
    metrics += [
        Metric(
            name=f"accuracy[{'probe' if training.strengths else 'pilot'}]",
            value=value,
            split="val",
            variant=subject.variant(other),
            headline=other == name,
            n_objects=len(val),
        )
        for other, value in pilots.items()
    ]
    metrics += ledger_rows(answers, labels, subject.variant(name), True, training.voting)
    headline = answers.logits[answers.best]
    predictions = {
        "ids": np.array(task.test.ids),
        "labels": labels.astype(np.int32),
        "logits": headline.astype(np.float32),
        "predicted": headline.argmax(-1).astype(np.int32),
    }
    curves = {f"{training.protocol}/{curve}": series for curve, series in trained.curves.items()}
    if training.ledger:
        curves[f"{training.protocol}/test_accuracy"] = test_curve(answers, labels)
    notes = session.notes(name, subject.candidates[name], trained)
    evaluation = Evaluation(metrics, predictions, curves, notes, split_digest(train, val))
    add_corrupted(evaluation, task, subject.variant(name), lambda conditions: session.named(trained, conditions))
    return evaluation


@dataclass
class _Session:
    """One evaluation: the prepared data and the trainings on them."""

    task: Task
    training: Training
    train_index: Labels
    val_index: Labels
    _starts: dict[str, ProbeStart] = field(default_factory=dict)

    def _clouds(self, index: Labels | None, *, test: bool = False, dense: bool = False) -> Tensor:
        count = dense_points(self.task.points) if dense else None
        clouds = prepared_clouds(self.task, "test" if test else "train", normalise=self.training.normalise, count=count)
        return torch.from_numpy(np.array(clouds if index is None else clouds[index]))

    @cached_property
    def _dense(self) -> DenseClouds:
        return dense_clouds(self.task, normalise=self.training.normalise)

    @cached_property
    def _inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        labels = torch.from_numpy(self.task.train.labels)
        return (
            torch.from_numpy(np.array(self._dense.points[self.train_index])),
            labels[self.train_index],
            self._clouds(self.val_index),
            labels[self.val_index],
        )

    @cached_property
    def _test(self) -> Tensor:
        return self._clouds(None, test=True)

    def choose(self, subject: Subject) -> tuple[str, dict[str, float]]:
        """Choose among candidates by probes or short trainings.

        Returns the name, and each candidate's validation accuracy.
        """
        if self.training.strengths:
            probes = {name: self._start(candidate).accuracy for name, candidate in subject.candidates.items()}
            return first_best(probes), probes
        if len(subject.candidates) == 1:
            return next(iter(subject.candidates)), {}
        recipe = shortened(self.training.recipe, -(-self.training.recipe.epochs // PILOT_SHARE))
        pilots = {
            name: self.train(candidate, recipe, final=False).accuracy[0]
            for name, candidate in subject.candidates.items()
        }
        return first_best(pilots), pilots

    def train(self, candidate: Candidate, recipe: Recipe, *, final: bool) -> Trained:
        """Train a candidate, or load it if finished earlier.

        Args:
            candidate: The starting weights.
            recipe: Recipe.
            final: Whether this is the training that is reported, which notes down its epochs.
        """
        stage = f"{self.training.protocol}{'' if final else ' pilot'}" + (f" ({candidate.name})" * bool(candidate.name))
        identity = self._identity(candidate, recipe, final)
        folder = self.task.workdir / self.training.protocol / identity[:16]
        noted = final and self.training.ledger
        notebook = Notebook(folder / "epochs", self._test if noted else None, self.training.voting is not None)

        def build() -> Classifier:
            return self._classifier(candidate)

        done = read_training(folder / "trained.safetensors", identity, notebook, build)
        if done is not None:
            return done
        classifier = build()
        points, labels, val_points, val_labels = self._inputs
        kept = frozen_tensors(classifier)
        untrained = self._untrained(classifier, val_points, val_labels) if self.training.strengths else None
        result = finetune(
            classifier,
            points,
            labels,
            val_points,
            val_labels,
            recipe,
            self._numerics(),
            self._seed("train"),
            n_points=min(self.task.points, points.shape[1]),
            cut=self._dense.cut,
            stage=stage,
            place=TrainingPlace(folder=folder / "unfinished", progress=self.task.progress),
            identity=identity,
            after_epoch=lambda epoch: notebook.note(epoch, classifier, self._numerics()),
        )
        check_frozen(classifier, kept, f"{self.training.protocol} with adapt={self.training.adapt}")
        if untrained is not None and result.best is not None:
            trained_more = result.best.metrics["accuracy"] > untrained.metrics["accuracy"]
            result = result if trained_more else replace(result, best=self._refitted(candidate, untrained))
        found = store_training(folder / "trained.safetensors", identity, classifier, result)
        rmtree(folder / "unfinished", ignore_errors=True)
        return Trained(folder / "trained.safetensors", *found, result.curves, notebook, build)

    def answers(self, trained: Trained) -> Answers:
        """Return test predictions of chosen, last and stored epochs."""
        best, last = trained.epochs
        numerics = self._numerics()
        logits = {epoch: predict(trained.at(epoch), self._test, numerics).numpy() for epoch in {best, last}}
        epochs = range(1, last + 1) if self.training.ledger else ()
        voter = self._voter()
        loaded: dict[int, nn.Module] = {}
        first: dict[int, Scores] = {}

        def voted(epoch: int, repeat: int) -> Scores:
            assert voter is not None
            if repeat == 0 and epoch in first:  # several rules often choose the same epoch
                return first[epoch]
            if epoch not in loaded:
                loaded.clear()
                loaded[epoch] = trained.at(epoch)
            self.task.progress(repeat, self._repeats(), f"{self.training.protocol} votes")
            mean: Scores = voter.logits(loaded[epoch], repeat).numpy()
            if repeat == 0:
                first[epoch] = mean
            return mean

        return Answers(
            best=best,
            last=last,
            logits=logits,
            predicted={epoch: trained.notebook.predicted(epoch) for epoch in epochs},
            voted=None if voter is None else voted,
        )

    def named(self, trained: Trained, conditions: Sequence[str]) -> list[Labels]:
        """Return the classes named at the chosen epoch, by condition of the corrupted test split."""
        network = trained.at(trained.epochs[0])
        found = []
        for at, condition in enumerate(conditions):
            self.task.progress(at, len(conditions), f"{self.training.protocol} on corrupted clouds")
            clouds = prepared_clouds(self.task, condition, normalise=self.training.normalise)
            logits = predict(network, torch.from_numpy(np.array(clouds)), self._numerics())
            found.append(logits.argmax(1).numpy())
        self.task.progress(len(conditions), len(conditions), f"{self.training.protocol} on corrupted clouds")
        return found

    def notes(self, name: str, candidate: Candidate, trained: Trained) -> dict[str, JsonValue]:
        """Return the notes for the run's record."""
        notes: dict[str, JsonValue] = {
            "candidate": name,
            **({"strength": self._start(candidate).strength} if self.training.strengths else {}),
            "head": self.training.head,
            "feature": self.training.feature,
            "epoch": trained.epochs[0],
            "last_epoch": trained.epochs[1],
            "recipe": self.training.recipe.model_dump(mode="json"),
            "drop_path": self.training.drop_path,
            "normalise": self.training.normalise,
            "trained_parameters": trained_parameters(trained.build()),
            "votes": 0 if self.training.voting is None else self.training.voting.votes,
            "validation_objects": len(self.val_index),
        }
        clipped = clipped_points(self.task)
        if clipped:
            notes["clipped"] = clipped
        return notes

    def _repeats(self) -> int:
        return self.training.voting.repeats if self.training.voting else 1

    def _voter(self) -> Voter | None:
        voting = self.training.voting
        if voting is None:
            return None
        clouds = self._clouds(None, test=True, dense=True)
        points = min(self.task.points, clouds.shape[1])
        return Voter(
            clouds, points, voting.votes, self.training.vote_augmentation, self._seed("vote"), self._numerics()
        )

    def _numerics(self) -> Numerics:
        # Validation and test after every epoch would compile again for each size of batch.
        return self.task.numerics.model_copy(update={"compile": False})

    def _seed(self, purpose: str) -> int:
        return derive(self.task.seed, "probe", self.training.protocol, purpose)

    def _classifier(self, candidate: Candidate) -> Classifier:
        """Build a classifier, its head drawn from the probe stream."""
        encoder = candidate.build()
        if self.training.feature not in encoder.feature_dims:
            raise unknown_name("encoder feature", self.training.feature, encoder.feature_dims)
        if self.training.drop_path is not None:
            set_drop_path(encoder, self.training.drop_path)
        with torch.random.fork_rng(devices=[]):
            seed_torch(self._seed("head"))
            classes = len(self.task.train.classes)
            classifier = Classifier(encoder, classes, self.training.head, self.training.feature)
        if self.training.strengths:
            classifier.head.load_state_dict(self._start(candidate).state, strict=False)
        if self.training.class_token_only:
            return classifier.freeze(reference=True)
        with torch.random.fork_rng(devices=[]):
            seed_torch(self._seed("adapt"))
            return adapt(classifier, self.training.adapt, self.training.adapt_size)

    def _start(self, candidate: Candidate) -> ProbeStart:
        """Fit the linear probe that a candidate's training starts from."""
        if candidate.name not in self._starts:
            self._starts[candidate.name] = self._probe(candidate)
        return self._starts[candidate.name]

    def _probe(self, candidate: Candidate) -> ProbeStart:
        task, strengths = self.task, sorted(self.training.strengths)
        found = frozen_features(candidate, task, self.training.feature, normalise=self.training.normalise)["train"]
        labels, fitted, held = task.train.labels, self.train_index, self.val_index
        fit = fit_logistic(found[fitted][None], labels[fitted][None], len(task.train.classes), strengths)
        accuracy = (fit.logits(found[held][None])[0].argmax(-1) == labels[held]).mean(-1)
        best = int(accuracy.argmax())  # of ties the strongest penalty
        return ProbeStart(float(accuracy[best]), strengths[best], _head_state(fit, best))

    def _refitted(self, candidate: Candidate, untrained: Selected) -> Selected:
        """Refit the starting probe on all training objects.

        The linear probe's own protocol does the same for its final score.
        """
        found = frozen_features(candidate, self.task, self.training.feature, normalise=self.training.normalise)["train"]
        labels, classes = self.task.train.labels, len(self.task.train.classes)
        fit = fit_logistic(found[None], labels[None], classes, [self._start(candidate).strength])
        head = {f"head.{name}": value.float() for name, value in _head_state(fit, 0).items()}
        return replace(untrained, state=untrained.state | head)

    def _untrained(self, classifier: Classifier, points: Tensor, labels: Tensor) -> Selected:
        """Return the starting weights as epoch 0, a possible choice."""
        predicted = predict(classifier, points, self._numerics()).argmax(1)
        state = {name: t.detach().cpu().clone() for name, t in classifier.state_dict().items()}
        return Selected(0, {"accuracy": float((predicted == labels).double().mean())}, state)

    def _identity(self, candidate: Candidate, recipe: Recipe, final: bool) -> str:
        training = replace(self.training, recipe=recipe)
        plain = {name: value for name, value in asdict(training).items() if name not in ("recipe", "voting")}
        return content_key(
            {
                "candidate": candidate.key,
                "manifest": self.task.data_manifest,
                "form": self.task.form,
                "training": {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()},
                "recipe": recipe.model_dump(mode="json"),
                "voting": self.training.voting is not None,
                "numerics": self._numerics().model_dump(mode="json"),
                "seed": self.task.seed,
                "points": self.task.points,
                "train": self.train_index.tolist(),
                "final": final,
            }
        )


def set_drop_path(encoder: nn.Module, rate: float) -> None:
    """Set stochastic depth to rise linearly from 0 to `rate`.

    Each stack of blocks is counted on its own.
    """
    inside: set[nn.Module] = set()  # a block may contain module lists that are no stack of blocks
    for stack in encoder.modules():
        if not isinstance(stack, nn.ModuleList) or stack in inside:
            continue
        for block, own in zip(stack, depth_rates(rate, len(stack)), strict=True):
            inside.update(block.modules())
            for module in block.modules():
                if isinstance(module, StochasticDepth):
                    module.rate = own


def _head_state(fit: LogisticFit, at: int) -> dict[str, Tensor]:
    """Return the state of a ``standardised`` head equal to a probe."""
    root = fit.weights.shape[2] ** 0.5  # the probe divides standardised features by it
    return {
        "0.running_mean": fit.scaling.mean[0, 0],
        "0.running_var": (fit.scaling.scale[0, 0] / root).square(),
        "1.weight": fit.weights[0, at].T / root,
        "1.bias": fit.intercepts[0, at],
    }


def _validation_rows(trained: Trained, variant: str, n_objects: int) -> list[Metric]:
    return [
        Metric.model_validate(
            {"value": value, "split": "val", "selection": rule, "variant": variant, "epoch": epoch}
            | {"n_objects": n_objects}
        )
        for rule, epoch, value in zip(("val", "last"), trained.epochs, trained.accuracy, strict=True)
    ]
