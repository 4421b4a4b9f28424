"""Interface of a frozen encoder that a user brings."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from bench.errors import UsageError
from bench.fingerprint import PACKAGE, fingerprint
from bench.methods.base import Given, Method, MethodOptions, PretrainModel
from bench.methods.base import MethodCard as MethodCard
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.frozen import network_digest, tensor_digests
from bench.options import OptionsT
from bench.spec import MOST_POINTS, BackboneSpec

Input = Literal["points", "normals"]
"""What an encoder may ask for, each float32 ``[B, N, 3]``."""
Space = Literal["image", "text"]


@dataclass(frozen=True)
class Feature:
    """A named feature of a whole cloud.

    Attributes:
        width: Numbers per cloud.
        words: What it is, e.g. ``maximum over all points``.
    """

    width: int
    words: str


class EncoderOptions(MethodOptions):
    """Base of every encoder's options: immutable, refuses unknown fields."""

    points: int | None = Field(None, ge=1, le=MOST_POINTS)
    """Points of a cloud that the encoder is given; None for those of the preset."""


class FrozenEncoder(Method[OptionsT], ABC):
    """A frozen encoder, implemented in one file around any torch network.

    Third-party encoders subclass this. To everything behind it, it is a method that pretrains nothing: an encoder with
    weights of its own, which protocols on frozen features judge. It is used as a class, never instantiated.
    """

    inputs: ClassVar[tuple[Input, ...]] = ("points",)
    """What `encode` is given."""
    file: ClassVar[Literal["none", "optional", "needed"]] = "optional"
    """Whether the encoder is named with a file behind it, ``NAME:FILE``: its weights, as a rule."""
    class_names_seen: ClassVar[tuple[str, ...] | None] = None
    """Class names or captions that its training read; empty for none, None where that is not known."""
    has_network: ClassVar[bool] = True
    """False where features are read and nothing is run."""

    Options: ClassVar[type[BaseModel]] = EncoderOptions

    @classmethod
    @abstractmethod
    def features(cls, options: OptionsT, file: Path | None) -> Mapping[str, Feature]:
        """Return the features that `encode` gives, by name.

        One alone may have any name. Of several, ``transfer`` is what protocols judge; ``svm``, what the SVM protocol
        judges, is the same unless it is there, too.

        Args:
            options: The encoder's options.
            file: As in `network`; None for the untrained network.
        """

    @classmethod
    @abstractmethod
    def network(cls, options: OptionsT, file: Path | None) -> nn.Module:
        """Build the network with its trained weights, on the CPU.

        Args:
            options: The encoder's options.
            file: The file behind the encoder's name; None without one.
        """

    @classmethod
    def fresh(cls, options: OptionsT) -> nn.Module | None:
        """Build the same network with fresh weights, for `scratch`.

        Random weights come from torch's global generator. None where that cannot be done: then there is no `scratch`
        to compare with.
        """
        return None

    @classmethod
    @abstractmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: OptionsT) -> Mapping[str, Tensor]:
        """Return every feature of a batch of clouds, ``[B, width]`` each.

        Nothing may be drawn or changed: the network is in evaluation mode, and two passes must agree in every bit.

        Args:
            network: As built.
            given: What `inputs` asks for, by name; points as the protocol prepares them (farthest points, mostly in the
                unit sphere), unit normals of the same points.
            options: The encoder's options.
        """

    @classmethod
    def spaces(cls, options: OptionsT) -> Mapping[Space, str]:
        """Return the features that lie in a teacher's space.

        By space (``text``, ``image``): the name of a feature. Zero-shot protocols then compare it with features of the
        teacher that ``--teacher`` names.
        """
        return {}

    @classmethod
    def describe(cls, options: OptionsT, file: Path | None) -> str:
        """Describe in plain sentences what is encoded, for cards and records."""
        told = "; ".join(f"{name} ({one.width}): {one.words}" for name, one in cls.features(options, file).items())
        return f"Frozen; reads {' and '.join(cls.inputs)}. Features: {told}."

    @classmethod
    def identity(cls, options: OptionsT, file: Path | None, cache: Path) -> str:
        """Return the SHA-256 of everything that determines the features.

        Weights, buffers and the source of the user's own modules.

        Args:
            options: The encoder's options.
            file: As in `network`.
            cache: Folder of cached digests.
        """
        weights = network_digest(tensor_digests(cls._built(options, file)))
        own = {name: digest for name, digest in _modules(cls).items() if name.partition(".")[0] != PACKAGE}
        return hashlib.sha256(json.dumps([cls.name, weights, own], sort_keys=True).encode()).hexdigest()

    @classmethod
    def wrapped(cls, options: OptionsT, file: Path | None) -> Encoder:
        """Return the encoder that protocols judge."""
        return _Wrapped(cls, options, file, cls._built(options, file))

    @classmethod
    def _built(cls, options: OptionsT, file: Path | None) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # fresh weights before loading stored ones disturb nobody
            return _network(cls.network(options, file), f"{cls.name}: network()")

    @classmethod
    def build(cls, backbone: BackboneSpec, options: OptionsT, given: Given) -> PretrainModel:
        """Refuse: nothing is pretrained.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"encoder '{cls.name}' is frozen and has no pretraining; judge it with --encoder {cls.name}")

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: OptionsT) -> Encoder:
        """Build the untrained encoder, for `scratch`.

        Raises:
            UsageError: There is none.
        """
        found = cls.fresh(options)
        if found is None:
            raise UsageError(f"encoder '{cls.name}' has no untrained network: its class has no fresh()")
        return _Wrapped(cls, options, None, _network(found, f"{cls.name}: fresh()"))

    @classmethod
    def aligned(cls, options: OptionsT) -> frozenset[str]:
        """See `Method.aligned`."""
        return frozenset(cls.spaces(options))

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: OptionsT) -> frozenset[str]:
        """Return nothing: the shared backbone has no part in it."""
        return frozenset()


AnyEncoder = FrozenEncoder[BaseModel]
"""An encoder whose class is known only at run time."""


def named_features(declared: Mapping[str, Feature], where: str) -> dict[str, str]:
    """Return the declared feature behind every name that protocols use.

    Args:
        declared: Features by name.
        where: What declares them, for messages.

    Raises:
        UsageError: There are none, or several and none of them is called ``transfer``.
    """
    if not declared:
        raise UsageError(f"{where} has no feature; give it at least one")
    names = {name: name for name in declared}
    if "transfer" not in names:
        if len(names) > 1:
            raise UsageError(
                f"{where} has the features {', '.join(names)}: call the one that protocols are to judge 'transfer'"
            )
        names["transfer"] = next(iter(names))
    names.setdefault("svm", names["transfer"])
    return names


def described_features(declared: Mapping[str, Feature], where: str) -> tuple[dict[str, int], dict[str, str]]:
    """Return width and description by every name that protocols use."""
    names = named_features(declared, where)
    return (
        {name: declared[own].width for name, own in names.items()},
        {name: f"{declared[own].words} ({declared[own].width})" for name, own in names.items()},
    )


class _Wrapped(Encoder):
    """A user's network as an encoder.

    It sees ``[B, N, 3k]``, one triple for each of its k inputs.
    """

    def __init__(self, kind: type[FrozenEncoder[Any]], options: BaseModel, file: Path | None, network: nn.Module):
        super().__init__()
        self.network = network
        self._kind, self._options = kind, options
        self._declared = kind.features(options, file)
        self._names = named_features(self._declared, f"encoder '{kind.name}'")
        self.feature_dims, self.feature_descriptions = described_features(self._declared, f"encoder '{kind.name}'")

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds; there are no patch tokens."""
        triples = (points[..., 3 * at : 3 * at + 3] for at in range(len(self._kind.inputs)))
        given: dict[str, Tensor] = dict(zip(self._kind.inputs, triples, strict=True))
        found = self._kind.encode(self.network, given, self._options)
        self._check(found, len(points))
        none = points.new_zeros(len(points), 0, 3)
        return EncoderOutput(none, none, {name: found[name].float() for name in self._declared})

    def features(self, output: EncoderOutput) -> Mapping[str, Tensor]:
        """Return every feature, also under the names that protocols use."""
        return {name: output.globals[own] for name, own in self._names.items()}

    def _check(self, found: object, count: int) -> None:
        who = f"encoder '{self._kind.name}': encode()"
        if not isinstance(found, Mapping) or any(not isinstance(value, Tensor) for value in found.values()):
            raise UsageError(f"{who} returns a {type(found).__name__}, expected a dict of tensors by feature")
        if odd := sorted(map(str, found.keys() ^ self._declared.keys())):
            raise UsageError(f"{who} and features() do not name the same features: {', '.join(odd)}")
        for name, feature in self._declared.items():
            shape, expected = list(found[name].shape), [count, feature.width]
            if shape != expected or not found[name].is_floating_point():
                raise UsageError(
                    f"{who} returns '{name}' as {found[name].dtype} {shape}, expected floats {expected} for "
                    f"{count} clouds"
                )


def _network(found: object, who: str) -> nn.Module:
    if not isinstance(found, nn.Module):
        raise UsageError(f"{who} returns a {type(found).__name__}, expected a torch.nn.Module")
    return found


def _modules(kind: type[object]) -> dict[str, str]:
    try:
        return fingerprint([kind.__module__]).modules
    except (ModuleNotFoundError, OSError, SyntaxError):  # a class of a notebook has no file
        return {}
