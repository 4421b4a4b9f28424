"""Render and classify: a teacher looks at depth views.

In the manner of PointCLIP (Zhang et al., CVPR 2022).
"""

from __future__ import annotations

from typing import ClassVar

from bench.errors import UsageError
from bench.methods.base import Given, Method, MethodCard, PretrainModel
from bench.models.encoder import Encoder
from bench.spec import BackboneSpec
from bench.teachers.rendering import Rendering


class RenderClassifyOptions(Rendering):
    """Options of the views that a teacher sees."""


class RenderClassify(Method[RenderClassifyOptions]):
    """The teacher alone on depth views (as PointCLIP), beside zeroshot."""

    name = "render-classify"
    has_encoder = False
    card = MethodCard(
        paper="in the manner of Zhang et al., PointCLIP: Point Cloud Understanding by CLIP, CVPR 2022, "
        "arXiv 2112.02413; what a zero-shot encoder has to beat: its own teacher, shown pictures of the cloud",
        modalities=("points", "images", "text"),
        sees_class_names="through what the teacher was trained on",
        release_splits="none",
        stages=(),
        deviations=(
            "views go round the object, every second one from above; PointCLIP looks along the six axes",
            "all views count alike; PointCLIP searches their weights (weights=chosen searches them on validation)",
            "the prompts are those of the method it is compared with, not 'point cloud depth map of a big X'",
        ),
    )

    Options: ClassVar[type[RenderClassifyOptions]] = RenderClassifyOptions

    @classmethod
    def build(cls, backbone: BackboneSpec, options: RenderClassifyOptions, given: Given) -> PretrainModel:
        """Refuse: there is nothing to pretrain.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'render-classify' has no pretraining; run it with --protocol zeroshot")

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: RenderClassifyOptions) -> Encoder:
        """Refuse: there is no network for points.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'render-classify' has no encoder, only a teacher; run it with --protocol zeroshot")
