"""Checkpoints: one safetensors file each, replaced atomically.

The JSON header travels inside the file as safetensors metadata and the file's name carries the digest of its
bytes, so a checkpoint is either whole or not used: there is no moment at which a kill leaves half a state.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import Tensor

from bench.store.publish import write_whole
from bench.store.scratch import remove_abandoned

log = logging.getLogger(__name__)

FORMAT = 1
_DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Checkpoint:
    """State read from a checkpoint file.

    Attributes:
        step: Optimiser steps done.
        tensors: Tensors by name, on the CPU.
        header: The JSON header as it was saved.
    """

    step: int
    tensors: dict[str, Tensor]
    header: dict[str, Any]


def write_checkpoint(path: Path, data: bytes) -> None:
    """Replace a file atomically.

    A reader finds the old content or the new content, never a part.

    Args:
        path: Final place; its folder is made if need be.
        data: Content.

    Raises:
        SetupError: The folder is read-only or the disk is full; nothing is left behind.
    """
    mend = "make the folder writable or choose another results folder, then run the same command again"
    write_whole(path, data, "the checkpoint", f"{mend}; it goes on from the last checkpoint")


def serialise(tensors: dict[str, Tensor], header: dict[str, Any]) -> bytes:
    """Return tensors and header as safetensors bytes.

    The metadata hold the header (JSON) and a digest of everything.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(header, allow_nan=False)
    return bytes(safetensors_torch.save(plain, {"bench": text, "sha256": _digest(plain, text)}))


def deserialise(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and header of bytes made by `serialise`.

    Raises:
        ValueError: The bytes are incomplete, altered, or no checkpoint.
    """
    try:
        tensors = {name: tensor.clone() for name, tensor in safetensors_torch.load(data).items()}
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        text, stated = metadata["bench"], metadata.get("sha256")
        header = json.loads(text)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a checkpoint of this harness ({error})") from error
    if _digest(tensors, text) != stated:
        raise ValueError("its content does not have the digest written with it (altered, or of an older bench)")
    return tensors, header


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 of tensors and header.

    Names, types and shapes of the tensors count as well; the tensors are contiguous.
    """
    sha = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"\0{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


class CheckpointFolder:
    """Newest checkpoints of one training stage of one run.

    Args:
        folder: Work folder; belongs to this stage alone.
        identity: Digest of everything that must be equal for a state to be continued. A checkpoint with
            another identity is not used.
        keep: How many of the newest to keep. With two, a damaged newest falls back to the one before.
    """

    def __init__(self, folder: Path, identity: str, keep: int = 2) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep

    def _files(self) -> list[tuple[int, Path]]:
        """Return checkpoint files with their steps, newest first."""
        found = []
        for path in self.folder.glob("step-*.safetensors"):
            step = path.name.split("-")[1]
            if step.isdigit():
                found.append((int(step), path))
        return sorted(found, reverse=True)

    def save(self, step: int, tensors: dict[str, Tensor], header: dict[str, Any]) -> Path:
        """Write a checkpoint, then drop all but the newest `keep`.

        Raises:
            SetupError: It cannot be written; earlier checkpoints are untouched.
        """
        data = serialise(tensors, {**header, "format": FORMAT, "identity": self.identity, "step": step})
        digest = hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH]
        path = self.folder / f"step-{step:010d}-{digest}.safetensors"
        write_checkpoint(path, data)
        for _, old in self._files()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def load(self, most: int) -> Checkpoint | None:
        """Return the newest undamaged checkpoint of this identity, or None.

        A file that is damaged, belongs to something else or lies too late is set aside with the suffix ``.aside`` and
        reported in the log (left in place it would count as the newest); left-overs of a killed write are removed.

        Args:
            most: Latest step that it may have.
        """
        remove_abandoned(self.folder)
        for step, path in self._files():
            try:
                if step > most:
                    raise ValueError(f"the encoder of step {most} is to be kept, and it is of step {step}")
                return self._read(step, path)
            except ValueError as error:
                log.warning("%s: checkpoint set aside: %s", path, error)
                path.replace(path.with_name(path.name + ".aside"))
        return None

    def _read(self, step: int, path: Path) -> Checkpoint:
        data = path.read_bytes()
        stated = path.stem.rpartition("-")[2]
        if hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH] != stated:
            raise ValueError("its content does not have the digest in its name (truncated or altered)")
        tensors, header = deserialise(data)
        if header.get("format") != FORMAT or header.get("identity") != self.identity:
            raise ValueError("it belongs to another specification, seed, data set or model")
        return Checkpoint(step, tensors, header)


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Return whether no floating-point tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
