"""What users got, objective by objective: the ground truth of every mark but detection.

It is built from the harness's own requests and nothing else, so that it stays independent of the
stack's monitoring. Requests stand at the instant they were due.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.analyze.slis import OracleEvents, oracle_events
from harness.model.events import Aborted, LoadFinished, PhaseEntered
from harness.model.record import FaultSpan, Record, Window
from harness.model.scenario import Phase
from harness.model.slo import Objective, Slo

MIN_BAD_EVENTS: Final = 5  # the bad events that the fastest alert's threshold must stand for
STEP_S: Final = 1.0
_SLACK: Final = 1e-9


@dataclass(frozen=True)
class Oracle:
    """One record's ground truth, held against one SLO. ``hold_s`` is H of the marks."""

    record: Record
    slo: Slo
    hold_s: float

    @cached_property
    def events(self) -> Mapping[str, OracleEvents]:
        """The events of each objective, by its name; one whose SLI counts no events is missing."""
        found = {
            o.name: oracle_events(o.sli, self.record.requests, self.slo)
            for o in self.slo.objectives
        }
        return {name: events for name, events in found.items() if events is not None}

    @cached_property
    def window_s(self) -> float:
        """The short window: the SLO's, or where traffic is thin, one that can hold ``n_min`` events
        (half as long again, since arrivals are uneven), as H is.
        """
        record = self.record
        length_s = record.load_end_s - (record.load_start_s or 0.0)
        rate = len(record.requests) / length_s if length_s > 0 else 0.0
        needed = max((self.n_min(o) for o in self.slo.objectives), default=1)
        short_s = self.slo.short_window_s
        if not rate or rate * short_s >= needed:
            return short_s
        return min(max(short_s, self.hold_s), 1.5 * needed / rate)

    def n_min(self, objective: Objective) -> int:
        """How many events a window must hold to be judged: enough for ``MIN_BAD_EVENTS`` bad ones
        at the threshold of the fastest alert.
        """
        burn = max((tier.burn for tier in self.slo.tiers), default=1.0)
        share = min(1.0, burn * objective.budget)
        return ceil(MIN_BAD_EVENTS / share) if share > 0 else 1

    def count(self, objective: Objective, start_s: float, end_s: float) -> int:
        """How many events of an objective fell due in ``[start_s, end_s)``."""
        events = self.events.get(objective.name)
        if events is None:
            return 0
        low, high = events.due_s.searchsorted([start_s, end_s])
        return int(high - low)

    def misses(self, objective: Objective, starts_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) which short windows from ``starts_s`` (n,) hold enough events and miss it."""
        events = self.events[objective.name]
        bad = np.concatenate(([0], np.cumsum(events.bad)))
        low, high = self._edges(objective, starts_s)
        over = bad[high] - bad[low] > objective.budget * (high - low) + _SLACK
        missed: NDArray[np.bool_] = over & (high - low >= self.n_min(objective))
        return missed

    def blind(self, objective: Objective, starts_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) which short windows from ``starts_s`` (n,) hold too few events to tell."""
        low, high = self._edges(objective, starts_s)
        too_few: NDArray[np.bool_] = high - low < self.n_min(objective)
        return too_few

    def silence_s(self, start_s: float, end_s: float) -> float | None:
        """From when in ``[start_s, end_s)`` no request is on record for a whole short window."""
        due_s = self.record.requests.between(start_s, end_s).due_s
        edges = np.concatenate(([start_s], due_s, [end_s]))
        silent = np.flatnonzero(np.diff(edges) >= min(self.window_s, end_s - start_s))
        return float(edges[silent[0]]) if len(silent) and end_s > start_s else None

    def _edges(
        self, objective: Objective, starts_s: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        due_s = self.events[objective.name].due_s
        return due_s.searchsorted(starts_s), due_s.searchsorted(starts_s + self.window_s)

    def window_starts(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Starts of the short windows that fit in ``[start_s, end_s]``, one every ``STEP_S``."""
        room_s = end_s - start_s - self.window_s
        count = int(room_s / STEP_S + _SLACK) + 1 if room_s >= 0 else 0
        starts_s: NDArray[np.float64] = start_s + STEP_S * np.arange(count, dtype=np.float64)
        return starts_s

    def lag_near_s(self, at_s: float, around_s: float = 1.0) -> float:
        """How late requests left around an instant: by so much an instant may be blurred."""
        near = self.record.requests.between(at_s - around_s, at_s + around_s)
        return max(0.0, float(near.lag_s.max())) if len(near) else 0.0

    def before_s(self, span: FaultSpan) -> float:
        """From when the run was healthy before this fault: the baseline, or the last heal."""
        baseline = phases(self.record).get("baseline")
        start_s = baseline[0] if baseline else (self.record.load_start_s or 0.0)
        starts = injected_after(span)
        healed = [s.healed_s for s in self.record.spans if s.healed_s and s.healed_s <= starts]
        return max([start_s, *healed])

    def until_s(self, span: FaultSpan) -> float:
        """Until when this fault's incident is watched: the next fault that starts after its heal,
        or the end of the load.
        """
        end_s = self.record.load_end_s
        if span.healing_s is not None:
            starts = sorted(injected_after(s) for s in self.record.spans if s.id != span.id)
            later = bisect_left(starts, span.healing_s)
            end_s = min([end_s, *starts[later : later + 1]])
        return end_s


def phases(record: Record) -> Mapping[Phase, tuple[float, float]]:
    """When each phase began and ended; none if the record was cut short before the first."""
    return record.phases if any(record.of(PhaseEntered)) else {}


def phase_window(record: Record, phase: Phase) -> Window | None:
    """Cut one phase out of a record, or nothing if the run never got there."""
    edges = phases(record).get(phase)
    return None if edges is None else record.window(*edges)


def judged_window(record: Record, phase: Phase) -> Window | None:
    """Cut out what counts as one phase: the fault's ends at the first heal, for from there on it is
    not under the fault.
    """
    window = phase_window(record, phase)
    if window is None or phase != "fault":
        return window
    heals_s = [s.healing_s for s in record.spans if s.healing_s is not None]
    end_s = max(window.start_s, min([window.end_s, *heals_s]))
    return record.window(window.start_s, end_s)


def cut_off_s(record: Record) -> float | None:
    """When the load was cut short: by an abort, or because the record ends before it does."""
    aborts_s = [e.t for e in record.of(Aborted)]
    if any(e.t <= min(aborts_s, default=inf) for e in record.of(LoadFinished)):
        return None
    return min([record.end_s, *aborts_s])


def injected_after(span: FaultSpan) -> float:
    """The earliest instant at which a fault may have been in force."""
    return span.intended_s if span.not_before_s is None else span.not_before_s
