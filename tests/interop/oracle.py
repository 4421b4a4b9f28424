"""The released networks once more, straight from their description: plain functions on a state dict of their names.

Nothing of the package is used, so that a reading of docs/reference.md is compared with another reading of it, in
configurations where sizes that the published ones share are different: heads, depths and widths of encoder and decoder,
of patch embedding and transformer, of codes and features.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Arrays = dict[str, np.ndarray]


class Weights:
    """A state dict that draws a tensor when it is first asked for, and the operations that read it."""

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.state: dict[str, Tensor] = {}

    def get(self, name: str, *shape: int, std: float = 0.3, mean: float = 0.0) -> Tensor:
        if name not in self.state:
            self.state[name] = mean + std * torch.randn(shape, generator=self.draw)
        assert self.state[name].shape == shape, name
        return self.state[name]

    def linear(self, name: str, x: Tensor, out: int, bias: bool = True, axes: int = 0) -> Tensor:
        """Apply a linear layer, or a convolution whose `axes` trailing axes are of size 1, to the last axis of x."""
        inputs = x.shape[-1]
        weight = self.get(f"{name}.weight", out, inputs, *(1,) * axes, std=inputs**-0.5).reshape(out, inputs)
        return F.linear(x, weight, self.get(f"{name}.bias", out) if bias else None)

    def layer_norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        width = x.shape[-1]
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return x * self.get(f"{name}.weight", width, mean=1.0) + self.get(f"{name}.bias", width)

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        """Apply BatchNorm in evaluation."""
        width = x.shape[-1]
        self.state.setdefault(f"{name}.num_batches_tracked", torch.tensor(3))
        scale, shift = self.get(f"{name}.weight", width, mean=1.0), self.get(f"{name}.bias", width)
        mean, spread = self.get(f"{name}.running_mean", width), self.get(f"{name}.running_var", width).abs_() + 1e-5
        return (x - mean) / spread.sqrt() * scale + shift

    def mlp(self, name: str, x: Tensor, hidden: int) -> Tensor:
        return self.linear(f"{name}.fc2", F.gelu(self.linear(f"{name}.fc1", x, hidden)), x.shape[-1])

    def position(self, name: str, centres: Tensor, width: int) -> Tensor:
        return self.linear(f"{name}.2", F.gelu(self.linear(f"{name}.0", centres, 128)), width)

    def self_attention(self, name: str, x: Tensor, heads: int, bias: bool = False) -> Tensor:
        width = x.shape[-1]
        query, key, value = self.linear(f"{name}.qkv", x, 3 * width, bias).split(width, -1)
        return self.linear(f"{name}.proj", mixed(query, key, value, heads), width)

    def block(self, name: str, x: Tensor, heads: int, hidden: int = 0, eps: float = 1e-5, bias: bool = False) -> Tensor:
        x = x + self.self_attention(f"{name}.attn", self.layer_norm(f"{name}.norm1", x, eps), heads, bias)
        return x + self.mlp(f"{name}.mlp", self.layer_norm(f"{name}.norm2", x, eps), hidden or 4 * x.shape[-1])

    def stack(self, name: str, x: Tensor, position: Tensor, depth: int, heads: int, norm: str) -> list[Tensor]:
        """Return what every block gives, and the last of it normalised; positions are added before every block."""
        outputs = []
        for i in range(depth):
            x = self.block(f"{name}.{i}", x + position, heads)
            outputs.append(x)
        return [*outputs, self.layer_norm(norm, x)]

    def embed(self, name: str, patches: Tensor, width: int, narrow: int) -> Tensor:
        """Embed patches ``[B, G, K, 3]``: two shared layers, the maximum in front of every point, two more, maximum."""
        x = self.linear(f"{name}.first_conv.0", patches, narrow, axes=1)
        x = self.linear(f"{name}.first_conv.3", F.relu(self.batch_norm(f"{name}.first_conv.1", x)), 2 * narrow, axes=1)
        x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], -1)
        x = self.linear(f"{name}.second_conv.0", x, 4 * narrow, axes=1)
        x = self.linear(f"{name}.second_conv.3", F.relu(self.batch_norm(f"{name}.second_conv.1", x)), width, axes=1)
        return x.amax(2)

    def decode(self, c: dict[str, Any], name: str, visible: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Run a masked decoder; return its normalised tokens of the hidden patches."""
        width, (batch, masked, _) = visible.shape[-1], hidden.shape
        tokens = self.get("mask_token", 1, 1, width).expand(batch, masked, width)
        position = self.position("decoder_pos_embed", torch.cat([seen, hidden], 1), width)
        x = torch.cat([visible, tokens], 1)
        return self.stack(f"{name}.blocks", x, position, c["decoder_depth"], c["decoder_num_heads"], f"{name}.norm")[
            -1
        ][:, -masked:]


def mixed(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attend head by head."""
    parts = []
    for q, k, v in zip(*(x.chunk(heads, -1) for x in (query, key, value)), strict=True):
        parts.append((q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ v)
    return torch.cat(parts, -1)


def cut(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Return centred patches and centres; the farthest points, from the first on, with their nearest neighbours."""
    patches, centres = [], []
    for cloud in points:
        chosen = [0]
        for _ in range(groups - 1):
            chosen.append(int(torch.cdist(cloud, cloud[chosen]).amin(1).argmax()))
        centre = cloud[chosen]
        nearest = torch.cdist(centre, cloud).argsort(1)[:, :size]
        patches.append(cloud[nearest] - centre[:, None])
        centres.append(centre)
    return torch.stack(patches), torch.stack(centres)


def chamfer(a: Tensor, b: Tensor, rooted: bool) -> Tensor:
    distances = (a[:, :, None] - b[:, None]).square().sum(-1)
    there, back = distances.amin(2), distances.amin(1)
    return (there.sqrt().mean() + back.sqrt().mean()) / 2 if rooted else there.mean() + back.mean()


def halves(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the visible and the hidden rows of ``[B, G, ...]``."""
    return tuple(torch.stack([row[m == side] for row, m in zip(x, mask, strict=True)]) for side in (False, True))  # type: ignore[return-value]


def recorded(weights: Weights, config: dict[str, Any], **arrays: Any) -> Arrays:
    """Put a file in the recorded format together."""
    found = {f"state/{name}": value for name, value in weights.state.items()} | arrays
    numbers = {name.replace("__", "/"): np.asarray(torch.as_tensor(value)) for name, value in found.items()}
    return numbers | {"config": np.array(json.dumps(config))}


def inputs(c: dict[str, Any], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw clouds and cut them."""
    points = torch.rand(3, c["npoints"], 3, generator=torch.Generator().manual_seed(seed)) + 0.1
    return points, *cut(points, c["num_group"], c["group_size"])


def draw_mask(groups: int, ratio: float, seed: int) -> Tensor:
    return torch.rand(3, groups, generator=torch.Generator().manual_seed(seed)).argsort(1) < int(ratio * groups)


@torch.no_grad()
def masked_pretraining(config: dict[str, Any], seed: int = 0) -> Arrays:
    """Record Point-MAE, ReCon or the two towers on masked clouds.

    Source: docs/reference.md#point-mae, docs/reference.md#recon and docs/reference.md#two-tower.
    """
    w, c = Weights(seed), config["transformer_config"]
    points, patches, centres = inputs(config, seed)
    mask = draw_mask(config["num_group"], c["mask_ratio"], seed)
    width, narrow = c["trans_dim"], config["golden_narrow"]
    (seen, hidden), (_, truth) = halves(centres, mask), halves(patches, mask)
    visible, _ = halves(w.embed("MAE_encoder.encoder", patches, width, narrow), mask)
    position = w.position("MAE_encoder.pos_embed", seen, width)
    given: dict[str, Tensor] = {}
    losses: dict[str, Tensor] = {}
    if config["NAME"] == "ReCon":
        encoded, queries = recon_stream(w, "MAE_encoder.", visible, position, c)
        tokens = {"img": queries[:, 1], "text": queries[:, 2]}
    else:
        encoded = w.stack(
            "MAE_encoder.blocks.blocks", visible, position, c["depth"], c["num_heads"], "MAE_encoder.norm"
        )[-1]
        tokens = {}
    if config["NAME"] == "TwoTower":
        x = w.embed("Dis_encoder.encoder", patches, width, narrow)
        free = [w.get(f"Dis_encoder.{n}_token", 1, 1, width).expand(3, 1, width) for n in ("img", "text")]
        places = [w.get(f"Dis_encoder.{n}_pos", 1, 1, width).expand(3, 1, width) for n in ("img", "text")]
        whole = w.position("Dis_encoder.pos_embed", centres, width)
        x = w.stack(
            "Dis_encoder.blocks.blocks", torch.cat([*free, x], 1), torch.cat([*places, whole], 1), c["depth"],
            c["num_heads"], "Dis_encoder.norm",
        )[-1]  # fmt: skip
        tokens = {"img": x[:, 0], "text": x[:, 1]}
    for name, token in tokens.items():
        target = torch.randn(3, {"img": 11, "text": 6}[name], generator=w.draw)
        given[f"in__{name}_feature"] = target
        losses[f"csc_{name}"] = F.smooth_l1_loss(w.linear(f"{name}_proj", token, target.shape[1]), target)
    decoded = w.decode(c, "MAE_decoder", encoded, seen, hidden)
    rebuilt = w.linear("increase_dim.0", decoded, 3 * config["group_size"], axes=1).reshape(-1, config["group_size"], 3)
    losses["mdm"] = chamfer(rebuilt, truth.flatten(0, 1), config["loss"] == "cdl1")
    losses["total"] = torch.stack(list(losses.values())).sum()
    out = {f"out__eval.loss_{name}": value for name, value in losses.items()}
    if config["NAME"] == "Point_MAE":
        out = {"out__eval.loss": losses["mdm"]}
    found = {"mid__decoder_output": decoded, "mid__center": centres}
    return recorded(w, config, in__points=points, in__mask=mask, **given, **out, **found)


def recon_stream(w: Weights, prefix: str, local: Tensor, position: Tensor, c: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Run ReCon's blocks; the residual of either stream starts at its normalised value."""
    width, heads, batch = local.shape[-1], c["num_heads"], len(local)
    names = ("cls", "img", "text")
    free = torch.cat([w.get(f"{prefix}{n}_token", 1, 1, width) for n in names], 1).expand(batch, 3, width)
    places = torch.cat([w.get(f"{prefix}{n}_pos", 1, 1, width) for n in names], 1)
    for i in range(c["depth"]):
        b = f"{prefix}blocks.blocks.{i}."
        free, local = free + places, local + position
        free, local = w.layer_norm(f"{b}norm1_contrast", free), w.layer_norm(f"{b}norm1", local)
        query = w.linear(f"{b}attn_contrast.q", free, width, bias=False)
        key, value = w.linear(f"{b}attn_contrast.kv", local, 2 * width, bias=False).split(width, -1)
        free = free + w.linear(f"{b}attn_contrast.proj", mixed(query, key, value, heads), width)
        local = local + w.self_attention(f"{b}attn", local, heads)
        free, local = w.layer_norm(f"{b}norm2_contrast", free), w.layer_norm(f"{b}norm2", local)
        free = free + w.mlp(f"{b}mlp_contrast", free, 4 * width)
        local = local + w.mlp(f"{b}mlp", local, 4 * width)
    return w.layer_norm(f"{prefix}norm", local), w.layer_norm(f"{prefix}norm", free)


@torch.no_grad()
def student(config: dict[str, Any], seed: int = 0) -> Arrays:
    """Record ACT's second stage (docs/reference.md#act-student)."""
    w, c, sizes = Weights(seed), config["transformer_config"], config["dvae_config"]
    points, patches, centres = inputs(config | sizes, seed)
    mask = draw_mask(sizes["num_group"], c["mask_ratio"], seed)
    width, target_width = c["embed_dim"], 9
    x = w.embed("ACT_encoder.encoder", patches, c["encoder_dims"], config["golden_narrow"])
    if c["encoder_dims"] != width:
        x = w.linear("ACT_encoder.reduce_dim", x, width)
    (visible, _), (seen, hidden) = halves(x, mask), halves(centres, mask)
    token, place = (w.get(f"ACT_encoder.cls_{n}", 1, 1, width).expand(3, 1, width) for n in ("token", "pos"))
    position = torch.cat([place, w.position("ACT_encoder.pos_embed", seen, width)], 1)
    sequence = torch.cat([token, visible], 1)
    levels = w.stack("ACT_encoder.blocks.blocks", sequence, position, c["depth"], c["num_heads"], "ACT_encoder.norm")
    decoded = w.decode(c, "ACT_decoder", levels[-1][:, 1:], seen, hidden)
    predicted = w.linear("proj_head", decoded, target_width)
    targets = torch.randn(3, sizes["num_group"], target_width, generator=w.draw)
    wanted = halves(targets, mask)[1]
    for name, out, inside in (("lm_head", 5, width), ("cls_head.0", 7, width), ("cls_head.2", 4, 7)):
        w.linear(f"ACT_encoder.{name}", torch.zeros(1, inside), out)
    arrays = {"out__eval.loss_l2": (predicted - wanted).square().mean()}
    cosine = (1 - F.cosine_similarity(predicted, wanted, dim=-1)).mean()
    if c["cls_loss"]:
        shallow = levels[c["register_shallow_hook"]][:, 1:]
        x = torch.cat([levels[-1][:, :1], shallow, w.state["mask_token"].expand(3, hidden.shape[1], width)], 1)
        places = w.position("decoder_pos_embed", torch.cat([seen, hidden], 1), width)
        places = torch.cat([w.get("cls_pos", 1, 1, width).expand(3, 1, width), places], 1)
        x = w.stack("ACT_decoder.blocks", x, places, c["decoder_depth"], c["decoder_num_heads"], "ACT_decoder.norm")[
            -1
        ][:, -hidden.shape[1] :]
        second = w.linear("proj_head", x, target_width)
        cosine = cosine + (1 - F.cosine_similarity(second, wanted, dim=-1)).mean()
        arrays["mid__student_feature_shallow"] = second
    arrays |= {"out__eval.loss_cosine": cosine, "mid__decoder_output": decoded, "mid__student_feature": predicted}
    return recorded(w, config, in__points=points, in__mask=mask, in__teacher_feature=targets, **arrays)


@torch.no_grad()
def autoencoder(config: dict[str, Any], seed: int = 0) -> Arrays:
    """Record ACT's first stage with soft codes, and the features it teaches (docs/reference.md#act-autoencoder)."""
    w, vit = Weights(seed), config["tiny_vit"]
    points, patches, centres = inputs(config, seed)
    batch, groups, size = patches.shape[:3]
    inner, prompts, graph = config["visual_embed_dim"], config["num_prompt_token"], config["golden_graph"]
    near = torch.cdist(centres, centres).argsort(-1)[..., :4]

    def group_norm(name: str, x: Tensor) -> Tensor:
        """Normalise ``[B, ..., C]`` in four groups of channels, each over everything else of a sample."""
        shape = x.shape
        parts = x.reshape(len(x), -1, 4, shape[-1] // 4)
        spread, mean = torch.var_mean(parts, dim=(1, 3), correction=0, keepdim=True)
        x = ((parts - mean) / (spread + 1e-5).sqrt()).reshape(shape)
        return x * w.get(f"{name}.weight", shape[-1], mean=1.0) + w.get(f"{name}.bias", shape[-1])

    def smooth(name: str, x: Tensor, out: int) -> Tensor:
        x = w.linear(f"{name}.input_trans", x, graph, axes=1)
        levels = []
        for i, factor in enumerate((2, 4, 4, 8), 1):
            neighbours = torch.stack([row[index] for row, index in zip(x, near, strict=True)])
            own = x[:, :, None].expand_as(neighbours)
            edges = w.linear(
                f"{name}.layer{i}.0", torch.cat([neighbours - own, own], -1), factor * graph, bias=False, axes=2
            )
            x = F.leaky_relu(group_norm(f"{name}.layer{i}.1", edges), 0.2).amax(2)
            levels.append(x)
        x = w.linear(f"{name}.layer5.0", torch.cat(levels, -1), out, bias=False, axes=1)
        return F.leaky_relu(group_norm(f"{name}.layer5.1", x), 0.2)

    def through_transformer(x: Tensor) -> Tensor:
        x, position = w.linear("proj_pre", x, inner), w.position("visual_pos_embed", centres, inner)
        for i in range(vit["depth"]):
            if prompts and (i == 0 or config["use_deep_prompt"]):
                if i == 0:
                    token, place = (w.get(f"visual_prompt_{n}", 1, prompts, inner) for n in ("token", "pos"))
                else:
                    shape = (vit["depth"] - 1, prompts, inner)
                    token, place = (w.get(f"deep_prompt_{n}", *shape)[i - 1][None] for n in ("tokens", "pos"))
                x = torch.cat([token.expand(batch, -1, -1), x[:, -groups:]], 1)
                position = torch.cat([place.expand(batch, -1, -1), position[:, -groups:]], 1)
            name = f"visual_embed.0.{i}"
            hidden = int(inner * vit["mlp_ratio"])
            x = w.block(name, x + position, vit["num_heads"], hidden, eps=1e-6, bias=vit["qkv_bias"])
        return w.linear("proj_post", w.layer_norm("visual_embed.1", x, 1e-6)[:, -groups:], config["tokens_dims"])

    tokens = w.embed("encoder", patches, config["encoder_dims"], config["golden_narrow"])
    logits = smooth("dgcnn_1", tokens, config["num_tokens"])
    noise = torch.randn(logits.shape, generator=w.draw)
    codebook = w.get("codebook", config["num_tokens"], config["tokens_dims"])
    soft = ((logits + noise) / config["temperature"]).softmax(-1) @ codebook
    feature = smooth("dgcnn_2", through_transformer(soft), config["decoder_dims"])
    wide, few = 2 * config["golden_folding"], size // 4
    x = F.relu(w.linear("decoder.mlp.0", feature, wide))
    coarse = w.linear("decoder.mlp.4", F.relu(w.linear("decoder.mlp.2", x, wide)), 3 * few)
    coarse = coarse.reshape(batch, groups, few, 3)
    repeated = coarse.repeat_interleave(4, 2)
    seeds = torch.tensor([[-0.05, -0.05], [0.05, -0.05], [-0.05, 0.05], [0.05, 0.05]]).repeat(few, 1)
    x = torch.cat([feature[:, :, None].expand(-1, -1, size, -1), seeds.expand(batch, groups, size, 2), repeated], -1)
    for i in (0, 3):
        x = w.linear(f"decoder.final_conv.{i}", x, config["golden_folding"], axes=1)
        x = F.relu(w.batch_norm(f"decoder.final_conv.{i + 1}", x))
    fine = repeated + w.linear("decoder.final_conv.6", x, 3, axes=1)
    truth = patches.flatten(0, 1)
    use = logits.softmax(-1).mean(1)
    kl = (use.shape[-1] ** -1 * (-np.log(use.shape[-1]) - use.log())).sum(-1).mean()
    hard = codebook[(logits + noise).argmax(-1)]
    local = through_transformer(hard)
    arrays = {
        "out__eval.coarse": coarse,
        "out__eval.fine": fine,
        "out__eval.logits": logits,
        "out__eval.loss_recon": chamfer(coarse.flatten(0, 1), truth, True) + chamfer(fine.flatten(0, 1), truth, True),
        "out__eval.loss_kl": kl,
        "out__teacher_feature_local": local,
        "out__teacher_feature_global": smooth("dgcnn_2", local, config["decoder_dims"]),
        "mid__proj_pre": w.linear("proj_pre", soft, inner),
    }
    return recorded(w, config, in__points=points, in__gumbel_noise=noise, **arrays)


@torch.no_grad()
def part_labels(config: dict[str, Any], queries: bool, suffix: str = "", seed: int = 0) -> Arrays:
    """Record the segmentation network of Point-MAE, ACT (suffix ``_cls``) or ReCon.

    Source: docs/reference.md#part-segmentation.
    """
    w = Weights(seed)
    points, patches, centres = inputs(config, seed)
    width, heads, fetch = config["trans_dim"], config["num_heads"], config["fetch_blocks"]
    tokens = w.embed("encoder", patches, width, config["golden_narrow"])
    position = w.position("pos_embed", centres, width)
    joined = []
    if queries:
        names = ("cls", "img", "text")
        for depth in [*(block + 1 for block in fetch), config["depth"]]:
            local, _ = recon_stream(w, "", tokens, position, config | {"depth": depth})
            joined.append(local)
        joined.pop()
        free = raw_queries(w, names, tokens, position, config)
    else:
        levels = w.stack("blocks.blocks", tokens, position, config["depth"], heads, "norm")
        joined = [w.layer_norm("norm", levels[block]) for block in fetch]
    features = torch.cat(joined, -1)
    cloud = [features.amax(1), features.mean(1)] + ([free.amax(1)] if queries else [])
    category = F.one_hot(torch.tensor([1, 0, 3]), 4).float()
    label = w.batch_norm(f"label_conv{suffix}.1", w.linear(f"label_conv{suffix}.0", category, 6, bias=False, axes=1))
    cloud.append(F.leaky_relu(label, 0.2))
    squared = (points[:, :, None] - centres[:, None]).square().sum(-1)
    nearest, index = squared.topk(3, -1, largest=False)
    share = 1 / (nearest + 1e-8)
    share = share / share.sum(-1, keepdim=True)
    spread = torch.stack([row[i] for row, i in zip(features, index, strict=True)])
    x = torch.cat([points, (spread * share[..., None]).sum(2)], -1)
    for i, out in enumerate((22, 16)):
        x = w.linear(f"propagation_0{suffix}.mlp_convs.{i}", x, out, axes=1)
        x = F.relu(w.batch_norm(f"propagation_0{suffix}.mlp_bns.{i}", x))
    x = torch.cat([x, torch.cat(cloud, -1)[:, None].expand(-1, x.shape[1], -1)], -1)
    for i, out in enumerate((14, 10), 1):
        x = F.relu(w.batch_norm(f"bns{i}{suffix}", w.linear(f"convs{i}{suffix}", x, out, axes=1)))
    labels = w.linear(f"convs3{suffix}", x, config["num_part"], axes=1).log_softmax(-1)
    target = torch.randint(0, config["num_part"], points.shape[:2], generator=w.draw)
    return recorded(
        w,
        config,
        in__points=points,
        in__target=target,
        in__category_one_hot=category,
        **{"out__eval.log_prob": labels},
    )


def raw_queries(w: Weights, names: tuple[str, ...], local: Tensor, position: Tensor, c: dict[str, Any]) -> Tensor:
    """Return ReCon's queries after the last block without the final norm."""
    norm = {name: w.state.pop(f"norm.{name}") for name in ("weight", "bias")}
    width = local.shape[-1]
    w.state |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    plain = w.layer_norm
    w.layer_norm = lambda name, x, eps=1e-5: x if name == "norm" else plain(name, x, eps)  # type: ignore[method-assign]
    _, free = recon_stream(w, "", local, position, c)
    w.layer_norm = plain  # type: ignore[method-assign]
    w.state |= {f"norm.{name}": value for name, value in norm.items()}
    return free


@torch.no_grad()
def classification(config: dict[str, Any], kind: str, seed: int = 0) -> Arrays:
    """Record a ``plain``, ``act`` or ``recon`` classifier (docs/reference.md#point-mae-classifier)."""
    w = Weights(seed)
    points, patches, centres = inputs(config, seed)
    width = config["embed_dim"] if kind == "act" else config["trans_dim"]
    x = w.embed("encoder", patches, config["encoder_dims"] if kind == "act" else width, config["golden_narrow"])
    if x.shape[-1] != width:
        x = w.linear("reduce_dim", x, width)
    position = w.position("pos_embed", centres, width)
    if kind == "recon":
        local, free = recon_stream(w, "", x, position, config)
        feature = torch.cat([free.flatten(1), local.amax(1)], -1)
    else:
        token, place = (w.get(f"cls_{n}", 1, 1, width).expand(3, 1, width) for n in ("token", "pos"))
        sequence, places = torch.cat([token, x], 1), torch.cat([place, position], 1)
        x = w.stack("blocks.blocks", sequence, places, config["depth"], config["num_heads"], "norm")[-1]
        feature = torch.cat([x[:, 0], x[:, 1:].amax(1)], -1)
    for i in (0, 4):
        feature = w.linear(f"cls_head_finetune.{i}", feature, 256)
        feature = F.relu(w.batch_norm(f"cls_head_finetune.{i + 1}", feature))
    logits = w.linear("cls_head_finetune.8", feature, config["cls_dim"])
    label = torch.tensor([2, 0, 1])
    loss = -logits.log_softmax(-1)[torch.arange(3), label].mean()
    return recorded(
        w, config, in__points=points, in__label=label, **{"out__eval.logits": logits, "out__eval.loss": loss}
    )
