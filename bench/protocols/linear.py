"""Linear probe: logistic regression on frozen features, all training labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.options import FrozenOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from pydantic import JsonValue

    from bench.protocols.logistic import LogisticFit
    from bench.protocols.selection import Choice
    from bench.store.records import Metric


class Linear(Protocol):
    """Logistic regression on frozen features with the penalty chosen on validation."""

    name: ClassVar[str] = "linear"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "logistic regression on frozen features"

    class Options(FrozenOptions):
        """Options of the linear probe."""

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: the same for all, except that ``smoke`` tries two strengths."""
        return cls.Options(strengths=(1.0, 100.0)) if preset == "smoke" else cls.Options()

    @classmethod
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        options = cls.Options.model_validate(options.model_dump())
        return (
            f"Frozen encoder in eval mode, feature '{options.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}, no augmentation. "
            f"{options.validation_fraction:.0%} of every training class is set aside for validation (stratified, fixed "
            "by the split seed, the same for every method). Multinomial logistic regression on standardised features; "
            f"C chosen on validation from {len(options.strengths)} values, and with it the candidate where there are "
            "several. The chosen C is then refit on train and validation together, and the test split is scored once. "
            "No voting. accuracy = share of test objects right; mean_class_accuracy = its mean over classes."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature.
            DataError: Training classes are too small to carve a validation part.
            BenchError: The encoder's features are not finite.
        """
        from bench.errors import unknown_name

        options = cls.Options.model_validate(options.model_dump())
        if setting not in cls.settings(options):
            raise unknown_name("setting of linear", setting, cls.settings(options))
        return _Probe(subject, task, options).run()


class _Probe:
    """One evaluation."""

    def __init__(self, subject: Subject, task: Task, options: Linear.Options) -> None:
        from bench.data.splits import carve_validation, object_groups
        from bench.protocols.features import frozen_features

        self.subject, self.task, self.options = subject, task, options
        groups = object_groups(task.train.ids)  # views of one object must not stand on both sides
        self.train, self.val = carve_validation(task.train.labels, options.validation_fraction, task.split_seed, groups)
        self.features = {
            name: frozen_features(candidate, task, options.feature, normalise=options.normalise)
            for name, candidate in subject.candidates.items()
        }

    def run(self) -> Evaluation:
        from bench.data.splits import split_digest
        from bench.protocols.features import clipped_points
        from bench.protocols.selection import choose

        table = {name: self._validate(name) for name in self.features}
        choice = choose(table, self.options.strengths)
        fits = {name: self._fit(name, None, (choice.strengths[name],)) for name in self.features}
        notes: dict[str, JsonValue] = {
            "candidate": choice.candidate,
            "strength": choice.strengths[choice.candidate],
            "feature": self.options.feature,
            "feature_width": int(self.features[choice.candidate]["train"].shape[1]),
            "validation_objects": len(self.val),
        }
        clipped = clipped_points(self.task)
        if clipped:
            notes["clipped"] = clipped
        metrics, predictions = self._score(table, choice, fits)
        return Evaluation(metrics, predictions, {}, notes, split_digest(self.train, self.val))

    def _fit(self, name: str, index: npt.NDArray[np.int64] | None, strengths: tuple[float, ...]) -> LogisticFit:
        """Fit on the training objects at `index`, or on all of them."""
        from bench.protocols.logistic import fit_logistic

        features, labels = self.features[name]["train"], self.task.train.labels
        if index is not None:
            features, labels = features[index], labels[index]
        return fit_logistic(features[None], labels[None], len(self.task.train.classes), strengths)

    def _validate(self, name: str) -> npt.NDArray[np.float64]:
        """Validation accuracy at every strength."""
        self.task.progress("linear head", list(self.features).index(name), len(self.features))
        fit = self._fit(name, self.train, self.options.strengths)
        predicted = fit.logits(self.features[name]["train"][self.val][None])[0].argmax(-1)
        accuracy: npt.NDArray[np.float64] = (predicted == self.task.train.labels[self.val]).mean(-1)
        return accuracy

    def _score(
        self, table: dict[str, npt.NDArray[np.float64]], choice: Choice, fits: dict[str, LogisticFit]
    ) -> tuple[list[Metric], dict[str, npt.NDArray[np.generic]]]:
        """Score the test split, once, after every choice is made."""
        import numpy as np

        from bench.protocols.selection import mean_class_accuracy, strength_rows
        from bench.store.records import Metric

        logits = {name: fit.logits(self.features[name]["test"][None])[0, 0] for name, fit in fits.items()}
        labels = self.task.test.reveal()
        n_val, n_test = len(self.val), len(labels)
        predictions: dict[str, npt.NDArray[np.generic]] = {
            "ids": np.array(self.task.test.ids),
            "labels": labels.astype(np.int32),
        }
        metrics: list[Metric] = []
        for name, values in logits.items():
            chosen, variant = name == choice.candidate, self.subject.variant(name)
            predicted = values.argmax(-1)
            for metric, split, value, n in (
                ("accuracy", "val", choice.accuracy[name], n_val),
                ("accuracy", "test", float((predicted == labels).mean()), n_test),
                ("mean_class_accuracy", "test", mean_class_accuracy(labels, predicted), n_test),
            ):
                metrics.append(
                    Metric.model_validate(
                        {"name": metric, "value": value, "split": split, "variant": variant}
                        | {"headline": chosen, "n_objects": n}
                    )
                )
            metrics += strength_rows(table[name], self.options.strengths, variant, n_val)
            if chosen:
                predictions["logits"] = values.astype(np.float32)
                predictions["predicted"] = predicted.astype(np.int32)
            else:
                predictions[f"predicted.{name}"] = predicted.astype(np.int32)
        self.task.progress("linear head", len(self.features), len(self.features))
        return metrics, predictions
