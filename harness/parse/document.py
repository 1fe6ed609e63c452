"""YAML text as a tree that knows its lines, with limits.

The text may come from anybody, so nothing in it is ever executed or constructed: only mappings,
lists and plain scalars come out, and size, depth and the number of nodes (aliases counted each
time they are used, so that anchors cannot explode) are bounded. Every error names the file, the
line, the value and what to write instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_BYTES: Final = 128 * 1024
MAX_DEPTH: Final = 16
MAX_NODES: Final = 5000
_SHOWN: Final = 60


class ParseError(Exception):
    """The text is wrong. ``str()`` is ``file:line: what is wrong; what to write instead``."""

    def __init__(self, source: str, line: int, message: str) -> None:
        super().__init__(f"{source}:{line}: {message}")
        self.source, self.line, self.message = source, line, message


@dataclass(frozen=True, slots=True)
class Item:
    """One value with its place. ``value``: a scalar, a list of ``Item``, or a dict to ``Item``."""

    value: Any
    path: str
    line: int
    source: str

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


def shown(value: object) -> str:
    """Write a value the way it should appear in an error: short, and on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def documents(text: str, source: str) -> list[Item]:
    """Read every document of a YAML text. Raises ``ParseError``."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_BYTES:
        raise too_big(source, len(text))
    if "\0" in text:
        raise ParseError(source, 1, "this is not a text file; a scenario is YAML in UTF-8")
    try:
        nodes = list(YAML(typ="safe", pure=True).compose_all(text))
    except MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        line = mark.line + 1 if mark else 1
        raise ParseError(source, line, f"this is not YAML: {_first_line(wrong.problem)}") from None
    except YAMLError as wrong:
        raise ParseError(source, 1, f"this is not YAML: {_first_line(str(wrong))}") from None
    except RecursionError:
        raise ParseError(source, 1, f"nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError, AttributeError, TypeError, AssertionError) as wrong:
        raise ParseError(source, 1, f"this is not YAML: {_first_line(str(wrong))}") from None
    counter = _Counter(source)
    return [counter.item(node, "", 0) for node in nodes if node is not None]


def too_big(source: str, size: int) -> ParseError:
    """Make the error for a text of more than ``MAX_BYTES``."""
    most = MAX_BYTES // 1024
    return ParseError(source, 1, f"the file has {size // 1024} kB; at most {most} kB is read")


def document(text: str, source: str) -> Item:
    """Read a text that holds exactly one document. Raises ``ParseError``."""
    found = documents(text, source)
    if len(found) != 1:
        raise ParseError(source, 1, f"the file holds {len(found)} documents; it should hold one")
    return found[0]


def _first_line(text: str | None) -> str:
    return (text or "unreadable").splitlines()[0][:200] if (text or "").strip() else "unreadable"


class _Counter:
    """Builds items and counts them."""

    def __init__(self, source: str) -> None:
        self.source, self.nodes = source, 0

    def item(self, node: Any, path: str, depth: int) -> Item:
        line = node.start_mark.line + 1 if node.start_mark else 1
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ParseError(self.source, line, f"more than {MAX_NODES} values (aliases counted)")
        if depth > MAX_DEPTH:
            raise ParseError(self.source, line, f"nested deeper than {MAX_DEPTH} levels")
        match node.id:
            case "mapping":
                value: Any = self._mapping(node, path, depth)
            case "sequence":
                value = [self.item(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
            case _:
                value = _scalar(node, self.source, line)
        return Item(value, path, line, self.source)

    def _mapping(self, node: Any, path: str, depth: int) -> Mapping[str, Item]:
        out: dict[str, Item] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.id != "scalar":
                raise ParseError(self.source, line, "a key should be a plain word")
            key = str(key_node.value)
            if key in out:
                raise ParseError(self.source, line, f"the key {shown(key)} is there twice")
            item = self.item(value_node, f"{path}.{key}" if path else key, depth + 1)
            out[key] = Item(item.value, item.path, line, self.source)
        return out


def _scalar(node: Any, source: str, line: int) -> str | int | float | bool | None:
    text = str(node.value)
    kind = str(node.tag).rpartition(":")[2]
    try:
        match kind:
            case "str":
                return text
            case "int":
                return int(text.replace("_", ""), 0)
            case "float":
                return float(text.replace("_", ""))
            case "bool":
                return text.lower() in ("true", "yes", "on")
            case "null":
                return None
    except ValueError:
        return text
    raise ParseError(source, line, f"the YAML tag {shown(str(node.tag))} is not supported")
