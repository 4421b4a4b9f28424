"""Fingerprints of the code behind an encoder or a run."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from bench.errors import UsageError
from bench.fingerprint import Fingerprint, fingerprint
from bench.plan.backbones import parts_of
from bench.registry import DATASETS, METHODS, PROTOCOLS, TEACHERS
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
    roots = [PRETRAIN_MODULE, *_encoder_roots(spec)]
    return fingerprint(roots)


def run_fingerprint(spec: RunSpec) -> Fingerprint:
    """Fingerprint the code of a run: encoder, protocol, data set."""
    roots = [EVALUATE_MODULE, PROTOCOLS.entry(spec.protocol.name).module, DATASETS.entry(spec.data.name).module]
    if spec.train_data is not None:
        roots.append(DATASETS.entry(spec.train_data.name).module)
    if spec.encoder.method != "scratch":
        roots.append(PRETRAIN_MODULE)
    return fingerprint([*roots, *_encoder_roots(spec.encoder)])


def current_fingerprint(record: RunRecord) -> str | None:
    """Return the digest of today's code for a stored run.

    None if a plugin it needs is not loaded.
    """
    try:
        return run_fingerprint(RunSpec.model_validate(record.spec)).digest
    except (UsageError, ValidationError, ModuleNotFoundError):
        return None


def _encoder_roots(spec: PretrainSpec) -> list[str]:
    roots = [METHODS.entry(spec.method).module, *(part.module for part in parts_of(spec.backbone))]
    if spec.method == "scratch":
        roots.append(METHODS.entry(str(spec.options["architecture"])).module)
    if spec.data is not None:
        roots.append(DATASETS.entry(spec.data.name).module)
    roots += [TEACHERS.entry(teacher.name).module for teacher in (spec.teacher, spec.text_teacher) if teacher]
    return roots if spec.first_stage is None else [*roots, *_encoder_roots(spec.first_stage)]
