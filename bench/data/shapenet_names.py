"""Names of ShapeNet's synsets, and ReCon's caption file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.arrays import read_text
from bench.errors import DataError

NAMES = {
    **{"02691156": "airplane", "02747177": "trash bin", "02773838": "bag", "02801938": "basket"},
    **{"02808440": "bathtub", "02818832": "bed", "02828884": "bench", "02843684": "birdhouse"},
    **{"02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl", "02924116": "bus"},
    **{"02933112": "cabinet", "02942699": "camera", "02946921": "can", "02954340": "cap", "02958343": "car"},
    **{"02992529": "cellphone", "03001627": "chair", "03046257": "clock", "03085013": "keyboard"},
    **{"03207941": "dishwasher", "03211117": "display", "03261776": "earphone", "03325088": "faucet"},
    **{"03337140": "file cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar"},
    **{"03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker"},
    **{"03710193": "mailbox", "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike"},
    **{"03797390": "mug", "03928116": "piano", "03938244": "pillow", "03948459": "pistol"},
    **{"03991062": "flowerpot", "04004475": "printer", "04074963": "remote control", "04090263": "rifle"},
    **{"04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove"},
    **{"04379243": "table", "04401088": "telephone", "04460130": "tower", "04468005": "train"},
    **{"04530566": "watercraft", "04554684": "washer"},
}
"""ShapeNetCore's 55 categories by WordNet synset."""


def categories(
    synsets: Sequence[str], describe: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the occurring categories, their names and captions.

    Args:
        synsets: Synset of each object.
        describe: ``shapenet55.json``, whose rows give order, captions and (by their first words) names; None: in the
            order of synset numbers, with names from `NAMES`, which are the captions, too.

    Returns:
        Synsets in label order, class names (all different) and captions.

    Raises:
        DataError: The file is invalid or lacks an occurring category.
    """
    present = sorted(set(synsets))
    if describe is None:
        captions = {synset: NAMES.get(synset, f"synset {synset}") for synset in present}
        order = present
    else:
        rows = read_describe(describe)
        lacking = [synset for synset in present if synset not in rows]
        if lacking:
            raise DataError(f"{describe}: has no row for synset {lacking[0]}, which the lists name; add it")
        order = [synset for synset in rows if synset in set(present)]
        captions = {synset: rows[synset] for synset in order}
    names = {synset: captions[synset].split(",")[0].strip() for synset in order}
    times = Counter(names.values())
    unique = tuple(name if times[name] == 1 else f"{name} ({synset})" for synset, name in names.items())
    return tuple(order), unique, tuple(captions[synset] for synset in order)


def read_describe(path: Path) -> dict[str, str]:
    """Read ReCon's ``shapenet55.json``: text by synset, in order.

    ``catalogue`` holds synsets as texts, or as numbers without the leading zero. Both columns may be a list or an
    object by row number, as pandas writes either; a list of rows is accepted, too.

    Raises:
        DataError: The file has another layout.
    """
    expected = "expected the columns 'catalogue' (synset) and 'describe' (text), as ReCon's file has them"
    try:
        content: Any = json.loads(read_text(path))
        if isinstance(content, list):
            content = {column: [row[column] for row in content] for column in ("catalogue", "describe")}
        catalogue, texts = content["catalogue"], content["describe"]
        if isinstance(catalogue, dict):
            keys = sorted(catalogue, key=int)
            catalogue, texts = [catalogue[key] for key in keys], [texts[key] for key in keys]
        pairs = [(str(synset).zfill(8), text) for synset, text in zip(catalogue, texts, strict=True)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is not in its layout ({str(error)[:80]}); {expected}") from error
    rows: dict[str, str] = {}
    for number, (synset, text) in enumerate(pairs):
        if not synset.isdigit() or not isinstance(text, str) or not text.strip():
            raise DataError(f"{path}: row {number} is {synset[:20]!r}, {str(text)[:40]!r}; {expected}")
        if synset in rows:
            raise DataError(f"{path}: row {number} has synset {synset} a second time; remove one")
        rows[synset] = text.strip()
    return rows
