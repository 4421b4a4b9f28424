"""Decide before running whether a protocol applies to an encoder.

It also decides which settings apply, and which teacher is judged beside the encoder.

It depends on where an encoder's heads lead: into a space that images and texts share, and which teacher owns that
space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from bench.paths import Workspace
from bench.plan.brought import frozen_kind
from bench.plan.encoder_specs import AskedEncoder, AskedEncoders
from bench.plan.encoders import encoder_key
from bench.plan.inputs import Inputs
from bench.plan.located import DataPair, open_dataset
from bench.plan.protocol_specs import AskedProtocol
from bench.plan.teachers import joint_teacher, open_teacher
from bench.protocols.base import Facts
from bench.registry import DATASETS
from bench.spec import PretrainSpec, Rotation, TeacherSpec
from bench.training.aligned import stored_widths


@dataclass(frozen=True)
class Applies:
    """Settings and baseline of a protocol for one encoder.

    Attributes:
        encoder: Its specification as the runs have it.
        settings: Settings to run.
        reasons: Why the others, or all, do not apply.
        opponent: Method that is its teacher alone and is judged beside it, and the teacher; None for none.
    """

    encoder: PretrainSpec
    settings: tuple[str, ...]
    reasons: tuple[str, ...]
    opponent: tuple[str, TeacherSpec] | None = None


@dataclass(frozen=True)
class Reach:
    """Image and text spaces that an encoder's heads project into.

    Attributes:
        encoder: Its specification, with a teacher where imported weights were given one.
        pictures: Whether the space shared with texts holds pictures too.
        unaligned: Why there is no such space; empty where there is.
    """

    encoder: PretrainSpec
    pictures: bool = False
    unaligned: str = ""


def applies(
    encoder: AskedEncoder,
    protocol: AskedProtocol,
    pair: DataPair,
    inputs: Inputs,
    asked: AskedEncoders,
    rotation: Rotation = "none",
) -> Applies:
    """Ask a protocol which of its settings apply.

    Args:
        encoder: Encoder to judge.
        protocol: The protocol as it would be carried out.
        pair: Data trained and tested on.
        inputs: The request, which names the teacher of imported encoders.
        asked: All encoders that were asked for.
        rotation: How training and test clouds are turned.
    """
    spec, loaded, options, place = encoder.spec, protocol.chosen.protocol, protocol.chosen.options, pair.test
    if (why := _not_frozen_alone(spec, protocol, pair, inputs, rotation)) is not None:
        return Applies(spec, (), (why,))
    if not encoder.chosen.method.has_encoder and not loaded.judges_teachers:
        return Applies(spec, (), ("it has no encoder, only a teacher",))
    reach = Reach(spec, unaligned="not asked")
    if spec.imported is None or loaded.judges_teachers:  # imported weights need a teacher from the request
        reach = reach_of(encoder, inputs, asked)
    card = DATASETS.load(place.spec.name).card
    facts = Facts(
        spec.method,
        aligned=not reach.unaligned,
        parts=place.parts,
        rooms=card.has_rooms,
        objects=not card.has_rooms,
        captions=card.has_captions,
        pictures=reach.pictures,
        unaligned=reach.unaligned,
    )
    reason = loaded.skip(facts, options)
    if reason is not None:
        return Applies(spec, (), (reason,))
    found = {setting: loaded.skip_setting(facts, options, setting) for setting in protocol.settings}
    teacher = reach.encoder.text_teacher or reach.encoder.teacher
    return Applies(
        encoder=reach.encoder if loaded.judges_teachers else spec,
        settings=tuple(setting for setting, why in found.items() if why is None),
        reasons=tuple(f"{setting}: {why}" for setting, why in found.items() if why is not None),
        opponent=(loaded.opponent, teacher) if loaded.opponent and reach.pictures and teacher is not None else None,
    )


def _not_frozen_alone(
    spec: PretrainSpec, protocol: AskedProtocol, pair: DataPair, inputs: Inputs, rotation: Rotation
) -> str | None:
    """Return why a protocol cannot judge a frozen encoder.

    Asked of encoders that a user brought and of their `scratch`; None for every other.
    """
    kind, name = frozen_kind(spec), protocol.spec.name
    if kind is None:
        return None
    if protocol.chosen.protocol.trains_encoder(protocol.chosen.options):
        otherwise = _frozen_otherwise(protocol)
        return f"{kind.name} is judged by its frozen features of whole clouds, and {name} goes beyond these{otherwise}"
    if pair.train is not None and not kind.has_network:
        return f"{kind.name} holds the objects of one data set, and these are two"
    corrupted = inputs.request.corruptions
    if not kind.has_network and (corrupted or rotation != "none"):
        return f"{kind.name} holds features of the clouds as they are, not of turned or corrupted ones"
    if "normals" in kind.inputs and corrupted:
        return f"{kind.name} asks for normals, and corrupted clouds have none"
    for located in filter(None, (pair.train, pair.test)):
        # Other sets are made on demand; if one of them has no normals, the run says so.
        read = DATASETS.load(located.spec.name).needs_root and not DATASETS.load(located.spec.name).card.has_rooms
        if "normals" in kind.inputs and read and open_dataset(located, inputs.workspace).load("test").normals is None:
            return f"{kind.name} asks for normals, and {located.label} has none"
    return None


def _frozen_otherwise(protocol: AskedProtocol) -> str:
    """Return how the protocol would leave the encoder as it is; empty if it cannot."""
    loaded, options = protocol.chosen.protocol, protocol.chosen.options
    if protocol.spec.form == "published" and "fair" in loaded.forms:
        return " in its published form"
    head = loaded.Options.model_fields.get("head")
    for value in get_args(head.annotation) if head is not None else ():
        if not loaded.trains_encoder(options.model_copy(update={"head": value})):
            return f"; --set {protocol.spec.name}.head={value} does not"
    return ""


def reach_of(encoder: AskedEncoder, inputs: Inputs, asked: AskedEncoders) -> Reach:
    """Return the spaces that an encoder's heads project into.

    A head into the space of a teacher's pictures leads to texts only where the same teacher knows both.
    """
    spec, workspace = encoder.spec, inputs.workspace
    if not encoder.chosen.method.has_encoder:
        return Reach(spec, pictures=True)
    if spec.imported is not None:
        return _reach_of_imported(spec, inputs, asked)
    if spec.recipe is None:
        return Reach(spec, unaligned="nothing was trained")
    method, options = encoder.chosen.method, encoder.chosen.options
    if "towers" in method.uses(options):
        return Reach(spec, unaligned="it trained its teachers, which are not kept (teachers=frozen keeps its spaces)")
    spaces = method.aligned(options)
    if not spaces:
        return Reach(spec, unaligned="it has no head into the space of a teacher")
    joint = spec.text_teacher is None and _is_joint(spec.teacher, workspace)
    if ("text" in spaces and spec.captions != "none") or ("image" in spaces and joint):
        return Reach(spec, pictures=joint)
    why = "its pretraining saw no captions"
    if "image" in spaces and spec.teacher is not None:
        why += f", and its image teacher '{spec.teacher.name}' shares no space with texts"
    return Reach(spec, unaligned=why)


def _reach_of_imported(spec: PretrainSpec, inputs: Inputs, asked: AskedEncoders) -> Reach:
    """Return the spaces of imported weights.

    They name no teacher: the request's is taken if its space has the width of the heads.
    """
    widths: Mapping[str, int] = {}
    if (brought := asked.brought.get(str(spec.imported))) is not None:
        widths, lacking = brought.widths, "none of its features lies in the space of a teacher (spaces())"
    else:
        key, lacking = encoder_key(spec), "no projection heads were imported with it"
        folder = next((found.folder for found in asked.stored if found.key == key), None)
        widths = stored_widths(folder) if folder is not None else {}
    if not widths:
        return Reach(spec, unaligned=lacking)
    named = joint_teacher(inputs, images=False)
    teacher, joint = open_teacher(named, inputs.workspace), _is_joint(named, inputs.workspace)
    fitting = {space for space, width in widths.items() if width == teacher.text_dim and (space == "text" or joint)}
    if not fitting:
        reached = " and ".join(f"{width}" for width in dict.fromkeys(widths.values()))
        why = f"its heads reach spaces of {reached} numbers and teacher '{named.name}' has {teacher.text_dim}: name "
        return Reach(spec, unaligned=f"{why}the one it was trained with, --teacher NAME")
    return Reach(spec.model_copy(update={"teacher": named}), pictures=joint)


def _is_joint(spec: TeacherSpec | None, workspace: Workspace) -> bool:
    """Whether a teacher embeds images and texts in one space."""
    if spec is None:
        return False
    teacher = open_teacher(spec, workspace)
    return 0 < teacher.image_dim == teacher.text_dim
