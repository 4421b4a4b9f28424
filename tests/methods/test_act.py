"""ACT: sizes as published, a frozen teacher, honest chance, and options that do what they say."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError, UsageError
from bench.methods.act import ACT, ACTModel
from bench.methods.act_dvae import ActDvae, ActDvaeModel
from bench.methods.base import Batch, Given
from bench.models.act_student import StudentEncoder
from bench.models.distillation import DistillationLoss, distillation
from bench.models.dvae import DvaeEncoder, divergence_from_uniform, half_cosine
from bench.models.folding import FoldingDecoder
from bench.models.graph_smoothing import GraphSmoothing, centre_graph
from bench.models.grouping import cut_patches
from bench.models.noise import gumbel
from bench.models.token_transformer import TokenTransformer
from bench.plan.presets import PRESETS
from bench.spec import BackboneSpec, TransformerShape
from bench.training.optim import build_optimiser, parameter_groups

SIZE = PRESETS["smoke"].backbone
SHAPE = TransformerShape(width=20, depth=3, heads=2, mlp_width=40)
VIT_B = TransformerShape(width=768, depth=12, heads=12, mlp_width=3072)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stage1(backbone: BackboneSpec = SIZE, shape: TransformerShape = SHAPE, **options: Any) -> ActDvaeModel:
    torch.manual_seed(0)
    chosen = ActDvae.Options.model_validate(ActDvae.defaults("smoke").model_dump() | options)
    return ActDvae.build(backbone, chosen, Given(transformer=TokenTransformer(shape).requires_grad_(False)))


def stage2(first: DvaeEncoder | None = None, **options: Any) -> ACTModel:
    first = first or stage1().encoder()
    torch.manual_seed(1)
    return ACT.build(SIZE, ACT.Options.model_validate(options), Given(first_stage=first))


def batch(seed: int = 0, step: int = 0) -> Batch:
    points = torch.randn(6, SIZE.points, 3, generator=torch.Generator().manual_seed(5))
    return Batch(points, step=step, generator=torch.Generator().manual_seed(seed))


def test_published_sizes() -> None:
    """Our networks would not be the authors' (docs/reference.md#act-autoencoder)."""
    with torch.device("meta"):
        options = ActDvae.complete(ActDvae.Options(), VIT_B)
        encoder = ActDvae.build_encoder(BackboneSpec(), options)
        assert isinstance(encoder, DvaeEncoder)
        folding = FoldingDecoder(384, 32)
    prompted = encoder.prompted
    assert count(encoder.to_codes) == 20_845_184
    assert count(encoder.smooth) == 2_839_936
    assert encoder.codebook.numel() == 3_145_728
    assert count(folding) == 1_934_363
    assert sum(map(count, (prompted.before, prompted.position, prompted.after))) == 690_560
    prompts = (prompted.prompt_token, prompted.prompt_pos, prompted.deep_prompt_token, prompted.deep_prompt_pos)
    assert sum(prompt.numel() for prompt in prompts) == 1_179_648


@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_published_presets_build(preset: str) -> None:
    """A size that is offered and cannot be built would fail after the teacher has been fetched."""
    backbone = PRESETS[preset].backbone
    with torch.device("meta"):
        first = ActDvae.build(backbone, ActDvae.defaults(preset), Given(transformer=TokenTransformer(VIT_B)))
        model = ACT.build(backbone, ACT.defaults(preset), Given(first_stage=first.encoder()))
    assert model.decoder.head.out_features == backbone.width
    recipe, first_recipe = ACT.recipe(preset), ActDvae.recipe(preset)
    assert recipe is not None
    assert first_recipe is not None
    assert (recipe.lr, recipe.batch_size, recipe.augmentation) == (1e-3, 128, ("unit_sphere", "scale_translate"))
    assert (first_recipe.lr, first_recipe.weight_decay, first_recipe.batch_size) == (5e-4, 5e-4, 64)
    assert first_recipe.augmentation == ("unit_sphere",)


def test_the_encoder_of_either_stage_is_rebuilt_from_its_options() -> None:
    """A stored encoder could not be loaded again."""
    first = stage1()
    rebuilt = ActDvae.build_encoder(SIZE, ActDvae.Options.model_validate_json(first.options.model_dump_json()))
    rebuilt.load_state_dict(first.encoder().state_dict())
    points = batch().points
    assert torch.equal(rebuilt.eval()(points).tokens, first.eval().encoder()(points).tokens)
    second = stage2(patch_width=12)
    again = ACT.build_encoder(SIZE, second.options)
    again.load_state_dict(second.encoder().state_dict())
    assert isinstance(again, StudentEncoder)
    assert not any(name.startswith("teacher") for name in again.state_dict())


def test_graph_network_is_the_published_convolution() -> None:
    """Maximum before norm and layers split in two are ours; with negative norm weights they could go wrong."""
    torch.manual_seed(2)
    ours = GraphSmoothing(10, 12, graph_width=8)
    for parameter in ours.parameters():
        parameter.data = torch.randn_like(parameter)
    tokens, centres = torch.randn(3, 9, 10), torch.randn(3, 9, 3)
    graph = torch.cdist(centres, centres).topk(4, largest=False).indices
    x = F.linear(tokens, ours.embed.weight, ours.embed.bias)
    levels = []
    edge_layers: list[Any] = list(ours.edges)
    for layer in edge_layers:
        neighbours = torch.stack([x[b][graph[b]] for b in range(3)])
        own = x[:, :, None].expand_as(neighbours)
        edges = (torch.cat([neighbours - own, own], dim=-1) @ layer.mix.weight.T).permute(0, 3, 1, 2)
        x = F.leaky_relu(F.group_norm(edges, 4, layer.norm.weight, layer.norm.bias), 0.2).amax(-1).mT
        levels.append(x)
    mixed = (torch.cat(levels, dim=-1) @ ours.out.weight.T).mT
    expected = F.leaky_relu(F.group_norm(mixed, 4, ours.norm.weight, ours.norm.bias), 0.2).mT
    found = ours(tokens, centre_graph(centres))
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


def test_schedules_are_the_published_ones() -> None:
    """Codes would be hard too early, or the KL term never set in."""
    model = stage1(temperature_steps=100_000, kl_start=10_000, kl_steps=100_000)
    for step, temperature, weight in (
        (0, 1.0, 0.0),
        (10_000, 0.0625 + 0.9375 * 0.9755282581, 0.0),
        (60_000, 0.0625 + 0.9375 * 0.3454915028, 0.05),
        (100_000, 0.0625, 0.1 * 0.9755282581),
        (200_000, 0.0625, 0.1),
    ):
        prepared = model.prepare(batch(step=step))
        assert float(prepared["temperature"]) == pytest.approx(temperature, rel=1e-6)
        assert float(prepared["kl_weight"]) == pytest.approx(weight, rel=1e-6, abs=1e-9)
    assert half_cosine(7, 0, 1, 3.0, 2.0) == 2.0


def test_short_recipes_run_through_their_schedules() -> None:
    """At nano size the temperature would stay at 1 and the KL term off for the whole run."""
    for preset, objects in (("smoke", 96), ("nano", 3968)):
        recipe, options = ActDvae.recipe(preset), ActDvae.defaults(preset)
        assert recipe is not None
        assert isinstance(options, ActDvae.Options)
        steps = recipe.epochs * (objects // recipe.batch_size)
        assert 0.4 * steps <= options.temperature_steps <= 0.6 * steps
        assert options.kl_start + options.kl_steps <= 0.7 * steps


@pytest.mark.parametrize(
    ("tuning", "reference", "trained", "reached"),
    [("prompt", False, False, True), ("full", False, True, True), ("frozen", False, False, True),
     ("frozen", True, False, False)],
)  # fmt: skip
def test_tuning_trains_what_it_says(tuning: str, reference: bool, trained: bool, reached: bool) -> None:
    """The ablation of the paper would compare a thing with itself."""
    model = stage1(tuning=tuning, reference=reference)
    losses = model.compute(model.prepare(batch()))
    losses["recon"].backward()  # type: ignore[no-untyped-call]
    for parameter in model.trunk.prompted.transformer.parameters():
        assert parameter.requires_grad == trained
        assert (parameter.grad is not None) == trained
    assert hasattr(model.trunk.prompted, "prompt_token") == (tuning == "prompt")
    assert (model.trunk.codebook.grad is not None) == reached
    if tuning == "prompt":
        for prompt in (model.trunk.prompted.prompt_token, model.trunk.prompted.deep_prompt_pos):
            assert prompt.grad is not None
            assert bool(prompt.grad.flatten(1).any(1).all())


def test_prompts_drop_in_training_alone() -> None:
    """Dropped prompts would make the teacher of the second stage stochastic, or never act at all."""
    model = stage1(prompt_dropout=0.5)
    kept = model.train().prepare(batch())["kept"]
    assert kept.shape == (6, SHAPE.depth, 2, SHAPE.width)
    assert 0.35 < float(kept.float().mean()) < 0.65
    assert "kept" not in model.eval().prepare(batch())
    shallow = stage1(deep_prompts=False).train()
    assert shallow.prepare(batch())["kept"].shape[1] == 1
    assert not hasattr(shallow.trunk.prompted, "deep_prompt_token")


def test_all_chance_comes_from_the_batch() -> None:
    """A resumed or repeated run would give other numbers."""
    for model in (stage1().train(), stage2(teacher_mode="reference").train()):
        losses = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            prepared = model.prepare(batch(seed=7))
            state = torch.get_rng_state()
            losses.append(float(model.compute(prepared)["total"]))
            assert torch.equal(state, torch.get_rng_state())
        assert losses[0] == losses[1]


def test_the_default_teacher_is_deterministic_and_stays_untouched() -> None:
    """Features to be learned would change from step to step, as they do in the release."""
    model = stage2().train()
    assert model.teacher is not None
    assert model.training
    assert not any(part.training for part in model.teacher.modules())
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    before = {name: value.clone() for name, value in model.teacher.state_dict().items()}
    patches = cut_patches(batch().points, SIZE.groups, SIZE.group_size, model.trunk.sampling)
    first = model.teacher.targets(patches.points, patches.centres)
    optimiser = build_optimiser(parameter_groups(model, _recipe()), _recipe())
    for seed in range(2):
        prepared = model.prepare(batch(seed))
        assert "noise" not in prepared
        model.compute(prepared)["total"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.state_dict().items())
    assert torch.equal(first, model.teacher.targets(patches.points, patches.centres))


def _recipe() -> Any:
    recipe = ACT.recipe("smoke")
    assert recipe is not None
    return recipe


def test_the_reference_teacher_samples_and_follows_the_batch() -> None:
    """teacher_mode=reference would not be the release's stochastic teacher."""
    model = stage2(teacher_mode="reference").train()
    assert model.teacher is not None
    assert model.teacher.training
    before = model.teacher.tokenizer.norm1.running_mean.clone()  # type: ignore[union-attr]
    one, two = model.prepare(batch(1)), model.prepare(batch(2))
    assert {"noise", "kept"} <= one.keys()
    same = {name: two[name] for name in ("noise", "kept")}
    assert not torch.equal(model._targets(one), model._targets(one | same))
    assert not torch.equal(before, model.teacher.tokenizer.norm1.running_mean)  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_targets_are_those_of_the_hidden_patches_in_the_whole_cloud() -> None:
    """The student would regress features of other patches, or of a cloud with holes."""
    model = stage2().eval()
    assert model.teacher is not None
    mask = torch.rand(6, SIZE.groups, generator=torch.Generator().manual_seed(3)).argsort(1) < 12
    prepared = model.prepare(batch(), mask=mask)
    patches = cut_patches(batch().points, SIZE.groups, SIZE.group_size, model.trunk.sampling)
    whole = model.teacher.targets(patches.points, patches.centres)
    given = model.prepare(batch(), mask=mask, targets=whole)
    assert torch.equal(model.compute(prepared)["total"], model.compute(given)["total"])
    moved = whole.clone()
    moved[~mask] += 1
    seen_only = model.compute(given | {"targets": moved})["total"]
    assert torch.equal(seen_only, model.compute(given)["total"])


def test_other_targets_and_the_class_token_pass() -> None:
    """Options of the paper's ablations would change nothing."""
    model = stage2(stage1(code_width=16).encoder(), target="transformer", cls_loss=True, loss="l2")
    assert model.decoder.head.out_features == 16
    losses = model.compute(model.prepare(batch()))
    assert float(losses["total"]) == pytest.approx(float(losses["distil"] + losses["distil_cls"]))
    assert model.decoder.cls_pos is not None
    (gradient,) = torch.autograd.grad(losses["distil_cls"], [model.decoder.cls_pos])
    assert bool(gradient.any())
    with pytest.raises(UsageError, match="shallow_block 2"):
        stage2(cls_loss=True, shallow_block=2)


def test_both_stages_learn() -> None:
    """Pretraining would be a waste of time."""
    first = stage1()
    for model, recipe in ((first, ActDvae.recipe("smoke")), (stage2(first.encoder()), ACT.recipe("smoke"))):
        assert recipe is not None
        optimiser = build_optimiser(parameter_groups(model, recipe), recipe)
        totals = []
        for _ in range(25):
            total = model.train().compute(model.prepare(batch()))["total"]
            optimiser.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            for group in optimiser.param_groups:
                group["lr"] = 2e-3
            optimiser.step()
            totals.append(float(total))
        assert totals[-1] < 0.8 * totals[0]


def test_contrastive_distances_are_the_textbook_ones() -> None:
    """A loss that only has the name would be compared with the others."""
    torch.manual_seed(6)
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    a, b = student.flatten(0, 1), teacher.flatten(0, 1)
    both = F.normalize(torch.cat([a, b]), dim=1)
    expected = []
    for i in range(12):
        logits = torch.stack([both[i] @ both[j] / 0.07 for j in range(12) if j != i])
        partner = (i + 6) % 12
        expected.append(-logits.log_softmax(0)[partner - (partner > i)])
    assert torch.allclose(distillation(student, teacher, "nt_xent"), torch.stack(expected).mean(), rtol=1e-5)
    correlation = torch.corrcoef(torch.cat([a.T, b.T]))[:5, 5:]
    off = correlation - torch.diag(correlation.diag())
    barlow = (1 - correlation.diag()).square().sum() + 5e-3 * off.square().sum()
    assert torch.allclose(distillation(student, teacher, "barlow"), barlow, rtol=1e-3)
    for kind in get_args(DistillationLoss)[:3]:
        assert float(distillation(student, student.clone(), kind)) == pytest.approx(0, abs=1e-6)


def test_kl_and_noise() -> None:
    """The codebook would be pulled towards one code instead of away from it."""
    logits = torch.zeros(2, 4, 8)
    assert float(divergence_from_uniform(logits)) == pytest.approx(0, abs=1e-6)
    logits[..., 0] = 5.0
    usage = logits.softmax(-1).mean(1)
    expected = (torch.full_like(usage, 1 / 8) * (1 / 8 / usage).log()).sum(1).mean()
    assert float(divergence_from_uniform(logits)) == pytest.approx(float(expected), rel=1e-5)
    noise = gumbel((200_000,), torch.Generator().manual_seed(0), torch.device("cpu"))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(torch.pi**2 / 6, abs=0.03)


def test_sizes_that_do_not_fit_are_refused_in_one_line() -> None:
    """A wrong size would end in a traceback deep inside a network."""
    attempts: list[tuple[Any, str]] = [
        (lambda: stage1(SIZE.model_copy(update={"group_size": 6})), "multiple of 4"),
        (lambda: stage1(SIZE.model_copy(update={"width": 26})), "multiple of 4"),
        (lambda: centre_graph(torch.zeros(1, 3, 3)), "backbone.groups 3"),
        (lambda: ActDvae.build(SIZE, ActDvae.Options(), Given()), "token transformer"),
        (lambda: ActDvae.build_encoder(SIZE, ActDvae.Options()), "filled in from the teacher"),
        (lambda: ACT.build(SIZE, ACT.Options(), Given()), "act-dvae"),
        (lambda: ACTModel(SIZE, ACT.Options(), None, 8).prepare(batch()), "give targets to prepare"),
    ]
    for attempt, words in attempts:
        with pytest.raises(BenchError, match=words) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_judged_by_itself_the_first_stage_takes_the_likeliest_codes() -> None:
    """A frozen first stage would give other features each time, and a fine-tuned one would not learn its codes."""
    encoder = stage1().eval().encoder()
    points = batch().points
    patches = cut_patches(points, SIZE.groups, SIZE.group_size, encoder.sampling)
    with torch.no_grad():
        quick = encoder(points).tokens
    slow = encoder(points).tokens
    assert torch.allclose(quick, slow, atol=1e-5)
    assert torch.allclose(quick, encoder.targets(patches.points, patches.centres), atol=1e-6)
    slow.square().sum().backward()
    gradient: Tensor | None = encoder.tokenizer.local1.weight.grad
    assert gradient is not None
    assert bool(gradient.any())
