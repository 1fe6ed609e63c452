"""The abort conditions of a scenario: when to stop hurting."""

from typing import Literal

from harness import units
from harness.model.scenario import (
    Abort,
    AbortAlert,
    AbortBudget,
    AbortQuery,
    AbortSli,
    AbortUnexpected,
    Threshold,
)
from harness.model.slis import LIVE_SLI_NAMES
from harness.parse.document import Item, shown
from harness.parse.quantities import duration, number, read, share

KINDS = ("sli", "budget_spent", "alert", "unexpected_alert", "query")
MAX_QUERY = 2000
MAX_HOLD_S = 3600.0
MAX_BUDGET = 1000.0  # of the budget: 100000%


def aborts(item: Item, *, can_ask: bool) -> tuple[Abort, ...]:
    """Read the list. ``can_ask``: whether the stack has a Prometheus. Raises ``ParseError``."""
    if item.value is None:
        return ()
    return tuple(_abort(one, can_ask) for one in item.items())


def _abort(item: Item, can_ask: bool) -> Abort:
    body = item.mapping()
    kinds = [kind for kind in KINDS if kind in body]
    if len(kinds) != 1:
        raise item.wrong(f"should have exactly one of {', '.join(KINDS)}, not {len(kinds)}")
    (kind,) = kinds
    match kind:
        case "sli":
            return _sli(item)
        case "budget_spent":
            return _budget(item.mapping(("budget_spent",), ())["budget_spent"])
        case "alert":
            return _alert(item.mapping(("alert",), ())["alert"])
        case "unexpected_alert":
            return _unexpected(item.mapping(("unexpected_alert",), ())["unexpected_alert"])
        case _:
            return _query(item, can_ask)


def _sli(item: Item) -> AbortSli:
    body = item.mapping(("sli", "for"), ("below", "above"))
    name = body["sli"].one_of(LIVE_SLI_NAMES)
    side, limit = _side(item, body)
    value = read(limit, units.seconds) * 1e3 if name.endswith("_ms") else share(limit)
    if (side, value) in (("below", 0.0), ("above", 1.0)) and not name.endswith("_ms"):
        raise limit.wrong(f"a share is never {side} {value:.0%}, so this could never stop a run")
    return AbortSli(name, Threshold(side, value, _hold(body["for"])))


def _budget(item: Item) -> AbortBudget:
    value = item.value
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            value = float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise item.wrong(f"{shown(item.value)} should be a share, like 50%") from None
    spent = number(Item(value, item.path, item.line, item.source))
    if not 0 < spent <= MAX_BUDGET:
        raise item.wrong(f"{shown(item.value)} should be a share above 0%, like 50% or 200%")
    return AbortBudget(spent)


def _alert(item: Item) -> AbortAlert:
    labels = {name: value.text() for name, value in item.mapping().items()}
    if not labels:
        raise item.wrong("names no label; write {alertname: X}, or unexpected_alert for any alert")
    return AbortAlert(labels)


def _unexpected(item: Item) -> AbortUnexpected:
    body = item.mapping((), ("allow",)) if item.value is not None else {}
    return AbortUnexpected(
        tuple(i.text() for i in body["allow"].items()) if "allow" in body else ()
    )


def _query(item: Item, can_ask: bool) -> AbortQuery:
    body = item.mapping(("query", "for"), ("below", "above"))
    if not can_ask:
        raise body["query"].wrong("this stack has no Prometheus to ask; use an sli or an alert")
    query = body["query"].text()
    if len(query) > MAX_QUERY:
        raise body["query"].wrong(f"has {len(query)} characters; at most {MAX_QUERY} are sent")
    side, limit = _side(item, body)
    return AbortQuery(query, Threshold(side, number(limit), _hold(body["for"])))


def _side(item: Item, body: dict[str, Item]) -> tuple[Literal["below", "above"], Item]:
    if ("below" in body) == ("above" in body):
        raise item.wrong("takes exactly one of below and above")
    return ("below", body["below"]) if "below" in body else ("above", body["above"])


def _hold(item: Item) -> float:
    hold_s = duration(item)
    if not 1 <= hold_s <= MAX_HOLD_S:
        raise item.wrong(
            f"{shown(item.value)} should be 1s to 1h; indicators are read once a second"
        )
    return hold_s
