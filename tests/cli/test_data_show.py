"""``bench data show``: the picture must show the object that was asked for, upright and with true proportions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.cli.main import main
from bench.inspection.pictures import ASLANT, VIEWS, View, by_number, draw_cloud, estimated_normals, plain
from bench.inspection.showing import Wanted, chosen
from tests.conftest import write_modelnet


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["bench", "data", "show", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_modelnet(tmp_path / "toys", 4, 2, 60)


def painted(path: Path) -> float:
    """Share of a picture that is not paper."""
    with Image.open(path) as picture:
        return float((np.asarray(picture.convert("L")) < 250).mean())


def test_one_object_is_drawn_from_several_sides(show, folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A user could not look at the data."""
    code, text, _ = show(f"modelnet-h5:{folder}", "--index", 9, "--split", "train")
    assert code == 0
    assert "train 9: disc, ply_data_train0/9" in text
    out = tmp_path / "modelnet-h5-toys-train-9.png"
    assert painted(out) > 0.02
    assert not list(folder.glob("*.png")), "nothing is written beside the user's files"


def test_class_and_count_choose_objects(show, folder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The fourth ring is the fourth ring, not the fourth object."""
    out = tmp_path / "rings.png"
    code, text, _ = show(f"modelnet-h5:{folder}", "--class", "ring", "--index", 3, "--out", out)
    assert code == 0
    assert "train 19: ring" in text
    code, text, _ = show(f"modelnet-h5:{folder}", "--split", "test", "--count", 9, "--out", out)
    assert code == 0
    assert "9 objects" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--index", 24), "--index 24: there are 24 train objects, expected 0 to 23"),
        (("--class", "rong"), "unknown class 'rong': did you mean r"),
        (("--count", 0), "--count 0: expected 1 to 100"),
        (("--out", "picture.jpg"), "must end in .png"),
    ],
)
def test_wrong_wishes_are_one_line(show, folder: Path, arguments: tuple[object, ...], said: str) -> None:  # type: ignore[no-untyped-def]
    """A traceback tells a user nothing."""
    code, _, error = show(f"modelnet-h5:{folder}", *arguments)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert said in error


def test_rooms_are_drawn_by_class_without_their_ceiling(show, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """From above a room would be one grey ceiling."""
    out = tmp_path / "room.png"
    small = ("--set", "data.rooms_per_area=1", "--set", "data.points_per_room=3000")
    code, text, _ = show("shapes-rooms", "--split", "test", "--out", out, *small)
    assert code == 0
    assert "area 5" in text
    assert "ceiling left out" in text
    assert painted(out) > 0.1
    code, _, error = show("shapes-rooms", "--count", 4, *small)
    assert code == 2
    assert "one at a time" in error


def test_views_are_right_handed_and_keep_y_up() -> None:
    """A mirrored or lying chair looks like a fault of the data."""
    for view in (*VIEWS, View("odd", 200, -35)):
        assert np.allclose(view.axes @ view.axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(view.axes) == pytest.approx(1)
    for view in VIEWS[:3]:
        assert view.axes[1, 1] > 0, f"{view.name}: y points up in the picture"
    front = VIEWS[1].axes
    assert np.allclose(front[0], [1, 0, 0])
    assert np.allclose(front[2], [0, 0, 1])


def test_axes_have_one_scale_and_hold_every_point() -> None:
    """A stretched picture hides the proportions that tell a bench from a table."""
    points = np.random.default_rng(0).uniform([-4, 0, -1], [4, 1, 1], (200, 3)).astype(np.float32)
    figure = Figure(figsize=(3, 3))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_cloud(axes, points, plain(200), ASLANT)
    low_x, high_x = axes.get_xlim()
    low_y, high_y = axes.get_ylim()
    assert high_x - low_x == pytest.approx(high_y - low_y)
    right, up, _ = (points.astype(np.float64) @ ASLANT.axes.T).T
    assert low_x < right.min() < right.max() < high_x
    assert low_y < up.min() < up.max() < high_y


def test_normals_of_a_plane_are_its_normal() -> None:
    """Clouds without normals would be drawn flat."""
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (300, 3)) * [1, 0, 1]
    assert np.abs(estimated_normals(flat)[:, 1]).min() > 0.999


def test_parts_have_distinct_colours_and_clutter_is_grey() -> None:
    """Two parts of one colour look like one."""
    colours = by_number(np.array([4, 7, 4, -1]), [4, 7])
    assert (colours[0] == colours[2]).all()
    assert len({tuple(colour) for colour in colours.tolist()}) == 3


def test_without_index_a_grid_spreads_over_the_split() -> None:
    """Sets sorted by class would show nine aeroplanes."""
    rows = np.arange(100)
    assert chosen(rows, Wanted(count=3), "objects") == [0, 50, 99]
    assert chosen(rows, Wanted(count=3, index=97), "objects") == [97, 98, 99]
    assert chosen(rows[:2], Wanted(count=9), "objects") == [0, 1]
