"""Choose the implementation of the point operations.

``torch`` is the reference. ``pointnet2_ops`` is the CUDA sampler of the released models; it is chosen
automatically on a GPU where it is installed. ``fpsample`` is a compiled CPU sampler; on clouds of any size measured
here it is no faster than the reference, so it is only used when asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from bench.errors import UsageError, unknown_name

Backend = Literal["torch", "pointnet2_ops", "fpsample"]
BACKENDS: tuple[str, ...] = ("auto", *get_args(Backend))

_setting = "auto"


def set_backend(name: str) -> None:
    """Set the backend of later calls that name none.

    ``auto`` restores the choice by device.

    Raises:
        UsageError: Unknown name, or the backend's package is not installed.
    """
    global _setting
    _check(name)
    _setting = name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Set the backend inside a ``with`` block."""
    global _setting
    before = _setting
    set_backend(name)
    try:
        yield
    finally:
        _setting = before


def resolve_backend(device: str, setting: str | None = None) -> Backend:
    """Return a device's backend; its name enters the key.

    Args:
        device: ``cpu`` or ``cuda`` (an index is ignored).
        setting: A name of `BACKENDS`; None takes the one given to `set_backend`.

    Returns:
        The name, never ``auto``.

    Raises:
        UsageError: Unknown name, package not installed, or the backend does not run on this device.
    """
    name = _setting if setting is None else setting
    _check(name)
    kind = device.partition(":")[0]
    if name == "auto":
        return "pointnet2_ops" if kind == "cuda" and _installed("pointnet2_ops") else "torch"
    if name == "pointnet2_ops":
        if kind != "cuda":
            raise UsageError(f"op backend 'pointnet2_ops' runs on cuda only, not on {kind}: use 'torch' or 'auto'")
        return "pointnet2_ops"
    if name == "fpsample":
        if kind != "cpu":
            raise UsageError(f"op backend 'fpsample' runs on cpu only, not on {kind}: use 'torch' or 'auto'")
        return "fpsample"
    return "torch"


def _check(name: str) -> None:
    if name not in BACKENDS:
        raise unknown_name("op backend", name, BACKENDS)
    if name not in ("auto", "torch") and not _installed(name):
        raise UsageError(f"op backend '{name}' needs the Python package '{name}', which is not installed; use 'torch'")


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
