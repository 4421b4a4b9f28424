"""Whether a protocol applies to an encoder on a data set, in which settings, and who is judged beside it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.base import DatasetCard
from bench.plan.alignment import Aligning, Reach
from bench.protocols.base import Facts
from bench.registry import METHODS, PROTOCOLS
from bench.spec import PretrainSpec, ProtocolSpec, TeacherSpec


@dataclass(frozen=True)
class Applies:
    """Parts of a protocol that apply to an encoder.

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


def applies(
    encoder: PretrainSpec,
    protocol: ProtocolSpec,
    settings: tuple[str, ...],
    card: DatasetCard,
    aligning: Aligning,
    *,
    parts: bool,
) -> Applies:
    """Ask a protocol what of it applies.

    Args:
        encoder: What would be judged.
        protocol: The protocol as it would be carried out.
        settings: Settings asked for.
        card: Card of the data set.
        aligning: Knows where heads lead.
        parts: Whether the data set labels parts.
    """
    loaded = PROTOCOLS.load(protocol.name)
    options = loaded.parse(protocol.options)
    if not METHODS.load(encoder.method).has_encoder and not loaded.judges_teachers:
        return Applies(encoder, (), ("it has no encoder, only a teacher",))
    reach = Reach(encoder, unaligned="not asked")
    if encoder.imported is None or loaded.judges_teachers:  # imported weights have to be given a teacher first
        reach = aligning.reach(encoder)
    facts = Facts(
        encoder.method,
        aligned=not reach.unaligned,
        parts=parts,
        rooms=card.has_rooms,
        objects=not card.has_rooms,
        captions=card.has_captions,
        pictures=reach.pictures,
        unaligned=reach.unaligned,
    )
    reason = loaded.skip(facts, options)
    if reason is not None:
        return Applies(encoder, (), (reason,))
    found = {setting: loaded.skip_setting(facts, options, setting) for setting in settings}
    teacher = reach.encoder.text_teacher or reach.encoder.teacher
    return Applies(
        encoder=reach.encoder if loaded.judges_teachers else encoder,
        settings=tuple(setting for setting, why in found.items() if why is None),
        reasons=tuple(f"{setting}: {why}" for setting, why in found.items() if why is not None),
        opponent=(loaded.opponent, teacher) if loaded.opponent and reach.pictures and teacher is not None else None,
    )
