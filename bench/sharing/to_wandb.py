"""Runs in Weights & Biases, or in folders that ``wandb sync`` uploads."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from bench.errors import SetupError, UsageError
from bench.sharing.tracking import TrackedRun, installed, named_project, one_line, plain
from bench.store.scratch import temporary_folder

Mode = Literal["online", "offline"]
MODES: tuple[Mode, ...] = get_args(Mode)
_NOTE = "bench.json"
"""File of an offline run that names its project, run folder and digest."""
_QUIET = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
"""Settings for the time of an export, where the user has set none."""
_LONGEST_PROJECT, _LONGEST_GROUP = 128, 128
_LOGIN = "run wandb login, or set WANDB_API_KEY; or write folders (--mode offline) and upload them later (wandb sync)"


class ToWandb:
    """Projects of Weights & Biases.

    Attributes:
        where: The server and entity, or the folder of offline runs.
    """

    def __init__(self, mode: Mode, folder: Path, entity: str | None) -> None:
        """Take a place.

        Args:
            mode: Whether to upload, or to write folders that ``wandb sync`` uploads.
            folder: Folder whose subfolder ``wandb`` takes offline runs.
            entity: User or team; None for the user's own.

        Raises:
            SetupError: wandb is not installed, nobody is logged in, or the folder cannot be written.
        """
        installed("wandb", "wandb")
        self._offline, self._entity, self._folder = mode == "offline", entity, folder.absolute() / "wandb"
        self.where = str(self._folder)
        if self._offline:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SetupError(f"--dir {folder}: {error.strerror}") from error
            return
        self.where = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        with self._asking():
            import wandb

            self._api: Any = wandb.Api(timeout=20)
            self._entity = entity or self._api.default_entity
            self.where += f"/{self._entity}"

    def project_of(self, dataset: str) -> str:
        """Return the project of a data set."""
        return plain(dataset, r"\-. ", _LONGEST_PROJECT)

    def known(self, project: str) -> Mapping[str, str]:
        """Return digests of a project's runs, by run folder.

        Raises:
            UsageError: No project may have the name.
            SetupError: The server does not answer.
        """
        named_project("project", project, "/\\#?%:", _LONGEST_PROJECT)
        if self._offline:
            notes = (note for note, _ in self._notes())
            return {note["folder"]: note["digest"] for note in notes if note["project"] == project}
        with self._asking():
            try:
                runs = list(self._api.runs(f"{self._entity}/{project}", per_page=200, lazy=False))
            except ValueError as error:
                if "not find project" in str(error):
                    return {}
                raise
            notes = (run.config.get("bench", {}) for run in runs)
            return {note["folder"]: note.get("digest", "") for note in notes if "folder" in note}

    def put(self, project: str, run: TrackedRun) -> None:
        """Write a run, or complete it.

        Raises:
            SetupError: The server does not answer, or the folder cannot be written.
        """
        with self._asking(), temporary_folder(self._folder if self._offline else None) as place:
            self._write(project, run, place)
            if self._offline:
                (made,) = (place / "wandb").glob("offline-run-*")
                note = {"project": project, "folder": run.folder, "digest": run.digest}
                for other, older in self._notes():
                    if (other["project"], other["folder"]) == (project, run.folder):
                        shutil.rmtree(older)
                (made / _NOTE).write_text(json.dumps(note), encoding="utf-8")
                made.rename(self._folder / made.name)

    def _write(self, project: str, run: TrackedRun, place: Path) -> None:
        import wandb

        labels = run.labels
        about = {name.removeprefix("bench."): value for name, value in run.tags.items()}
        made: Any = wandb.init(
            project=project,
            entity=self._entity,
            # One of a run that was deleted cannot be used again, so that it also tells the project.
            id=sha256(f"{project}\n{run.folder}".encode()).hexdigest()[:24],
            resume=None if self._offline else "allow",
            name=run.name,
            group=" ".join(labels[name] for name in ("method", "protocol", "setting"))[:_LONGEST_GROUP],
            job_type=labels["protocol"][:64],
            tags=sorted({labels[name][:64] for name in ("method", "protocol", "dataset", "preset") if labels[name]}),
            config={**labels, "bench": about, "spec": run.record.spec},
            dir=str(place),
            mode="offline" if self._offline else "online",
            reinit="create_new",
            save_code=False,
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                symlink=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )
        steps: dict[int, dict[str, float]] = defaultdict(dict)
        for name, curve in run.curves.items():
            for step, value in curve:
                steps[step][name] = value
        for step in sorted(steps):
            made.log(steps[step], step=step)
        made.summary.update(run.numbers)
        for file in run.files:
            # Copied here, since wandb makes a hard link: a change there would be one of the stored run.
            shutil.copyfile(file, Path(made.dir) / file.name)
            made.save(str(Path(made.dir) / file.name), base_path=made.dir, policy="now")
        made.config.update({"bench": {**about, "digest": run.digest}}, allow_val_change=True)
        made.finish(exit_code=int(run.failed))

    def _notes(self) -> Iterator[tuple[dict[str, str], Path]]:
        """Yield what the folders of offline runs say of themselves."""
        for file in sorted(self._folder.glob(f"offline-run-*/{_NOTE}")):
            try:
                note = json.loads(file.read_text(encoding="utf-8"))
                yield {name: str(note[name]) for name in ("project", "folder", "digest")}, file.parent
            except (OSError, ValueError, KeyError, TypeError):
                continue

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Say in one line what Weights & Biases could not do."""
        lent = [name for name in _QUIET if name not in os.environ]
        os.environ.update({name: _QUIET[name] for name in lent})
        try:
            import wandb.errors as told

            try:
                yield
            except (told.Error, OSError, ValueError) as error:
                text = one_line(error)
                if "No API key" in text:
                    raise UsageError(f"nobody is logged in at {self.where}: {_LOGIN}") from error
                raise SetupError(f"Weights & Biases at {self.where}: {text}") from error
        finally:
            for name in lent:
                os.environ.pop(name, None)
