"""Description of a protocol, point by point.

Each point has values, which tell runs apart, and words for people.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, JsonValue

from bench.spec import Recipe


class Stated(BaseModel):
    """One point of a description.

    Attributes:
        words: Text for people; may be reworded at any time.
        values: The same as data; the hash of a card covers these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str
    values: dict[str, JsonValue]


class SplitStated(Stated):
    """Split of a data set into training, validation and test.

    Attributes:
        drawn: Whether anything depends on the split seed, such as a validation part, or folds.
    """

    drawn: bool


class Description(BaseModel):
    """Point-by-point description of a protocol; None means not stated.

    Attributes:
        points: Number and choice of a cloud's points.
        normalisation: Translation and scaling of clouds.
        augmentation: Random changes of training clouds.
        split: Objects for training, validation and test.
        votes: Number of predictions averaged per object.
        selection: Things that are chosen, and the data for the choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: Stated | None = None
    normalisation: Stated | None = None
    augmentation: Stated | None = None
    split: SplitStated | None = None
    votes: Stated | None = None
    selection: Stated | None = None


def stated(words: str, **values: JsonValue) -> Stated:
    """Build one point: words for people, values for the hash."""
    return Stated(words=words, values=values)


def split_stated(words: str, *, drawn: bool, **values: JsonValue) -> SplitStated:
    """Build the point about splits; say whether the seed matters."""
    return SplitStated(words=words, values=values, drawn=drawn)


UNIT_SPHERE = "centred, scaled into the unit sphere"
SPLIT_SEED = "fixed by the split seed (--split-seeds; 0 by default); its digest is in every run"

FARTHEST = stated("farthest point sampling to the encoder's number, the same points every time", sampling="farthest")
DRAWN = stated(
    "training: drawn in every step from a farthest-point sample of 1200 for 1024 (in that proportion); evaluation: "
    "farthest point sampling to the encoder's number",
    sampling="drawn from farthest",
    of=[1200, 1024],
)
AS_STORED = stated("as stored", scale="as stored")
MODELNET_SCALED = stated(f"ModelNet: {UNIT_SPHERE}; other data sets: as stored", scale="unit sphere", only="modelnet")
NOT_AUGMENTED = stated("none", names=[])
AUTHORS_AUGMENTATION = stated("the authors', by method and data set", names="by method and data set")
NO_VOTES = stated("none", votes=0)
NOTHING_CHOSEN = stated("nothing is chosen", chosen=[])
CANDIDATE_CHOSEN = stated(
    "nothing is chosen, except the candidate where there are several; test is scored once",
    chosen=["candidate"],
    on="validation",
)
SETTING_CHOSEN = stated(
    "val: the setting, and the candidate where there are several, best on validation; then test is scored once",
    chosen=["setting"],
    on="validation",
)
EPOCH_CHOSEN = stated(
    "val: the epoch, and the candidate where there are several, best on validation; then test is scored once; last "
    "epoch and, asked for, test in columns of their own",
    chosen=["epoch"],
    on="validation",
)


def normalised(wanted: bool) -> Stated:
    """Say whether clouds are scaled into the unit sphere."""
    return stated(UNIT_SPHERE, scale="unit sphere") if wanted else AS_STORED


def augmented(names: Iterable[str]) -> Stated:
    """Name the augmentations used."""
    found: list[JsonValue] = list(names)
    return stated(", ".join(map(str, found)), names=found) if found else NOT_AUGMENTED


def set_aside(share: float, of: str = "training class") -> SplitStated:
    """State the share of training data set aside for validation."""
    words = f"{share:.0%} of every {of} for validation, stratified, {SPLIT_SEED}"
    return split_stated(words, drawn=True, set_aside=share, of=of)


def voted(votes: int, repeats: int = 1) -> Stated:
    """Describe voting over random draws of points."""
    if not votes:
        return NO_VOTES
    most = f"; maximum of {repeats} repeats in a row of its own" if repeats > 1 else ""
    words = f"{votes} draws of points in rows of their own; the headline never votes{most}"
    return stated(words, votes=votes, repeats=repeats)


def on_frozen_features(normalise: bool, split: SplitStated, selection: Stated) -> Description:
    """Describe a protocol that encodes every cloud once, frozen."""
    return Description(
        points=FARTHEST,
        normalisation=normalised(normalise),
        augmentation=NOT_AUGMENTED,
        split=split,
        votes=NO_VOTES,
        selection=selection,
    )


def published_probe(recipe: Recipe | None, validation_fraction: float) -> Description:
    """Describe a head trained by a given or released recipe.

    The released recipe is that of the authors for the method and data set.
    """
    return Description(
        points=DRAWN,
        normalisation=MODELNET_SCALED,
        augmentation=AUTHORS_AUGMENTATION if recipe is None else augmented(recipe.augmentation),
        split=set_aside(validation_fraction),
        votes=NO_VOTES,
        selection=EPOCH_CHOSEN,
    )
