"""Game days for ML serving stacks.

A *scenario* asks a question: what happens to this *stack*, under this *load*, when that *fault*
strikes? ``parse`` reads it, ``plan`` rolls every die, ``run`` carries it out and writes a *record*,
``analyze`` turns the record into findings and one *verdict*, and a *report* tells people::

    text --parse--> Scenario --plan--> Plan ==run==> Record --analyze--> Analysis --report--> text

Only the double arrow touches the world. Everything on its left can be printed before anything
breaks; everything on its right can be done again, years later, from the record alone.

Start reading at ``harness.model`` (the nouns) and ``harness.protocols`` (the seams). The names
below are all that a fault, a stack or a report needs. They are
loaded when first used, because ``gameday --help`` should not wait for all of them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.capabilities import (
        Ablatable,
        Action,
        Ageable,
        Ageing,
        CacheCorruptible,
        CacheMode,
        CacheRule,
        DeviceKind,
        FeedRewritable,
        FeedRule,
        FeedSkewable,
        Killable,
        Operable,
        Pausable,
        Throttle,
        Throttleable,
        Ticket,
        Ticketing,
        feed_rule,
    )
    from harness.catalog import fault, report, stack
    from harness.model.analysis import Analysis, Estimate, Finding, Incident, Mark, Measure, Verdict
    from harness.model.defence import Defence, Protects
    from harness.model.environment import inherited
    from harness.model.feed import SkewMode, SkewRule
    from harness.model.plan import Node, Topology
    from harness.model.values import Json, Undo
    from harness.model.window import Window
    from harness.protocols import (
        Answer,
        AuditEntry,
        Cases,
        Endpoint,
        Evidence,
        Notification,
        RawSeries,
        Reading,
        Refused,
        Site,
        StackError,
    )
    from harness.schema import param

__all__ = (
    "Ablatable",
    "Action",
    "Ageable",
    "Ageing",
    "Analysis",
    "Answer",
    "AuditEntry",
    "CacheCorruptible",
    "CacheMode",
    "CacheRule",
    "Cases",
    "Defence",
    "DeviceKind",
    "Endpoint",
    "Estimate",
    "Evidence",
    "FeedRewritable",
    "FeedRule",
    "FeedSkewable",
    "Finding",
    "Incident",
    "Json",
    "Killable",
    "Mark",
    "Measure",
    "Node",
    "Notification",
    "Operable",
    "Pausable",
    "Protects",
    "RawSeries",
    "Reading",
    "Refused",
    "Site",
    "SkewMode",
    "SkewRule",
    "StackError",
    "Throttle",
    "Throttleable",
    "Ticket",
    "Ticketing",
    "Topology",
    "Undo",
    "Verdict",
    "Window",
    "fault",
    "feed_rule",
    "inherited",
    "param",
    "report",
    "stack",
)

_HOMES = {
    "harness.capabilities": (
        "Ablatable",
        "Action",
        "Ageable",
        "Ageing",
        "DeviceKind",
        "CacheCorruptible",
        "CacheMode",
        "CacheRule",
        "FeedRewritable",
        "FeedRule",
        "FeedSkewable",
        "Killable",
        "Operable",
        "Pausable",
        "Throttle",
        "Throttleable",
        "Ticket",
        "Ticketing",
        "feed_rule",
    ),
    "harness.catalog": ("fault", "report", "stack"),
    "harness.model.analysis": (
        "Analysis",
        "Estimate",
        "Finding",
        "Incident",
        "Mark",
        "Measure",
        "Verdict",
    ),
    "harness.model.defence": ("Defence", "Protects"),
    "harness.model.environment": ("inherited",),
    "harness.model.feed": ("SkewMode", "SkewRule"),
    "harness.model.plan": ("Node", "Topology"),
    "harness.model.values": ("Json", "Undo"),
    "harness.model.window": ("Window",),
    "harness.protocols": (
        "Answer",
        "AuditEntry",
        "Cases",
        "Endpoint",
        "Evidence",
        "Notification",
        "RawSeries",
        "Reading",
        "Refused",
        "Site",
        "StackError",
    ),
    "harness.schema": ("param",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
