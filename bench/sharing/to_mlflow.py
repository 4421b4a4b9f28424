"""Runs in an MLflow server, database or folder."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import SetupError, UsageError
from bench.sharing.tracking import TrackedRun, chunks, installed, named_project, one_line, plain

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default waits for minutes where no server is
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings of MLflow for the time of an export, where the user has set none."""
_DIGEST = "bench.digest"
_LONGEST_VALUE = 500
"""Characters of a parameter that servers of all versions take."""
_LONGEST_TAG = 5000
_LONGEST_NAME = 250
_PARAMETERS, _NUMBERS = 100, 500
"""Most values of one request."""
_FORMS = "the address of a server (http://HOST:PORT, databricks) or a database file (sqlite:////FOLDER/mlflow.db)"
_ADDRESS = re.compile(r"https?://[^/\s]+.*|databricks(://.*)?|sqlite:///(?P<file>[^?]+)(\?.*)?")


class ToMlflow:
    """Experiments of an MLflow tracking server.

    Attributes:
        where: Tracking URI.
    """

    def __init__(self, uri: str | None) -> None:
        """Take an address.

        Args:
            uri: Tracking URI; None for ``MLFLOW_TRACKING_URI``.

        Raises:
            UsageError: There is none, or it is no URI.
            SetupError: MLflow is not installed.
        """
        self.where = (uri or os.environ.get("MLFLOW_TRACKING_URI", "")).strip()
        if not self.where:
            raise UsageError(f"--tracking-uri (or MLFLOW_TRACKING_URI) is missing: give {_FORMS}")
        if (address := _ADDRESS.fullmatch(self.where)) is None:
            raise UsageError(f"--tracking-uri {self.where}: expected {_FORMS}")
        installed("mlflow", "mlflow")
        # Beside a database file lie its artifacts; the default is the folder that the command is typed in.
        self._artifacts = Path(address["file"]).absolute().parent / "mlruns" if address["file"] else None
        self._experiments: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        with self._asking():
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic", "urllib3.connectionpool"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client: Any = MlflowClient(self.where)
            self._client.search_experiments(max_results=1)

    def project_of(self, dataset: str) -> str:
        """Return the experiment of a data set."""
        return plain(dataset, r"\-. :/", _LONGEST_NAME)

    def known(self, project: str) -> Mapping[str, str]:
        """Return digests of an experiment's runs, by run folder.

        Raises:
            UsageError: The experiment was deleted.
            SetupError: The server does not answer.
        """
        named_project("experiment", project, "\\'\"", _LONGEST_NAME)
        with self._asking():
            found = self._client.get_experiment_by_name(project)
            if found is None:
                return {}
            if found.lifecycle_stage != "active":
                raise UsageError(
                    f"experiment {project} was deleted at {self.where}; restore it there, or name another: --experiment"
                )
            self._experiments[project] = found.experiment_id
            digests: dict[str, str] = {}
            token = None
            while True:
                page = self._client.search_runs(
                    [found.experiment_id], "tags.`bench.folder` LIKE '%'", max_results=1000, page_token=token
                )
                for run in page:
                    folder, digest = run.data.tags["bench.folder"], run.data.tags.get(_DIGEST, "")
                    if not digests.get(folder):
                        digests[folder], self._runs[project + folder] = digest, run.info.run_id
                if not (token := page.token):
                    return digests

    def put(self, project: str, run: TrackedRun) -> None:
        """Write a run, or complete it.

        Raises:
            SetupError: The server does not answer, or refuses a value.
        """
        with self._asking():
            from mlflow.entities import Metric, Param, RunTag

            client = self._client
            if project not in self._experiments:
                beside = None if self._artifacts is None else (self._artifacts / plain(project, "-", 100)).as_uri()
                self._experiments[project] = client.create_experiment(project, beside)
            tags = {name: value[:_LONGEST_TAG] for name, value in run.tags.items()}
            at, there = self._runs.get(project + run.folder), None
            if at is None:
                made = client.create_run(self._experiments[project], run.started, tags, run.name)
                at = self._runs[project + run.folder] = made.info.run_id
            else:
                there = client.get_run(at)
            parameters = {_name(name): value[:_LONGEST_VALUE] for name, value in run.parameters.items()}
            points = [(name, 0, value) for name, value in run.numbers.items()]
            points += [(name, step, value) for name, curve in run.curves.items() for step, value in curve]
            points = list(dict.fromkeys((_name(name), step, float(value)) for name, step, value in points))
            when = run.finished
            if there is not None:
                parameters = {name: text for name, text in parameters.items() if name not in there.data.params}
                points, newest = self._missing(at, points, there.data.metrics)
                when = max(when, newest + 1)
            for part in chunks(list(parameters.items()), _PARAMETERS):
                client.log_batch(at, params=[Param(*pair) for pair in part])
            for numbers in chunks(points, _NUMBERS):
                client.log_batch(at, metrics=[Metric(name, value, when, step) for name, step, value in numbers])
            for file in run.files:
                client.log_artifact(at, str(file))
            client.log_batch(at, tags=[RunTag(name, value) for name, value in tags.items()])
            client.set_terminated(at, "FAILED" if run.failed else "FINISHED", run.finished)
            client.set_tag(at, _DIGEST, run.digest)

    def _missing(
        self, at: str, points: list[tuple[str, int, float]], names: Mapping[str, float]
    ) -> tuple[list[tuple[str, int, float]], int]:
        """Return the points that a run lacks, and the newest time of those it has."""
        there, newest = set(), 0
        for name in names:
            for metric in self._client.get_metric_history(at, name):
                # One that is not a number equals nothing, itself included.
                there.add((name, metric.step, str(metric.value)))
                newest = max(newest, metric.timestamp)
        return [point for point in points if (*point[:2], str(point[2])) not in there], newest

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Say in one line what MLflow could not do."""
        lent = [name for name in _QUIET if name not in os.environ]
        os.environ.update({name: _QUIET[name] for name in lent})
        try:
            from mlflow.exceptions import MlflowException
            from requests import RequestException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError) as error:
                raise self._told(error) from error
        finally:
            for name in lent:
                os.environ.pop(name, None)

    def _told(self, error: Exception) -> SetupError:
        text = one_line(error)
        if self.where.startswith("http") and ("failed with exception" in text or isinstance(error, OSError)):
            return SetupError(
                f"no MLflow server answers at {self.where}; start it (mlflow server), or correct --tracking-uri; "
                "what was written stays, the same command completes it"
            )
        return SetupError(f"MLflow at {self.where}: {text}")


def _name(name: str) -> str:
    """Return a name of a parameter or metric that MLflow takes."""
    return posixpath.normpath(plain(name, r"\-. :/", _LONGEST_NAME)).lstrip("/.") or "_"
