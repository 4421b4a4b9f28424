"""Stored weights and test predictions of a training by epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import SetupError
from bench.protocols.ledger import Labels
from bench.spec import Numerics
from bench.training.checkpoint import deserialise, serialise, write_checkpoint
from bench.training.contract import Curves, FitResult
from bench.training.finetuning import predict


@dataclass(frozen=True)
class Notebook:
    """Test predictions of a classifier after every epoch, in files.

    With them its weights, where votes will be asked for.

    Attributes:
        folder: Folder of the files.
        clouds: Test clouds ``[m, N, 3]``, without labels. None stores no predictions.
        weights: Whether to keep them.
    """

    folder: Path
    clouds: Tensor | None
    weights: bool

    def note(self, epoch: int, classifier: nn.Module, numerics: Numerics) -> None:
        """Store the predictions of an epoch, replacing any older ones."""
        if self.clouds is None:
            return
        predicted = predict(classifier, self.clouds, numerics).argmax(1).to(torch.int32)
        state = classifier.state_dict() if self.weights else {}
        tensors = {"predicted": predicted, **{f"weights/{name}": t for name, t in state.items()}}
        write_checkpoint(self._file(epoch), serialise(tensors, {"epoch": epoch}))

    def predicted(self, epoch: int) -> Labels:
        """Return the predicted classes ``[m]`` of an epoch."""
        return np.asarray(self._read(epoch)["predicted"].numpy(), dtype=np.int64)

    def state(self, epoch: int) -> dict[str, Tensor]:
        """Return the weights after an epoch."""
        prefix = "weights/"
        return {n.removeprefix(prefix): t for n, t in self._read(epoch).items() if n.startswith(prefix)}

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05d}.safetensors"

    def _read(self, epoch: int) -> dict[str, Tensor]:
        try:
            tensors, header = deserialise(self._file(epoch).read_bytes())
            if header.get("epoch") != epoch:
                raise ValueError(f"it is of epoch {header.get('epoch')}")
            return tensors
        except (OSError, ValueError) as error:
            raise SetupError(
                f"{self._file(epoch)}: what was noted after epoch {epoch} is missing or damaged ({error}): remove the "
                f"folder {self.folder.parent} and run the same command again"
            ) from error


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        file: Holds the weights of the chosen and of the last epoch.
        epochs: Chosen and last epoch, from 1.
        accuracy: Validation accuracy at these two.
        curves: Training curves.
        notebook: Test predictions of every epoch.
        build: Returns the classifier as it was before training.
    """

    file: Path
    epochs: tuple[int, int]
    accuracy: tuple[float, float]
    curves: Curves
    notebook: Notebook
    build: Callable[[], nn.Module] = field(repr=False)

    def at(self, epoch: int) -> nn.Module:
        """Return the classifier after the chosen, last or stored epoch."""
        classifier = self.build()
        if epoch in self.epochs:
            part = "best/" if epoch == self.epochs[0] else "last/"
            tensors, _ = deserialise(self.file.read_bytes())
            state = {name.removeprefix(part): t for name, t in tensors.items() if name.startswith(part)}
        else:
            state = self.notebook.state(epoch)
        classifier.load_state_dict(state)
        return classifier


def store_training(
    file: Path, identity: str, classifier: nn.Module, result: FitResult
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Write a finished training to a file.

    Returns:
        The chosen and the last epoch, and their validation accuracies.
    """
    if result.best is None:
        raise AssertionError("training with a validation part always selects an epoch")
    series = result.curves["val_accuracy"]
    epochs = (result.best.epoch, len(series))
    accuracy = (float(result.best.metrics["accuracy"]), float(series[-1][1]))
    states = {"best": result.best.state, "last": classifier.state_dict()}
    tensors = {f"{part}/{name}": t for part, state in states.items() for name, t in state.items()}
    header = {"identity": identity, "epochs": epochs, "accuracy": accuracy, "curves": result.curves}
    write_checkpoint(file, serialise(tensors, header))
    return epochs, accuracy


def read_training(file: Path, identity: str, notebook: Notebook, build: Callable[[], nn.Module]) -> Trained | None:
    """Load a finished training; None if missing or damaged."""
    try:
        _, header = deserialise(file.read_bytes())
    except (OSError, ValueError):
        return None
    if header.get("identity") != identity:
        return None
    curves = {name: [(float(x), float(y)) for x, y in series] for name, series in header["curves"].items()}
    best, last = header["epochs"]
    chosen, final = header["accuracy"]
    return Trained(file, (int(best), int(last)), (float(chosen), float(final)), curves, notebook, build)
