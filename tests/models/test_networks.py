"""Building blocks of the networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.errors import UsageError
from bench.models.attention import attend
from bench.models.blocks import AttentionBlock, ReconBlock, StochasticDepth, depth_rates
from bench.models.classifier import Classifier
from bench.models.grouping import Sampling, cut_patches
from bench.models.init import released_projection, truncated_normal_trunk
from bench.models.losses import cross_modal, masked_reconstruction, self_contrast
from bench.models.masking import block_mask, draw_mask, mask_index, masked_count
from bench.models.memory import keep_freed_memory
from bench.models.parts import BlockSite
from bench.models.pooling import patch_max
from bench.models.roles import decays, in_head_group
from bench.models.standard import StandardEncoder
from bench.models.tokenizer import PatchTokenizer
from bench.spec import BackboneSpec

SMALL = BackboneSpec(points=64, groups=8, group_size=4, width=24, depth=2, heads=3, tokenizer_width=8, drop_path=0.0)


def test_tokenizer_is_the_published_mini_pointnet() -> None:
    """Evaluating the global half once per patch would not be the published network any more."""
    torch.manual_seed(0)
    tokenizer = PatchTokenizer(12, 4)
    patches = torch.randn(3, 5, 6, 3)
    x = patches.view(15, 6, 3)
    f = tokenizer.local2(F.relu(F.batch_norm(tokenizer.local1(x).flatten(0, 1), None, None, training=True))).view(
        15, 6, 8
    )
    both = torch.cat([f.amax(1, keepdim=True).expand_as(f), f], dim=-1)
    mixed = F.relu(F.batch_norm(tokenizer.mix(both).flatten(0, 1), None, None, training=True))
    expected = tokenizer.out(mixed).view(15, 6, 12).amax(1).view(3, 5, 12)
    torch.testing.assert_close(tokenizer.train()(patches), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_patch_max_has_the_gradient_of_amax_with_ties(dtype: torch.dtype) -> None:
    """Repeated points in a patch would get more than their share of the gradient."""
    x = torch.randint(0, 4, (9, 8, 5), generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    gradient = torch.randn(9, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    (mine,) = torch.autograd.grad(patch_max(x), x, gradient)
    (reference,) = torch.autograd.grad(x.amax(1), x, gradient)
    assert torch.equal(mine, reference)


def test_attention_in_half_precision_agrees_with_full() -> None:
    """The short cut on CPUs would attend differently."""
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    full = attend(q, k, v)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16())
    torch.testing.assert_close(half.float(), full, atol=3e-2, rtol=3e-2)
    torch.testing.assert_close(full, F.scaled_dot_product_attention(q, k, v))


def test_recon_queries_read_the_patches_without_being_read() -> None:
    """The contrastive task would leak into the local stream, which is ReCon's whole point to prevent."""
    torch.manual_seed(0)
    block = ReconBlock(BlockSite(12, 3, residual="normalised"))
    local, one, other = torch.randn(2, 5, 12, requires_grad=True), torch.randn(2, 3, 12), torch.randn(2, 3, 12)
    assert torch.equal(block(one, local, None, True)[1], block(other, local, None, True)[1])
    queries = block(one, local, None, True)[0]
    assert torch.autograd.grad(queries.sum(), local, allow_unused=True)[0] is None
    queries = block(one, local, None, False)[0]
    assert torch.autograd.grad(queries.square().sum(), local)[0].abs().sum() > 0


def test_recon_residuals_start_from_normalised_values() -> None:
    """With silent sub-layers the released block returns a normalised value, an ordinary one its input."""
    x, g = torch.randn(2, 4, 12) * 5, torch.randn(2, 3, 12)
    block = ReconBlock(BlockSite(12, 3, residual="normalised"))
    plain = AttentionBlock(BlockSite(12, 3))
    for layer in (block.attention.proj, block.mlp.fc2, plain.attention.proj, plain.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    normalised = F.layer_norm(F.layer_norm(x, (12,)), (12,))
    torch.testing.assert_close(block(g, x, None, True)[1], normalised)
    torch.testing.assert_close(plain(x), x)


def test_stochastic_depth_keeps_the_mean_and_drops_whole_samples() -> None:
    """Branches would be rescaled wrongly between training and evaluation."""
    torch.manual_seed(0)
    drop = StochasticDepth(0.25)
    out = drop(torch.ones(4000, 2, 3))
    rows = out.flatten(1)
    assert bool(((rows == 0).all(1) | (rows == 1 / 0.75).all(1)).all())
    assert abs(out.mean().item() - 1) < 0.03
    assert torch.equal(drop.eval()(torch.ones(5, 1)), torch.ones(5, 1))
    assert depth_rates(0.1, 3) == [0.0, 0.05, 0.1]
    assert depth_rates(0.1, 1) == [0.0]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 64), st.floats(0.05, 0.95), st.sampled_from(["rand", "block"]), st.integers(0, 9))
def test_masks_hide_exactly_the_stated_share(groups: int, ratio: float, kind: str, seed: int) -> None:
    """Token counts would change from sample to sample, or a patch be both visible and hidden."""
    centres = torch.rand(3, groups, 3, generator=torch.Generator().manual_seed(seed))
    if not 0 < int(ratio * groups) < groups:
        with pytest.raises(UsageError, match="mask_ratio"):
            draw_mask(centres, ratio, kind, None)  # type: ignore[arg-type]
        return
    mask = draw_mask(centres, ratio, kind, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    again = draw_mask(centres, ratio, kind, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    assert torch.equal(mask, again)
    assert mask.sum(1).tolist() == [masked_count(groups, ratio)] * 3
    index = mask_index(mask)
    for row in range(3):
        assert index.masked[row].tolist() == mask[row].nonzero().flatten().tolist()
        assert index.visible[row].tolist() == (~mask[row]).nonzero().flatten().tolist()


def test_published_mask_counts() -> None:
    """Published configurations hide 38 of 64 and 51 of 64 patches."""
    assert (masked_count(64, 0.6), masked_count(64, 0.8)) == (38, 51)


def test_block_masks_are_contiguous() -> None:
    """Block masking would hide scattered patches."""
    line = torch.stack([torch.arange(10.0), torch.zeros(10), torch.zeros(10)], dim=1)[None]
    assert block_mask(line, torch.tensor([7]), 3)[0].nonzero().flatten().tolist() == [6, 7, 8]


def test_uneven_masks_are_refused() -> None:
    """Rows of a ragged mask would silently be mixed up."""
    with pytest.raises(UsageError, match="same number"):
        mask_index(torch.tensor([[True, False], [False, False]]))


def test_losses_stay_in_full_precision_under_autocast() -> None:
    """Half-precision Chamfer distances round small patches to nothing."""
    a, b = torch.rand(4, 8, 3), torch.rand(4, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masked_reconstruction(a, b), masked_reconstruction(a.clone(), b.clone()))
        assert masked_reconstruction(a.bfloat16(), b).dtype == torch.float32
        assert cross_modal(a[0].bfloat16(), b[0]).dtype == torch.float32
    assert cross_modal(a[0], a[0], "cosine").abs() < 1e-6


def test_self_contrast_matches_cross_entropy_and_survives_one_class() -> None:
    """The supervised term would be wrong, or NaN in a batch of one category."""
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 1, 0, 2])
    unit = F.normalize(x, dim=-1)
    rows = []
    for i in range(4):
        same = labels == labels[i]
        similarity = unit @ unit[i]
        logits = torch.cat([similarity[same].mean()[None], similarity[~same]]) / 0.1
        rows.append(F.cross_entropy(logits[None], torch.tensor([0])))
    torch.testing.assert_close(self_contrast(x, labels), torch.stack(rows).mean())
    (gradient,) = torch.autograd.grad(self_contrast(x, torch.zeros(4, dtype=torch.int64)), x)
    assert bool(gradient.isfinite().all())


def test_initialisation_rules() -> None:
    """'trunc' and 'default' candidates of scratch would be the same network, or a quirk become the default."""
    torch.manual_seed(0)
    layer = nn.Linear(200, 200)
    truncated_normal_trunk(layer)
    assert abs(layer.weight.std().item() - 0.02) < 1e-3
    assert abs(layer.weight.mean().item()) < 1e-3
    assert torch.equal(layer.bias, torch.zeros(200))
    released_projection(layer)
    assert abs(layer.weight.mean().item() - 0.02) < 1e-3
    assert abs(layer.weight.std().item() - 0.01) < 1e-3


def test_roles_say_what_the_released_substrings_say() -> None:
    """'tokenizer' would be taken for a token and lose its weight decay."""
    model = Classifier(StandardEncoder(SMALL, Sampling()), 5)
    names = dict(model.named_parameters())
    kept = {name for name, parameter in names.items() if not decays(name, parameter)}
    assert "encoder.cls_token" in kept
    assert "encoder.cls_pos" not in kept
    assert "encoder.tokenizer.mix.weight" not in kept
    assert "encoder.tokenizer.norm1.weight" in kept
    assert not decays("decoder.mask_token", torch.zeros(1, 1, 4))
    head = {name for name in names if in_head_group(name)}
    assert head == {name for name in names if name.startswith("head.")} | {"encoder.cls_token", "encoder.cls_pos"}


def test_frozen_probes_leave_the_encoder_alone() -> None:
    """A linear probe would drift its BatchNorm statistics, unless the released behaviour is asked for."""
    torch.manual_seed(0)
    model = Classifier(StandardEncoder(SMALL, Sampling()), 5, head="linear").freeze().train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    model(torch.rand(4, 64, 3)).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.0.weight", "head.0.bias"}
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    released = Classifier(StandardEncoder(SMALL, Sampling()), 5, head="linear").freeze(reference=True).train()
    released(torch.rand(4, 64, 3)).sum().backward()
    learning = {name for name, p in released.named_parameters() if p.requires_grad}
    assert learning == {"head.0.weight", "head.0.bias", "encoder.cls_token", "encoder.cls_pos"}
    assert int(released.encoder.get_buffer("tokenizer.norm1.num_batches_tracked")) == 1


def test_encoder_features_and_their_names() -> None:
    """Tables would print a width or a description that is not the feature's."""
    encoder = StandardEncoder(SMALL, Sampling()).eval()
    output = encoder(torch.rand(2, 64, 3))
    assert {k: v.shape[1] for k, v in encoder.features(output).items()} == encoder.feature_dims
    assert encoder.feature_dims.keys() == encoder.feature_descriptions.keys()
    with pytest.raises(UsageError, match="did you mean transfer"):
        encoder.feature(output, "transfr")


def test_patches_do_not_depend_on_autocast() -> None:
    """Mixed precision would change which points are neighbours."""
    points = torch.rand(2, 64, 3)
    plain = cut_patches(points, 8, 4, Sampling(formula="expanded"))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = cut_patches(points, 8, 4, Sampling(formula="expanded"))
    assert torch.equal(plain.points, mixed.points)
    assert torch.equal(plain.points.amin(2) <= 0, torch.ones(2, 8, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"heads": 5}, "not a multiple"), ({"groups": 65}, "backbone.points 64 is less than the 65")],
)
def test_impossible_sizes_are_one_clear_line(change: dict[str, int], message: str) -> None:
    """The user would see a reshape error from inside attention."""
    with pytest.raises(UsageError, match=message):
        StandardEncoder(SMALL.model_copy(update=change), Sampling())


def test_keeping_memory_says_whether_it_took_effect() -> None:
    """Training would crash where the C library has no such switch."""
    assert keep_freed_memory() in (True, False)
