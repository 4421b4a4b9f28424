"""Artefacts: shared work is published whole, found again, and never used when damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import FINGERPRINT, tree

from bench.errors import SetupError
from bench.store import ArtifactStore, Store, rebuild

KEY = "ab" * 32


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "results")


def fill(folder: Path, text: str = "weights") -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_text(text)
    (folder / "deep" / "log.json").write_text("[]")
    return folder


def test_an_artefact_is_moved_into_place_and_found(artifacts: ArtifactStore) -> None:
    """One pretraining serves all evaluations only if it is found again."""
    source = fill(artifacts.results / "work")
    placed = artifacts.publish_folder("encoder", KEY, FINGERPRINT, source)
    assert placed == artifacts.results / "artifacts" / "encoder" / KEY / FINGERPRINT[:16]
    assert tree(placed) == ["MANIFEST.json", "deep/log.json", "model.safetensors"]
    assert not source.exists()
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT, digests=True) == placed
    assert artifacts.manifest(placed).fingerprint == FINGERPRINT
    assert artifacts.find_folder("teacher", KEY, FINGERPRINT) is None
    assert artifacts.find_folder("encoder", KEY, "beef" * 16) is None
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT[:16] + "0" * 48) is None


def test_the_first_artefact_stays(artifacts: ArtifactStore) -> None:
    """Runs that already used an encoder must keep pointing at the same weights."""
    placed = artifacts.publish_folder("encoder", KEY, FINGERPRINT, fill(artifacts.results / "a", "first"))
    artifacts.publish_folder("encoder", KEY, FINGERPRINT, fill(artifacts.results / "b", "second"))
    assert (placed / "model.safetensors").read_text() == "first"
    assert not (artifacts.results / "b").exists()
    newer = artifacts.publish_folder("encoder", KEY, "0" * 64, fill(artifacts.results / "c"))
    assert artifacts.find_folder("encoder", KEY, None) == newer


def test_an_artefact_from_another_disk_is_copied(artifacts: ArtifactStore, small_disk: Callable[..., Path]) -> None:
    """A scratch disk for checkpoints is common; a rename does not cross it."""
    source = fill(small_disk("size=1m") / "work")
    placed = artifacts.publish_folder("encoder", KEY, FINGERPRINT, source)
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT, digests=True) == placed
    assert not source.exists()
    assert not list(placed.parent.parent.glob(".incoming-*"))


def test_a_full_disk_keeps_the_source_and_leaves_nothing(
    artifacts: ArtifactStore, small_disk: Callable[..., Path], tmp_path: Path
) -> None:
    """Hours of pretraining must survive the failure to publish them."""
    source = fill(tmp_path / "work", "x" * 2_000_000)
    full = ArtifactStore(small_disk("size=1m") / "results")
    with pytest.raises(SetupError, match="disk full") as caught:
        full.publish_folder("encoder", KEY, FINGERPRINT, source)
    assert "\n" not in str(caught.value)
    assert tree(source) == ["deep/log.json", "model.safetensors"]
    assert tree(full.results) == []


@pytest.mark.parametrize("digests", [False, True])
def test_a_damaged_artefact_is_set_aside(artifacts: ArtifactStore, digests: bool) -> None:
    """A truncated checkpoint must be trained again, not evaluated."""
    placed = artifacts.publish_folder("encoder", KEY, FINGERPRINT, fill(artifacts.results / "work"))
    (placed / "model.safetensors").write_text("WEIGHTS" if digests else "weigh")
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT, digests=digests) is None
    (place, reason) = artifacts.set_aside[0]
    assert "model.safetensors" in reason
    assert place.is_relative_to(artifacts.results / "quarantine" / "artifacts" / "encoder")
    artifacts.publish_folder("encoder", KEY, FINGERPRINT, fill(artifacts.results / "work"))
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT, digests=True) == placed


def test_rebuild_looks_at_artefacts_too(tmp_path: Path) -> None:
    """`bench db rebuild` promises that what is left is sound."""
    store = Store(tmp_path / "results")
    placed = store.artifacts.publish_folder("encoder", KEY, FINGERPRINT, fill(store.results / "work"))
    shutil.copytree(placed, placed.parent / "feedfeedfeedfeed")
    (placed / "deep" / "log.json").unlink()
    reasons = sorted(reason for _, reason in rebuild(store.results).quarantined)
    assert reasons == ["deep/log.json is missing", f"it belongs to fingerprint {FINGERPRINT}"]


def test_links_are_refused(artifacts: ArtifactStore) -> None:
    """A link would be stored as whatever it points to later."""
    source = fill(artifacts.results / "work")
    (source / "latest").symlink_to("model.safetensors")
    with pytest.raises(ValueError, match="latest"):
        artifacts.publish_folder("encoder", KEY, FINGERPRINT, source)
    assert artifacts.find_folder("encoder", KEY, FINGERPRINT) is None


def test_a_missing_source_is_one_line(artifacts: ArtifactStore) -> None:
    """A typo in a path must not look like a full disk."""
    with pytest.raises(SetupError, match="No such file"):
        artifacts.publish_folder("encoder", KEY, FINGERPRINT, artifacts.results / "absent")
