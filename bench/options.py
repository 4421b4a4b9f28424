"""Units with typed options, validated once on input."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Configured(Generic[OptionsT]):
    """Unit whose hooks get its options as `OptionsT`."""

    Options: ClassVar[type[BaseModel]]
    """The same model, to be made and described; a subclass names it beside its base: ``Unit[MyOptions]``."""

    @classmethod
    def parse(cls, values: object) -> OptionsT:
        """Validate options given by a user or stored.

        Nothing behind this validates again.

        Raises:
            pydantic.ValidationError: A field is unknown or has a wrong value.
        """
        return cast(OptionsT, cls.Options.model_validate(values))
