"""Import foreign checkpoints and account for every tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import JsonValue, ValidationError
from torch import Tensor, nn

from bench.chosen import ChosenMethod
from bench.errors import DataError, UsageError, unknown_name
from bench.interop.checkpoints import Checkpoint
from bench.interop.naming import Converted, Layout, convert_state
from bench.interop.releases import RELEASES, TEACHERS, Release, identity, no_encoder, own, recognise
from bench.methods.base import AnyMethod
from bench.models.encoder import Encoder
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import BackboneSpec, Options

FRESH_SEED = 0
"""Seed of tensors that files lack because transfer initialises them (Point-MAE's class token)."""
HEAD_WIDTH = 64
"""Width of one attention head in every published size (docs/reference.md#recon-sizes)."""
_PUBLISHED = BackboneSpec()


@dataclass(frozen=True)
class LeftOut:
    """Tensors of a file that the encoder does not use.

    Attributes:
        what: First part of their names.
        tensors: Number of tensors.
        numbers: Number of values in them.
        why: Reason in words.
    """

    what: str
    tensors: int
    numbers: int
    why: str


@dataclass(frozen=True)
class ReadEncoder:
    """An encoder read from a file.

    Attributes:
        release: Kind of the file.
        complete: Its method, with complete options.
        chosen: Options that differ from the method's defaults.
        backbone: Sizes.
        state: Its tensors under our names.
        used: Number of the file's tensors that the encoder uses.
        ignored: The other tensors, by reason.
        fresh: Our names that the file lacks; drawn with `FRESH_SEED`.
        measured: Sizes that follow from the weights.
        stated: Sizes given by the user or stored by bench in the file.
        assumed: Sizes that weights do not show, from the published configuration.
        heads: Projection heads into teachers' spaces: for each space the encoder feature and the layer.
    """

    release: Release
    complete: ChosenMethod
    chosen: dict[str, JsonValue]
    backbone: BackboneSpec
    state: dict[str, Tensor]
    used: int
    ignored: tuple[LeftOut, ...]
    fresh: tuple[str, ...]
    measured: dict[str, int]
    stated: dict[str, JsonValue]
    assumed: dict[str, JsonValue]
    heads: dict[str, tuple[str, nn.Linear]] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """Return the registered name of the method."""
        return self.release.method

    @property
    def options(self) -> Options:
        """Return the method's options as stored in a specification."""
        return self.complete.stored

    def build(self) -> Encoder:
        """Build the encoder with its weights, on the CPU."""
        encoder = self.complete.method.build_encoder(self.backbone, self.complete.options)
        encoder.load_state_dict(self.state)
        return encoder


def choose_release(checkpoint: Checkpoint, method: str | None) -> Release:
    """Return the kind of file that a checkpoint is.

    Args:
        checkpoint: The file.
        method: Method given by the user; None: recognised from the tensors.

    Raises:
        UsageError: The method is unknown or does not fit the file, or several fit and none is given.
        DataError: The kind of file is unknown.
    """
    path, names = checkpoint.path, checkpoint.tensors
    if method is not None:
        METHODS.entry(method)
    spec = checkpoint.ours.get("spec")
    said = str(spec.get("method", "")) if isinstance(spec, dict) else ""
    written = said if said in METHODS else None
    found = recognise(names)
    tokenizer = any(re.fullmatch(r"(.*\.)?tokenizer\.local1\.weight", name) for name in names)
    if not found and (tokenizer or written is not None):
        found = [own(name, ()) for name in METHODS.names() if name not in ("scratch", "render-classify")]
    if not found:
        what = no_encoder(names)
        if what is not None:
            raise DataError(f"{path}: is {what}")
        first = ", ".join(list(names)[:3])
        known = ", ".join(dict.fromkeys(release.method for release in RELEASES))
        raise DataError(f"{path}: is not a file of a known release (it begins with {first}); known: {known}")
    wanted = method or written
    fitting = [release for release in found if wanted in (None, release.method)]
    if not fitting:
        kinds = " or ".join(f"{release.method} ({release.kind})" for release in found)
        raise UsageError(f"{path}: is a file of {kinds}, not of {wanted}; leave --method out or correct it")
    if len(fitting) > 1:
        kinds = " and ".join(release.method for release in fitting)
        raise UsageError(f"{path}: fits {kinds} alike, say which with --method {fitting[0].method}")
    return fitting[0]


def read_encoder(
    checkpoint: Checkpoint,
    release: Release,
    backbone: Mapping[str, JsonValue] | None = None,
    options: Mapping[str, JsonValue] | None = None,
) -> ReadEncoder:
    """Translate a checkpoint into an encoder.

    Args:
        checkpoint: The file.
        release: Kind of the file.
        backbone: Sizes given by the user; they may not contradict the weights.
        options: Options of the method, given by the user.

    Raises:
        UsageError: A given size contradicts the weights, or a size is missing that cannot be inferred.
        DataError: A tensor of the encoder is missing or has another shape; the first one is named.
    """
    method = METHODS.load(release.method)
    layout = identity(checkpoint.tensors) if release.kind == "bench" else release.names()
    ours = _translated(checkpoint, layout)
    measured = measure(ours)
    written = _written(checkpoint, method)
    stated = {**written.get("backbone", {}), **(backbone or {})}
    sizes, assumed = _sizes(checkpoint, release, measured, stated)
    shown = {option: len(ours[name]) for option, name in release.shown.items() if name in ours}
    told = {option: size for option, size in shown.items() if size != measured.get("width")}
    shipped = written.get("options", {**release.options, **told})
    complete = _options(release.method, method, shipped, options or {})
    defaults = method.Options().model_dump(mode="json")
    with torch.random.fork_rng(devices=[]):
        seed_torch(FRESH_SEED)
        encoder = method.build_encoder(sizes, complete.options)
    wanted = {release.inside + name: value for name, value in encoder.state_dict().items()}
    converted = convert_state(checkpoint.tensors, wanted, layout)
    fresh = _check_complete(checkpoint, release, layout, converted)
    state = {**{name: wanted[name] for name in fresh}, **converted.state}
    heads = _heads(ours, method.aligned(complete.options), encoder)
    return ReadEncoder(
        release=release,
        complete=complete,
        chosen={name: value for name, value in complete.stored.items() if defaults.get(name) != value},
        backbone=sizes,
        state={name.removeprefix(release.inside): state[name].clone().contiguous() for name in wanted},
        used=len(checkpoint.tensors) - len(converted.unexpected),
        ignored=_ignored(checkpoint, layout, converted, heads),
        fresh=tuple(name.removeprefix(release.inside) for name in fresh),
        measured=measured,
        stated={name: value for name, value in stated.items() if name not in measured},
        assumed=assumed,
        heads=heads,
    )


def _heads(ours: Mapping[str, Tensor], spaces: Iterable[str], encoder: Encoder) -> dict[str, tuple[str, nn.Linear]]:
    """Return complete projection heads that read an encoder feature."""
    found: dict[str, tuple[str, nn.Linear]] = {}
    for space in sorted(spaces):
        weight, bias = ours.get(f"{space}_head.weight"), ours.get(f"{space}_head.bias")
        shape = None if bias is None else (len(bias), encoder.feature_dims.get(space))
        if weight is None or bias is None or tuple(weight.shape) != shape:
            continue
        layer = nn.utils.skip_init(nn.Linear, *weight.shape[::-1])  # type: ignore[no-untyped-call]
        layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        found[space] = (space, layer)
    return found


def measure(ours: Mapping[str, Tensor]) -> dict[str, int]:
    """Return a transformer's sizes from its weights, by our names.

    Empty for other networks.
    """

    def rows(ending: str) -> int | None:
        return next((len(value) for name, value in encoder.items() if f".{name}".endswith(ending)), None)

    other = ("decoder.", "prompted.transformer.", "trunk.prompted.transformer.")  # not the encoder's own blocks
    encoder = {name: value for name, value in ours.items() if not name.startswith(other)}
    blocks = [match for name in encoder if (match := re.search(r"(?:^|\.)blocks\.(\d+)\.", name))]
    depth = max((int(match[1]) for match in blocks), default=-1) + 1
    reconstruction = ours.get("decoder.points.weight")
    found = {
        "width": rows(".blocks.0.norm1.weight"),
        "depth": depth or None,
        "tokenizer_width": rows(".tokenizer.local1.weight"),
        "group_size": None if reconstruction is None else len(reconstruction) // 3,
    }
    return {name: value for name, value in found.items() if value is not None}


def _translated(checkpoint: Checkpoint, layout: Layout) -> dict[str, Tensor]:
    found = ((layout.to_ours(name), value) for name, value in checkpoint.tensors.items())
    return {name: value for name, value in found if name is not None}


def _written(checkpoint: Checkpoint, method: type[AnyMethod]) -> dict[str, Any]:
    """Return backbone and options that bench stored with weights.

    Empty if they are absent or invalid.
    """
    spec = checkpoint.ours.get("spec")
    if not isinstance(spec, dict) or spec.get("method") != method.name:
        return {}
    try:
        backbone = BackboneSpec.model_validate(spec.get("backbone"))
        options = method.parse(spec.get("options"))
    except ValidationError:
        return {}
    return {"backbone": backbone.model_dump(), "options": options.model_dump(mode="json")}


def _sizes(
    checkpoint: Checkpoint, release: Release, measured: Mapping[str, int], stated: Mapping[str, JsonValue]
) -> tuple[BackboneSpec, dict[str, JsonValue]]:
    """Return the backbone's sizes and the assumed ones.

    Weights come first, then given sizes, then the published configuration.
    """
    for name, value in stated.items():
        if name not in BackboneSpec.model_fields:
            raise unknown_name("field of backbone", name, BackboneSpec.model_fields)
        if name in measured and value != measured[name]:
            raise UsageError(
                f"{checkpoint.path}: backbone.{name} is {measured[name]} in its weights, not {value}; leave it out"
            )
    assumed: dict[str, JsonValue] = dict(_PUBLISHED.model_dump())
    if release.kind == "segmentation":  # docs/reference.md#part-segmentation
        assumed |= {"points": 2048, "groups": 128}
    width = measured.get("width", _PUBLISHED.width)
    assumed["heads"] = width // HEAD_WIDTH
    if "heads" not in stated and width % HEAD_WIDTH:
        raise UsageError(
            f"{checkpoint.path}: weights do not show the number of attention heads, and {width} is not a published "
            "width; give it: --set backbone.heads=N"
        )
    assumed = {name: value for name, value in assumed.items() if name not in measured and name not in stated}
    if not measured:  # not the shared transformer: of the sizes only the number of points applies
        assumed = {name: value for name, value in assumed.items() if name == "points"}
    try:
        backbone = BackboneSpec.model_validate({**assumed, **stated, **measured})
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"backbone.{problem['loc'][0]} = {problem['input']!r}: {problem['msg']}") from None
    if backbone.width % backbone.heads:
        raise UsageError(
            f"{checkpoint.path}: backbone.heads = {backbone.heads} does not divide the width {backbone.width} "
            "of its weights"
        )
    return backbone, assumed


def _options(
    name: str, method: type[AnyMethod], shipped: Mapping[str, JsonValue], given: Mapping[str, JsonValue]
) -> ChosenMethod:
    """Return complete options; the user's override the file's."""
    fields = method.Options.model_fields
    values = {**{name: value for name, value in shipped.items() if name in fields}, **given}
    for name in given:
        if name not in fields:
            raise unknown_name(f"option of {method.name}", name, fields)
    try:
        return ChosenMethod(name, method, method.parse(values))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{method.name}.{field} = {problem.get('input')!r}: {problem['msg']}") from None


def _check_complete(checkpoint: Checkpoint, release: Release, layout: Layout, converted: Converted) -> tuple[str, ...]:
    """Return the names that may be drawn anew.

    Any other missing tensor, or one of another shape, is an error.
    """
    path = checkpoint.path
    if converted.mismatched:
        more = len(converted.mismatched) - 1
        also = f" (and {more} more)" if more else ""
        raise DataError(f"{path}: tensors do not fit: {converted.mismatched[0]}{also}; is --method or a --set wrong?")
    free = {release.inside + name for name in release.fresh}
    fresh = [name for name in converted.missing if name in free or name.endswith(".num_batches_tracked")]
    lost = [name for name in converted.missing if name not in fresh]
    if lost:
        theirs = layout.to_released(lost[0]) or lost[0]
        also = f" and {len(lost) - 1} more of the encoder's tensors" if len(lost) > 1 else ""
        raise DataError(f"{path}: lacks {theirs}{also}; it is not a complete file of {release.method} ({release.kind})")
    return tuple(fresh)


def _ignored(checkpoint: Checkpoint, layout: Layout, converted: Converted, heads: Iterable[str]) -> tuple[LeftOut, ...]:
    groups: dict[tuple[str, str], list[Tensor]] = {}
    kept = {f"{space}_head" for space in heads}
    for theirs in converted.unexpected:
        found = layout.to_ours(theirs)
        why = KEPT if found is not None and found.partition(".")[0] in kept else _why(theirs, found)
        first, _, rest = theirs.partition(".")
        what = f"{first}.{rest.partition('.')[0]}" if first.endswith("_encoder") and first not in TEACHERS else first
        groups.setdefault((what, why), []).append(checkpoint.tensors[theirs])
    return tuple(
        LeftOut(what, len(tensors), sum(tensor.numel() for tensor in tensors), why)
        for (what, why), tensors in groups.items()
    )


def _why(theirs: str, ours: str | None) -> str:
    if theirs.partition(".")[0] in TEACHERS:
        return "frozen teacher"
    if theirs.startswith(("ACT_encoder.lm_head.", "ACT_encoder.cls_head.")):
        return "not used by the release itself"
    if ours is None:
        return UNKNOWN
    part = ours.partition(".")[0]
    if part == "decoder":
        return "decoder, for pretraining only"
    if part.endswith("_head"):
        return "projection head, for pretraining only"
    return "head of the task it was trained on" if part == "head" else "not part of the encoder"


KEPT = "projection head, kept beside the encoder for protocol zeroshot"
"""Reason for known tensors that do not belong to the encoder."""

UNKNOWN = "UNKNOWN: no name of this release"
"""Reason for unknown tensors; the encoder may lack them."""
