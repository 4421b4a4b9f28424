"""The checks as pytest classes, for a plugin's own tests.

    from bench.conformance import MethodConformance

    class TestMine(MethodConformance):
        method = MyMethod

gives one test per check, ``TestMine::test_conforms[gradients]``. Importing this module imports pytest.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.conformance.checks import Suite
from bench.conformance.dataset_checks import DATASET_CHECKS
from bench.conformance.encoder_checks import METHOD_CHECKS
from bench.conformance.frozen_checks import FROZEN_CHECKS
from bench.conformance.method_kit import NANO
from bench.conformance.part_checks import PART_CHECKS, Part
from bench.conformance.protocol_checks import PROTOCOL_CHECKS
from bench.conformance.suites import (
    dataset_suite,
    encoder_suite,
    method_suite,
    part_suite,
    protocol_suite,
    teacher_suite,
)
from bench.conformance.teacher_checks import TEACHER_CHECKS
from bench.data.base import Dataset
from bench.encoders.base import FrozenEncoder
from bench.methods.base import Method
from bench.protocols.base import Protocol
from bench.spec import BackboneSpec
from bench.teachers.base import Teacher

_SUITES: dict[type[object], Suite[Any]] = {}
"""One suite per test class, shared by its tests."""


class _Conformance:
    """One test per check; needed checks run once per class."""

    left_out: ClassVar[Mapping[str, str]] = {}
    """Checks that are skipped, with the reason."""

    @classmethod
    @abstractmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks with their results so far."""

    def _make(self, check: str) -> None:
        tests = type(self)
        if tests not in _SUITES:
            _SUITES[tests] = self.suite()
        suite = _SUITES[tests]
        outcome = suite.outcome(check)
        if outcome.status == "warn":
            warnings.warn(f"{suite.subject}, {check}: {outcome.remark}", stacklevel=2)
        if outcome.status == "skip":
            pytest.skip(outcome.remark)
        if outcome.status == "fail":
            pytest.fail(f"{suite.subject}, {check}: {outcome.remark}", pytrace=False)


class MethodConformance(_Conformance):
    """Checks of a method; derive from it and set `method`."""

    method: ClassVar[type[Method[Any]]]
    size: ClassVar[BackboneSpec] = NANO
    """Sizes of the backbone; smaller ones make the tests quicker."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options that differ from the method's defaults for preset nano."""
    device: ClassVar[str] = "auto"
    steps: ClassVar[int] = 30
    image_size: ClassVar[int] = 64

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the method."""
        shipped = cls.method.defaults("nano").model_dump(mode="json")
        return method_suite(
            cls.method,
            size=cls.size,
            options=cls.method.parse({**shipped, **cls.options}),
            device=cls.device,
            steps=cls.steps,
            image_size=cls.image_size,
            left_out=cls.left_out,
        )

    @pytest.mark.parametrize("check", METHOD_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The method keeps this part of its contract."""
        self._make(check)


class EncoderConformance(_Conformance):
    """Checks of a frozen encoder; derive from it and set `encoder`."""

    encoder: ClassVar[type[FrozenEncoder[Any]]]
    file: ClassVar[Path | None] = None
    """File behind its name."""

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the encoder."""
        return encoder_suite(cls.encoder, file=cls.file, left_out=cls.left_out)

    @pytest.mark.parametrize("check", FROZEN_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The encoder keeps this part of its contract."""
        self._make(check)


class DatasetConformance(_Conformance):
    """Checks of a data set; subclass and set `dataset`."""

    dataset: ClassVar[type[Dataset]]
    root: ClassVar[Path | None] = None
    """Its folder, where it comes as files."""

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the data set."""
        return dataset_suite(cls.dataset, root=cls.root, left_out=cls.left_out)

    @pytest.mark.parametrize("check", DATASET_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The data set keeps this part of its contract."""
        self._make(check)


class ProtocolConformance(_Conformance):
    """Checks of a protocol; derive from it and set `protocol`."""

    protocol: ClassVar[type[Protocol[Any]]]

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the protocol."""
        return protocol_suite(cls.protocol, left_out=cls.left_out)

    @pytest.mark.parametrize("check", PROTOCOL_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The protocol keeps this part of its contract."""
        self._make(check)


class TeacherConformance(_Conformance):
    """Checks of a teacher; derive from it and set `teacher`."""

    teacher: ClassVar[type[Teacher]]

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the teacher."""
        return teacher_suite(cls.teacher, left_out=cls.left_out)

    @pytest.mark.parametrize("check", TEACHER_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The teacher keeps this part of its contract."""
        self._make(check)


class PartConformance(_Conformance):
    """Checks of a part of the backbone; subclass, set `part`."""

    part: ClassVar[type[Part]]

    @classmethod
    def suite(cls) -> Suite[Any]:
        """Return the checks of the part."""
        return part_suite(cls.part, left_out=cls.left_out)

    @pytest.mark.parametrize("check", PART_CHECKS.names())
    def test_conforms(self, check: str) -> None:
        """The part keeps this part of its contract."""
        self._make(check)
