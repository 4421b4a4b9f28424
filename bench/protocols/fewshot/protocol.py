"""Few-shot classification: w ways, n shots, ten folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field, model_validator

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import (
    AS_STORED,
    AUTHORS_AUGMENTATION,
    CANDIDATE_CHOSEN,
    DRAWN,
    EPOCH_CHOSEN,
    FARTHEST,
    NO_VOTES,
    NOT_AUGMENTED,
    SETTING_CHOSEN,
    SPLIT_SEED,
    Description,
    augmented,
    normalised,
    set_aside,
    split_stated,
)
from bench.protocols.options import CANDIDATES, FrozenOptions, idle_on_features, recipe_words
from bench.protocols.trained_options import PublishedTraining, check_form
from bench.recipes.downstream import fair_recipe, released_epochs
from bench.spec import Recipe

if TYPE_CHECKING:
    from bench.protocols.fewshot.folds import Folds
    from bench.protocols.fewshot.frozen import Judged

SETTINGS = ("5w10s", "5w20s", "10w10s", "10w20s")


class FewShot(Protocol):
    """w-way n-shot classification over folds shared by every method and seed."""

    name: ClassVar[str] = "fewshot"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "w-way n-shot classification over 10 folds"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    given_folds: ClassVar[bool] = True

    class Options(FrozenOptions, PublishedTraining):
        """Options of few-shot classification."""

        fair_only: ClassVar[tuple[str, ...]] = ("strengths", "normalise", "full_recipe", "mlp_recipe")
        published_only: ClassVar[tuple[str, ...]] = ("recipe", "published_epochs", "episodes")

        head: Literal["linear", "mlp", "svm", "full"] = "full"
        """``linear`` logistic regression, ``svm`` or ``mlp`` MLP-3 on frozen features; ``full`` fine-tunes everything.
        In the published form ``linear`` and ``mlp`` train the class token too."""
        episodes: Literal["folds", "crosspoint"] = "folds"
        """Published form: ``crosspoint`` draws supports and queries from the training split, as CrossPoint does."""
        ways_shots: tuple[str, ...] = Field(SETTINGS, min_length=1)
        """Settings offered."""
        folds: int = Field(10, ge=1, le=1_000)
        queries: int = Field(20, ge=1, le=1_000)
        """Queries per class, from the test split; classes with fewer give all they have."""
        full_recipe: Recipe = fair_recipe("fewshot", stage="full")
        mlp_recipe: Recipe = fair_recipe("fewshot", stage="mlp")
        """On cached features, so that there is nothing to augment."""

        @model_validator(mode="after")
        def _forms_have_their_heads(self) -> FewShot.Options:
            if (self.episodes == "crosspoint") != (self.form == "published" and self.head == "svm"):
                raise ValueError("head=svm with episodes=crosspoint is CrossPoint's published form: give both or none")
            return self

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the settings offered, e.g. ``5w10s``."""
        return cls._own(options).ways_shots

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: ``nano`` probes cached features, ``smoke`` only walks the path, others fine-tune."""
        if form == "published":
            few: dict[str, Any] = {"ways_shots": ("5w2s",), "folds": 2, "queries": 4} if preset == "smoke" else {}
            return cls.Options(form="published", published_epochs=released_epochs("fewshot", preset), **few)
        if preset == "nano":
            return cls.Options(head="linear")
        if preset == "smoke":
            return cls.Options(
                ways_shots=("5w2s",),
                folds=2,
                queries=4,
                strengths=(1.0, 100.0),
                full_recipe=fair_recipe("fewshot", preset, "full"),
                mlp_recipe=fair_recipe("fewshot", preset, "mlp"),
            )
        return cls.Options()

    @classmethod
    def trains_encoder(cls, options: BaseModel) -> bool:
        """See `Protocol.trains_encoder`: for every fold, unless the head sees frozen features."""
        own = cls.Options.model_validate(options.model_dump())
        return own.head == "full" or (own.form == "published" and own.head != "svm")

    @classmethod
    def calibrates(cls, options: BaseModel, form: Form) -> bool:
        """See `Protocol.calibrates`: in the fair form, on frozen features; no release does it."""
        return form == "fair" and cls._own(options).head != "full"

    @classmethod
    def idle(cls, options: BaseModel) -> Mapping[str, str]:
        """See `Protocol.idle`: every head has its own training."""
        own = cls._own(options)
        if own.form == "published":
            return {}  # where they belong to the fair form
        needed = {"strengths": ("linear", "svm"), "mlp_recipe": ("mlp",), "full_recipe": ("full",)}
        found = {
            field: f"with head={own.head}; it needs head={' or '.join(heads)}"
            for field, heads in needed.items()
            if own.head not in heads
        }
        return {**found, **idle_on_features("mlp_recipe")}

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        """See `Protocol.describe`."""
        own = cls._own(options)
        part = set_aside(own.validation_fraction)
        drawn = split_stated(
            f"{part.words}; {own.folds} folds, {own.queries} queries per class",
            drawn=True,
            folds=own.folds,
            queries=own.queries,
            **part.values,
        )
        if own.episodes == "crosspoint":
            return Description(
                points=FARTHEST,
                normalisation=AS_STORED,
                augmentation=NOT_AUGMENTED,
                split=split_stated(
                    f"{own.folds} runs, supports and {own.queries} queries per class from the training split, "
                    f"{own.validation_fraction:.0%} of it for choosing among several candidates, {SPLIT_SEED}",
                    drawn=True,
                    runs=own.folds,
                    queries=own.queries,
                    of="training split",
                    set_aside_for_candidates=own.validation_fraction,
                ),
                votes=NO_VOTES,
                selection=CANDIDATE_CHOSEN,
            )
        if own.form == "published":
            return Description(
                points=DRAWN,
                normalisation=normalised(True),
                augmentation=AUTHORS_AUGMENTATION if own.recipe is None else augmented(own.recipe.augmentation),
                split=drawn,
                votes=NO_VOTES,
                selection=EPOCH_CHOSEN,
            )
        whole = own.head == "full"
        return Description(
            points=DRAWN if whole else FARTHEST,
            normalisation=normalised(own.normalise),
            augmentation=augmented(own.full_recipe.augmentation) if whole else NOT_AUGMENTED,
            split=drawn,
            votes=NO_VOTES,
            selection=EPOCH_CHOSEN if own.head in ("full", "mlp") else SETTING_CHOSEN,
        )

    @classmethod
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        own = cls._own(options)
        if own.form == "published":
            text = _CROSSPOINT if own.episodes == "crosspoint" else _PUBLISHED
            return text.format(own=own, head=_RELEASED_HEADS.get(own.head, ""))
        full, mlp = recipe_words(own.full_recipe), recipe_words(own.mlp_recipe)
        heads = _HEADS[own.head].format(own=own, full=full, mlp=mlp, candidates=CANDIDATES)
        return (
            f"{own.folds} folds; each draws its classes, n labelled supports per class from the training split and up "
            f"to {own.queries} queries per class from the test split, fixed by the split seed and the same for every "
            f"method and pretraining seed. {own.validation_fraction:.0%} of every training class is set aside before "
            f"supports are drawn and serves every choice. {heads} Settings that a data set "
            "is too small for are clipped and say so. Test queries are scored once, after every choice; accuracy is "
            "the mean over folds. No voting. A data set of few-shot folds brings its own supports and queries; choices "
            "are then made on supports of other folds. selection=last is the last epoch of trained heads; with "
            "--legacy, selection=test is what choosing epoch or strength on the queries would give. The papers train "
            "by a recipe per method and choose on the queries: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        """Judge a subject in one setting.

        Raises:
            UsageError: The setting is malformed, or the encoder has no such feature.
            DataError: The data set cannot carry even a clipped form of the setting.
            BenchError: The encoder's features are not finite, or fine-tuning diverged.
            Interrupted: Fine-tuning was asked to stop; its state is saved.
        """
        from bench.protocols.fewshot.folds import draw_folds
        from bench.protocols.fewshot.frozen import finish

        own = cls._own(options)
        check_form(cls.name, own, task)
        if own.episodes == "crosspoint":
            from bench.protocols.fewshot.episodes import judge_episodes

            return judge_episodes(subject, task, setting, own)
        folds = draw_folds(task, setting, own)
        return finish(subject, task, own, folds, cls._judge(subject, task, own, folds))

    @classmethod
    def _judge(cls, subject: Subject, task: Task, options: Options, folds: Folds) -> Judged:
        """Fit the heads and make every choice, without a look at a test label."""
        if options.form == "published":
            from bench.protocols.fewshot.clouds import judge_released

            return judge_released(subject, task, options, folds)
        if options.head in ("linear", "svm"):
            from bench.protocols.fewshot.frozen import HingeHeads, LogisticHeads, judge_frozen

            fit = LogisticHeads.on if options.head == "linear" else HingeHeads.on
            return judge_frozen(subject, task, options, folds, fit)
        if options.head == "mlp":
            from bench.protocols.fewshot.training import judge_mlp

            return judge_mlp(subject, task, options, folds)
        from bench.protocols.fewshot.clouds import judge_full

        return judge_full(subject, task, options, folds)

    @classmethod
    def _own(cls, options: BaseModel) -> Options:
        return options if isinstance(options, cls.Options) else cls.Options.model_validate(options.model_dump())


_HEADS = {
    "linear": (
        "Head linear: multinomial logistic regression on the frozen feature '{own.feature}', standardised on the "
        "supports and divided by the root of its width. C is chosen from {own.strengths} once per setting on as many "
        "validation episodes (other draws of classes and supports, queries from the validation part), together with "
        "the {candidates}."
    ),
    "svm": (
        "Head svm: linear support vector machines, one class against the rest, on the frozen feature '{own.feature}', "
        "standardised on the supports and divided by the root of its width. C is chosen from {own.strengths} as for "
        "the linear head, together with the {candidates}."
    ),
    "mlp": (
        "Head mlp: the three-layer head on the frozen feature '{own.feature}': {mlp}; the epoch of each fold, and the "
        "{candidates}, are chosen on validation objects of the fold's classes."
    ),
    "full": (
        "Head full: encoder and three-layer head on the feature '{own.feature}' are fine-tuned together, the "
        "same recipe for every method: {full}; the epoch of each fold is chosen on validation objects of the fold's "
        "classes. Where there are several candidates, fold 0 chooses by its validation accuracy and only the chosen "
        "one goes on."
    ),
}

_RELEASED_HEADS = {
    "full": "encoder and three-layer head are fine-tuned together at learning rate 5e-4",
    "mlp": "a three-layer head, the class token and its position are trained at learning rate 1e-3",
    "linear": "a linear head, the class token and its position are trained at learning rate 1e-3",
}
_PUBLISHED = (
    "As released (docs/reference.md, Few-shot): {own.folds} folds; {head}, on the feature '{own.feature}'. "
    "AdamW, weight decay 0.05, "
    "batch 32 with the last partial batch dropped (50 supports give one batch of 32 an epoch), clip 10, cosine with "
    "10 warm-up epochs of 150 and the released loop's schedule (151 epochs, two at the warm-up rate), drop path 0.1, "
    "a head of 40 outputs of which a fold's labels are the first. point-mae: scale and translate; act, recon and "
    "two-tower: rotation about y; recon and two-tower: 10 times the rate and weight decay 0.05 for head, class token "
    "and its position. Every other method, scratch included, takes Point-MAE's, or ACT's for the probes, which "
    "Point-MAE's release lacks. Clouds are brought to the unit sphere. In each step they are shuffled and cut by "
    "the released farthest point sampling to 1200 points for an encoder's 1024 (in that proportion), from which the "
    "step draws. No voting. The headline is the epoch with the highest accuracy "
    "on validation objects, selection=last the last epoch; selection=test takes of every fold the epoch with the "
    "highest accuracy on its own queries, which is what the papers report. Folds are the distributed ones where the "
    "data set brings them (fewshot-pickles); there the validation objects are supports of other folds, of the same "
    "classes. Else folds are drawn as in the fair form: up to {own.queries} queries per class from the test split, "
    "supports from the training split without the {own.validation_fraction:.0%} that is set aside for choices. "
    "Deviations from the papers: points and patches are those of the preset (papers: 1024 in 64 patches); of several "
    "candidates fold 0 chooses one on validation."
)
_CROSSPOINT = (
    "CrossPoint's episodes (docs/reference.md, CrossPoint episodes): {own.folds} runs, each with classes of its own, "
    "n supports per class and "
    "{own.queries} queries per class, all from the training split; the test split is not used, so that the numbers do "
    "not compare with folds. libsvm's linear machine at C = 1, one class against one other, on the frozen feature "
    "'svm' standardised on the supports, clouds as stored. Accuracy is the mean over runs. Nothing is chosen, except "
    "the candidate where there are several, on episodes from the {own.validation_fraction:.0%} of every class (half "
    "where these are single objects) that is set aside and never asked. Deviations from the release: its script takes "
    "50 runs (fewshot.folds=50), all 2048 points, 5 neighbours in DGCNN where training had 15, and the whole training "
    "split; here points and neighbours are the encoder's own."
)
