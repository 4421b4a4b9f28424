"""Stored weights of a pretraining: encoder, decoder and heads.

Decoder and heads are stored so that a network can be analysed. A first stage is stored as its own encoder, not again
here; teachers that were trained along are not stored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.errors import UsageError
from bench.methods.base import AnyMethod, Given, PretrainModel
from bench.models.encoder import Encoder
from bench.models.token_transformer import TokenTransformer
from bench.spec import PretrainSpec, TransformerShape

FILE = "pretraining.safetensors"
_GIVEN = "given"


@dataclass(frozen=True)
class Network:
    """Pretraining network with its final weights.

    Attributes:
        model: The network, on the CPU, in evaluation mode.
        given: Inputs that it was built with: widths of the targets of its losses.
    """

    model: PretrainModel
    given: Given


def load_encoder(folder: Path, method: type[AnyMethod], spec: PretrainSpec) -> Encoder:
    """Rebuild an encoder from its folder, on the CPU."""
    encoder = method.build_encoder(spec.backbone, method.parse(spec.options))
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    return encoder


def save_rest(model: PretrainModel, given: Given, folder: Path) -> None:
    """Write a network's state without encoder, first stage and tuned teachers."""
    others = (model.encoder(), given.first_stage, given.image_tower, given.text_tower)
    left_out = set[int]().union(*(_places(part) for part in others if part is not None))
    rest = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
        if value.data_ptr() not in left_out
    }
    widths = {"image": given.image, "text": given.text, "pixels": given.pixels}
    save_file(rest, folder / FILE, metadata={_GIVEN: json.dumps(widths, sort_keys=True)})


def load_network(
    folder: Path, method: type[AnyMethod], spec: PretrainSpec, first_stage: Encoder | None, name: str
) -> Network:
    """Rebuild a pretraining network.

    Args:
        folder: The encoder's artefact.
        method: Its class.
        spec: Its specification.
        first_stage: The trained first stage, for a method that has one.
        name: What to call the encoder in messages.

    Raises:
        UsageError: The artefact holds the encoder alone, or weights that do not fit the present code.
    """
    if not (folder / FILE).is_file():
        why = (
            "was imported without its decoder and heads"
            if spec.imported is not None
            else "was stored without its decoder and heads, by an earlier bench"
        )
        raise UsageError(
            f"encoder {name} {why}, so there is no pretraining network to analyse; train one: "
            f"bench run --method {spec.method}"
        )
    with safe_open(folder / FILE, framework="pt") as file:
        widths = json.loads(file.metadata()[_GIVEN])
    options = method.parse(spec.options)
    shape = getattr(options, "transformer", None)
    transformer = TokenTransformer(shape) if isinstance(shape, TransformerShape) else None
    given = Given(**widths, transformer=transformer, first_stage=first_stage)
    with torch.random.fork_rng(devices=[]):  # the initialisation is thrown away
        model = method.build(spec.backbone, options, given)
    state = load_file(folder / FILE)
    try:
        model.encoder().load_state_dict(load_file(folder / "encoder.safetensors"))
        found = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _misfit(name, spec, str(error).splitlines()[-1].strip()) from error
    known = _places(model.encoder()) | (_places(first_stage) if first_stage is not None else set())
    own = model.state_dict()
    missing = [key for key in found.missing_keys if own[key].data_ptr() not in known]
    if missing or found.unexpected_keys:
        raise _misfit(name, spec, f"{(missing or found.unexpected_keys)[0]} is in the file or the code only")
    return Network(model.eval(), given)


def _misfit(name: str, spec: PretrainSpec, what: str) -> UsageError:
    return UsageError(
        f"encoder {name} does not fit the present code ({what}): it was trained by other code; train it again with "
        f"bench run --method {spec.method}"
    )


def _places(module: nn.Module) -> set[int]:
    """Return the memory addresses of a module's tensors."""
    state: dict[str, Tensor] = module.state_dict()
    return {value.data_ptr() for value in state.values()}
