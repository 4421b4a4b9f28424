"""Recognise files that are not what their name says.

For example a web page, a Git LFS pointer, an archive.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import DataError

HEAD_BYTES = 4096
_DOWNLOAD = "download it again"


class _Kind(NamedTuple):
    magic: bytes
    words: str
    mend: str
    suffixes: tuple[str, ...] = ()
    """Suffixes that such a file should have."""


_KINDS = (
    _Kind(b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "run 'git lfs pull' to fetch the file"),
    _Kind(b"\x1f\x8b", "a gzip archive", "unpack it first", (".gz", ".tgz")),
    _Kind(b"PK\x03\x04", "a zip archive", "unpack it first", (".zip", ".npz", ".pth", ".pt", ".ckpt", ".bin")),
    _Kind(b"PK\x05\x06", "an empty zip archive", _DOWNLOAD, (".zip", ".npz")),
    _Kind(b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first", (".7z",)),
    _Kind(b"Rar!\x1a\x07", "a rar archive", "unpack it first", (".rar",)),
    _Kind(b"\xfd7zXZ\x00", "an xz archive", "unpack it first", (".xz",)),
    _Kind(b"BZh", "a bzip2 archive", "unpack it first", (".bz2",)),
    _Kind(b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first", (".zst",)),
    _Kind(b"%PDF-", "a PDF document", _DOWNLOAD, (".pdf",)),
    _Kind(b"\x89HDF\r\n\x1a\n", "an HDF5 file", "give it the name it should have", (".h5", ".hdf5", ".he5", ".mat")),
    _Kind(b"\x93NUMPY", "a NumPy array", "name it .npy", (".npy",)),
    _Kind(b"\x89PNG\r\n\x1a\n", "a PNG picture", "give it the name it should have", (".png",)),
    _Kind(b"\xff\xd8\xff", "a JPEG picture", "give it the name it should have", (".jpg", ".jpeg")),
    _Kind(b"glTF", "a binary glTF model", "name it .glb", (".glb",)),
    _Kind(b"ply\n", "a PLY file", "name it .ply", (".ply",)),
    _Kind(b"ply\r", "a PLY file", "name it .ply", (".ply",)),
    _Kind(b"# .PCD", "a PCD file", "name it .pcd", (".pcd",)),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--", b"<script")


def foreign(path: Path, head: bytes | None = None) -> str:
    """Describe a file of another type than its name says.

    The text names the remedy; it is empty if the type fits.

    Args:
        path: The file; its suffix determines the expected type.
        head: Its first `HEAD_BYTES`; None: read from the file.

    Returns:
        E.g. ``is a web page (HTML), as a failed download leaves; download it again``.
    """
    if head is None:
        try:
            with path.open("rb") as stream:
                head = stream.read(HEAD_BYTES)
        except OSError:
            return ""
    suffix = path.suffix.lower()
    if not head:
        return f"is empty (0 bytes); copy or {_DOWNLOAD}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].lower().startswith(_PAGES):
        return f"is a web page (HTML or XML), as a failed download leaves; {_DOWNLOAD}"
    if head.startswith((b"/annex/objects/", b".git/annex/objects/")):
        return "is a git-annex pointer; run 'git annex get' to fetch the file"
    if len(head) >= 16 and not head.strip(b"\0"):
        return f"holds zeros only, as an interrupted copy leaves; copy or {_DOWNLOAD}"
    if head[257:262] == b"ustar" and suffix != ".tar":
        return "is a tar archive; unpack it first"
    for kind in _KINDS:
        if head.startswith(kind.magic) and suffix not in kind.suffixes:
            return f"is {kind.words}, but its name says otherwise; {kind.mend}"
    return ""


def refuse_foreign(path: Path, head: bytes | None = None) -> None:
    """Refuse a file of another type than its name says.

    Raises:
        DataError: The file is of another type.
    """
    words = foreign(path, None if head is None else head[:HEAD_BYTES])
    if words:
        raise DataError(f"{path}: {words}")
