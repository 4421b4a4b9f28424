"""Time the stages of a training step with hooks.

The training code itself is timed, unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.models.decoder import MaskedDecoder
from bench.models.encoder import Encoder
from bench.models.parts import Tokenizer
from bench.training.loop import Loop

STAGES = (
    "data",
    "teacher",
    "group",
    "tokenize",
    "encode",
    "decode",
    "loss",
    "forward",
    "backward",
    "optimiser",
    "other",
)
"""Stages in the order of a step; ``forward`` stands for tokenize to loss where they are compiled into one program."""


class StageClock:
    """Exclusive seconds per stage of a step.

    A nested stage does not count for the stage around it. So the stages add up to the step.

    Args:
        device: On CUDA every reading waits for the device, which makes a step slower than it is untimed.
    """

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = {}
        self._cuda = device == "cuda"
        self._running: list[str] = []
        self._since = 0.0

    def now(self) -> float:
        """Return the time in seconds, after pending device work."""
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self) -> None:
        """Reset the clock and begin a step in stage ``other``."""
        self.seconds = {}
        self._running = ["other"]
        self._since = self.now()

    def stop(self) -> dict[str, float]:
        """End the step and return seconds per stage."""
        self._credit()
        self._running = []
        return dict(self.seconds)

    def enter(self, stage: str) -> None:
        """Begin a stage; has no effect outside a step."""
        if self._running:
            self._credit()
            self._running.append(stage)

    def leave(self) -> None:
        """End the stage begun last."""
        if len(self._running) > 1:
            self._credit()
            self._running.pop()

    def around(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` timed as a stage."""

        def timed(*arguments: Any, **named: Any) -> Any:
            self.enter(stage)
            try:
                return call(*arguments, **named)
            finally:
                self.leave()

        return timed

    def _credit(self) -> None:
        now = self.now()
        stage = self._running[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def watch(loop: Loop, clock: StageClock) -> None:
    """Time every part of a loop's step.

    Wraps `prepare` and `compute` of objective and network, and hooks modules and the optimiser.
    In a compiled step the network's modules are not watched: they have no boundaries any more.

    Args:
        loop: After `Loop.set_up`.
        clock: Started before each step and stopped after it.
    """
    model: Any = loop.model
    objective: Any = loop.objective
    compiled = loop.numerics.compile
    model.prepare = clock.around("group", model.prepare)
    objective.prepare = clock.around("data", objective.prepare)
    compute = clock.around("forward" if compiled else "loss", loop.compute)

    def compute_then_backward(prepared: Any) -> Any:
        losses = compute(prepared)
        clock.enter("backward")
        return losses

    def begin_optimiser(*_: object) -> None:
        clock.leave()
        clock.enter("optimiser")

    loop.compute = compute_then_backward
    # The optimiser's stage begins where the backward pass ends and includes clearing the gradients after the step.
    loop.optimiser.register_step_pre_hook(begin_optimiser)
    if not compiled:
        _watch_parts(model, clock)


def _watch_parts(model: nn.Module, clock: StageClock) -> None:
    """Hook the parts of a network (stages: see `_stage`)."""
    for name, part in model.named_children():
        stage = _stage(name, part)
        if stage is not None:
            _watch_part(part, stage, clock)


def _stage(name: str, part: nn.Module) -> str | None:
    """Return the stage of a network's part.

    Known parts by class or name, frozen ones ``teacher``, others ``other``. None for heads: their time counts for the
    loss.
    """
    parameters = list(part.parameters())
    if not parameters or isinstance(part, nn.Linear) or "head" in name:
        return None
    if not any(parameter.requires_grad for parameter in parameters):
        return "teacher"
    if isinstance(part, MaskedDecoder) or "decoder" in name:
        return "decode"
    for kind, stage in ((Tokenizer, "tokenize"), (Encoder, "encode")):
        if isinstance(part, kind):
            return stage
    return "other"


def _watch_part(part: nn.Module, stage: str, clock: StageClock) -> None:
    """Hook a part, and inside an encoder its own parts.

    Pretraining does not always call an encoder as a whole.
    """
    if isinstance(part, nn.ModuleList | nn.ModuleDict):
        for child in part.children():
            _watch_part(child, stage, clock)
        return
    part.register_forward_pre_hook(lambda *_: clock.enter(stage))
    part.register_forward_hook(lambda *_: clock.leave())
    if not isinstance(part, Encoder):
        return
    for name in dir(type(part)):
        if name.startswith("encode"):
            setattr(part, name, clock.around(stage, getattr(part, name)))
    for child in part.children():
        tokenizes = stage == "encode" and isinstance(child, Tokenizer)
        _watch_part(child, "tokenize" if tokenizes else stage, clock)
