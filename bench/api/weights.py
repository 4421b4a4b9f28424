"""Import and export official checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from bench.api.common import PathLike, registered, workspace_at
from bench.api.results import load
from bench.errors import DataError, UsageError, unknown_name
from bench.registry import METHODS

if TYPE_CHECKING:
    from bench.interop.encoders import Imported

Layout = Literal["pretrain", "finetune"]
"""Kinds of the authors' files."""


def import_encoder(
    path: PathLike,
    *,
    method: str | None = None,
    name: str | None = None,
    assignments: Sequence[str] = (),
    saw_class_names: str | None = None,
    results: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
) -> Imported:
    """Read an official checkpoint and keep its encoder.

    As ``bench import``; no code in the file is run.

    Args:
        path: The authors' ``.pth`` file, or an ``encoder.safetensors`` of bench.
        method: Method of the file; recognised by default.
        name: Name of the encoder; the file's name by default.
        assignments: Settings that weights do not show: ``backbone.heads=6``, ``recon.reference=false``.
        saw_class_names: A file of class names that its training had read, ``none`` or ``unknown``.
        results: Results folder.
        plugins: Plugin files.

    Returns:
        ``name`` and ``key`` for `bench.encoder`, and what was read from the file.

    Raises:
        DataError: The file is damaged, wants to run code, or is not complete.
        UsageError: The wrong method, a bad option, or a name that is taken.
        SetupError: The results folder cannot be written.
    """
    from bench.plan.request import parse_assignment

    registered(*plugins)
    for text in assignments:
        parse_assignment(text)
    if method is not None:
        METHODS.own(method)
    if not Path(path).exists():
        raise DataError(f"{path}: no such file; give a checkpoint file")
    place = workspace_at(results)
    place.prepare()
    from bench.interop.encoders import ImportRequest, import_checkpoint

    return import_checkpoint(ImportRequest(Path(path), method, name, tuple(assignments), saw_class_names), place)


def export_encoder(
    name: str,
    path: PathLike,
    *,
    layout: Layout = "pretrain",
    force: bool = False,
    results: PathLike | None = None,
    plugins: Sequence[PathLike] = (),
) -> Path:
    """Write an encoder in its authors' layout.

    As ``bench export``; the authors' code loads the file.

    Args:
        name: Name or beginning of the key (`Results.encoders`).
        path: File to write.
        layout: Kind of the authors' files.
        force: Replace an existing file.
        results: Results folder.
        plugins: Plugin files.

    Raises:
        UsageError: No such encoder or layout, or the file exists.
        SetupError: The file cannot be written.
    """
    from bench.plan.encoders import find_encoder

    file, place = Path(path), load(results, plugins=plugins).workspace
    if layout not in get_args(Layout):
        raise unknown_name("layout", layout, get_args(Layout))
    find_encoder(place.results, name)
    if file.exists() and not file.is_dir() and not force:
        raise UsageError(f"{file} exists already; add --force (force=True) to replace it, or choose another file")
    from bench.interop.encoders import export_encoder as export

    return export(name, file, layout, place, force=force)
