"""Who is judged without labels, beside whom, and why the others are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bench.errors import UsageError
from bench.execution.events import Channel
from bench.execution.worker import Worker
from bench.interop.encoders import ImportRequest, import_checkpoint
from bench.interop.names_transformer import PRETRAIN
from bench.interop.naming import release_state
from bench.methods.base import Given
from bench.methods.recon import ReCon
from bench.paths import Workspace
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest
from bench.plan.resolve import Resolution, resolve
from bench.registry import METHODS, PROTOCOLS
from bench.spec import BackboneSpec
from bench.store.queries import metric_rows
from bench.store.store import Store
from bench.training.aligned import load_heads
from tests.teachers.foreign_toys import TIMM, clip_file, clip_model, timm_file


def asked(**fields: object) -> RunRequest:
    """A smoke request for zero-shot classification."""
    values = {"preset": "smoke", "protocols": ("zeroshot",), "datasets": ("shapes-scan",), "device": "cpu", **fields}
    return RunRequest.model_validate({"precision": "fp32", "compile": "off", **values})


def resolved(tmp_path: Path, **fields: object) -> Resolution:
    return resolve(asked(**fields), Workspace(tmp_path / "results", tmp_path / "cache"))


def methods(found: Resolution) -> list[tuple[str, int]]:
    return [(run.encoder.method, run.seed) for run in found.runs]


def reasons(found: Resolution) -> dict[str, str]:
    return {skipped.method: skipped.reason for skipped in found.skipped}


def test_the_teacher_is_judged_beside_every_encoder_it_taught(tmp_path: Path) -> None:
    """A zero-shot figure without its opponent says nothing about points."""
    found = resolved(tmp_path, methods=("recon", "multitask", "point-mae"), seeds=(0, 1))
    names = ("recon", "multitask", "render-classify")
    assert sorted(methods(found)) == sorted((name, seed) for name in names for seed in (0, 1))
    alone = next(run.encoder for run in found.runs if run.encoder.method == "render-classify")
    recon = next(run.encoder for run in found.runs if run.encoder.method == "recon")
    assert (alone.teacher, alone.backbone, alone.recipe) == (recon.teacher, recon.backbone, None)
    assert reasons(found) == {
        "point-mae": "no text-aligned output: it has no head into the space of a teacher",
        "scratch": "no text-aligned output: nothing was trained",
    }
    assert {name for name, _ in methods(resolved(tmp_path, methods=("recon",), baseline=False))} == {"recon"}


def test_texts_are_reached_only_through_a_teacher_that_knows_them(tmp_path: Path) -> None:
    """An image head into another network's space would be compared with texts it never saw."""
    joint = resolved(tmp_path, methods=("recon",), captions="none", baseline=False)
    assert methods(joint) == [("recon", 0)], "pictures and texts of one CLIP share a space"
    silent = resolved(tmp_path, methods=("recon",), captions="none", overrides={"method.modalities": "text"})
    assert reasons(silent)["recon"] == "no text-aligned output: its pretraining saw no captions"
    files = {"teacher.model": TIMM, "teacher.checkpoint": str(timm_file(tmp_path))}
    blind = resolved(tmp_path, methods=("recon",), captions="none", teacher="timm", overrides=files)
    assert "its image teacher 'timm' shares no space with texts" in reasons(blind)["recon"]
    apart = {**files, "text_teacher.checkpoint": str(clip_file(tmp_path, clip_model()))}
    two = resolved(tmp_path, methods=("recon",), teacher="timm", text_teacher="open-clip", overrides=apart)
    assert methods(two) == [("recon", 0)], "texts are reached, and there is no picture of that space to show"


def test_a_teacher_alone_is_judged_by_nobody_else(tmp_path: Path) -> None:
    """It would fail in every protocol that wants an encoder."""
    found = resolved(tmp_path, methods=("render-classify",), protocols=("linear", "zeroshot"))
    assert methods(found) == [("render-classify", 0)]
    assert reasons(found) == {"render-classify": "it has no encoder, only a teacher"}
    assert "render-classify" not in METHODS.standalone()
    assert "retrieval" not in PROTOCOLS.standalone()
    assert "zeroshot" in PROTOCOLS.standalone()
    files = {"teacher.model": TIMM, "teacher.checkpoint": str(timm_file(tmp_path))}
    with pytest.raises(UsageError, match="gives no features of texts"):
        resolved(tmp_path, methods=("render-classify",), teacher="timm", overrides=files)


def test_retrieval_needs_captions(tmp_path: Path) -> None:
    """Without sentences there is nothing to find."""
    found = resolved(tmp_path, methods=("recon",), protocols=("retrieval",), datasets=("shapes-scan-novel", "shapes"))
    recon = {skipped.dataset: skipped.reason for skipped in found.skipped if skipped.method == "recon"}
    assert recon == {"shapes-scan-novel": "the data set has no captions"}
    assert [run.setting for run in found.runs if run.encoder.method == "recon"] == [
        "cloud-to-caption",
        "caption-to-cloud",
        "cloud-to-image",
    ]


def test_imported_weights_are_judged_with_the_teacher_that_is_named(tmp_path: Path, toy_modelnet: Path) -> None:
    """A released zero-shot checkpoint could not be evaluated, or would be against a space it does not know."""
    workspace = Workspace(tmp_path / "results", tmp_path / "cache")
    workspace.prepare()
    sizes = {"points": 64, "groups": 8, "group_size": 4, "heads": 3}
    size = BackboneSpec.model_validate({**sizes, "width": 24, "depth": 2, "tokenizer_width": 16})
    torch.manual_seed(0)
    model = ReCon.build(size, ReCon.Options(reference=True), Given(image=24, text=24))
    torch.save({"base_model": release_state(model.state_dict(), PRETRAIN)}, tmp_path / "zeroshot.pth")
    assignments = tuple(f"backbone.{name}={value}" for name, value in sizes.items())
    imported = import_checkpoint(ImportRequest(tmp_path / "zeroshot.pth", assignments=assignments), workspace)
    kept, own = load_heads(imported.folder), model.aligned_heads()
    assert all((kept[space].weight == own[space][1].weight.detach().numpy()).all() for space in ("image", "text"))

    data = f"modelnet-h5:{toy_modelnet}"
    common = {"encoders": (imported.name,), "datasets": (data,), "protocols": ("zeroshot", "linear")}
    wrong = resolve(asked(**common), workspace)
    assert "heads reach spaces of 24 numbers and teacher 'tiny-clip' has 64" in reasons(wrong)["recon"]
    named = {"teacher": "open-clip", "overrides": {"teacher.checkpoint": str(clip_file(tmp_path, clip_model()))}}
    plan = make_plan(asked(**common, **named, baseline=True), workspace, None)
    runs = {(run.spec.encoder.method, run.spec.protocol.name): run for run in plan.runs}
    assert {("recon", "zeroshot"), ("recon", "linear"), ("render-classify", "zeroshot")} <= set(runs)
    assert runs["recon", "linear"].spec.encoder.teacher is None, "other protocols keep the key they had"
    channel = Channel(os.open(os.devnull, os.O_WRONLY))
    for job in plan.jobs:
        if not any(run.spec.protocol.name == "zeroshot" for run in job.runs):
            continue
        payload = {"job": job.model_dump(mode="json"), "results": str(workspace.results), "cache": str(workspace.cache)}
        assert Worker({**payload, "store_url": None, "indexes": True, "plugins": [], "command": []}, channel).perform()
    rows = [row for row in metric_rows(Store(workspace.results)) if row.name == "accuracy" and row.split == "test"]
    assert {(row.method, row.n_objects) for row in rows} == {("recon (zeroshot)", 36), ("render-classify", 36)}
    assert {row.seen for row in rows if row.method == "render-classify"} == {None}, "nobody knows what that CLIP read"
