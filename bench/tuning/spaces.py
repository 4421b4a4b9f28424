"""Search spaces of ``bench tune``: by protocol, and the same for every method, ``scratch`` included.

A space is made from the protocol and its options alone; no method is asked. Learning rates of the papers differ 25 to
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
"""Significant digits of a number that is tried: what is printed is exactly what ran."""


@dataclass(frozen=True)
class Dimension:
    """One thing that is searched.

    Attributes:
        path: Where it is set, as for ``--set``, e.g. ``finetune.recipe.lr``.
        kind: ``log`` and ``uniform`` (numbers), ``integer`` (on a logarithmic scale), ``choice``.
        low: Smallest number.
        high: Largest number.
        choices: Values by name, for ``choice``.
        listed: Whether the field wants a list, which then has this one value.
        pretraining: Whether it changes pretraining, which ``scratch`` has none of.
    """

    path: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[tuple[str, JsonValue], ...] = ()
    listed: bool = False
    pretraining: bool = False

    def value(self, drawn: float | int | str) -> JsonValue:
        """Turn what the sampler drew into what is set."""
        found: JsonValue
        if self.kind == "choice":
            found = dict(self.choices)[str(drawn)]
        elif self.kind == "integer":
            found = int(drawn)
        else:
            found = float(f"{float(drawn):.{_DIGITS}g}")
        return [found] if self.listed else found

    def drawn(self, value: object) -> float | int | str | None:
        """Return what the sampler would have drawn to get a value; None where it is outside the space."""
        if self.listed:
            value = value[0] if isinstance(value, list) and len(value) == 1 else None
        if self.kind == "choice":
            return next((name for name, choice in self.choices if choice == value), None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        return int(value) if self.kind == "integer" else float(value)

    def describe(self) -> str:
        """Return the dimension in one line, e.g. ``finetune.recipe.lr: 1e-05 to 0.01, logarithmic``."""
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
        """SHA-256 of the whole space; methods tuned in spaces of equal digest had the same chances."""
        plain: list[JsonValue] = [
            [d.path, d.kind, d.low, d.high, [[name, value] for name, value in d.choices]] for d in self.dimensions
        ]
        return content_key(plain)

    def of(self, *, pretrained: bool) -> SearchSpace:
        """Return what of the space exists for an encoder: without pretraining, its dimensions do nothing."""
        return self if pretrained else SearchSpace(tuple(d for d in self.dimensions if not d.pretraining))

    def values(self, drawn: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Turn what the sampler drew, by path, into assignments of ``--set``."""
        return {d.path: d.value(drawn[d.path]) for d in self.dimensions}


def search_space(protocol: str, options: Mapping[str, JsonValue], what: What) -> SearchSpace:
    """Return the space of a protocol under its options.

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
    """Refuse to change fields of a recipe that is not there: the others would be nobody's choice."""
    for dimension in dimensions:
        _, name, *inner = dimension.path.split(".")
        if inner and not isinstance(options.get(name), dict):
            raise UsageError(f"{dimension.path} cannot be searched: the protocol's option {name} is not set")


def validated_what(text: str) -> What:
    """Read ``--what``.

    Raises:
        UsageError: It is none of the three.
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
"""Of pretraining; its epochs stay what they are."""

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
    """Training of encoder and head together: rates, decay, how much faster the head learns, augmentation."""
    return (
        _log(f"{recipe}.lr", 1e-5, 1e-2),
        _log(f"{recipe}.weight_decay", 1e-4, 0.5),
        _log(f"{recipe}.head_lr_scale", 1.0, 30.0),
        _choice(f"{recipe}.augmentation", augmentations),
    )


def _tuned_head(recipe: str) -> tuple[Dimension, ...]:
    """Training of a head on frozen features."""
    return (_log(f"{recipe}.lr", 1e-5, 3e-2), _log(f"{recipe}.weight_decay", 1e-5, 0.5))


def _strength(protocol: str) -> tuple[Dimension, ...]:
    """The penalty of a convex head: C, the inverse of its weight decay, finer than the protocol's own grid."""
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
    """Space of any other protocol: every recipe among its options, and penalties it chooses from."""
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
