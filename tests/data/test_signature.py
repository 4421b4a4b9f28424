"""A file that is not what its name says is called what it is, in every reader."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.data.cloudfiles import READERS, read_cloud
from bench.data.meshes import read_mesh
from bench.data.signature import foreign
from bench.errors import DataError


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


def test_files_are_left_alone_under_their_own_names(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    for name, content in {"a.npy": stream.getvalue(), "a.npz": archive(), "a.txt": b"1 2 3\n", "a.h5": b"x"}.items():
        assert foreign(tmp_path / name, content) == ""
    assert "is a NumPy array, which its name does not say; name it .npy" in foreign(Path("a.npz"), stream.getvalue())
    assert foreign(tmp_path / "gone") == ""
