"""Machine-dependent parts of a spec: device, numerics, versions."""

from __future__ import annotations

from typing import Any, Literal

from bench.data.files import in_words
from bench.errors import UsageError, unknown_name
from bench.plan.backbones import parts_of
from bench.plan.inputs import Inputs
from bench.plan.request import validated
from bench.registry import METHODS, REGISTRIES
from bench.spec import BackboneSpec, Numerics, RanksSpec, Recipe, TeacherSpec

_NUMBER = 4
"""Bytes of a float32."""
_TRAINED = 4
"""Numbers kept per weight in training: itself, its gradient and two moments."""


def device_of(inputs: Inputs) -> Literal["cpu", "cuda"]:
    """Return the device of networks."""
    from bench.training.precision import resolve_device

    asked = {"device": inputs.request.device}
    return resolve_device(str(inputs.overrides.merge(asked, "numerics")["device"]))


def numerics_of(inputs: Inputs, samples: int, plugins: dict[str, str]) -> Numerics:
    """Resolve the settings of this machine that change a number.

    Args:
        inputs: The request.
        samples: Samples that are trained on; with none nothing is compiled.
        plugins: Versions of plugins in use, see `versions`.

    Raises:
        UsageError: A field of ``--set numerics.FIELD`` is unknown or cannot be had here.
    """
    from bench.models.ops.backend import resolve_backend
    from bench.training.precision import resolve_numerics

    request = inputs.request
    asked: dict[str, Any] = {
        "device": request.device,
        "precision": request.precision,
        "op_backend": "auto",
        "compile": {"on": True, "off": False}.get(request.compile, "auto"),
        "threads": request.threads,
    }
    values = inputs.overrides.merge(asked, "numerics")
    for name in values:
        if name not in asked:
            raise unknown_name("field of numerics", name, asked)
    device = device_of(inputs)
    return resolve_numerics(
        device=device,
        precision=str(values["precision"]),
        compile=values["compile"] if samples else False,
        op_backend=resolve_backend(device, str(values["op_backend"])),
        samples=samples,
        plugins=plugins,
        threads=values["threads"],
    )


def ranks_of(inputs: Inputs, name: str, recipe: Recipe, objects: int) -> RanksSpec | None:
    """Return the ranks that train a method; None for one process.

    Args:
        inputs: The request.
        name: Method.
        recipe: Its recipe.
        objects: Objects it is trained on.

    Raises:
        UsageError: The method is not made for it, the batch does not divide, or there are fewer GPUs.
    """
    count = inputs.request.gpus
    if count == 1:
        return None
    method = METHODS.load(name)
    if not vars(method).get("several_gpus", False):  # not of a base class, whose loss may be another
        raise UsageError(
            f"--gpus {count}: {name} does not say that several GPUs give the numbers of one; if its loss is a mean "
            "over objects, or brings the objects of all ranks together (bench.models.ranks.gathered), set "
            f"several_gpus = True in class {method.__name__}"
        )
    from bench.training.loop import share_of

    share_of(min(recipe.batch_size, objects), count)
    if device_of(inputs) == "cuda":
        import torch

        if torch.cuda.device_count() < count:
            raise UsageError(
                f"--gpus {count}: this machine has {torch.cuda.device_count()}; ask for fewer, or use --device cpu"
            )
    fields = inputs.overrides.merge({}, "ranks")
    if "count" in fields:
        raise UsageError(f"--set ranks.count = {fields['count']}: use --gpus")
    ranks: RanksSpec = validated(RanksSpec, {"count": count, **fields}, "ranks")
    return ranks


def versions(
    *,
    method: str = "",
    dataset: str = "",
    protocol: str = "",
    teachers: tuple[TeacherSpec | None, ...] = (),
    backbone: BackboneSpec | None = None,
) -> dict[str, str]:
    """Return versions of plugins among the names given.

    Built-in units are covered by the code fingerprint.
    """
    names = [("methods", method), ("protocols", protocol), ("datasets", dataset)]
    names += [("teachers", teacher.name) for teacher in teachers if teacher is not None]
    entries = [REGISTRIES[kind].entry(name) for kind, name in names if name]
    entries += parts_of(backbone) if backbone is not None else []
    return {f"{entry.kind}.{entry.name}": entry.version for entry in entries if entry.version}


def refuse_too_large(backbone: BackboneSpec, device: str, recipe: Recipe | None = None, objects: int = 0) -> None:
    """Refuse a backbone whose weights or patches exceed memory.

    Weights alone, or patches of one step alone.

    Args:
        backbone: Its size.
        device: ``cpu`` or ``cuda``.
        recipe: Recipe of its pretraining; None if it is not trained.
        objects: Objects it is pretrained on, so the most of a batch.

    Raises:
        UsageError: There is too little memory; the line names the fields.
    """
    memory = _memory(device)
    first = backbone.tokenizer_width
    blocks = 12 * backbone.depth * backbone.width**2 if backbone.block == "attention" else 0  # others: not known
    tokenizer = 18 * first**2 + 4 * first * backbone.width if backbone.tokenizer == "pointnet" else 0
    weights = blocks + tokenizer
    needed = weights * _NUMBER * (1 if recipe is None else _TRAINED)
    if needed > memory:
        raise UsageError(
            f"backbone.width = {backbone.width}, backbone.depth = {backbone.depth}, backbone.tokenizer_width = "
            f"{first}: {weights:,} weights take at least {in_words(needed)}, this machine has {in_words(memory)}; "
            "choose smaller"
        )
    if recipe is None:
        return
    batch = min(recipe.batch_size, max(objects, 1))
    patches = batch * backbone.groups * backbone.group_size * 3 * _NUMBER
    if patches > memory:
        raise UsageError(
            f"recipe.batch_size = {recipe.batch_size}, backbone.groups = {backbone.groups}, backbone.group_size = "
            f"{backbone.group_size}: the patches of a step take at least {in_words(patches)}, this machine has "
            f"{in_words(memory)}; choose smaller"
        )


def _memory(device: str) -> int:
    """Return the bytes of memory of a device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
