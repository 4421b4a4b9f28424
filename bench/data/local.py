"""Names of the user's own data folders (``bench data add``).

They are stored in ``datasets.yaml`` in the results folder. A local name is valid on this machine only: keys hold the
format, its options and the content's manifest, never the name or the path.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from bench.data.files import exclusive
from bench.errors import DataError, SetupError, UsageError, unknown_name
from bench.store.publish import write_whole

FILE_NAME = "datasets.yaml"
VERSION = 1
_HEAD = "# Local data sets of this machine; edit with `bench data add` and `bench data remove`.\n"
_LAYOUT_FOLDERS = frozenset({"h5_files", "main_split", "main_split_nobg"})


class LocalDataset(BaseModel):
    """Named folder or file in a known format."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    root: str
    """Absolute path."""
    options: dict[str, JsonValue] = {}


class _Registry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    datasets: dict[str, LocalDataset] = {}


class DatasetRef(NamedTuple):
    """Data set named by ``NAME[:ROOT]``."""

    format: str
    """Name of the data set class."""
    root: Path | None
    options: dict[str, JsonValue]
    label: str
    """Name in tables: the local name, ``format:folder``, or the embedded set's name."""


def list_local(results: Path) -> dict[str, LocalDataset]:
    """Return the local data sets by name, in alphabetical order.

    Empty if none was added.

    Raises:
        SetupError: The file cannot be read, is not in its layout, or comes from a newer version.
    """
    from bench.yamltext import YamlError, read_yaml

    path = results / FILE_NAME
    try:
        content = read_yaml(path) or {}
    except FileNotFoundError:
        return {}
    except YamlError as error:
        raise SetupError(f"{path}: cannot be read as YAML ({error}); mend or delete it") from error
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise SetupError(f"{path}: was written by a newer version (layout {version}, known: {VERSION}); update bench")
    try:
        registry = _Registry.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise SetupError(f"{path}: {where}: {first['msg']}; mend or delete the entry") from error
    return dict(sorted(registry.datasets.items()))


def _write(results: Path, datasets: dict[str, LocalDataset]) -> None:
    import yaml

    plain = _Registry(datasets=dict(sorted(datasets.items()))).model_dump(mode="json")
    write_whole(results / FILE_NAME, _HEAD + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def check_name(name: str, known_formats: Collection[str]) -> None:
    """Check that a name is allowed for a data set.

    Args:
        name: Letters, digits, ``-``, ``_`` and ``.``, beginning with a letter or digit.
        known_formats: Every name of the data set registry; a local name may not hide one.

    Raises:
        UsageError: The name is malformed or reserved.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is None:
        raise UsageError(
            f"'{name}' cannot name a data set: expected up to 64 letters, digits, '-', '_' or '.', "
            "beginning with a letter or digit"
        )
    if name in known_formats:
        raise UsageError(f"'{name}' is the name of a built-in data set or format; choose another name")


def add_local(
    results: Path,
    name: str,
    format_name: str,
    root: Path,
    options: dict[str, JsonValue] | None = None,
    *,
    known_formats: Collection[str],
    takes_file: bool = False,
    force: bool = False,
) -> LocalDataset:
    """Add a name for a folder or file.

    Only the name and the existence of the folder are checked; the caller checks the layout by ``Dataset.load``.

    Args:
        results: Results folder.
        name: As in `check_name`.
        format_name: Name of the data set class that reads it.
        root: The folder, or the file.
        options: Options of the format.
        known_formats: Every name of the data set registry.
        takes_file: Whether the format reads one file.
        force: Replace an entry of this name.

    Returns:
        The entry.

    Raises:
        UsageError: The name is invalid or taken, or the format is unknown.
        DataError: No such folder or file.
        SetupError: The results folder cannot be written.
    """
    check_name(name, known_formats)
    if format_name not in known_formats:
        raise unknown_name("data set format", format_name, known_formats, plugin=True)
    folder = root.expanduser().resolve()
    if not folder.is_dir() and not (takes_file and folder.exists()):
        raise DataError(f"{root}: {'is not a folder' if folder.exists() else 'no such folder'}; give the data's folder")
    entry = LocalDataset(format=format_name, root=str(folder), options=options or {})
    with exclusive(results / f".{FILE_NAME}.lock"):
        datasets = list_local(results)
        if not force and datasets.get(name, entry) != entry:
            held = datasets[name]
            raise UsageError(
                f"local data set '{name}' exists already ({held.format}:{held.root}); "
                "add --force to replace it, or choose another name"
            )
        _write(results, {**datasets, name: entry})
    return entry


def remove_local(results: Path, name: str) -> LocalDataset:
    """Remove a local name; the folder itself is unchanged.

    Returns:
        The entry that was removed.

    Raises:
        UsageError: No such name.
        SetupError: The results folder cannot be written.
    """
    with exclusive(results / f".{FILE_NAME}.lock"):
        datasets = list_local(results)
        if name not in datasets:
            raise unknown_name("local data set", name, datasets)
        entry = datasets.pop(name)
        _write(results, datasets)
    return entry


def resolve_dataset_ref(ref: str, results: Path, known_formats: Iterable[str]) -> DatasetRef:
    """Return the format, root, options and label of ``NAME[:ROOT]``.

    NAME is a data set of the registry (with ROOT where it reads files) or a local name (without ROOT).

    Raises:
        UsageError: The name is unknown, the root is empty, or a local name has a root.
        DataError: The folder or file of a local name is missing.
        SetupError: The list of local names cannot be read.
    """
    known = sorted(known_formats)
    name, colon, rest = ref.partition(":")
    if colon and not rest:
        raise UsageError(f"data set '{ref}': the folder after ':' is missing, expected {name}:DIR")
    if name in known:
        if not colon:
            return DatasetRef(name, None, {}, name)
        root = Path(rest).expanduser()
        return DatasetRef(name, root, {}, f"{name}:{_folder_label(root)}")
    local = list_local(results)
    if name not in local:
        raise unknown_name("data set", name, [*known, *local], plugin=True)
    entry = local[name]
    if colon:
        raise UsageError(f"'{name}' is a local data set and has its folder ({entry.root}) already: write just {name}")
    if entry.format not in known:
        raise UsageError(
            f"local data set '{name}': {unknown_name('data set format', entry.format, known, plugin=True)}"
        )
    if not Path(entry.root).exists():
        raise DataError(
            f"local data set '{name}': {entry.root} does not exist any more; restore it, or run "
            f"bench data add {name} --format {entry.format} --root DIR --force"
        )
    return DatasetRef(entry.format, Path(entry.root), dict(entry.options), name)


def _folder_label(root: Path) -> str:
    """Return the last characteristic part of a path.

    For example ``household7`` for ``.../household7/h5_files``.
    """
    absolute = root.absolute().resolve()
    telling = [part for part in (absolute, *absolute.parents) if part.name not in _LAYOUT_FOLDERS]
    return telling[0].name or str(absolute)
