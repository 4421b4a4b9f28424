"""Conformance kit: checks that a plugin keeps its kind's contract.

``bench check-plugin my_method.py`` runs it on a file. In an author's own tests:

    from bench.conformance import MethodConformance

    class TestMine(MethodConformance):
        method = MyMethod
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.conformance.pytest_classes import (
        DatasetConformance,
        EncoderConformance,
        MethodConformance,
        PartConformance,
        ProtocolConformance,
        TeacherConformance,
    )

__all__ = [
    "DatasetConformance",
    "EncoderConformance",
    "MethodConformance",
    "PartConformance",
    "ProtocolConformance",
    "TeacherConformance",
]


def __getattr__(name: str) -> Any:
    """Import the pytest classes on first use.

    Others than plugin authors need no pytest.
    """
    if name not in __all__:
        raise AttributeError(f"module 'bench.conformance' has no attribute '{name}'")
    from bench.conformance import pytest_classes

    return getattr(pytest_classes, name)
