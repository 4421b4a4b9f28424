"""Seams of the backbone: a stranger's block, norm layer and tokenizer, in one file, under every method."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from bench.analysis.attention import attention_of
from bench.chosen import chosen_method
from bench.conformance.method_kit import MethodKit
from bench.conformance.suites import file_suites
from bench.errors import UsageError
from bench.interop.exporting import export_release, released_content
from bench.models.blocks import AttentionBlock, StochasticDepth
from bench.models.cost import forward_flops
from bench.models.parts import Block, BlockSite, Tokenizer
from bench.paths import Workspace
from bench.plan.backbones import read_backbone
from bench.plan.code import encoder_fingerprint
from bench.plan.deviations import deviations
from bench.plan.match import match_sizes
from bench.plan.presets import PRESETS
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.plugins import load_plugin_file
from bench.protocols.trained_classifier import set_drop_path
from bench.registry import METHODS
from bench.spec import BackboneSpec, content_key
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "add-a-block.md"
SMOKE = PRESETS["smoke"].backbone
CHOSEN = {"backbone.block": "gated-conv", "backbone.tokenizer": "one-stage", "backbone.norm": "rms"}
PRETRAINED = [name for name in METHODS.names() if name not in ("scratch", "render-classify")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's file, loaded as a plugin."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    file = tmp_path_factory.mktemp("page") / "my_block.py"
    file.write_text(f'__version__ = "3.1"\n{found[1]}')
    load_plugin_file(file)
    return file


def sized(**parts: object) -> BackboneSpec:
    return read_backbone(SMOKE.model_dump() | parts)


@pytest.mark.parametrize("method", PRETRAINED)
def test_every_method_trains_with_the_parts_of_the_page(page: Path, method: str) -> None:
    """A method would keep a block of its own, and the block would be compared in some of its networks only."""
    backbone = sized(block="gated-conv", tokenizer="one-stage", norm="rms", drop_path=0.2)
    kit = MethodKit(METHODS.load(method), backbone, preset="smoke", image_size=16)
    model = kit.model()
    kinds = {type(part).__name__ for part in model.modules()}
    assert "OneStage" in kinds
    assert "PatchTokenizer" not in kinds
    if method != "act-dvae":
        assert {"GatedConvolution", "RMSNorm"} <= kinds
        assert not {"AttentionBlock", "ReconBlock", "SelfAttention"} & kinds
    for losses in kit.train(model, kit.batches(2)):
        assert bool(losses["total"].isfinite())
    names = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not [name for name in names if not re.search(r"cls_|\.first_stage|teacher", name)]
    again = kit.encoder()
    again.load_state_dict(model.encoder().state_dict())
    points = kit.clouds(7)
    with torch.no_grad():
        one, other = (e.eval().features(e.eval()(points)) for e in (model.encoder(), again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_page_passes_its_own_checks(page: Path) -> None:
    """An author would be told to run a check that the example itself fails."""
    # The import is tried in a fresh process, which takes seconds: bench check-plugin does it.
    outcomes = [
        (suite.subject, name, suite.outcome(name))
        for suite in file_suites(page)
        for name in suite.checks.names()
        if name != "import"
    ]
    assert {subject for subject, _, _ in outcomes} == {"block gated-conv", "tokenizer one-stage"}
    assert [(s, c, o.remark) for s, c, o in outcomes if o.status != "pass"] == []


def test_a_block_reads_space_and_not_the_order_of_patches(page: Path) -> None:
    """The decoder's mask tokens stand behind the visible ones; a block told of no centres would see them apart."""
    encoder = MethodKit(METHODS.load("point-mae"), sized(block="gated-conv"), preset="smoke").encoder().eval()
    tokens, centres, order = torch.randn(2, 16, 24), torch.randn(2, 16, 3), torch.randperm(16)
    with torch.no_grad():
        there = encoder.encode_patches(tokens, centres)  # type: ignore[operator]
        back = encoder.encode_patches(tokens[:, order], centres[:, order])  # type: ignore[operator]
    torch.testing.assert_close(back, there[:, order])


def test_costs_are_those_of_the_chosen_block(page: Path) -> None:
    """``bench match`` would make encoders equal by the cost of blocks they do not have."""
    plain, other = SMOKE, sized(block="gated-conv")
    method, options = METHODS.load("point-mae"), METHODS.load("point-mae").Options()
    params = [method.build_encoder(b, options).parameter_count for b in (plain, other)]
    flops = [forward_flops(method.build_encoder(b, options), 128) for b in (plain, other)]
    per_block = 48 * (24 + 1) + 24 * (7 + 1) - 72 * 24  # value and gate, convolution; no query, key, value
    assert params[1] - params[0] == SMOKE.depth * per_block
    assert flops[0] != flops[1]
    found = match_sizes("params", [chosen_method("recon", {}), chosen_method("point-mae", {})], other)
    assert {b.block for b in found.backbones.values()} == {"gated-conv"}
    assert found.backbones["point-mae"].width > SMOKE.width


def request(**changes: object) -> RunRequest:
    plain = {"methods": ("act", "point-mae"), "protocols": ("linear",), "preset": "smoke", "overrides": CHOSEN}
    return RunRequest.model_validate(plain | changes)


def test_a_run_names_its_parts_and_their_version(page: Path, tmp_path: Path) -> None:
    """Runs of two versions of a block, or of two blocks, would share a key or a stored encoder."""
    runs = resolve(request(), Workspace.at(tmp_path / "results")).runs
    assert {run.encoder.method for run in runs} == {"act", "point-mae", "scratch"}
    for run in runs:
        spec = run.encoder
        assert spec.backbone.block_options == {"kernel": 7}, "every option is in the key, with its default too"
        assert spec.backbone.norm_options == {"eps": 1e-6}
        versions = {"blocks.gated-conv": "3.1", "tokenizers.one-stage": "3.1"}
        assert versions.items() <= spec.numerics.plugins.items()
        code = encoder_fingerprint(spec).modules
        assert {"bench_plugin_my_block", "bench.models.norms"} <= code.keys()
        told = {one.field: (one.value, one.default) for one in deviations(run) if one.field.startswith("backbone.")}
        assert told == {
            "backbone.block": ("gated-conv", "attention"),
            "backbone.norm": ("rms", "layer"),
            "backbone.tokenizer": ("one-stage", "pointnet"),
        }
    first = next(run.encoder.first_stage for run in runs if run.encoder.first_stage is not None)
    assert (first.backbone.block, first.backbone.norm, first.backbone.tokenizer) == ("attention", "layer", "one-stage")
    plain = resolve(request(overrides={}), Workspace.at(tmp_path / "results")).runs
    assert not {content_key(run) for run in plain} & {content_key(run) for run in runs}
    assert "bench.models.blocks" in encoder_fingerprint(plain[0].encoder).modules
    assert not {"block", "norm", "tokenizer"} & plain[0].encoder.backbone.model_dump().keys()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"backbone.block": "gated-convolution"}, "unknown block 'gated-convolution': did you mean gated-conv"),
        ({"backbone.block": "atention"}, "unknown block 'atention': did you mean attention"),
        ({"backbone.norm": "rsm"}, "unknown norm 'rsm': did you mean rms?"),
        ({"backbone.tokenizer": "one_stage"}, "unknown tokenizer 'one_stage': did you mean one-stage?"),
        ({"backbone.blok": "x"}, "unknown field of backbone 'blok': did you mean block"),
        ({"backbone.block": 3}, "backbone.block = 3: "),
        ({"backbone.block": True}, "backbone.block = True: "),
        ({"backbone.block_options.kernel": 5}, "block 'attention' has no options; name the one"),
        ({"backbone.block_options": 5}, "backbone.block_options = 5: "),
        ({**CHOSEN, "backbone.block_options.kernl": 5}, "'kernl': did you mean kernel?"),
        ({**CHOSEN, "backbone.block_options.kernel": 0}, "backbone.block_options.kernel = 0: "),
        ({**CHOSEN, "backbone.block_options.kernel": "wide"}, "backbone.block_options.kernel = "),
        ({**CHOSEN, "backbone.norm_options.eps": -1.0}, "backbone.norm_options.eps = -1.0: "),
        ({**CHOSEN, "crosspoint.backbone": "dgcnn"}, "the network of crosspoint with these options has no block"),
        ({**CHOSEN, "act.decoder_heads": 3}, "act.decoder_heads = 3: blocks 'gated-conv' have no attention heads"),
        ({**CHOSEN, "act.patch_width": 12}, "the network of act with these options has no tokenizer"),
    ],
    ids=str,
)
def test_a_wrong_part_is_one_line_before_anything_runs(
    page: Path, tmp_path: Path, overrides: dict[str, object], words: str
) -> None:
    asked = request(methods=("act", "crosspoint"), overrides=overrides)
    with pytest.raises(UsageError) as refused:
        resolve(asked, Workspace.at(tmp_path / "results"))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_of_other_parts_are_not_written_as_a_release(page: Path, tmp_path: Path) -> None:
    """Tensors of another norm layer bear names that a release knows: its authors' code would load half a network."""
    for part, name in (("norm", "rms"), ("block", "gated-conv"), ("tokenizer", "one-stage")):
        chosen = request(methods=("point-mae",), overrides={f"backbone.{part}": name})
        spec = resolve(chosen, Workspace.at(tmp_path / "results")).runs[0].encoder
        state = METHODS.load("point-mae").build_encoder(spec.backbone, METHODS.load("point-mae").Options()).state_dict()
        with pytest.raises(UsageError, match=f"the release of point-mae has no {part} '{name}'"):
            released_content(state, export_release("point-mae", "pretrain"), spec, None)


def test_attention_that_is_not_there_is_not_shown(page: Path) -> None:
    """A map of no layer would be an empty picture; ReCon's queries attend whatever the block is."""
    points, backbone = torch.randn(2, 128, 3), sized(block="gated-conv")
    methods = [METHODS.load(name) for name in ("point-mae", "recon")]
    point_mae, recon = (method.build_encoder(backbone, method.Options()) for method in methods)
    with pytest.raises(UsageError, match="StandardEncoder of gated-conv blocks has no attention to show"):
        attention_of(point_mae.eval(), points)
    assert {layer.stream for layer in attention_of(recon.eval(), points).layers} == {"queries"}


class Nested(AttentionBlock):
    """Block with a list of branches of its own, each dropped at random."""

    name = "nested"

    def __init__(self, site: BlockSite, options: Block.Options) -> None:
        super().__init__(site, options)
        self.branches = torch.nn.ModuleList(StochasticDepth(site.drop) for _ in range(3))


def test_fine_tuning_sets_one_drop_rate_for_each_block() -> None:
    """A list inside a block would be taken for a stack, its branches dropped at rates that rise within the block."""
    sites = [BlockSite(12, 3, number) for number in range(2)]
    stack = torch.nn.ModuleList(Nested(site, Nested.Options()) for site in sites)
    set_drop_path(torch.nn.Sequential(stack), 0.3)
    rates = [[m.rate for m in block.modules() if isinstance(m, StochasticDepth)] for block in stack]
    assert rates == [[0.0] * 4, [0.3] * 4]


class Silent(Tokenizer):
    """Tokenizer that forgets most of the patch, and the batch's independence."""

    name = "silent"

    def __init__(self, width: int, tokenizer_width: int, options: Tokenizer.Options) -> None:
        super().__init__(width, tokenizer_width, options)
        self.used, self.unused = torch.nn.Linear(3, width), torch.nn.Linear(3, width)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.used(patches.mean(2))
        return tokens - tokens.mean((0, 1), keepdim=True)


class Short(Block):
    """Block that loses the free tokens."""

    name = "short"

    def __init__(self, site: object, options: Block.Options) -> None:
        super().__init__(site, options)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        return x[:, -centres.shape[1] :]


def test_the_kit_finds_parts_that_break_their_contract() -> None:
    """They would train, and be wrong."""
    from bench.conformance.suites import part_suite

    silent = {name: part_suite(Silent).outcome(name) for name in ("gradients", "independence")}
    assert "does not depend on unused.weight" in silent["gradients"].remark
    assert "depend on the other clouds" in silent["independence"].remark
    short = part_suite(Short).outcome("shapes")
    assert short.status == "fail"
    assert "for 1 patches behind 1 free tokens it returns torch.float32 [3, 1, 24]" in short.remark
