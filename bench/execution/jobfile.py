"""A job as a JSON file, for workers elsewhere.

The file holds one job of a plan and where its results belong, and a checksum of all that. ``docs/other-schedulers.md``
describes its fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.environment import job_path, typed_command
from bench.errors import DataError
from bench.paths import Workspace
from bench.plan.graph import Job
from bench.store.publish import write_whole

VERSION = 1
"""Version of the format; another one is refused."""


class JobFile(BaseModel):
    """A job with its places.

    Attributes:
        format: Says what the file is.
        version: Version of the format.
        id: The job's id in the plan.
        job: The job.
        results: Results folder.
        cache: Cache folder.
        plugins: Plugin files to load.
        command: Command line that asked for it, without secrets.
        path: Import path of the process that planned it.
        store_url: Database URL; it is no part of a file, for it may hold a password.
        indexes: Whether runs are indexed when they are stored; a worker with a file says so itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["recon-bench job"] = "recon-bench job"
    version: int = VERSION
    id: str
    job: Job
    results: str
    cache: str
    plugins: tuple[str, ...]
    command: tuple[str, ...]
    path: tuple[str, ...]
    store_url: str | None = None
    indexes: bool = True

    @classmethod
    def of(cls, job: Job, workspace: Workspace, plugins: Sequence[Path], store_url: str | None) -> JobFile:
        """Return a job of this process."""
        return cls(
            id=job.id,
            job=job,
            results=str(workspace.results),
            cache=str(workspace.cache),
            plugins=tuple(map(str, plugins)),
            command=tuple(typed_command()),
            path=tuple(job_path()),
            store_url=store_url,
        )

    def payload(self) -> dict[str, Any]:
        """Return what a worker process reads."""
        return self.model_dump(mode="json")

    def text(self) -> str:
        """Return the file's content."""
        content = self.model_dump(mode="json", exclude={"store_url", "indexes"})
        return json.dumps({**content, "sha256": _digest(content)}, indent=1, sort_keys=True) + "\n"

    def write(self, folder: Path) -> Path:
        """Write ``ID.json`` by one rename.

        Raises:
            SetupError: It cannot be written.
        """
        target = folder / f"{self.id}.json"
        write_whole(target, self.text(), "job file")
        return target


def read_job(path: Path) -> JobFile:
    """Read a job file and verify its checksum.

    Raises:
        DataError: It is missing, no job file, of another version, or was changed.
    """
    again = "write it again from a new plan"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"job file '{path}' does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"job file '{path}' cannot be read as JSON: {' '.join(str(error).split())}") from error
    if isinstance(content, dict) and content.get("format") == "recon-bench plan":
        raise DataError(f"'{path}' is a whole plan: give the file of one of its jobs")
    if not isinstance(content, dict) or content.get("format") != "recon-bench job":
        raise DataError(f"'{path}' is no job file: its field 'format' must be 'recon-bench job'")
    if content.get("version") != VERSION:
        raise DataError(
            f"job file '{path}' has version {content.get('version')!r}, this bench reads version {VERSION}; {again}"
        )
    told = content.pop("sha256", None)
    if told != _digest(content):
        raise DataError(f"job file '{path}' was changed after it was planned (its sha256 differs); {again}")
    try:
        found = JobFile.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise DataError(f"job file '{path}', {field}: {problem['msg']}; {again}") from None
    if found.id != found.job.id:
        raise DataError(f"job file '{path}', id: expected '{found.job.id}', the id of its job; {again}")
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
