"""Released names of CrossPoint (docs/reference.md#checkpoint-names).

The release registers every BatchNorm twice, on its own (``bn1``) and inside the sequence that applies it
(``conv1.1``). One of our names then has two released names, listed in the order of the files.
"""

from __future__ import annotations

from bench.interop.naming import Layout, Row, prefixed


def _layer(number: int, linear: str, norm: str, spare: int = 1) -> tuple[Row, ...]:
    """Return rows of one released ``conv`` with its BatchNorm.

    `spare` is 2 on edges (2-D convolutions).
    """
    return (
        Row(f"bn{number}", norm),
        Row(f"conv{number}.0", linear, spare=spare),
        Row(f"conv{number}.1", norm),
    )


def _point_layer(number: int, ours: str) -> tuple[Row, ...]:
    return _layer(number, f"{ours}.linear", f"{ours}.norm")


DGCNN = (
    *(row for i in range(4) for row in _layer(i + 1, f"stages.{i}.linear", f"stages.{i}.norm", spare=2)),
    *_point_layer(5, "fuse"),
)
"""Names of the classification network, without their prefix."""

_EDGE_TRANSFORM = (
    *_layer(1, "edges.linear1", "edges.norm1", spare=2),
    *_layer(2, "edges.linear2", "edges.norm2", spare=2),
    # `bn3` was placed inside `conv3` first and then re-assigned: the two names are different modules here.
    Row("conv3.0", "lift.linear", spare=1),
    Row("conv3.1", "lift.norm"),
    Row("linear1", "pooled1.linear"),
    Row("bn3", "pooled1.norm"),
    Row("linear2", "pooled2.linear"),
    Row("bn4", "pooled2.norm"),
    Row("transform", "matrix"),
)

BACKBONE = Layout("CrossPoint pretraining", (*prefixed(DGCNN, "", "trunk."), Row("inv_head.#", "point_head.#")))
"""Point network with its projection; the released file holds just this."""

IMAGE = Layout(
    "CrossPoint image branch",
    (
        Row("inv_head.#", "head.#"),
        Row("resnet.conv1", "network.conv1"),
        Row("resnet.bn1", "network.bn1"),
        *prefixed(
            tuple(
                Row(f"{stage}.#.{name}", f"{stage}.#.{name}")
                for stage in ("layer1", "layer2", "layer3", "layer4")
                for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.#")
            ),
            "resnet.",
            "network.",
        ),
    ),
)

SEGMENTATION = Layout(
    "CrossPoint part segmentation",
    (
        *prefixed(_EDGE_TRANSFORM, "transform_net.", "transform."),
        *(
            row
            for stage in range(2)
            for layer in range(2)
            for row in _layer(
                1 + 2 * stage + layer,
                f"stages.{stage}.linear{layer + 1}",
                f"stages.{stage}.norm{layer + 1}",
                spare=2,
            )
        ),
        *_layer(5, "stages.2.linear", "stages.2.norm", spare=2),
        *_point_layer(6, "fuse"),
        Row("inv_head.#", "point_head.#"),
        *_point_layer(7, "category"),
        *_point_layer(8, "mix"),
        *_point_layer(9, "narrow1"),
        *_point_layer(10, "narrow2"),
        Row("conv11", "out", spare=1),
    ),
)
