"""Numbers beside pictures of features and of losses: a figure would otherwise say more than is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bench.analysis import embedding, losses
from bench.analysis.figures import look, new_figure
from bench.analysis.output import Artefact, Origin, write
from bench.errors import SetupError, UsageError


def blobs(distance: float, each: int = 15) -> tuple[embedding.Array, embedding.Labels]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), each)
    centres = distance * np.eye(3, 6)
    return (centres[labels] + rng.normal(size=(3 * each, 6))).astype(np.float32), labels.astype(np.int64)


def test_tsne_is_the_same_every_time_and_hangs_on_its_seed() -> None:
    """A figure could not be made again."""
    features, labels = blobs(3.0)
    first, again, other = (embedding.embed(features, labels, seed, 10) for seed in (5, 5, 6))
    assert np.array_equal(first.plane, again.plane)
    assert vars(first).keys() == vars(again).keys()
    assert first.purity == other.purity
    assert first.plane.shape == (45, 2)


def test_numbers_rise_with_the_distance_of_classes() -> None:
    """A number that does not follow what the eye sees is worse than none."""
    near, far = (embedding.embed(*blobs(distance), seed=0, perplexity=10) for distance in (0.0, 12.0))
    assert abs(near.silhouette) < 0.1
    assert far.silhouette > 0.3
    assert far.purity > 0.9
    assert near.purity < 0.6
    assert near.chance == far.chance == pytest.approx(14 / 44)


def test_scale_of_a_dimension_does_not_count() -> None:
    """One large dimension would decide everything."""
    features, labels = blobs(3.0)
    stretched = features * np.array([1, 1000, 1, 0.001, 1, 1], np.float32)
    assert embedding.embed(stretched, labels, 0, 10).purity == embedding.embed(features, labels, 0, 10).purity
    assert np.isfinite(embedding.standardised(np.c_[features, np.ones(45, np.float32)])).all()


@pytest.mark.parametrize(
    ("features", "labels", "line"),
    [
        (np.zeros((5, 3), np.float32), np.arange(5), "5 objects of 5 class"),
        (np.zeros((20, 3), np.float32), np.zeros(20, np.int64), "20 objects of 1 class"),
        (np.ones((20, 3), np.float32), np.arange(20) % 2, "the encoder has collapsed"),
    ],
)
def test_features_that_cannot_be_laid_out_say_why(
    features: embedding.Array, labels: embedding.Labels, line: str
) -> None:
    """scikit-learn's traceback would be shown."""
    with pytest.raises(UsageError, match=line):
        embedding.embed(features, labels.astype(np.int64), 0)


def test_sixty_four_classes_look_different() -> None:
    """Two classes would share colour and mark."""
    assert len({look(i) for i in range(64)}) == 64


STORED = {
    "lr": [[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]],
    "mdm": [[1.0, 3.0], [2.0, 2.0], [3.0, 1.5]],
    "csc_text": [[1.0, 1.0], [2.0, 0.5], [3.0, 0.2]],
    "total": [[1.0, 4.0], [2.0, 2.5], [3.0, 1.7]],
    "held_out_mdm": [[1.0, 2.9], [2.0, 2.1], [3.0, 1.8]],
    "held_out_csc_text": [[1.0, 0.9], [2.0, 0.6], [3.0, 0.8]],
    "held_out_total": [[1.0, 3.8], [2.0, 2.7], [3.0, 2.6]],
    "seen_mdm": [[1.0, 2.8], [2.0, 2.0], [3.0, 1.5]],
    "seen_csc_text": [[1.0, 0.9], [2.0, 0.5], [3.0, 0.2]],
    "seen_total": [[1.0, 3.7], [2.0, 2.5], [3.0, 1.7]],
}


def test_curves_are_sorted_by_set_and_term() -> None:
    """A held-out loss would be drawn as the training loss."""
    one = losses.read_curves("recon", "all of shapes", 0, "k" * 64, STORED)
    assert set(one.training) == set(one.held_out) == set(one.seen) == {"mdm", "csc_text", "total"}
    assert one.held_out["csc_text"] == ((1.0, 0.9), (2.0, 0.6), (3.0, 0.8))
    table = losses.rows([one])
    assert len(table) == 9
    assert table[0] | {"key": ""} == {
        "key": "", "method": "recon", "variant": "all of shapes", "seed": 0, "term": "mdm", "epoch": 1,
        "training": 3.0, "seen": 2.8, "held_out": 2.9,
    }  # fmt: skip
    told = {line["term"]: line for line in losses.summary([one])}  # type: ignore[index, call-overload]
    assert told["csc_text"]["epoch_of_lowest"] == 2  # type: ignore[index, call-overload]
    assert told["csc_text"]["rise_since_lowest"] == pytest.approx(0.2)  # type: ignore[index, call-overload]
    assert told["csc_text"]["held_out_over_seen_last"] == pytest.approx(4.0)  # type: ignore[index, call-overload]
    assert told["mdm"]["rise_since_lowest"] == 0  # type: ignore[index, call-overload]


def test_every_panel_holds_one_loss_of_one_method() -> None:
    """Losses of different methods are different quantities."""
    recon = losses.read_curves("recon", "all", 0, "a", STORED)
    alone = {name: points for name, points in STORED.items() if "csc" not in name}
    mae = losses.read_curves("point-mae", "all", 0, "b", alone)
    unmeasured = losses.read_curves("act", "all", 0, "c", {"distil": [[1.0, 2.0]], "total": [[1.0, 2.0]]})
    figure = losses.draw([recon, mae, unmeasured])
    titles = [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_visible()]
    assert titles == [
        "recon: mdm", "recon: csc_text", "recon: total", "point-mae: mdm", "act: distil",
        "held-out loss / loss on training objects",
    ]  # fmt: skip
    (legend,) = figure.legends  # holds the title too: one of the figure would lie on top of it
    assert legend.get_title().get_text() == "Pretraining losses on held-out and on training objects"
    assert figure.get_suptitle() == ""
    ratio = figure.axes[5].get_lines()[0]
    assert list(ratio.get_ydata()) == pytest.approx([2.9 / 2.8, 2.1 / 2.0, 1.8 / 1.5])


def test_files_are_whole_and_the_same_every_time(tmp_path: Path) -> None:
    """An artefact could neither be checked nor traced back."""

    def make(folder: Path) -> list[bytes]:
        with new_figure(3, 2) as figure:
            figure.subplots().plot([0, 1], [0, 1])
        origin = Origin("recon, seed 0", "k" * 64, "f" * 64, "shapes-scan (test)", "d" * 64)
        rows = [{"name": "a,b", "value": 1 / 3}, {"name": "ö", "value": 2}]
        files = write(Artefact("losses", figure, rows, {"mean": 0.5}, [origin] * 9, "c" * 64), folder)
        assert [file.name for file in files] == ["losses.png", "losses.csv", "losses.json"]
        return [file.read_bytes() for file in files]

    picture, table, summary = make(tmp_path / "new" / "a")
    assert [picture, table, summary] == make(tmp_path / "new" / "b") == make(tmp_path / "new" / "a")
    assert picture.startswith(b"\x89PNG")
    assert list(csv.reader(table.decode().splitlines())) == [["name", "value"], ["a,b", "0.333333"], ["ö", "2"]]
    facts = json.loads(summary)
    assert (facts["mean"], facts["code"], len(facts["origins"])) == (0.5, "c" * 64, 9)
    assert facts["origins"][0]["manifest"] == "d" * 64
    assert not list(tmp_path.rglob("*.part"))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SetupError, match=r"cannot write .*choose another place with --out DIR"):
        make(blocked / "below")
