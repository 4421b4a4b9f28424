"""Folders that are complete and unaltered, or absent.

A folder is filled beside its final place, sealed with `MANIFEST.json` (size and SHA-256 of every file, written
last), flushed to disk and moved into place by one rename. Whoever looks therefore sees a whole folder or none,
also after ``kill -9``. What no longer matches its manifest is moved to ``quarantine/`` with the reason beside it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bench.errors import SetupError
from bench.store import jsontext
from bench.store.failures import file_failure
from bench.store.files import NoRegularFileError, file_digest, file_size, read_file, shown
from bench.store.publish import sync_folder
from bench.store.scratch import scratch_name

MANIFEST = "MANIFEST.json"
FORMAT = 1
"""Raised when a folder's layout changes in a way older code cannot read."""

QUARANTINE = "quarantine"
SHORT = 16
"""Characters of a fingerprint that name a folder; the whole fingerprint stands in the manifest."""

MANIFEST_BYTES = 1 << 20
"""Bytes a manifest may have: about 6,000 files."""

_CHUNK = 1 << 20
_LONGEST = 256
"""Characters of a key, a fingerprint, a kind or a time."""
_GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Only these say that a folder is incomplete; a refused permission or too many open files must never set one aside."""


class DamagedFolderError(SetupError):
    """A stored folder is incomplete or was altered.

    Attributes:
        folder: Its path when it was found.
        reason: Mismatch, e.g. ``"metrics.json has 10 bytes, its manifest says 412"``.
    """

    def __init__(self, folder: Path, reason: str, remedy: str = "run the same command again to recompute it") -> None:
        self.folder = folder
        self.reason = shown(reason)
        super().__init__(f"stored folder '{shown(folder)}' is damaged: {self.reason}; {remedy}")

    def __reduce__(self) -> tuple[type[DamagedFolderError], tuple[Path, str]]:
        return DamagedFolderError, (self.folder, self.reason)


class NewerFolderError(SetupError):
    """A newer bench wrote the folder; it is left alone."""

    def __init__(self, folder: Path, version: int) -> None:
        self._found = folder, version
        super().__init__(
            f"stored folder '{shown(folder)}' was written by a newer bench (format {version}, this one reads up to "
            f"{FORMAT}); upgrade bench or use another --results"
        )

    def __reduce__(self) -> tuple[type[NewerFolderError], tuple[Path, int]]:
        return NewerFolderError, self._found


class FileEntry(NamedTuple):
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Parsed `MANIFEST.json`.

    Attributes:
        kind: ``"run"``, or the kind of an artefact.
        key: Content key.
        fingerprint: Code fingerprint.
        created_at: UTC time of sealing, ISO 8601 with microseconds (sorts as text).
        files: Every file by its relative POSIX path.
        digest: SHA-256 of the manifest file itself.
    """

    kind: str
    key: str
    fingerprint: str
    created_at: str
    files: dict[str, FileEntry]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of all files, without the manifest."""
        return sum(entry.size for entry in self.files.values())


def path_part(text: str, what: str) -> str:
    """Return `text` if it can name a folder.

    Raises:
        ValueError: It is empty, hidden, or holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if not text or text[0] in ".-" or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise ValueError(f"{what} {text!r} cannot name a folder: use letters, digits, '.', '_' and '-'")
    return text


def stage(parent: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a new hidden folder below `parent`.

    It is on the same file system as the final place.

    Raises:
        OSError: As the system reports it; the half-written folder is removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / scratch_name()
    folder.mkdir()
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def seal(folder: Path, kind: str, key: str, fingerprint: str) -> Manifest:
    """Flush a folder's files and write its manifest last.

    Raises:
        ValueError: The folder holds something that is neither a file nor a folder (e.g. a symbolic link).
        OSError: As the system reports it.
    """
    entries = {path.relative_to(folder).as_posix(): _flush(path) for path in _files(folder)}
    entries.pop(MANIFEST, None)
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    content = jsontext.dump_bytes(
        {
            "format": FORMAT,
            "kind": kind,
            "key": key,
            "fingerprint": fingerprint,
            "created_at": created,
            "files": {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in entries.items()},
        }
    )
    (folder / MANIFEST).write_bytes(content)
    _flush(folder / MANIFEST)
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        sync_folder(path)
    return Manifest(kind, key, fingerprint, created, entries, hashlib.sha256(content).hexdigest())


def flush(folder: Path) -> None:
    """Flush a folder's files and the folder itself to disk.

    Raises:
        OSError: As the system reports it.
    """
    for path in _files(folder):
        _flush(path)
    sync_folder(folder)


def place(staged: Path, destination: Path, set_aside: Callable[[DamagedFolderError], object]) -> bool:
    """Move a sealed folder to its final place.

    It is discarded where a sound one stands already.

    Args:
        staged: Sealed folder on the same file system.
        destination: Final place.
        set_aside: Called with the finding when a damaged folder stands in the way; must move it off.

    Returns:
        True where the staged folder was placed, False where an earlier one was kept.

    Raises:
        OSError: As the system reports it.
    """
    made = not destination.parent.exists()
    destination.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            staged.rename(destination)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            try:
                verify(destination, digests=True)
            except DamagedFolderError as damage:
                set_aside(damage)
                continue
            shutil.rmtree(staged, ignore_errors=True)
            return False
        sync_folder(destination.parent)
        if made:
            sync_folder(destination.parent.parent)
        return True


def read_manifest(folder: Path) -> Manifest:
    """Parse the manifest of a folder.

    Raises:
        DamagedFolderError: It is missing, unreadable or not what a manifest is.
        NewerFolderError: A newer bench wrote it.
        OSError: The system refused to read it, which says nothing about the folder.
    """
    try:
        content = read_file(f"{folder}/{MANIFEST}", MANIFEST_BYTES)
    except _GONE as error:
        raise DamagedFolderError(folder, f"{MANIFEST} is missing") from error
    except NoRegularFileError as error:
        raise DamagedFolderError(folder, str(error)) from error
    return parse_manifest(content, folder)


def parse_manifest(content: bytes, folder: Path) -> Manifest:
    """Parse the bytes of a manifest.

    Args:
        content: The bytes.
        folder: The folder they are of, for errors.

    Raises:
        DamagedFolderError: They are not what a manifest is.
        NewerFolderError: A newer bench wrote them.
    """
    try:
        raw: Any = jsontext.loads(content)
        version = raw["format"]
        if type(version) is not int or version < 1:
            raise ValueError(f"unknown format {version!r:.40}")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFolderError(folder, f"{MANIFEST} is not a manifest") from error
    if version > FORMAT:
        raise NewerFolderError(folder, version)
    try:
        files = {_plain_name(name): _entry(entry) for name, entry in raw["files"].items()}
        head = [raw[field] for field in ("kind", "key", "fingerprint", "created_at")]
        if not all(isinstance(item, str) and len(item) <= _LONGEST for item in head):
            raise ValueError("a field that is not a short text")
        datetime.fromisoformat(head[3])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedFolderError(folder, f"{MANIFEST} is not a manifest ({_words(error)})") from error
    return Manifest(head[0], head[1], head[2], head[3], files, hashlib.sha256(content).hexdigest())


def verify(folder: Path, *, digests: bool) -> Manifest:
    """Compare a folder with its manifest.

    Args:
        folder: The folder.
        digests: Recompute every SHA-256; otherwise only presence, kind and sizes are compared (no file is read).

    Raises:
        DamagedFolderError: Something is missing, differs or is no regular file; the reason names the file.
        NewerFolderError: A newer bench wrote it.
        OSError: The system refused to read it, which says nothing about the folder.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest.files.items():
        with _judged(folder, name):
            for part in PurePosixPath(name).parents:
                if part.name and (folder / part).is_symlink():
                    raise NoRegularFileError(f"{part} is a symbolic link")
            size = file_size(folder / name)
            if size != entry.size:
                raise DamagedFolderError(folder, f"{name} has {size} bytes, its manifest says {entry.size}")
            if digests and file_digest(folder / name)[1] != entry.sha256:
                raise DamagedFolderError(folder, f"{name} does not match its checksum")
    return manifest


def read(folder: Path, limits: Mapping[str, int], keep: Collection[str]) -> tuple[Manifest, dict[str, bytes]]:
    """Verify and read a folder of known files.

    Args:
        folder: The folder.
        limits: The files it holds, and the bytes each may have.
        keep: Names of the files whose content is wanted.

    Raises:
        DamagedFolderError: It holds other files, or one differs from the manifest; the reason names the file.
        NewerFolderError: A newer bench wrote it.
        OSError: The system refused to read it, which says nothing about the folder.
    """
    manifest = read_manifest(folder)
    _require_files(folder, manifest, limits)
    contents = {}
    for name, entry in manifest.files.items():
        with _judged(folder, name):
            if name in keep:
                contents[name] = read_file(f"{folder}/{name}", limits[name])
                found = FileEntry(len(contents[name]), hashlib.sha256(contents[name]).hexdigest())
            else:
                found = FileEntry(*file_digest(f"{folder}/{name}", limits[name]))
        _compare(folder, name, found, entry)
    return manifest, contents


def check(folder: Path, contents: Mapping[str, bytes], limits: Mapping[str, int]) -> Manifest:
    """Compare the files of a folder, held in memory, with their manifest.

    Args:
        folder: The folder that they are of, for errors.
        contents: Bytes of every file, the manifest included.
        limits: The files it holds, and the bytes each may have.

    Raises:
        DamagedFolderError: There are other files, or one differs from the manifest; the reason names the file.
        NewerFolderError: A newer bench wrote the folder.
    """
    if MANIFEST not in contents:
        raise DamagedFolderError(folder, f"{MANIFEST} is missing")
    manifest = parse_manifest(contents[MANIFEST], folder)
    _require_files(folder, manifest, limits)
    for name, entry in manifest.files.items():
        if name not in contents:
            raise DamagedFolderError(folder, f"{name} is missing")
        content = contents[name]
        _compare(folder, name, FileEntry(len(content), hashlib.sha256(content).hexdigest()), entry)
    return manifest


def _require_files(folder: Path, manifest: Manifest, limits: Mapping[str, int]) -> None:
    if manifest.files.keys() != limits.keys():
        odd = sorted(manifest.files.keys() ^ limits.keys())
        raise DamagedFolderError(folder, f"{MANIFEST} names other files than a {manifest.kind} has ({odd[0]:.60})")


def _compare(folder: Path, name: str, found: FileEntry, entry: FileEntry) -> None:
    if found.size != entry.size:
        raise DamagedFolderError(folder, f"{name} has {found.size} bytes, its manifest says {entry.size}")
    if found.sha256 != entry.sha256:
        raise DamagedFolderError(folder, f"{name} does not match its checksum")


def check_place(folder: Path, manifest: Manifest, *, kind: str, by_fingerprint: bool = True) -> None:
    """Compare a folder's path with its manifest.

    The path is ``<key>/<fingerprint[:16]>``.

    Raises:
        DamagedFolderError: It was moved or renamed.
    """
    if manifest.kind != kind:
        raise DamagedFolderError(folder, f"it holds a '{manifest.kind}', not a '{kind}'")
    if manifest.key != folder.parent.name:
        raise DamagedFolderError(folder, f"it belongs to key {manifest.key}")
    if by_fingerprint and manifest.fingerprint[:SHORT] != folder.name:
        raise DamagedFolderError(folder, f"it belongs to fingerprint {manifest.fingerprint}")


def quarantine(results: Path, folder: Path, reason: str) -> Path | None:
    """Move a damaged folder to quarantine, unchanged.

    Returns:
        Its new place (a file ``<place>.reason.txt`` beside it says why), or None where another process had
        moved or removed it already.

    Raises:
        OSError: It cannot be moved (e.g. a read-only file system).
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    target = results / QUARANTINE / folder.relative_to(results).parent / f"{folder.name}-{stamp}-{uuid.uuid4().hex[:8]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except FileNotFoundError:
        return None
    # The move is what protects the user; on a full disk the explanation may be missing.
    with contextlib.suppress(OSError):
        target.with_name(target.name + ".reason.txt").write_text(reason + "\n", encoding="utf-8", errors="replace")
    return target


def subfolders(parent: Path, names: Collection[str] | None = None) -> Iterator[Path]:
    """Yield visible subfolders by name, or named ones only.

    Nothing is yielded where `parent` does not exist.

    Raises:
        SetupError: The system refuses to list it.
    """
    if names is not None:
        yield from (parent / name for name in sorted(names) if (parent / name).is_dir())
    else:
        yield from (parent / name for name in names_in(parent))


def names_in(parent: Path | str) -> list[str]:
    """Return names of visible subfolders, sorted (see `subfolders`)."""
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise file_failure("list", Path(parent), error) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


@contextlib.contextmanager
def _judged(folder: Path, name: str) -> Iterator[None]:
    """Report absent or irregular files as a damaged folder."""
    try:
        yield
    except _GONE as error:
        raise DamagedFolderError(folder, f"{name} is missing") from error
    except NoRegularFileError as error:
        raise DamagedFolderError(folder, str(error)) from error


def _plain_name(name: str) -> str:
    """Return a relative POSIX path that stays below its folder.

    Raises:
        ValueError: It leads elsewhere, or holds a character that no stored name has.
    """
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"invalid file name {name!r:.80}")
    return name


def _entry(raw: Any) -> FileEntry:
    size, sha256 = raw["size"], raw["sha256"]
    if type(size) is not int or not 0 <= size < 2**63 or not isinstance(sha256, str) or len(sha256) != 64:
        raise ValueError("an invalid size or checksum")
    return FileEntry(size, sha256)


def _words(error: Exception) -> str:
    return shown(f"no {error}" if isinstance(error, KeyError) else error)[:200]


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"'{path}' is neither a file nor a folder and cannot be stored")
        if path.is_file():
            found.append(path)
    return found


def _flush(path: Path) -> FileEntry:
    sha = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return FileEntry(size, sha.hexdigest())
