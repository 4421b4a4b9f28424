"""Axes that the papers varied, each with its source.

The papers' tables could not be read in full: which axis was varied is theirs, the values are ours unless a source
gives them. An axis that cannot be run stands here with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RECON = "Qi et al., ICML 2023, arXiv 2302.02318"
ACT = "Dong et al., ICLR 2023, arXiv 2212.08320"
CROSSPOINT = "Afham et al., CVPR 2022, arXiv 2203.00680"
_WEIGHTS = "a second teacher's weights are not shipped; where they are on disk: --axis teacher=tiny-clip,open-clip"


def cited_once(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Take the paper that lines cite out of them.

    Args:
        lines: Sources of axes and reasons of those left out.

    Returns:
        The paper, empty where none is cited; and the lines without it.
    """
    paper = next((one for one in (RECON, ACT, CROSSPOINT) if any(one in line for line in lines)), "")
    if not paper:
        return "", list(lines)
    spots = (f": {paper};", ";"), (f": {paper},", ":"), (f": {paper}", ""), (f"({paper}; ", "("), (f" ({paper})", "")
    short = list(lines)
    for spot, instead in spots:
        short = [line.replace(spot, instead) for line in short]
    return paper, short


@dataclass(frozen=True)
class PaperAxis:
    """An axis of a paper's ablation.

    Attributes:
        what: The axis in words.
        source: Paper, and the release's name of the option where it has one.
        axis: As after ``--axis``; empty for an axis that is not built.
        missing: Why it is not in the study; empty for one that is.
    """

    what: str
    source: str
    axis: str = ""
    missing: str = ""


PAPERS: Mapping[str, tuple[PaperAxis, ...]] = {
    "recon": (
        PaperAxis("mask ratio", f"{RECON}; release: mask_ratio (0.6)", "mask_ratio=0.2,0.4,0.6,0.8"),
        PaperAxis("kind of mask", f"{RECON}; release: mask_type (rand)", "mask=rand,block"),
        PaperAxis("decoder depth", f"{RECON}; release: decoder_depth (4)", "decoder_depth=1,2,4,8"),
        PaperAxis("stop-gradient", f"{RECON}; release: detach in the cross-attention", "stop_gradient=true,false"),
        PaperAxis("reconstruction loss", f"{RECON}; release: cdl1, cdl2", "loss=cdl1,cdl2"),
        PaperAxis("cross-modal loss", f"{RECON}; release: smooth L1 only", "cross_modal_loss=smooth_l1,cosine,infonce"),
        PaperAxis(
            "image, text or single-modal",
            f"{RECON}; release: img_encoder, text_encoder",
            "modalities=both,image,text,none",
        ),
        PaperAxis("self-contrast", f"{RECON}; release: self_contrastive", "smc=false,true"),
        PaperAxis(
            "multi-task, two towers, ReCon",
            f"{RECON}, appendix C; release: twotower",
            "method=multitask,two-tower,recon",
        ),
        PaperAxis("image teacher", f"{RECON}; release: img_encoder", missing=_WEIGHTS),
        PaperAxis("frozen or tuned teacher", f"{RECON}; release: frozen only", "teachers=frozen,tuned"),
    ),
    "act": (
        PaperAxis(
            "tuning of the transformer", f"{ACT}; release: freeze_visual_embed", "act-dvae.tuning=prompt,full,frozen"
        ),
        PaperAxis("number of prompts", f"{ACT}; release: num_prompt_token", "act-dvae.prompts=16,64,128"),
        PaperAxis("deep prompts", f"{ACT}; release: use_deep_prompt", "act-dvae.deep_prompts=true,false"),
        PaperAxis(
            "distillation loss",
            f"{ACT}; release: cosine, l2, smoothl1, ntxent, barlow",
            "loss=cosine,l2,smooth_l1,nt_xent,barlow",
        ),
        PaperAxis("decoder depth", f"{ACT}; release: decoder_depth (2)", "decoder_depth=1,2,4,8"),
        PaperAxis("mask ratio", f"{ACT}; release: mask_ratio (0.8)", "mask_ratio=0.2,0.4,0.6,0.8"),
        PaperAxis("kind of mask", f"{ACT}; release: mask_type (rand)", "mask=rand,block"),
        PaperAxis("features that are distilled", f"{ACT}; release: return_global", "target=smoothed,transformer"),
        PaperAxis("class distillation", f"{ACT}; release: cls_loss, register_shallow_hook", "cls_loss=false,true"),
        PaperAxis("teacher", f"{ACT}; release: visual_embed_type (ViT, DeiT, BEiT, CLIP, BERT)", missing=_WEIGHTS),
        PaperAxis("side and bias tuning", f"{ACT}; release: transfer_type", missing="not built"),
    ),
    "crosspoint": (
        PaperAxis("terms of the loss", CROSSPOINT, "terms=both,imid,cmid"),
        PaperAxis(
            "backbone",
            f"{CROSSPOINT}; PointNet is in the paper, not in the release",
            "backbone=transformer,dgcnn,pointnet",
        ),
        PaperAxis(
            "prototype or single views", CROSSPOINT, missing="not built: the image is contrasted with the views' mean"
        ),
        PaperAxis(
            "number of images",
            CROSSPOINT,
            missing="depends on the data set; where it has several: --axis pretrain_data.views=1,2,4",
        ),
    ),
}
"""Axes by method."""
