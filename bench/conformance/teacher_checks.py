"""Checks of a teacher: widths, and features independent of others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bench.conformance.checks import Checks, fail, skip
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.errors import SetupError
from bench.store.scratch import scratch_name
from bench.teachers.base import Teacher

TEXTS = ("a chair with four legs", "a round table", "a lamp", "an aeroplane")
SIDE = 64


@dataclass
class TeacherKit:
    """A teacher under test, prepared once in its own folder.

    Attributes:
        teacher: The teacher's class.
    """

    teacher: type[Teacher]

    @cached_property
    def _cache(self) -> TemporaryDirectory[str]:
        return TemporaryDirectory(prefix=f"{scratch_name()}-")

    def open(self) -> Teacher:
        """Open the teacher anew, with its default options."""
        return self.teacher(Path(self._cache.name))

    @cached_property
    def prepared(self) -> Teacher:
        """The teacher with its weights ready."""
        teacher = self.open()
        try:
            teacher.prepare()
        except SetupError as error:
            skip(f"its weights cannot be had here: {error}")
        return teacher


TEACHER_CHECKS: Checks[TeacherKit] = Checks()


@TEACHER_CHECKS.add("import")
def importing(kit: TeacherKit) -> str:
    """Importing is quick, starts no CUDA, changes no global state."""
    return check_import(kit.teacher, "bench.teachers.base")


@TEACHER_CHECKS.add("options")
def options(kit: TeacherKit) -> str:
    """Options are immutable, refuse unknown fields and survive JSON."""
    return check_options(kit.teacher)


@TEACHER_CHECKS.add("metadata")
def metadata(kit: TeacherKit) -> str:
    """Name, summary, and an identity known without weights."""
    summary = check_name(kit.teacher)
    identity = kit.open().identity()
    if not re.fullmatch(r"[0-9a-f]{64}", identity) or identity != kit.open().identity():
        fail(f"identity() is {identity!r}: expected the same SHA-256 hex digest every time, known before prepare()")
    return summary


@TEACHER_CHECKS.add("texts")
def own_texts(kit: TeacherKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.teacher)


@TEACHER_CHECKS.add("widths", "options")
def widths(kit: TeacherKit) -> str:
    """It encodes images or texts, and states the feature widths."""
    teacher = kit.prepared
    if not teacher.ready():
        fail("ready() is False after prepare(): it would be made again for every run")
    if not teacher.image_dim and not teacher.text_dim:
        fail("image_dim and text_dim are both 0: it teaches nothing")
    return f"images {teacher.image_dim}, text {teacher.text_dim}"


@TEACHER_CHECKS.add("images", "widths")
def images(kit: TeacherKit) -> str:
    """Image features are finite, repeatable and independent of the batch.

    float32; of grey and coloured images.
    """
    teacher = kit.prepared
    if not teacher.image_dim:
        skip("a teacher of texts alone")
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        pictures = rng.integers(0, 256, (4, SIDE, SIDE, channels), dtype=np.uint8)
        _check(f"images of {channels} channel(s)", pictures, teacher.encode_images, teacher.image_dim)
    return "grey and colour, repeatable"


@TEACHER_CHECKS.add("sentences", "widths")
def sentences(kit: TeacherKit) -> str:
    """Text features are finite, repeatable and independent of the batch.

    float32.
    """
    teacher = kit.prepared
    if not teacher.text_dim:
        skip("a teacher of images alone")

    def encode(items: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return teacher.encode_texts([str(item) for item in items])

    _check("sentences", np.array(TEXTS), encode, teacher.text_dim)
    return "repeatable"


def _check(
    what: str,
    items: npt.NDArray[np.generic],
    encode: Callable[..., npt.NDArray[np.float32]],
    width: int,
) -> None:
    found = encode(items)
    if found.shape != (len(items), width) or found.dtype != np.float32:
        fail(f"features of {what} are {found.dtype} {list(found.shape)}, expected float32 [{len(items)}, {width}]")
    if not np.isfinite(found).all():
        fail(f"features of {what} are not finite")
    if not np.array_equal(found, encode(items)):
        fail(f"features of {what} change from call to call: a cached feature would not be the live one")
    scale = max(float(np.abs(found).max()), 1e-6)
    if float(np.abs(encode(items[::-1])[::-1] - found).max()) > 1e-4 * scale:
        fail(f"features of {what} depend on the order of the batch")
    if float(np.abs(encode(items[:1]) - found[:1]).max()) > 1e-4 * scale:
        fail(f"features of {what} depend on the others in the batch")
