"""Few-shot classification: w ways, n shots, ten folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, Field

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.options import FrozenOptions
from bench.spec import Recipe

if TYPE_CHECKING:
    from bench.protocols.fewshot_run import Judged
    from bench.protocols.folds import Folds

SETTINGS = ("5w10s", "5w20s", "10w10s", "10w20s")

FULL_RECIPE = Recipe(
    epochs=150,
    batch_size=32,
    lr=5e-4,
    weight_decay=0.05,
    warmup_epochs=10,
    clip_norm=10.0,
    augmentation=("scale_translate",),
)
"""Published fine-tuning recipe (section 7.4 of the method specification), one augmentation for every method."""
MLP_RECIPE = FULL_RECIPE.model_copy(update={"lr": 1e-3, "augmentation": ()})
"""Published probe recipe; on cached features nothing is augmented."""


class FewShot(Protocol):
    """w-way n-shot classification over folds shared by every method and seed."""

    name: ClassVar[str] = "fewshot"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "w-way n-shot classification over 10 folds"

    class Options(FrozenOptions):
        """Options of few-shot classification."""

        head: Literal["linear", "mlp", "full"] = "full"
        """``linear`` logistic regression or ``mlp`` MLP-3 on frozen features; ``full`` fine-tunes everything."""
        ways_shots: tuple[str, ...] = Field(SETTINGS, min_length=1)
        """Settings offered."""
        folds: int = Field(10, ge=1)
        queries: int = Field(20, ge=1)
        """Queries per class, from the test split; classes with fewer give all they have."""
        full_recipe: Recipe = FULL_RECIPE
        mlp_recipe: Recipe = MLP_RECIPE

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the settings offered, e.g. ``5w10s``."""
        return cls._own(options).ways_shots

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: ``nano`` probes cached features, ``smoke`` only walks the path, others fine-tune."""
        if preset == "nano":
            return cls.Options(head="linear")
        if preset == "smoke":
            short = FULL_RECIPE.model_copy(update={"epochs": 2, "warmup_epochs": 1})
            return cls.Options(
                ways_shots=("5w2s",),
                folds=2,
                queries=4,
                strengths=(1.0, 100.0),
                full_recipe=short,
                mlp_recipe=short.model_copy(update={"augmentation": ()}),
            )
        return cls.Options()

    @classmethod
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        own = cls._own(options)
        return (
            f"{own.folds} folds; each draws its classes, n labelled supports per class from the training split and up "
            f"to {own.queries} queries per class from the test split, fixed by the split seed and the same for every "
            f"method and pretraining seed. {own.validation_fraction:.0%} of every training class is set aside before "
            f"supports are drawn and serves every choice. {_HEADS[own.head].format(own=own)} Settings that a data set "
            "is too small for are clipped and say so. Test queries are scored once, after every choice; accuracy is "
            "the mean over folds. No voting, no selection on test."
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
        from bench.protocols.fewshot_run import finish
        from bench.protocols.folds import draw_folds

        own = cls._own(options)
        folds = draw_folds(task, setting, own)
        return finish(subject, task, own, folds, cls._judge(subject, task, own, folds))

    @classmethod
    def _judge(cls, subject: Subject, task: Task, options: Options, folds: Folds) -> Judged:
        """Fit the heads and make every choice, without a look at a test label."""
        if options.head == "linear":
            from bench.protocols.fewshot_run import judge_linear

            return judge_linear(subject, task, options, folds)
        from bench.protocols.fewshot_trained import judge_full, judge_mlp

        return (judge_mlp if options.head == "mlp" else judge_full)(subject, task, options, folds)

    @classmethod
    def _own(cls, options: BaseModel) -> Options:
        return options if isinstance(options, cls.Options) else cls.Options.model_validate(options.model_dump())


_HEADS = {
    "linear": (
        "Head linear: multinomial logistic regression on the frozen feature '{own.feature}', standardised on the "
        "supports. C is chosen from {own.strengths} once per setting on as many validation episodes (other draws of "
        "classes and supports, queries from the validation part), together with the candidate where there are several."
    ),
    "mlp": (
        "Head mlp: the three-layer head on the frozen feature '{own.feature}', {own.mlp_recipe.epochs} epochs at "
        "learning rate {own.mlp_recipe.lr:g}; the epoch of each fold, and the candidate where there are several, are "
        "chosen on validation objects of the fold's classes."
    ),
    "full": (
        "Head full: encoder and three-layer head on the feature '{own.feature}' are fine-tuned together, "
        "{own.full_recipe.epochs} epochs at learning rate {own.full_recipe.lr:g}, the same recipe for every method; "
        "the epoch of each fold is chosen on validation objects of the fold's classes. Where there are several "
        "candidates, fold 0 chooses by its validation accuracy and only the chosen one goes on."
    ),
}
