"""Swept options: axes, and the plain requests of their grid.

``--set recon.mask_ratio=0.2,0.4`` is one axis with two values; several axes form a grid. A point of the grid is an
ordinary request, so that a swept run has the key of the same run asked for alone.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue

from bench.data.local import resolve_dataset_ref
from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.request import RunRequest, split_values, validated
from bench.registry import DATASETS, ENCODERS, METHODS, PROTOCOLS, TEACHERS
from bench.spec import BackboneSpec, Numerics, Recipe
from bench.yamltext import YamlError, parse_yaml

MOST_POINTS = 1_000
"""Most points of a grid; more are a slip of the keyboard."""
_OWN_MODELS: Mapping[str, type[BaseModel]] = {
    "backbone": BackboneSpec,
    "recipe": Recipe,
    "first_recipe": Recipe,
    "numerics": Numerics,
}


@dataclass(frozen=True)
class Axis:
    """A swept option.

    Attributes:
        path: Option as in ``--set``, or a field of the request such as ``teacher``.
        values: Its values, in the order asked for.
    """

    path: str
    values: tuple[JsonValue, ...]

    def __str__(self) -> str:
        """Return the axis in words: ``recon.mask_ratio: 0.2, 0.4``."""
        return f"{self.path}: {', '.join(map(shown, self.values))}"


@dataclass(frozen=True)
class Point:
    """One point of a grid.

    Attributes:
        values: Value of each axis, by its path.
        request: The request with these values and without axes.
    """

    values: Mapping[str, JsonValue]
    request: RunRequest

    def __str__(self) -> str:
        """Return the values in words: ``recon.mask_ratio = 0.2``."""
        return ", ".join(f"{path} = {shown(value)}" for path, value in self.values.items())


def shown(value: JsonValue) -> str:
    """Format an option's value as YAML has it, in one line."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {shown(inner)}' for name, inner in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def read_axes(request: RunRequest, workspace: Workspace) -> tuple[Axis, ...]:
    """Return the swept options of a request.

    Those of `RunRequest.sweep`, and assignments such as ``0.2,0.4`` to an option that takes no text.

    Raises:
        UsageError: A value is empty, stands twice or may be a decimal comma, or the grid is too large.
    """
    found = [Axis(path, tuple(values)) for path, values in request.sweep.items()]
    for path, value in request.overrides.items():
        pieces = split_values(value) if isinstance(value, str) else []
        if len(pieces) < 2 and not isinstance(value, list):
            continue
        types_ = list(_types(path, request, workspace))
        if types_ and isinstance(value, list) and not any(map(_takes_list, types_)):
            given = shown(value)[:60]
            raise UsageError(f"--set {path} = {given}: expected one value; to sweep, leave out the brackets")
        if types_ and pieces and _is_sweep(pieces, types_):
            found.append(Axis(path, tuple(_read(path, pieces, any(map(_takes_float, types_))))))
    for axis in found:
        _refuse_repeated(axis)
    size = 1
    for axis in found:
        size *= len(axis.values)
    if size > MOST_POINTS:
        raise UsageError(f"the swept options form a grid of {size:,} points; at most {MOST_POINTS:,} are taken")
    return tuple(found)


def grid_points(request: RunRequest, axes: Sequence[Axis]) -> Iterator[Point]:
    """Yield the points of a grid, the last axis fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield point_at(request, dict(zip((axis.path for axis in axes), values, strict=True)))


def point_at(request: RunRequest, values: Mapping[str, JsonValue]) -> Point:
    """Return a request with one value for each axis.

    Raises:
        UsageError: A value is not one that a field of the request can have.
    """
    options = {path: value for path, value in values.items() if "." in path}
    fields: dict[str, Any] = {"sweep": {}, "overrides": {**request.overrides, **options}}
    plain = {"methods" if path == "method" else path: value for path, value in values.items() if path not in options}
    if plain:
        given = {name: (value,) if name == "methods" else value for name, value in plain.items()}
        return Point(values, validated(RunRequest, request.model_dump() | fields | given, "request"))
    return Point(values, request.model_copy(update=fields))


def _is_sweep(pieces: Sequence[str], types_: Sequence[Any]) -> bool:
    """Whether a text that commas split holds several values.

    For an option that takes texts only where each of them is quoted, for a list only where each is in brackets.
    """
    if any(map(_takes_text, types_)):
        return all(re.fullmatch(r"(\"[^\"]*\"|'[^']*')", piece) for piece in pieces)
    return any(map(_takes_scalar, types_)) or all(piece[:1] in "[{" for piece in pieces if piece != "null")


def _read(path: str, pieces: Sequence[str], numbers: bool) -> Iterator[JsonValue]:
    """Yield the values that commas separate.

    Args:
        path: The option.
        pieces: The values as typed.
        numbers: Whether the option takes numbers with a decimal point.
    """
    text, digits = ",".join(pieces)[:80], [piece for piece in pieces if piece.isdecimal()]
    if any(len(piece) > 1 and piece[0] == "0" for piece in digits) or (
        numbers and len(digits) == len(pieces) and len(pieces) % 2 == 0
    ):
        apart = ",".join(f"{int(piece)}.0" if piece in digits else piece for piece in pieces)[:80]
        raise UsageError(
            f"--set {path}={text}: is that a decimal comma? write {'.'.join(pieces[:2])[:80]}; "
            f"for {len(pieces)} values write {apart}"
        )
    for piece in pieces:
        if not piece:
            raise UsageError(f"--set {path}={text}: a value between the commas is empty")
        try:
            value = parse_yaml(piece)
        except YamlError as error:
            raise UsageError(f"--set {path}: cannot read the value '{piece[:40]}' ({error})") from error
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)  # YAML takes 1e-3 for a text
        yield value


def _refuse_repeated(axis: Axis) -> None:
    seen: list[tuple[bool, JsonValue]] = []
    for value in axis.values:
        mark = (isinstance(value, bool), value)
        if mark in seen:
            raise UsageError(f"--set {axis.path}: the value {shown(value)[:80]} stands twice")
        seen.append(mark)


def _types(path: str, request: RunRequest, workspace: Workspace) -> Iterator[Any]:
    """Yield the annotations of an option, one per unit that has it."""
    group, _, rest = path.partition(".")
    for model in _models(group, request, workspace):
        found = _annotation(model, rest.split("."))
        if found is not None:
            yield found


def _models(group: str, request: RunRequest, workspace: Workspace) -> Iterable[type[BaseModel]]:
    """Return the options that a group of ``--set`` reaches."""

    def named(names: Iterable[str], known: Any) -> Iterator[type[BaseModel]]:
        for name in names:
            for one in known.standalone() if name == "all" else (name,):
                yield known.load(one).Options

    def datasets(references: Iterable[str | None]) -> Iterator[type[BaseModel]]:
        for reference in filter(None, references):
            yield DATASETS.load(resolve_dataset_ref(reference, workspace.results, DATASETS.names()).format).Options

    if group in _OWN_MODELS:
        return (_OWN_MODELS[group],)
    if group == "method":
        brought = (name for name in (one.partition(":")[0] for one in request.encoders) if name in ENCODERS)
        return (*named(request.methods, METHODS), *named(brought, ENCODERS))
    if group == "protocol":
        return named(request.protocols, PROTOCOLS)
    if group == "data":
        return datasets((*request.datasets, request.train_on))
    if group == "pretrain_data":
        return datasets((request.pretrain_data,))
    if group in ("teacher", "text_teacher"):
        teacher = request.teacher if group == "teacher" else request.text_teacher
        return (TEACHERS.load(teacher).Options,) if teacher is not None else ()
    for registry in (METHODS, ENCODERS):
        if group in registry.names():
            return named((group,), registry)
    return named((group,), PROTOCOLS) if group in PROTOCOLS.names() else ()


def _annotation(model: type[BaseModel], path: Sequence[str]) -> Any:
    """Return the annotation of a field, or of a nested one.

    None if there is no such field. What lies in a mapping without a model counts as a number.
    """
    name, *inner = path
    if name not in model.model_fields:
        return None
    annotation = model.model_fields[name].annotation
    if not inner:
        return annotation
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return _annotation(part, inner)
    return int


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation."""
    if hasattr(annotation, "__value__") and not _is_any(annotation):  # a named type
        yield from _parts(annotation.__value__)
    elif get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _is_any(part: Any) -> bool:
    return part is Any or part is object or part is JsonValue


def _takes_text(annotation: Any) -> bool:
    return any(
        _is_any(part) or (isinstance(part, type) and issubclass(part, str | PurePath) and not issubclass(part, Enum))
        for part in _parts(annotation)
    )


def _takes_list(annotation: Any) -> bool:
    return any(_is_any(part) or not _is_scalar(part) for part in _parts(annotation))


def _takes_scalar(annotation: Any) -> bool:
    return any(part is not types.NoneType and _is_scalar(part) for part in _parts(annotation))


def _takes_float(annotation: Any) -> bool:
    return any(part is float for part in _parts(annotation))


def _is_scalar(part: Any) -> bool:
    if get_origin(part) is Literal:
        return True
    kind = get_origin(part) or part
    if not isinstance(kind, type):
        return False
    return issubclass(kind, str) or not issubclass(kind, set | frozenset | Mapping | Sequence | BaseModel)
