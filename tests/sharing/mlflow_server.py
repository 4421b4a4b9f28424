"""A real MLflow tracking server on a free port: ``python mlflow_server.py FOLDER`` prints the port."""

from __future__ import annotations

import os
import sys

from mlflow.server import constants

folder = sys.argv[1]
os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/server.db"
os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"{folder}/artifacts"
os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"

from mlflow.server import app  # noqa: E402 (it reads these variables)
from mlflow.server.handlers import initialize_backend_stores  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

initialize_backend_stores(os.environ[constants.BACKEND_STORE_URI_ENV_VAR], default_artifact_root="mlflow-artifacts:/")
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
