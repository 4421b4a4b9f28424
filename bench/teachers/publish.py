"""Folders that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.errors import SetupError


def publish_folder(destination: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a fresh folder, then rename it to `destination`.

    Whoever loses a race discards their copy and keeps the winner's; both are made from the same identity.

    Args:
        destination: Final place; its parents are made.
        write: Writes the files into the folder it is given.

    Raises:
        SetupError: The place cannot be written (read-only, or full).
    """
    temporary = destination.with_name(f".{destination.name}-{uuid.uuid4().hex}.part")
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        for file in temporary.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        try:
            temporary.rename(destination)
        except OSError:
            if not destination.is_dir():
                raise
    except OSError as error:
        raise SetupError(
            f"cannot write {destination}: {error.strerror or error}; "
            "free space there, or choose a results folder you can write to"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
