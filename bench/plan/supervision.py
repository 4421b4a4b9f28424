"""Choose the source of a pretraining's images and captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from bench.errors import UsageError
from bench.plan.located import Located
from bench.registry import DATASETS
from bench.spec import Captions, Images


def supervision(
    name: str,
    data: Located,
    uses: frozenset[str],
    asked: Literal["auto", "none", "dataset", "class-names"],
    note: Callable[[str], None],
) -> tuple[Images, Captions]:
    """Decide where images and captions come from.

    Args:
        name: Method.
        data: Pretraining data.
        uses: What the method reads.
        asked: Captions the user asks for.
        note: Receives what is worth saying.

    Raises:
        UsageError: Captions of the data set are asked for and it has none.
    """
    card = DATASETS.load(data.spec.name).card
    images: Images = "none"
    if uses & {"images", "pixels"}:
        images = "dataset" if data.images else "depth-of-points"
        if images == "depth-of-points":
            note(f"{data.label} has no images: {name} sees depth renderings of its points")
    captions: Captions = "none"
    if "text" in uses and asked != "none":
        if asked == "class-names":
            captions = "class-names"
        elif card.has_captions:
            captions = "dataset"
        elif asked == "dataset":
            raise UsageError(
                f"--captions dataset: {data.label} has no captions; "
                "use --captions class-names, or leave the option out to switch the text term off"
            )
        else:
            note(f"{data.label} has no captions: the text term of {name} is off (--captions class-names)")
    return images, captions
