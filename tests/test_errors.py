"""Messages about names: near misses, and how a name of one's own becomes known."""

from pathlib import Path

import pytest

import bench
from bench.data.local import resolve_dataset_ref
from bench.registry import REGISTRIES


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_an_unknown_unit_may_come_from_a_plugin(kind: str) -> None:
    """Who forgets --plugin reads that the own method does not exist, and no way out."""
    with pytest.raises(bench.UsageError, match="if 'my-own' comes from your own file, add --plugin FILE"):
        REGISTRIES[kind].load("my-own")


def test_an_unknown_data_set_may_come_from_a_plugin(tmp_path: Path) -> None:
    with pytest.raises(bench.UsageError, match=r"did you mean modelnet.*add --plugin FILE"):
        resolve_dataset_ref("modelnt:x", tmp_path, ["modelnet"])


def test_other_names_have_no_such_hint() -> None:
    with pytest.raises(bench.UsageError, match=r"did you mean nano\?$"):
        bench.study(preset="nono")
