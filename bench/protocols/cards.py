"""Protocol cards: versioned statements of what a protocol does.

A card also says where the protocol leaves the papers.

A run carries the card's hash, so that two numbers can be told to have come about alike. Importing this is cheap, and
nothing that makes a number imports it: wording may improve without a stored result going stale.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from bench.options import OptionsT
from bench.protocols.base import Form, Protocol
from bench.protocols.card_texts import DEVIATIONS
from bench.protocols.description import Description
from bench.spec import content_key

NOT_STATED = "not stated by the protocol"


class ProtocolCard(BaseModel):
    """Card of a protocol, readable by people and by programs.

    Attributes:
        name: Protocol.
        revision: Raised by its author whenever what is done changes.
        form: ``fair`` or ``published``.
        metric: Its headline metric.
        statement: Description in sentences.
        description: The same, point by point.
        deviations: By paper, what it does otherwise.
        options: Options, resolved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    revision: int
    form: Form
    metric: str
    statement: str
    description: Description
    deviations: dict[str, str]
    options: dict[str, JsonValue]

    @property
    def points(self) -> dict[str, str]:
        """Words of each point of the description."""
        found = {name: getattr(self.description, name) for name in Description.model_fields}
        return {name: NOT_STATED if point is None else point.words for name, point in found.items()}

    @property
    def hash(self) -> str:
        """SHA-256 of the description's values; rewording does not change it."""
        values = self.description.model_dump(
            mode="json", exclude={name: {"words"} for name in Description.model_fields}
        )
        return content_key(
            {
                "name": self.name,
                "revision": self.revision,
                "form": self.form,
                "metric": self.metric,
                "options": self.options,
                "description": values,
            }
        )


def card_of(protocol: type[Protocol[OptionsT]], options: OptionsT, form: Form) -> ProtocolCard:
    """Build the card of a protocol under its options.

    Args:
        protocol: The protocol.
        options: Its options.
        form: The form it is carried out in.
    """
    built_in = DEVIATIONS.get(protocol.name, {}).get(form, {}) if protocol.__module__.startswith("bench.") else {}
    return ProtocolCard(
        name=protocol.name,
        revision=protocol.revision,
        form=form,
        metric=protocol.metric,
        statement=protocol.card(options),
        description=protocol.describe(options),
        deviations=dict(protocol.deviations or built_in),
        options=options.model_dump(mode="json"),
    )


def card_hash(protocol: type[Protocol[OptionsT]], options: OptionsT, form: Form) -> str:
    """Return the hash of a card, for a run's provenance."""
    return card_of(protocol, options, form).hash
