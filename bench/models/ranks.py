"""Ranks: processes that train one network, each on its share of every batch.

Of N ranks, rank r takes the r-th of N equal runs of objects of every batch. What is minimised is the mean over ranks of
their losses, which for a loss that is a mean over objects is the loss of the whole batch. Where objects of a batch
meet, in BatchNorm and in contrastive losses, the functions of this module bring in those of the other ranks, with
their gradients. Outside of training on several ranks they do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from bench.errors import BenchError, UsageError
from bench.spec import RanksSpec


class RankLostError(BenchError):
    """Another rank does not answer: it has ended."""


class Ranks:
    """This process among the ranks of a training.

    Args:
        spec: Number of ranks, and what they exchange.
        rank: Number of this one, from 0.
        group: Process group of torch, over all ranks.

    Attributes:
        objects: Objects of a batch that each rank takes; the training loop sets it.
        devices: Device of every rank, for the provenance.
    """

    def __init__(self, spec: RanksSpec, rank: int, group: Any) -> None:
        self.spec = spec
        self.count = spec.count
        self.rank = rank
        self.objects = 0
        self.devices: list[str] = []
        self._group = group
        # Here, not as a decorator: that would load the compiler, seconds of it, wherever a network is defined.
        disabled: Any = torch.compiler.disable(_Gather.apply)  # type: ignore[no-untyped-call]
        self._gather_uncompiled: Callable[[Tensor, Ranks], Tensor] = disabled

    def gather_with_gradient(self, own: Tensor) -> Tensor:
        """Return the rows of all ranks, in order; their gradient flows back to each."""
        return self._gather_uncompiled(own, self)

    def gather(self, own: Tensor) -> Tensor:
        """Return the rows of all ranks, in order, without gradient."""
        own = own.detach().contiguous()
        every = [torch.empty_like(own) for _ in range(self.count)]
        self._wait(lambda: self._group.allgather([every], [own]))
        return torch.cat(every)

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum over ranks, without gradient."""
        total = own.detach().clone(memory_format=torch.contiguous_format)
        self._wait(lambda: self._group.allreduce([total]))
        return total

    def told(self, value: Any) -> Any:
        """Return a value of the first rank; those of the others are ignored."""
        told = [value]
        try:
            distributed.broadcast_object_list(told, group=self._group)
        except RuntimeError as error:
            raise self._lost(error) from error
        return told[0]

    def own_rows(self, rows: Tensor) -> Tensor:
        """Return this rank's rows of those of a batch, ``[k * B, ...]``.

        A batch may be stacked k times, such as two views of every object.
        """
        stacked = rows.reshape(-1, self.count, self.objects, *rows.shape[1:])
        return stacked[:, self.rank].flatten(0, 1)

    def share(self, prepared: Any) -> Any:
        """Return this rank's share of what was prepared of a whole batch.

        Args:
            prepared: Tensors by name: single numbers, which every rank keeps, and rows of objects, `own_rows`.

        Raises:
            UsageError: It is something else.
        """
        if not isinstance(prepared, dict):
            raise UsageError(
                f"several ranks: prepare() returns a {type(prepared).__name__}, expected a dict of tensors by name"
            )
        return {name: self._share(name, value) for name, value in prepared.items()}

    def _share(self, name: str, value: object) -> Tensor:
        batch = self.count * self.objects
        if not isinstance(value, Tensor) or (value.ndim and (not len(value) or len(value) % batch)):
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise UsageError(
                f"several ranks: '{name}' of prepare() has {what}; expected a tensor with one row or several for each "
                f"of the {batch} objects of the batch, or a single number"
            )
        return self.own_rows(value) if value.ndim else value

    def mean(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean of every loss over ranks, without gradient."""
        total = self.sum(torch.stack([value.detach().float() for value in losses.values()])) / self.count
        return dict(zip(losses, total.unbind(), strict=True))

    def average_gradients(self, model: nn.Module) -> None:
        """Replace gradients by their mean over ranks.

        All in one piece, in the order of the parameters: sums are then rounded alike in every step and session.

        Raises:
            BenchError: Ranks have gradients of different parameters.
        """
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        if int(self.sum(torch.tensor(len(gradients)))) != self.count * len(gradients):
            raise BenchError(
                "several ranks: a loss reached other parameters on one rank than on another; every rank has to compute "
                "the same terms, whatever its share of the batch holds"
            )
        mean = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients])) / self.count
        parts = torch.split(mean, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def adopt(self, model: nn.Module) -> None:
        """Let BatchNorm layers of a network in training mode see all ranks.

        Raises:
            UsageError: A layer draws random numbers, or normalises, in a way that ranks cannot follow.
        """
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, _DropoutNd) and child.training and child.p > 0:
                    raise UsageError(
                        f"several ranks: {type(parent).__name__}.{name} is a {type(child).__name__}, whose draws "
                        "depend on the number of ranks; draw in prepare(), or use bench.models.blocks.StochasticDepth"
                    )
                if not isinstance(child, _BatchNorm) or not child.training or self.spec.batch_norm == "per-rank":
                    continue
                if type(child) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, PooledBatchNorm):
                    raise UsageError(
                        f"several ranks: {type(parent).__name__}.{name} is a {type(child).__name__}; use torch's "
                        "BatchNorm1d, 2d or 3d, or --set ranks.batch_norm=per-rank"
                    )
                parent._modules[name] = PooledBatchNorm.of(child)

    def _wait(self, start: Callable[[], Any]) -> None:
        try:
            start().wait()
        except RuntimeError as error:  # of every backend: the connection is closed, or a time-out
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> RankLostError:
        reason = " ".join(str(error).split())
        return RankLostError(f"rank {self.rank} of {self.count}: another rank does not answer ({reason})")


_active: Ranks | None = None


@contextmanager
def active(ranks: Ranks | None) -> Iterator[None]:
    """Make losses and layers see all ranks inside a ``with`` block."""
    global _active
    before, _active = _active, ranks
    try:
        yield
    finally:
        _active = before


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of the whole batch, for a loss in which objects meet.

    The gradient flows back to the rank that each row came from. Without ranks, and with ``negatives`` per rank, the
    rows are returned as they are.

    Args:
        rows: ``[B, ...]`` of this rank's share of the batch, objects in order.

    Returns:
        ``[N * B, ...]``, in the order of the batch.
    """
    if _active is None or _active.spec.negatives == "per-rank":
        return rows
    return _active.gather_with_gradient(rows)


def pooled(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance over all ranks, and the number of ranks.

    Args:
        mean: ``[C]`` over this rank's values; every rank has as many.
        variance: ``[C]``, biased.
    """
    if _active is None or _active.spec.batch_norm == "per-rank":
        return mean, variance, 1
    means, variances = _active.gather_with_gradient(torch.stack([mean, variance])[None]).unbind(1)
    whole = means.mean(0)
    return whole, (variances + (means - whole).square()).mean(0), _active.count


def drawn(rows: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Draw random numbers for objects, as one process would.

    Args:
        rows: Rows wanted: those of this rank's share of the batch, which may be stacked.
        draw: Draws so many rows.
    """
    return draw(rows) if _active is None else _active.own_rows(draw(rows * _active.count))


class _Gather(torch.autograd.Function):
    """`Ranks.gather` with gradient: every rank's loss depends on every row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        return ranks.sum(gradients[0]).chunk(ranks.count)[ranks.rank], None


class PooledBatchNorm(_BatchNorm):
    """BatchNorm over the objects of all ranks.

    ``torch.nn.SyncBatchNorm`` does the same on GPUs only.
    """

    @classmethod
    def of(cls, norm: _BatchNorm) -> PooledBatchNorm:
        """Return a layer with the parameters and buffers of another."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made._parameters, made._buffers = norm._parameters, norm._buffers
        made.training = norm.training
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, C, ...]``."""
        if _active is None or not self.training:
            return super().forward(x)
        values = x.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(values, axes, correction=0)
        mean, variance, ranks = pooled(mean, variance)
        update_running(self, mean, variance, ranks * values.numel() // values.shape[1])
        shape = [1, -1, *[1] * (x.ndim - 2)]
        scale = torch.rsqrt(variance + self.eps)
        shift = torch.zeros_like(mean)
        if self.affine:
            scale, shift = scale * self.weight, self.bias
        return ((values - mean.view(shape)) * scale.view(shape) + shift.view(shape)).to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept every number of axes."""


@torch.no_grad()
def update_running(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update BatchNorm's buffers as its forward pass does.

    The variance becomes unbiased; without momentum the average is cumulative.

    Args:
        norm: The layer.
        mean: ``[C]`` of the batch.
        variance: ``[C]``, biased.
        count: Values of a channel that both are of.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight: Any = norm.momentum if norm.momentum is not None else 1.0 / norm.num_batches_tracked.float()
    norm.running_mean.lerp_(mean, weight)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), weight)
