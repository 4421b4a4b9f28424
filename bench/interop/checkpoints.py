"""Reading checkpoint files that somebody else wrote, without running anything they carry (section 8).

A file is opened with ``weights_only`` loading: tensors, numbers, texts and plain containers. Whatever asks for more
is refused with the name of what it asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import pickletools
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.errors import DataError, SetupError

WRAPPERS = ("base_model", "model", "model_state_dict", "state_dict")
"""Keys under which the releases keep a network's tensors; a bare dict of tensors has none."""
OURS = "bench"
"""Key under which `bench export` writes what the weights alone do not tell; the authors' loaders pass over it."""

_NUMPY = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FORMATS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "b1": "?"}


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors, and what else it says.

    Attributes:
        path: The file.
        size: Bytes.
        sha256: Digest of the whole file.
        wrapper: Key that held the tensors; empty for a bare dict.
        tensors: By released name, every ``module.`` removed.
        facts: Other entries that are plain values: epoch, metrics.
        left_out: Other entries, e.g. the optimiser's state.
        ours: What `bench export`, or the folder of an encoder, says about the weights; empty for other files.
    """

    path: Path
    size: int
    sha256: str
    wrapper: str
    tensors: dict[str, Tensor]
    facts: dict[str, JsonValue] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    ours: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pth`` or ``.safetensors`` file onto the CPU.

    Raises:
        DataError: No such file, no checkpoint, a damaged one, or one that wants to run code.
        SetupError: torch is too old to read files of others safely.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a checkpoint file")
    start = _first_bytes(path)
    if not start:
        raise DataError(f"{path}: is empty; download or copy it again")
    safetensors = start[8:9] == b"{"
    content: Any = _read_safetensors(path) if safetensors else _read_pickle(path, zipped=start.startswith(b"PK"))
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a dict of tensors; give a checkpoint file")
    wrapper = next((key for key in WRAPPERS if _tensors(content.get(key))), "")
    held: Mapping[Any, Any] = content[wrapper] if wrapper else content
    named = {str(key): value for key, value in held.items() if isinstance(value, Tensor)}
    if not named:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise DataError(
            f"{path}: no tensors found (it holds {keys}); expected a dict of tensors, bare or under "
            + " or ".join(WRAPPERS)
        )
    rest = {str(key): value for key, value in content.items() if wrapper and key != wrapper and str(key) != OURS}
    facts = {key: value for key, item in rest.items() if (value := _plain(item)) is not _NOT_PLAIN}
    ours = content.get(OURS) if wrapper else None
    return Checkpoint(
        path=path,
        size=path.stat().st_size,
        sha256=_digest(path),
        wrapper=wrapper,
        tensors=_without_module(named, path),
        facts=facts,
        left_out=tuple(key for key in rest if key not in facts),
        ours=dict(ours) if isinstance(ours, Mapping) else _beside(path) if safetensors else {},
    )


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as safetensors ({_line(error)}); copy it again") from error


def _read_pickle(path: Path, *, zipped: bool) -> Any:
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 6):
        raise SetupError(
            f"torch {torch.__version__} can be made to run code by a checkpoint (CVE-2025-32434); "
            "install torch 2.6 or newer to import .pth files"
        )
    known: list[Any] = [*((_number, name) for name in _NUMPY), (_NumberType, "numpy.dtype")]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what matters is raised
            # Mapped, because a released file is mostly the optimiser's state, which is never looked at.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(_refusal(path, str(error), zipped=zipped)) from error
    except (EOFError, OSError) as error:
        raise DataError(f"{path}: is damaged or cut short ({_line(error)}); download or copy it again") from error


def _refusal(path: Path, message: str, *, zipped: bool) -> str:
    """Say in one line why torch did not read a pickle."""
    if ".tar format" in message:
        return (
            f"{path}: is in torch's old .tar format, which cannot be read without running code; "
            "save it again with the torch that wrote it: torch.save(torch.load(FILE), NEW)"
        )
    if "TorchScript" in message:
        return f"{path}: is a TorchScript program, which is code; save its tensors: torch.save(model.state_dict(), NEW)"
    found = re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)", message)
    wanted = found.group(1) if found is not None else "" if zipped else _foreign_global(path)
    if wanted:
        return (
            f"{path}: asks for {wanted}, which is code and no tensor, so it is refused; if you trust its author, "
            "save its tensors alone where that code is installed: torch.save(model.state_dict(), NEW)"
        )
    what = "is damaged or cut short" if zipped else "is no file of torch.save"
    why = "" if message.strip("'\"").isdigit() else f" ({_line(message)})"  # a bare number is no reason to read
    return f"{path}: {what}{why}; download or copy it again"


def _foreign_global(path: Path) -> str:
    """Return the first name outside torch that a bare pickle imports, read off its instructions without following."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file):
                if isinstance(argument, str):
                    texts.append(argument)
                if opcode.name in ("GLOBAL", "STACK_GLOBAL"):
                    name = ".".join(texts[-1].split(" ") if opcode.name == "GLOBAL" else texts[-2:])
                    if not name.startswith(("torch.", "collections.")):
                        return name
    except (ValueError, OSError, IndexError):
        pass
    return ""


def _number(kind: Any, data: Any = b"") -> float | int | bool:
    """Stand in for NumPy's scalars, which the releases' metrics are."""
    code = getattr(kind, "code", "")
    data = data.encode("latin1") if isinstance(data, str) else data
    if code not in _FORMATS or not isinstance(data, bytes):
        raise pickle.UnpicklingError(f"a NumPy scalar of type {code or kind!r}")
    value: float | int | bool = struct.unpack(kind.order + _FORMATS[code], data)[0]
    return value


class _NumberType:
    """Stands in for `numpy.dtype`: a code such as ``f8`` and the byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code).lstrip("<>=|")
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if len(state) > 1 and state[1] == ">" else "<"


def _tensors(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())


def _without_module(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove the wrapper names of (distributed) data parallel training, wherever they stand in a name."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        bare = ".".join(part for part in name.split(".") if part != "module")
        if bare in named:
            raise DataError(f"{path}: holds {bare} twice, with and without 'module.'; save one network per file")
        if value.layout is not torch.strided or value.is_quantized:
            raise DataError(f"{path}: {name} is sparse or quantised; save it as a plain tensor")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: {name} holds NaN or infinity; the training that wrote it had diverged")
        named[bare] = value.detach()
    return named


_NOT_PLAIN: Any = object()


def _plain(value: Any) -> Any:
    """Return a value as JSON; `_NOT_PLAIN` for tensors, states and everything long."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else _NOT_PLAIN
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and len(value) <= 16:
        plain = {str(key): _plain(item) for key, item in value.items()}
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in plain.values()) else plain
    return _NOT_PLAIN


def _beside(path: Path) -> dict[str, Any]:
    """Read what lies beside the weights in the folder of an encoder of ours."""
    try:
        spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        texts = json.loads((path.parent / "texts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"spec": spec, "texts": texts} if isinstance(spec, dict) else {}


def _line(error: object) -> str:
    text = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
    text = text.partition("Re-running `torch.load`")[0] or text
    return text[:120].rstrip() if text else type(error).__name__
