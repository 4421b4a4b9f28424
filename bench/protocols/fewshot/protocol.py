"""Few-shot classification: w ways, n shots, ten folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

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
from bench.protocols.fewshot.options import FewShotOptions
from bench.protocols.options import CANDIDATES, idle_on_features, recipe_words
from bench.protocols.trained_options import check_form, shortened_words
from bench.recipes.downstream import fair_recipe, released_epochs

if TYPE_CHECKING:
    from bench.protocols.fewshot.folds import Folds
    from bench.protocols.fewshot.scoring import Judged


class FewShot(Protocol[FewShotOptions]):
    """w-way n-shot classification on folds shared by all runs."""

    name: ClassVar[str] = "fewshot"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "w-way n-shot classification over 10 folds"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    given_folds: ClassVar[bool] = True

    Options: ClassVar[type[FewShotOptions]] = FewShotOptions

    @classmethod
    def settings(cls, options: FewShotOptions) -> tuple[str, ...]:
        """Return the settings offered, e.g. ``5w10s``."""
        return options.ways_shots

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> FewShotOptions:
        """Return the options of a preset.

        ``nano`` probes cached features, ``smoke`` only tests that everything runs, the others fine-tune.
        """
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
    def trains_encoder(cls, options: FewShotOptions) -> bool:
        """Return whether a head sees anything but frozen features."""
        return options.head == "full" or (options.form == "published" and options.head != "svm")

    @classmethod
    def calibrates(cls, options: FewShotOptions, form: Form) -> bool:
        """Return whether this is the fair form on frozen features.

        No release recalibrates BatchNorm.
        """
        return form == "fair" and options.head != "full"

    @classmethod
    def idle(cls, options: FewShotOptions) -> Mapping[str, str]:
        """See `Protocol.idle`: each head ignores the other heads' recipes."""
        if options.form == "published":
            return {}  # where they belong to the fair form
        needed = {"strengths": ("linear", "svm"), "mlp_recipe": ("mlp",), "full_recipe": ("full",)}
        found = {
            field: f"with head={options.head}; it needs head={' or '.join(heads)}"
            for field, heads in needed.items()
            if options.head not in heads
        }
        return {**found, **idle_on_features("mlp_recipe")}

    @classmethod
    def keeps_clouds(cls, options: FewShotOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return "CrossPoint's episodes use no test split" if options.episodes == "crosspoint" else ""

    @classmethod
    def describe(cls, options: FewShotOptions) -> Description:
        """See `Protocol.describe`."""
        part = set_aside(options.validation_fraction)
        drawn = split_stated(
            f"{part.words}; {options.folds} folds, {options.queries} queries per class",
            drawn=True,
            folds=options.folds,
            queries=options.queries,
            **part.values,
        )
        if options.episodes == "crosspoint":
            return Description(
                points=FARTHEST,
                normalisation=AS_STORED,
                augmentation=NOT_AUGMENTED,
                split=split_stated(
                    f"{options.folds} runs, supports and {options.queries} queries per class from the training split, "
                    f"{options.validation_fraction:.0%} of it for choosing among several candidates, {SPLIT_SEED}",
                    drawn=True,
                    runs=options.folds,
                    queries=options.queries,
                    of="training split",
                    set_aside_for_candidates=options.validation_fraction,
                ),
                votes=NO_VOTES,
                selection=CANDIDATE_CHOSEN,
            )
        if options.form == "published":
            return Description(
                points=DRAWN,
                normalisation=normalised(True),
                augmentation=AUTHORS_AUGMENTATION if options.recipe is None else augmented(options.recipe.augmentation),
                split=drawn,
                votes=NO_VOTES,
                selection=EPOCH_CHOSEN,
            )
        whole = options.head == "full"
        return Description(
            points=DRAWN if whole else FARTHEST,
            normalisation=normalised(options.normalise),
            augmentation=augmented(options.full_recipe.augmentation) if whole else NOT_AUGMENTED,
            split=drawn,
            votes=NO_VOTES,
            selection=EPOCH_CHOSEN if options.head in ("full", "mlp") else SETTING_CHOSEN,
        )

    @classmethod
    def card(cls, options: FewShotOptions) -> str:
        """State what is done."""
        if options.form == "published":
            if options.episodes == "crosspoint":
                return _CROSSPOINT.format(options=options)
            return _PUBLISHED.format(options=options, head=_RELEASED_HEADS.get(options.head, "")) + shortened_words(
                options
            )
        full, mlp = recipe_words(options.full_recipe), recipe_words(options.mlp_recipe)
        heads = _HEADS[options.head].format(options=options, full=full, mlp=mlp, candidates=CANDIDATES)
        return (
            f"{options.folds} folds; each draws its classes, n labelled supports per class from the training split and "
            f"up to {options.queries} queries per class from the test split, fixed by the split seed and the same for "
            f"every method and pretraining seed. {options.validation_fraction:.0%} of every training class is set "
            f"aside before supports are drawn and serves every choice. {heads} Settings that a data set "
            "is too small for are clipped and say so. Test queries are scored once, after every choice; accuracy is "
            "the mean over folds. No voting. A data set of few-shot folds brings its own supports and queries; choices "
            "are then made on supports of other folds. selection=last is the last epoch of trained heads; with "
            "--legacy, selection=test is what choosing epoch or strength on the queries would give. The papers train "
            "by a recipe per method and choose on the queries: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: FewShotOptions) -> Evaluation:
        """Judge a subject in one setting.

        Raises:
            UsageError: The setting is malformed, or the encoder has no such feature.
            DataError: The data set cannot carry even a clipped form of the setting.
            BenchError: The encoder's features are not finite, or fine-tuning diverged.
            Interrupted: Fine-tuning was asked to stop; its state is saved.
        """
        from bench.protocols.fewshot.folds import draw_folds
        from bench.protocols.fewshot.scoring import finish

        check_form(cls.name, options, task)
        if options.episodes == "crosspoint":
            from bench.protocols.fewshot.episodes import judge_episodes

            return judge_episodes(subject, task, setting, options)
        folds = draw_folds(task, setting, options)
        return finish(subject, task, options, folds, cls._judge(subject, task, options, folds))

    @classmethod
    def _judge(cls, subject: Subject, task: Task, options: FewShotOptions, folds: Folds) -> Judged:
        """Fit heads and make every choice without any test label."""
        if options.form == "published":
            from bench.protocols.fewshot.training import judge_released

            return judge_released(subject, task, options, folds)
        if options.head in ("linear", "svm"):
            from bench.protocols.fewshot.frozen import HingeHeads, LogisticHeads, judge_frozen

            fit = LogisticHeads.on if options.head == "linear" else HingeHeads.on
            return judge_frozen(subject, task, options, folds, fit)
        if options.head == "mlp":
            from bench.protocols.fewshot.training import judge_mlp

            return judge_mlp(subject, task, options, folds)
        from bench.protocols.fewshot.training import judge_full

        return judge_full(subject, task, options, folds)


_HEADS = {
    "linear": (
        "Head linear: multinomial logistic regression on the frozen feature '{options.feature}', standardised on the "
        "supports and divided by the root of its width. C is chosen from {options.strengths} once per setting on as "
        "many validation episodes (other draws of classes and supports, queries from the validation part), together "
        "with the {candidates}."
    ),
    "svm": (
        "Head svm: linear support vector machines, one class against the rest, on the frozen feature "
        "'{options.feature}', standardised on the supports and divided by the root of its width. C is chosen from "
        "{options.strengths} as for the linear head, together with the {candidates}."
    ),
    "mlp": (
        "Head mlp: the three-layer head on the frozen feature '{options.feature}': {mlp}; the epoch of each fold, and "
        "the {candidates}, are chosen on validation objects of the fold's classes."
    ),
    "full": (
        "Head full: encoder and three-layer head on the feature '{options.feature}' are fine-tuned together, the "
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
    "As released (docs/reference.md, Few-shot): {options.folds} folds; {head}, on the feature '{options.feature}'. "
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
    "classes. Else folds are drawn as in the fair form: up to {options.queries} queries per class from the test split, "
    "supports from the training split without the {options.validation_fraction:.0%} that is set aside for choices. "
    "Deviations from the papers: points and patches are those of the preset (papers: 1024 in 64 patches); of several "
    "candidates fold 0 chooses one on validation."
)
_CROSSPOINT = (
    "CrossPoint's episodes (docs/reference.md, CrossPoint episodes): {options.folds} runs, each with classes of its "
    "own, n supports per class and "
    "{options.queries} queries per class, all from the training split; the test split is not used, so that the numbers "
    "do not compare with folds. libsvm's linear machine at C = 1, one class against one other, on the frozen feature "
    "'svm' standardised on the supports, clouds as stored. Accuracy is the mean over runs. Nothing is chosen, except "
    "the candidate where there are several, on episodes from the {options.validation_fraction:.0%} of every class "
    "(half where these are single objects) that is set aside and never asked. Deviations from the release: its script "
    "takes 50 runs (fewshot.folds=50), all 2048 points, 5 neighbours in DGCNN where training had 15, and the whole "
    "training split; here points and neighbours are the encoder's own."
)
