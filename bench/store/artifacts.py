"""Shared artefacts: encoders, teachers and features, as sealed folders."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from pathlib import Path

from bench.errors import SetupError
from bench.store import folders
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.folders import DamagedFolderError, Manifest, NewerFolderError
from bench.store.scratch import remove_abandoned, scratch_name

_log = logging.getLogger(__name__)

ARTIFACTS = "artifacts"


class ArtifactStore:
    """Sealed folders ``artifacts/<kind>/<key>/<fingerprint[:16]>/`` of a results folder.

    Attributes:
        results: Results folder.
        readonly: Whether damaged ones are left where they are.
        set_aside: Damaged folders moved to quarantine, with reasons.
    """

    def __init__(self, results: Path, *, readonly: bool = False) -> None:
        self.results = Path(results).absolute()
        self.readonly = readonly
        self.set_aside: list[tuple[Path, str]] = []

    def folder(self, kind: str, key: str, fingerprint: str) -> Path:
        """Return the folder of an artefact."""
        parts = folders.path_part(kind, "kind"), folders.path_part(key, "key")
        return self.results.joinpath(ARTIFACTS, *parts, folders.path_part(fingerprint, "fingerprint")[: folders.SHORT])

    def publish_folder(self, kind: str, key: str, fingerprint: str, source_dir: Path) -> Path:
        """Seal a folder and move it to its place.

        `source_dir` is gone afterwards.

        Where a sound artefact stands there already it is kept and `source_dir` discarded. Fill `source_dir` below
        the results folder (same file system) and the move is one rename; from elsewhere it is copied first.

        Args:
            kind: Kind of artefact, e.g. ``"encoder"``.
            key: Content key.
            fingerprint: Code fingerprint.
            source_dir: Folder with the files; subfolders are kept.

        Returns:
            The published folder.

        Raises:
            SetupError: It cannot be written (full disk, read-only place); `source_dir` is left as it was, but for
                a manifest inside it.
            ValueError: It holds symbolic links, or a name cannot be that of a folder.
        """
        destination = self.folder(kind, key, fingerprint)
        staged: Path | None = None
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            if source_dir.stat().st_dev == destination.parent.stat().st_dev:
                folders.seal(source_dir, kind, key, fingerprint)
                folders.place(source_dir, destination, self._set_aside)
            else:
                staged = self.results / ARTIFACTS / kind / scratch_name()
                shutil.copytree(source_dir, staged, symlinks=True)
                folders.seal(staged, kind, key, fingerprint)
                folders.place(staged, destination, self._set_aside)
                shutil.rmtree(source_dir, ignore_errors=True)
        except shutil.Error as error:
            raise _copy_failure(source_dir, destination, error) from error
        except OSError as error:
            raise file_failure("write", destination, error) from error
        finally:
            if staged is not None:
                shutil.rmtree(staged, ignore_errors=True)
        return destination

    def find_folder(self, kind: str, key: str, fingerprint: str | None, *, digests: bool = False) -> Path | None:
        """Return an undamaged artefact.

        Args:
            kind: Kind of artefact.
            key: Content key.
            fingerprint: Code fingerprint, or None for the newest of any code.
            digests: Recompute checksums; otherwise presence and sizes are compared.

        Returns:
            The folder, or None where there is none. A damaged one is moved to quarantine, reported by a warning
            and in `set_aside`, and counts as absent.

        Raises:
            SetupError: A damaged one cannot be moved, or a newer bench wrote it.
        """
        if fingerprint is not None:
            found = [self.folder(kind, key, fingerprint)]
        else:
            found = list(folders.subfolders(self.folder(kind, key, "any").parent))
        sound: list[tuple[str, Path]] = []
        for folder in found:
            manifest = self._sound(folder, digests=digests) if folder.is_dir() else None
            if manifest is not None and fingerprint in (None, manifest.fingerprint):
                sound.append((manifest.created_at, folder))
        return max(sound)[1] if sound else None

    def list_folders(self, kind: str, *, digests: bool = False) -> list[Path]:
        """List the undamaged artefacts of a kind.

        By key and fingerprint; those that cannot be read are named.

        Args:
            kind: Kind of artefact.
            digests: Recompute checksums; otherwise presence and sizes are compared.

        Raises:
            SetupError: A damaged one cannot be moved.
        """
        parent = self.results / ARTIFACTS / folders.path_part(kind, "kind")
        sound = []
        for folder in (folder for key in folders.subfolders(parent) for folder in folders.subfolders(key)):
            try:
                if self._sound(folder, digests=digests) is not None:
                    sound.append(folder)
            except NewerFolderError as error:
                _log.warning("left out: %s", error)
        return sound

    def manifest(self, folder: Path) -> Manifest:
        """Return an artefact's manifest (full fingerprint, time, files)."""
        return folders.read_manifest(folder)

    def check(self, *, digests: bool = False) -> list[tuple[Path, str]]:
        """Check every artefact and quarantine damaged ones.

        Returns them with the reasons.

        Opened for reading, nothing is moved: the damaged ones are named by a warning each.
        """
        before = len(self.set_aside)
        for kind in folders.subfolders(self.results / ARTIFACTS):
            if not self.readonly:
                remove_abandoned(kind)
            for key in folders.subfolders(kind):
                for folder in folders.subfolders(key):
                    with contextlib.suppress(NewerFolderError):
                        self._sound(folder, digests=digests)
        return self.set_aside[before:]

    def _sound(self, folder: Path, *, digests: bool) -> Manifest | None:
        try:
            manifest = folders.verify(folder, digests=digests)
            folders.check_place(folder, manifest, kind=folder.parent.parent.name)
        except DamagedFolderError as damage:
            self._set_aside(damage)
            return None
        except OSError as error:
            raise file_failure("read", folder, error) from error
        return manifest

    def _set_aside(self, damage: DamagedFolderError) -> None:
        if self.readonly:
            name = shown(damage.folder.relative_to(self.results))
            _log.warning("left out %s: %s; 'bench db rebuild' sets it aside", name, damage.reason)
            return
        try:
            target = folders.quarantine(self.results, damage.folder, damage.reason)
        except OSError as error:
            raise file_failure("move the damaged folder", damage.folder, error) from error
        if target is not None:
            _log.warning("set aside '%s': %s; now '%s'", damage.folder, damage.reason, target)
            self.set_aside.append((target, damage.reason))


def _copy_failure(source: Path, destination: Path, error: shutil.Error) -> SetupError:
    """Build one error from `shutil.copytree`'s list.

    It gathers (from, to, text) of every file that failed and loses the error numbers.
    """
    why = str(error.args[0][0][2])
    if os.strerror(errno.ENOSPC) in why:
        return file_failure("write", destination, OSError(errno.ENOSPC, why))
    return SetupError(f"cannot copy '{source}' to '{destination}': {why}")
