"""A file that is not what its name says is called what it is, in every reader."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.data.cloudfiles import READERS, read_cloud
from bench.data.h5set import class_list, read_lines
from bench.data.meshes import read_mesh
from bench.data.pictures import read_picture
from bench.data.shapenet_names import read_describe
from bench.data.shapenetpart import _entries
from bench.data.signature import foreign
from bench.data.unpickle import load_pickle
from bench.errors import BenchError, DataError
from bench.interop.encoders import _texts


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.txt", "1 2 3")
    return stream.getvalue()


FOREIGN = {
    "web page": b"\xef\xbb\xbf\n <!DOCTYPE html><html><body>Sign in to download</body></html>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "gzip archive": gzip.compress(b"1 2 3\n"),
    "is empty": b"",
    "zeros only": b"\0" * 5000,
}
SUFFIXES = [*READERS, ".off", ".obj", ".glb", ".stl"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_reader_says_what_a_file_is(tmp_path: Path, suffix: str) -> None:
    """'Is damaged, copy it again' sends the user round in circles when the server answers with a login page."""
    path = tmp_path / f"a{suffix}"
    for words, content in {**FOREIGN, **({} if suffix == ".npz" else {"zip archive": archive()})}.items():
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            (read_cloud if suffix in READERS else read_mesh)(path)
        assert str(error.value).startswith(f"{path}: ")
        assert words in str(error.value), suffix
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="folder"):
        (read_cloud if suffix in READERS else read_mesh)(path)


OTHERS: dict[str, Callable[[Path], object]] = {
    "names.txt": read_lines,
    "classes.txt": class_list,
    "shapenet55.json": read_describe,
    "shuffled_train_file_list.json": _entries,
    "one.png": lambda path: read_picture(path, 8),
    "folds.pkl": load_pickle,
    "seen.txt": lambda path: _texts(str(path), None, None),  # type: ignore[arg-type]
}
NO_TEXT = {
    "UTF-16": "ball\nrod\n".encode("utf-16"),
    "holds binary data": b"ball\0rod\n",
    "not UTF-8 text (byte 3)": b"caf\xe9\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_lists_captions_pictures_and_pickles_are_called_what_they_are(tmp_path: Path, name: str) -> None:
    """A login page in place of a class list became class names."""
    path = tmp_path / name
    texts = NO_TEXT if path.suffix in (".txt", ".json") else {}
    for words, content in {**FOREIGN, "zip archive": archive(), **texts}.items():
        if (words, path.suffix) == ("is empty", ".png"):
            continue
        path.write_bytes(content)
        with pytest.raises(BenchError) as error:
            OTHERS[name](path)
        assert str(path) in str(error.value)
        assert words in str(error.value)
        assert "\n" not in str(error.value)
    if texts:
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(BenchError, match="is a pipe or device"):
            OTHERS[name](path)


def test_files_are_left_alone_under_their_own_names(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    for name, content in {"a.npy": stream.getvalue(), "a.npz": archive(), "a.txt": b"1 2 3\n", "a.h5": b"x"}.items():
        assert foreign(tmp_path / name, content) == ""
    assert "is a NumPy array, but its name says otherwise; name it .npy" in foreign(Path("a.npz"), stream.getvalue())
    assert foreign(tmp_path / "gone") == ""
