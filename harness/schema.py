"""One declaration, three readers: the validator, the JSON Schema and the documentation.

A plug-in's parameters are the fields of its dataclass. ``param`` adds the words and the bounds;
everything else (checking a scenario, drawing the schema, writing the catalogue) is derived, so the
three can never disagree.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from harness import units

T = TypeVar("T")


class ParamError(ValueError):
    """A value is wrong; ``key`` says which, so that a caller can point at its line."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def param(default: Any, doc: str, *, ge: float | None = None, le: float | None = None) -> Any:
    """Declare one parameter. ``doc`` is required: an undocumented knob is not a knob."""
    return dataclasses.field(default=default, metadata={"doc": doc, "ge": ge, "le": le})


def build(cls: type[T], given: Mapping[str, object]) -> T:
    """Construct ``cls`` from scenario values, or raise ``ParamError`` naming the wrong one."""
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in given:
        if name not in fields:
            takes = ", ".join(fields) or "no parameters"
            raise ParamError(name, f"unknown parameter {name!r}; it takes {takes}")
    values: dict[str, object] = {}
    for name, raw in given.items():
        try:
            values[name] = value = _coerce(name, raw, hints[name])
        except ValueError as wrong:
            raise ParamError(name, str(wrong)) from None
        _bounded(name, raw, value, fields[name].metadata)
    try:
        return cls(**values)
    except ValueError as wrong:  # the plug-in's own cross-checks, in __post_init__
        raise ParamError(next(iter(given), ""), str(wrong)) from None


def rows(cls: type[object]) -> list[tuple[str, str, str]]:
    """List ``(name, default, doc)`` for each parameter, in the order they were written."""
    return [(f.name, _show(f.name, f.default), f.metadata["doc"]) for f in _fields(cls)]


def json_schema(cls: type[object]) -> dict[str, object]:
    """Draw the JSON Schema editors use to complete and check scenarios."""
    hints = get_type_hints(cls)
    properties = {}
    for f in _fields(cls):
        shape = _shape(f.name, hints[f.name])
        for bound, word in (("ge", "minimum"), ("le", "maximum")):
            if f.metadata[bound] is not None and shape.get("type") in ("integer", "number"):
                shape[word] = f.metadata[bound]
        properties[f.name] = {
            **shape,
            "description": f.metadata["doc"],
            "default": _show(f.name, f.default) if f.name.endswith("_s") else f.default,
        }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _fields(cls: type[object]) -> tuple["dataclasses.Field[Any]", ...]:
    return dataclasses.fields(cls)  # type: ignore[arg-type]


def _bounded(name: str, raw: object, value: object, bounds: Mapping[str, Any]) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and value < low:
        raise ParamError(name, f"{name} is {raw!r}, below its minimum of {low:g}")
    if high is not None and value > high:
        raise ParamError(name, f"{name} is {raw!r}, above its maximum of {high:g}")


def _coerce(name: str, raw: object, hint: Any) -> object:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if raw is None and type(None) in get_args(hint):
            return None
        return _coerce(name, raw, next(a for a in get_args(hint) if a is not type(None)))
    if origin is Literal:
        if raw not in get_args(hint):
            choices = ", ".join(map(str, get_args(hint)))
            raise ValueError(f"{name} is {raw!r}; it is one of {choices}")
        return raw
    if origin is tuple:
        items = raw if isinstance(raw, list | tuple) else [raw]
        return tuple(_coerce(name, item, get_args(hint)[0]) for item in items)
    if name.endswith("_s"):
        return units.seconds(raw)
    if name.endswith("_ratio"):
        return units.ratio(raw)
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(hint, type) and (
        not isinstance(raw, hint) or (isinstance(raw, bool) and hint is not bool)
    ):
        raise ValueError(f"{name} is {raw!r}; it should be a {_WORDS.get(hint, hint.__name__)}")
    return raw


_WORDS: dict[type, str] = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def _shape(name: str, hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _shape(name, next(a for a in get_args(hint) if a is not type(None)))
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin is tuple:
        return {"type": "array", "items": _shape("", get_args(hint)[0])}
    if name.endswith("_s"):
        return {"type": "string", "pattern": r"^\d+(\.\d+)?(us|ms|s|m|h)$"}
    kinds = {int: "integer", float: "number", str: "string", bool: "boolean"}
    return {"type": kinds.get(hint, "string")}


def _show(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name.endswith("_s"):
        return units.spell(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
