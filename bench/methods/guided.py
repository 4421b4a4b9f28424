"""Options that ReCon shares with its two baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from bench.methods.base import Given, Method, MethodOptions, PretrainModel
from bench.models.guidance import Modalities, TunedTeachers, spaces_read, teachers_read
from bench.models.losses import CrossModalLoss, ReconstructionLoss
from bench.models.masked import DecoderHeads, Tokenize
from bench.models.masking import MaskKind

TEACHER_LR_FACTOR = 0.1


class GuidedOptions(MethodOptions):
    """Options of reconstruction and guidance, shared by all three methods."""

    mask_ratio: float = Field(0.6, gt=0, lt=1)
    """Share of patches hidden from the stream that reconstructs."""
    mask: MaskKind = "rand"
    decoder_depth: int = Field(4, ge=1, le=64)
    decoder_heads: DecoderHeads = None
    """Attention heads of the decoder; None: the backbone's (published)."""
    loss: ReconstructionLoss = "cdl2"
    cross_modal_loss: CrossModalLoss = "smooth_l1"
    temperature: float = Field(0.07, gt=0)
    """Temperature of ``cross_modal_loss=infonce``."""
    modalities: Modalities = "both"
    """Teachers to regress; without features of a teacher in the data, its term is off."""
    teachers: Literal["frozen", "tuned"] = Field("frozen", exclude_if=lambda teachers: teachers == "frozen")
    """``tuned`` trains the image and the text teacher along, by the gradient of the cross-modal terms: our reading of
    the article, whose release has frozen teachers only (docs/reference.md#tuned-teachers)."""
    teacher_lr_factor: float | None = Field(
        None, ge=0, le=1_000, validate_default=True, exclude_if=lambda factor: factor is None
    )
    """Learning rate of tuned teachers as a factor on the recipe's schedule; 0 keeps their weights. None: 0.1 where
    teachers are tuned (our choice)."""
    tokenize: Tokenize = "visible"
    """``visible`` embeds visible patches only where patches are hidden; ``all`` hidden ones too, as in ReCon's
    release."""

    @field_validator("teachers")
    @classmethod
    def _some_to_tune(cls, value: str, info: ValidationInfo) -> str:
        if value == "tuned" and info.data.get("modalities") == "none":
            raise ValueError("modalities=none reads no teacher, so there is none to tune; choose both, image or text")
        return value

    @field_validator("teacher_lr_factor")
    @classmethod
    def _rate_of_tuned(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("teachers") == "tuned":
            return TEACHER_LR_FACTOR if value is None else value
        if value is not None and "teachers" in info.data:
            raise ValueError("frozen teachers have no learning rate; set teachers=tuned, or leave this out")
        return value

    @property
    def tuned(self) -> bool:
        """Whether teachers are trained along."""
        return self.teachers == "tuned"


class GuidedModel(PretrainModel):
    """Base of networks that may train teachers along.

    Attributes:
        teachers: From `tuned_teachers`.
    """

    teachers: TunedTeachers

    def lr_factors(self) -> Mapping[str, float]:
        """Return the factor of tuned teachers."""
        return {"teachers.": self.teachers.lr_factor} if self.teachers.towers else {}


def tuned_teachers(options: GuidedOptions, given: Given) -> TunedTeachers:
    """Return the teachers that the network trains along; maybe none."""
    if options.teacher_lr_factor is None:
        return TunedTeachers()
    read = spaces_read(options.modalities)
    return TunedTeachers(
        given.image_tower if "image" in read else None,
        given.text_tower if "text" in read else None,
        options.teacher_lr_factor,
    )


_OF_TEACHERS = frozenset({"teachers", "teacher_lr_factor"})

GuidedT = TypeVar("GuidedT", bound=GuidedOptions)


class Guided(Method[GuidedT]):
    """Base of methods with a masked decoder and teacher heads.

    Heads project into the spaces of an image and a text teacher.
    """

    uses_images = True
    uses_text = True

    @classmethod
    def defaults(cls, preset: str) -> GuidedT:
        """Return published options; for nano with a shallow decoder.

        See docs/nano.md.
        """
        return cls.parse({"decoder_depth": 2} if preset == "nano" else {})

    @classmethod
    def uses(cls, options: GuidedT) -> frozenset[str]:
        """Return the chosen teacher features, or the teachers."""
        return frozenset(teachers_read(options.modalities)) | frozenset(("towers",) if options.tuned else ())

    @classmethod
    def aligned(cls, options: GuidedT) -> frozenset[str]:
        """Return the spaces of the chosen teachers.

        None of tuned ones: their networks are not stored, and the stored teachers have other spaces.
        """
        return frozenset() if options.tuned else spaces_read(options.modalities)

    @classmethod
    def architecture(cls, options: GuidedT) -> tuple[str, dict[str, JsonValue]]:
        """Return the options of the network, in which teachers have no part."""
        name, kept = super().architecture(options)
        return name, {option: value for option, value in kept.items() if option not in _OF_TEACHERS}
