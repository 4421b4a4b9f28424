"""Frozen encoders that a request brings, ``NAME[:FILE]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chosen import ChosenMethod
from bench.errors import BenchError, DataError, UsageError
from bench.plan.backbones import taken_by
from bench.plan.inputs import Inputs
from bench.plugins import line_in_plugin
from bench.registry import ENCODERS
from bench.spec import BackboneSpec, PretrainSpec

if TYPE_CHECKING:
    from bench.encoders.base import AnyEncoder


@dataclass(frozen=True)
class Brought:
    """A frozen encoder that the user brings.

    Attributes:
        chosen: Its name, class and options.
        file: File behind its name; in no key.
        identity: SHA-256 of everything that determines its features.
    """

    chosen: ChosenMethod
    file: Path | None
    identity: str

    @property
    def kind(self) -> type[AnyEncoder]:
        """Its class."""
        return ENCODERS.load(self.chosen.name)

    @property
    def label(self) -> str:
        """Name of its file, for tables; empty without one."""
        return self.file.stem if self.file is not None else ""

    @property
    def shown(self) -> str:
        """Name in messages."""
        return self.chosen.name if self.file is None else f"{self.chosen.name}:{self.file.name}"

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of every feature that lies in a teacher's space, by space."""
        declared = self.kind.features(self.chosen.options, self.file)
        spaces = self.kind.spaces(self.chosen.options)
        for space, name in spaces.items():
            if name not in declared:
                raise UsageError(
                    f"{self.shown}: feature '{name}' is said to lie in a teacher's {space} space, and there is no such "
                    f"feature, only {', '.join(declared)}"
                )
        return {space: declared[name].width for space, name in spaces.items()}


def is_brought(reference: str) -> bool:
    """Whether a name of ``--encoder`` is that of a registered encoder.

    Others are those of stored encoders.

    Raises:
        UsageError: It has a file behind it, and no encoder of that name is registered.
    """
    name, colon, _ = reference.partition(":")
    if name.endswith(".py"):
        raise UsageError(
            f"--encoder {reference}: register the file with --plugin {name} and give the encoder's own name, "
            "--encoder NAME[:FILE]"
        )
    if colon:
        ENCODERS.own(name)
    return name in ENCODERS


def find_brought(inputs: Inputs, reference: str) -> Brought:
    """Build an encoder that a request names, and tell its identity.

    Raises:
        UsageError: Its file is missing or superfluous, an option is wrong, or its code fails.
        DataError: Its file is damaged.
    """
    name, _, path = reference.partition(":")
    chosen, kind = inputs.method(name), ENCODERS.load(name)
    file = Path(path).expanduser().absolute() if path else None
    if file is None and kind.file == "needed":
        raise UsageError(f"encoder '{name}' needs its file: --encoder {name}:FILE")
    if file is not None and kind.file == "none":
        raise UsageError(f"encoder '{name}' takes no file; write just --encoder {name}")
    if file is not None and not file.is_file():
        raise DataError(f"{file}: {'is no file' if file.exists() else 'no such file'}, expected that of encoder {name}")
    try:
        found = Brought(chosen, file, kind.identity(chosen.options, file, inputs.workspace.cache))
        from bench.encoders.base import named_features

        named_features(kind.features(chosen.options, file), found.shown)
        return found
    except BenchError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise UsageError(
            f"encoder '{name}' cannot be built: {type(error).__name__}: {text}{line_in_plugin(error)}"
        ) from error


def backbone_beside(inputs: Inputs, chosen: ChosenMethod, backbone: BackboneSpec | None) -> BackboneSpec:
    """Return the backbone that stands in an encoder's specification.

    The encoder has nothing of it but the number of points; tables compare what has the same one.

    Args:
        inputs: The request.
        chosen: The encoder.
        backbone: Backbone of the request's methods; None if it has none, so that only ``backbone.points`` can be set.
    """
    if backbone is None:
        fields = inputs.preset.backbone.model_dump()
        values = inputs.overrides.merge({"points": fields["points"]}, "backbone", known=frozenset({"points"}))
        backbone = BackboneSpec.model_validate({**fields, **values})
    return taken_by(chosen, backbone)[0]


def no_scratch(found: Brought) -> str:
    """Return why there is no untrained network to compare with; empty if there is one."""
    if not found.kind.has_network:
        return "a file of features holds no network that could be left untrained"
    import torch

    with torch.random.fork_rng(devices=[]):
        fresh = found.kind.fresh(found.chosen.options)
    return "" if fresh is not None else "its class builds no untrained network (fresh())"


def frozen_kind(spec: PretrainSpec) -> type[AnyEncoder] | None:
    """Return the class behind a brought encoder, or behind its `scratch`."""
    name = str(spec.options["architecture"]) if spec.method == "scratch" else spec.method
    return ENCODERS.load(name) if name in ENCODERS else None
