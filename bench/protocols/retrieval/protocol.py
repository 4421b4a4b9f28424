"""Cross-modal retrieval of held-out objects: clouds, captions and images."""

from __future__ import annotations

from typing import ClassVar

from bench.protocols.base import Evaluation, Facts, Form, Protocol, ProtocolOptions, Subject, Task
from bench.protocols.description import NOTHING_CHOSEN, Description, on_frozen_features, split_stated

SETTINGS = ("cloud-to-caption", "caption-to-cloud", "cloud-to-image")


class RetrievalOptions(ProtocolOptions):
    """Options of cross-modal retrieval."""

    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""


class Retrieval(Protocol[RetrievalOptions]):
    """Retrieval of held-out objects across modalities."""

    name: ClassVar[str] = "retrieval"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "clouds, captions and pictures of held-out objects find each other"
    metric: ClassVar[str] = "recall_at_1"
    judges_teachers: ClassVar[bool] = True
    opponent: ClassVar[str] = "render-classify"
    labels: ClassVar[bool] = False
    no_transfer: ClassVar[str] = "trains on no labels, so that there is no other set to train on"

    Options: ClassVar[type[RetrievalOptions]] = RetrievalOptions

    @classmethod
    def settings(cls, options: RetrievalOptions) -> tuple[str, ...]:
        """Return the retrieval directions, e.g. clouds that search captions."""
        return SETTINGS

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> RetrievalOptions:
        """Return the options, which are the same for all presets."""
        return cls.Options()

    @classmethod
    def skip(cls, facts: Facts, options: RetrievalOptions) -> str | None:
        """Return a reason if captions or shared space are missing."""
        reason = super().skip(facts, options)
        if reason is not None:
            return reason
        if not facts.aligned:
            return f"no text-aligned output: {facts.unaligned or 'it shares no space with texts'}"
        return None if facts.captions else "the data set has no captions"

    @classmethod
    def skip_setting(cls, facts: Facts, options: RetrievalOptions, setting: str) -> str | None:
        """Return a reason if the shared space holds no images."""
        if setting == "cloud-to-image" and not facts.pictures:
            return "the teacher of its texts knows no pictures"
        return None

    @classmethod
    def describe(cls, options: RetrievalOptions) -> Description:
        """See `Protocol.describe`."""
        return on_frozen_features(
            options.normalise,
            split_stated("test split of the data set alone; nothing is set aside", drawn=False, test="all"),
            NOTHING_CHOSEN,
        )

    @classmethod
    def card(cls, options: RetrievalOptions) -> str:
        """State what is done."""
        return (
            "Frozen encoder in eval mode, one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}. Every object of the test split is a query once and "
            "stands in the gallery once. A cloud is its projection of pretraining into the teacher's space: the text "
            "projection against captions, the image projection against pictures (the other one where it is the only "
            "one); a caption and a picture are the teacher's features. Pictures are the data set's first view of each "
            "object, or a depth view of its points where there are none. Similarity is the cosine. Objects with equal "
            "captions count as right for each other; a wrong one that ties with the right one counts as before it. "
            "recall_at_1, recall_at_5 = share of queries with a right one among the first; median_rank = median over "
            "queries of the first right one's rank, from 1. Rows [chance] state what random order gives on the same "
            "objects. Nothing is chosen, so there is no validation. A teacher alone (render-classify) takes the mean "
            "of unit features of depth views for a cloud."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: RetrievalOptions) -> Evaluation:
        """Judge an encoder with heads, or a teacher alone.

        Raises:
            UsageError: Unknown setting, or the data set has no captions.
            BenchError: There are no heads or no teacher, or features are not finite.
        """
        from bench.errors import unknown_name
        from bench.protocols.retrieval.judging import judge

        if setting not in SETTINGS:
            raise unknown_name("setting of retrieval", setting, SETTINGS)
        return judge(subject, task, setting, normalise=options.normalise)
