"""Encoders of a request: pretrained, untrained, stored, brought, teachers alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from bench.chosen import ChosenMethod, chosen_method
from bench.errors import UsageError
from bench.plan.backbones import refuse_unused, taken_by
from bench.plan.brought import Brought, backbone_beside, find_brought, is_brought, no_scratch
from bench.plan.encoders import StoredEncoder, as_evaluated, find_encoder
from bench.plan.inputs import Inputs
from bench.plan.located import Located, locate
from bench.plan.machine import device_of, numerics_of, ranks_of, refuse_too_large, versions
from bench.plan.match import Backbones
from bench.plan.recipes import kept_along, part_of, shipped_recipe
from bench.plan.request import validated
from bench.plan.teachers import Asked, choose_teachers, joint_teacher, with_transformer
from bench.plan.untrained import untrained_network
from bench.registry import DATASETS, METHODS
from bench.spec import BackboneSpec, Captions, Images, PretrainSpec, Recipe, TeacherSpec, content_key


@dataclass(frozen=True)
class AskedEncoder:
    """An encoder that the request asks for.

    Attributes:
        spec: Its specification.
        chosen: Its method and options.
        seed: Seed of its runs.
    """

    spec: PretrainSpec
    chosen: ChosenMethod
    seed: int

    @cached_property
    def identity(self) -> tuple[str, int]:
        """Key of its specification, and its seed."""
        return content_key(self.spec), self.seed


@dataclass
class AskedEncoders:
    """All encoders that the request asks for.

    Attributes:
        all: In order; each once.
        stored: Those among them that the results folder holds.
        brought: Those among them that the user brings, by `PretrainSpec.imported`.
        data: Pretraining data; None if nothing is pretrained.
    """

    all: list[AskedEncoder] = field(default_factory=list)
    stored: list[StoredEncoder] = field(default_factory=list)
    brought: dict[str, Brought] = field(default_factory=dict)
    data: Located | None = None
    _known: set[tuple[str, int]] = field(default_factory=set)

    def add(self, encoders: Iterable[AskedEncoder]) -> None:
        """Add encoders, leaving out repeated ones."""
        for encoder in encoders:
            if encoder.identity not in self._known:
                self._known.add(encoder.identity)
                self.all.append(encoder)


def asked_encoders(inputs: Inputs, backbones: Backbones) -> AskedEncoders:
    """Specify a request's encoders, with untrained ones for comparison.

    Raises:
        UsageError: An option, a size, a teacher or the name of an encoder is wrong.
        DataError: Files of the pretraining data are broken.
    """
    found, request, pretrained = AskedEncoders(), inputs.request, inputs.pretrained
    for name in inputs.methods:
        if not METHODS.load(name).has_encoder:
            teacher = joint_teacher(inputs)
            found.add(teacher_alone(inputs, name, backbones.plain, teacher, seed) for seed in request.seeds)
    if request.gpus > 1 and not pretrained:
        inputs.note(f"nothing is pretrained here: --gpus {request.gpus} changes nothing")
    if request.evaluate_at != (1.0,):
        _check_kept(inputs)
    if pretrained:
        data, overrides = request.pretrain_data, inputs.overrides
        found.data = locate(data, "pretrain_data", inputs.preset, overrides, inputs.workspace, inputs.opened)
        pretraining = _Pretraining(inputs, backbones, found.data)
        for name in pretrained:
            for fraction in request.pretrain_fractions:
                whole = [pretraining.encoder(name, seed, fraction) for seed in request.seeds]
                for at in request.evaluate_at:
                    found.add(replace(one, spec=one.spec.after(at)) for one in whole)
    architectures = pretrained if request.baseline or "scratch" in inputs.methods else []
    if not pretrained and "scratch" in inputs.methods:
        named = inputs.overrides.merge({"architecture": "recon"}, "scratch", known=frozenset({"architecture"}))
        architectures = [str(named["architecture"])]
    for name in architectures:
        found.add(_untrained(inputs, inputs.method(name), backbones.of(name), request.seeds))
    for name in request.encoders:
        if is_brought(name):
            sized = backbones.plain if inputs.methods else None
            found.add(_brought(inputs, find_brought(inputs, name), sized, found.brought))
        else:
            found.add(_stored(inputs, name, found.stored))
    return found


def _check_kept(inputs: Inputs) -> None:
    """Say which encoders have no course of pretraining.

    Raises:
        UsageError: None has.
    """
    request = inputs.request
    if not inputs.pretrained:
        raise UsageError(
            "--evaluate-at keeps encoders along a pretraining, and nothing is pretrained here: name a method that is, "
            "e.g. --method recon, or leave the option out"
        )
    alone = [name for name in inputs.methods if name not in inputs.pretrained]
    for name in (*alone, *request.encoders):
        inputs.note(f"{name} is not pretrained here: --evaluate-at changes nothing for it")


def teacher_alone(inputs: Inputs, name: str, backbone: BackboneSpec, teacher: TeacherSpec, seed: int) -> AskedEncoder:
    """Specify a method that only queries its teacher."""
    chosen = inputs.method(name)
    spec = PretrainSpec(
        method=name,
        options=chosen.stored,
        backbone=backbone,
        recipe=None,
        data=None,
        teacher=teacher,
        numerics=numerics_of(inputs, 0, versions(method=name, teachers=(teacher,), backbone=backbone)),
        seed=seed,
    )
    return AskedEncoder(spec, chosen, seed)


def _stored(inputs: Inputs, name: str, stored: list[StoredEncoder]) -> list[AskedEncoder]:
    """Return a stored encoder, and untrained ones beside it."""
    found = find_encoder(inputs.workspace.results, name)
    stored.append(found)
    here = numerics_of(inputs, 0, versions(method=found.spec.method, backbone=found.spec.backbone))
    spec, seed, seeds = as_evaluated(found, inputs.request, here, inputs.note)
    chosen = chosen_method(spec.method, spec.options)
    beside = _untrained(inputs, chosen, spec.backbone, seeds) if inputs.request.baseline else []
    return [AskedEncoder(spec, chosen, seed), *beside]


def _brought(
    inputs: Inputs, found: Brought, sized: BackboneSpec | None, brought: dict[str, Brought]
) -> list[AskedEncoder]:
    """Return an encoder that the user brings, and untrained ones beside it."""
    request, chosen = inputs.request, found.chosen
    brought[found.identity] = found
    backbone = backbone_beside(inputs, chosen, sized)
    if len(request.seeds) > 1:
        inputs.note(f"{found.shown} is one pretraining, so it is judged with one seed, {request.seeds[0]}")
    spec = PretrainSpec(
        method=chosen.name,
        options=chosen.stored,
        backbone=backbone,
        recipe=None,
        data=None,
        imported=found.identity,
        numerics=numerics_of(inputs, 0, versions(method=chosen.name, backbone=backbone)),
        seed=request.seeds[0],
    )
    beside: list[AskedEncoder] = []
    if request.baseline:
        if why := no_scratch(found):
            inputs.note(f"no scratch beside {found.shown}: {why}")
        else:
            beside = _untrained(inputs, chosen, backbone, request.seeds)
    return [AskedEncoder(spec, chosen, spec.seed), *beside]


def _untrained(
    inputs: Inputs, architecture: ChosenMethod, backbone: BackboneSpec, seeds: tuple[int, ...]
) -> list[AskedEncoder]:
    """Specify `scratch` in the network of a method."""
    refuse_too_large(backbone, device_of(inputs))
    refuse_unused(architecture, backbone)
    name, kept = untrained_network(architecture, inputs.request.form, inputs.preset.name, backbone)
    scratch = METHODS.load("scratch")
    options = validated(scratch.Options, {"architecture": name, "architecture_options": kept}, "scratch")
    chosen = ChosenMethod("scratch", scratch, options)
    numerics = numerics_of(inputs, 0, versions(method=name, backbone=backbone))
    return [
        AskedEncoder(
            PretrainSpec(
                method="scratch",
                options=chosen.stored,
                backbone=backbone,
                recipe=None,
                data=None,
                numerics=numerics,
                seed=seed,
            ),
            chosen,
            seed,
        )
        for seed in seeds
    ]


@dataclass(frozen=True)
class _Pretraining:
    """Specifies encoders to pretrain.

    Attributes:
        inputs: The request.
        backbones: Their backbones.
        data: Pretraining data.
    """

    inputs: Inputs
    backbones: Backbones
    data: Located

    def encoder(self, name: str, seed: int, fraction: float) -> AskedEncoder:
        """Specify an encoder, and its first stage, if any, before.

        Args:
            name: Method.
            seed: Root seed.
            fraction: Part of the data.
        """
        chosen, spec = self._specify(name, seed, fraction)
        return AskedEncoder(spec, chosen, seed)

    def _specify(self, name: str, seed: int, fraction: float, whole: str = "") -> tuple[ChosenMethod, PretrainSpec]:
        """Specify a method, or the first stage of method `whole`."""
        inputs, request, data = self.inputs, self.inputs.request, self.data
        chosen = inputs.method(name)
        method, backbone = chosen.method, self.backbones.of(whole or name)
        if whole:
            backbone = taken_by(chosen, backbone)[0]
        refuse_unused(chosen, backbone)
        step = method.width_step(backbone, chosen.options)
        if backbone.width % step:
            raise UsageError(f"backbone.width = {backbone.width} is not a multiple of {step}, as {name} needs")
        uses = method.uses(chosen.options)
        recipe = self._recipe(name, "first_recipe" if whole else "recipe")
        images, captions = self._supervision(name, uses)
        asked = Asked(
            images="images" in uses and images != "none",
            texts=captions != "none",
            transformer="transformer" in uses,
            towers="towers" in uses,
            prompts=recipe.teacher_prompts,
            text_teacher=request.text_teacher,
        )
        if asked.towers and not (asked.images or asked.texts):
            raise UsageError(f"{name}.teachers = tuned: without captions no term of {name} reads a teacher here")
        teachers = choose_teachers(inputs, asked)
        if asked.towers and request.live_teacher:
            inputs.note(f"{name} trains its teachers, which run in every step: --live-teacher changes nothing for it")
        if request.text_teacher is not None and teachers.text is None:
            inputs.note(f"{name} is given no captions: --text-teacher {request.text_teacher} is not used")
        if asked.transformer:
            assert teachers.main is not None
            chosen = with_transformer(chosen, teachers.main, inputs.workspace)
        refuse_too_large(backbone, device_of(inputs), recipe, data.objects)
        first = None
        if method.first_stage is not None:
            first = self._specify(method.first_stage, seed, fraction, name)[1]
        objects, budget = data.objects, request.budget if fraction < 1 else "steps"
        if fraction < 1:
            part = part_of(f"{name} on {data.label}", recipe, objects, fraction, budget)
            objects, recipe = part.objects, part.recipe
            inputs.note(part.note)
        if not whole and request.evaluate_at != (1.0,):
            inputs.note(kept_along(name, recipe, objects, request.evaluate_at))
        both = (teachers.main, teachers.text)
        plugins = versions(method=name, dataset=data.spec.name, teachers=both, backbone=backbone)
        return chosen, PretrainSpec(
            method=name,
            options=chosen.stored,
            backbone=backbone,
            recipe=recipe,
            data=data.spec,
            fraction=fraction,
            budget=budget,
            images=images,
            captions=captions,
            teacher=teachers.main,
            text_teacher=teachers.text,
            live_teacher=teachers.live,
            held_out=request.held_out_losses and not whole,
            first_stage=first,
            ranks=ranks_of(inputs, name, recipe, objects),
            numerics=numerics_of(inputs, recipe.epochs * objects, plugins),
            seed=seed,
        )

    def _recipe(self, name: str, group: str) -> Recipe:
        """Return a method's recipe with the user's assignments."""
        shipped = shipped_recipe(name, self.inputs.preset.name, self.data.spec.name)
        recipe: Recipe = validated(Recipe, self.inputs.overrides.merge(shipped.model_dump(), group), group)
        if recipe.head_lr_scale != 1:
            raise UsageError(
                f"{group}.head_lr_scale = {recipe.head_lr_scale:g}: does nothing in pretraining; set {group}.lr"
            )
        return recipe

    def _supervision(self, name: str, uses: frozenset[str]) -> tuple[Images, Captions]:
        """Decide where images and captions come from.

        Args:
            name: Method.
            uses: Inputs that the method reads.

        Raises:
            UsageError: Captions of the data set are asked for and it has none.
        """
        inputs, data = self.inputs, self.data
        card = DATASETS.load(data.spec.name).card
        images: Images = "none"
        if uses & {"images", "pixels"}:
            images = "dataset" if data.images else "depth-of-points"
            if images == "depth-of-points":
                inputs.note(f"{data.label} has no images: {name} sees depth renderings of its points")
        captions: Captions = "none"
        asked = inputs.request.captions
        if "text" in uses and asked != "none":
            if asked == "class-names":
                captions = "class-names"
            elif card.has_captions:
                captions = "dataset"
            elif asked == "dataset":
                raise UsageError(
                    f"--captions dataset: {data.label} has no captions; "
                    "use --captions class-names, or leave the option out to switch the text term off"
                )
            else:
                inputs.note(f"{data.label} has no captions: the text term of {name} is off (--captions class-names)")
        return images, captions
