"""``bench analyse``, as a user types it, on encoders that this code trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.execution.pretrain import PretrainJob, run_pretraining
from bench.methods.base import Method
from bench.methods.crosspoint import CrossPoint
from bench.methods.point_mae import PointMAE
from bench.paths import Workspace
from bench.plan.code import encoder_fingerprint
from bench.plan.encoders import encoder_key
from bench.plan.located import locate, open_dataset
from bench.plan.overrides import Overrides
from bench.plan.presets import preset
from bench.progress import silent
from bench.spec import PretrainSpec, Recipe
from bench.store.artifacts import ArtifactStore
from bench.training.precision import resolve_numerics

Call = Callable[..., tuple[int, str, str]]
RECIPE = Recipe(epochs=2, batch_size=16, lr=1e-3, warmup_epochs=0)


def pretrained(place: Workspace, data: Path, method: type[Method], **changes: object) -> PretrainSpec:
    """Train at the smallest size and store the encoder, as a job does."""
    located = locate(f"modelnet-h5:{data}", "data", preset("smoke"), Overrides({}, frozenset({"data"})), place)
    numerics = resolve_numerics("cpu", "fp32", compile=False)
    fields = {"method": method.name, "backbone": preset("smoke").backbone, "recipe": RECIPE, "seed": 0}
    options = {**method.defaults("smoke").model_dump(mode="json"), **changes.pop("options", {})}  # type: ignore[dict-item]
    spec = PretrainSpec(**{**fields, "options": options, "data": located.spec, "numerics": numerics, **changes})  # type: ignore[arg-type]
    job = PretrainJob(
        spec=spec, method=method, dataset=open_dataset(located, place), teacher=None, cache=place.cache,
        workdir=place.work("x"), progress=silent,
    )  # fmt: skip
    folder = place.results / "made"
    folder.mkdir()
    run_pretraining(job, folder)
    (folder / "provenance.json").write_text(json.dumps({"trained_on": "toyset"}))
    ArtifactStore(place.results).publish_folder("encoder", encoder_key(spec), encoder_fingerprint(spec).digest, folder)
    return spec


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> Workspace:
    """A results folder with two encoders of Point-MAE and one of CrossPoint without attention or decoder."""
    place = Workspace.at(tmp_path_factory.mktemp("analyse") / "results")
    place.prepare()
    pretrained(place, toy_modelnet, PointMAE, held_out=True)
    pretrained(place, toy_modelnet, PointMAE, held_out=True, seed=1, fraction=0.5)
    plain = {"terms": "imid", "backbone": "pointnet", "embedding": 16}
    pretrained(place, toy_modelnet, CrossPoint, options=plain)
    return place


@pytest.fixture
def call(call: Call, place: Workspace, tmp_path: Path) -> Call:
    """Call ``bench analyse`` in this process, writing below the test's folder; exit code, output, error output."""
    return lambda *arguments: call("analyse", *arguments, "--results", place.results, "--out", tmp_path)


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_every_kind_writes_picture_numbers_and_origin(call: Call, tmp_path: Path, toy_modelnet: Path) -> None:
    """A figure could not be traced to encoder, code and data."""
    on = ("--dataset", f"modelnet-h5:{toy_modelnet}")
    both = ("--method", "point-mae")
    one = (*both, "--seed", "0")
    for kind, arguments, rows, words in (
        ("losses", both, 4, "point-mae, 50 % of toyset, seed 1: held-out mdm lowest"),
        ("attention-distance", (*both, *on, "--count", 4), 2 * 2 * 2 * 2, "patches (patches) reach"),
        ("attention-maps", (*one, *on, "--count", 2, "--token", "cls", "--token", "patch:5"), 2 * 2 * 16, "wrote"),
        ("reconstructions", (*one, *on, "--objects", "0,7,30"), 3, "hidden 56 % of patches; Chamfer distance"),
        ("embedding", (*both, *on, "--perplexity", 5), 2 * 36, "10-neighbour purity"),
    ):
        code, output, error = call(kind, *arguments)
        assert (code, error) == (0, ""), kind
        assert words in output
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
        assert len(table(tmp_path / f"{kind}.csv")) == rows, kind
        facts = json.loads((tmp_path / f"{kind}.json").read_text())
        origins = facts["origins"]
        assert len(origins) == (1 if kind in ("attention-maps", "reconstructions") else 2)
        assert all(len(origin[field]) == 64 for origin in origins for field in ("key", "fingerprint", "manifest"))
        assert len(facts["code"]) == 64


def test_a_picture_is_made_again_byte_for_byte(call: Call, tmp_path: Path, toy_modelnet: Path) -> None:
    """Two people with the same encoder would show different figures."""
    arguments = ("embedding", "-m", "point-mae", "--seed", 0, "--dataset", f"modelnet-h5:{toy_modelnet}", "--count", 20)
    files = [tmp_path / f"embedding.{ending}" for ending in ("png", "csv", "json")]
    assert call(*arguments)[0] == 0
    before = [file.read_bytes() for file in files]
    assert call(*arguments)[0] == 0
    assert [file.read_bytes() for file in files] == before


def test_held_out_losses_are_of_objects_that_are_not_trained_on(call: Call, tmp_path: Path) -> None:
    """The curve would show training over again."""
    assert call("losses", "-m", "point-mae")[0] == 0
    rows = table(tmp_path / "losses.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "1", "2"]
    assert all(float(row["held_out"]) > 0 and row["held_out"] != row["seen"] for row in rows)
    code, output, _ = call("losses", "-m", "crosspoint")
    assert code == 0
    assert "no held-out losses were measured for" in output
    assert "bench run --held-out-losses does" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("embedding", "--encoder", "nosuch"), "unknown encoder 'nosuch'"),
        (("embedding", "--method", "point-may"), "unknown method 'point-may': did you mean point-mae"),
        (("embedding", "--method", "recon"), "no encoder of recon is stored: train one with bench run --method recon"),
        (("embedding", "-m", "point-mae", "--seed", "9"), "no encoder of point-mae with seed 9 is stored"),
        (("embedding",), "name an encoder (--encoder, see bench encoders)"),
        (("embedding", "-m", "point-mae", "--feature", "transfr"), "did you mean transfer?"),
        (("embedding", "-m", "point-mae", "--count", "3"), "at least 10 objects of 2 classes are needed"),
        (("attention-maps", "-m", "point-mae"), "2 encoders fit and this analysis takes one: add --seed"),
        (("attention-maps", "-m", "crosspoint"), "PointNet has no attention to show"),
        (("attention-maps", "-m", "point-mae", "--seed", "0", "--layer", "7"), "this encoder has layers 1 to 2"),
        (("attention-maps", "-m", "point-mae", "--seed", "0", "--head", "0"), "counted from 1"),
        (("attention-maps", "-m", "point-mae", "--seed", "0", "--objects", "99"), "test split has objects 0 to 35"),
        (("attention-maps", "-m", "point-mae", "--seed", "0", "--objects", "a"), "--objects 'a': expected numbers"),
        (("reconstructions", "-m", "crosspoint"), "has no decoder that fills in the points of hidden patches"),
        (
            ("reconstructions", "-m", "point-mae", "--seed", "0", "--set", "data.nope=1"),
            "--set data.nope: nothing in this request has that field",
        ),
    ],
)
def test_wrong_input_is_one_line(call: Call, toy_modelnet: Path, arguments: tuple[str, ...], line: str) -> None:
    """The user would get a traceback."""
    code, output, error = call(*arguments, "--dataset", f"modelnet-h5:{toy_modelnet}")
    assert code in (1, 2)
    assert line in error
    assert "Traceback" not in error + output
    assert len(error.strip().splitlines()) == 1


def test_an_older_artefact_says_what_it_lacks(call: Call, place: Workspace, toy_modelnet: Path) -> None:
    """The user would not know that training again mends it."""
    spec = pretrained(place, toy_modelnet, PointMAE, seed=5)
    (folder,) = (place.results / "artifacts" / "encoder" / encoder_key(spec)).iterdir()
    store = ArtifactStore(place.results)
    older = place.results / "older"
    folder.rename(older)
    (older / "pretraining.safetensors").unlink()
    (older / "MANIFEST.json").unlink()
    store.publish_folder("encoder", encoder_key(spec), encoder_fingerprint(spec).digest, older)
    on = ("--dataset", f"modelnet-h5:{toy_modelnet}")
    code, _, error = call("reconstructions", "-m", "point-mae", "--seed", 5, *on)
    assert code == 2
    assert "was stored without its decoder and heads, by an earlier bench" in error
    assert call("attention-maps", "-m", "point-mae", "--seed", 5, *on)[0] == 0
