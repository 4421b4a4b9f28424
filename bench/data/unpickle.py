"""Read pickles of arrays and plain containers without running them.

A pickle is a program, and data sets of the field are distributed as pickles (ModelNet40's ``.dat`` cache, the
``ModelNetFewshot`` folds). Here no name in a pickle is ever imported or called. The few names that NumPy writes are
replaced by the substitutes below, which build arrays from bytes; any other name is refused. Opcodes that could create
other objects are refused as well, and no more memory is allocated than the file has bytes
(docs/data-formats.md#pickles).
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from bench.data.signature import refuse_foreign
from bench.errors import DataError

OPERATIONS = 5_000_000
"""Most steps of a pickle program; an official file of 12,000 clouds takes half a million."""
DEPTH = 32
"""Deepest nesting of lists, tuples and dicts."""
_EXPECTED = "expected NumPy arrays, lists, tuples, dicts, texts and numbers only; it is not loaded"
_DTYPE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,5})")


class _RefusedError(Exception):
    """A pickle holds a name or call that is refused."""


class _Token:
    """Substitute for a global of NumPy's pickles.

    `make` replaces calling it.
    """

    def __init__(self, make: Callable[..., object] | None) -> None:
        self.make = make


class _Dtype:
    """Data type under construction: its code and byte order.

    The byte order comes from the pickled state.
    """

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or _DTYPE.fullmatch(text) is None:
            kind = (
                "arrays of Python objects" if str(text).lstrip("<>|=").startswith("O") else f"arrays of type {text!r}"
            )
            raise _RefusedError(f"holds {kind[:80]}")
        self.dtype = np.dtype(text)

    def restore(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise _RefusedError("holds arrays with fields")
        order: Any = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"holds an array of unknown byte order {str(order)[:8]!r}")
        self.dtype = self.dtype.newbyteorder(order)  # no effect on types without byte order


class _Array:
    """Array under construction; `value` exists after `restore`."""

    def __init__(self) -> None:
        self.value: npt.NDArray[Any] = np.empty(0, np.int8)

    def restore(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _RefusedError("holds an array in an unknown layout")
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: object, dtype: object, shape: object, order: object) -> npt.NDArray[Any]:
    """Return bytes as an array of exactly fitting size."""
    if not isinstance(dtype, _Dtype):
        raise _RefusedError("holds an array without a type")
    if isinstance(raw, str):  # Python 2's strings, decoded as latin-1
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise _RefusedError("holds arrays of Python objects")
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**62 for n in shape) or len(shape) > 32:
        raise _RefusedError("holds an array without a shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise _RefusedError(f"holds an array of shape {shape} and type {dtype.dtype} with {len(raw)} bytes of content")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if order in ("F", b"F") else "C")


def _reconstruct(cls: object, *_: object) -> _Array:
    if cls is not _NDARRAY:
        raise _RefusedError("holds a subclass of array")
    return _Array()


def _scalar(dtype: object, raw: object = b"") -> object:
    return _array(raw, dtype, (1,), "C")[0]


def _encode(text: object, encoding: object = "") -> bytes:
    if not isinstance(text, str) or str(encoding).replace("-", "").lower() != "latin1":
        raise _RefusedError("calls '_codecs.encode' on something else than bytes")
    return text.encode("latin1")


def _empty_bytes(*arguments: object) -> bytes:
    if arguments:
        raise _RefusedError("calls 'bytes' with arguments")
    return b""


_NDARRAY = _Token(None)
_ALLOWED: dict[tuple[str, str], _Token] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Token(_Dtype),
    ("_codecs", "encode"): _Token(_encode),
    ("__builtin__", "bytes"): _Token(_empty_bytes),
    ("builtins", "bytes"): _Token(_empty_bytes),
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 2 renamed its core
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Token(_reconstruct)
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _Token(_scalar)
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Token(_array)


class _Bounded:
    """File that never returns more bytes than it has.

    A false length then allocates nothing.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int) -> bytes:
        if size < 0 or size > self._left:
            raise EOFError
        self._left -= size
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline()
        self._left -= len(line)
        return line


class _Steps(dict[int, Callable[[Any], None]]):
    """Table of opcodes that counts the executed steps."""

    def __init__(self, opcodes: dict[int, Callable[[Any], None]]) -> None:
        super().__init__(opcodes)
        self.left = OPERATIONS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise _RefusedError(f"has more than {OPERATIONS:,} steps")
        return super().__getitem__(opcode)


class _Unpickler(pickle._Unpickler):
    """Pure Python unpickler, reduced to arrays and plain containers.

    The one written in C reserves memory by numbers in the file (a memo index of four billion), so it is not used.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(_Bounded(stream, size), encoding="latin1", fix_imports=False)
        self.dispatch = _Steps({**pickle._Unpickler.dispatch, **_REPLACED})  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute of a global; import nothing."""
        token = _ALLOWED.get((module, name))
        if token is None:
            raise _RefusedError(f"asks for '{module}.{name}'"[:200])
        return token


def _load_reduce(self: Any) -> None:
    arguments = self.stack.pop()
    called = self.stack[-1]
    if not isinstance(called, _Token) or called.make is None or not isinstance(arguments, tuple):
        raise _RefusedError("calls a function that builds no array")
    self.stack[-1] = called.make(*arguments)


def _load_build(self: Any) -> None:
    state = self.stack.pop()
    target = self.stack[-1]
    if not isinstance(target, _Array | _Dtype):
        raise _RefusedError(f"sets the state of a {type(target).__name__}")
    target.restore(state)


def _load_bytearray(self: Any) -> None:
    (length,) = struct.unpack("<Q", self.read(8))
    self.append(self.read(length))  # the library would reserve memory before reading the bytes


def _refuse(self: Any) -> NoReturn:
    raise _RefusedError("makes objects other than arrays")


_REPLACED: dict[int, Callable[[Any], None]] = {
    pickle.REDUCE[0]: _load_reduce,
    pickle.BUILD[0]: _load_build,
    pickle.BYTEARRAY8[0]: _load_bytearray,
    **{
        opcode[0]: _refuse
        for opcode in (
            *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID, pickle.BINPERSID),
            *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
            *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
        )
    },
}


def load_pickle(path: Path) -> Any:
    """Read a pickle of arrays and plain containers.

    Protocols 0 to 5, of NumPy 1 and 2 and Python 2 (latin-1).

    Args:
        path: The file; opened for reading only.

    Returns:
        Lists, tuples, dicts, texts, bytes, numbers, NumPy scalars and arrays. Arrays are read-only and in the byte
        order of the file.

    Raises:
        DataError: The file is unreadable, damaged, truncated, not a pickle, or needs anything else (which is named).
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: is empty (0 bytes); copy or download it again")
        refuse_foreign(path)
        with path.open("rb") as stream:
            return _plain(_Unpickler(stream, size).load(), {}, 0)
    except _RefusedError as error:
        raise DataError(f"{path}: the pickle {error}, which may be harmful or is damaged; {_EXPECTED}") from None
    except DataError:
        raise
    except EOFError as error:
        raise DataError(f"{path}: is a truncated pickle; copy or download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle may raise any error
        reason = str(error).splitlines()[0][:120] if str(error) else ""
        detail = f"{type(error).__name__}{': ' if reason else ''}{reason}"
        raise DataError(f"{path}: is not a pickle, or is damaged ({detail}); copy or download it again") from error


def _plain(value: object, done: dict[int, object], depth: int) -> Any:
    """Replace substitutes by their arrays, keeping shared parts.

    Refuses substitutes in other places.
    """
    if depth > DEPTH:
        raise _RefusedError(f"nests more than {DEPTH} lists, or a list inside itself")
    if isinstance(value, _Array):
        return value.value
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic | np.ndarray):
        return value
    if id(value) in done:
        return done[id(value)]
    result: object
    if isinstance(value, dict):
        result = {_key(key): _plain(item, done, depth + 1) for key, item in value.items()}
    elif isinstance(value, list):
        result = [_plain(item, done, depth + 1) for item in value]
    elif isinstance(value, tuple):
        result = tuple(_plain(item, done, depth + 1) for item in value)
    else:
        raise _RefusedError(f"holds a {type(value).__name__.strip('_').lower()} on its own")
    done[id(value)] = result
    return result


def _key(key: object) -> object:
    if not isinstance(key, str | bytes | int | float | np.generic):
        raise _RefusedError(f"has a {type(key).__name__.strip('_').lower()} as key")
    return key
