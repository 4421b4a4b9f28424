from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, running, unavailable


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A real SLURM of one node; skips where it may not be started, and says why."""
    if why := unavailable():
        pytest.skip(why)
    pytest.importorskip("submitit", reason="pip install 'recon-bench[slurm]'")
    try:
        with running() as own:
            before = dict(os.environ)
            os.environ.update(own.environment)
            yield own
            os.environ.clear()
            os.environ.update(before)
    except RuntimeError as error:
        pytest.skip(str(error))
