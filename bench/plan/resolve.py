"""Resolution: a request becomes complete specifications, with everything that can change a number decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from bench.errors import UsageError, unknown_name
from bench.paths import Workspace
from bench.plan.alignment import Aligning, teacher_alone
from bench.plan.applies import applies
from bench.plan.backbones import read_backbone, refuse_unused, taken_by
from bench.plan.encoders import StoredEncoder, as_evaluated, find_encoder
from bench.plan.located import DataPair, Located, locate
from bench.plan.located import open_dataset as open_dataset
from bench.plan.match import Matching, match_sizes
from bench.plan.overrides import Overrides as Overrides
from bench.plan.presets import Preset, preset
from bench.plan.recipes import shipped_recipe
from bench.plan.request import RunRequest, validated
from bench.plan.scaling import part_of
from bench.plan.sizes import refuse_too_large
from bench.plan.supervision import supervision
from bench.plan.teachers import Asked, Teachers, choose_teachers, with_transformer
from bench.plan.teachers import open_teacher as open_teacher
from bench.plan.untrained import architecture_name, network_of
from bench.plan.versions import versions
from bench.protocols.trained_options import refuse_other_form
from bench.registry import DATASETS, METHODS, PROTOCOLS
from bench.spec import (
    BackboneSpec,
    MatchSpec,
    Numerics,
    Options,
    PretrainSpec,
    ProtocolSpec,
    Recipe,
    RunSpec,
    TeacherSpec,
)


@dataclass(frozen=True)
class Skipped:
    """A combination that does not apply, and why."""

    method: str
    protocol: str
    dataset: str
    reason: str


@dataclass
class Resolution:
    """The runs of a request.

    Attributes:
        runs: One specification per (method, protocol, data set, setting, seed, split seed).
        places: Data sets by manifest.
        stored: Encoders of the results folder that were asked for.
        notes: What was decided, one line each.
        skipped: Combinations that do not apply.
    """

    runs: list[RunSpec] = field(default_factory=list)
    places: dict[str, Located] = field(default_factory=dict)
    stored: list[StoredEncoder] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def resolve(request: RunRequest, workspace: Workspace) -> Resolution:
    """Turn a request into run specifications.

    Raises:
        UsageError: A name, a value or a path of the request is wrong.
    """
    return _Resolver(request, workspace).resolve()


_Encoders = list[tuple[PretrainSpec, int]]
"""Encoders, each with the seed of its runs."""


class _Resolver:
    def __init__(self, request: RunRequest, workspace: Workspace) -> None:
        self.request = request
        self.workspace = workspace
        request.check_names()
        self.preset: Preset = preset(request.preset)
        self.methods = _expand(request.methods, METHODS.standalone())
        self.protocols = _expand(request.protocols, PROTOCOLS.standalone())
        groups = {
            "backbone",
            "recipe",
            "first_recipe",
            "method",
            "protocol",
            "data",
            "pretrain_data",
            "teacher",
            "text_teacher",
            "numerics",
        }
        self.overrides = Overrides(request.overrides, frozenset({*groups, *METHODS.names(), *PROTOCOLS.names()}))
        self.result = Resolution()
        self.offered: list[str] = []

    def resolve(self) -> Resolution:
        pairs = self._pairs()
        encoders = [(encoder, encoder.seed) for encoder in self._encoders()]
        for run in self._stored():
            encoders += [] if run in encoders else [run]
        for protocol_name in self.protocols:
            forms = PROTOCOLS.load(protocol_name).forms
            if "all" in self.request.protocols and self.request.form not in forms:
                self._note(f"{protocol_name} is left out: it has no {self.request.form} form, only {', '.join(forms)}")
                continue
            protocol, settings = self._protocol(protocol_name)
            for pair in pairs:
                for fraction in self.request.label_fractions:
                    self._judge(protocol, settings, pair, fraction, encoders)
        for setting in self.request.settings:
            if setting not in self.offered:
                raise unknown_name(f"setting of {' or '.join(self.protocols)}", setting, self.offered)
        self.overrides.check_all_taken()
        return self.result

    def _pairs(self) -> list[DataPair]:
        """Return what is tested on, with what is trained on where that is another data set."""
        tested = [self._locate(reference, "data") for reference in dict.fromkeys(self.request.datasets)]
        if self.request.transfer:
            trained = tested
        elif self.request.train_on is not None:
            trained = [self._locate(self.request.train_on, "data")]
        else:
            return [DataPair(located) for located in tested]
        return [DataPair(test, None if test.spec == train.spec else train) for train in trained for test in tested]

    def _judge(
        self, protocol: ProtocolSpec, settings: tuple[str, ...], pair: DataPair, fraction: float, encoders: _Encoders
    ) -> None:
        """Specify the runs on one data set, note what does not apply and why, and call opponents in."""
        data, train = pair.test.spec, pair.train.spec if pair.train is not None else None
        card = DATASETS.load(data.name).card
        aligning = self._aligning()
        judged = list(encoders)
        impossible = pair.skip(self.workspace, protocol.name, fraction)
        if pair.train is not None and impossible is None:
            self._note(f"{pair.label}: {pair.common(self.workspace).describe()}")
        names = dict.fromkeys(spec.name for spec in (train, data) if spec is not None)
        plugins = {key: v for name in names for key, v in versions(dataset=name, protocol=protocol.name).items()}
        common = {"preset": self.preset.name, "protocol": protocol, "data": data, "plugins": plugins}
        common |= {"train_data": train, "label_fraction": fraction}
        common |= {"trial": self.request.trial, "tuned": self.request.tuned}
        split_seeds = self._split_seeds(protocol, pair, fraction)
        for encoder, seed in judged:  # grows by those that are judged beside others
            if impossible is not None:
                self._skip(encoder, protocol, pair, impossible)
                continue
            found = applies(encoder, protocol, settings, card, aligning, parts=pair.test.parts)
            for reason in found.reasons:
                self._skip(encoder, protocol, pair, reason)
            own = {**common, "encoder": found.encoder, "seed": seed, "matched": self._matched(encoder)}
            self.result.runs += [
                RunSpec.model_validate({**own, "setting": setting, "split_seed": split_seed})
                for split_seed in split_seeds
                for setting in found.settings
            ]
            if found.opponent is not None and found.settings and self.request.baseline:
                name, teacher = found.opponent
                beside = (self._alone(name, encoder.backbone, teacher, seed), seed)
                judged += [] if beside in judged else [beside]

    def _split_seeds(self, protocol: ProtocolSpec, pair: DataPair, fraction: float) -> tuple[int, ...]:
        """Return the split seeds asked for where they change anything, and say where they change less than folds."""
        seeds = self.request.split_seeds
        loaded = PROTOCOLS.load(protocol.name)
        options = loaded.parse(protocol.options)
        if seeds == (0,):
            return seeds
        split = loaded.describe(options).split
        if fraction == 1 and split is not None and not split.drawn:
            self._note(f"{protocol.name} draws nothing from the training split: it is judged with split seed 0 alone")
            return (0,)
        if pair.test.folds:
            self._note(f"{pair.label}: its folds are given and stay; a split seed chooses what validates choices alone")
        return seeds

    def _skip(self, encoder: PretrainSpec, protocol: ProtocolSpec, pair: DataPair, reason: str) -> None:
        skipped = Skipped(encoder.method, protocol.name, pair.label, reason)
        self.result.skipped += [] if skipped in self.result.skipped else [skipped]

    def _aligning(self) -> Aligning:
        return Aligning(self.request, self.preset, self.overrides, self.workspace, self.result.stored)

    def _alone(self, name: str, backbone: BackboneSpec, teacher: TeacherSpec, seed: int) -> PretrainSpec:
        """Specify a method that is its teacher alone."""
        numerics = self._numerics(0, versions(name, teachers=Teachers(teacher, None, False), backbone=backbone))
        return teacher_alone(name, self._method_options(name), backbone, teacher, numerics, seed)

    def _locate(self, reference: str, group: str) -> Located:
        located = locate(reference, group, self.preset, self.overrides, self.workspace)
        self.result.places[located.spec.manifest] = located
        return located

    def _protocol(self, name: str) -> tuple[ProtocolSpec, tuple[str, ...]]:
        protocol = PROTOCOLS.load(name)
        if self.request.form not in protocol.forms:
            raise UsageError(f"protocol '{name}' has no {self.request.form} form, only {', '.join(protocol.forms)}")
        defaults = protocol.defaults(self.preset.name, self.request.form).model_dump(mode="json")
        known = frozenset(protocol.Options.model_fields)
        options = validated(protocol.Options, self.overrides.merge(defaults, "protocol", name, known=known), name)
        refuse_other_form(name, options, self.request.form)
        self._refuse_idle(name, protocol.idle(options))
        offered = protocol.settings(options)
        self.offered.extend(offered)
        wanted = tuple(s for s in offered if s in self.request.settings)
        spec = ProtocolSpec(
            name=name,
            revision=protocol.revision,
            form=self.request.form,
            legacy=self.request.legacy,
            options=options.model_dump(mode="json"),
        )
        return spec, wanted or offered

    def _refuse_idle(self, name: str, idle: Mapping[str, str]) -> None:
        """Refuse assignments to options of a protocol that do nothing, but would make other keys."""
        groups = (name, "protocol") if len(self.protocols) == 1 else (name,)
        for path in self.request.overrides:
            group, _, field = path.partition(".")
            why = next((why for one, why in idle.items() if f"{field}.".startswith(f"{one}.")), None)
            if group in groups and why is not None:
                raise UsageError(f"--set {path}: does nothing {why}")

    def _encoders(self) -> list[PretrainSpec]:
        pretrained = [name for name in self.methods if name != "scratch" and METHODS.load(name).has_encoder]
        specs: list[PretrainSpec] = []
        for name in self.methods:
            if not METHODS.load(name).has_encoder:
                teacher, backbone = self._aligning().teacher(), self._plain_backbone()
                specs += [self._alone(name, backbone, teacher, seed) for seed in self.request.seeds]
        data = self._locate(self.request.pretrain_data, "pretrain_data") if pretrained else None
        for name in pretrained:
            assert data is not None
            specs += self._pretrained(name, data)
        architectures = pretrained if self.request.baseline or "scratch" in self.methods else []
        if not pretrained and "scratch" in self.methods:
            chosen = self.overrides.merge({"architecture": "recon"}, "scratch", known=frozenset({"architecture"}))
            architectures = [str(chosen["architecture"])]
        for name in architectures:
            specs += [spec for spec in self._scratch(name) if spec not in specs]
        return specs

    def _stored(self) -> list[tuple[PretrainSpec, int]]:
        """Return the stored encoders asked for with the seed of their run, and the untrained ones beside them."""
        runs: list[tuple[PretrainSpec, int]] = []
        for name in self.request.encoders:
            found = find_encoder(self.workspace.results, name)
            self.result.stored.append(found)
            here = self._numerics(0, versions(found.spec.method, backbone=found.spec.backbone))
            spec, seed, seeds = as_evaluated(found, self.request, here, self._note)
            runs.append((spec, seed))
            if self.request.baseline:
                untrained = self._untrained(spec.method, spec.options, spec.backbone, seeds)
                runs += [(scratch, scratch.seed) for scratch in untrained]
        return runs

    def _method_options(self, name: str) -> dict[str, Any]:
        method = METHODS.load(name)
        known = frozenset(method.Options.model_fields)
        shipped = method.defaults(self.preset.name).model_dump(mode="json")
        options = validated(method.Options, self.overrides.merge(shipped, "method", name, known=known), name)
        values: dict[str, Any] = options.model_dump(mode="json")
        return values

    @cached_property
    def _matching(self) -> Matching | None:
        """Backbones of equal cost, by method; None where sizes are left as they are."""
        names = [name for name in self.methods if name != "scratch" and METHODS.load(name).has_encoder]
        if self.request.match == "none":
            return None
        found = match_sizes(self.request.match, {n: self._method_options(n) for n in names}, self._plain_backbone())
        for line in found.notes:
            self._note(line)
        return found

    def _matched(self, encoder: PretrainSpec) -> MatchSpec | None:
        """Return the cost that an encoder's size was matched at."""
        found, name = self._matching, architecture_name(encoder, self.request.form)
        if found is None or encoder.imported is not None:
            return None
        form, sizes = self.request.form, found.backbones
        fits = (sizes[m] for m in sizes if network_of(m, self._method_options(m), form)[0] == name)
        return found.spec if encoder.backbone in fits else None

    def _backbone(self, method: str) -> BackboneSpec:
        """Return the size of a method's backbone, and of its first stage's."""
        sized = self._matching.backbones if self._matching is not None else {}
        return sized.get(method, self._plain_backbone())

    def _plain_backbone(self) -> BackboneSpec:
        return read_backbone(self.overrides.merge(self.preset.backbone.model_dump(), "backbone"))

    def _pretrained(self, name: str, data: Located) -> list[PretrainSpec]:
        parts = self.request.pretrain_fractions
        return [self._pretrain_spec(name, data, seed, part) for part in parts for seed in self.request.seeds]

    def _pretrain_spec(
        self, name: str, data: Located, seed: int, fraction: float = 1.0, whole: str = ""
    ) -> PretrainSpec:
        """Specify one encoder, and before it the first stage of its method where there is one.

        Args:
            name: Method.
            data: Pretraining data.
            seed: Root seed.
            fraction: Part of the data.
            whole: Method whose first stage this is; empty for a method on its own.
        """
        recipe_group = "first_recipe" if whole else "recipe"
        method = METHODS.load(name)
        options = self._method_options(name)
        chosen, backbone = method.parse(options), self._backbone(whole or name)
        if whole:
            backbone = taken_by(name, chosen, backbone)[0]
        refuse_unused(name, chosen, backbone)
        step = method.width_step(backbone, chosen)
        if backbone.width % step:
            raise UsageError(f"backbone.width = {backbone.width} is not a multiple of {step}, as {name} needs")
        uses = method.uses(chosen)
        shipped = shipped_recipe(name, self.preset.name, data.spec.name)
        recipe: Recipe = validated(Recipe, self.overrides.merge(shipped.model_dump(), recipe_group), recipe_group)
        if recipe.head_lr_scale != 1:
            raise UsageError(
                f"{recipe_group}.head_lr_scale = {recipe.head_lr_scale:g}: does nothing in pretraining; set "
                f"{recipe_group}.lr"
            )
        images, captions = supervision(name, data, uses, self.request.captions, self._note)
        asked = Asked("images" in uses and images != "none", captions != "none", "transformer" in uses, recipe)
        teachers = choose_teachers(self.request, self.preset, self.overrides, self.workspace.cache, asked)
        if self.request.text_teacher is not None and teachers.text is None:
            self._note(f"{name} is given no captions: --text-teacher {self.request.text_teacher} is not used")
        if asked.transformer:
            options = with_transformer(name, options, teachers.main, self.workspace)
        refuse_too_large(backbone, self._device, recipe, data.objects)
        first = None
        if method.first_stage is not None:
            first = self._pretrain_spec(method.first_stage, data, seed, fraction, name)
        objects, budget = data.objects, self.request.budget if fraction < 1 else "steps"
        if fraction < 1:
            part = part_of(f"{name} on {data.label}", recipe, objects, fraction, budget)
            objects, recipe = part.objects, part.recipe
            self._note(part.note)
        samples = recipe.epochs * objects
        return PretrainSpec(
            method=name,
            options=options,
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
            held_out=self.request.held_out_losses and not whole,
            first_stage=first,
            numerics=self._numerics(samples, versions(name, data.spec.name, teachers, backbone=backbone)),
            seed=seed,
        )

    def _scratch(self, architecture: str) -> list[PretrainSpec]:
        options, backbone = self._method_options(architecture), self._backbone(architecture)
        return self._untrained(architecture, options, backbone, self.request.seeds)

    def _untrained(
        self, architecture: str, architecture_options: Options, backbone: BackboneSpec, seeds: tuple[int, ...]
    ) -> list[PretrainSpec]:
        refuse_too_large(backbone, self._device)
        refuse_unused(architecture, METHODS.load(architecture).parse(architecture_options), backbone)
        name, kept = network_of(architecture, architecture_options, self.request.form)
        values = {"architecture": name, "architecture_options": kept}
        options = validated(METHODS.load("scratch").Options, values, "scratch")
        return [
            PretrainSpec(
                method="scratch",
                options=options.model_dump(mode="json"),
                backbone=backbone,
                recipe=None,
                data=None,
                numerics=self._numerics(0, versions(name, backbone=backbone)),
                seed=seed,
            )
            for seed in seeds
        ]

    @cached_property
    def _device(self) -> Literal["cpu", "cuda"]:
        """Return the device of networks."""
        from bench.training.precision import resolve_device

        asked = {"device": self.request.device}
        return resolve_device(str(self.overrides.merge(asked, "numerics")["device"]))

    def _numerics(self, samples: int, plugins: dict[str, str]) -> Numerics:
        """Resolve what the machine contributes; with no samples to train on nothing is compiled."""
        from bench.models.ops.backend import resolve_backend
        from bench.training.precision import resolve_numerics

        asked: dict[str, Any] = {
            "device": self.request.device,
            "precision": self.request.precision,
            "op_backend": "auto",
            "compile": {"on": True, "off": False}.get(self.request.compile, "auto"),
            "threads": self.request.threads,
        }
        values = self.overrides.merge(asked, "numerics")
        for name in values:
            if name not in asked:
                raise unknown_name("field of numerics", name, asked)
        return resolve_numerics(
            device=self._device,
            precision=str(values["precision"]),
            compile=values["compile"] if samples else False,
            op_backend=resolve_backend(self._device, str(values["op_backend"])),
            samples=samples,
            plugins=plugins,
            threads=values["threads"],
        )

    def _note(self, line: str) -> None:
        if line not in self.result.notes:
            self.result.notes.append(line)


def _expand(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    named = [n for name in names for n in (known if name == "all" else (name,))]
    return tuple(dict.fromkeys(named))
