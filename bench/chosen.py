"""Methods and protocols with validated options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from bench.registry import METHODS, PROTOCOLS
from bench.spec import Options

if TYPE_CHECKING:
    from bench.methods.base import AnyMethod
    from bench.protocols.base import AnyProtocol


@dataclass(frozen=True)
class ChosenMethod:
    """A method and its options.

    Attributes:
        name: Registered name.
        method: Its class.
        options: Its options, of the class's own type.
    """

    name: str
    method: type[AnyMethod]
    options: BaseModel

    @property
    def stored(self) -> Options:
        """Options as a specification holds them."""
        values: Options = self.options.model_dump(mode="json")
        return values


@dataclass(frozen=True)
class ChosenProtocol:
    """A protocol and its options.

    Attributes:
        name: Registered name.
        protocol: Its class.
        options: Its options, of the class's own type.
    """

    name: str
    protocol: type[AnyProtocol]
    options: BaseModel


def chosen_method(name: str, stored: Options) -> ChosenMethod:
    """Look up a method and validate its stored options.

    Raises:
        UsageError: The method is not known here.
        pydantic.ValidationError: An option is not one of this version.
    """
    method = METHODS.load(name)
    return ChosenMethod(name, method, method.parse(stored))


def chosen_protocol(name: str, stored: Options) -> ChosenProtocol:
    """Look up a protocol and validate its stored options.

    Raises:
        UsageError: The protocol is not known here.
        pydantic.ValidationError: An option is not one of this version.
    """
    protocol = PROTOCOLS.load(name)
    return ChosenProtocol(name, protocol, protocol.parse(stored))
