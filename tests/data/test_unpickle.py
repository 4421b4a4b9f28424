"""Pickles of the field load without running what they hold; anything but arrays is refused in one line."""

from __future__ import annotations

import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import unpickle
from bench.data.unpickle import load_pickle
from bench.errors import DataError

CLOUD = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)


def save(path: Path, content: bytes | object, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_pickle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


class Calls:
    """Pickles as a call, as an attacker would write it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_official_contents_load_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    """A ``.dat`` cache or a fold written by any Python 3 would be refused."""
    content: dict[Any, Any] = {
        "train": [(CLOUD, np.int32(3), 7), (np.asfortranarray(CLOUD), np.array([2], np.int32), None)],
        "test": [[CLOUD[::2].astype(">f8"), 1.5, "naïve", b"\x00\xff", b"", True]],
        3: np.array(["cup", "mug"]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.0),
    }
    read = load_pickle(save(tmp_path / "a.pkl", content, protocol))
    for (cloud, label, extra), (points, wanted, third) in zip(read["train"], content["train"], strict=True):
        np.testing.assert_array_equal(cloud, points)
        assert cloud.dtype == points.dtype
        np.testing.assert_array_equal(label, wanted)
        assert extra == third
    np.testing.assert_array_equal(read["test"][0][0], content["test"][0][0])
    assert read["test"][0][1:] == [1.5, "naïve", b"\x00\xff", b"", True]
    assert read[3].tolist() == ["cup", "mug"]
    assert read["empty"].shape == (0, 3)
    assert read["scalar"] == 2.0


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_names_of_numpy_1_and_2_load(tmp_path: Path, core: bytes) -> None:
    """Files written with the other major version of NumPy would be refused."""
    written = pickle.dumps([CLOUD, np.float32(2)], 2)
    assert b"numpy._core" in written or b"numpy.core" in written
    content = written.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    cloud, scalar = load_pickle(save(tmp_path / "a.pkl", content))
    np.testing.assert_array_equal(cloud, CLOUD)
    assert scalar == 2


def test_python_2_pickles_load(tmp_path: Path) -> None:
    """The distributed caches were written by Python 2, whose byte strings hold the coordinates."""
    values = np.array([1.5, -0.0, 3e38], "<f4")
    raw = b"".join(
        [
            b"\x80\x02}U\x05train]",
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R",
            b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"U" + bytes([values.nbytes]) + values.tobytes() + b"tba",
            b"s.",
        ]
    )
    read = load_pickle(save(tmp_path / "old.pkl", raw))
    np.testing.assert_array_equal(read["train"][0], values)


def test_shared_parts_stay_shared_and_cost_nothing(tmp_path: Path) -> None:
    """A small file of nested references could fill the memory ("billion laughs")."""
    nested: list[Any] = [CLOUD]
    for _ in range(25):
        nested = [nested] * 10
    read = load_pickle(save(tmp_path / "laughs.pkl", nested))
    assert read[0] is read[9]


def test_code_is_never_run(tmp_path: Path) -> None:
    """Opening a downloaded file would run its author's commands."""
    import os

    marker = tmp_path / "ran"
    for protocol in range(6):
        path = save(tmp_path / "evil.pkl", [Calls(os.system, f"touch {marker}")], protocol)
        message = refusal(path)
        assert "system" in message
        assert "may be harmful" in message
    assert "eval" in refusal(save(tmp_path / "eval.pkl", Calls(eval, f"open({str(marker)!r}, 'w')")))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps(np.array([{}, []], dtype=object)), "arrays of Python objects"),
        (pickle.dumps(np.zeros(2, [("a", "f4")])), "arrays of type"),
        (pickle.dumps({1, 2}, 4), "objects other than arrays"),
        (pickle.dumps(frozenset([1]), 4), "objects other than arrays"),
        (pickle.dumps(Path("a")), "asks for"),
        (pickle.dumps(np.ndarray), "on its own"),
        (pickle.dumps(np.dtype("f4")), "on its own"),
        (b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.", "calls a function"),
        (b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x81.", "objects other than arrays"),
        (b"\x80\x02cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", "'bytes' with arguments"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.", "_codecs.encode"),
        (b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.", "sets the state"),
        (b"(ios\nsystem\n.", "objects other than arrays"),
        (b"\x80\x02]" + b"q\x00]h\x00a" + b"q\x00]h\x00a" * 40 + b".", "nests more than"),
    ],
)
def test_everything_else_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """Other ways of making objects, beside naming a function, would stay open."""
    assert says in refusal(save(tmp_path / "odd.pkl", content))


def test_false_lengths_reserve_no_memory(tmp_path: Path) -> None:
    """A file of ten bytes that announces terabytes would bring the machine down."""
    huge = struct.pack("<Q", 2**45)
    started = time.perf_counter()
    for content in (
        b"\x80\x04\x8e" + huge,
        b"\x80\x05\x96" + huge,
        b"\x80\x04\x8d" + huge,
        b"\x80\x04\x95" + huge,
        b"\x80\x02\x8b\xff\xff\xff\x7f",
    ):
        assert "truncated" in refusal(save(tmp_path / "short.pkl", content))
    assert load_pickle(save(tmp_path / "memo.pkl", b"\x80\x02]r\xff\xff\xff\xff.")) == []
    written = pickle.dumps(np.zeros((3, 4), np.float32), 2).replace(b"K\x03K\x04\x86", b"K\xffK\xff\x86")
    assert "48 bytes of content" in refusal(save(tmp_path / "shape.pkl", written))
    assert time.perf_counter() - started < 2


def test_too_many_steps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a billion empty lists would take the memory of sixty billion bytes."""
    monkeypatch.setattr(unpickle, "OPERATIONS", 1000)
    assert "1,000 steps" in refusal(save(tmp_path / "many.pkl", b"\x80\x02" + b"]" * 2000 + b"."))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    """A half-finished download would end in a traceback of the pickle module."""
    whole = pickle.dumps([CLOUD] * 3, 4)
    assert "truncated" in refusal(save(tmp_path / "cut.pkl", pickle.dumps([CLOUD.tobytes() * 2000], 4)[:-900]))
    assert "empty" in refusal(save(tmp_path / "empty.pkl", b""))
    assert "is a web page" in refusal(save(tmp_path / "html.pkl", b"<html>404</html>"))
    assert "not a pickle" in refusal(save(tmp_path / "notes.pkl", b"notes on the download"))
    assert "cannot be read" in refusal(tmp_path / "gone.pkl")
    for cut in range(1, len(whole) - 1, 7):
        refusal(save(tmp_path / "any.pkl", whole[:cut]))
