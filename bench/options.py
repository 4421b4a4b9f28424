"""Units whose options are typed: validated once at the border and passed on as their model."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Configured(Generic[OptionsT]):
    """A unit with options, whose hooks get them as the model `OptionsT`."""

    Options: ClassVar[type[BaseModel]]
    """The same model, to be made and described; a subclass names it beside its base: ``Unit[MyOptions]``."""

    @classmethod
    def parse(cls, values: object) -> OptionsT:
        """Validate what a user gave or a specification stored; nothing behind this validates again.

        Raises:
            pydantic.ValidationError: A field is unknown or has a wrong value.
        """
        return cast(OptionsT, cls.Options.model_validate(values))
