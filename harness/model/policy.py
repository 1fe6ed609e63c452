"""What the owner of a machine or a platform allows, whatever a scenario asks for."""

from dataclasses import dataclass
from typing import Literal

from harness.model.scenario import Limits

MAX_FAULT_S = 900.0


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """A stretch of the calendar that comes back: it opens whenever the cron ``schedule`` (five
    fields, in ``time_zone``) says, and stays open for ``duration_s`` seconds of real time.
    """

    kind: Literal["allow", "deny"]
    schedule: str
    duration_s: float
    time_zone: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits that a scenario can make stricter and never looser.

    ``stacks``: the stacks that may be broken; ``None`` = any. ``hosts``: names (``*`` stands for
    any characters), addresses and networks (``10.1.0.0/16``) that may be targets beside this
    machine's loopback, which always may. ``max_fault_s``: the longest that a fault may last.
    ``windows``: when. With no window at all: always; with an ``allow``: only inside one; inside a
    ``deny``: never. ``on_blocked``: what a run outside them comes to at its start.
    """

    source: str = "the built-in policy"
    limits: Limits = Limits()
    max_fault_s: float = MAX_FAULT_S
    stacks: tuple[str, ...] | None = None
    hosts: tuple[str, ...] = ()
    windows: tuple[CalendarWindow, ...] = ()
    on_blocked: Literal["fail", "skip"] = "fail"
