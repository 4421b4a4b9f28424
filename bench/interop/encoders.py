"""Import and export encoders of the results folder.

Imports official checkpoints; exports files for the authors' code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save_file

from bench.data.arrays import read_text
from bench.environment import quoted, typed_command
from bench.errors import DataError, UsageError
from bench.interop.checkpoints import Checkpoint, read_checkpoint
from bench.interop.exporting import FileLayout, export_release, released_content
from bench.interop.importing import FRESH_SEED, ReadEncoder, choose_release, read_encoder
from bench.interop.releases import texts_read
from bench.paths import Workspace
from bench.plan.code import IMPORTED
from bench.plan.encoders import ANY_MACHINE, encoder_key, find_encoder, stored_encoders
from bench.plan.overrides import Overrides
from bench.plan.request import parse_assignments
from bench.provenance import versions
from bench.registry import METHODS
from bench.spec import PretrainSpec, content_key
from bench.store.artifacts import ARTIFACTS, ArtifactStore
from bench.store.failures import file_failure
from bench.store.filelock import file_lock
from bench.store.publish import whole_file
from bench.store.scratch import remove_abandoned, scratch_name
from bench.training.aligned import save_heads

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class ImportRequest:
    """Request of ``bench import``.

    Attributes:
        path: Checkpoint file.
        method: Method of the checkpoint; None: recognised from its tensors.
        name: Name of the encoder; None: the file's name.
        assignments: ``backbone.FIELD=VALUE`` and ``METHOD.FIELD=VALUE`` texts.
        saw_class_names: ``none``, ``unknown``, a file with one name per line, or None: as known for the release.
    """

    path: Path
    method: str | None = None
    name: str | None = None
    assignments: tuple[str, ...] = ()
    saw_class_names: str | None = None


@dataclass(frozen=True)
class Imported:
    """Encoder that was imported into the results folder.

    Attributes:
        name: Its name.
        key: Its key.
        folder: Folder of its artefact.
        checkpoint: The checkpoint file.
        encoder: The encoder read from that file.
        texts: Texts that its training read; None: unknown.
        texts_source: Source of `texts`.
        was_there: Whether it had been imported before.
    """

    name: str
    key: str
    folder: Path
    checkpoint: Checkpoint
    encoder: ReadEncoder
    texts: tuple[str, ...] | None
    texts_source: str
    was_there: bool


def import_checkpoint(request: ImportRequest, workspace: Workspace) -> Imported:
    """Import the encoder of a checkpoint into the results folder.

    Raises:
        DataError: The file is damaged, needs code to be run, or is incomplete.
        UsageError: The method is wrong, an option is invalid, or the name is taken.
        SetupError: The results folder cannot be written.
    """
    assigned = parse_assignments(request.assignments)
    if request.name is not None:
        _check_name(request.name)
    checkpoint = read_checkpoint(request.path)
    release = choose_release(checkpoint, request.method)
    overrides = Overrides(assigned, frozenset({"backbone", "method", *METHODS.names()}))
    backbone = overrides.merge({}, "backbone")
    encoder = read_encoder(checkpoint, release, backbone, overrides.merge({}, "method", release.method))
    overrides.check_all_taken()
    texts, source = _texts(request.saw_class_names, checkpoint, encoder)
    spec = PretrainSpec(
        method=encoder.method,
        options=encoder.options,
        backbone=encoder.backbone,
        recipe=None,
        data=None,
        imported=checkpoint.sha256,
        texts=content_key(None if texts is None else list(texts)),
        numerics=ANY_MACHINE,
        seed=0,
    )
    name = request.name or re.sub(r"[^A-Za-z0-9._-]+", "-", request.path.stem).strip("-._")[:64] or "imported"
    key = encoder_key(spec)
    with file_lock(workspace.results / ".encoders.lock", exclusive=True, timeout=_LOCK_SECONDS):
        there = _already(workspace.results, key, name, request.name is not None)
        if there is not None:
            name, folder = there
        else:
            facts = _provenance(name, checkpoint, encoder, source)
            folder = _publish(ArtifactStore(workspace.results), key, encoder, spec, texts, facts)
    return Imported(name, key, folder, checkpoint, encoder, texts, source, there is not None)


def export_encoder(text: str, path: Path, layout: FileLayout, workspace: Workspace, *, force: bool = False) -> Path:
    """Export an encoder to a file for its authors' code.

    Args:
        text: Name or beginning of the key.
        path: File to write.
        layout: Kind of file.
        workspace: Results folder.
        force: Replace an existing file.

    Returns:
        The file.

    Raises:
        UsageError: No such encoder, no such layout, or the file exists.
        SetupError: The file cannot be written; a file already there is unchanged.
    """
    found = find_encoder(workspace.results, text)
    release = export_release(found.spec.method, layout)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a file such as {path / f'{found.shown}.pth'}")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already; add --force to replace it, or choose another file")
    state = load_file(found.folder / "encoder.safetensors")
    texts = json.loads((found.folder / "texts.json").read_text(encoding="utf-8"))
    content = released_content(state, release, found.spec, texts)
    try:
        with whole_file(path) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # torch reports a full disk this way
        raise file_failure("write", path, OSError(str(error))) from error
    return path


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise UsageError(
            f"'{name}' cannot name an encoder: expected up to 64 letters, digits, '-', '_' or '.', "
            "beginning with a letter or digit"
        )


def _already(results: Path, key: str, name: str, named: bool) -> tuple[str, Path] | None:
    """Return name and folder of an existing import, or None.

    Raises:
        UsageError: The weights exist under another name, or the name belongs to other weights.
    """
    known = stored_encoders(results)
    same = next((encoder for encoder in known if encoder.key == key), None)
    if same is not None:
        if named and same.name != name:
            raise UsageError(
                f"these weights are imported already, as '{same.name}'; use that name, or delete {same.folder} first"
            )
        return same.name, same.folder
    taken = next((encoder for encoder in known if encoder.name == name), None)
    if taken is not None:
        raise UsageError(
            f"the name '{name}' belongs to another encoder ({taken.key[:12]}); choose another with --name NAME"
        )
    return None


def _texts(asked: str | None, checkpoint: Checkpoint, encoder: ReadEncoder) -> tuple[tuple[str, ...] | None, str]:
    """Return the texts that the training read, and their source."""
    if asked == "none":
        return (), "given: none"
    if asked == "unknown":
        return None, "given: unknown"
    if asked is not None:
        try:
            lines = read_text(Path(asked)).splitlines()
        except DataError as error:
            raise UsageError(
                f"--saw-class-names: expected none, unknown, or a text file with one name per line; {error}"
            ) from None
        return tuple(dict.fromkeys(line.strip() for line in lines if line.strip())), f"given: {Path(asked).name}"
    written = checkpoint.ours.get("texts")
    if isinstance(written, list):
        return tuple(map(str, written)), "written by bench beside the weights"
    return texts_read(encoder.method, encoder.release.kind), f"known for {encoder.method}'s release"


def _provenance(name: str, checkpoint: Checkpoint, encoder: ReadEncoder, texts_source: str) -> dict[str, JsonValue]:
    facts: dict[str, Any] = {
        "name": name,
        "trained_on": "elsewhere (imported)",
        "source": {
            "file": checkpoint.path.name,
            "bytes": checkpoint.size,
            "sha256": checkpoint.sha256,
            "wrapper": checkpoint.wrapper,
            "facts": checkpoint.facts,
            "left_out": list(checkpoint.left_out),
        },
        "kind": encoder.release.kind,
        "used_tensors": encoder.used,
        "ignored": [asdict(part) for part in encoder.ignored],
        "fresh": {"tensors": list(encoder.fresh), "seed": FRESH_SEED},
        "measured": encoder.measured,
        "stated": encoder.stated,
        "assumed": encoder.assumed,
        "texts": texts_source,
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "argv": typed_command(),
        "command": quoted(typed_command()),
    }
    return facts


def _publish(
    store: ArtifactStore,
    key: str,
    encoder: ReadEncoder,
    spec: PretrainSpec,
    texts: tuple[str, ...] | None,
    facts: dict[str, JsonValue],
) -> Path:
    """Write an artefact to a temporary folder and rename it."""
    folder = store.results / ARTIFACTS / "encoder"
    staged = folder / scratch_name()
    try:
        remove_abandoned(folder)
        staged.mkdir(parents=True)
        save_file(encoder.state, staged / "encoder.safetensors")
        save_heads(encoder.heads, staged)
        for file in staged.glob("*.safetensors"):
            os.chmod(file, 0o644)  # noqa: PTH101
        parameters = float(encoder.build().parameter_count)
        files: dict[str, Any] = {
            "curves": {},
            "cost": {"parameters_encoder": parameters},
            "texts": None if texts is None else sorted(texts),
            "spec": spec.model_dump(mode="json"),
            "provenance": facts,
        }
        for name, value in files.items():
            (staged / f"{name}.json").write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
        return store.publish_folder("encoder", key, IMPORTED.digest, staged)
    except OSError as error:
        raise file_failure("write", folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
