"""Metadata that a method declares about itself."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_RESTORED = re.compile(
    r"(?P<what>.+?)[\s,;:]*"
    r"\((?:(?P<option>[^()]+?) (?:restores?|brings? back)\b[^()]*|restored by (?P<by>[^()]+?))\)\.?",
    re.DOTALL,
)
"""A deviation in one sentence: ``what differs (OPTION restores it)`` or ``what differs (restored by OPTION)``."""

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Deviation(BaseModel):
    """One deviation of the default from the authors' release.

    Also parsed from one sentence: ``only visible patches are embedded (tokenize=all restores it)``. Without such an
    ending, no option restores the release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Words
    """The difference in words."""
    restored_by: Words = "nothing"
    """Option that restores the release, e.g. ``tokenize=all``, or ``nothing``."""

    @model_validator(mode="before")
    @classmethod
    def _read_sentence(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = _RESTORED.fullmatch(value.strip())
        if found is None:
            return {"what": value}
        return {"what": found["what"], "restored_by": found["option"] or found["by"]}


class MethodCard(BaseModel):
    """Description of a method, for listings and reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paper: Words
    modalities: tuple[Literal["points", "images", "text"], ...] = Field(min_length=1)
    """What pretraining reads."""
    sees_class_names: Words
    """Whether and how pretraining sees class names, in one sentence; ``never: ...`` where it does not."""
    release_splits: Words
    """Pretraining splits the authors' release uses."""
    stages: tuple[Words, ...] = ("pretraining",)
    """Stages of training in order, e.g. ``("autoencoder", "distillation")``; empty for `scratch`."""
    deviations: tuple[Deviation, ...] = ()
    """Where the default differs from the release, and the option that restores it."""
