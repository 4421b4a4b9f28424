"""Options that ReCon shares with its two baselines."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field

from bench.methods.base import Method, MethodOptions
from bench.models.guidance import Modalities, spaces_read, teachers_read
from bench.models.losses import CrossModalLoss, ReconstructionLoss
from bench.models.masked import DecoderHeads, Tokenize
from bench.models.masking import MaskKind


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
    tokenize: Tokenize = "visible"
    """``visible`` embeds visible patches only where patches are hidden; ``all`` hidden ones too, as in ReCon's
    release."""


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
        """Return the chosen teacher features."""
        return frozenset(teachers_read(options.modalities))

    @classmethod
    def aligned(cls, options: GuidedT) -> frozenset[str]:
        """Return the spaces of the chosen teachers."""
        return spaces_read(options.modalities)
