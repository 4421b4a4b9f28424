"""Checks of a frozen encoder: declarations, weights, features, proof that it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import BaseModel
from torch import Tensor

from bench.conformance.checks import Checks, fail, listed, skip
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.conformance.method_kit import NANO, MethodKit
from bench.encoders.base import Feature, FrozenEncoder, Input, MethodCard, Space, named_features
from bench.models.encoder import Encoder
from bench.models.frozen import FrozenWatch, network_digest, tensor_digests
from bench.seeds import seed_torch

BATCH = 8
_CLOSE = 1e-4
"""Difference, relative to the largest value, that other company in a batch may make (rounding)."""


@dataclass
class EncoderKit:
    """A frozen encoder under test, with made-up clouds.

    Attributes:
        kind: Its class.
        file: File behind its name, for one that needs or takes it.
    """

    kind: type[FrozenEncoder[Any]]
    file: Path | None = None

    @cached_property
    def options(self) -> BaseModel:
        """Its default options."""
        found: BaseModel = self.kind.parse({})
        return found

    @property
    def points(self) -> int:
        """Points of a cloud."""
        return getattr(self.options, "points", None) or NANO.points

    def build(self, seed: int = 0) -> Encoder:
        """Build the encoder with its weights.

        Args:
            seed: Seed of torch's generator before.
        """
        if self.kind.file == "needed" and self.file is None:
            skip("it needs its file: bench check-plugin PLUGIN.py --file FILE")
        seed_torch(seed)
        return self.kind.wrapped(self.options, self.file)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder in evaluation mode."""
        return self.build().eval()

    def clouds(self, count: int = BATCH, points: int | None = None) -> Tensor:
        """Make up what the encoder is given, ``[B, N, 3k]``."""
        cloud = MethodKit(self.kind).clouds(count=count, points=points or self.points)
        parts = {"points": cloud, "normals": torch.nn.functional.normalize(cloud + 0.1, dim=-1)}
        return torch.cat([parts[name] for name in self.kind.inputs], dim=-1)

    def encode(self, clouds: Tensor) -> Mapping[str, Tensor]:
        """Return every feature, without gradient."""
        with torch.no_grad():
            return self.encoder.features(self.encoder(clouds))


FROZEN_CHECKS: Checks[EncoderKit] = Checks()


@FROZEN_CHECKS.add("import")
def importing(kit: EncoderKit) -> str:
    """Importing is quick, starts no CUDA, changes no global state."""
    return check_import(kit.kind, "bench.encoders.base")


@FROZEN_CHECKS.add("options")
def options(kit: EncoderKit) -> str:
    """Options are immutable, refuse unknown fields and survive JSON."""
    return check_options(kit.kind)


@FROZEN_CHECKS.add("metadata", "options")
def metadata(kit: EncoderKit) -> str:
    """Name, card, inputs and features are declared."""
    check_name(kit.kind)
    if not isinstance(getattr(kit.kind, "card", None), MethodCard):
        fail("card is missing: give it a bench.encoders.base.MethodCard (paper, modalities, sees_class_names, ...)")
    inputs = kit.kind.inputs
    if not inputs or inputs[0] != "points" or set(inputs) - set(get_args(Input)) or len(set(inputs)) < len(inputs):
        known = listed([*get_args(Input)][1:])
        fail(f"inputs is {inputs}: expected 'points' first, and behind it none or some of {known}")
    if kit.kind.file == "needed" and kit.file is None:
        return f"{' and '.join(inputs)}; features depend on its file"
    declared = kit.kind.features(kit.options, kit.file)
    named_features(declared, "features()")
    for name, feature in declared.items():
        if not isinstance(feature, Feature) or feature.width < 1 or not feature.words.strip():
            fail(f"features() says {feature!r} of '{name}': expected Feature(width, words)")
    for space, name in kit.kind.spaces(kit.options).items():
        if space not in get_args(Space) or name not in declared:
            fail(f"spaces() says {space}: {name}; expected one of {listed([*get_args(Space)])}, and a declared feature")
    kit.kind.describe(kit.options, kit.file)
    return f"{' and '.join(inputs)} in; {', '.join(f'{name} {one.width}' for name, one in declared.items())} out"


@FROZEN_CHECKS.add("texts")
def texts(kit: EncoderKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.kind)


@FROZEN_CHECKS.add("weights", "metadata")
def weights(kit: EncoderKit) -> str:
    """Every build has bit by bit the same weights."""
    first, second = (tensor_digests(kit.build(seed)) for seed in (1, 2))
    if moved := [name for name in {**first, **second} if first.get(name) != second.get(name)]:
        fail(f"network() gives another tensor {listed(moved)} in every build: load trained weights, do not draw them")
    return f"{len(first)} tensors, SHA-256 {network_digest(first)[:12]}"


@FROZEN_CHECKS.add("frozen", "weights")
def frozen(kit: EncoderKit) -> str:
    """Evaluation mode, no dropout, no gradient, no tensor moved, no bit drawn."""
    encoder = kit.build()
    watch = FrozenWatch(encoder.train(), f"encoder {kit.kind.name}")
    watch.twice(lambda clouds: encoder.features(encoder(clouds)), kit.clouds())
    return f"{watch.check().tensors} tensors unchanged, {BATCH} clouds twice the same bits"


@FROZEN_CHECKS.add("shapes", "frozen")
def shapes(kit: EncoderKit) -> str:
    """Features have the declared widths, are finite, and tell clouds apart."""
    for count in (1, 3, BATCH):
        for name, value in kit.encode(kit.clouds(count)).items():
            if not bool(value.isfinite().all()):
                fail(f"feature '{name}' is not finite for {count} clouds")
            if count > 1 and bool((value == value[:1]).all()):
                fail(f"feature '{name}' is the same for {count} different clouds")
    return ", ".join(f"{name} {width}" for name, width in kit.encoder.feature_dims.items())


@FROZEN_CHECKS.add("objects", "shapes")
def objects(kit: EncoderKit) -> str:
    """An object's features do not depend on its batch."""
    clouds, worst = kit.clouds(), 0.0
    whole, alone = kit.encode(clouds), kit.encode(clouds[:1])
    turned = kit.encode(clouds.flip(0))
    for name, value in whole.items():
        scale = max(float(value.abs().max()), 1e-6)
        place = float((turned[name].flip(0) - value).abs().max()) / scale
        company = float((alone[name] - value[:1]).abs().max()) / scale
        if not max(place, company) <= _CLOSE:
            apart = max(place, company)
            fail(f"feature '{name}' of an object depends on the others in its batch: {apart:.2g} (relative)")
        worst = max(worst, place, company)
    return f"largest relative difference {worst:.1g}"


@FROZEN_CHECKS.add("points", "shapes")
def points(kit: EncoderKit) -> str:
    """Clouds may have more or fewer points."""
    counts = (max(kit.points // 2, 1), 2 * kit.points)
    for count in counts:
        kit.encode(kit.clouds(2, count))
    return f"{counts[0]} and {counts[1]} points"


@FROZEN_CHECKS.add("scratch", "frozen")
def scratch(kit: EncoderKit) -> str:
    """The untrained network is the same one with other weights."""
    seed_torch(3)
    found = kit.kind.fresh(kit.options)
    if found is None:
        skip("fresh() gives none, so that there is no scratch to compare with")
    untrained = kit.kind.build_encoder(NANO, kit.options)
    own = {name: (value.shape, value.dtype) for name, value in kit.encoder.state_dict().items()}
    other = {name: (value.shape, value.dtype) for name, value in untrained.state_dict().items()}
    if odd := [name for name in {**own, **other} if own.get(name) != other.get(name)]:
        fail(f"fresh() builds another network than network(): {listed(odd)} differ")
    if tensor_digests(untrained) == tensor_digests(kit.encoder):
        fail("fresh() gives the trained weights: it has to draw new ones from torch's global generator")
    watch = FrozenWatch(untrained, f"untrained {kit.kind.name}")
    watch.twice(lambda clouds: untrained.features(untrained(clouds)), kit.clouds())
    return f"{len(own)} tensors of the same shapes"
