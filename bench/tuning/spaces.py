"""Search spaces of ``bench tune``, one per protocol.

Every method has the same space, ``scratch`` included.

A space depends on the protocol and its options alone. Learning rates of the papers differ 25 to
50 times between methods (docs/reference.md#fine-tuning), so the ranges hold all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import JsonValue

from bench.errors import UsageError
from bench.spec import content_key

What = Literal["downstream", "pretrain", "both"]
Kind = Literal["log", "uniform", "integer", "choice"]
WHATS: tuple[What, ...] = get_args(What)

_DIGITS = 4
"""Significant digits of a trial's values, so that the printed value is exactly the one that ran."""


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter.

    Attributes:
        path: Field as in ``--set``, e.g. ``finetune.recipe.lr``.
        kind: ``log`` and ``uniform`` (numbers), ``integer`` (on a logarithmic scale), ``choice``.
        low: Smallest number.
        high: Largest number.
        choices: Values by name, for ``choice``.
        listed: Whether the field is a list; it then gets the value as its only entry.
        pretraining: Whether it changes pretraining, so that it has no effect on ``scratch``.
    """

    path: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[tuple[str, JsonValue], ...] = ()
    listed: bool = False
    pretraining: bool = False

    def value(self, drawn: float | int | str) -> JsonValue:
        """Return the field's value for a sampled number or name."""
        found: JsonValue
        if self.kind == "choice":
            found = dict(self.choices)[str(drawn)]
        elif self.kind == "integer":
            found = int(drawn)
        else:
            found = float(f"{float(drawn):.{_DIGITS}g}")
        return [found] if self.listed else found

    def drawn(self, value: object) -> float | int | str | None:
        """Return the sampler's form of a value (inverse of `value`).

        None if the value lies outside the space.
        """
        if self.listed:
            value = value[0] if isinstance(value, list) and len(value) == 1 else None
        if self.kind == "choice":
            return next((name for name, choice in self.choices if choice == value), None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        return int(value) if self.kind == "integer" else float(value)

    def describe(self) -> str:
        """Describe the dimension in one line.

        For example ``finetune.recipe.lr: 1e-05 to 0.01, logarithmic``.
        """
        if self.kind == "choice":
            return f"{self.path}: {', '.join(name for name, _ in self.choices)}"
        scale = {"log": ", logarithmic", "integer": ", whole numbers, logarithmic", "uniform": ""}[self.kind]
        return f"{self.path}: {self.low:g} to {self.high:g}{scale}"


@dataclass(frozen=True)
class SearchSpace:
    """Search space of one protocol, the same for every method.

    Attributes:
        dimensions: Downstream ones, then those of pretraining.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the space.

        Methods tuned in spaces of equal digest are comparable.
        """
        plain: list[JsonValue] = [
            [d.path, d.kind, d.low, d.high, [[name, value] for name, value in d.choices]] for d in self.dimensions
        ]
        return content_key(plain)

    def of(self, *, pretrained: bool) -> SearchSpace:
        """Return the dimensions that have an effect on an encoder.

        Without pretraining, dimensions of pretraining have none.
        """
        return self if pretrained else SearchSpace(tuple(d for d in self.dimensions if not d.pretraining))

    def values(self, drawn: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Return assignments of ``--set`` for sampled values, by path."""
        return {d.path: d.value(drawn[d.path]) for d in self.dimensions}


def search_space(protocol: str, options: Mapping[str, JsonValue], what: What) -> SearchSpace:
    """Return the search space of a protocol and its options.

    Args:
        protocol: Name of the protocol.
        options: Its resolved options.
        what: Whether the protocol's own training is searched, the pretraining, or both.

    Raises:
        UsageError: The protocol trains and chooses nothing, or its options fix what would be searched.
    """
    if options.get("form", "fair") != "fair":
        raise UsageError("--form published: its values are the authors'; bench tune searches in the fair form only")
    found = _SPACES.get(protocol, _derived)(protocol, options)
    if not found:
        raise UsageError(
            f"protocol '{protocol}' trains nothing and chooses nothing on validation, so there is nothing to tune"
        )
    if what == "pretrain":
        return SearchSpace(PRETRAINING)
    _check_recipes(found, options)
    return SearchSpace(found if what == "downstream" else found + PRETRAINING)


def _check_recipes(dimensions: tuple[Dimension, ...], options: Mapping[str, JsonValue]) -> None:
    """Refuse dimensions of a recipe that the options leave unset.

    The remaining fields of such a recipe would have no values.
    """
    for dimension in dimensions:
        _, name, *inner = dimension.path.split(".")
        if inner and not isinstance(options.get(name), dict):
            raise UsageError(f"{dimension.path} cannot be searched: the protocol's option {name} is not set")


def validated_what(text: str) -> What:
    """Parse ``--what``.

    Raises:
        UsageError: The text is none of the three choices.
    """
    for what in WHATS:
        if text == what:
            return what
    raise UsageError(f"--what '{text}': expected {', '.join(WHATS)}")


def _log(path: str, low: float, high: float, *, listed: bool = False, pretraining: bool = False) -> Dimension:
    return Dimension(path, "log", low, high, listed=listed, pretraining=pretraining)


def _choice(path: str, choices: Mapping[str, JsonValue]) -> Dimension:
    return Dimension(path, "choice", choices=tuple(choices.items()))


PRETRAINING = (
    _log("recipe.lr", 1e-5, 1e-2, pretraining=True),
    _log("recipe.weight_decay", 1e-4, 0.5, pretraining=True),
)
"""Dimensions of pretraining; its number of epochs is not searched."""

_CLOUDS: dict[str, JsonValue] = {
    "none": [],
    "scale_translate": ["scale_translate"],
    "rotate_y": ["rotate_y"],
    "rotate_y+scale_translate": ["rotate_y", "scale_translate"],
}
_PARTS: dict[str, JsonValue] = {
    "none": [],
    "isotropic_scale": ["isotropic_scale"],
    "shift_tenth": ["shift_tenth"],
    "isotropic_scale+shift_tenth": ["isotropic_scale", "shift_tenth"],
}


def _tuned_encoder(recipe: str, augmentations: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    """Return dimensions of fine-tuning encoder and head together."""
    return (
        _log(f"{recipe}.lr", 1e-5, 1e-2),
        _log(f"{recipe}.weight_decay", 1e-4, 0.5),
        _log(f"{recipe}.head_lr_scale", 1.0, 30.0),
        _choice(f"{recipe}.augmentation", augmentations),
    )


def _tuned_head(recipe: str) -> tuple[Dimension, ...]:
    """Return dimensions of training a head on frozen features."""
    return (_log(f"{recipe}.lr", 1e-5, 3e-2), _log(f"{recipe}.weight_decay", 1e-5, 0.5))


def _strength(protocol: str) -> tuple[Dimension, ...]:
    """Return a convex head's penalty C as a dimension.

    C is the inverse of the weight decay; the search is finer than the protocol's own grid.
    """
    return (_log(f"{protocol}.strengths", 1e-2, 1e5, listed=True),)


def _probe(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    return _strength(protocol)


def _mlp(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    return _tuned_head(f"{protocol}.recipe")


def _knn(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    distances: dict[str, JsonValue] = {"cosine": ["cosine"], "euclidean": ["euclidean"]}
    return (Dimension(f"{protocol}.ks", "integer", 1, 30, listed=True), _choice(f"{protocol}.distances", distances))


def _fewshot(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    head = options.get("head")
    if head in ("linear", "svm"):
        return _strength(protocol)
    if head == "mlp":
        return _tuned_head(f"{protocol}.mlp_recipe")
    if head == "full":
        return _tuned_encoder(f"{protocol}.full_recipe", _CLOUDS)
    return _derived(protocol, options)


def _finetune(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    return _tuned_encoder(f"{protocol}.recipe", _CLOUDS)


def _segmentation(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    dropout = Dimension(f"{protocol}.dropout", "uniform", 0.0, 0.7)
    return (*_tuned_encoder(f"{protocol}.recipe", _PARTS), dropout)


def _zeroshot(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    return (_log(f"{protocol}.ratio", 0.02, 5.0),)


def _derived(protocol: str, options: Mapping[str, JsonValue]) -> tuple[Dimension, ...]:
    """Return the space of any other protocol.

    It holds rate and decay of every recipe among the options, and the penalty C if the options list penalties.
    """
    found: list[Dimension] = []
    for name, value in options.items():
        if isinstance(value, dict) and {"lr", "weight_decay"} <= value.keys():
            found += [_log(f"{protocol}.{name}.lr", 1e-5, 1e-2), _log(f"{protocol}.{name}.weight_decay", 1e-4, 0.5)]
    return tuple(found) + (_strength(protocol) if isinstance(options.get("strengths"), list) else ())


_SPACES: dict[str, Callable[[str, Mapping[str, JsonValue]], tuple[Dimension, ...]]] = {
    "finetune": _finetune,
    "fewshot": _fewshot,
    "knn": _knn,
    "linear": _probe,
    "mlp": _mlp,
    "partseg": _segmentation,
    "semseg": _segmentation,
    "svm": _probe,
    "zeroshot": _zeroshot,
}
