"""Our own plugins keep the contracts that authors are held to; if not, the models they copy from are wrong."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.conformance import DatasetConformance, MethodConformance, ProtocolConformance, TeacherConformance
from bench.conformance.declarations import try_import
from bench.conformance.protocol_checks import ProtocolKit, description
from bench.conformance.suites import method_suite
from bench.data.modelnet_h5 import ModelNetH5
from bench.methods.point_mae import PointMAE
from bench.protocols.linear import Linear
from bench.registry import METHODS, PROTOCOLS
from bench.spec import BackboneSpec
from bench.teachers.tiny_clip import TinyClip
from tests.conformance.broken_methods import Sound

SMALL = BackboneSpec(points=64, groups=12, group_size=8, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)
TAUGHT_APART = {"import": "tested for all methods at once", "several gpus": "tests/training/test_several_ranks.py"}


@pytest.mark.parametrize("name", [name for name in METHODS.names() if METHODS.entry(name).source == "built in"])
def test_a_built_in_method_conforms(name: str) -> None:
    """Whoever copies one of our files starts from a method that keeps its contract."""
    if name in ("scratch", "render-classify"):
        pytest.skip("it has nothing to pretrain and no architecture of its own")
    suite = method_suite(METHODS.load(name), size=SMALL, steps=9, image_size=32, device="auto", left_out=TAUGHT_APART)
    outcomes = list(suite.run())
    if not METHODS.load(name).has_encoder:
        assert {o.check for o in outcomes if o.status == "pass"} == {"options", "metadata", "recipes", "texts"}
        return
    assert {o.check: o.remark for o in outcomes if o.status == "fail"} == {}
    skipped = {o.check for o in outcomes if o.status == "skip"}
    assert skipped <= {"import", "no captions", "devices", "several gpus"}, skipped


@pytest.mark.parametrize("name", ["recon", "multitask", "two-tower"])
def test_tuned_teachers_conform(name: str) -> None:
    """No gradient would reach a tower, or a resumed run would go on with another one."""
    options = METHODS.load(name).parse({"decoder_depth": 1, "teachers": "tuned", "teacher_lr_factor": 1.0})
    apart = TAUGHT_APART | {"memory": "the frozen form's", "texts": "the frozen form's", "learns": "the frozen form's"}
    suite = method_suite(
        METHODS.load(name), size=SMALL, options=options, steps=9, image_size=32, device="auto", left_out=apart
    )
    outcomes = {o.check: o for o in suite.run()}
    assert {o.check: o.remark for o in outcomes.values() if o.status == "fail"} == {}
    assert outcomes["gradients"].status == outcomes["resume"].status == "pass"


def test_importing_methods_and_examples_has_no_side_effects_and_the_kit_needs_no_pytest() -> None:
    """A list would be slow, one method would change another's random numbers, or check-plugin would want pytest."""
    modules = sorted({entry.module for entry in METHODS if entry.source == "built in"})
    examples = resources.files("bench.scaffold.examples").iterdir()
    modules += sorted(f"bench.scaffold.examples.{file.name[:-3]}" for file in examples if file.name.endswith(".py"))
    statement = "; ".join(f"importlib.import_module('{module}')" for module in ("bench.conformance.suites", *modules))
    statement = f"sys.modules['pytest'] = None; {statement}"  # as where it is not installed
    assert "no side effects" in try_import(statement, "bench.methods.base")


class TestPointMAE(MethodConformance):
    """The class authors derive from, as the documentation shows it."""

    method = PointMAE
    size = SMALL
    options: ClassVar[dict[str, Any]] = {"mask": "block", "tokenize": "all"}
    steps = 9
    left_out = TAUGHT_APART


class TestModelNet(DatasetConformance):
    """A data set that comes as files."""

    dataset = ModelNetH5
    left_out: ClassVar[dict[str, str]] = {"import": "torch-free import is tested in tests/data"}

    @pytest.fixture(autouse=True)
    def _files(self, toy_modelnet: Path) -> None:
        type(self).root = toy_modelnet


@pytest.mark.parametrize("name", [name for name in PROTOCOLS.names() if PROTOCOLS.entry(name).source == "built in"])
def test_the_card_of_a_built_in_protocol_states_every_option(name: str) -> None:
    """A preset's shortened training, or a head's dropout, would be read nowhere."""
    assert description(ProtocolKit(PROTOCOLS.load(name))).startswith("every option covered")


class TestLinear(ProtocolConformance):
    """A protocol on frozen features."""

    protocol = Linear
    left_out: ClassVar[dict[str, str]] = {"import": "the same as for the methods"}


class QuickClip(TinyClip):
    """tiny-clip fitted for a moment."""

    class Options(TinyClip.Options):
        """Fewer objects and epochs."""

        objects: int = 48
        epochs: int = 1


class TestTinyClip(TeacherConformance):
    """A teacher of images and texts."""

    teacher = QuickClip
    left_out: ClassVar[dict[str, str]] = {"import": "the same as for the methods"}


def test_options_of_the_class_reach_the_kit() -> None:
    """A test of other options would quietly test the defaults."""
    resolved = TestPointMAE.suite().kit.resolved
    assert (resolved.mask, resolved.tokenize) == ("block", "all")
    assert resolved.decoder_depth == PointMAE.defaults("nano").decoder_depth  # type: ignore[attr-defined]


def test_a_failed_or_skipped_check_is_a_failed_or_skipped_test() -> None:
    """A broken plugin's own test suite must be red, and say why in one line."""

    class Mine(MethodConformance):
        method = Sound
        size = BackboneSpec(points=4, groups=8, group_size=4, width=16, heads=2)
        left_out = TAUGHT_APART

    with pytest.raises(pytest.fail.Exception, match=r"method sound, builds: backbone\.points 4 is less than"):
        Mine().test_conforms("builds")
    with pytest.raises(pytest.skip.Exception, match="depends on 'builds', which failed"):
        Mine().test_conforms("losses")
    Mine().test_conforms("metadata")
