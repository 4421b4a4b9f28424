"""YAML from users: read as what stands there, or refused in one line; it never takes the machine's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.local import FILE_NAME, list_local
from bench.errors import SetupError, UsageError
from bench.plan.request import parse_assignment, read_request
from bench.yamltext import YamlError, parse_yaml

BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
WRONG = {
    "alias bomb": (BOMB, "aliases stand for more"),
    "merge bomb": (MERGES, "aliases stand for more"),
    "alias of itself": ("&a [*a]", "the value that contains it"),
    "mapping of itself": ("&a {b: *a}", "the value that contains it"),
    "deep list": ("[" * 100_000, "levels of nesting"),
    "deep mapping": ("{a: " * 1000, "levels of nesting"),
    "deep block": ("- " * 5000 + "x", "levels of nesting"),
    "long number": ("a: " + "9" * 5000, "5000 characters is too large"),
    "long hexadecimal number": ("a: 0x" + "f" * 5000, "too large"),
    "long binary number": ("a: 0b" + "1" * 79, "too large"),
    "python object": ("a: !!python/object/apply:os.system [true]", "tag 'tag:yaml.org,2002:python/object/apply"),
    "python tuple": ("a: !!python/tuple [1]", "tag "),
    "bytes": ("a: !!binary aGk=", "tag "),
    "set": ("a: !!set {x, y}", "tag "),
    "own tag": ("!mine 3", "tag '!mine'"),
    "key twice": (
        "seeds: 1\nmethods: [recon]\nseeds: 2\n",
        r"'seeds' stands twice in one mapping \(line 3, column 1\)",
    ),
    "key twice inside": ("a: {b: 1, c: {d: 1, d: 2}}", "'d' stands twice"),
    "key twice in quotes": ("a: 1\n'a': 2", "'a' stands twice"),
    "number as key": ("1: a", "key 1 is no text"),
    "truth value as key": ("on: a", "key on is no text"),
    "list as key": ("? [a]\n: b", "key is no text"),
    "huge": ("a: " + "x" * 2_000_000, "too many"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "control character": ("a: \x07", "not allowed"),
    "not closed": ("{a: [", "while parsing"),
    "unknown alias": ("a: *b", "undefined alias"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.timeout(20)
def test_what_is_not_read_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    text, words = WRONG[name]
    with pytest.raises(YamlError, match=words):
        parse_yaml(text)
    file = tmp_path / FILE_NAME
    file.write_text(text)
    for read, kind in ((lambda: read_request(file), UsageError), (lambda: list_local(tmp_path), SetupError)):
        with pytest.raises(kind) as error:
            read()  # type: ignore[no-untyped-call]
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500
    with pytest.raises(UsageError) as error:
        parse_assignment(f"recipe.lr={text}")
    assert len(str(error.value)) < 700


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(value=plain)
def test_what_is_written_is_read_back(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=False)
    assert parse_yaml(text) == value == yaml.safe_load(text)


def test_aliases_merges_and_dates_of_ordinary_files() -> None:
    text = "a: &a {lr: 1}\nb: {<<: *a, wd: 2}\nc: [*a, *a]\nd: 2024-01-01\n"
    assert parse_yaml(text) == {"a": {"lr": 1}, "b": {"lr": 1, "wd": 2}, "c": [{"lr": 1}] * 2, "d": "2024-01-01"}
