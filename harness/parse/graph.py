"""YAML text as a graph of nodes, left at the first limit that it breaks.

The scanner takes tens of microseconds a token, so a text that were read whole before it is measured
could hold a process for seconds. Hence it is asked for one event at a time, and size, depth and the
number of nodes are bounded as they come. An error is one line of bounded length that steers no
terminal, whatever is in the text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

MAX_BYTES: Final = 128 * 1024
MAX_DEPTH: Final = 16
MAX_NODES: Final = 5000
MAX_DOCUMENTS: Final = 100
UNFIT: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, what turns the reading direction, and halves of characters."""
_BREAKS: Final = re.compile("[\t\n\r\u2028\u2029]+")
_PLAIN_TAGS: Final = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_SHOWN: Final = 60
_MESSAGE: Final = 600


class ParseError(Exception):
    """The text is wrong. ``str()`` is ``file:line: what is wrong; what to write instead``."""

    def __init__(self, source: str, line: int, message: str) -> None:
        message = one_line(message)
        super().__init__(f"{one_line(source)}:{line}: {message}")
        self.source, self.line, self.message = source, line, message


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


def too_big(source: str, size: int) -> ParseError:
    """Make the error for a text of more than ``MAX_BYTES``."""
    most = MAX_BYTES // 1024
    return ParseError(source, 1, f"the file has {size // 1024} kB; at most {most} kB is read")


@dataclass(slots=True)
class Node:
    """A node of the YAML graph. ``value``: a text, or the nodes inside; keys and values in turn."""

    kind: str
    value: Any
    tag: str
    line: int


def nodes(text: str, source: str) -> list[Node]:
    """Read the root node of every document of a YAML text. Raises ``ParseError``."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text) > MAX_BYTES:
        raise too_big(source, len(text))
    if "\0" in text:
        raise ParseError(source, 1, "this is not a text file; a scenario is YAML in UTF-8")
    if text.count("\n%") > MAX_DOCUMENTS:
        raise ParseError(source, 1, f"more than {MAX_DOCUMENTS} lines of YAML directives")
    yaml = YAML(typ="safe", pure=True)
    try:
        return _Tree(source, yaml.resolver).read(yaml.parse(text))
    except MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        line = mark.line + 1 if mark else 1
        raise ParseError(source, line, f"this is not YAML: {_first_line(wrong.problem)}") from None
    except YAMLError as wrong:
        raise ParseError(source, 1, f"this is not YAML: {_first_line(str(wrong))}") from None
    except RecursionError:
        raise ParseError(source, 1, f"nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError, AttributeError, TypeError, LookupError, AssertionError) as e:
        raise ParseError(source, 1, f"this is not YAML: {_first_line(str(e))}") from None


class _Tree:
    """Builds the graph of nodes from the parser's events, and stops at the first limit."""

    def __init__(self, source: str, resolver: Any) -> None:
        from ruamel.yaml import events, nodes

        self._source, self._resolver = source, resolver
        self._starts = {events.SequenceStartEvent: "sequence", events.MappingStartEvent: "mapping"}
        self._ends = (events.SequenceEndEvent, events.MappingEndEvent)
        self._scalar, self._alias = events.ScalarEvent, events.AliasEvent
        self._document, self._scalar_node = events.DocumentStartEvent, nodes.ScalarNode
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._count = 0
        self._documents: list[Node] = []

    def read(self, events: Iterable[Any]) -> list[Node]:
        """Take them all, and return the root of each document."""
        for event in events:
            self._take(event)
        return self._documents

    def _take(self, event: Any) -> None:
        """Add one event. Raises ``ParseError`` for one too many or too deep."""
        kind = type(event)
        if kind is self._document:
            self._anchors = {}
            if len(self._documents) == MAX_DOCUMENTS:
                words = f"more than {MAX_DOCUMENTS} documents"
                raise ParseError(self._source, _line(event), words)
        elif kind is self._scalar:
            self._add(event, Node("scalar", str(event.value), self._tag(event), _line(event)))
        elif kind in self._starts:
            node = Node(self._starts[kind], [], "", _line(event))
            if event.tag not in (None, "!", *_PLAIN_TAGS):
                words = f"the YAML tag {shown(event.tag)} is not supported"
                raise ParseError(self._source, node.line, words)
            self._add(event, node)
            self._open.append(node)
            if len(self._open) > MAX_DEPTH + 1:
                raise ParseError(self._source, node.line, f"nested deeper than {MAX_DEPTH} levels")
        elif kind is self._alias:
            if event.anchor not in self._anchors:
                words = f"*{shown(event.anchor)[1:-1]} stands for nothing; there is no such anchor"
                raise ParseError(self._source, _line(event), words)
            self._add(None, self._anchors[event.anchor])
        elif kind in self._ends:
            self._open.pop()

    def _add(self, event: Any, node: Node) -> None:
        self._count += 1
        if self._count > 2 * MAX_NODES:  # keys are nodes here, and are not values
            raise ParseError(self._source, node.line, f"more than {MAX_NODES} values")
        if event is not None and event.anchor is not None:
            self._anchors[event.anchor] = node
        (self._open[-1].value if self._open else self._documents).append(node)

    def _tag(self, event: Any) -> str:
        if event.tag is None or event.tag == "!":
            return str(self._resolver.resolve(self._scalar_node, event.value, event.implicit))
        return str(event.tag)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _first_line(text: str | None) -> str:
    return (text or "unreadable").splitlines()[0][:200] if (text or "").strip() else "unreadable"


def one_line(text: str) -> str:
    """Make a text fit to be printed: on one line, without steering a terminal, not too long."""
    line = UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))
    if len(line) <= _MESSAGE:
        return line
    return f"{line[: _MESSAGE // 2]} … {line[-_MESSAGE // 2 :]}"
