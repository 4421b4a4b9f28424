"""A sound small method, and copies of it that each break the contract in one way.

`MUTANTS` maps every broken method to the one check that is meant to notice it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from bench.methods.base import Batch, Given, Method
from bench.methods.point_mae import PointMAE, PointMAEModel
from bench.methods.recon import ReCon, ReConModel
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.spec import BackboneSpec, Recipe

TINY = BackboneSpec(points=48, groups=8, group_size=4, width=16, depth=1, heads=2, tokenizer_width=8, drop_path=0.0)
MUTANTS: dict[type[Method], str] = {}


class SoundModel(PointMAEModel):
    """Point-MAE whose encoder a subclass may choose."""

    trunk_class: ClassVar[type[StandardEncoder]] = StandardEncoder

    def __init__(self, backbone: BackboneSpec, options: Any) -> None:
        super().__init__(backbone, options)
        if self.trunk_class is not StandardEncoder:
            self.trunk = self.trunk_class(backbone, Sampling())
            self.trunk.cls_token.requires_grad_(False)
            self.trunk.cls_pos.requires_grad_(False)


class Sound(PointMAE):
    """A method that keeps the contract."""

    name = "sound"
    network: ClassVar[type[SoundModel]] = SoundModel

    @classmethod
    def build(cls, backbone: BackboneSpec, options: BaseModel, given: Given) -> SoundModel:
        return cls.network(backbone, options)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: BaseModel) -> Encoder:
        return cls.network.trunk_class(backbone, Sampling())


def mutant(check: str, network: type[SoundModel] = SoundModel, **attributes: Any) -> type[Sound]:
    """Register a broken method; its network or its attributes are what is wrong."""
    name = network.__name__ if network is not SoundModel else "-".join(attributes)
    made = type(
        name,
        (Sound,),
        {"name": "broken", "network": network, "__doc__": "Broken.", "__module__": __name__, **attributes},
    )
    MUTANTS[made] = check
    return made


class GlobalDraws(SoundModel):
    def prepare(self, batch: Batch, mask: Tensor | None = None) -> dict[str, Tensor]:
        batch.generator = None  # draws the mask from torch's global generator
        return super().prepare(batch, mask)


class Spare(SoundModel):
    def __init__(self, backbone: BackboneSpec, options: Any) -> None:
        super().__init__(backbone, options)
        self.spare = nn.Linear(3, 3)


class ZeroGradient(Spare):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().compute(prepared)
        total = losses["total"] + 0.0 * self.spare(torch.ones(3)).sum()
        return {"mdm": total, "total": total}


class KeepsLosses(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().compute(prepared)
        self.history: list[Tensor] = [*getattr(self, "history", []), losses["total"].detach()]
        return losses


class KeepsGraph(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().compute(prepared)
        self.sum = getattr(self, "sum", 0.0) + losses["total"]  # one tensor, with every step's graph behind it
        return losses


class KeepsText(SoundModel):
    log: ClassVar[list[str]] = []

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        self.log.append(f"step {len(self.log):04d} " * 400)
        return super().compute(prepared)


class Unseeded(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        generator = torch.Generator()
        generator.seed()
        noise = 1 + 1e-4 * torch.rand((), generator=generator)
        total = super().compute(prepared)["total"] * noise
        return {"mdm": total, "total": total}


class NaNLoss(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        total = super().compute(prepared)["total"] * float("nan")
        return {"mdm": total, "total": total}


class NoTotal(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mdm": super().compute(prepared)["mdm"]}


class VectorLoss(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = super().compute(prepared)
        return {**losses, "total": losses["total"][None]}


class HalfLoss(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        total = super().compute(prepared)["total"]
        halved = total.bfloat16() if torch.is_autocast_enabled("cpu") else total
        return {"mdm": halved, "total": halved}


class UntoldTerm(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return losses."""
        losses = super().compute(prepared)
        return {**losses, "extra": losses["mdm"].detach() * 7}


class Climbs(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        mdm = super().compute(prepared)["mdm"]
        total = 2 * mdm.detach() - mdm
        return {"mdm": total, "total": total}


class Forgets(SoundModel):
    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        self.steps = getattr(self, "steps", 0) + 1  # a schedule that no checkpoint holds
        total = super().compute(prepared)["total"] * (1 + 0.001 * self.steps)
        return {"mdm": total, "total": total}


class CountingEncoder(StandardEncoder):
    def __init__(self, backbone: BackboneSpec, sampling: Sampling) -> None:
        super().__init__(backbone, sampling)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, points: Tensor) -> EncoderOutput:
        self.get_buffer("seen").add_(len(points))
        return super().forward(points)


class TrainsUnderFreeze(SoundModel):
    trunk_class = CountingEncoder


class WrongWidthEncoder(StandardEncoder):
    def __init__(self, backbone: BackboneSpec, sampling: Sampling) -> None:
        super().__init__(backbone, sampling)
        self.feature_dims = {**self.feature_dims, "transfer": 3 * backbone.width}


class WrongWidth(SoundModel):
    trunk_class = WrongWidthEncoder


class DropsOutEncoder(StandardEncoder):
    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        return {name: F.dropout(value, training=True) for name, value in super().features(output).items()}


class DropsOutInEval(SoundModel):
    trunk_class = DropsOutEncoder


class CentringEncoder(StandardEncoder):
    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        return {name: value - 0.5 * value.mean(0) for name, value in super().features(output).items()}


class LooksAtNeighbours(SoundModel):
    trunk_class = CentringEncoder


class FixedPointsEncoder(StandardEncoder):
    def forward(self, points: Tensor) -> EncoderOutput:
        return super().forward(points.view(len(points), self.backbone.points, 3))


class FixedPoints(SoundModel):
    trunk_class = FixedPointsEncoder


class PlainStateEncoder(StandardEncoder):
    scale = 1.0

    def encode_patches(self, tokens: Tensor, centres: Tensor) -> Tensor:
        if self.training:
            self.scale = self.scale + 0.01  # learnt, in a sense, and stored nowhere
        return super().encode_patches(tokens, centres)

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        return {name: value * self.scale for name, value in super().features(output).items()}


class PlainState(SoundModel):
    trunk_class = PlainStateEncoder


class LooseOptions(PointMAE.Options):
    model_config = ConfigDict(frozen=False, extra="forbid")


class NeedsCaptions(ReCon):
    """Fails with a traceback where there are no captions."""

    name = "needs-captions"

    @classmethod
    def build(cls, backbone: BackboneSpec, options: BaseModel, given: Given) -> ReConModel:
        assert given.text + 1  # type: ignore[operator]
        return super().build(backbone, options, given)


mutant("draws", GlobalDraws)
mutant("gradients", Spare)
mutant("gradients", ZeroGradient)
mutant("memory", KeepsLosses)
mutant("memory", KeepsGraph)
mutant("memory", KeepsText)
mutant("same seed", Unseeded)
mutant("finite", NaNLoss)
mutant("losses", NoTotal)
mutant("losses", VectorLoss)
mutant("losses", HalfLoss)
mutant("losses", UntoldTerm)
mutant("learns", Climbs)
mutant("resume", Forgets)
mutant("freeze", TrainsUnderFreeze)
mutant("encoder shapes", WrongWidth)
mutant("encoder repeats", DropsOutInEval)
mutant("encoder objects", LooksAtNeighbours)
mutant("encoder points", FixedPoints)
mutant("checkpoint", PlainState)
mutant("options", Options=LooseOptions)
mutant("recipes", recipes={"smoke": Recipe()})
mutant("metadata", card=None)
mutant("metadata", uses_text=True)
mutant("builds", build_encoder=classmethod(lambda cls, backbone, options: ReCon.build_encoder(TINY, ReCon.Options())))
MUTANTS[NeedsCaptions] = "no captions"
