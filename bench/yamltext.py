"""Read YAML written by users: configurations, suites, ``--set`` values.

Also local names of data sets. JSON is YAML, too.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path

import yaml
from pydantic import JsonValue

LARGEST = 1_000_000
"""Most characters of a file, and most values after resolving aliases; real files have hundreds."""
DEEPEST = 50
_LARGEST_INTEGER = 2**64
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map", "merge")
)


class YamlError(ValueError):
    """Invalid or unsupported YAML; the line says what and where."""


def _without_colons(tag: str, pattern: re.Pattern[str]) -> re.Pattern[str]:
    """Leave 1:30:00 a text, which YAML 1.1 reads as a number to base 60."""
    number = tag.endswith((":int", ":float"))
    return re.compile(f"(?![^:]*:){pattern.pattern}", pattern.flags) if number else pattern


class _Loader(yaml.SafeLoader):
    """YAML loader for plain values, without tags or duplicate keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the parent has it); a date stays the text that was written
        first: [(tag, _without_colons(tag, pattern)) for tag, pattern in found if tag in _TAGS]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Build a node within limits of depth and size."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            named: yaml.Node | None = super().compose_node(parent, index)
            if id(named) not in self._sizes:
                raise YamlError(f"an alias refers to the value that contains it{_at(mark)}")
            return named
        self._depth += 1
        if self._depth > DEEPEST:
            raise YamlError(f"more than {DEEPEST} levels of nesting{_at(mark)}")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            if node.tag not in _TAGS:
                raise YamlError(
                    f"the tag '{node.tag}' is not read here: plain values, lists and mappings only{_at(mark)}"
                )
            self._sizes[id(node)] = size = 1 + sum(self._sizes[id(inner)] for inner in _inner(node))
            if size > LARGEST:
                raise YamlError(f"its aliases stand for more than {LARGEST:,} values{_at(mark)}")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Build a mapping with unique text keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                shown = f" {key.value}" if isinstance(key, yaml.ScalarNode) else ""
                raise YamlError(f"the key{shown} is no text; put it in quotes{_at(key.start_mark)}")
            if key.value in seen:
                raise YamlError(f"the key '{key.value}' stands twice in one mapping{_at(key.start_mark)}")
            seen.add(key.value)
        found: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return found

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Build a whole number of bounded size."""
        text = str(node.value)
        value = int(super().construct_yaml_int(node)) if len(text) <= 80 else _LARGEST_INTEGER
        if abs(value) >= _LARGEST_INTEGER:
            raise YamlError(f"the number {text[:12]}... of {len(text)} characters is too large{_at(node.start_mark)}")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str) -> JsonValue:
    """Read YAML.

    Returns:
        Texts, numbers, truth values, null, lists, and mappings with texts as keys. Dates stay texts.

    Raises:
        YamlError: It is no YAML, is too large or too deep, has a tag, a key twice or a key that is no text.
    """
    if len(text) > LARGEST:
        raise YamlError(f"{len(text):,} characters are too many; at most {LARGEST:,} are read")
    try:
        loader = _Loader(text)
        try:
            value: JsonValue = loader.get_single_data()
        finally:
            loader.dispose()
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())) from error
    return value


def read_yaml(path: Path) -> JsonValue:
    """Read a YAML file.

    Raises:
        FileNotFoundError: It is not there.
        YamlError: It is no file of text, or as `parse_yaml`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise YamlError(f"it is not UTF-8 text ({error})") from error
    except OSError as error:
        raise YamlError(error.strerror or str(error)) from error
    if len(text) > LARGEST:
        raise YamlError(f"it has more than {LARGEST:,} characters")
    return parse_yaml(text)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _at(mark: yaml.Mark) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})"
