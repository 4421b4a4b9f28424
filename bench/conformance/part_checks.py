"""Checks of a block, a norm layer or a tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.conformance.checks import Checks, fail, listed, skip
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.conformance.method_kit import MethodKit
from bench.models.parts import Block, BlockSite, Norm, Tokenizer
from bench.plan.presets import PRESETS
from bench.registry import BACKBONE_PARTS, METHODS
from bench.spec import BackboneSpec

SIZE = PRESETS["smoke"].backbone
Part = Block | Norm | Tokenizer


@dataclass
class PartKit:
    """A part of the backbone under test, with made-up inputs.

    Attributes:
        part: Its class.
        steps: Steps of pretraining.
    """

    part: type[Part]
    steps: int = 8

    @property
    def field(self) -> str:
        """Field of `BackboneSpec` that names it."""
        if issubclass(self.part, Block):
            return "block"
        return "tokenizer" if issubclass(self.part, Tokenizer) else "norm"

    def build(self, width: int = SIZE.width) -> nn.Module:
        """Build the part with its default options."""
        options = self.part.Options()
        if issubclass(self.part, Block):
            return self.part(BlockSite(width, heads=2, number=1), options)
        if issubclass(self.part, Tokenizer):
            return self.part(width, 8, options)
        return self.part(width, options)

    def inputs(self, batch: int, patches: int, free: int = 0) -> tuple[Tensor, ...]:
        """Make up the inputs of the part's forward pass."""
        draw = torch.Generator().manual_seed(patches)
        if self.field == "tokenizer":
            return (torch.randn(batch, patches, SIZE.group_size, 3, generator=draw) / 4,)
        tokens = torch.randn(batch, free + patches, SIZE.width, generator=draw)
        return (tokens, torch.randn(batch, patches, 3, generator=draw)) if self.field == "block" else (tokens,)

    def cases(self) -> Iterator[tuple[int, int]]:
        """Yield numbers of patches and free tokens that networks use."""
        for patches in (1, 2, 7, 64):
            for free in (0, 1, 3) if self.field == "block" else (0,):
                yield patches, free


PART_CHECKS: Checks[PartKit] = Checks()


@PART_CHECKS.add("import")
def importing(kit: PartKit) -> str:
    """Importing is quick, starts no CUDA, changes no global state."""
    return check_import(kit.part, "bench.models.parts")


@PART_CHECKS.add("options")
def options(kit: PartKit) -> str:
    """Options are immutable, refuse unknown fields and survive JSON."""
    return check_options(kit.part)


@PART_CHECKS.add("metadata")
def metadata(kit: PartKit) -> str:
    """Name and summary."""
    return check_name(kit.part)


@PART_CHECKS.add("texts")
def texts(kit: PartKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.part)


@PART_CHECKS.add("shapes", "options")
def shapes(kit: PartKit) -> str:
    """Tokens keep number and width and stay finite float32."""
    module = kit.build().train()
    count = 0
    for patches, free in kit.cases():
        given = kit.inputs(3, patches, free)
        found, expected = module(*given), (3, free + patches, SIZE.width)
        where = f"{patches} patches" + (f" behind {free} free tokens" if free else "")
        if not isinstance(found, Tensor) or tuple(found.shape) != expected or found.dtype != torch.float32:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            fail(f"for {where} it returns {got}, expected torch.float32 {list(expected)}")
        if not found.isfinite().all():
            fail(f"for {where} it returns NaN or infinity")
        count += 1
    return f"{count} lengths"


@PART_CHECKS.add("gradients", "shapes")
def gradients(kit: PartKit) -> str:
    """Every parameter and every input token gets a finite gradient."""
    module = kit.build().train()
    first, *rest = kit.inputs(3, 7, 1 if kit.field == "block" else 0)
    first.requires_grad_()
    found: Tensor = module(first, *rest)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    names = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    if names:
        fail(f"the output does not depend on {listed(names)}: it is counted and stored, but never trained")
    values = [first.grad, *(p.grad for p in module.parameters())]
    if any(value is not None and not value.isfinite().all() for value in values):
        fail("a gradient is not finite")
    if first.grad is None or not bool((first.grad.flatten(2).abs().amax(-1) > 0).all()):
        fail("the output does not depend on every token of its input")
    return f"{sum(p.numel() for p in module.parameters()):,} parameters at width {SIZE.width}"


@PART_CHECKS.add("independence", "shapes")
@torch.no_grad()
def independence(kit: PartKit) -> str:
    """In evaluation tokens repeat, whatever the rest of the batch."""
    module = kit.build().eval()
    given = kit.inputs(4, 7, 1 if kit.field == "block" else 0)
    found: Tensor = module(*given)
    if not torch.equal(found, module(*given)):
        fail("the same input gives another output the second time")
    alone: Tensor = module(*(value[:1] for value in given))
    if not torch.allclose(alone, found[:1], atol=1e-4, rtol=1e-4):
        fail("a cloud's tokens depend on the other clouds of the batch")
    if kit.field == "tokenizer" and not torch.allclose(module(given[0][:, :3]), found[:, :3], atol=1e-4, rtol=1e-4):
        fail("a patch's token depends on other patches: masked methods embed visible patches alone")
    return "one cloud at a time gives the same"


@PART_CHECKS.add("pretraining", "gradients")
def pretraining(kit: PartKit) -> str:
    """ReCon with this part lowers its loss on one batch."""
    if kit.part.name not in BACKBONE_PARTS[kit.field]:
        skip("it is not registered; bench check-plugin FILE does that")
    size = BackboneSpec.model_validate(SIZE.model_dump() | {kit.field: kit.part.name})
    method = MethodKit(METHODS.load("recon"), size, preset="smoke", steps=kit.steps)
    losses = [
        float(step["total"].detach())
        for step in method.train(method.model(), (method.batch(0, step=i) for i in range(kit.steps)))
    ]
    if not all(map(math.isfinite, losses)):
        fail(f"the loss of step {[math.isfinite(loss) for loss in losses].index(False) + 1} is not finite")
    if not losses[-1] < losses[0]:
        fail(f"on one fixed batch the loss went from {losses[0]:.4f} to {losses[-1]:.4f} in {kit.steps} steps")
    return f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {kit.steps} steps"
