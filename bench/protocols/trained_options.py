"""Options of protocols that train, or have two forms."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field, model_validator

from bench.errors import UsageError
from bench.protocols.base import Form, ProtocolOptions, Task
from bench.spec import MOST, Recipe


class FormOptions(ProtocolOptions):
    """Base of options that are valid in one form only.

    Attributes:
        fair_only: Fields that mean something in the fair form alone; in the published one they keep their defaults.
        published_only: The same the other way round.
    """

    fair_only: ClassVar[tuple[str, ...]] = ()
    published_only: ClassVar[tuple[str, ...]] = ()

    form: Form = "fair"
    """Follows ``--form``; not to be set by hand."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> FormOptions:
        fields = type(self).model_fields
        for name in self.fair_only if self.form == "published" else self.published_only:
            if getattr(self, name) != fields[name].get_default(call_default_factory=True):
                other = "fair" if self.form == "published" else "published"
                raise ValueError(f"{name} belongs to the {other} form; the {self.form} form does not use it")
        return self


class PublishedTraining(FormOptions):
    """Options that change a release's training."""

    recipe: Recipe | None = None
    """Recipe; null takes the authors' by method and data set (published form)."""
    published_epochs: int | None = Field(None, ge=1, le=MOST)
    """Published form: shorten the authors' recipe to so many epochs, warm-up in proportion."""

    @model_validator(mode="after")
    def _epochs_have_a_recipe(self) -> PublishedTraining:
        if self.published_epochs is not None and (self.form == "fair" or self.recipe is not None):
            raise ValueError("published_epochs shortens the authors' recipe; set recipe.epochs of a recipe of your own")
        return self


def shortened_words(options: PublishedTraining) -> str:
    """Say whether a preset shortens the authors' recipe; empty otherwise."""
    epochs = options.published_epochs
    return "" if epochs is None else f" Shortened here to {epochs} epochs (published_epochs), warm-up in proportion."


def check_form(protocol: str, options: FormOptions, task: Task) -> None:
    """Refuse options of one form under the other.

    Raises:
        UsageError: They disagree.
    """
    refuse_other_form(protocol, options, task.form)


def refuse_other_form(protocol: str, options: BaseModel, form: Form) -> None:
    """Refuse options whose `form` is not the one requested.

    Options without a form are accepted.

    Raises:
        UsageError: They disagree.
    """
    own = getattr(options, "form", form)
    if own != form:
        raise UsageError(
            f"{protocol}: option form is '{own}' in a run of the {form} form; use --form {own} instead of setting it"
        )


PUBLISHED_SELECTION = (
    "{options.validation_fraction:.0%} of every training class is set aside (stratified, fixed by the split seed); the "
    "headline is the epoch with the highest accuracy there, selection=last the last epoch, selection=test the epoch "
    "with the highest test accuracy, which is what the papers report. "
)
PUBLISHED_INPUT = (
    "In each step a cloud is shuffled and cut by the released farthest point sampling, which never picks points within "
    "0.03 of the origin, to 1200 points for an encoder's 1024 (in that proportion; 8192 for 8192), from which the step "
    "draws, the same positions in the whole batch; evaluation samples the encoder's number of points "
    "deterministically. ModelNet clouds are brought to the unit sphere, others stay as stored. "
)
PUBLISHED_DEVIATIONS = (
    "Deviations from the papers: they train on the objects set aside here too and see the test split after every "
    "epoch; points and patches are those of the preset (papers: 1024 points in 64 patches on ModelNet, 2048 in 128 on "
    "ScanObjectNN); of several candidates the best after a fifth of the epochs goes on; bench report --selection "
    "shows the best of seeds (ReCon's of 8), not the best of ReCon's checkpoints of epochs 250, 275 and 300."
)
PROBE_CARD = (
    "As released (docs/reference.md, Linear and MLP probes): {head} on the feature '{options.feature}' is trained on "
    "clouds together with the class token "
    "and its position; the rest is frozen, but stays in train mode: BatchNorm of the patch embedding uses and updates "
    "batch statistics and stochastic depth is on. recon: AdamW, learning rate 1e-4, 10 times that and weight decay "
    "0.05 for everything trained, drop path 0.2, rotation about y (ModelNet: scale and translate); every other method "
    "takes ACT's, learning rate 1e-3, drop path 0.1, rotation about y. Batch 32, clip 10, cosine with 10 warm-up "
    "epochs of 300 and the released loop's schedule (301 epochs, two at the warm-up rate); the last partial batch is "
    "dropped. The release's OBJ_ONLY config of ACT, which by a typing error fine-tunes everything, is not imitated. "
    + PUBLISHED_INPUT
    + PUBLISHED_SELECTION
    + "No voting. "
    + PUBLISHED_DEVIATIONS
)
