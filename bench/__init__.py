"""Benchmark harness for 3D point-cloud self-supervised learning.

    import bench
    study = bench.study(methods=["recon"], protocols=["fewshot"], seeds=3)
    results = study.run()
    results.cells()

`docs/api.md` lists what is here; all other modules are private.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import (
        Comparison,
        Results,
        Study,
        StudyPlan,
        Tuned,
        available,
        dataset,
        encoder,
        load,
        load_plugins,
        study,
    )
    from bench.errors import BenchError, DataError, DivergedError, Interrupted, SetupError, UsageError
    from bench.tools import (
        add_data,
        audit_data,
        card,
        check,
        check_data,
        check_plugin,
        export_encoder,
        fit_teacher,
        import_encoder,
        local_data,
        profile,
        remove_data,
        show_data,
        teacher,
        verify,
    )
    from bench.version import __version__ as __version__

__all__ = [
    "BenchError",
    "Comparison",
    "DataError",
    "DivergedError",
    "Interrupted",
    "Results",
    "SetupError",
    "Study",
    "StudyPlan",
    "Tuned",
    "UsageError",
    "add_data",
    "audit_data",
    "available",
    "card",
    "check",
    "check_data",
    "check_plugin",
    "dataset",
    "encoder",
    "export_encoder",
    "fit_teacher",
    "import_encoder",
    "load",
    "load_plugins",
    "local_data",
    "profile",
    "remove_data",
    "show_data",
    "study",
    "teacher",
    "verify",
]
_ERRORS = frozenset({"BenchError", "DataError", "DivergedError", "Interrupted", "SetupError", "UsageError"})
_STUDIES = frozenset({"Comparison", "Results", "Study", "StudyPlan", "Tuned", "available", "dataset", "encoder"})
_STUDIES |= {"load", "load_plugins", "study"}


def __getattr__(name: str) -> object:
    """Import what is asked for: `import bench` alone costs nothing."""
    if name not in __dir__():
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    errors, studies = name in _ERRORS, name in _STUDIES
    module = "version" if name == "__version__" else "errors" if errors else "api" if studies else "tools"
    return getattr(importlib.import_module(f"bench.{module}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
