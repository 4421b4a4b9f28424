"""``bench compare``, as a user types it, on runs that this code made."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_runs import Compare, record, reset, rows

from bench.store.store import Store
from tests.conftest import CLASSES


def altered(results: Path, tmp_path: Path, **changes: object) -> Path:
    """A results folder with the linear runs of seed 0, of which Point-MAE's is changed."""
    place = Store(tmp_path / "altered")
    for row in rows(results, protocol="linear", seed=0):
        own = record(results, row)
        place.publish(replace(own, **changes) if row.method == "point-mae" else own)  # type: ignore[arg-type]
    return tmp_path / "altered"


def test_every_setting_is_compared_and_adds_up(compare: Compare, results: Path, tmp_path: Path) -> None:
    """A table whose counts are not those of the stored answers."""
    out = tmp_path / "objects.csv"
    code, output, error = compare("point-mae", "scratch", "--out", out)
    assert (code, error) == (0, "")
    assert re.search(r"\d+ stored numbers of 12 runs follow", output)
    for protocol in ("linear", "svm", "fewshot"):
        assert f"point-mae (A) and scratch (point-mae) (B), {protocol}" in output
    assert "2 pairs of seeds, no claim; 3 or more are needed" in " ".join(output.split())
    table = list(csv.DictReader(out.read_text().splitlines()))
    linear = [row for row in table if row["protocol"] == "linear"]
    assert len(linear) == 36
    assert {row["class"] for row in linear} == set(CLASSES)
    own = [row for row in rows(results, protocol="linear") if row.seed == 1]
    for row in own:
        letter = "A point-mae" if row.method == "point-mae" else "B scratch (point-mae)"
        found = record(results, row).predictions["predicted"].tolist()
        assert [int(line[f"{letter} seed 1"]) for line in linear] == found
    right = [
        [line[f"{side} seed 0"] == line["label"] for line in linear]
        for side in ("A point-mae", "B scratch (point-mae)")
    ]
    counts = [sum(a == x and b == y for a, b in zip(*right, strict=True)) for x, y in ((1, 1), (1, 0), (0, 1), (0, 0))]
    shown = re.search(r"linear.*?\n.*?\n.*?\n0 +(\d+) +(\d+) +(\d+) +(\d+) ", output, re.DOTALL)
    assert shown is not None
    assert [int(text) for text in shown.groups()] == counts


def test_keys_fields_and_sides_name_the_same_runs(compare: Compare, results: Path) -> None:
    """The same question asked in three ways would have three answers."""
    a, b = (rows(results, protocol="linear", method=name, seed=0)[0] for name in ("point-mae", "scratch"))
    code, by_key, _ = compare(a.stored.key[:10], f"{b.stored.key[:10]}@{b.stored.fingerprint[:6]}")
    assert code == 0
    _, by_name, _ = compare("point-mae,seed=0", "scratch", "-p", "linear", "--seed", "0")
    assert by_key == by_name
    code, output, _ = compare("point-mae,protocol=linear", "point-mae,protocol=svm", "--classes", "0")
    assert code == 0
    assert "point-mae (linear) (A) and point-mae (svm) (B)" in output
    code, output, _ = compare("protocol=linear", "protocol=svm", "--where", "encoder.method=scratch")
    assert code == 0
    assert "scratch (point-mae) (linear) (A)" in output


def test_an_ensemble_is_computed_from_the_logits(compare: Compare, results: Path) -> None:
    """By hand: the softmax of two seeds, averaged."""
    code, output, _ = compare("point-mae", "--ensemble", "-p", "linear")
    assert code == 0
    found = [record(results, row) for row in rows(results, protocol="linear", method="point-mae")]
    powers = [np.exp(one.predictions["logits"].astype(float)) for one in found]
    mean = sum(power / power.sum(1, keepdims=True) for power in powers)
    accuracy = (mean.argmax(1) == found[0].predictions["labels"]).mean()
    single = np.mean([(one.predictions["predicted"] == one.predictions["labels"]).mean() for one in found])
    line = next(line for line in output.splitlines() if line.startswith("point-mae  "))
    assert re.split(r"  +", line)[1] == "2"
    assert re.split(r"  +", line)[2].startswith(f"{100 * single:.1f} (")
    assert re.split(r"  +", line)[3] == f"{100 * accuracy:.1f}"
    for average in ("logits", "votes"):
        code, output, _ = compare("point-mae+scratch", "scratch", "--ensemble", "--average", average)
        assert code == 0
        assert "point-mae + scratch (point-mae)" in output


def test_two_seeds_are_never_equivalent(compare: Compare) -> None:
    """Equality claimed from two seeds, and a claim without its margin."""
    code, output, _ = compare("point-mae", "scratch", "-p", "linear", "--margin", "50")
    assert code == 0
    assert "equivalence within ± 50 points not shown: it needs 5 paired seeds, there are 2" in " ".join(output.split())
    assert "within the margin" not in compare("point-mae", "scratch", "-p", "linear")[1]


def test_a_number_that_its_answers_contradict_is_named(compare: Compare, results: Path, tmp_path: Path) -> None:
    """A corrupted or wrongly computed accuracy would be compared as if nothing were wrong."""
    own = record(results, rows(results, protocol="linear", method="point-mae", seed=0)[0])
    metrics = [
        m.model_copy(update={"value": 0.987}) if m.name == "accuracy" and m.split == "test" else m for m in own.metrics
    ]
    code, output, _ = compare("point-mae", "scratch", place=altered(results, tmp_path, metrics=metrics))
    assert code == 1
    assert "cannot be reproduced" in output
    assert re.search(
        r"accuracy of \S+ is stored as 0.987000, but the stored answers give 0\.[1-9]\d{5}", " ".join(output.split())
    )


@pytest.mark.parametrize("kind", ["names", "labels", "less"])
def test_other_objects_are_one_line(compare: Compare, results: Path, tmp_path: Path, kind: str) -> None:
    """Answers about different objects would be paired."""
    own = record(results, rows(results, protocol="linear", method="point-mae", seed=0)[0])
    predictions: dict[str, Any] = dict(own.predictions)
    if kind == "names":
        predictions["ids"] = np.char.add(predictions["ids"], "x")
    elif kind == "labels":
        predictions["labels"] = np.roll(predictions["labels"], 1)
    else:
        predictions = {name: values[3:] for name, values in predictions.items()}
    place = altered(results, tmp_path, predictions=predictions, metrics=[])
    code, output, error = compare("point-mae", "scratch", place=place)
    assert code == 2
    assert {"names": "0 are the same", "labels": "have other labels", "less": "of 33 and 36 objects 33"}[kind] in error
    assert len(error.strip().splitlines()) == 1
    assert output == ""


def test_rooms_and_ranks_say_that_they_are_no_objects(compare: Compare, results: Path, tmp_path: Path) -> None:
    """Semantic segmentation would end in a traceback."""
    predictions = {
        "ids": np.array(["room"]),
        "offsets": np.array([0, 4]),
        "labels": np.zeros(4),
        "predicted": np.ones(4),
    }
    place = altered(results, tmp_path, predictions=predictions, metrics=[])
    code, _, error = compare("point-mae", "scratch", place=place)
    assert code == 2
    assert "it labels the points of rooms, which is no classification of single objects" in error


def test_parts_are_compared_by_their_iou(compare: Compare, results: Path, tmp_path: Path) -> None:
    """Part segmentation has one number per object, too."""
    place = Store(tmp_path / "parts")
    for at, row in enumerate(rows(results, protocol="linear", seed=0)):
        own = record(results, row)
        iou = np.linspace(0.2, 0.8, 36, dtype=np.float32) + np.float32(0.1 * at)
        kept = {name: own.predictions[name] for name in ("ids", "labels")}
        miou = own.metrics[-1].model_copy(
            update={"name": "instance_miou", "value": float(iou.mean(dtype=float)), "split": "test", "headline": True}
            | {"n_objects": 36}
        )
        place.publish(replace(own, predictions={**kept, "instance_iou": iou}, metrics=[miou]))
    code, output, _ = compare("point-mae", "scratch", place=tmp_path / "parts")
    assert code == 0
    assert re.search(r"instance IoU [+−]10.0 points", output)
    assert "Wilcoxon" in output
    assert "2 stored numbers of 2 runs follow" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("point-may", "scratch"), "unknown stored method 'point-may': did you mean point-mae"),
        (("point-mae", "abcdef12"), "no stored run has a key beginning with 'abcdef12'"),
        (("point-mae",), "name B, which 'point-mae' is compared with, or add --ensemble to see 'point-mae' alone"),
        (("point-mae+scratch", "scratch"), "names several methods; add --ensemble to join them"),
        (("point-mae", "point-mae", "-p", "svm"), "A and B are the same runs"),
        (("point-mae,protocol=linear", "scratch,protocol=fewshot"), "never judged alike"),
        (("point-mae", "scratch", "--setting", "5w10s"), "unknown stored setting '5w10s': did you mean 5w2s"),
        (("point-mae,", "scratch"), "expected METHOD or KEY"),
        (("point-mae,form", "scratch"), "expected FIELD=VALUE instead of 'form'"),
        (("point-mae,sed=0", "scratch"), "unknown field 'sed' of 'point-mae,sed=0': did you mean seed"),
        (
            ("point-mae,epochs=3", "scratch"),
            "unknown field 'epochs' of 'point-mae,epochs=3': did you mean encoder.recipe.epochs",
        ),
        (("point-mae,encoder.recipe.lrr=1", "scratch"), "did you mean encoder.recipe.lr or "),
        (
            ("point-mae,encoder.recipe.lr=7", "scratch"),
            "unknown stored encoder.recipe.lr '7': known: ",
        ),
        (("point-mae", "scratch", "--where", "seed"), "--where seed: expected FIELD=VALUE"),
        (
            ("point-mae,encoder.seed=7", "scratch"),
            "of 'point-mae,encoder.seed=7': did you mean seed?",
        ),
        (("point-mae", "scratch", "--out", "no/such/folder.csv"), "there is no folder"),
        (("point-mae", "scratch", "--out", "."), "--out . is a folder; give the name of a file"),
        (("point-mae", "scratch", "--margin", "0"), "margin 0: expected points of accuracy above 0 and below 100"),
        (("point-mae", "scratch", "--margin", "nan"), "margin nan: expected points"),
        (("point-mae", "--ensemble", "--margin", "1"), "a margin needs two methods, paired by seed"),
        (("point-mae+scratch", "scratch", "--ensemble", "--margin", "1"), "a margin needs two methods"),
    ],
)
def test_wrong_input_is_one_line(compare: Compare, arguments: tuple[str, ...], line: str) -> None:
    """The user would get a traceback, or a comparison of something else."""
    code, output, error = compare(*arguments)
    assert line in error
    assert (code, output) == (2, "")
    assert len(error.strip().splitlines()) == 1


def test_options_narrow_what_they_can_be_said_of(compare: Compare) -> None:
    """The option that tells two pretrainings apart would take scratch, which has none, out of the comparison."""
    code, output, _ = compare("point-mae", "scratch", "-p", "linear")
    assert code == 0
    again = compare("point-mae", "scratch", "-p", "linear", "--pretrain-data", "modelnet-h5:toyset")
    assert again == (0, output, "")
    lr = re.search(r"known: (\S+)", compare("point-mae,encoder.recipe.lr=7", "scratch", "-p", "linear")[2])
    assert lr is not None
    written = f"{float(lr.group(1)) * 1000:g}e-3"
    assert compare(f"point-mae,encoder.recipe.lr={written}", "scratch", "-p", "linear") == (0, output, "")


def test_specifications_that_share_a_name_are_told_apart(compare: Compare, results: Path, tmp_path: Path) -> None:
    """Runs of two recipes would be mixed under one name."""
    place = Store(tmp_path / "two")
    for row in rows(results, protocol="linear"):
        own = record(results, row)
        place.publish(own)
        if row.method == "point-mae":
            place.publish(reset(own, "encoder.recipe.lr", 0.123))
    code, _, error = compare("point-mae", "scratch", place=tmp_path / "two")
    assert code == 2
    assert "is stored with 2 specifications, which differ in encoder.recipe.lr" in error
    code, output, _ = compare("point-mae,encoder.recipe.lr=0.123", "scratch", place=tmp_path / "two")
    assert code == 0
    assert "4 runs" in output
