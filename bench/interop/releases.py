"""Released checkpoint files: names, marks and training texts."""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from bench.interop.naming import Layout, Row

Kind = Literal["pretraining", "fine-tuning", "segmentation", "bench"]


_REFERENCE: Mapping[str, JsonValue] = {"reference": True}
"""Options that cut patches as the released code does."""


@dataclass(frozen=True)
class Release:
    """One kind of released file of a method.

    Attributes:
        method: Registered name of the method.
        kind: Task of the network; ``bench`` is an encoder of bench under our names.
        layout: ``module:ATTRIBUTE`` of its table of names in `bench.interop`.
        inside: Prefix of the encoder's names in that table, on our side.
        signs: Parts of names that occur in every such file.
        never: Parts of names that occur in no such file.
        fresh: Names of the encoder that such files lack; drawn anew, as in the release.
        bare: Whether the file is the state dict itself, without a key around it.
        options: Options of the method that build the network of these files.
        shown: Options that equal the length of a tensor, by our name of the tensor; unset if the length is the
            backbone's width.
    """

    method: str
    kind: Kind
    layout: str
    inside: str
    signs: tuple[str, ...]
    never: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    bare: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=lambda: dict(_REFERENCE))
    shown: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> Layout:
        """Import and return the table of names."""
        module, _, attribute = self.layout.partition(":")
        found: Layout = getattr(importlib.import_module(f"bench.interop.{module}"), attribute)
        return found

    def fits(self, names: Iterable[str]) -> bool:
        """Return whether a file with these tensors fits."""
        dotted = [f".{name}" for name in names]

        def occurs(part: str) -> bool:
            return any(f".{part}" in name for name in dotted)

        return all(map(occurs, self.signs)) and not any(map(occurs, self.never))


_OWN = re.compile(r"((masked|contrast)\.)?tokenizer\.local1\.weight|stages\.0\.\w+\.weight")
"""Names at their start that only encoders of bench have."""
_CLASS_TOKEN = ("cls_token", "cls_pos")
_PREFIXES = ("MAE_encoder.", "ACT_encoder.", "Dis_encoder.")
_HEADS = ("propagation_0.", "propagation_0_cls.")

RELEASES = (
    Release("recon", "pretraining", "names_transformer:PRETRAIN", "trunk.", ("MAE_encoder.", "attn_contrast.")),
    Release(
        "point-mae",
        "pretraining",
        "names_transformer:PRETRAIN",
        "trunk.",
        ("MAE_encoder.",),
        ("attn_contrast.", "Dis_encoder."),
        _CLASS_TOKEN,
    ),
    Release(
        "recon",
        "fine-tuning",
        "names_transformer:CLASSIFY",
        "encoder.",
        ("blocks.blocks.", "attn_contrast."),
        (*_PREFIXES, *_HEADS),
    ),
    Release(
        "point-mae",
        "fine-tuning",
        "names_transformer:CLASSIFY",
        "encoder.",
        ("blocks.blocks.",),
        (*_PREFIXES, *_HEADS, "attn_contrast.", "reduce_dim."),
    ),
    Release(
        "recon",
        "segmentation",
        "names_partseg:PARTSEG",
        "encoder.",
        ("blocks.blocks.", "propagation_0.", "attn_contrast."),
    ),
    Release(
        "point-mae",
        "segmentation",
        "names_partseg:PARTSEG",
        "encoder.",
        ("blocks.blocks.", "propagation_0."),
        ("attn_contrast.",),
        _CLASS_TOKEN,
    ),
    Release(
        "two-tower",
        "pretraining",
        "names_two_tower:PRETRAIN",
        "trunk.",
        ("MAE_encoder.", "Dis_encoder."),
        fresh=("masked.cls_token", "masked.cls_pos"),
    ),
    Release(
        "two-tower",
        "fine-tuning",
        "names_two_tower:CLASSIFY",
        "encoder.",
        ("blocks.blocks.", "Dis_encoder."),
        ("MAE_encoder.", *_HEADS),
    ),
    Release(
        "act",
        "pretraining",
        "names_act:PRETRAIN",
        "trunk.",
        ("ACT_encoder.",),
        shown={"patch_width": "trunk.tokenizer.out.weight"},
    ),
    Release(
        "act",
        "fine-tuning",
        "names_act:CLASSIFY",
        "encoder.",
        ("blocks.blocks.",),
        (*_PREFIXES, *_HEADS, "attn_contrast."),
        shown={"patch_width": "encoder.tokenizer.out.weight"},
    ),
    Release(
        "act",
        "segmentation",
        "names_partseg:ACT_PARTSEG",
        "encoder.",
        ("blocks.blocks.", "propagation_0_cls."),
        fresh=_CLASS_TOKEN,
    ),
    Release(
        "crosspoint",
        "pretraining",
        "names_crosspoint:BACKBONE",
        "trunk.",
        ("conv1.0.", "conv5.0.", "bn5."),
        ("transform_net.",),
        bare=True,
        options={"backbone": "dgcnn"},
        shown={"embedding": "trunk.fuse.linear.weight", "projection": "point_head.3.weight"},
    ),
)
"""Every kind of file that `bench import` knows, and `bench export` writes."""

NO_ENCODERS = {
    "transform_net.": "CrossPoint's part-segmentation network, a separate backbone that no method here pretrains",
    "resnet.": "CrossPoint's image branch, which encodes pictures and no points",
    "dgcnn_1.": "ACT's first stage, the teacher of its encoder; import the file of its second stage",
    "visual.": "a CLIP model, a teacher and no point encoder; see bench list teachers",
}
"""Parts of names of known files without a point encoder, and a description of each."""

TEACHERS = ("img_encoder", "text_encoder", "dvae_tokenizer")
"""First parts of the names of frozen teachers that some files include."""

# fmt: off
SHAPENET_NAMES = (
    "airplane", "trash bin", "bag", "basket", "bathtub", "bed", "bench", "birdhouse", "bookshelf", "bottle", "bowl",
    "bus", "cabinet", "camera", "can", "cap", "car", "cellphone", "chair", "clock", "keyboard", "dishwasher",
    "display", "earphone", "faucet", "file cabinet", "guitar", "helmet", "jar", "knife", "lamp", "laptop",
    "loudspeaker", "mailbox", "microphone", "microwave", "motorbike", "mug", "piano", "pillow", "pistol", "flowerpot",
    "printer", "remote", "rifle", "rocket", "skateboard", "sofa", "stove", "table", "telephone", "tower", "train",
    "watercraft", "washer",
)
# fmt: on
"""Categories of ShapeNet-55, from which ReCon's captions are made (docs/reference.md#recon-captions)."""

_READ_CAPTIONS = frozenset({"recon", "two-tower"})


def texts_read(method: str, kind: Kind) -> tuple[str, ...] | None:
    """Return the class names that an official file's training read.

    None if the file does not show them. Fine-tuned networks were also trained on the labels of a data set that the file
    does not name.
    """
    if kind != "pretraining":
        return None
    return SHAPENET_NAMES if method in _READ_CAPTIONS else ()


def recognise(names: Collection[str]) -> list[Release]:
    """Return the kinds of file that tensor names fit.

    Several may: fine-tuned Point-MAE and ACT have the same names.
    """
    return [release for release in RELEASES if release.fits(names)]


def known_names(names: Iterable[str]) -> int:
    """Return the most names that one kind of file knows."""
    given = list(names)
    known = [sum(release.names().to_ours(name) is not None for name in given) for release in RELEASES]
    own = len(given) if any(_OWN.fullmatch(name) for name in given) else 0
    return max(own, *known)


def no_encoder(names: Iterable[str]) -> str | None:
    """Describe a file without a point encoder; None if unknown."""
    firsts = {f"{name.partition('.')[0]}." for name in names}
    return next((what for part, what in NO_ENCODERS.items() if part in firsts), None)


def own(method: str, names: Collection[str]) -> Release:
    """Return the kind of an encoder with our own names."""
    return Release(method, "bench", "", "", tuple(names), options={})


def identity(names: Iterable[str]) -> Layout:
    """Return a layout that maps every name to itself."""
    return Layout("encoder of bench", tuple(Row(name, name, tensor=True) for name in names))
