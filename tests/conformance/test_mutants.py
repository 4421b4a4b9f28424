"""Broken methods. If these fail, the kit passes a method whose numbers would be wrong, or blames the wrong thing."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import pytest

from bench.conformance.suites import method_suite
from bench.methods.base import Method
from tests.conformance.broken_methods import MUTANTS, TINY, Sound, Spare

NO_PROCESS = {"import": "tested apart, it starts a process"}


@cache
def failed(method: type[Method]) -> dict[str, str]:
    suite = method_suite(method, size=TINY, steps=8, device="cpu", left_out=NO_PROCESS)
    return {outcome.check: outcome.remark for outcome in suite.run() if outcome.status == "fail"}


@pytest.mark.parametrize("method", list(MUTANTS), ids=lambda method: method.__name__)
def test_a_broken_method_fails_the_check_meant_for_it_and_no_other(method: type[Method]) -> None:
    """One mistake must be one failure, under the name that says what to mend."""
    found = failed(method)
    assert list(found) == [MUTANTS[method]], found
    assert "\n" not in found[MUTANTS[method]]


def test_a_sound_method_fails_nothing() -> None:
    """False alarms would teach authors to ignore the kit."""
    assert failed(Sound) == {}


def test_a_method_may_say_why_a_parameter_is_not_trained() -> None:
    """Parameters that join later are legitimate once they are explained, and only those."""

    class Explained(Sound):
        """Names its spare layer."""

        network = Spare
        untrained: ClassVar = {"spare.*": "joins at transfer"}

    class Half(Explained):
        """Names half of it."""

        untrained: ClassVar = {"spare.weight": "joins at transfer"}

    assert failed(Explained) == {}
    assert "spare.bias" in failed(Half)["gradients"]
    assert "spare.weight" not in failed(Half)["gradients"]


def test_reasons_name_the_culprit() -> None:
    """A reason without the name of the parameter, loss or line sends the author searching."""
    by_name = {method.__name__: method for method in MUTANTS}
    for name, words in {
        "Spare": "spare.bias, spare.weight",
        "NoTotal": "compute() returns mdm; expected a dict of losses with 'total'",
        "WrongWidth": "feature 'transfer' has shape [1, 32] for 1 clouds, expected [1, 48]",
        "NaNLoss": "loss mdm, total of batch 0 is not finite",
        "GlobalDraws": "draws from torch's global generator; pass generator=batch.generator",
        "TrainsUnderFreeze": "encoder.seen",
        "FixedPoints": "(broken_methods.py, line ",
        "KeepsLosses": "1.0 tensors",
    }.items():
        (reason,) = failed(by_name[name]).values()
        assert words in reason
