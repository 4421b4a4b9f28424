"""Protocol cards: the versioned statement of what a protocol does under its options, and where it leaves the papers.

A run carries the card's hash, so that two numbers can be told to have come about alike. Importing this is cheap, and
nothing that makes a number imports it: wording may improve without a stored result going stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from bench.protocols.base import Form, Protocol
from bench.protocols.card_texts import DEVIATIONS
from bench.spec import content_key

_FROZEN = "farthest point sampling to the encoder's number, the same points every time"
_DRAWN = (
    "training: drawn in every step from a farthest-point sample of 1200 for 1024 (in that proportion); evaluation: "
    "farthest point sampling to the encoder's number"
)
_TRAINED = ("finetune", "partseg", "semseg")


class Particulars(BaseModel):
    """The points that make two protocols of one name differ, one sentence each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: str
    normalisation: str
    augmentation: str
    split: str
    votes: str
    selection: str


class ProtocolCard(BaseModel):
    """What is done, for people and as data.

    Attributes:
        name: Protocol.
        revision: Raised by its author whenever what is done changes.
        form: ``fair`` or ``published``.
        metric: Its headline metric.
        statement: What is done, in sentences.
        particulars: The same, point by point.
        deviations: By paper, what it does otherwise.
        options: Options, resolved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    revision: int
    form: Form
    metric: str
    statement: str
    particulars: Particulars
    deviations: dict[str, str]
    options: dict[str, JsonValue]

    @property
    def hash(self) -> str:
        """SHA-256 of text, revision and options."""
        return content_key(self)


def card_of(protocol: type[Protocol], options: BaseModel, form: Form) -> ProtocolCard:
    """Make the card of a protocol under its options.

    Args:
        protocol: The protocol.
        options: Its options.
        form: The form it is carried out in.
    """
    plain = options.model_dump(mode="json")
    return ProtocolCard(
        name=protocol.name,
        revision=protocol.revision,
        form=form,
        metric=protocol.metric,
        statement=protocol.card(options),
        particulars=_particulars(protocol.name, plain, form),
        deviations=dict(protocol.deviations or DEVIATIONS.get(protocol.name, {}).get(form, {})),
        options=plain,
    )


def card_hash(protocol: type[Protocol], options: BaseModel, form: Form) -> str:
    """Hash of a protocol's card; a run's provenance carries it."""
    return card_of(protocol, options, form).hash


def _particulars(name: str, options: Mapping[str, Any], form: Form) -> Particulars:
    recipe = _recipe(name, options, form)
    trains = name in _TRAINED or options.get("head") == "full"
    return Particulars(
        points=_points(name, options, form, trains),
        normalisation=_normalisation(name, options, form),
        augmentation=_augmentation(name, options, form, recipe, trains),
        split=_split(name, options, form),
        votes=_votes(options),
        selection=_selection(name, options, form, trains or recipe is not None),
    )


def _recipe(name: str, options: Mapping[str, Any], form: Form) -> Mapping[str, Any] | None:
    """Recipe of the training that takes place, where it is stated."""
    field = f"{options.get('head')}_recipe" if name == "fewshot" and form == "fair" else "recipe"
    found = options.get(field)
    return found if isinstance(found, dict) else None


def _points(name: str, options: Mapping[str, Any], form: Form, trains: bool) -> str:
    count = "as many as the backbone sees" if options.get("points") is None else str(options["points"])
    if name == "semseg":
        return f"blocks of 1 m x 1 m, {count} points each, coordinates only"
    if name == "partseg":
        return f"{count}; validation and test: farthest point sampling, the same in every epoch"
    if name == "zeroshot" and options.get("patches") == "published":
        return "1024, on ScanObjectNN 2048, farthest point sampling"
    probes = form == "published" and name in ("linear", "mlp", "fewshot") and options.get("episodes") != "crosspoint"
    return _DRAWN if trains or probes else _FROZEN


def _normalisation(name: str, options: Mapping[str, Any], form: Form) -> str:
    if name == "semseg":
        return "x and y minus the middle of the block, z as stored"
    if options.get("episodes") == "crosspoint":
        return "as stored"
    if form == "published" and name == "fewshot":
        return "centred, scaled into the unit sphere"
    if form == "published" and name == "zeroshot":
        return "ScanObjectNN: as stored; other data sets: centred, scaled into the unit sphere"
    if form == "published" and name != "partseg":
        return "ModelNet: centred, scaled into the unit sphere; other data sets: as stored"
    return "centred, scaled into the unit sphere" if options.get("normalise", True) else "as stored"


def _augmentation(
    name: str, options: Mapping[str, Any], form: Form, recipe: Mapping[str, Any] | None, trains: bool
) -> str:
    if options.get("episodes") == "crosspoint":
        return "none"
    if recipe is not None:
        return ", ".join(recipe.get("augmentation") or ()) or "none"
    if form == "published" and name in ("finetune", "linear", "mlp", "fewshot"):
        return "the authors', by method and data set"
    return "isotropic_scale, shift_tenth" if trains else "none"


def _split(name: str, options: Mapping[str, Any], form: Form) -> str:
    seed = "fixed by the split seed (0 unless a run says otherwise); its digest is in every run"
    share = options.get("validation_fraction")
    if name == "semseg":
        area = options.get("validation_area")
        part = f"{share:.0%} of every other area's rooms" if area is None else f"area {area}"
        return f"one area for test, {part} for validation, {seed}"
    if share is None or (name == "zeroshot" and form == "published"):
        return "training and test split of the data set; nothing is set aside"
    crossed = options.get("cv_folds")
    if crossed is not None and form == "fair":
        return f"{crossed} parts of the training split, each held out once for choices, stratified, {seed}"
    if name == "svm" and form == "published":
        return f"all of the training split; {share:.0%} of every class only choose among several candidates, {seed}"
    part = f"{share:.0%} of every training class for validation, stratified, {seed}"
    folds = options.get("folds")
    return part if folds is None else f"{part}; {folds} folds, {options.get('queries')} queries per class"


def _votes(options: Mapping[str, Any]) -> str:
    votes, repeats = options.get("votes", 0), options.get("vote_repeats", 1)
    if "vote" in options:
        return f"{votes} over sliding windows of a room, adding {options['vote']}"
    if not votes:
        return "none"
    most = f"; maximum of {repeats} repeats in a row of its own" if repeats > 1 else ""
    return f"{votes} draws of points in rows of their own; the headline never votes{most}"


def _selection(name: str, options: Mapping[str, Any], form: Form, epochs: bool) -> str:
    if name == "retrieval" or options.get("episodes") == "crosspoint":
        return "nothing is chosen"
    if name in ("svm", "zeroshot") and form == "published":
        return "nothing is chosen; test is scored once"
    what = "epoch" if epochs or (form == "published" and name in ("linear", "mlp", "fewshot")) else "setting"
    also = "; last epoch and, asked for, test in columns of their own" if what == "epoch" else ""
    return f"val: the {what} that is best on validation, then test is scored once{also}"
