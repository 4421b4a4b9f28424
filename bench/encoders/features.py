"""Features that another framework wrote: a file in place of a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from bench.data.digest import Stamp, file_digest, stamp_of
from bench.encoders.base import Feature, FrozenEncoder, MethodCard, Space
from bench.encoders.feature_file import FeatureFile, read_feature_file
from bench.errors import DataError, UsageError
from bench.methods.base import MethodOptions


class FeaturesOptions(MethodOptions):
    """Options of a file of features."""

    text: str | None = None
    """Feature that lies in the text space of ``--teacher``, for zero-shot protocols; None for none."""


class Features(FrozenEncoder[FeaturesOptions]):
    """A file with one row of features per object, and no network."""

    name = "features"
    card = MethodCard(
        paper="none: features that another framework computed",
        modalities=("points",),
        sees_class_names="not known: the file does not say what its network was trained on",
        release_splits="not known",
        stages=(),
    )
    file: ClassVar = "needed"
    has_network: ClassVar[bool] = False

    Options = FeaturesOptions

    @classmethod
    def features(cls, options: FeaturesOptions, file: Path | None) -> Mapping[str, Feature]:
        """Return the features of the file."""
        return {} if file is None else read(file).declared

    @classmethod
    def spaces(cls, options: FeaturesOptions) -> Mapping[Space, str]:
        """Return the feature that is said to lie in a text space."""
        return {} if options.text is None else {"text": options.text}

    @classmethod
    def identity(cls, options: FeaturesOptions, file: Path | None, cache: Path) -> str:
        """Return the file's SHA-256."""
        if file is None:
            raise UsageError("encoder 'features' needs its file: features:FILE.npz")
        return file_digest(file, cache)

    @classmethod
    def network(cls, options: FeaturesOptions, file: Path | None) -> nn.Module:
        """Refuse: there is no network.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"features:{file} holds features and no network, so nothing can be encoded anew")

    @classmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: FeaturesOptions) -> Mapping[str, Tensor]:
        """Refuse: see `network`."""
        raise UsageError("a file of features encodes nothing")


def read(file: Path) -> FeatureFile:
    """Return the content of a file of features; each state of it is read once.

    Raises:
        DataError: See `read_feature_file`.
    """
    try:
        return _read(file, stamp_of(file.stat()))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


@lru_cache(maxsize=4)
def _read(file: Path, stamp: Stamp) -> FeatureFile:
    return read_feature_file(file)
