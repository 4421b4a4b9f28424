"""Check foreign weight files for damage and wrapper names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UsageError

WRAPPED = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module"})
"""Parts of names that torch's wrappers insert: data parallel, compile, FSDP, checkpointing."""
_CHUNK = 1 << 20
_MEMBERS = 1_000_000


def without_wrappers(name: str) -> str:
    """Remove the parts of a name that torch's wrappers insert.

    >>> without_wrappers("module._orig_mod.blocks.0._checkpoint_wrapped_module.norm.weight")
    'blocks.0.norm.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPED)


def twice(names: Iterable[str]) -> str | None:
    """Return the first repeated name, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


_TORCHSCRIPT = (
    "is a TorchScript archive, which holds code besides weights, and is not opened; where you trust it, save its "
    "weights alone: torch.save(torch.jit.load(FILE, 'cpu').state_dict(), NEW)"
)


def refuse_torchscript(path: Path, where: str) -> None:
    """Refuse a file of ``torch.jit.save``.

    OpenAI's own CLIP files are such files.

    Args:
        path: A zip file.
        where: What the message begins with.

    Raises:
        UsageError: The file is one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # damage is named by `archive_damage`
    if scripted:
        raise UsageError(f"{where}: {_TORCHSCRIPT}")


def archive_damage(path: Path) -> str | None:
    """Return the damage of a ``torch.save`` zip file, or None.

    Reads the whole file and compares every member with its checksum.

    Returns:
        The damage in words; None if all checksums agree.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS or sum(member.file_size for member in members) > path.stat().st_size:
                return "its members claim more bytes than the file has"
            if not any(member.filename.endswith("data.pkl") for member in members):
                return "a zip archive of something else than torch.save's"
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    return f"{member.filename} is compressed, as torch.save never does"
                with archive.open(member) as stream:
                    while stream.read(_CHUNK):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        return " ".join(str(error).split())[:120] or type(error).__name__
    return None
