"""Single files of every kind: read with care, and a broken one is named in one line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.arrays import cloud, read_npy, read_npz
from bench.data.pictures import read_picture
from bench.data.texttable import read_table
from bench.errors import DataError
from tests.data.test_converted import one_line


def _npy(array: np.ndarray, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickled)
    return stream.getvalue()


GOOD = np.random.default_rng(0).normal(size=(20, 3))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (_npy(GOOD)[:9], "truncated"),
        (_npy(GOOD)[:60], "truncated"),
        (_npy(GOOD)[:-8], "480 bytes, 472 were found"),
        (
            _npy(GOOD).replace(b"(20, 3)", b"(2000000000, 3)".ljust(15)).replace(b"    \n", b"\n", 1),
            "needs 48000000000 bytes",
        ),
        (_npy(GOOD).replace(b"(20, 3)", b"(-1, 3)"), "damaged"),
        (b"<html>404</html>", "is a web page"),
        (_npy(GOOD.astype(np.int32)), "holds int32"),
        (_npy(np.array([{}], dtype=object), pickled=True), "Python objects"),
        (_npy(GOOD[:, :2]), "expected [N, 3]"),
        (_npy(GOOD[:0]), "holds no points"),
        (_npy(np.where(np.arange(60).reshape(20, 3) == 31, np.nan, GOOD)), "row 10 axis y is nan"),
        (_npy(GOOD * 1e300), "e+299, expected at most 1e+12"),
        (_npy(np.ones((20, 3))), "identical"),
    ],
)
def test_broken_npy_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    """A broken cloud would end in a traceback, or in a model that learns NaN."""
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        cloud(read_npy(path), path)
    assert says in one_line(error, path)


def test_npy_of_every_order_loads(tmp_path: Path) -> None:
    """Files written on other machines would be refused or misread."""
    for array in (GOOD, np.asfortranarray(GOOD), GOOD.astype(">f8"), GOOD.astype(np.float16)):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)
        assert read_npy(tmp_path / "a.npy").dtype.isnative


def test_zip_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    """A megabyte would unpack into all the memory there is."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", _npy(np.zeros(3_000_000)))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError) as bomb:
        read_npz(path, limit=1_000_000)
    assert "zip bomb" in one_line(bomb, path)
    lying = path.read_bytes().replace((24_000_128).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    path.write_bytes(lying)
    with pytest.raises(DataError) as lie:
        read_npz(path, limit=1_000_000)
    one_line(lie, path)


def test_npz_reads_and_names_what_is_wrong(tmp_path: Path) -> None:
    """A broken archive would end in a traceback of the zip module."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, points=GOOD, label=np.arange(3))
    np.testing.assert_array_equal(read_npz(path)["points"], GOOD)
    whole_file = path.read_bytes()
    for harm in (b"", whole_file[:100], whole_file[:120] + b"\0\0\0\0" + whole_file[124:], b"PK\x05\x06" + b"\0" * 18):
        path.write_bytes(harm)
        with pytest.raises(DataError) as error:
            read_npz(path)
        one_line(error, path)
    np.savez(path, points=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        read_npz(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n \n", "holds no rows"),
        ("1,2,3\n1,2\n", "line"),
        ("1,2,3\n1,two,3\n", "two"),
        ("1 2 3\n", "(fields have ',' between)"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, content: str, says: str) -> None:
    """A text file cut off in a line would be read as a smaller cloud, or end in a traceback."""
    path = tmp_path / "a.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_table(path)
    assert says in one_line(error, path)


def test_pictures_come_out_square_and_on_white(tmp_path: Path) -> None:
    """Transparent renderings would turn black, or red and blue change places."""
    path = tmp_path / "a.png"
    image = np.zeros((30, 30, 4), np.uint8)
    image[:10] = (255, 0, 0, 255)
    Image.fromarray(image).save(path)
    read = read_picture(path, 30)
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[29, 29].tolist() == [255, 255, 255]
    assert read_picture(path, 30, keep_hidden=True)[29, 29].tolist() == [0, 0, 0]
    assert read_picture(path, 16).shape == (16, 16, 3)
    Image.fromarray(image[..., 0]).save(path)
    assert read_picture(path, 16).shape == (16, 16, 3)


def _huge_png() -> bytes:
    import struct
    import zlib

    def piece(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(b"")) + piece(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda data: data[:200], "cannot be decoded"),
        (lambda data: b"GIF" + data, "not a picture"),
        (lambda data: b"", "is empty"),
        (lambda data: _huge_png(), "pixels"),
    ],
)
def test_broken_pictures_are_named(tmp_path: Path, harm: Callable[[bytes], bytes], says: str) -> None:
    """One broken rendering among 52,000 would have to be searched for, or a small file take all the memory."""
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(DataError) as error:
        read_picture(path, 32)
    assert says in one_line(error, path)
