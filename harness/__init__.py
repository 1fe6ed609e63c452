"""Game days for ML serving stacks.

A *scenario* asks a question: what happens to this *stack*, under this *load*, when that *fault*
strikes? ``parse`` reads it, ``plan`` rolls every die, ``run`` carries it out and writes a *record*,
``analyze`` turns the record into findings and one *verdict*, and a *report* tells people::

    text --parse--> Scenario --plan--> Plan ==run==> Record --analyze--> Analysis --report--> text

Only the double arrow touches the world. Everything on its left can be printed before anything
breaks; everything on its right can be done again, years later, from the record alone.

Start reading at ``harness.model`` (the nouns) and ``harness.protocols`` (the seams). The names
below are all that a fault, a stack or a report needs.
"""

from harness.capabilities import FeedRewritable, FeedRule
from harness.catalog import fault, report, stack
from harness.model.analysis import Analysis, Estimate, Finding, Incident, Mark, Measure, Verdict
from harness.model.events import Json, Undo
from harness.model.plan import Node, Topology
from harness.model.record import Window
from harness.protocols import (
    Answer,
    AuditEntry,
    Cases,
    Endpoint,
    Evidence,
    Notification,
    RawSeries,
    Reading,
    Site,
    StackError,
)
from harness.schema import param

__all__ = (
    "Analysis",
    "Answer",
    "AuditEntry",
    "Cases",
    "Endpoint",
    "Estimate",
    "Evidence",
    "FeedRewritable",
    "FeedRule",
    "Finding",
    "Incident",
    "Json",
    "Mark",
    "Measure",
    "Node",
    "Notification",
    "RawSeries",
    "Reading",
    "Site",
    "StackError",
    "Topology",
    "Undo",
    "Verdict",
    "Window",
    "fault",
    "param",
    "report",
    "stack",
)
