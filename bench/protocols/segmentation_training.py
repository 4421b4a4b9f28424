"""Train a network that labels points of parts or scenes.

One resumable loop for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.transforms import Transform, compose
from bench.errors import SetupError
from bench.models.adaptation import check_frozen, frozen_tensors
from bench.models.encoder import Encoder
from bench.models.init import truncated_normal_trunk
from bench.models.segmentation import HeadWidths, PartSegmenter
from bench.progress import Progress, silent
from bench.protocols.base import Candidate, Subject, Task
from bench.protocols.segmentation_metrics import VOID
from bench.protocols.segmentation_options import SegmentationOptions, pilot_recipe
from bench.protocols.selection import first_best
from bench.protocols.threads import for_batches
from bench.seeds import derive, seed_torch
from bench.spec import Numerics, Recipe, content_key
from bench.store.records import Metric
from bench.training.checkpoint import deserialise, serialise, write_checkpoint
from bench.training.contract import Curves, Objective, TrainingPlace
from bench.training.loop import fit
from bench.training.precision import autocast

EVALUATION_BATCH = 32

Batch = tuple[Tensor, Tensor, Tensor | None]
"""Points ``[B, N, 3]``, labels ``[B, N]`` and, for parts, categories ``[B]``."""
Draw = Callable[[Tensor, torch.Generator], Batch]


class SegmentationObjective(Objective):
    """Negative log-likelihood of labelled points (docs/reference.md#part-segmentation).

    Attributes:
        steps: Iterations of the whole training, the one under way included.
    """

    def __init__(
        self, segmenter: PartSegmenter, draw: Draw, augment: Transform, weights: Tensor | None, double_step: bool
    ) -> None:
        """Take what is minimised.

        Args:
            segmenter: The network.
            draw: Gathers a batch of the objects at ``[B]`` with a CPU generator; on the device.
            augment: Applied to the points.
            weights: Weight of each class ``[C]``, on the device; None for equal ones.
            double_step: See `Objective`.
        """
        self.model = segmenter
        self.double_step = double_step
        self.steps = 0
        self._draw = draw
        self._augment = augment
        self._weights = weights

    def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
        """See `Objective.prepare`."""
        self.steps = step + 1
        points, labels, category = self._draw(index, generator)
        return self._augment(points, generator), labels, category

    def compute(self, prepared: Any) -> dict[str, Tensor]:
        """See `Objective.compute`."""
        points, labels, category = prepared
        return {"total": point_loss(self.model(points, category), labels, self._weights)}


def point_loss(log_probabilities: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean negative log-likelihood of labelled points.

    0 if a batch has none.

    Args:
        log_probabilities: ``[B, N, C]``.
        labels: int64 ``[B, N]``; `VOID` points do not count.
        weights: ``[C]``.
    """
    flat, target = log_probabilities.flatten(0, 1), labels.flatten()
    total = F.nll_loss(flat, target, weight=weights, ignore_index=VOID, reduction="sum")
    known = target != VOID
    mass = known.sum() if weights is None else weights[target[known]].sum()
    return total / mass.clamp(min=1e-8)


def in_head_group(name: str) -> bool:
    """Return whether ReCon trains a parameter at tenfold rate.

    Its released name has "conv" in it, outside the encoder (docs/reference.md#part-segmentation): these are the
    head's linear layers and all of its category branch; its other norms are no convolutions.
    """
    return name.startswith("head.") and (name.startswith("head.category.") or ".norm" not in name)


@dataclass(frozen=True)
class Work:
    """Everything that defines one segmentation training and its scoring.

    Attributes:
        protocol: Names stages, curves and seed streams.
        task: The task.
        options: Sizes and the double step.
        recipe: Recipe of the reported training.
        outputs: Number of labels.
        categories: Number of object categories the head is told; 0 for none.
        draw: See `SegmentationObjective`.
        objects: Objects (or blocks) of an epoch.
        measure: Validation metrics of a network in evaluation mode.
        select: The metric that is maximised.
        note: Returns what to store after each epoch about the unlabelled test split; None stores nothing.
        note_weights: Whether each epoch's weights are kept with it.
        weights: Class weights.
        act_head: Whether the head starts as in ACT's release.
        identity: Further identity of a stored training: the data it saw.
    """

    protocol: str
    task: Task
    options: SegmentationOptions
    recipe: Recipe
    outputs: int
    categories: int
    draw: Draw
    objects: int
    measure: Callable[[PartSegmenter], dict[str, float]]
    select: str
    note: Callable[[PartSegmenter], dict[str, Tensor]] | None
    note_weights: bool
    weights: Tensor | None
    act_head: bool
    identity: Mapping[str, Any]

    @property
    def numerics(self) -> Numerics:
        """Numerics without compilation, because batch sizes differ between phases."""
        return self.task.numerics.model_copy(update={"compile": False})

    def seed(self, purpose: str) -> int:
        """Return the seed of one purpose from the probe stream."""
        return derive(self.task.seed, "probe", self.protocol, purpose)

    def build(self, encoder: Encoder) -> PartSegmenter:
        """Put a fresh, seeded head on an encoder.

        Raises:
            UsageError: The encoder hands out no tokens of its blocks.
        """
        options = self.options
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.seed("head"))
            segmenter = PartSegmenter(
                encoder,
                self.outputs,
                self.categories,
                options.dropout,
                groups=options.groups,
                group_size=options.group_size,
                widths=HeadWidths(**options.head.model_dump()),
                frozen=options.frozen,
            )
            if self.act_head:
                truncated_normal_trunk(segmenter.head)
        return segmenter


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        folder: Holds the weights of the chosen and of the last epoch, and the notes.
        epochs: Chosen and last epoch, from 1.
        validation: Validation metrics at these two.
        curves: Training curves.
        load: Returns the network as it was before training.
    """

    folder: Path
    epochs: tuple[int, int]
    validation: tuple[dict[str, float], dict[str, float]]
    curves: Curves
    load: Callable[[], PartSegmenter]

    def at(self, epoch: int) -> PartSegmenter:
        """Return the network after the chosen, last or stored epoch."""
        file = self.folder / "trained.safetensors" if epoch in self.epochs else note_file(self.folder, epoch)
        part = {self.epochs[1]: "last/", self.epochs[0]: "best/"}.get(epoch, "weights/")
        tensors = _read(file)
        segmenter = self.load()
        segmenter.load_state_dict({n.removeprefix(part): t for n, t in tensors.items() if n.startswith(part)})
        return segmenter

    def noted(self, epoch: int) -> dict[str, npt.NDArray[Any]]:
        """Return the stored predictions of an epoch."""
        tensors = _read(note_file(self.folder, epoch), epoch)
        return {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith("weights/")}


def note_file(folder: Path, epoch: int) -> Path:
    """Return the file that holds an epoch's predictions."""
    return folder / "epochs" / f"epoch-{epoch:05d}.safetensors"


def _read(file: Path, epoch: int | None = None) -> dict[str, Tensor]:
    try:
        tensors, header = deserialise(file.read_bytes())
        if epoch is not None and header.get("epoch") != epoch:
            raise ValueError(f"it is of epoch {header.get('epoch')}")
        return tensors
    except (OSError, ValueError) as error:
        raise SetupError(
            f"{file}: what training wrote down is missing or damaged ({error}): remove the folder "
            f"{file.parent} and run the same command again"
        ) from error


def choose_candidate(subject: Subject, work: Work) -> tuple[str, dict[str, float]]:
    """Choose among candidates by short trainings.

    Returns the name, and each candidate's validation metric.
    """
    if len(subject.candidates) == 1:
        return next(iter(subject.candidates)), {}
    recipe = pilot_recipe(work.recipe)
    scores = {
        name: train(candidate, work, recipe, final=False).validation[0][work.select]
        for name, candidate in subject.candidates.items()
    }
    return first_best(scores), scores


def train(candidate: Candidate, work: Work, recipe: Recipe, *, final: bool) -> Trained:
    """Train a candidate, or load it if finished earlier.

    Args:
        candidate: The starting weights.
        work: Description of the training.
        recipe: Recipe.
        final: Whether this is the training that is reported, which writes down its epochs.

    Raises:
        UsageError: The encoder hands out no tokens of its blocks.
        BenchError: Training diverged.
        Interrupted: Asked to stop; the state is saved.
    """
    identity = _identity(candidate, work, recipe, final)
    folder = work.task.workdir / work.protocol / identity[:16]

    def load() -> PartSegmenter:
        return work.build(candidate.build())

    done = _finished(folder, identity, load)
    if done is not None:
        return done
    segmenter = load()
    kept = frozen_tensors(segmenter)
    objective = SegmentationObjective(
        segmenter, work.draw, compose(recipe.augmentation), work.weights, work.options.reference
    )
    per_epoch = work.objects // min(recipe.batch_size, work.objects)

    def validate() -> dict[str, float]:
        metrics = work.measure(segmenter)
        if final and work.note is not None:
            _write_note(folder, objective.steps // per_epoch, segmenter, work)
        return metrics

    result = fit(
        objective,
        work.objects,
        recipe,
        work.numerics,
        work.seed("train"),
        stage=f"{work.protocol}{'' if final else ' pilot'}" + (f" ({candidate.name})" if candidate.name else ""),
        place=TrainingPlace(folder=folder / "unfinished", progress=work.task.progress),
        in_head_group=in_head_group,
        validate=validate,
        select=work.select,
        identity=identity,
    )
    assert result.best is not None
    check_frozen(segmenter, kept, f"{work.protocol} with frozen={work.options.frozen}")
    states = {"best": result.best.state, "last": segmenter.state_dict()}
    tensors = {f"{part}/{name}": tensor for part, state in states.items() for name, tensor in state.items()}
    last = {name.removeprefix("val_"): series[-1][1] for name, series in result.curves.items() if name[:4] == "val_"}
    header = {
        "identity": identity,
        "epochs": (result.best.epoch, len(result.curves["lr"])),
        "validation": (result.best.metrics, last),
        "curves": result.curves,
    }
    write_checkpoint(folder / "trained.safetensors", serialise(tensors, header))
    rmtree(folder / "unfinished", ignore_errors=True)
    return _trained(folder, header, load)


def _write_note(folder: Path, epoch: int, segmenter: PartSegmenter, work: Work) -> None:
    assert work.note is not None
    kept = segmenter.state_dict() if work.note_weights else {}
    tensors = {**work.note(segmenter), **{f"weights/{name}": tensor for name, tensor in kept.items()}}
    write_checkpoint(note_file(folder, epoch), serialise(tensors, {"epoch": epoch}))


def _finished(folder: Path, identity: str, load: Callable[[], PartSegmenter]) -> Trained | None:
    """Load a finished training; None if missing or damaged."""
    try:
        _, header = deserialise((folder / "trained.safetensors").read_bytes())
    except (OSError, ValueError):
        return None
    return _trained(folder, header, load) if header.get("identity") == identity else None


def _trained(folder: Path, header: Mapping[str, Any], load: Callable[[], PartSegmenter]) -> Trained:
    best, last = header["epochs"]
    chosen, final = ({name: float(value) for name, value in part.items()} for part in header["validation"])
    curves = {name: [(float(x), float(y)) for x, y in series] for name, series in header["curves"].items()}
    return Trained(folder, (int(best), int(last)), (chosen, final), curves, load)


def _identity(candidate: Candidate, work: Work, recipe: Recipe, final: bool) -> str:
    return content_key(
        {
            "candidate": candidate.key,
            "manifest": work.task.data_manifest,
            "options": work.options.model_dump(mode="json"),
            "recipe": recipe.model_dump(mode="json"),
            "numerics": work.numerics.model_dump(mode="json"),
            "seed": work.task.seed,
            "points": work.task.points,
            "final": final,
            "noted": work.note is not None,
            **work.identity,
        }
    )


def metric_rows(
    values: Mapping[str, float],
    split: str,
    selection: str,
    variant: str,
    headline: bool = True,
    *,
    epoch: int | None = None,
    votes: int = 1,
    n_objects: int,
) -> list[Metric]:
    """Return rows of several metrics with one provenance."""
    path: dict[str, object] = {"split": split, "selection": selection, "variant": variant, "headline": headline}
    path |= {"epoch": epoch, "votes": votes, "n_objects": n_objects}
    return [Metric.model_validate({"name": name, "value": value, **path}) for name, value in values.items()]


def log_probabilities(
    segmenter: PartSegmenter,
    points: npt.NDArray[np.float32],
    category: npt.NDArray[np.int64] | None,
    numerics: Numerics,
    take: Callable[[int, int, Tensor], None],
    report: Progress = silent,
) -> None:
    """Run a network over clouds in batches, in evaluation mode.

    Args:
        segmenter: Moved to the device of `numerics`, left in evaluation mode.
        points: ``[n, N, 3]``.
        category: ``[n]``; None without category branch.
        numerics: Device and precision.
        take: Called with (start, stop, float32 log-probabilities ``[b, N, C]`` on the device) of each batch, several
            batches at a time on a CPU: it writes to rows of its own only.
        report: Called with (done, total).
    """
    device = torch.device(numerics.device)
    segmenter.to(device).eval()

    def work(start: int, stop: int) -> None:
        batch = torch.from_numpy(np.array(points[start:stop])).to(device)
        told = None if category is None else torch.from_numpy(np.array(category[start:stop])).to(device)
        with autocast(numerics.device, numerics.precision):
            labelled = segmenter(batch, told)
        take(start, stop, labelled)

    for_batches(len(points), EVALUATION_BATCH, numerics.device, work, report)
