"""Which teachers a request comes down to; what cannot work is one line before anything runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import JsonValue

from bench.errors import BenchError
from bench.paths import Workspace
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.spec import PretrainSpec, content_key
from tests.teachers.foreign_toys import TIMM, clip_file, clip_model, timm_file


def encoder(tmp_path: Path, **fields: object) -> PretrainSpec:
    """The pretrained encoder of a smoke request."""
    values = {"preset": "smoke", "baseline": False, "device": "cpu", "precision": "fp32", "compile": "off", **fields}
    workspace = Workspace(tmp_path / "results", tmp_path / "cache")
    return resolve(RunRequest.model_validate(values), workspace).runs[0].encoder


def test_texts_may_have_a_teacher_of_their_own(tmp_path: Path) -> None:
    """Image features of one network and text features of another: the paper's own set-up."""
    weights, clip = timm_file(tmp_path), clip_file(tmp_path, clip_model())
    spec = encoder(
        tmp_path,
        teacher="timm",
        text_teacher="open-clip",
        overrides={
            "teacher.model": TIMM,
            "teacher.checkpoint": str(weights),
            "text_teacher.checkpoint": str(clip),
            "recipe.teacher_prompts": 6,
        },
    )
    assert spec.teacher is not None
    assert spec.text_teacher is not None
    assert (spec.teacher.name, spec.text_teacher.name) == ("timm", "open-clip")
    assert str(tmp_path) not in spec.model_dump_json(), "a key must not depend on where files lie"
    assert spec.recipe is not None
    assert spec.recipe.teacher_prompts == 6


def test_only_what_is_asked_for_enters_the_key(tmp_path: Path) -> None:
    """Otherwise a teacher nobody uses would split results that are the same."""
    alone = encoder(tmp_path, methods=("point-mae",))
    assert content_key(alone) == content_key(encoder(tmp_path, methods=("point-mae",), live_teacher=True))
    assert content_key(alone) == content_key(encoder(tmp_path, methods=("point-mae",), text_teacher="tiny-clip"))
    silent = encoder(tmp_path, captions="none", text_teacher="tiny-clip")
    assert silent.text_teacher is None
    assert not encoder(tmp_path).live_teacher
    assert encoder(tmp_path, live_teacher=True).live_teacher
    texts_alone = encoder(tmp_path, text_teacher="tiny-clip", overrides={"method.modalities": "text"})
    assert texts_alone.teacher is None
    assert texts_alone.text_teacher is not None


TUNED = {"method.teachers": "tuned"}


def test_tuned_teachers_change_the_key_and_nothing_else_does(tmp_path: Path) -> None:
    """Two names of one experiment split results; one name of two mixes them."""
    frozen, tuned = encoder(tmp_path), encoder(tmp_path, overrides=TUNED)
    assert not {"teachers", "teacher_lr_factor"} & frozen.options.keys(), "earlier keys stay"
    assert tuned.options == {**frozen.options, "teachers": "tuned", "teacher_lr_factor": 0.1}, "the rate is in the key"
    assert (tuned.teacher, tuned.images, tuned.captions) == (frozen.teacher, frozen.images, frozen.captions)
    assert encoder(tmp_path, overrides=TUNED, live_teacher=True) == tuned, "a tuned teacher runs in every step anyway"


def test_tuned_teachers_share_the_untrained_network_and_are_not_asked_for_texts(tmp_path: Path) -> None:
    """Zero-shot would compare with the stored teacher, whose space the encoder has left."""
    values = {"preset": "smoke", "protocols": ("knn", "zeroshot"), "datasets": ("shapes-scan",), "device": "cpu"}
    for method in ("recon", "multitask", "two-tower"):
        scratch = set()
        for overrides in ({}, TUNED):
            request = RunRequest.model_validate({**values, "methods": (method,), "overrides": overrides})
            found = resolve(request, Workspace(tmp_path / "results", tmp_path / "cache"))
            scratch |= {content_key(run.encoder) for run in found.runs if run.encoder.method == "scratch"}
        reasons = {skipped.method: skipped.reason for skipped in found.skipped}
        assert "it trained its teachers, which are not kept" in reasons[method]
        assert len(scratch) == 1


@pytest.mark.parametrize("form", ["fair", "published"])
@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("recon", TUNED),
        ("recon", {**TUNED, "method.teacher_lr_factor": 0.5, "method.mask_ratio": 0.3}),
        ("point-mae", {"method.decoder_heads": 2}),
    ],
)
def test_options_that_later_versions_added_do_not_double_scratch(
    tmp_path: Path, form: str, method: str, overrides: dict[str, JsonValue]
) -> None:
    """The same untrained network was trained and judged twice, and the report had two equal rows."""
    scratch = set()
    for changed in ({}, overrides):
        values = {"preset": "smoke", "protocols": ("finetune",), "datasets": ("shapes-scan",), "form": form}
        request = RunRequest.model_validate({**values, "methods": (method,), "overrides": changed, "device": "cpu"})
        found = resolve(request, Workspace(tmp_path / "results", tmp_path / "cache"))
        scratch |= {content_key(run.encoder) for run in found.runs if run.encoder.method == "scratch"}
    assert len(scratch) == 1


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"teacher": "timm", "overrides": {"teacher.model": TIMM}}, "gives no features of texts: name one that does"),
        ({"teacher": "sentence-transformers"}, "gives no features of images: choose another with --teacher"),
        ({"text_teacher": "sentence-transformer"}, "unknown teacher .* did you mean sentence-transformers"),
        ({"overrides": {"text_teacher.model": "x"}}, "--set text_teacher.model: nothing in this request"),
        (
            {"text_teacher": "open-clip", "overrides": {"text_teacher.tag": "opnai"}},
            "has no weights 'opnai': known are openai",
        ),
        ({"overrides": {"recipe.teacher_prompts": 61}}, "recipe.teacher_prompts = 61: there are 60 templates"),
        ({"teacher": "timm", "text_teacher": "tiny-clip"}, "not on disk: run `bench teachers fit timm"),
        (
            {"text_teacher": "sentence-transformers", "overrides": TUNED},
            "teacher 'sentence-transformers' cannot be tuned: it gives no text network to train; use tiny-clip or open",
        ),
        ({"overrides": {**TUNED, "method.modalities": "none"}}, "modalities=none reads no teacher"),
        ({"overrides": {**TUNED, "method.modalities": "text"}, "captions": "none"}, "no term of recon reads a teacher"),
        ({"overrides": {"method.teacher_lr_factor": 0.5}}, "frozen teachers have no learning rate; set teachers=tuned"),
        ({"overrides": {**TUNED, "method.teacher_lr_factor": -1}}, "teacher_lr_factor = -1: .* greater than or equal"),
        ({"overrides": {"method.teachers": "trained"}}, "teachers = 'trained': input should be 'frozen' or 'tuned'"),
        ({"methods": ("point-mae",), "overrides": TUNED}, "method.teachers: nothing in this request has that field"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path: Path, fields: dict[str, object], line: str) -> None:
    """Found after hours of pretraining, or as a traceback of a library, it would cost a day."""
    if "sentence-transformers" in str(fields) and importlib.util.find_spec("sentence_transformers") is None:
        pytest.skip("needs pip install 'recon-bench[language]'")
    with pytest.raises(BenchError, match=line) as caught:
        encoder(tmp_path, **fields)
    assert "\n" not in str(caught.value)
