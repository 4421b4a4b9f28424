"""Fingerprints of the code behind an encoder or a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import ValidationError

from bench.errors import UsageError
from bench.fingerprint import Fingerprint, fingerprint
from bench.plan.answers import cached_answer
from bench.plan.backbones import parts_of
from bench.registry import DATASETS, ENCODERS, METHODS, PROTOCOLS, TEACHERS, Entry
from bench.spec import PretrainSpec, RunSpec
from bench.store.records import RunRecord

PRETRAIN_MODULE = "bench.execution.pretrain"
EVALUATE_MODULE = "bench.execution.evaluate"
IMPORTED = Fingerprint(digest=hashlib.sha256(b"imported weights").hexdigest(), modules={})
"""Fingerprint of all imported weights: they do not depend on our code, and are kept when it changes."""


def encoder_fingerprint(spec: PretrainSpec) -> Fingerprint:
    """Fingerprint the code that makes an encoder.

    The same for ever if it was imported.
    """
    if spec.imported is not None:
        return IMPORTED
    return fingerprint([PRETRAIN_MODULE, *(unit.module for unit in _encoder_units(spec))])


def run_fingerprint(spec: RunSpec) -> Fingerprint:
    """Fingerprint the code of a run: encoder, protocol, data set."""
    return fingerprint(_roots(spec, _run_units(spec)))


def _roots(spec: RunSpec, units: Sequence[Entry]) -> list[str]:
    """Return the modules where a run's code begins."""
    untouched = spec.encoder.method == "scratch" or spec.encoder.method in ENCODERS
    pretrained = [] if untouched else [PRETRAIN_MODULE]
    return [EVALUATE_MODULE, *pretrained, *(unit.module for unit in units)]


def _run_units(spec: RunSpec) -> list[Entry]:
    units = [PROTOCOLS.entry(spec.protocol.name), DATASETS.entry(spec.data.name)]
    if spec.train_data is not None:
        units.append(DATASETS.entry(spec.train_data.name))
    return units + _encoder_units(spec.encoder)


def current_fingerprint(record: RunRecord) -> str | None:
    """Return the digest of today's code for a stored run.

    It only labels what is shown, so the cached answer for this package's files will do. None if a plugin that the run
    needs is not loaded.
    """
    try:
        spec = RunSpec.model_validate(record.spec)
        units = _run_units(spec)
        roots = sorted(_roots(spec, units))
        return str(cached_answer(units, ("code", *roots), lambda: fingerprint(roots).digest))
    except (UsageError, ValidationError, ModuleNotFoundError):
        return None


def _encoder_units(spec: PretrainSpec) -> list[Entry]:
    units = [METHODS.entry(spec.method), *parts_of(spec.backbone)]
    if spec.method == "scratch":
        units.append(METHODS.entry(str(spec.options["architecture"])))
    if spec.data is not None:
        units.append(DATASETS.entry(spec.data.name))
    units += [TEACHERS.entry(teacher.name) for teacher in (spec.teacher, spec.text_teacher) if teacher]
    return units if spec.first_stage is None else [*units, *_encoder_units(spec.first_stage)]
