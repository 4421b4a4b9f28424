"""Read foreign checkpoint files safely (docs/reference.md#checkpoint-files).

Loading is restricted to tensors, numbers, texts and plain containers (``weights_only``). A file that needs any other
class is refused, with the name of that class.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickletools
import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.data.signature import HEAD_BYTES, refuse_foreign
from bench.errors import DataError, SetupError
from bench.interop.releases import known_names
from bench.models.state_files import archive_damage, refuse_torchscript, twice, without_wrappers

WRAPPERS = (
    *("base_model", "model", "model_state_dict", "state_dict", "net", "network", "module", "backbone"),
    *("ema", "ema_model", "model_ema", "ema_state_dict", "state_dict_ema"),
)
"""Keys under which files keep a network's tensors, possibly nested; the first one present counts. A bare dict of
tensors has none. As parts of names they are prefixes of a network inside another one."""
OURS = "bench"
"""Key under which `bench export` writes the specification and texts; the authors' loaders ignore it."""

_NUMPY = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FOREIGN = 64
"""Classes of objects beside the weights that are ignored."""
_DATA = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|datetime\.\w+|pathlib\.(_local\.)?\w*Path|collections\.defaultdict"
    r"|decimal\.Decimal|fractions\.Fraction|uuid\.UUID|typing\.Any"
    r"|(builtins\.|__builtin__\.)?(bool|bytes|complex|dict|float|frozenset|int|list|object|set|str|tuple)"
    r"|(omegaconf|hydra|yacs|easydict|addict|ml_collections|box|munch|mmcv|mmengine|torch\.optim"
    r"|pytorch_lightning|lightning|lightning_fabric)\.[\w.]+"
)
"""Classes that only hold data (configurations, times, paths); an empty substitute replaces their objects."""
_ARRAYS = re.compile(r"numpy\.(_?core\.\w+\._?\w+|ndarray|random\.[\w.]+|dtypes\.\w+|\w+\d*_?)")
_ASKED = re.compile(r"(?:Unsupported (?:global: GLOBAL|class)|unsupported GLOBAL) ([\w.]+)")
_NESTED = 8
"""Deepest nesting of wrapper keys that is searched."""
_LARGEST = 1e20
_FORMATS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "b1": "?"}


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint file, and its other entries.

    Attributes:
        path: The file.
        size: Bytes.
        sha256: Digest of the whole file.
        wrapper: Key that held the tensors; empty for a bare dict.
        tensors: Tensors by released name, without the prefixes of wrappers.
        facts: Other entries with plain values: epoch, metrics.
        left_out: Names of the remaining entries, e.g. the optimiser's state.
        ours: Specification and texts from `bench export` or an encoder's folder; empty for other files.
        checked: Whether the file carries checksums; they have been verified.
    """

    path: Path
    size: int
    sha256: str
    wrapper: str
    tensors: dict[str, Tensor]
    facts: dict[str, JsonValue] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    ours: dict[str, Any] = field(default_factory=dict)
    checked: bool = False


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pth`` or ``.safetensors`` file onto the CPU.

    Raises:
        DataError: The file is missing, damaged, no checkpoint, or needs code to be run.
        SetupError: torch is too old to read foreign files safely.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a checkpoint file")
    start = _first_bytes(path)
    if start[257:262] != b"ustar":  # torch's old format is a tar archive
        refuse_foreign(path, start)
    safetensors = start[8:9] == b"{"
    content: Any = _read_safetensors(path) if safetensors else _read_pickle(path, zipped=start.startswith(b"PK"))
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a dict of tensors; give a checkpoint file")
    wrapper, held = _unwrapped(content)
    named = {str(key): value for key, value in held.items() if isinstance(value, Tensor)}
    if not named:
        keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise DataError(
            f"{path}: no tensors found (it holds {keys}); expected a dict of tensors, bare or under "
            + " or ".join(WRAPPERS)
        )
    outer = wrapper.partition(".")[0]
    rest = {str(key): value for key, value in content.items() if wrapper and key != outer and str(key) != OURS}
    facts = {key: value for key, item in rest.items() if (value := _plain(item)) is not _NOT_PLAIN}
    ours = content.get(OURS) if wrapper else None
    return Checkpoint(
        path=path,
        size=path.stat().st_size,
        sha256=_digest(path),
        wrapper=wrapper,
        tensors=_checked(_bare_names(named, path), path),
        facts=facts,
        left_out=tuple(key for key in rest if key not in facts),
        ours=dict(ours) if isinstance(ours, Mapping) else _beside(path) if safetensors else {},
        checked=start.startswith(b"PK"),
    )


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


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
    if zipped:
        refuse_torchscript(path, str(path))
    damage = archive_damage(path) if zipped else None
    if damage is not None:
        raise DataError(f"{path}: is damaged or cut short ({damage}); download or copy it again")
    known: list[Any] = [*((_number, name) for name in _NUMPY), (_NumberType, "numpy.dtype")]
    while True:
        try:
            with torch.serialization.safe_globals(known), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # only warnings about pickle protocols
                # Memory-mapped, because a released file is mostly the optimiser's state, which is not needed.
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except (EOFError, OSError) as error:
            raise DataError(f"{path}: is damaged or cut short ({_line(error)}); download or copy it again") from error
        except Exception as error:  # a damaged file can go wrong at any step
            stand_in = _stand_in(str(error)) if len(known) < _FOREIGN else None
            if stand_in is None or stand_in in known:
                raise DataError(_refusal(path, str(error), zipped=zipped)) from error
            known.append(stand_in)  # then read again from the start


class _Ignored:
    """Substitute for a NumPy array beside the weights.

    It drops all data.
    """

    def __new__(cls, *_: object) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


class _Record:
    """Substitute for objects that hold data: an empty dict.

    The dict may be filled and is ignored.
    """

    def __new__(cls, *_: object) -> Any:
        record: OrderedDict[Any, Any] = OrderedDict()
        record.__dict__[_PASSED_OVER] = True
        return record


_PASSED_OVER = "bench_passes_over"


def _stand_in(message: str) -> tuple[type, str] | None:
    """Return the substitute for a class that torch refused.

    None if the class may run code.
    """
    found = _ASKED.search(message)
    name = "" if found is None else found.group(1)
    if _ARRAYS.fullmatch(name):
        return _Ignored, name
    if _DATA.fullmatch(name):
        return _Record, name if "." in name else f"builtins.{name}"
    return None


def _unwrapped(content: Mapping[Any, Any]) -> tuple[str, Mapping[Any, Any]]:
    """Return the dict that holds the tensors, and its path.

    The path is the dotted keys that lead to it.
    """
    path: list[str] = []
    held: Mapping[Any, Any] = content
    while len(path) < _NESTED:
        inner = next((key for key in WRAPPERS if _tensors(held.get(key), _NESTED - len(path))), None)
        if inner is None:
            break
        path.append(inner)
        held = held[inner]
    return ".".join(path), held


def _refusal(path: Path, message: str, *, zipped: bool) -> str:
    """Explain in one line why torch refused a pickle."""
    if ".tar format" in message:
        return (
            f"{path}: is in torch's old .tar format, which cannot be read without running code; "
            "save it again with the torch that wrote it: torch.save(torch.load(FILE), NEW)"
        )
    if "TorchScript" in message:
        return f"{path}: is a TorchScript program, which is code; save its tensors: torch.save(model.state_dict(), NEW)"
    found = _ASKED.search(message)
    wanted = found.group(1) if found is not None else "" if zipped else _foreign_global(path)
    if wanted:
        return (
            f"{path}: asks for {wanted}, which is code and no tensor, so it is refused; if you trust its author, "
            "save its tensors alone where that code is installed: torch.save(model.state_dict(), NEW)"
        )
    what = "is damaged or cut short" if zipped else "is not a file of torch.save"
    why = "" if message.strip("'\"").isdigit() else f" ({_line(message)})"  # a bare number explains nothing
    return f"{path}: {what}{why}; download or copy it again"


def _foreign_global(path: Path) -> str:
    """Return the first non-torch name that a bare pickle imports.

    Read from the pickle's opcodes, without executing them.
    """
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


def _number(kind: Any, data: Any = b"") -> object:
    """Substitute for NumPy scalars, which hold metrics in releases."""
    code = getattr(kind, "code", "")
    data = data.encode("latin1") if isinstance(data, str) else data
    layout = f"{kind.order}{_FORMATS[code]}" if code in _FORMATS else ""
    if not layout or not isinstance(data, bytes) or len(data) != struct.calcsize(layout):
        return _Ignored()
    value: object = struct.unpack(layout, data)[0]
    return value


class _NumberType:
    """Substitute for `numpy.dtype`: a code such as ``f8``.

    Also keeps the byte order.
    """

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code).lstrip("<>=|")
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if len(state) > 1 and state[1] == ">" else "<"


def _tensors(value: object, nested: int = 1) -> bool:
    """Return whether a value is a (wrapped) dict with tensors."""
    if not isinstance(value, Mapping):
        return False
    if any(isinstance(item, Tensor) for item in value.values()):
        return True
    return nested > 1 and any(_tensors(value.get(key), nested - 1) for key in WRAPPERS)


def _bare_names(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove the prefixes that wrappers add to tensor names.

    Parts that torch's wrappers insert are removed anywhere in a name. A prefix such as ``model.`` is removed if more
    names are known without it than with it.

    Raises:
        DataError: Two tensors would get the same name, or two prefixes hold a network.
    """
    plain = {name: without_wrappers(name) for name in tensors}
    chains = {name: _prefixes(bare) for name, bare in plain.items()}
    best: list[str] = [""]
    most = known_names(plain.values())
    for prefix in sorted({prefix for chain in chains.values() for prefix in chain}, key=len):
        known = known_names(bare.removeprefix(prefix) for bare in plain.values() if bare.startswith(prefix))
        if known > most:
            best, most = [prefix], known
        elif known == most and known and best != [""] and not prefix.startswith(best[0]):
            best.append(prefix)
    if len(best) > 1:
        raise DataError(f"{path}: holds the network under {best[0]} and under {best[1]}; save one of them per file")
    bare = {name: short.removeprefix(best[0]) for name, short in plain.items()}
    double = twice(bare.values())
    if double is not None:
        both = " and ".join(name for name, short in bare.items() if short == double)
        raise DataError(f"{path}: holds {double} twice, as {both}; save one network per file")
    return {bare[name]: value for name, value in tensors.items()}


def _prefixes(name: str) -> list[str]:
    """Return every prefix of a name made of wrapper keys.

    For example ``model.`` and ``model.net.``.
    """
    found, begin = [], ""
    for part in name.split(".")[:_NESTED]:
        if part not in WRAPPERS:
            break
        begin += f"{part}."
        found.append(begin)
    return found


def _checked(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors without gradients, after checking their values.

    Values that no trained network has are refused.
    """
    for name, value in tensors.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_complex():
            raise DataError(f"{path}: {name} is sparse, quantised or complex; save it as a plain tensor")
        if not value.is_floating_point() or not value.numel():
            continue
        largest = float((value if value.dtype is torch.float64 else value.float()).detach().abs().amax())
        if not math.isfinite(largest):
            raise DataError(f"{path}: {name} holds NaN or infinity; the training that wrote it had diverged")
        if largest > _LARGEST:
            raise DataError(f"{path}: {name} holds {largest:.2g}, which no training gives; download or copy it again")
    return {name: value.detach() for name, value in tensors.items()}


_NOT_PLAIN: Any = object()


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON, or `_NOT_PLAIN`.

    `_NOT_PLAIN` stands for tensors, states and everything long or deep.
    """
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else _NOT_PLAIN
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and len(value) <= 16 and depth < _NESTED and not _is_stand_in(value):
        plain = {str(key): _plain(item, depth + 1) for key, item in value.items()}
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in plain.values()) else plain
    return _NOT_PLAIN


def _is_stand_in(value: Mapping[Any, Any]) -> bool:
    return isinstance(value, OrderedDict) and _PASSED_OVER in vars(value)


def _beside(path: Path) -> dict[str, Any]:
    """Read specification and texts beside an encoder of bench."""
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
