"""What it means. Plain values: anything here can be stored, diffed or rendered.

Every number that was measured carries the interval it is known to. All times are seconds of run
time (since the harness began) unless a name says otherwise.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.model.record import FaultSpan
from harness.model.scenario import Phase
from harness.model.slo import Objective

if TYPE_CHECKING:
    from harness.model.study import Ablation, Sweep

FORMAT = 1
Outcome = Literal[
    "absorbed",
    "detected, mitigated",
    "detected, unmitigated",
    "undetected, mitigated",
    "undetected, unmitigated",
    "aborted",
    "invalid",
]
MarkId = Literal[
    "t_inject", "t_impact", "t_detect", "t_act", "t_mitigate", "t_heal", "t_recover", "t_observable"
]


class Verdict(enum.IntEnum):
    """Three answers, ordered by how much they should worry you."""

    PASS = 0
    UNKNOWN = 1
    FAIL = 2

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """Combine answers. No answers at all is not a pass."""
        return max(verdicts, default=Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A time with the interval it is known to, in seconds.

    ``censored``: it had not happened by ``value_s``, and may never have; the true value is greater.
    A censored estimate is never averaged and never compared as if it were measured.
    """

    value_s: float
    low_s: float
    high_s: float
    censored: bool = False

    def minus(self, other: "Estimate") -> "Estimate":
        """The time from ``other`` to this; the intervals add up at worst."""
        return Estimate(
            self.value_s - other.value_s,
            self.low_s - other.high_s,
            self.high_s - other.low_s,
            self.censored,
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant of the incident; ``how`` says from what it was read, for the method table."""

    id: MarkId
    at: Estimate | None
    how: str


@dataclass(frozen=True, slots=True)
class Incident:
    """One fault and what came of it. ``None`` for a time that does not exist (say, absorbed)."""

    fault_id: str
    fault: str
    outcome: Outcome
    marks: tuple[Mark, ...]
    ttd: Estimate | None
    ttm: Estimate | None
    ttr: Estimate | None
    ttd_from_impact: Estimate | None
    ttm_from_impact: Estimate | None
    ttr_from_impact: Estimate | None
    objective: str | None  # the objective that was hurt first, if any
    bad_events: int
    budget_note: str

    def mark(self, id: MarkId) -> Mark | None:
        """Find one mark."""
        return next((m for m in self.marks if m.id == id), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer and, in a sentence, why.

    ``kind`` tells the scenario's expectations from the checks that are always made.
    """

    check: str
    verdict: Verdict
    because: str
    kind: Literal["expectation", "built-in"] = "built-in"


@dataclass(frozen=True, slots=True)
class Measure:
    """One indicator, phase by phase and second by second. ``None`` means no data.

    ``by_second[i]`` covers ``[start + i, start + i + 1)`` with ``start`` the analysis's
    ``load_start_s``; ``target`` is the objective it is held to, if any.
    """

    sli: str
    unit: str
    title: str
    by_phase: Mapping[Phase, float | None]
    by_second: tuple[float | None, ...]
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline; ``source`` names where in the record it stands."""

    t: float
    kind: Literal["phase", "fault", "alert", "action", "mark", "note", "stack", "abort"]
    what: str
    source: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A monitored series, for drawing beside what the oracle saw."""

    name: str
    labels: Mapping[str, str]
    t: tuple[float, ...]
    value: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class MethodNote:
    """How a number was obtained, and how sure it is."""

    number: str
    how: str
    uncertainty: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything a report may know of one run; or, with one of the last two, of several.

    Of several runs, ``run`` is the study's id, ``end_s`` how long they took together, and what was
    measured second by second is left to the reports of the runs.
    """

    format: int
    run: str
    scenario: str
    why: str
    seed: int
    stack: str
    started_utc: str
    virtual_time: bool
    placebo: bool
    verdict: Verdict
    headline: str
    findings: tuple[Finding, ...]
    incidents: tuple[Incident, ...]
    measures: tuple[Measure, ...]
    objectives: tuple[Objective, ...]
    spans: tuple[FaultSpan, ...]
    phases: Mapping[Phase, tuple[float, float]]
    load_start_s: float
    end_s: float
    timeline: tuple[Moment, ...]
    traces: tuple[Trace, ...]
    method: tuple[MethodNote, ...]
    facts: Mapping[str, str]  # versions, machine, load, digests: for the appendix
    ablation: "Ablation | None" = None
    sweep: "Sweep | None" = None
