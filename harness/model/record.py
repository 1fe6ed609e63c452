"""The record of one run, read-only: the only thing an analysis may look at.

It is whole in itself: requests carry their true label, golden answer and feature mask, and the
Prometheus series behind rules and report are in it, so that nothing else need survive.
"""

import dataclasses
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from harness.model import events as ev
from harness.model.scenario import Phase
from harness.model.window import Requests, Series, Window

__all__ = ("FaultSpan", "Record", "Requests", "Series", "Window", "events_from_lines", "spans_of")

E = TypeVar("E")
T = TypeVar("T", ev.Sampled, ev.Alerted, ev.Acted)


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """One fault's life, as the record tells it. Times are run time; ``None`` = never happened.

    It was in force from ``injected_s`` (uncertain back to ``not_before_s``) to ``healing_s``, if it
    ``held`` until then.
    """

    id: str
    fault: str
    params: Mapping[str, ev.Json]
    nodes: tuple[str, ...]
    undo: ev.Undo
    intended_s: float
    not_before_s: float | None = None
    injected_s: float | None = None
    healing_s: float | None = None
    held: bool | None = None
    healed_s: float | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """Every event in the order it was written, every request, and the exported series."""

    events: tuple[ev.Event, ...]
    requests: Requests
    series: tuple[Series, ...] = ()

    def of(self, kind: type[E]) -> Iterator[E]:
        """Every event of one kind."""
        return (e for e in self.events if isinstance(e, kind))

    @cached_property
    def started(self) -> ev.RunStarted:
        """The header. Raises ``ValueError`` when even that is missing."""
        for event in self.of(ev.RunStarted):
            return event
        raise ValueError("the record has no header: its first line was never written")

    @cached_property
    def complete(self) -> bool:
        """Did the run reach its own end?"""
        return any(self.of(ev.RunFinished))

    @cached_property
    def end_s(self) -> float:
        """The last instant anything was said."""
        return max((e.t for e in self.events), default=0.0)

    @cached_property
    def load_start_s(self) -> float | None:
        """When the first request was due: the zero of the plan's times."""
        return next((e.t for e in self.of(ev.LoadStarted)), None)

    @cached_property
    def load_end_s(self) -> float:
        """When the load was over: the end of the last phase."""
        return next((e.t for e in self.of(ev.LoadFinished)), self.end_s)

    @cached_property
    def phases(self) -> dict[Phase, tuple[float, float]]:
        """When each phase began and ended."""
        entered = list(self.of(ev.PhaseEntered))
        ends = [e.t for e in entered[1:]] + [self.load_end_s] * bool(entered)
        return {e.phase: (e.t, max(e.t, end)) for e, end in zip(entered, ends, strict=True)}

    @cached_property
    def samples(self) -> tuple[ev.Sampled, ...]:
        """Every probe reading, in time order."""
        return tuple(sorted(self.of(ev.Sampled), key=_when))

    @cached_property
    def alerts(self) -> tuple[ev.Alerted, ...]:
        """Every notification, in order of arrival."""
        return tuple(sorted(self.of(ev.Alerted), key=_when))

    @cached_property
    def actions(self) -> tuple[ev.Acted, ...]:
        """Every audit entry, in time order."""
        return tuple(sorted(self.of(ev.Acted), key=_when))

    def window(self, start_s: float, end_s: float) -> Window:
        """Cut a stretch out. Requests belong to the instant they were due."""
        return Window(
            start_s,
            end_s,
            self.requests.between(start_s, end_s),
            _between(self.samples, start_s, end_s),
            _between(self.alerts, start_s, end_s),
            _between(self.actions, start_s, end_s),
        )

    def phase(self, phase: Phase) -> Window | None:
        """Return the stretch of one phase, or nothing if the run never got there."""
        edges = self.phases.get(phase)
        return None if edges is None else self.window(*edges)

    @cached_property
    def spans(self) -> tuple[FaultSpan, ...]:
        """One row per fault, in the order in which they were intended."""
        return spans_of(self.events)


def spans_of(events: Iterable[ev.Event]) -> tuple[FaultSpan, ...]:
    """Fold the fault events into one row per fault."""
    spans: dict[str, FaultSpan] = {}
    for event in events:
        match event:
            case ev.FaultIntended():
                spans[event.id] = FaultSpan(
                    event.id, event.fault, event.params, event.nodes, event.undo, event.t
                )
            case ev.FaultInjected():
                _set(spans, event.id, injected_s=event.t, not_before_s=event.not_before_s)
            case ev.FaultHealing():
                _set(spans, event.id, healing_s=event.t, held=event.held)
            case ev.FaultHealed():
                _set(spans, event.id, healed_s=event.t)
            case ev.FaultFailed() if event.id in spans:
                errors = (*spans[event.id].errors, f"{event.stage}: {event.error}")
                _set(spans, event.id, errors=errors)
            case _:
                pass
    return tuple(spans.values())


def events_from_lines(lines: Iterable[str]) -> tuple[ev.Event, ...]:
    """Read events. A torn last line (the writer died mid-word) is dropped, not an error."""
    out: list[ev.Event] = []
    for line in lines:
        if not line.endswith("\n"):
            break
        out.append(ev.from_line(line))
    return tuple(out)


def _when(event: ev.Sampled | ev.Alerted | ev.Acted) -> float:
    return event.t


def _set(spans: dict[str, FaultSpan], id: str, **changes: object) -> None:
    if id in spans:
        spans[id] = dataclasses.replace(spans[id], **changes)  # type: ignore[arg-type]


def _between(rows: tuple[T, ...], start_s: float, end_s: float) -> tuple[T, ...]:
    when: Callable[[T], float] = _when
    return rows[bisect_left(rows, start_s, key=when) : bisect_left(rows, end_s, key=when)]
