"""YAML text to Policy.

Which schedules and time zones there are is for the caller to say, because telling needs a calendar,
and the parser is pure.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Literal

from harness.model.policy import MAX_FAULT_S, CalendarWindow, Policy
from harness.model.scenario import Limits
from harness.parse import limits as limit
from harness.parse.document import Item, document, shown
from harness.parse.quantities import duration

WrongWindow = Callable[[str, str], str | None]
"""``(schedule, time zone)`` to what is wrong with them, or nothing."""
LONGEST_FAULT_S = 24 * 3600.0
MAX_WINDOW_S = 366 * 24 * 3600.0
_PATTERN = re.compile(r"^(\*\.)?[A-Za-z0-9_*]([A-Za-z0-9_.*-]{0,252}[A-Za-z0-9_*])?$")


def policy(text: str, *, source: str, wrong_window: WrongWindow) -> Policy:
    """Read a policy file. Raises ``ParseError`` with file, line, value and remedy."""
    body = document(text, source).mapping((), ("limits", "targets", "windows", "on_blocked"))
    limits, max_fault_s = _limits(body["limits"]) if "limits" in body else (Limits(), MAX_FAULT_S)
    stacks, hosts = _targets(body["targets"]) if "targets" in body else (None, ())
    windows = body["windows"].items() if "windows" in body and body["windows"].value else []
    fail = "on_blocked" not in body or body["on_blocked"].one_of(("fail", "skip")) == "fail"
    return Policy(
        source=source,
        limits=limits,
        max_fault_s=max_fault_s,
        stacks=stacks,
        hosts=hosts,
        windows=tuple(_window(item, wrong_window) for item in windows),
        on_blocked="fail" if fail else "skip",
    )


def _limits(item: Item) -> tuple[Limits, float]:
    body = item.mapping((), (*limit.KEYS, "max_fault"))
    max_fault_s = MAX_FAULT_S
    if "max_fault" in body:
        max_fault_s = duration(body["max_fault"])
        if not 0 < max_fault_s <= LONGEST_FAULT_S:
            raise body["max_fault"].wrong(f"{shown(body['max_fault'].value)} is not within 24h")
    return limit.given(body), max_fault_s


def _targets(item: Item) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    body = item.mapping((), ("stacks", "hosts"))
    stacks = tuple(i.text() for i in body["stacks"].items()) if "stacks" in body else None
    hosts = tuple(_host(i) for i in body["hosts"].items()) if "hosts" in body else ()
    return stacks, hosts


def _host(item: Item) -> str:
    """A network, an address, or a name with ``*``; never one that a typing error makes all."""
    text = item.text().strip()
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    if not _PATTERN.match(text):
        raise item.wrong(
            f"{shown(text)} should be a host name (with * for any characters), an address, or a "
            "network like 10.1.0.0/16, whose address ends where its prefix does"
        )
    if not set(text) - set("0123456789.*"):
        raise item.wrong(f"{shown(text)} would be any host; write a network, like 10.1.0.0/16")
    return text.lower()


def _window(item: Item, wrong_window: WrongWindow) -> CalendarWindow:
    body = item.mapping(("kind", "schedule", "duration"), ("time_zone", "description"))
    kind: Literal["allow", "deny"] = (
        "allow" if body["kind"].one_of(("allow", "deny")) == "allow" else "deny"
    )
    length_s = duration(body["duration"])
    if not 0 < length_s <= MAX_WINDOW_S:
        raise body["duration"].wrong(f"{shown(body['duration'].value)} is not within 366 days")
    schedule = " ".join(body["schedule"].text().split())
    zone = body["time_zone"].text() if "time_zone" in body else "UTC"
    if (wrong := wrong_window(schedule, zone)) is not None:
        raise item.wrong(wrong)
    words = " ".join(body["description"].text().split()) if "description" in body else ""
    return CalendarWindow(kind, schedule, length_s, zone, words)
