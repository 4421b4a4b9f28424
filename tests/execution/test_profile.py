"""If these fail, the profile praises or blames the wrong thing: its counts, its times or its verdicts are off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.models.ops import set_backend
from bench.profiling.clock import StageClock
from bench.profiling.plan import ProfilePlan, ProfileRequest
from bench.profiling.result import COMPILED, EXACT, FAST, TEACHER, PathName, PathResult, fastest, ratios
from bench.profiling.trial import PathSpec, Trial
from bench.training.precision import autocast

SIZES = (
    "backbone.points=48",
    "backbone.groups=10",
    "backbone.group_size=8",
    "backbone.width=24",
    "backbone.depth=2",
    "backbone.heads=3",
    "backbone.tokenizer_width=8",
    "backbone.drop_path=0.0",
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Trials set torch's threads and the op backend of their process, which here is the test's."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    set_backend("auto")


def trial(name: PathName, method: str = "recon", *more: str, batch: int = 4) -> Trial:
    request = ProfileRequest(
        method=method, preset="smoke", device="cpu", batch=batch, threads=1, quick=True, overrides=(*SIZES, *more)
    )
    paths = {path["name"]: path for path in ProfilePlan(request).paths()}
    return Trial(PathSpec.model_validate(paths[name]))


def linear(rows: int, reads: int, writes: int, *, input_gradient: bool = True) -> int:
    """Operations of a linear layer, forward and backward."""
    return 2 * rows * reads * writes * (3 if input_gradient else 2)


def attention(queries: int, keys: int, width: int, *, flash: bool) -> int:
    """Two products forward, four backward; the flash kernel computes one of them again."""
    return 2 * queries * keys * width * (2 + (5 if flash else 4))


def expected_flops(t: Trial, *, tokenized: int, masked: int, flash: bool) -> int:
    """Count one sample's operations by hand, layer by layer."""
    b, model = t.path.spec.backbone, t.model
    c, w = b.width, b.tokenizer_width
    visible = b.groups - masked
    points = tokenized * b.group_size
    total = linear(points, 3, w, input_gradient=False) + linear(points, w, 2 * w)
    total += linear(points, 2 * w, 4 * w) + linear(tokenized, 2 * w, 4 * w) + linear(points, 4 * w, c)

    def block(tokens: int) -> int:
        dense = linear(tokens, c, 3 * c) + linear(tokens, c, c) + 2 * linear(tokens, c, 4 * c)
        return dense + attention(tokens, tokens, c, flash=flash)

    def position(tokens: int) -> int:
        return linear(tokens, 3, 128, input_gradient=False) + linear(tokens, 128, c)

    total += b.depth * block(visible) + position(visible)
    total += int(t.path.spec.options["decoder_depth"]) * block(b.groups) + position(b.groups)  # type: ignore[arg-type]
    total += linear(masked, c, 3 * b.group_size)
    if t.path.spec.method == "recon":
        # Published: the gradient of the queries stops at the local tokens they read.
        queries = 2 * linear(3, c, c) + 2 * linear(3, c, 4 * c) + linear(visible, c, 2 * c, input_gradient=False)
        total += b.depth * (queries + attention(3, visible, c, flash=flash))
        total += sum(linear(1, c, head.out_features) for head in (model.image_head, model.text_head))  # type: ignore
    return total


@pytest.mark.parametrize("method", ["recon", "point-mae"])
@pytest.mark.parametrize("name", [EXACT, FAST])
def test_counted_operations_equal_an_analytic_count(method: str, name: PathName) -> None:
    """The share of the machine's peak would be a share of something else."""
    t = trial(name, method)
    masked = int(10 * float(t.path.spec.options["mask_ratio"]))  # type: ignore[arg-type]
    tokenized = 10 if name == EXACT else 10 - masked
    flash = t.path.spec.numerics.precision == "fp32"
    assert t.flops() == expected_flops(t, tokenized=tokenized, masked=masked, flash=flash)


@pytest.mark.parametrize("name", [EXACT, TEACHER, FAST])
def test_stages_add_up_to_the_step(name: PathName) -> None:
    """A part of the step would be hidden, or counted twice."""
    t = trial(name)
    t.step()
    found = t.step()
    parts = {"data", "group", "tokenize", "encode", "decode", "loss", "backward", "optimiser", "other"}
    assert set(found["stages"]) == parts | ({"teacher"} if name == TEACHER else set())
    assert all(seconds > 0 for seconds in found["stages"].values())
    assert sum(found["stages"].values()) == pytest.approx(found["seconds"], rel=0.01, abs=1e-4)
    if name == TEACHER:
        assert found["stages"]["teacher"] > found["stages"]["encode"], "a ViT costs more than two narrow blocks"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("act-dvae", {"tokenize", "encode", "decode"}),
        ("act", {"tokenize", "encode", "decode", "teacher"}),
        ("crosspoint", {"tokenize", "encode", "other"}),
        ("multitask", {"tokenize", "encode", "decode"}),
        ("two-tower", {"tokenize", "encode", "decode"}),
    ],
)
def test_every_method_is_told_apart_into_its_parts(method: str, expected: set[str]) -> None:
    """The time of a method's encoder would be shown as its loss."""
    t = trial(EXACT, method)
    found = t.step()["stages"]
    assert expected | {"data", "group", "loss", "backward", "optimiser"} <= set(found)
    assert t.flops() > 0


def test_a_stage_inside_another_is_taken_out_of_it() -> None:
    """Encode would swallow tokenize, data would swallow group and teacher."""
    clock = StageClock("cpu")
    inner = clock.around("group", lambda: sum(range(300_000)))
    clock.start()
    clock.around("data", inner)()
    found = clock.stop()
    assert found["group"] > 10 * found["data"]
    assert clock.around("data", lambda: 1)() == 1
    assert clock.seconds == found, "outside a step nothing is measured"


def test_watching_does_not_change_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile would describe another computation than the one that trains."""
    watched = trial(EXACT)
    monkeypatch.setattr("bench.profiling.trial.watch", lambda loop, clock: None)
    plain = trial(EXACT)
    for t in (watched, plain):
        t.step()
        t.step()
    for (name, a), b in zip(watched.model.state_dict().items(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("method", ["recon", "point-mae"])
def test_fast_and_exact_compute_the_same_loss(method: str) -> None:
    """Fast would be fast at something else: only rounding and BatchNorm's statistics may differ."""
    losses: dict[str, dict[str, Tensor]] = {}
    fast = trial(FAST, method, batch=8)
    exact = trial(EXACT, method, batch=8)
    fast.model.load_state_dict(exact.model.state_dict())
    for name, t in ((EXACT, exact), (FAST, fast)):
        for module in t.model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.eval()
        prepared = t.loop.objective.prepare(torch.arange(8), torch.Generator().manual_seed(3), 0)
        assert ("patches" in prepared) == (name == EXACT)
        with torch.no_grad(), autocast("cpu", "bf16" if name == FAST else "fp32"):
            losses[name] = t.loop.objective.compute(prepared)
    assert losses[FAST].keys() == losses[EXACT].keys()
    for part, value in losses[EXACT].items():
        torch.testing.assert_close(losses[FAST][part].float(), value, rtol=0.02, atol=1e-4, msg=part)


def path_result(name: PathName, rate: float, share: float = 0.4, warmup: float = 0.0) -> PathResult:
    return PathResult(
        name=name,
        precision="fp32" if name in (EXACT, TEACHER) else "bf16",
        compile=name == COMPILED,
        tokenize="visible",
        batch=16,
        seconds=(16 / rate,),
        stages={"other": 16 / rate},
        samples_per_second=rate,
        flops_per_sample=1.0,
        flops_per_second=rate,
        share_of_peak=share,
        peak_memory_bytes=1,
        warmup_seconds=warmup,
    )


def test_a_compilation_counts_with_its_warm_up() -> None:
    """Two minutes of compiling would be hidden behind a higher rate."""
    paths = (path_result(EXACT, 10.0), path_result(FAST, 40.0), path_result(COMPILED, 50.0, warmup=100.0))
    assert fastest(paths, planned_samples=1_000_000).name == COMPILED
    assert fastest(paths, planned_samples=10_000).name == FAST


def test_verdicts_follow_from_the_figures() -> None:
    """A missed target would read as reached."""
    paths = (path_result(EXACT, 10.0), path_result(TEACHER, 4.0), path_result(FAST, 45.0, share=0.34))
    peak: Any = {"fp32": 200e9, "bf16": 900e9}
    found = ratios(paths, paths[2], peak, device="cpu", sized=True, released=True)
    assert {ratio.name: ratio.verdict for ratio in found} == {
        "fast / exact": "reached",
        "fast / exact + teacher": "not reached",
        "exact samples/s per GFLOP/s of fp32 peak": "reached",
        "fast share of bf16 peak": "not reached",
    }
    assert found[1].value == pytest.approx(11.25)
    other = ratios(paths[:1] + paths[2:], paths[2], peak, device="cpu", sized=False, released=False)
    assert {ratio.verdict for ratio in other} == {"no target at this size"}
    assert len(other) == 3, "without a live teacher there is nothing to compare with it"
    on_gpu = ratios(paths, paths[2], peak, device="cuda", sized=True, released=True)
    assert {ratio.name: ratio.target for ratio in on_gpu if ratio.target is not None} == {
        "fast / exact + teacher": 5.0,
        "fast share of bf16 peak": 0.35,
    }
