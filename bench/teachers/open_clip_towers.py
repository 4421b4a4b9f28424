"""CLIP towers from a state dict in OpenAI's layout, in open_clip's own classes, sizes read off the weights.

This is what ReCon's teachers compute: a vision transformer (or CLIP's ResNet) and a causal text transformer with
quick GELU, both in float32 (section 5.2 of the method specification).
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from bench.errors import DataError

HEAD_WIDTH = 64
"""Width of an attention head in every CLIP that OpenAI released."""
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files keep beside the weights."""
_NOT_TOWERS = ("logit_scale",)
"""Weights that serve CLIP's own training only; a file of towers may lack them."""


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of both towers.

    Attributes:
        embed: Width of the joint space.
        image_size: Pixels along an edge of the image.
        image_width: Width of the image tower.
        image_layers: Its blocks; four numbers for a ResNet.
        patch_size: Pixels along an edge of a patch; None for a ResNet.
        context: Tokens of a sentence.
        vocabulary: Token ids.
        text_width: Width of the text tower.
        text_heads: Its attention heads.
        text_layers: Its blocks.
    """

    embed: int
    image_size: int
    image_width: int
    image_layers: int | tuple[int, int, int, int]
    patch_size: int | None
    context: int
    vocabulary: int
    text_width: int
    text_heads: int
    text_layers: int


def clip_sizes(state: Mapping[str, Tensor], text_heads: int | None = None) -> ClipSizes:
    """Read the sizes of both towers off the shapes of their weights.

    Args:
        state: In OpenAI's layout (``visual.conv1.weight``, ``transformer.resblocks.0...``).
        text_heads: Attention heads of the text tower, which no shape tells; None for one per 64 channels.

    Raises:
        DataError: A weight is missing or has an impossible shape.
    """
    try:
        context, width = state["positional_embedding"].shape
        vocabulary, _ = state["token_embedding.weight"].shape
        _, embed = state["text_projection"].shape
        text_layers = _count(state, "transformer.resblocks.")
        image_size, image_width, image_layers, patch_size = _image_sizes(state)
    except KeyError as error:
        raise DataError(
            f"this is no CLIP in OpenAI's layout: it has no {error.args[0]}; give a state dict with visual.*, "
            "transformer.*, token_embedding, positional_embedding, ln_final and text_projection"
        ) from error
    except ValueError as error:
        raise DataError(f"this is no CLIP in OpenAI's layout: a weight has an unexpected shape ({error})") from error
    heads = width // HEAD_WIDTH if text_heads is None else text_heads
    for tower, channels, count in (("image", image_width, image_width // HEAD_WIDTH), ("text", width, heads)):
        if count < 1 or channels % count:
            raise DataError(f"the {tower} tower is {channels} wide, which {count} attention heads cannot share evenly")
    return ClipSizes(
        embed, image_size, image_width, image_layers, patch_size, context, vocabulary, width, heads, text_layers
    )


def empty_clip(sizes: ClipSizes) -> nn.Module:
    """Build an `open_clip.CLIP` of these sizes with quick GELU and random weights."""
    model = open_clip.CLIP(
        sizes.embed,
        vision_cfg=open_clip.CLIPVisionCfg(
            layers=sizes.image_layers,
            width=sizes.image_width,
            head_width=HEAD_WIDTH,
            patch_size=sizes.patch_size or 16,
            image_size=sizes.image_size,
        ),
        text_cfg=open_clip.CLIPTextCfg(
            context_length=sizes.context,
            vocab_size=sizes.vocabulary,
            width=sizes.text_width,
            heads=sizes.text_heads,
            layers=sizes.text_layers,
        ),
        quick_gelu=True,
    )
    assert isinstance(model, nn.Module)
    return model


def build_clip(state: Mapping[str, Tensor], text_heads: int | None = None) -> nn.Module:
    """Build CLIP from a state dict in OpenAI's layout.

    Args:
        state: Weights, of any float type.
        text_heads: As in `clip_sizes`.

    Returns:
        An `open_clip.CLIP` in float32, frozen, in evaluation mode; its ``encode_image`` and ``encode_text`` give the
        projected features, not normalised.

    Raises:
        DataError: A weight is missing, left over or of another shape than its neighbours say.
    """
    model = empty_clip(clip_sizes(state, text_heads))
    wanted = model.state_dict()
    weights = {name: value.float() for name, value in state.items() if name not in _NOT_WEIGHTS}
    misfits = {
        "missing": sorted(wanted.keys() - weights.keys() - set(_NOT_TOWERS)),
        "unexpected": sorted(weights.keys() - wanted.keys()),
        "of another shape": [n for n, v in weights.items() if n in wanted and v.shape != wanted[n].shape],
    }
    if any(misfits.values()):
        listed = "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in misfits.items() if names)
        raise DataError(f"these weights are no CLIP in OpenAI's layout: {listed}")
    model.load_state_dict(weights, strict=False)
    return model.requires_grad_(False).eval()


def load_clip(path: Path) -> nn.Module:
    """Read a local CLIP (see `read_clip_file`) and build it (see `build_clip`).

    Raises:
        DataError: The file is missing, unreadable, unsafe or no CLIP in OpenAI's layout.
    """
    try:
        return build_clip(read_clip_file(path))
    except DataError as error:
        message = str(error)
        raise (error if str(path) in message else DataError(f"{path}: {message}")) from error


def read_clip_file(path: Path) -> dict[str, Tensor]:
    """Read a CLIP's state dict from disk without running any code that the file may hold.

    Args:
        path: A ``.safetensors`` file, or what ``torch.save`` wrote: a state dict, or a dict with one under
            ``state_dict``.

    Raises:
        DataError: The file is missing or unreadable, a TorchScript archive, or a pickle of more than tensors.
    """
    if not path.is_file():
        raise DataError(f"{path} is not a file; give a .pt or .safetensors file with a CLIP in OpenAI's layout")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if _is_torchscript(path):
        raise DataError(
            f"{path} is a TorchScript archive, which holds code besides weights and is not opened here; if you trust "
            "it, save its weights alone: torch.save(torch.jit.load(path, 'cpu').state_dict(), 'clip-weights.pt')"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is a pickle that holds more than tensors, which could run code, and is not opened; "
            "save the state dict alone, best as .safetensors"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as a torch file: {_first_line(error)}; fetch it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path} holds no state dict; save model.state_dict()")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {_first_line(error)}; fetch it again") from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _image_sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int | tuple[int, int, int, int], int | None]:
    """Return image size, width, layers and patch size of the image tower."""
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        grid = _root(state["visual.positional_embedding"].shape[0] - 1)
        return patch * grid, width, _count(state, "visual.transformer.resblocks."), patch
    grid = _root(state["visual.attnpool.positional_embedding"].shape[0] - 1)
    first, second, third, fourth = (_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
    return 32 * grid, state["visual.layer1.0.conv1.weight"].shape[0], (first, second, third, fourth), None


def _count(state: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _root(cells: int) -> int:
    side = round(cells**0.5) if cells > 0 else 0
    if side < 1 or side * side != cells:
        raise ValueError(f"{cells} image positions are no square")
    return side


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
