"""Checks of each kind of plugin and of plugin files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.conformance.checks import Suite
from bench.conformance.dataset_checks import DATASET_CHECKS, DatasetKit
from bench.conformance.declarations import plugin_file
from bench.conformance.encoder_checks import METHOD_CHECKS
from bench.conformance.frozen_checks import FROZEN_CHECKS, EncoderKit
from bench.conformance.method_kit import NANO, MethodKit
from bench.conformance.part_checks import PART_CHECKS, Part, PartKit
from bench.conformance.protocol_checks import PROTOCOL_CHECKS, ProtocolKit
from bench.conformance.teacher_checks import TEACHER_CHECKS, TeacherKit
from bench.data.base import Dataset
from bench.encoders.base import FrozenEncoder
from bench.errors import DataError, unknown_name
from bench.methods.base import AnyMethod
from bench.plugins import load_plugin_file
from bench.protocols.base import AnyProtocol
from bench.registry import REGISTRIES
from bench.spec import BackboneSpec
from bench.teachers.base import Teacher


def method_suite(
    method: type[AnyMethod],
    *,
    size: BackboneSpec = NANO,
    options: BaseModel | None = None,
    device: str = "auto",
    steps: int = 30,
    image_size: int = 64,
    left_out: Mapping[str, str] | None = None,
) -> Suite[MethodKit]:
    """Return the checks of a method.

    Args:
        method: Its class.
        size: Sizes of the backbone.
        options: Its options; None takes its defaults for preset nano.
        device: ``auto`` compares with a GPU where there is one, ``cpu`` does not, ``cuda`` insists on it.
        steps: Steps of training on one fixed batch; memory is watched over about twice as many.
        image_size: Height and width of made-up images.
        left_out: Checks not to be made, with the reason.
    """
    kit = MethodKit(method, size, options, steps=steps, image_size=image_size, device=device)
    return Suite(_subject("method", method), kit, METHOD_CHECKS, plugin_file(method), left_out or {})


def encoder_suite(
    encoder: type[FrozenEncoder[Any]], *, file: Path | None = None, left_out: Mapping[str, str] | None = None
) -> Suite[EncoderKit]:
    """Return the checks of a frozen encoder.

    `file` is that behind its name.

    Raises:
        DataError: There is no such file.
    """
    if file is not None and not file.is_file():
        raise DataError(f"{file}: no such file, expected that of encoder {encoder.name}")
    kit = EncoderKit(encoder, file)
    return Suite(_subject("encoder", encoder), kit, FROZEN_CHECKS, plugin_file(encoder), left_out or {})


def dataset_suite(
    dataset: type[Dataset], *, root: Path | None = None, left_out: Mapping[str, str] | None = None
) -> Suite[DatasetKit]:
    """Return the checks of a data set.

    `root` is its folder, for a set that comes as files.
    """
    kit = DatasetKit(dataset, root)
    return Suite(_subject("data set", dataset), kit, DATASET_CHECKS, plugin_file(dataset), left_out or {})


def protocol_suite(protocol: type[AnyProtocol], *, left_out: Mapping[str, str] | None = None) -> Suite[ProtocolKit]:
    """Return the checks of a protocol."""
    kit = ProtocolKit(protocol)
    return Suite(_subject("protocol", protocol), kit, PROTOCOL_CHECKS, plugin_file(protocol), left_out or {})


def teacher_suite(teacher: type[Teacher], *, left_out: Mapping[str, str] | None = None) -> Suite[TeacherKit]:
    """Return the checks of a teacher."""
    return Suite(
        _subject("teacher", teacher), TeacherKit(teacher), TEACHER_CHECKS, plugin_file(teacher), left_out or {}
    )


def part_suite(part: type[Part], *, left_out: Mapping[str, str] | None = None) -> Suite[PartKit]:
    """Return the checks of a block, norm layer or tokenizer."""
    kit = PartKit(part)
    return Suite(_subject(kit.field, part), kit, PART_CHECKS, plugin_file(part), left_out or {})


def _subject(kind: str, plugin: type[Any]) -> str:
    return f"{kind} {getattr(plugin, 'name', plugin.__name__)}"


def file_suites(
    path: Path,
    names: tuple[str, ...] = (),
    *,
    device: str = "auto",
    root: Path | None = None,
    encoder_file: Path | None = None,
) -> list[Suite[Any]]:
    """Register a plugin file; return checks of what it defines.

    Args:
        path: A Python file.
        names: Plugins to check; all of the file when empty.
        device: See `method_suite`.
        root: See `dataset_suite`.
        encoder_file: See `encoder_suite`.

    Raises:
        UsageError: The file is missing, fails to import or defines no plugin, or has none of a given name.
    """
    entries = load_plugin_file(path)
    known = {entry.name for entry in entries}
    for name in names:
        if name not in known:
            raise unknown_name(f"plugin of {path.name}", name, known)
    suites: list[Suite[Any]] = []
    for entry in entries:
        if names and entry.name not in names:
            continue
        loaded: Any = REGISTRIES[entry.kind].load(entry.name)
        if entry.kind == "methods":
            suites.append(method_suite(loaded, device=device))
        elif entry.kind == "encoders":
            suites.append(encoder_suite(loaded, file=encoder_file))
        elif entry.kind == "datasets":
            suites.append(dataset_suite(loaded, root=root))
        elif entry.kind == "protocols":
            suites.append(protocol_suite(loaded))
        elif entry.kind == "teachers":
            suites.append(teacher_suite(loaded))
        else:
            suites.append(part_suite(loaded))
    return suites
