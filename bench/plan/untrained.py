"""Choose the untrained network that a method is compared with.

Methods that train the same network share it.
"""

from __future__ import annotations

from bench.registry import METHODS
from bench.spec import Options, PretrainSpec


def network_of(method: str, options: Options, form: str) -> tuple[str, Options]:
    """Return the method, and its options, whose untrained network `method` is compared with.

    In the published form that is always the method itself: its authors' head and recipe are its own.

    Args:
        method: Name of a method that has an encoder.
        options: Its options.
        form: ``fair`` or ``published``.
    """
    if form == "published":
        return method, options
    kind = METHODS.load(method)
    return kind.architecture(kind.parse(options))


def architecture_name(encoder: PretrainSpec, form: str) -> str:
    """Return the method whose network an encoder, trained or not, has."""
    if encoder.method == "scratch":
        return str(encoder.options["architecture"])
    if not METHODS.load(encoder.method).has_encoder:
        return encoder.method
    return network_of(encoder.method, encoder.options, form)[0]
