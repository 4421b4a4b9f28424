"""Find and read weights that were trained elsewhere, safely.

No code of theirs is run. A key holds the digest of a file, never its path, so it is the same on every machine. When a
path is given, the cache stores it under the digest, so that a run that is started again finds its files.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from bench.data.digest import file_digest
from bench.errors import SetupError, UsageError
from bench.models.state_files import archive_damage, refuse_torchscript, twice, without_wrappers
from bench.spec import content_key
from bench.store.publish import write_whole

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "sha256:"
"""Prefix of a reference to a file or folder by its content."""
REACH_SECONDS = 5.0
READ_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model"})
"""Files of a model's folder that can change its features; code and pickles in it are never read."""


@dataclass(frozen=True)
class Weights:
    """File or folder of weights, with its content's digest.

    Attributes:
        path: Path of the file or folder.
        digest: SHA-256 hex digest of the file, or of names and digests of a folder's files.
        source: Origin in words.
    """

    path: Path
    digest: str
    source: str

    @property
    def reference(self) -> str:
        """The reference by which keys name the weights."""
        return DIGEST + self.digest


def local_weights(reference: str, cache: Path, option: str) -> Weights:
    """Find weights by path, or by a known digest.

    Args:
        reference: Path of a file or folder, or ``sha256:...`` of one that was given by path before.
        cache: Cache folder, which stores digests and paths.
        option: Name of the option for messages, e.g. ``teacher.checkpoint``.

    Raises:
        SetupError: The file is missing, has changed or cannot be read.
    """
    path = Path(reference).expanduser()
    if reference.startswith(DIGEST):
        path = _recall(reference, cache, option)
    try:
        found = path.resolve(strict=True)
    except OSError as error:
        raise SetupError(
            f"{option} = {reference}: cannot be read ({error.strerror or error}); give the path of a weights file "
            f"with --set {option}=FILE"
        ) from error
    digest = digest_of(found, cache)
    if reference.startswith(DIGEST):
        if DIGEST + digest != reference:
            raise SetupError(
                f"{found} has changed since it was chosen (its digest was {reference[len(DIGEST) :][:12]}): "
                f"run again with --set {option}={found}"
            )
    else:
        write_whole(_note(DIGEST + digest, cache), f"{found}\n")
    return Weights(found, digest, f"{'folder' if found.is_dir() else 'file'} {found}")


def digest_of(path: Path, cache: Path) -> str:
    """Return the digest of a file or a model folder.

    Of a folder, only files count that can change a model's features.
    """
    if not path.is_dir():
        return file_digest(path, cache)
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix in READ_SUFFIXES and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return content_key([[file.relative_to(path).as_posix(), file_digest(file, cache)] for file in files])


def _note(reference: str, cache: Path) -> Path:
    return cache / "teachers" / "files" / f"{reference[len(DIGEST) :]}.path"


def _recall(reference: str, cache: Path, option: str) -> Path:
    try:
        return Path(_note(reference, cache).read_text(encoding="utf-8").rstrip("\n"))
    except OSError:
        raise SetupError(
            f"the file behind {option} = {reference[:19]}... is not known here: give its path with --set {option}=FILE"
        ) from None


def hub_file(repository: str, names: tuple[str, ...], cache: Path, *, resolve: bool = True) -> Weights | None:
    """Find a file in the cache of Hugging Face's library.

    Args:
        repository: ``owner/name``, or ``owner/name@revision``.
        names: File names, the preferred one first.
        cache: Cache folder, which stores digests.
        resolve: Follow the link to the content; otherwise return the path beside the repository's other files.

    Returns:
        The first file present, or None.
    """
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    for name in names:
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            path = Path(found).resolve() if resolve else Path(found)
            return Weights(path, digest_of(path, cache), f"{repository} of the model hub, cached in {path}")
    return None


@contextlib.contextmanager
def hub_offline() -> Iterator[None]:
    """Keep Hugging Face's libraries offline in a ``with`` block.

    A missing file is then reported at once instead of after minutes.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def download(repository: str, names: tuple[str, ...], remedy: str) -> None:
    """Download the first available file of a Hugging Face repository.

    It goes into the cache of Hugging Face's library.

    Args:
        repository: ``owner/name``.
        names: File names, the preferred one first.
        remedy: Advice for the message if the download fails.

    Raises:
        SetupError: No network, or no such repository or file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, revision = repository.partition("@")

    def get() -> None:
        for name in names[:-1]:
            try:
                hf_hub_download(repository, name, revision=revision or None)
            except EntryNotFoundError:
                continue
            return
        hf_hub_download(repository, names[-1], revision=revision or None)

    from_hub(get, repository, remedy)


def from_hub(get: Callable[[], object], repository: str, remedy: str) -> None:
    """Run a download; report a failure in one line.

    Raises:
        SetupError: No network, or no such repository or file.
    """
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    host = address.hostname or constants.ENDPOINT
    try:
        if not getproxies():  # the library would retry for most of a minute
            socket.create_connection((host, address.port or 443), timeout=REACH_SECONDS).close()
        get()
    except Exception as error:  # library and network raise many kinds
        raise SetupError(f"cannot download {repository} from {host} ({_first_line(error)}): {remedy}") from error


def read_tensors(path: Path, option: str) -> dict[str, Tensor]:
    """Read a state dict from safetensors or a torch file.

    A torch file may hold tensors only. The state dict of a training checkpoint is under ``model``, ``state_dict`` or
    ``state_dict_ema``. Prefixes of torch's wrappers (``module.``, ``_orig_mod.``) are removed from names.

    Args:
        path: A file.
        option: Name of the option, for messages.

    Raises:
        UsageError: The file is neither, holds no tensors, or would run code when read.
    """
    content = _read(path, option)
    for name in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        content = {}
    tensors = {name: value for name, value in content.items() if hasattr(value, "shape")}
    if not tensors:
        raise UsageError(
            f"{option} = {path}: holds no tensors by name; expected a state dict (.safetensors, .pth, .pt)"
        )
    double = twice(map(without_wrappers, tensors))
    if double is not None:
        raise UsageError(f"{option} = {path}: holds {double} twice, with and without a wrapper such as 'module.'")
    return {without_wrappers(name): value for name, value in tensors.items()}


def _read(path: Path, option: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        raise UsageError(f"{option} = {path}: is a folder; expected a weights file (.safetensors, .pth, .pt)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        if zipped:
            refuse_torchscript(path, f"{option} = {path}")
        damage = archive_damage(path) if zipped else None
        if damage is not None:
            raise UsageError(f"{option} = {path}: is damaged ({damage}); download or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # only warnings about files refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not (zipfile.is_zipfile(path) or path.read_bytes()[:1] == pickle.PROTO):
            raise UsageError(f"{option} = {path}: is not a weights file; expected .safetensors, .pth or .pt") from error
        raise UsageError(
            f"{option} = {path}: is a pickle of more than tensors, which could run code, and is not opened; "
            "where you trust it, save its tensors alone as .safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UsageError(
            f"{option} = {path}: cannot be read as weights ({_first_line(error)}); expected .safetensors, .pth or .pt"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
