"""Published figures and claims of the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.api.common import Names, listed

if TYPE_CHECKING:
    import pandas as pd


def published_figures(method: Names = (), dataset: Names = (), protocol: Names = ()) -> pd.DataFrame:
    """Return published figures, one row each (``bench published show``).

    Args:
        method: Methods, by our names or the literature's; all by default.
        dataset: Data sets.
        protocol: Protocols, by our names or the literature's.

    Returns:
        Among the columns: ``value`` (percent), ``source``, ``standing``, and how it was chosen in words (``chosen``)
        and in fields (``epoch``, ``best_of``, ``votes``, ``averaged``, ``other``).

    Raises:
        UsageError: There is no figure of such a name.
    """
    from bench.api.frames import ShortFrame
    from bench.published.figures import select

    rows = []
    for figure in select(*(listed(names) or () for names in (method, dataset, protocol))):
        fields = figure.as_json()
        chosen = fields.pop("chosen")
        assert isinstance(chosen, dict)
        rows.append({**fields, "chosen": chosen.pop("words"), **chosen})
    return ShortFrame.of(rows, ("method", "dataset", "protocol", "setting", "value", "chosen", "standing"))
