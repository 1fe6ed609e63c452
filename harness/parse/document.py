"""YAML text as a tree that knows its lines, with limits.

The text may come from anybody, so nothing in it is ever executed or constructed: only mappings,
lists and plain scalars come out, and size, depth, keys, numbers and the count of values (aliases
counted each time they are used, so that anchors cannot explode) are bounded. A text that steers a
terminal or turns the reading direction is refused. Every error names the file, the line, the value
and what to write instead, on one line of bounded length.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from harness.parse.graph import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    UNFIT,
    Node,
    ParseError,
    nodes,
    shown,
    too_big,
)

__all__ = ("MAX_BYTES", "Item", "ParseError", "document", "documents", "shown", "too_big")

Number = TypeVar("Number", int, float)
MAX_KEY: Final = 120
MAX_WHOLE: Final = 2**63


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """One value with its place. ``value``: a scalar, a list of ``Item``, or a dict to ``Item``."""

    value: Any
    path: str
    line: int
    source: str

    def __repr__(self) -> str:
        return shown(self.value)

    def wrong(self, message: str) -> ParseError:
        """Make an error that points here."""
        where = f"{self.path}: " if self.path else ""
        return ParseError(self.source, self.line, f"{where}{message}")

    def mapping(
        self, required: Iterable[str] = (), optional: Iterable[str] | None = None
    ) -> dict[str, "Item"]:
        """Read a mapping; with ``optional`` given, refuse every other key."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"should be a mapping of keys to values, not {shown(self.value)}")
        body: dict[str, Item] = self.value
        required = tuple(required)
        if optional is not None:
            known = (*required, *optional)
            for key, item in body.items():
                if key not in known:
                    raise item.wrong(f"unknown key {shown(key)}; it takes {', '.join(known)}")
        for key in required:
            if key not in body:
                raise self.wrong(f"the key {key!r} is missing")
        return body

    def items(self) -> list["Item"]:
        """Read a list."""
        if not isinstance(self.value, list):
            raise self.wrong(f"should be a list, not {shown(self.value)}")
        return self.value

    def text(self) -> str:
        """Read a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.wrong(f"should be a text, not {shown(self.value)}")
        return self.value

    def whole(self) -> int:
        """Read a whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong(f"should be a whole number, not {shown(self.value)}")
        return self.value

    def one_of(self, choices: Iterable[str]) -> str:
        """Read one of some words."""
        choices = tuple(choices)
        if self.value not in choices:
            raise self.wrong(f"{shown(self.value)} is not one of {', '.join(choices)}")
        return str(self.value)

    def single(self) -> tuple[str, "Item"]:
        """Read a mapping with exactly one key."""
        body = self.mapping()
        if len(body) != 1:
            raise self.wrong(f"should have exactly one key, not {len(body)}")
        return next(iter(body.items()))

    def plain(self) -> Any:
        """Drop the places."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain() for v in self.value]
        return self.value


def documents(text: str, source: str) -> list[Item]:
    """Read every document of a YAML text. Raises ``ParseError``."""
    counter = _Counter(source)
    return [counter.item(node, "", 0) for node in nodes(text, source)]


def document(text: str, source: str) -> Item:
    """Read a text that holds exactly one document. Raises ``ParseError``."""
    found = documents(text, source)
    if len(found) != 1:
        raise ParseError(source, 1, f"the file holds {len(found)} documents; it should hold one")
    return found[0]


class _Counter:
    """Builds items and counts them."""

    def __init__(self, source: str) -> None:
        self.source, self.nodes = source, 0

    def item(self, node: Node, path: str, depth: int) -> Item:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            words = f"more than {MAX_NODES} values (aliases counted)"
            raise ParseError(self.source, node.line, words)
        if depth > MAX_DEPTH:
            raise ParseError(self.source, node.line, f"nested deeper than {MAX_DEPTH} levels")
        match node.kind:
            case "mapping":
                value: Any = self._mapping(node, path, depth)
            case "sequence":
                value = [self.item(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
            case _:
                value = _scalar(node, self.source)
        return Item(value, path, node.line, self.source)

    def _mapping(self, node: Node, path: str, depth: int) -> Mapping[str, Item]:
        out: dict[str, Item] = {}
        for key_node, value_node in zip(node.value[::2], node.value[1::2], strict=False):
            line = key_node.line
            if key_node.kind != "scalar":
                raise ParseError(self.source, line, "a key should be a plain word")
            key = str(key_node.value)
            if len(key) > MAX_KEY or UNFIT.search(key):
                words = f"the key {shown(key)} should be a plain word of at most {MAX_KEY} letters"
                raise ParseError(self.source, line, words)
            if key in out:
                raise ParseError(self.source, line, f"the key {shown(key)} is there twice")
            item = self.item(value_node, f"{path}.{key}" if path else key, depth + 1)
            out[key] = Item(item.value, item.path, line, self.source)
        return out


def _scalar(node: Node, source: str) -> str | int | float | bool | None:
    text = node.value
    if found := UNFIT.search(text):
        words = f"{shown(text)} holds the character U+{ord(found[0]):04X}; write plain text"
        raise ParseError(source, node.line, words)
    try:
        match node.tag.rpartition(":")[2]:
            case "str":
                return str(text)
            case "int":
                return _bounded(int(text.replace("_", ""), 0), node, source)
            case "float":
                return _bounded(float(text.replace("_", "")), node, source)
            case "bool":
                return text.lower() in ("true", "yes", "on")
            case "null":
                return None
    except ValueError:
        return str(text)
    raise ParseError(source, node.line, f"the YAML tag {shown(node.tag)} is not supported")


def _bounded(number: Number, node: Node, source: str) -> Number:
    """Refuse numbers that arithmetic stumbles over: not finite, or of thousands of digits."""
    if abs(number) > MAX_WHOLE or not math.isfinite(number):
        raise ParseError(source, node.line, f"the number {shown(node.value)} is out of range")
    return number
