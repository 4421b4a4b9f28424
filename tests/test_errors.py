"""Messages about names: near misses, and how a name of one's own becomes known."""

from pathlib import Path
from typing import Any

import pytest

import bench
from bench.data.local import resolve_dataset_ref
from bench.execution.worker import describe
from bench.models.decoder import MaskedDecoder
from bench.plugins import PLUGIN_MODULE, changed
from bench.registry import REGISTRIES


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_an_unknown_unit_may_come_from_a_plugin(kind: str) -> None:
    """Who forgets --plugin reads that the own method does not exist, and no way out."""
    with pytest.raises(bench.UsageError, match="; if 'my-own' comes from your own file, add --plugin FILE"):
        REGISTRIES[kind].load("my-own")


def test_an_unknown_data_set_may_come_from_a_plugin(tmp_path: Path) -> None:
    with pytest.raises(bench.UsageError, match=r"did you mean modelnet\? If .*add --plugin FILE"):
        resolve_dataset_ref("modelnt:x", tmp_path, ["modelnet"])


def test_other_names_have_no_such_hint() -> None:
    with pytest.raises(bench.UsageError, match=r"did you mean nano\?$"):
        bench.study(preset="nono")


def test_a_failed_job_names_the_line_of_the_plugin() -> None:
    """Who reads "KeyError: 'centre'" of an own method would have to search the log for the place."""
    plugin: dict[str, Any] = {"__name__": f"{PLUGIN_MODULE}mine"}
    exec(compile("def wrong():\n    return {}['centre']", "/home/me/mine.py", "exec"), plugin)
    with pytest.raises(KeyError) as caught:
        plugin["wrong"]()
    assert describe(caught.value) == "KeyError: 'centre' (mine.py, line 2)"
    assert describe(ValueError("no plugin")) == "ValueError: no plugin"


def test_a_plugin_that_calls_an_older_bench_is_told_what_changed(tmp_path: Path) -> None:
    """A bare TypeError from a class that the author never saw says nothing of what to write instead."""
    with pytest.raises(TypeError) as caught:
        MaskedDecoder(256, 2, 4, 32, drop_path=0.1)  # type: ignore[arg-type, call-arg]
    assert "it is called as MaskedDecoder(backbone:" in changed(caught.value)
    file = tmp_path / "older.py"
    file.write_text("from bench.models.blocks import MaskedDecoder\n")
    with pytest.raises(
        bench.UsageError, match=r"it is bench\.models\.decoder\.MaskedDecoder now; docs/building-blocks"
    ):
        bench.load_plugins(file)
