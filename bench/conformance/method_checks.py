"""Checks of a method: declarations, networks, losses, random draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from bench.conformance.checks import Checks, fail, listed, skip
from bench.conformance.declarations import check_import, check_name, check_options, check_texts
from bench.conformance.method_kit import MethodKit
from bench.errors import BenchError, UsageError, unknown_name
from bench.methods.base import MethodCard, PretrainModel
from bench.models.encoder import Encoder
from bench.plan.presets import PRESETS
from bench.plan.request import validated
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import Recipe

CONTRACT: Checks[MethodKit] = Checks()
"""Checks of a method's declarations and networks."""

USES = frozenset({"images", "text", "labels", "pixels", "transformer", "towers"})
SPACES = frozenset({"image", "text"})


@CONTRACT.add("import")
def importing(kit: MethodKit) -> str:
    """Importing is quick, starts no CUDA, changes no global state."""
    return check_import(kit.method, "bench.methods.base")


@CONTRACT.add("options")
def options(kit: MethodKit) -> str:
    """Options are immutable, refuse unknown fields and survive JSON."""
    return check_options(kit.method)


@CONTRACT.add("metadata", "options")
def metadata(kit: MethodKit) -> str:
    """Name and card are complete and match what pretraining reads."""
    method = kit.method
    check_name(method)
    card = getattr(method, "card", None)
    if not isinstance(card, MethodCard):
        fail("card is missing: give it a bench.methods.base.MethodCard (paper, modalities, sees_class_names, ...)")
    if not method.has_encoder:
        return f"{', '.join(card.modalities)}; a teacher alone"
    if not card.stages:
        fail("card.stages is empty: name what is trained, e.g. ('pretraining',)")
    uses = kit.uses
    for preset in PRESETS:
        options = kit.completed(method.defaults(preset))
        if unknown := method.uses(options) - USES:
            fail(f"uses() returns {listed(sorted(unknown))}; known are {', '.join(sorted(USES))}")
        if unknown := method.aligned(options) - SPACES:
            fail(f"aligned() returns {listed(sorted(unknown))}; known are {', '.join(sorted(SPACES))}")
    for read, modality in (("images", "images"), ("pixels", "images"), ("text", "text")):
        if read in uses and modality not in card.modalities:
            fail(f"uses() reads {read}, but card.modalities does not name {modality}")
    if "labels" in uses and card.sees_class_names.lower().startswith("never"):
        fail("uses() reads labels, but card.sees_class_names says never")
    if method.first_stage is not None and method.first_stage not in METHODS:
        fail(f"first_stage names '{method.first_stage}', which is no registered method")
    if method.first_stage is not None:
        lacking = set(method.recipes) - set(METHODS.load(method.first_stage).recipes)
        if lacking or method.first_stage == method.name:
            fail(f"first_stage {method.first_stage} cannot be trained in preset {listed(sorted(lacking)) or 'any'}")
    if method.point_views < 1:
        fail(f"point_views is {method.point_views}, expected 1 or more")
    if empty := [name for name, reason in method.untrained.items() if not reason.strip()]:
        fail(f"untrained gives no reason for {listed(empty)}")
    told = f"deviations from the release: {len(card.deviations)}"
    return f"{', '.join(card.modalities)}; {' then '.join(card.stages)}; {told}"


@CONTRACT.add("recipes", "options")
def recipes(kit: MethodKit) -> str:
    """Every preset has a recipe that ``bench run`` accepts."""
    method = kit.method
    if not method.has_encoder:
        return "a teacher alone needs none"
    if "nano" not in method.recipes:
        fail("recipes has no 'nano': bench run needs one for its default preset; start from another method's")
    for preset in method.recipes:
        if preset not in PRESETS:
            fail(f"recipes: {unknown_name('preset', preset, PRESETS)!s}")
        recipe = method.recipe(preset)
        if not isinstance(recipe, Recipe):
            fail(f"the recipe of preset {preset} is a {type(recipe).__name__}, expected a bench.spec.Recipe")
        try:
            validated(Recipe, recipe.model_dump(), f"the recipe of preset {preset}: recipe")
        except UsageError as error:
            fail(str(error))
    return listed(sorted(method.recipes))


@CONTRACT.add("texts")
def texts(kit: MethodKit) -> str:
    """Card and docstring describe the plugin, not the example."""
    return check_texts(kit.method)


@CONTRACT.add("architecture", "options")
def architecture(kit: MethodKit) -> str:
    """architecture() names a network equal to the encoder's own."""
    if not kit.method.has_encoder:
        skip("a teacher alone: it has no network (has_encoder is False)")
    name, kept = kit.method.architecture(kit.resolved)
    if name != kit.method.name and name not in METHODS:
        fail(f"architecture() names '{name}', which is no registered method")
    other = kit.method if name == kit.method.name else METHODS.load(name)
    try:
        options = validated(other.Options, kept, f"architecture() of {name}")
    except UsageError as error:
        fail(str(error))
    with torch.device("meta"):
        ours, theirs = kit.encoder(), other.build_encoder(kit.size, options)
    if differing := _differing(ours, theirs):
        fail(
            f"architecture() names {name} with {kept}, whose network differs in {listed(differing)}: "
            "pretrained weights would be compared with another network untrained"
        )
    return name if name == kit.method.name else f"that of {name}"


@CONTRACT.add("builds", "options")
def builds(kit: MethodKit) -> str:
    """The network builds, and its encoder equals that of build_encoder."""
    if not kit.method.has_encoder:
        skip("a teacher alone: it has no network (has_encoder is False)")
    model = kit.model()
    if not isinstance(model, PretrainModel):
        fail(f"build() returns a {type(model).__name__}, expected a PretrainModel")
    encoder = model.encoder()
    alone = kit.encoder()
    for one, maker in ((encoder, "encoder()"), (alone, "build_encoder()")):
        if not isinstance(one, Encoder):
            fail(f"{maker} returns a {type(one).__name__}, expected a bench.models.encoder.Encoder")
    parts = {id(p) for p in model.parameters()}
    if foreign := [name for name, p in encoder.named_parameters() if id(p) not in parts]:
        fail(f"encoder() has parameters that the network does not train: {listed(foreign)}; return the trained part")
    if not any(p.requires_grad for p in model.parameters()):
        fail("the network has no trainable parameter")
    if differing := _differing(encoder, alone):
        fail(f"build_encoder() and encoder() differ in {listed(differing)}: weights could not be handed over")
    _check_heads(kit, model, encoder)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"{trained:,} trained parameters, {encoder.parameter_count:,} in the encoder"


def _check_heads(kit: MethodKit, model: PretrainModel, encoder: Encoder) -> None:
    """Fail unless the heads are those that aligned() promises."""
    heads, promised = model.aligned_heads(), kit.method.aligned(kit.resolved)
    if set(heads) != promised:
        fail(
            f"aligned_heads() has {listed(sorted(heads)) or 'none'}, aligned() promises "
            f"{listed(sorted(promised)) or 'none'}"
        )
    for space, (feature, layer) in heads.items():
        if encoder.feature_dims.get(feature) != layer.in_features:
            offered = ", ".join(f"{name} {width}" for name, width in encoder.feature_dims.items())
            fail(
                f"the head into the space of {space} reads {layer.in_features} numbers of feature '{feature}'; the "
                f"encoder offers {offered}"
            )


def _differing(one: Encoder, other: Encoder) -> list[str]:
    """Name tensors missing or shaped differently in one encoder."""
    ours, theirs = _layout(one), _layout(other)
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def _layout(encoder: Encoder) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(t.shape), t.dtype) for name, t in encoder.state_dict().items()}


@CONTRACT.add("losses", "builds")
def losses(kit: MethodKit) -> str:
    """Losses are float32 scalars; the other terms make up ``total``.

    In mixed precision too.
    """
    model = kit.model()
    found = kit.losses(model, kit.batch())
    _check_losses(found, "")
    mixed = kit.losses(kit.model(), kit.batch(), precision="bf16")
    _check_losses(mixed, " in mixed precision (compute it from .float() tensors)")
    terms = {name: value.detach() for name, value in found.items() if name != "total"}
    if not terms:
        return "total"
    total = found["total"].detach()
    added = torch.stack(list(terms.values())).sum()
    if torch.allclose(added, total, rtol=1e-4, atol=1e-6, equal_nan=True):
        return f"total = {' + '.join(terms)}"
    told = type(model).compute.__doc__ or ""
    if unnamed := [name for name in terms if name not in told]:
        fail(
            f"total is {total:.4g}, the other terms add up to {added:.4g}: make them the weighted parts of total, or "
            f"say in compute()'s docstring what each of them is ({listed(unnamed)})"
        )
    return f"total, and {', '.join(terms)} as compute() documents them"


def _check_losses(found: object, where: str) -> None:
    if not isinstance(found, dict) or "total" not in found:
        has = listed([str(name) for name in found]) if isinstance(found, dict) else type(found).__name__
        fail(f"compute() returns {has or 'nothing'}; expected a dict of losses with 'total', the one to minimise")
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            fail(f"loss '{name}' is {shape}, expected a scalar tensor")
        if value.dtype != torch.float32:
            fail(f"loss '{name}' is {str(value.dtype).removeprefix('torch.')}{where}, expected float32")
    if not found["total"].requires_grad:
        fail("loss 'total' carries no gradient: nothing would be trained")


@CONTRACT.add("no captions", "losses")
def no_captions(kit: MethodKit) -> str:
    """Without captions, the method drops the text term or refuses."""
    if "text" not in kit.uses:
        skip("reads no text")
    try:
        found = kit.losses(kit.model(captions=False), kit.batch(captions=False))
    except BenchError as error:
        return f"refused: {error}"
    _check_losses(found, "")
    return f"terms left: {', '.join(name for name in found if name != 'total') or 'total'}"


@CONTRACT.add("draws", "losses")
def draws(kit: MethodKit) -> str:
    """Random draws of prepare() come from the batch's generator."""
    model = kit.model()
    with _global_seeds(1), torch.no_grad():
        before = _global_state()
        first = model.prepare(kit.batch(5))
        moved = [name for name, state in _global_state().items() if state != before[name]]
    with _global_seeds(2), torch.no_grad():
        second = model.prepare(kit.batch(5))
    if moved:
        fail(f"prepare() draws from {listed(moved)}; pass generator=batch.generator to every draw")
    if differing := [name for name, value in first.items() if not _equal(value, second[name])]:
        fail(f"prepare() gives another {listed(differing)} under another global seed; draw from batch.generator")
    return f"{len(first)} tensors, independent of global seeds"


@CONTRACT.add("same seed", "draws", "recipes")
def same_seed(kit: MethodKit) -> str:
    """The same seed gives bitwise the same network and losses."""
    first, second = kit.model(seed=3), kit.model(seed=3)
    other = second.state_dict()
    if differing := [name for name, t in first.state_dict().items() if not _equal(t, other[name])]:
        fail(f"two networks built from one seed differ in {listed(differing)}: draw from torch's global generator only")
    runs = zip(kit.train(first, kit.batches(3)), kit.train(second, kit.batches(3)), strict=True)
    for step, (one, two) in enumerate(_detached(runs)):
        if differing := [name for name, value in one.items() if not _equal(value, two[name])]:
            fail(
                f"two runs from one seed differ at step {step} in {listed(differing)}: something is drawn or ordered "
                "without a seed"
            )
    return "three steps, bitwise"


def _detached(
    runs: Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]],
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    for one, two in runs:
        yield {n: v.detach() for n, v in one.items()}, {n: v.detach() for n, v in two.items()}


def _equal(one: Tensor, two: Tensor) -> bool:
    """Return whether values are bitwise equal, NaN included."""
    return one.shape == two.shape and bool(((one == two) | ((one != one) & (two != two))).all())


@contextmanager
def _global_seeds(seed: int) -> Iterator[None]:
    """Seed every global generator for the block, then restore it."""
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            seed_torch(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)


def _global_state() -> dict[str, object]:
    return {
        "torch's global generator": bytes(torch.get_rng_state().numpy()),
        "numpy's global generator": str(np.random.get_state()),
        "the random module": random.getstate(),
    }
