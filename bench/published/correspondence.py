"""Correspondence of published figures with stored cells.

A figure and a cell answer one question only where method, network size, data set, protocol, setting and metric agree.
Data sets are the official ones: a layout alone does not tell (many sets come in ModelNet40's), so the numbers of test
objects and of classes have to be the official ones, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.published.figures import METHODS, Figure
from bench.stats.cells import Cell

BASE_WIDTH, BASE_DEPTH = "384", "12"
"""Size of the published networks."""


@dataclass(frozen=True)
class Official:
    """An official data set, as it is recognised.

    Attributes:
        formats: Names of the data sets that read it.
        objects: Objects of its test split; 0 where it is not told by their number.
        classes: Number of its classes; 0 where nothing counts them.
        options: Values of options that have to be so.
    """

    formats: tuple[str, ...]
    objects: int = 0
    classes: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    def holds(self, cell: Cell) -> bool:
        """Whether a cell was judged on it."""
        spec = cell.spec
        return (
            spec.get("data.name") in self.formats
            and not any(name.startswith("train_data.") for name in spec)
            and (not self.objects or cell.n_objects == self.objects)
            and (not self.classes or cell.seen_total in (None, self.classes))
            and all(spec.get(f"data.options.{name}") == value for name, value in self.options.items())
        )


_SCAN = ("scanobjectnn-h5",)
_BG = Official(_SCAN, 581, 15, {"variant": "obj_bg", "split": "main_split"})
OFFICIAL: dict[tuple[str, str], Official] = {
    ("ModelNet40", "test"): Official(("modelnet-h5", "modelnet"), 2_468, 40),
    ("ModelNet40", "train+test"): Official(("modelnet-h5", "modelnet"), 0, 40),
    ("ModelNet40", "few-shot folds"): Official(("fewshot-pickles",)),
    ("ModelNet10", "test"): Official(("modelnet",), 908, 10),
    ("ModelNet10", "train+test"): Official(("modelnet",), 0, 10, {"categories": "10"}),
    ("ScanObjectNN", "OBJ_BG"): _BG,
    ("ScanObjectNN", "OBJ_BG (main_split)"): _BG,
    ("ScanObjectNN", "OBJ_ONLY"): Official(_SCAN, 581, 15, {"variant": "obj_only", "split": "main_split"}),
    ("ScanObjectNN", "PB_T50_RS"): Official(_SCAN, 2_882, 15, {"variant": "pb_t50_rs", "split": "main_split"}),
    ("ShapeNetPart", "test"): Official(("shapenetpart", "shapenetpart-h5"), 2_874),
    ("S3DIS", "Area 5"): Official(("s3dis", "s3dis-h5"), 0, 0, {"test_area": "5"}),
}
"""Official data sets by the literature's data set and split."""


@dataclass(frozen=True)
class Correspondence:
    """A published protocol and setting, and ours.

    Attributes:
        theirs: Protocol, as the literature names it.
        settings: Pattern of the settings that mean the same; ours is its group ``setting`` where it has one.
        protocol: Our protocol.
        metric: Our metric by the literature's.
        points: Points of a cloud; 0 where the setting does not say.
        options: Values of options of the protocol that have to be so.
        only: Data sets that it holds for; all of `OFFICIAL` if empty.
    """

    theirs: str
    settings: str
    protocol: str
    metric: Mapping[str, str]
    points: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()


_OA = {"OA": "accuracy", "accuracy": "accuracy"}
_VOTE = r"(?:, (?:no )?vot(?:e|ing))?"
_WAYS = r"(?P<setting>\d+w\d+s)(?:, user)?"
_ALONE = r"(?:user, seed 0, )?(?:vote|no vote|no voting)?"
TABLE = (
    Correspondence(
        "full", rf"(?:user, )?1k points{_VOTE}|(?:no voting|vote), 1k|1k points \(config default\)", "finetune", _OA,
        points=1_024, only=("ModelNet40", "ModelNet10"),
    ),
    Correspondence("full", rf"(?:user, )?8k points{_VOTE}", "finetune", _OA, points=8_192, only=("ModelNet40",)),
    Correspondence("full", _ALONE, "finetune", _OA, points=2_048, only=("ScanObjectNN",)),
    Correspondence("linear probe", "", "linear", _OA),
    Correspondence("MLP-3 probe", "", "mlp", _OA),
    Correspondence("linear SVM", r"(?:LinearSVC C=0.075, 1k points|C=0.01, 1024 points|user.*)?", "svm", _OA),
    Correspondence("few-shot full", _WAYS, "fewshot", _OA, options={"head": "full"}),
    Correspondence("zero-shot", r"test only", "zeroshot", _OA),
    Correspondence("zero-shot", r"all data|maintainer re-test", "zeroshot", {"accuracy": "accuracy_train_and_test"}),
    Correspondence("zero-shot", r"README config scan_objonly", "zeroshot", _OA),
    Correspondence(
        "part segmentation", r"(?:instance mIoU|class mIoU)?", "partseg",
        {"instance mIoU": "instance_miou", "class mIoU": "class_miou"},
    ),
    Correspondence("semantic segmentation", r"(?:mIoU|mAcc)?", "semseg", {"mIoU": "miou", "mAcc": "macc"}),
)  # fmt: skip
"""The one place that says what corresponds. Settings that no pattern names (ablations, re-runs with other augmentation)
have no counterpart."""


def corresponding(figure: Figure) -> list[Correspondence]:
    """Return the rows of `TABLE` that a figure belongs to."""
    if (figure.dataset, figure.split) not in OFFICIAL:
        return []
    return [
        row
        for row in TABLE
        if row.theirs == figure.protocol
        and figure.metric in row.metric
        and (not row.only or figure.dataset in row.only)
        and re.fullmatch(row.settings, figure.setting)
    ]


def corresponds(figure: Figure, cell: Cell) -> bool:
    """Whether a stored cell answers what a published figure answers."""
    spec = cell.spec
    named = METHODS.get(spec.get("encoder.method", cell.method))
    if named != figure.method or "384 wide" not in figure.variant:
        return False
    if (spec.get("encoder.backbone.width"), spec.get("encoder.backbone.depth")) != (BASE_WIDTH, BASE_DEPTH):
        return False
    if not OFFICIAL.get((figure.dataset, figure.split), Official(())).holds(cell):
        return False
    for row in corresponding(figure):
        match = re.fullmatch(row.settings, figure.setting)
        setting = match.groupdict().get("setting") if match else None
        if (
            (cell.protocol, cell.metric) == (row.protocol, row.metric[figure.metric])
            and cell.setting == (setting or "all")
            and (not row.points or spec.get("encoder.backbone.points") == str(row.points))
            and all(_plain(spec.get(f"protocol.options.{name}")) == value for name, value in row.options.items())
        ):
            return True
    return False


def _plain(text: str | None) -> str | None:
    """Return a value of a flat spec without quotes."""
    if text is None:
        return None
    try:
        return str(json.loads(text))
    except ValueError:
        return text
