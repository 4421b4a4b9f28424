"""Choose the untrained network that a method is compared with.

Methods that train the same network share it.
"""

from __future__ import annotations

from bench.chosen import ChosenMethod, chosen_method
from bench.registry import METHODS
from bench.spec import Options, PretrainSpec


def network_of(chosen: ChosenMethod, form: str) -> tuple[str, Options]:
    """Return method and options of the untrained comparison network.

    In the published form that is always the method itself: its authors' head and recipe are its own.

    Args:
        chosen: A method that has an encoder.
        form: ``fair`` or ``published``.
    """
    if form == "published":
        return chosen.name, chosen.stored
    return chosen.method.architecture(chosen.options)


def architecture_name(encoder: PretrainSpec, form: str) -> str:
    """Return the method whose network an encoder has."""
    if encoder.method == "scratch":
        return str(encoder.options["architecture"])
    if form == "published" or not METHODS.load(encoder.method).has_encoder:
        return encoder.method
    return network_of(chosen_method(encoder.method, encoder.options), form)[0]
