"""Versions of third-party plugins, which enter keys."""

from __future__ import annotations

from bench.plan.backbones import parts_of
from bench.plan.teachers import Teachers
from bench.registry import REGISTRIES
from bench.spec import BackboneSpec


def versions(
    method: str = "",
    dataset: str = "",
    teachers: Teachers | None = None,
    *,
    protocol: str = "",
    backbone: BackboneSpec | None = None,
) -> dict[str, str]:
    """Versions of the plugins among the given names; built-in ones are covered by the code fingerprint."""
    names = [("methods", method), ("protocols", protocol), ("datasets", dataset)]
    for teacher in (teachers.main, teachers.text) if teachers is not None else ():
        names.append(("teachers", teacher.name if teacher is not None else ""))
    entries = [REGISTRIES[kind].entry(name) for kind, name in names if name]
    entries += parts_of(backbone) if backbone is not None else []
    return {f"{entry.kind}.{entry.name}": entry.version for entry in entries if entry.version}
