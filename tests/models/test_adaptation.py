"""What a user would lose: an adaptation that trains other parameters than it says, or starts from another encoder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench.chosen import chosen_method
from bench.errors import UsageError
from bench.models.adaptation import adapt, check_frozen, frozen_tensors, trained_parameters
from bench.models.blocks import MLP, CrossAttention, SelfAttention
from bench.models.classifier import Classifier
from bench.models.frozen import NotFrozenError
from bench.plan.presets import preset
from bench.spec import Adapt, BackboneSpec

WIDTH, DEPTH, HEADS, CLASSES, SIZE = 24, 2, 2, 5, 3
SPEC: BackboneSpec = preset("smoke").backbone
LADDER: tuple[Adapt, ...] = ("head", "bitfit", "prompt", "adapter", "lora", "full")


def classifier(method: str = "point-mae") -> Classifier:
    torch.manual_seed(0)
    chosen = chosen_method(method, {})
    encoder = chosen.method.build_encoder(SPEC, chosen.options)
    for module in encoder.modules():  # a fresh norm layer is an identity in training and evaluation alike
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean)
    return Classifier(encoder, CLASSES, "mlp")


def clouds(n: int = 4) -> torch.Tensor:
    return torch.randn(n, SPEC.points, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ["point-mae", "recon", "two-tower"])
@pytest.mark.parametrize("how", LADDER)
def test_the_start_is_the_frozen_encoder_bit_by_bit(method: str, how: Adapt) -> None:
    plain, adapted = classifier(method).eval(), adapt(classifier(method), how, SIZE).eval()
    with torch.no_grad():
        assert torch.equal(plain(clouds()), adapted(clouds()))


def head_parameters(network: Classifier) -> int:
    return sum(p.numel() for p in network.head.parameters())


def token_parameters(network: Classifier) -> int:
    return sum(p.numel() for n, p in network.named_parameters() if n.rpartition(".")[2] in ("cls_token", "cls_pos"))


COUNTS: dict[Adapt, Callable[[], int]] = {
    "head": lambda: 0,
    "prompt": lambda: DEPTH * (SIZE * WIDTH + HEADS),
    "adapter": lambda: DEPTH * (WIDTH * SIZE + SIZE + SIZE * WIDTH + WIDTH),
    "lora": lambda: DEPTH * (SIZE * WIDTH + 3 * WIDTH * SIZE),
}


@pytest.mark.parametrize("how", COUNTS)
def test_trained_parameters_are_those_of_the_formula(how: Adapt) -> None:
    assert (SPEC.width, SPEC.depth, SPEC.heads) == (WIDTH, DEPTH, HEADS)
    network = adapt(classifier(), how, SIZE)
    tokens = 0 if how == "head" else token_parameters(network)
    assert tokens == (0 if how == "head" else 2 * WIDTH)
    assert trained_parameters(network) == COUNTS[how]() + tokens + head_parameters(network)


def test_cross_attention_and_both_perceptrons_are_adapted_too() -> None:
    """ReCon's global stream would otherwise stay as it is."""
    plain = classifier("recon").encoder
    kinds = {kind: sum(isinstance(m, kind) for m in plain.modules()) for kind in (SelfAttention, CrossAttention, MLP)}
    lora, adapter = (adapt(classifier("recon"), how, SIZE) for how in ("lora", "adapter"))
    added = sum(p.numel() for n, p in lora.named_parameters() if "added_" in n)
    selves, crosses = kinds[SelfAttention], kinds[CrossAttention]
    assert crosses > 0
    assert added == selves * (4 * WIDTH * SIZE) + crosses * (2 * WIDTH * SIZE + 3 * WIDTH * SIZE)
    assert sum("added_up_bias" in n for n, _ in adapter.named_parameters()) == kinds[MLP]


def trained(how: Adapt, method: str = "point-mae") -> tuple[Classifier, dict[str, torch.Tensor]]:
    network = adapt(classifier(method), how, SIZE)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = frozen_tensors(network)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        network.train()
        loss = nn.functional.cross_entropy(network(clouds(8)), torch.arange(8) % CLASSES)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    check_frozen(network, kept, how)
    return network, before


@pytest.mark.parametrize("how", LADDER)
def test_exactly_what_is_named_is_trained(how: Adapt) -> None:
    network, before = trained(how)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    encoder = {name for name in moved if name.startswith("encoder.")}
    if how == "full":
        assert any(name.endswith("qkv.weight") for name in encoder)
        return
    leaves = {name.rpartition(".")[2] for name in encoder}
    allowed = {"head": set(), "bitfit": {"bias", "cls_token", "cls_pos"}}
    assert leaves <= allowed.get(how, {leaf for leaf in leaves if leaf.startswith(("added_", "cls_"))})
    assert any(name.startswith("head.") for name in moved)
    assert how == "head" or encoder


def test_a_frozen_tensor_that_moves_is_named() -> None:
    network = adapt(classifier(), "lora", SIZE)
    kept = frozen_tensors(network)
    with torch.no_grad():
        next(m for m in network.modules() if isinstance(m, SelfAttention)).proj.weight.add_(1)
    with pytest.raises(NotFrozenError, match=r"proj\.weight"):
        check_frozen(network, kept, "lora")


@pytest.mark.parametrize("how", ["prompt", "adapter", "lora"])
def test_an_encoder_without_blocks_is_refused_in_one_line(how: Adapt) -> None:
    chosen = chosen_method("crosspoint", {"backbone": "dgcnn"})
    network = Classifier(chosen.method.build_encoder(SPEC, chosen.options), CLASSES, "mlp")
    with pytest.raises(UsageError, match="bitfit") as error:
        adapt(network, how, SIZE)
    assert "\n" not in str(error.value)
