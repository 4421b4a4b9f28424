"""Cached defaults of built-in units, read without importing them (see `bench.plan.answers`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

from pydantic import BaseModel, JsonValue

from bench.chosen import ChosenMethod, chosen_method
from bench.plan.answers import cached_answer
from bench.plan.presets import preset
from bench.plan.recipes import shipped_recipe
from bench.plan.untrained import network_of
from bench.registry import BACKBONE_PARTS, DATASETS, METHODS, PROTOCOLS, TEACHERS, Entry
from bench.spec import Options, Recipe, TransformerShape

Form = Literal["fair", "published"]


def protocol_defaults(name: str, size: str, form: Form) -> Options:
    """Return the options of a protocol in a preset."""
    return _options(
        [PROTOCOLS.entry(name)],
        ("protocol", name, size, form),
        lambda: PROTOCOLS.load(name).defaults(size, form).model_dump(mode="json"),
    )


def method_defaults(name: str, size: str, transformer: JsonValue) -> Options:
    """Return a method's options in a preset.

    Completed by the shape of its teacher's transformer, if any.
    """

    def asked() -> Options:
        teacher = TransformerShape.model_validate(transformer) if isinstance(transformer, dict) else None
        method = METHODS.load(name)
        options: Options = method.complete(method.defaults(size), teacher).model_dump(mode="json")
        return options

    return _options([METHODS.entry(name)], ("method", name, size, transformer), asked)


def network_defaults(name: str, size: str, form: str) -> Options:
    """Return the options of the untrained network for comparison."""

    def asked() -> Options:
        method = METHODS.load(name)
        return network_of(ChosenMethod(name, method, method.defaults(size)), form)[1]

    return _options([METHODS.entry(name)], ("network", name, size, form), asked)


def recipe_defaults(method: str, size: str, dataset: str) -> Recipe:
    """Return a method's shipped recipe (see `bench.plan.recipes.shipped_recipe`)."""
    return Recipe.model_validate(
        _options(
            [METHODS.entry(method), DATASETS.entry(dataset)],
            ("recipe", method, size, dataset),
            lambda: shipped_recipe(method, size, dataset).model_dump(mode="json"),
        )
    )


def part_defaults(part: str, name: str) -> Options:
    """Return the options of a part of the backbone."""
    registry = BACKBONE_PARTS[part]
    return _options(
        [registry.entry(name)], ("part", part, name), lambda: registry.load(name).Options().model_dump(mode="json")
    )


def teacher_defaults(name: str, size: str) -> Options:
    """Return a teacher's options with a default in a preset."""
    given = preset(size).teacher.get(name, {})
    return _options(
        [TEACHERS.entry(name)], ("teacher", name, size), lambda: _with_default(TEACHERS.load(name).Options, given)
    )


def data_defaults(name: str, size: str) -> Options:
    """Return a data set's options that have a default."""
    given = preset(size).data.get(name, {})
    return _options(
        [DATASETS.entry(name)], ("data", name, size), lambda: _with_default(DATASETS.load(name).Options, given)
    )


def caption_default(method: str, options: Options, dataset: str) -> str:
    """Return the default source of captions.

    The data set, if it has captions and the method reads texts.
    """

    def asked() -> str:
        chosen = chosen_method(method, options)
        reads = "text" in chosen.method.uses(chosen.options)
        return "dataset" if reads and DATASETS.load(dataset).card.has_captions else "none"

    entries = [METHODS.entry(method), DATASETS.entry(dataset)]
    return str(cached_answer(entries, ("captions", method, options, dataset), asked))


def _with_default(options: type[BaseModel], given: Options) -> Options:
    fields = options.model_fields
    plain = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    values = options.model_construct(**{**plain, **given}).model_dump(mode="json")
    return {name: values[name] for name, field in fields.items() if not field.is_required() or name in given}


def _options(entries: Sequence[Entry], question: tuple[object, ...], ask: Callable[[], Options]) -> Options:
    return cast(Options, cached_answer(entries, question, ask))
