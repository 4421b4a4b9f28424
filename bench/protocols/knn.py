"""Nearest neighbours in frozen features: a probe that trains nothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from bench.protocols.base import Evaluation, Form, Protocol, ProtocolOptions, Subject, Task
from bench.protocols.description import SETTING_CHOSEN, Description, on_frozen_features, set_aside
from bench.protocols.options import CANDIDATES
from bench.spec import MOST


class KnnOptions(ProtocolOptions):
    """Options of the neighbours' vote."""

    feature: str = "transfer"
    """Feature of the encoder distances are measured in; fixed by the protocol, never tuned per method."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    distances: tuple[Literal["cosine", "euclidean"], ...] = Field(("cosine", "euclidean"), min_length=1)
    """Distances that validation chooses from; of equals the first."""
    ks: tuple[Annotated[int, Field(le=MOST)], ...] = Field((1, 3, 5, 10, 20), min_length=1)
    """Numbers of neighbours that validation chooses from; of equals the first."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for choices."""

    @field_validator("distances", "ks")
    @classmethod
    def _different(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(value)) < len(value) or any(isinstance(v, int) and v < 1 for v in value):
            raise ValueError("must be different, and numbers of neighbours at least 1")
        return value


class Knn(Protocol[KnnOptions]):
    """A vote of the nearest training objects."""

    name: ClassVar[str] = "knn"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "nearest neighbours in frozen features"

    Options: ClassVar[type[KnnOptions]] = KnnOptions

    @classmethod
    def settings(cls, options: KnnOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> KnnOptions:
        """Return the options of a preset; ``smoke`` tries one distance."""
        return cls.Options(distances=("cosine",), ks=(1, 5)) if preset == "smoke" else cls.Options()

    @classmethod
    def calibrates(cls, options: KnnOptions, form: Form) -> bool:
        """Return whether this is the fair form.

        No release recalibrates BatchNorm.
        """
        return form == "fair"

    @classmethod
    def keeps_clouds(cls, options: KnnOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return ""

    @classmethod
    def describe(cls, options: KnnOptions) -> Description:
        """See `Protocol.describe`."""
        return on_frozen_features(options.normalise, set_aside(options.validation_fraction), SETTING_CHOSEN)

    @classmethod
    def card(cls, options: KnnOptions) -> str:
        """State what is done."""
        return (
            f"Frozen encoder in eval mode, feature '{options.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}, no augmentation. {options.validation_fraction:.0%} "
            "of every training class is set aside for validation (stratified, fixed by the split seed, the same for "
            "every method). The k nearest training objects vote, one vote each, the nearer classes winning ties; "
            f"features are standardised on the training objects. Distance ({', '.join(options.distances)}) and k "
            f"({', '.join(map(str, options.ks))}) are chosen on validation, and with them the {CANDIDATES}; "
            "neighbours are then sought among train and validation together, and the test split is scored "
            "once. No voting over draws. With --legacy, selection=test is the pair with the highest test accuracy. No "
            "paper of the compared methods has this probe: one form only."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: KnnOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature.
            DataError: Training classes are too small to carve a validation part.
            BenchError: The encoder's features are not finite.
        """
        from bench.errors import unknown_name
        from bench.protocols.frozen_probe import carved, judge_probe
        from bench.protocols.probe_heads import NeighbourHead

        if setting not in cls.settings(options):
            raise unknown_name("setting of knn", setting, cls.settings(options))
        head = NeighbourHead(options.distances, options.ks)
        return judge_probe(
            subject, task, head, options.feature, options.normalise, carved(task, options.validation_fraction)
        )
