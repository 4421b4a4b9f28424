"""Protocol: name the class whose mean feature is nearest."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.protocols.base import Evaluation, Form, Protocol, ProtocolOptions, Subject, Task
from bench.protocols.description import CANDIDATE_CHOSEN, Description, on_frozen_features, set_aside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ProtocolExampleOptions(ProtocolOptions):
    """Options of the protocol; they enter every key."""

    feature: str = "transfer"
    """Feature of the encoder; the same for every method."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of every training class that is set aside for choices."""


class ProtocolExample(Protocol[ProtocolExampleOptions]):
    """Nearest class mean in frozen features."""

    name: ClassVar[str] = "protocol-example"
    revision: ClassVar[int] = 1

    Options = ProtocolExampleOptions

    @classmethod
    def settings(cls, options: ProtocolExampleOptions) -> tuple[str, ...]:
        """Return the table's rows: one, for all training labels."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> ProtocolExampleOptions:
        """Return the options of a preset."""
        return cls.parse({})

    @classmethod
    def describe(cls, options: ProtocolExampleOptions) -> Description:
        """Describe what is done; the card's hash covers this."""
        return on_frozen_features(True, set_aside(options.validation_fraction), CANDIDATE_CHOSEN)

    @classmethod
    def card(cls, options: ProtocolExampleOptions) -> str:
        """State in sentences what is done, every option included."""
        return (
            f"The encoder is frozen; feature '{options.feature}' of clouds in the unit sphere, one pass, unchanged. "
            "A test object gets the class whose mean over training objects is nearest. Of several candidates one is "
            f"chosen on validation ({options.validation_fraction:.0%} of every training class); means are then of all "
            "training objects, and the test split is scored once."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: ProtocolExampleOptions) -> Evaluation:
        """Judge a subject: choose on validation, then score test once."""
        import numpy as np

        from bench.data.splits import carve_validation, object_groups, split_digest
        from bench.protocols.features import frozen_features
        from bench.store.records import Metric

        labels, classes = task.train.labels, len(task.train.classes)
        groups = object_groups(task.train.ids)
        train, held = carve_validation(labels, options.validation_fraction, task.split_seed, groups)
        everything = np.arange(len(labels))
        features, accuracy = {}, {}
        for name, candidate in subject.candidates.items():
            features[name] = found = frozen_features(candidate, task, options.feature, normalise=True)
            scores = _closeness(found["train"], labels, train, found["train"][held], classes)
            accuracy[name] = float((scores.argmax(1) == labels[held]).mean())
        chosen = max(accuracy, key=lambda name: accuracy[name])  # the first of several best ones
        logits = {
            name: _closeness(found["train"], labels, everything, found["test"], classes)
            for name, found in features.items()
        }
        truth = task.test.reveal()  # once, after every choice
        metrics = []
        for name, scores in logits.items():
            named = {"variant": subject.variant(name), "headline": name == chosen}
            right = float((scores.argmax(1) == truth).mean())
            metrics.append(Metric(value=accuracy[name], split="val", n_objects=len(held), **named))
            metrics.append(Metric(value=right, split="test", n_objects=len(truth), **named))
        predictions = {
            "ids": np.array(task.test.ids),
            "labels": truth,
            "predicted": logits[chosen].argmax(1),
            "logits": logits[chosen],
        }
        return Evaluation(metrics, predictions, {}, {"candidate": chosen}, split_digest(train, held))


def _closeness(
    features: "npt.NDArray[np.float32]",
    labels: "npt.NDArray[np.int64]",
    members: "npt.NDArray[np.int64]",
    asked: "npt.NDArray[np.float32]",
    classes: int,
) -> "npt.NDArray[np.float32]":
    """Return minus the squared distances to class means, ``[m, classes]``."""
    import numpy as np

    scores = np.full((len(asked), classes), -np.inf, np.float32)
    for label in np.unique(labels[members]):
        mean = features[members[labels[members] == label]].mean(0)
        scores[:, label] = -np.square(asked - mean).sum(1)
    return scores
