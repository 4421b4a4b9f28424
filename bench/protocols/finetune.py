"""Full fine-tuning: encoder and head are trained together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import (
    AUTHORS_AUGMENTATION,
    DRAWN,
    EPOCH_CHOSEN,
    MODELNET_SCALED,
    Description,
    augmented,
    normalised,
    set_aside,
    voted,
)
from bench.protocols.options import CANDIDATES, STRENGTHS, recipe_words
from bench.protocols.trained_options import (
    PUBLISHED_DEVIATIONS,
    PUBLISHED_INPUT,
    PUBLISHED_SELECTION,
    PublishedTraining,
    check_form,
    shortened_words,
)
from bench.recipes.downstream import VOTE_REPEATS, VOTES, fair_recipe, released_epochs
from bench.spec import Adapt, Recipe


class FinetuneOptions(PublishedTraining):
    """Options of fine-tuning."""

    fair_only: ClassVar[tuple[str, ...]] = ("normalise", "head", "strengths", "adapt", "adapt_size")

    feature: str = "transfer"
    """Feature of the encoder the head sees; fixed by the protocol, never tuned per method."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere (published form: as the authors do)."""
    head: Literal["probe", "mlp"] = Field("probe", exclude_if=lambda head: head == "probe")
    """``probe``: one linear layer behind a BatchNorm, which starts as the linear probe on the frozen feature
    (Kumar et al., ICLR 2022);
    ``mlp``: the three-layer head of the releases, drawn at random (published form: always)."""
    strengths: tuple[float, ...] = Field(
        STRENGTHS, min_length=1, exclude_if=lambda strengths: tuple(strengths) == STRENGTHS
    )
    """Inverse penalties of that probe that validation chooses from."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for choices."""
    recipe: Recipe | None = fair_recipe("finetune")
    """Recipe; null takes the authors' by method and data set (published form)."""
    adapt: Adapt = Field("full", exclude_if=lambda adapt: adapt == "full")
    """Parameters of the encoder that are trained beside the head: none (``head``), the biases (``bitfit``), added
    ``prompt``, ``adapter`` or ``lora`` layers, or all (``full``). All but ``full`` keep the encoder in evaluation
    mode (fair form)."""
    adapt_size: int = Field(8, ge=1, le=4096, exclude_if=lambda size: size == 8)
    """Prompts of each block, width of each adapter, or rank of each LoRA update."""
    votes: int = Field(0, ge=0, le=1_000)
    """Random draws of points averaged for the voted rows; 0 for none. The headline never votes."""
    vote_repeats: int = Field(1, ge=1, le=1_000)
    """Published form: how often the votes are repeated for the maximum over repeats."""

    @model_validator(mode="after")
    def _fair_is_stated(self) -> FinetuneOptions:
        if self.form == "fair" and self.recipe is None:
            raise ValueError("the fair form trains every method by one stated recipe; recipe may not be null")
        if any(not 0 < strength < float("inf") for strength in self.strengths):
            raise ValueError("strengths must be positive and finite")
        if self.vote_repeats > 1 and (self.form == "fair" or not self.votes):
            raise ValueError("vote_repeats, whose maximum releases report, needs the published form and votes")
        return self


class Finetune(Protocol[FinetuneOptions]):
    """Classification with every layer trained."""

    name: ClassVar[str] = "finetune"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "encoder and head trained together, from the linear probe"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")

    Options: ClassVar[type[FinetuneOptions]] = FinetuneOptions

    @classmethod
    def settings(cls, options: FinetuneOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> FinetuneOptions:
        """Return the options of a preset.

        300 epochs; ``nano`` six (docs/nano.md); ``smoke`` only tests that everything runs.
        """
        if form == "published":
            repeats = {"smoke": 2, "nano": 2}.get(preset, VOTE_REPEATS)
            return cls.Options(
                form="published",
                recipe=None,
                published_epochs=released_epochs("finetune", preset),
                votes=2 if preset == "smoke" else VOTES,
                vote_repeats=repeats,
            )
        return cls.Options(recipe=fair_recipe("finetune", preset))

    @classmethod
    def calibrates(cls, options: FinetuneOptions, form: Form) -> bool:
        """Return whether training starts from a probe.

        Fine-tuning itself measures BatchNorm statistics anew.
        """
        return form == "fair" and options.head == "probe"

    @classmethod
    def trains_encoder(cls, options: FinetuneOptions) -> bool:
        """Return True: the whole encoder is trained."""
        return True

    @classmethod
    def idle(cls, options: FinetuneOptions) -> Mapping[str, str]:
        """See `Protocol.idle`: only what is added has a size."""
        sized = ("prompt", "adapter", "lora")
        wanted = f"it needs adapt={' or '.join(sized)}"
        return {} if options.adapt in sized else {"adapt_size": f"with adapt={options.adapt}; {wanted}"}

    @classmethod
    def keeps_clouds(cls, options: FinetuneOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return ""

    @classmethod
    def describe(cls, options: FinetuneOptions) -> Description:
        """See `Protocol.describe`."""
        published = options.form == "published"
        return Description(
            points=DRAWN,
            normalisation=MODELNET_SCALED if published else normalised(options.normalise),
            augmentation=AUTHORS_AUGMENTATION if options.recipe is None else augmented(options.recipe.augmentation),
            split=set_aside(options.validation_fraction),
            votes=voted(options.votes, options.vote_repeats),
            selection=EPOCH_CHOSEN,
        )

    @classmethod
    def card(cls, options: FinetuneOptions) -> str:
        """State what is done."""
        if options.form == "published" or options.recipe is None:
            return _PUBLISHED.format(options=options) + shortened_words(options)
        recipe = options.recipe
        votes = (
            f"Beside the headline, which never votes, rows with votes={options.votes} average the logits of "
            f"{options.votes} random draws of points, not augmented. "
            if options.votes
            else "No voting (votes=10 adds voted rows). "
        )
        head, start = _STARTS[options.head]
        start = start.format(strengths=len(options.strengths), candidates=CANDIDATES)
        return (
            f"{_TRAINED[options.adapt].format(size=options.adapt_size)} and {head} on the feature "
            f"'{options.feature}' are trained together, the same recipe for every "
            f"method and data set: {recipe_words(recipe)}, augmentation "
            f"{', '.join(recipe.augmentation) or 'none'}, {_MODES[options.adapt == 'full']}, last "
            "partial batch dropped. Clouds"
            f"{' in the unit sphere' if options.normalise else ' as stored'} are cut by farthest point sampling to "
            "1200 points for an encoder's 1024 (in that proportion), from which each step draws; evaluation samples "
            f"the encoder's number deterministically. {options.validation_fraction:.0%} of every training class is set "
            f"aside (stratified, fixed by the split seed, the same for every method) and chooses the epoch. {start} "
            "The test split is scored once; selection=last is the last epoch, with --legacy selection=test the epoch "
            "with the highest test accuracy. "
            f"{votes}The papers take another recipe per method and data set and choose on test: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: FinetuneOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature, or options of the other form.
            DataError: Training classes are too small to carve a validation part.
            BenchError: Training diverged.
            SetupError: The work folder cannot be used.
            Interrupted: Training was asked to stop; its state is saved.
        """
        from bench.errors import unknown_name
        from bench.protocols.ledger import Voting
        from bench.protocols.published_data import data_rows
        from bench.protocols.trained_classifier import Training, judge_trained
        from bench.recipes.downstream import released_training
        from bench.recipes.row import shortened

        if setting not in cls.settings(options):
            raise unknown_name("setting of finetune", setting, cls.settings(options))
        check_form(cls.name, options, task)
        published = None
        if options.form == "published":
            published = released_training(cls.name, subject.method, data_rows(task.dataset))
        recipe = options.recipe
        if recipe is None:
            assert published is not None  # the options say so
            recipe = shortened(published.recipe, options.published_epochs)
        probed = published is None and options.head == "probe"
        training = Training(
            protocol=cls.name,
            head="standardised" if probed else "mlp",
            feature=options.feature,
            normalise=published.normalise if published else options.normalise,
            recipe=recipe,
            validation_fraction=options.validation_fraction,
            drop_path=published.drop_path if published else None,
            voting=Voting(options.votes, options.vote_repeats) if options.votes else None,
            vote_augmentation=published.vote_augmentation if published else (),
            ledger=task.legacy or published is not None,
            strengths=options.strengths if probed else (),
            adapt=options.adapt,
            adapt_size=options.adapt_size,
        )
        result = judge_trained(subject, task, training)
        if published is not None:
            result.notes["published_recipe"] = "own" if options.recipe is not None else published.title
        return result


_MODES = {
    True: "stochastic depth of the encoder as in pretraining",
    False: "all else of the encoder frozen and in evaluation mode, compared bit by bit afterwards",
}
_TOKENS = "and the class token with its position, where there is one,"
_TRAINED: Mapping[Adapt, str] = {
    "full": "Encoder",
    "head": "Nothing of the encoder",
    "bitfit": f"The encoder's biases {_TOKENS}",
    "prompt": f"{{size}} prompts for every self-attention, read through a factor that starts at 0, {_TOKENS}",
    "adapter": f"Adapters of width {{size}} behind every perceptron, which start at 0, {_TOKENS}",
    "lora": f"Updates of rank {{size}} to the query, key and value layers, scaled by 2, which start at 0, {_TOKENS}",
}
_STARTS = {
    "probe": (
        "a linear layer on standardised features (BatchNorm without weights)",
        "The head starts as the logistic regression of the linear probe, fitted on the frozen feature of the "
        "objects that are trained on (Kumar et al., ICLR 2022); C is chosen on validation from {strengths} values, and "
        "with it the {candidates}. This start counts as epoch 0; where no epoch is better on validation it is "
        "fitted again on all training objects, as the linear probe is.",
    ),
    "mlp": (
        "a three-layer head",
        "The head is drawn at random; of several candidates the best on validation after a fifth of the epochs goes "
        "on.",
    ),
}
_PUBLISHED = (
    "As released (docs/reference.md, Fine-tuning): encoder and three-layer head on the feature '{options.feature}' are "
    "trained together by the "
    "authors' recipe for the method and the kind of data set (names with modelnet: ModelNet; all others: "
    "ScanObjectNN). point-mae: learning rate 5e-4, drop path 0.1, per-axis scale and translate. act: 5e-4, 0.1, "
    "rotation about y. recon: 2e-5 (ModelNet 1e-5), 10 times that and weight decay 0.05 for head, class token and its "
    "position, drop path 0.2, rotation about y (ModelNet: scale and translate). two-tower: ReCon's at 5e-5 "
    "(docs/reference.md, Two-tower). "
    "Every other method, scratch included, takes Point-MAE's. AdamW, weight decay 0.05, batch 32, clip 10, cosine with "
    "10 warm-up epochs of 300 and the released loop's schedule (301 epochs, two at the warm-up rate); the last partial "
    "batch is dropped. "
    + PUBLISHED_INPUT
    + PUBLISHED_SELECTION
    + "Rows with votes={options.votes} average the logits of so many random draws of points (point-mae, act: scaled "
    "and translated; recon: scaled on ModelNet, rotated on PB_T50_RS, else as they are); the maximum over "
    "{options.vote_repeats} repeats of the vote at the epoch chosen on test (releases: 299) has a row of its own and "
    "is never the headline. " + PUBLISHED_DEVIATIONS
)
