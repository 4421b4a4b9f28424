"""The training loop, which minimises an `Objective`.

Every random draw depends on its position (epoch, step) only, never on earlier draws: the order on
``("order", epoch)``, augmentation and masks on ``("augmentation", step, "input")``, drop path and dropout on
``("augmentation", step, "network")``. A resumed run therefore draws what an uninterrupted one would have drawn,
and on CPU ends with the same bits.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import DivergedError, Interrupted, SetupError, UsageError
from bench.models import roles
from bench.models.ranks import Ranks, active
from bench.seeds import derive, seed_torch, torch_stream
from bench.spec import Numerics, Recipe, content_key
from bench.training.checkpoint import Checkpoint, CheckpointFolder, all_finite, deserialise, serialise
from bench.training.contract import FitResult, Kept, Objective, Selected, TrainingPlace, Validate
from bench.training.interrupt import StopRequest
from bench.training.optim import Decays, InHeadGroup, build_optimiser, parameter_groups
from bench.training.precision import autocast
from bench.training.progress import Pace
from bench.training.schedule import epochs_run, rate, step_at
from bench.training.state import State, pack, peak_memory_bytes, unpack

__all__ = ["FitResult", "Kept", "Objective", "Selected", "TrainingPlace", "fit"]

_log = logging.getLogger(__name__)

# Saving may take this share of the time at most; large models are saved less often than asked.
_SAVE_SHARE = 0.05
# On a GPU, reading a loss waits for the device: look only this often.
_CUDA_CHECK_EVERY = 16


def fit(
    objective: Objective,
    n_objects: int,
    recipe: Recipe,
    numerics: Numerics,
    seed: int,
    *,
    stage: str = "training",
    place: TrainingPlace | None = None,
    decays: Decays = roles.decays,
    in_head_group: InHeadGroup | None = None,
    lr_factors: Mapping[str, float] | None = None,
    validate: Validate | None = None,
    select: str | None = "accuracy",
    identity: str = "",
    ranks: Ranks | None = None,
    kept: Kept | None = None,
) -> FitResult:
    """Minimise an objective.

    Continues from the newest checkpoint in the place's folder, if there is one.

    Batches are drawn without replacement and the last partial one is dropped; where there are fewer objects than
    `recipe.batch_size`, the batch is all of them. torch's global random state is the same afterwards as before.
    The model is left in its last state, in evaluation mode.

    Args:
        objective: Its model is trained in place, on the device of `numerics`.
        n_objects: Objects to draw from.
        recipe: Schedule, optimiser and batch.
        numerics: Device, precision, compilation.
        seed: Root seed of the order and augmentation streams.
        stage: Name of the stage in words, for progress and messages.
        place: Folders, checkpoint interval, progress.
        decays: Whether a parameter decays.
        in_head_group: Whether a parameter belongs to the head group; None: there is no head (pretraining).
        lr_factors: Factors on the learning rate of parts, by the beginning of their parameters' names.
        validate: Called after each epoch with the model in evaluation mode.
        select: Validation metric to maximise; the earliest best epoch is kept. None: the metrics of `validate` enter
            the curves under their own names and select nothing.
        identity: Further text that a checkpoint must agree in to be continued, e.g. a digest of the data.
        ranks: This process among several that train one network (`bench.models.ranks`); each calls this function. The
            first one alone validates, saves, hands out, and returns curves and costs.
        kept: Places at which the state is handed out, and the end where that comes before that of the schedule.

    Returns:
        Curves, costs and the selected state.

    Raises:
        UsageError: Fewer than two objects, nothing to train, or a batch that does not divide among the ranks.
        BenchError: A loss or a weight is no longer finite.
        SetupError: Compilation fails, or a checkpoint cannot be written.
        Interrupted: SIGINT or SIGTERM; the state was saved first.
    """
    if n_objects < 2:
        raise UsageError(f"{stage}: {n_objects} object(s) to train on, expected at least 2")
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if numerics.device == "cuda" else []):
        loop = Loop(objective, n_objects, recipe, numerics, seed, stage, place or TrainingPlace(), ranks)
        loop.validate, loop.select = validate, select
        if kept is not None:
            loop.keep(kept)
        loop.set_up(decays, in_head_group, identity, lr_factors)
        with StopRequest() as stop:
            return loop.run(stop)


class Loop:
    """State of one call of `fit`.

    `bench.profiling` takes single steps of it.

    Attributes:
        compute: `Objective.compute`, compiled if the numerics say so.
        optimiser: Exists after `set_up`.
    """

    def __init__(
        self,
        objective: Objective,
        n_objects: int,
        recipe: Recipe,
        numerics: Numerics,
        seed: int,
        stage: str,
        place: TrainingPlace,
        ranks: Ranks | None = None,
    ) -> None:
        self.objective = objective
        self.compute = objective.compute
        self.model = objective.model.to(torch.device(numerics.device))
        self.n = n_objects
        self.recipe = recipe
        self.numerics = numerics
        self.seed = seed
        self.stage = stage
        self.place = place
        self.validate: Validate | None = None
        self.select: str | None = None
        self.batch = min(recipe.batch_size, n_objects)
        self.ranks = ranks
        self.leads = ranks is None or ranks.rank == 0
        if ranks is not None:
            ranks.objects = share_of(self.batch, ranks.count)
        self.steps_per_epoch = n_objects // self.batch
        self.epochs = epochs_run(recipe)
        self.total = self.epochs * self.steps_per_epoch
        self.end = self.total
        self.takes: dict[int, Callable[[FitResult], None]] = {}
        self.state = State()
        self.checkpoints: CheckpointFolder | None = None
        self.resumed_from: int | None = None

    def keep(self, kept: Kept) -> None:
        """End at the last of some shares, and hand out the state at the others."""
        self.end = step_at(kept.shares[-1], self.total)
        self.takes = {step_at(share, self.total): partial(kept.take, share) for share in kept.shares[:-1]}

    def set_up(
        self,
        decays: Decays,
        in_head_group: InHeadGroup | None,
        identity: str,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        """Build the optimiser, restore the newest checkpoint and compile."""
        groups = parameter_groups(self.model, self.recipe, decays, in_head_group, lr_factors)
        self.optimiser = build_optimiser(groups, self.recipe)
        if self.ranks is not None:
            self.model.train()
            self.ranks.adopt(self.model)
        if self.place.folder is not None and self.leads:
            trainable = [name for group in groups for name in group.names]
            self.checkpoints = CheckpointFolder(self.place.folder, self._identity(identity, trainable))
            found = self.checkpoints.load(min((*self.takes, self.end)))
            if found is not None:
                self._restore(found)
                epoch = min(found.step // self.steps_per_epoch + 1, self.epochs)
                where = f"epoch {epoch} of {self.epochs}, step {found.step} of {self.total}"
                _log.warning("%s goes on from its checkpoint, %s", self.stage, where)
        if self.ranks is not None:
            self._start_alike(self.ranks)
        self.started = self.saved_at = time.perf_counter()
        self.seconds_before = self.state.seconds
        self.cpu_started = time.process_time()
        self.cpu_before = self.state.cpu_seconds - self.cpu_started
        self.cpu_elsewhere = 0.0  # of the other ranks
        self.save_cost = 0.0
        if self.numerics.compile and self.state.step < self.end:
            self._compile()

    def _restore(self, found: Checkpoint) -> None:
        self.state = unpack(found, self.model, self.optimiser, torch.device(self.numerics.device))
        self.resumed_from = found.step

    def _start_alike(self, ranks: Ranks) -> None:
        """Give the other ranks the state of the first."""
        own = serialise(*pack(self.state, self.model, self.optimiser)) if self.leads else b""
        step, self.end, state = ranks.told((self.state.step, self.end, own))
        if not self.leads:
            self._restore(Checkpoint(step, *deserialise(state)))

    def _identity(self, extra: str, trainable: list[str]) -> str:
        """Return the digest that a checkpoint must have to continue."""
        layout: list[Any] = [[name, list(t.shape), str(t.dtype)] for name, t in self.model.state_dict().items()]
        return content_key(
            {
                "extra": extra,
                "stage": self.stage,
                "seed": self.seed,
                "objects": self.n,
                "recipe": self.recipe.model_dump(mode="json"),
                "numerics": self.numerics.model_dump(mode="json"),
                "layout": layout,
                "trainable": list(trainable),
                **({"double_step": True} if self.objective.double_step else {}),
                **({} if self.ranks is None else {"ranks": self.ranks.spec.model_dump(mode="json")}),
            }
        )

    def _compile(self) -> None:
        if self.place.compile_cache is not None:
            # Not setdefault: torch writes its own default there as soon as something imports its compiler.
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.place.compile_cache)
        # Earlier compilations of the same code count against dynamo's limit, past which it quietly runs eagerly.
        torch._dynamo.reset()
        self.compute = torch.compile(self.objective.compute, dynamic=False)

    def run(self, stop: StopRequest) -> FitResult:
        """Train to the end, or until a stop signal arrives."""
        pace = Pace(self.place.progress)
        order = torch.empty(0, dtype=torch.int64)
        ordered_epoch = -1
        first = True
        self._hand_out()
        while self.state.step < self.end:
            epoch, within = divmod(self.state.step, self.steps_per_epoch)
            if epoch != ordered_epoch:
                order = torch.randperm(self.n, generator=torch_stream(self.seed, "order", epoch))
                ordered_epoch = epoch
                for group in self.optimiser.param_groups:
                    group["lr"] = group["lr_factor"] * rate(epoch, self.recipe, group["lr_scale"])
                self.model.train()
            began = time.perf_counter()
            here, after = within * self.batch, (within + 1) * self.batch
            upcoming = order[after : after + self.batch] if within + 1 < self.steps_per_epoch else None
            if self.state.step == 0 and not self.numerics.compile and self.leads:
                with FlopCounterMode(display=False) as counter:
                    losses = self.step(order[here:after], first, upcoming)
                ranks = 1 if self.ranks is None else self.ranks.count
                self.state.step_flops = float(counter.get_total_flops()) * ranks
            else:
                losses = self.step(order[here:after], first, upcoming)
            if first and self.numerics.compile:
                self.state.compile_seconds += time.perf_counter() - began
            first = False
            ends_epoch = within + 1 == self.steps_per_epoch
            if ends_epoch:
                self._finish_epoch(epoch)
            self._hand_out()
            if pace.due(self.state.step, self.end):
                values = {name: float(value) for name, value in losses.items()}
                pace.send(self.stage, self.state.step, self.end, values, self.batch)
            self._save_if_due(self._stop_asked(stop), ends_epoch)
        self.model.eval()
        return self._result()

    def step(self, index: Tensor, first: bool, upcoming: Tensor | None = None) -> dict[str, Tensor]:
        """Take one optimiser step and return the detached losses.

        Args:
            index: Objects of the step, int64 ``[B]``.
            first: Whether it is the first step of this session, which compiles.
            upcoming: int64 ``[B]``, objects of the step after this one, where they are known.
        """
        step = self.state.step
        with torch.no_grad():
            prepared = self.objective.prepare(index, torch_stream(self.seed, "augmentation", step, "input"), step)
            if self.ranks is not None:
                prepared = self.ranks.share(prepared)
            if upcoming is not None:
                self.objective.expect(upcoming)
        seed_torch(derive(self.seed, "augmentation", step, "network"))
        try:
            with active(self.ranks):
                with autocast(self.numerics.device, self.numerics.precision):
                    losses = self.compute(prepared)
                if "total" not in losses:
                    known = ", ".join(losses) or "nothing"
                    raise UsageError(f"{self.stage}: compute() returned {known}, but not 'total', the loss to minimise")
                detached = self._over_ranks(losses)
                if self.numerics.device == "cpu" or step % _CUDA_CHECK_EVERY == 0:
                    self._check_finite(detached, step)
                losses["total"].backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            if first and self.numerics.compile and _from_compiler(error):
                raise SetupError(
                    f"{self.stage}: torch.compile fails here ({_first_line(error)}): use --set numerics.compile=false"
                ) from error
            raise
        if self.ranks is not None:
            self.ranks.average_gradients(self.model)
        if self.objective.double_step:
            self.optimiser.step()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for name, value in detached.items():
            before = self.state.sums.get(name)
            self.state.sums[name] = value.double() if before is None else before + value.double()
        self.state.step += 1
        return detached

    def _over_ranks(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return detached losses of the whole batch."""
        if self.ranks is not None:
            return self.ranks.mean(losses)
        return {name: value.detach() for name, value in losses.items()}

    def _stop_asked(self, stop: StopRequest) -> str | None:
        """Return the name of a stop signal that a rank received.

        Adds up the ranks' processor time, too.
        """
        if self.ranks is None:
            return stop.name
        used = time.process_time() - self.cpu_started
        stops, seconds = self.ranks.sum(torch.tensor([stop.name is not None, used], dtype=torch.float64)).tolist()
        self.cpu_elsewhere = seconds - used
        return stop.name or ("a signal to another rank" if stops else None)

    def _finish_epoch(self, epoch: int) -> None:
        """Record an epoch's curves, validate, and update the selection."""
        self._check_finite(self.state.sums, self.state.step - 1)
        row = {name: float(value) / self.steps_per_epoch for name, value in self.state.sums.items()}
        row["lr"] = rate(epoch, self.recipe)
        self.state.sums = {}
        if self.validate is not None and self.leads:
            self.model.eval()
            metrics = self.validate()
            row.update(metrics if self.select is None else {f"val_{name}": value for name, value in metrics.items()})
            best = self.state.best
            if self.select is not None and (best is None or metrics[self.select] > best.metrics[self.select]):
                state = {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}
                self.state.best = Selected(epoch + 1, metrics, state)
        for name, value in row.items():
            self.state.curves.setdefault(name, []).append((float(epoch + 1), value))

    def _hand_out(self) -> None:
        """Hand out the state if this step is one to keep."""
        take = self.takes.pop(self.state.step, None)
        if take is None or not self.leads:
            return
        self._account()
        if not all_finite(self.model.state_dict()):
            raise self._diverged("a weight is not finite", self.state.step - 1)
        take(self._result())

    def _check_finite(self, losses: dict[str, Tensor], step: int) -> None:
        bad = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
        if bad:
            raise self._diverged(f"loss {', '.join(bad)} is not finite", step)

    def _diverged(self, what: str, step: int) -> DivergedError:
        epoch, within = divmod(step, self.steps_per_epoch)
        return DivergedError(
            f"{self.stage}: {what} at epoch {epoch + 1} of {self.epochs}, step {within + 1} of "
            f"{self.steps_per_epoch}, learning rate {rate(epoch, self.recipe):.3g}: lower --set recipe.lr, or set "
            "recipe.clip_norm"
        )

    def _save_if_due(self, stop: str | None, ends_epoch: bool) -> None:
        """Save a checkpoint if one is due.

        It is due after an interval, at the end, and on a stop signal, after which `Interrupted` is raised.
        """
        since = time.perf_counter() - self.saved_at
        interval = self.place.checkpoint_seconds and max(self.place.checkpoint_seconds, self.save_cost / _SAVE_SHARE)
        # The end of an epoch is a better place than the middle of one, so it is taken a little early.
        due = since >= (0.75 * interval if ends_epoch else interval)
        finished = self.state.step == self.end
        if due or finished or stop is not None:
            self._save()
        if stop is None or finished:
            return
        outcome = "nothing was saved, for want of a work folder"
        if self.checkpoints is not None or not self.leads:
            outcome = "its state is saved, run the same command again to go on"
        raise Interrupted(
            f"{self.stage} stopped by {stop} in epoch {self.state.step // self.steps_per_epoch + 1} of "
            f"{self.epochs}, after step {self.state.step} of {self.total}: {outcome}"
        )

    def _account(self) -> None:
        """Note time and memory used so far."""
        self.state.seconds = self.seconds_before + time.perf_counter() - self.started
        self.state.cpu_seconds = self.cpu_before + time.process_time() + self.cpu_elsewhere
        self.state.peak_memory = max(self.state.peak_memory, peak_memory_bytes(self.numerics.device))

    def _save(self) -> None:
        began = time.perf_counter()
        self._account()
        tensors, header = pack(self.state, self.model, self.optimiser)
        if not all_finite(tensors):
            raise self._diverged("a weight or a moment is not finite", self.state.step - 1)
        if self.checkpoints is not None:
            self.checkpoints.save(self.state.step, tensors, header)
        self.saved_at = time.perf_counter()
        self.save_cost = self.saved_at - began

    def _result(self) -> FitResult:
        return FitResult(
            curves=self.state.curves,
            seconds=self.state.seconds,
            cpu_seconds=self.state.cpu_seconds,
            step_flops=self.state.step_flops,
            samples=self.state.step * self.batch,
            peak_memory_bytes=self.state.peak_memory,
            resumed_from=self.resumed_from,
            compile_seconds=self.state.compile_seconds,
            best=self.state.best,
            step=self.state.step,
            steps=self.total,
            steps_per_epoch=self.steps_per_epoch,
        )


def share_of(batch: int, ranks: int) -> int:
    """Return the objects of a batch that each of several ranks takes.

    Raises:
        UsageError: They are not as many for each, or fewer than two.
    """
    if batch % ranks or batch < 2 * ranks:
        raise UsageError(
            f"a batch of {batch} objects (recipe.batch_size, or all objects where there are fewer) does not divide "
            f"among {ranks} ranks: each needs as many, and at least 2; change recipe.batch_size or --gpus"
        )
    return batch // ranks


def _from_compiler(error: BaseException) -> bool:
    """Return whether torch's compiler raised an exception or its cause."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__module__.startswith(("torch._dynamo", "torch._inductor")):
            return True
        seen = seen.__cause__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
