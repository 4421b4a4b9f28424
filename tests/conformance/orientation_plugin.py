"""Orientation: in which of the 24 poses of a cube does the object stand? (after Poursaeed et al., 3DV 2020)."""

from itertools import permutations, product
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from bench.methods.base import Batch, Given, Method, MethodCard, PretrainModel, published
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.spec import BackboneSpec, Recipe


def cube_rotations() -> Tensor:
    """Return the rotations that map a cube onto itself, float32 ``[24, 3, 3]``."""
    flips = [torch.diag(torch.tensor(signs)) for signs in product((1.0, -1.0), repeat=3)]
    turned = [flip @ torch.eye(3)[list(axes)] for flip in flips for axes in permutations(range(3))]
    return torch.stack([matrix for matrix in turned if torch.det(matrix) > 0])


class OrientationModel(PretrainModel):
    """Turn every cloud, and tell the turn from its transfer feature."""

    def __init__(self, backbone: BackboneSpec, smoothing: float) -> None:
        super().__init__()
        self.trunk = StandardEncoder(backbone, Sampling())
        self.trunk.init_released()
        self.head = nn.Linear(self.trunk.feature_dims["transfer"], 24)
        self.smoothing = smoothing
        self.register_buffer("rotations", cube_rotations(), persistent=False)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Turn each cloud by a rotation drawn from the batch's own generator."""
        drawn = torch.randint(24, (len(batch.points),), generator=batch.generator).to(batch.points.device)
        return {"points": batch.points @ self.get_buffer("rotations")[drawn], "drawn": drawn}

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the cross-entropy of the 24 answers as ``rotation`` and ``total`` (chance: ln 24 = 3.18)."""
        logits = self.head(self.trunk.feature(self.trunk(prepared["points"]), "transfer"))
        loss = nn.functional.cross_entropy(logits.float(), prepared["drawn"], label_smoothing=self.smoothing)
        return {"rotation": loss, "total": loss}

    def encoder(self) -> StandardEncoder:
        """Return the part that is transferred."""
        return self.trunk


class Orientation(Method):
    """Tell in which of the 24 poses of a cube an object stands."""

    name = "orientation"
    card = MethodCard(
        paper="after Poursaeed et al., Self-supervised Learning of Point Clouds via Orientation Estimation, 3DV 2020",
        modalities=("points",),
        sees_class_names="never: its labels are the rotations it drew itself",
        release_splits="ShapeNet-55 train",
        deviations=("the 24 rotations of a cube on the shared backbone instead of PointNet or DGCNN",),
    )
    _AUGMENTATION = ("scale_translate",)  # no rotation: the pose is what is asked for
    recipes: ClassVar = {
        "smoke": Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=_AUGMENTATION),
        "nano": Recipe(epochs=10, batch_size=64, lr=1e-3, warmup_epochs=2, augmentation=_AUGMENTATION),
        **published(Recipe(epochs=300, augmentation=_AUGMENTATION)),
    }

    class Options(Method.Options):
        smoothing: float = Field(0.1, ge=0, lt=1)
        """Label smoothing: a symmetric object has more than one right answer."""

    @classmethod
    def build(cls, backbone: BackboneSpec, options: Any, given: Given) -> OrientationModel:
        return OrientationModel(backbone, options.smoothing)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: BaseModel) -> StandardEncoder:
        return StandardEncoder(backbone, Sampling())
