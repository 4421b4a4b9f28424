"""Check the contents of a data set for problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from bench.data.base import CloudSet, Dataset, SplitName
from bench.data.digest import read_again
from bench.data.faults import Faults, collecting
from bench.data.h5set import SPLITS
from bench.errors import DataError
from bench.inspection.facts import CheckReport, Copy, Part, SplitFacts
from bench.inspection.measuring import disk_facts, far_points, find_copies, room_facts, split_facts
from bench.inspection.opening import Opened

FEW = 6
"""Most empty classes that a problem lists by name."""


def check_dataset(opened: Opened) -> CheckReport:
    """Read all of a data set; report contents and problems.

    Every file is read, also one whose digest is remembered. A file that the loader refuses is a problem in the
    report, not an error.

    Args:
        opened: The data set.
    """
    with read_again(), collecting() as faults:
        return _check(opened, faults)


def _check(opened: Opened, faults: Faults) -> CheckReport:
    dataset = opened.dataset
    splits: dict[str, SplitFacts] = {}
    copies: tuple[Copy, ...] = ()
    loaded: dict[SplitName, CloudSet] = {}
    manifest = ""
    remarks: tuple[str, ...] = ()
    with _noting(faults):
        manifest = dataset.manifest()
    with _noting(faults):
        classes, remarks = dataset.classes(), dataset.remarks()
        if dataset.card.has_rooms:
            splits, copies = room_facts(dataset.rooms(), classes, dataset.test_area, dataset.known_counts())
    if not dataset.card.has_rooms:
        loaded = _load(dataset, faults)
        with _noting(faults):
            copies, repeated = find_copies(loaded)
            known = dataset.known_counts()
            for split, clouds in loaded.items():
                splits[split] = split_facts(clouds, known.get(split), repeated[split])
    for line in _wrong(splits, copies, loaded):
        faults.add(line)
    empty = [] if _fixed(dataset) else _empty(splits)
    for name in empty[:FEW]:
        faults.add(f"class '{name}' has no objects in any split; fill it or remove it from the class list")
    if len(empty) > FEW:
        faults.add(f"{len(empty) - FEW} more classes have no objects in any split: {_some(empty[FEW:])}")
    return CheckReport(
        name=opened.label,
        format=dataset.name,
        root=None if opened.root is None else str(opened.root),
        options=dataset.options.model_dump(mode="json"),
        manifest=manifest,
        card=dataset.card.model_dump(mode="json"),
        splits=splits,
        copies=copies,
        parts=tuple(_parts(dataset, loaded)) if loaded else (),
        disk=None if opened.root is None else disk_facts(opened.root),
        problems=(*faults.lines, *((f"{faults.more:,} more faults; mend these and check again",) * bool(faults.more))),
        notes=(*remarks, *_unusual(dataset, splits, copies), *_outliers(loaded)),
    )


@contextmanager
def _noting(faults: Faults) -> Iterator[None]:
    """Turn errors of reading into problems of the report."""
    try:
        yield
    except DataError as error:
        faults.add(str(error))


def _load(dataset: Dataset, faults: Faults) -> dict[SplitName, CloudSet]:
    """Load splits and images; errors become problems."""
    loaded: dict[SplitName, CloudSet] = {}
    for split in SPLITS:
        with _noting(faults):
            loaded[split] = dataset.load(split)
            views = loaded[split].views
            if views is not None and len(views):
                np.asarray(views[:1])  # decodes images that are loaded lazily
    return loaded


def _wrong(
    splits: Mapping[str, SplitFacts], copies: tuple[Copy, ...], loaded: dict[SplitName, CloudSet]
) -> Iterator[str]:
    for split, facts in splits.items():
        if facts.not_finite:
            yield f"{split}: {facts.not_finite:,} values of points or normals are NaN or infinite"
    for split, clouds in loaded.items():
        outside = np.flatnonzero((clouds.labels < 0) | (clouds.labels >= len(clouds.classes)))
        if len(outside):
            row = int(outside[0])
            yield (
                f"{split}: object {clouds.ids[row]} has label {clouds.labels[row]}, expected 0 to "
                f"{len(clouds.classes) - 1} ({len(outside)} such objects)"
            )
        lengths = {"points": len(clouds.points), "labels": len(clouds.labels), "ids": len(clouds.ids)}
        if len(set(lengths.values())) > 1:
            yield f"{split}: differing numbers of objects: " + ", ".join(f"{n} {name}" for name, n in lengths.items())
    across = [copy for copy in copies if copy.across]
    if across:
        shared = sum(name.startswith("test/") for copy in across for name in copy.objects)
        first = across[0].objects
        test, train = (next(name for name in first if name.startswith(split)) for split in ("test/", "train/"))
        yield f"{shared} of the test split are exact copies of training data, e.g. {test} = {train}"


def _fixed(dataset: Dataset) -> bool:
    """Whether the format itself names the classes."""
    return dataset.fixed_classes or dataset.card.has_rooms


def _empty(splits: Mapping[str, SplitFacts]) -> list[str]:
    """Return classes without objects; none if a split is unreadable."""
    if set(splits) != set(SPLITS):
        return []
    return [name for name in splits["train"].per_class if not any(s.per_class.get(name) for s in splits.values())]


def _some(names: list[str]) -> str:
    """Join the first few names."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _unusual(dataset: Dataset, splits: Mapping[str, SplitFacts], copies: tuple[Copy, ...]) -> Iterator[str]:
    what = "rooms" if dataset.card.has_rooms else "objects"
    counted = "points" if dataset.card.has_rooms else "objects"
    empty = _empty(splits) if _fixed(dataset) else []
    if empty:
        yield f"{len(empty)} of the {len(dataset.classes())} classes have no {counted} here: {_some(empty)}"
    differing = [s for s in splits.values() if s.known is not None and s.known != s.objects]
    if differing:
        here = " / ".join(f"{s.objects:,} {split}" for split, s in splits.items())
        known = " / ".join(f"{s.known:,}" for s in splits.values() if s.known is not None)
        why = "another set in this layout, another version, or files are missing"
        yield f"counts differ: {here} {what}, the official release has {known}: {why}"
    if "test" in splits:
        untested = [name for name, count in splits["test"].per_class.items() if not count]
        untested = [name for name in untested if splits.get("train", splits["test"]).per_class.get(name)]
        if untested:
            yield f"{len(untested)} classes have training but no test {counted}: {_some(untested)}"
    for split, facts in splits.items():
        if facts.copies:
            inside = [copy for copy in copies if sum(n.startswith(f"{split}/") for n in copy.objects) > 1]
            pair = " = ".join([name for name in inside[0].objects if name.startswith(f"{split}/")][:2])
            why = "; few-shot folds draw from one data set, so they share objects" if dataset.offers_folds() else ""
            yield f"{facts.copies} {split} objects are exact copies of other {split} objects, e.g. {pair}{why}"
        if facts.coordinates is not None and facts.coordinates.distinct.least < 0.5 * _points(facts):
            least, median = facts.coordinates.distinct.least, facts.coordinates.distinct.median
            yield f"{split}: some clouds repeat points: {least:,.0f} distinct at least, {median:,.0f} in the median"


def _outliers(loaded: Mapping[SplitName, CloudSet]) -> Iterator[str]:
    for split, clouds in loaded.items():
        far = far_points(clouds) if len(clouds) else []
        if far:
            yield (
                f"{split}: {len(far)} of {len(clouds)} objects have a point far from the others (the rest is a dot); "
                f"e.g. {far[0]} as far from the middle as nine in ten of its points"
            )


def _points(facts: SplitFacts) -> int:
    return int(facts.arrays["points"].rstrip("]").split(", ")[1])


def _parts(dataset: Dataset, loaded: Mapping[SplitName, CloudSet]) -> Iterator[Part]:
    """Yield optional contents, and where to get missing ones."""
    card, clouds = dataset.card, list(loaded.values())
    release = f"the release has them: {card.how_to_get}" if dataset.needs_root else ""
    normals = all(c.normals is not None for c in clouds)
    yield Part(name="normals", there=normals, note="" if normals else "not needed by any built-in method")
    captions = next((c.captions for c in clouds if c.captions is not None), None)
    if captions is not None:
        distinct = len(set(captions))
        yield Part(name="captions", there=True, note=f'{distinct:,} different, e.g. "{captions[0]}"')
    else:
        instead = "not in this layout; --captions class-names makes them from labels"
        yield Part(name="captions", there=False, note=release if card.has_captions and release else instead)
    views = next((c for c in clouds if c.views is not None), None)
    if views is not None and views.views is not None:
        count, height, width = views.views.shape[1:4]
        yield Part(name="images", there=True, note=f"{count} of {height} x {width} per object, {views.views_kind}")
    elif card.has_images and not release:
        yield Part(name="images", there=False, note="rendered when asked for: --set data.views=1")
    else:
        instead = "not in this layout; methods see depth pictures of the points"
        yield Part(name="images", there=False, note=release if card.has_images else instead)
    yield _part_labels(dataset, clouds, release)


def _part_labels(dataset: Dataset, clouds: list[CloudSet], release: str) -> Part:
    found = [c.parts for c in clouds if c.parts is not None]
    if len(found) == len(clouds):
        ids = sorted(
            {
                int(i)
                for parts in found
                for start in range(0, len(parts), 256)
                for i in np.unique(parts[start : start + 256])
            }
        )
        named = [i for i in ids if i >= 0]
        note = (
            "no ids"
            if not named
            else f"id {named[0]}"
            if len(named) == 1
            else f"{len(named)} ids, {named[0]} to {named[-1]}"
        )
        if ids and ids[0] < 0:
            note += "; negative: points of no part"
        if not dataset.offers_parts():
            note += "; not offered for part segmentation"
        return Part(name="part labels", there=True, note=note)
    note = release if dataset.card.has_parts and release else "not in these files; part segmentation needs them"
    return Part(name="part labels", there=False, note=note)
