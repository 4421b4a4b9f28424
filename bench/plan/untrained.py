"""Choose the untrained network that a method is compared with.

Methods that train the same network share it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from bench.chosen import ChosenMethod, chosen_method
from bench.registry import METHODS
from bench.seeds import seed_torch
from bench.spec import BackboneSpec, Options, PretrainSpec

if TYPE_CHECKING:
    from torch import nn

_SAME_KINDS = (bool, int, float, str, bytes, type(None), type)


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


def untrained_network(chosen: ChosenMethod, form: str, preset: str, backbone: BackboneSpec) -> tuple[str, Options]:
    """Return `network_of` with idle options as the preset has them.

    Idle is an option that leaves the untrained network as it is (a loss, a mask ratio): methods that differ in such
    options only are compared with the same `scratch`. It is found by building both networks.

    Args:
        chosen: A method that has an encoder.
        form: ``fair`` or ``published``.
        preset: Preset that the defaults are of.
        backbone: Size of the network.
    """
    name, kept = network_of(chosen, form)
    default_name, default = network_of(ChosenMethod(chosen.name, chosen.method, chosen.method.defaults(preset)), form)
    if name != default_name:
        return name, kept
    size = backbone.model_dump_json()
    later = {option for option in kept if option not in default}  # left out at their defaults, several perhaps together
    for changed in [later, *({option} for option in kept)]:
        told = {one: value for one, value in kept.items() if one in default or one not in changed}
        tried = {one: default[one] if one in changed else value for one, value in told.items()}
        if tried == kept:
            continue
        try:  # an option may settle another one, as recon.global_queries=false does stop_gradient
            full = chosen_method(name, tried).stored
        except ValidationError:
            continue
        tried = {one: full[one] for one in kept if one in full}
        if tried != kept and _same_network(name, _text(tried), _text(kept), size):
            kept = tried
    return name, kept


def _text(options: Options) -> str:
    return json.dumps(options, sort_keys=True)


@lru_cache(maxsize=256)
def _same_network(name: str, first: str, second: str, size: str) -> bool:
    """Whether two sets of options build the same network of a size.

    The layers, what is set in them, and their initial weights from one seed agree. Where that cannot be told, networks
    count as different.
    """
    import torch

    built, backbone = [], BackboneSpec.model_validate_json(size)
    with torch.random.fork_rng(devices=[]):
        for options in (first, second):
            seed_torch(0)
            chosen = chosen_method(name, json.loads(options))
            built.append(chosen.method.build_encoder(backbone, chosen.options))
    parts = [list(network.named_modules()) for network in built]
    if [layer for layer, _ in parts[0]] != [layer for layer, _ in parts[1]]:
        return False
    if not all(_same_layer(one, other) for (_, one), (_, other) in zip(*parts, strict=True)):
        return False
    tensors = [dict([*network.named_parameters(), *network.named_buffers()]) for network in built]
    return tensors[0].keys() == tensors[1].keys() and all(
        value.shape == tensors[1][key].shape
        and value.requires_grad == tensors[1][key].requires_grad
        and bool(torch.equal(value, tensors[1][key]))
        for key, value in tensors[0].items()
    )


def _same_layer(first: nn.Module, second: nn.Module) -> bool:
    own = [{key: value for key, value in vars(layer).items() if key != "_modules"} for layer in (first, second)]
    if type(first) is not type(second) or own[0].keys() != own[1].keys():
        return False
    return all(_same(own[0][key], own[1][key]) for key in own[0] if key not in ("_parameters", "_buffers"))


def _same(first: Any, second: Any) -> bool:
    """Whether two attributes of layers are surely equal."""
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    plain = isinstance(first, (*_SAME_KINDS, set, frozenset, BaseModel)) or hasattr(first, "__dataclass_fields__")
    return plain and bool(first == second)


def architecture_name(encoder: PretrainSpec, form: str) -> str:
    """Return the method whose network an encoder has."""
    if encoder.method == "scratch":
        return str(encoder.options["architecture"])
    if form == "published" or not METHODS.load(encoder.method).has_encoder:
        return encoder.method
    return network_of(chosen_method(encoder.method, encoder.options), form)[0]
