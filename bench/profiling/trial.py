"""One path of a profile, ready to take steps.

Synthetic data of the preset's sizes, a method, and the training loop.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.chosen import ChosenMethod, chosen_method
from bench.data.transforms import compose
from bench.methods.base import AnyMethod, Batch, Given, PretrainModel
from bench.models import roles
from bench.models.encoder import Encoder
from bench.models.ops import set_backend
from bench.models.token_transformer import TokenTransformer
from bench.profiling.clock import StageClock, watch
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import Frozen, PretrainSpec, TransformerShape
from bench.training.contract import TrainingPlace
from bench.training.loop import Loop
from bench.training.pretraining import PretrainData, PretrainObjective
from bench.training.state import peak_memory_bytes
from bench.upload import upload

TEXT_WIDTH = 512
_CLASSES = 40
_IMAGE_SIZE = 64
_LIVE_SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PathSpec(Frozen):
    """Specification of one path, read by its process.

    Attributes:
        name: The path's name in the table.
        spec: Specification of the training; data and teachers are synthetic, with the widths given here.
        preset: Preset of the options of a first stage.
        image_width: Width of the image teacher's features.
        live_model: timm model that encodes every image in every step; None: features are read as from the cache.
        transformer: Architecture of the token transformer for a method that needs one.
        threads: Threads of torch.
        plugins: Plugin files to load.
        peak_size: Rows and columns of the matrices whose product is the peak.
    """

    name: str
    spec: PretrainSpec
    preset: str
    image_width: int
    live_model: str | None = None
    transformer: TransformerShape
    threads: int
    plugins: tuple[str, ...] = ()
    peak_size: int = 2048


class LiveTeacher(nn.Module):
    """Network that runs an image teacher inside every step.

    Encodes the step's images, then calls the method's own `prepare`. The images are synthetic; their choice does
    not change the time.
    """

    def __init__(self, network: PretrainModel, teacher: nn.Module, images: Tensor, clock: StageClock) -> None:
        super().__init__()
        self.network = network
        self._encode = clock.around("teacher", self._features)
        self._teacher = [teacher.eval().requires_grad_(False)]  # in a list: not a submodule, so not trained
        self._images = images

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Encode one image per cloud and prepare the batch."""
        batch.image_features = self._encode(len(batch.points))
        return self.network.prepare(batch)

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the method's losses."""
        return self.network.compute(prepared)

    def _features(self, count: int) -> Tensor:
        images = self._images[torch.arange(count, device=self._images.device) % len(self._images)]
        pixels = images.permute(0, 3, 1, 2).float().div_(255)
        mean, std = (upload(torch.tensor(values), pixels.device).view(3, 1, 1) for values in (_MEAN, _STD))
        with torch.no_grad():
            features: Tensor = self._teacher[0]((pixels - mean) / std)
        return features


class Trial:
    """Training of one path, measured step by step."""

    def __init__(self, path: PathSpec) -> None:
        """Build the network, its data and the loop around it.

        Raises:
            BenchError: The method cannot be built at these sizes, or torch cannot compile here.
        """
        torch.set_num_threads(path.threads)
        spec = path.spec
        assert spec.recipe is not None
        set_backend(spec.numerics.op_backend)
        self.path = path
        self.device = spec.numerics.device
        self.clock = StageClock(self.device)
        self.batch = spec.recipe.batch_size
        chosen = chosen_method(spec.method, spec.options)
        self.model = build_network(chosen, path)
        data = synthetic_data(chosen, path).to(torch.device(self.device))
        network: nn.Module = self.model
        if path.live_model is not None:
            images = _pixels(self.batch, _LIVE_SIZE, torch.Generator().manual_seed(0)).to(self.device)
            network = LiveTeacher(self.model, _live_model(path.live_model, self.device), images, self.clock)
        augment = compose(spec.recipe.augmentation)
        objective = PretrainObjective(network, data, spec.backbone.points, augment, chosen.method.point_views)
        objective.model = self.model  # what is trained, in either case
        place = TrainingPlace(compile_cache=_cache_folder())
        self.loop = Loop(objective, len(data), spec.recipe, spec.numerics, spec.seed, f"profile {path.name}", place)
        self.loop.set_up(roles.decays, None, "")
        watch(self.loop, self.clock)
        self.model.train()
        self._index = torch.arange(self.batch)
        self._steps = 0

    def step(self) -> dict[str, Any]:
        """Take one step; return ``seconds`` and the seconds per stage."""
        self.clock.start()
        began = self.clock.now()
        self.loop.step(self._index, first=self._steps == 0)
        ended = self.clock.now()
        stages = self.clock.stop()
        self._steps += 1
        return {"seconds": ended - began, "stages": stages}

    def flops(self) -> float:
        """Return the operations of one step per sample.

        Counts matrix products and convolutions, backward included.
        """
        with FlopCounterMode(display=False) as counter:
            self.loop.step(self._index, first=False)
        return float(counter.get_total_flops()) / self.batch

    def memory(self) -> int:
        """Return the peak memory of this process in bytes.

        On CUDA that of its tensors.
        """
        if self.device == "cuda":
            return peak_memory_bytes("cuda")
        try:  # unlike `getrusage`, this does not start from the peak of the process that started this one
            found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        except OSError:
            found = None
        return int(found[1]) * 1024 if found else peak_memory_bytes("cpu")


def matmul_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """Return the best FLOP/s of a matrix product.

    The best of four tries with square matrices.
    """
    a = torch.randn(size, size, device=device, dtype=dtype)
    clock = StageClock(device)
    seconds = []
    for _ in range(4):
        began = clock.now()
        a @ a
        seconds.append(clock.now() - began)
    return 2.0 * size**3 / min(seconds)


def build_network(chosen: ChosenMethod, path: PathSpec) -> PretrainModel:
    """Build a method's network with untrained weights.

    A first stage and a token transformer are built as well where it needs them.
    """
    seed_torch(path.spec.seed)
    uses = chosen.method.uses(chosen.options)
    given = Given(
        image=path.image_width if "images" in uses else None,
        text=TEXT_WIDTH if "text" in uses else None,
        pixels=3 if "pixels" in uses else None,
        transformer=TokenTransformer(path.transformer).requires_grad_(False) if "transformer" in uses else None,
        first_stage=_first_stage(chosen.method, path),
    )
    return chosen.method.build(path.spec.backbone, chosen.options, given)


def _first_stage(method: type[AnyMethod], path: PathSpec) -> Encoder | None:
    if method.first_stage is None:
        return None
    first = METHODS.load(method.first_stage)
    options = first.complete(first.defaults(path.preset), path.transformer)
    return build_network(ChosenMethod(method.first_stage, first, options), path).encoder()


def synthetic_data(chosen: ChosenMethod, path: PathSpec) -> PretrainData:
    """Draw random data of the sizes that training would see.

    Twice as many points as a step draws, features of two views.
    """
    spec = path.spec
    assert spec.recipe is not None
    count = spec.recipe.batch_size
    uses = chosen.method.uses(chosen.options)
    draw = torch.Generator().manual_seed(spec.seed)
    directions = torch.randn(count, 2 * spec.backbone.points, 3, generator=draw)
    return PretrainData(
        points=directions / directions.norm(dim=-1, keepdim=True),
        image_features=torch.randn(count, 2, path.image_width, generator=draw) if "images" in uses else None,
        text_features=torch.randn(count, TEXT_WIDTH, generator=draw) if "text" in uses else None,
        labels=torch.randint(_CLASSES, (count,), generator=draw) if "labels" in uses else None,
        images=_pixels(count, _IMAGE_SIZE, draw)[:, None] if "pixels" in uses else None,
    )


def _pixels(count: int, size: int, draw: torch.Generator) -> Tensor:
    return torch.randint(256, (count, size, size, 3), generator=draw, dtype=torch.uint8)


def _live_model(name: str, device: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return model.to(device)


def _cache_folder() -> Path | None:
    """Return the cache folder of compiled kernels, or None.

    The parent process sets it to an empty folder, so that the warm-up includes compilation.
    """
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(folder) if folder else None
