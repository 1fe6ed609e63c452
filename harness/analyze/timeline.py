"""What happened, line by line, each with where in the record it stands."""

from collections.abc import Iterator, Sequence
from typing import Final

from harness import units
from harness.analyze.detection import spell_labels
from harness.analyze.hearing import beats, known, silences
from harness.model import events as ev
from harness.model.analysis import Incident, MarkId, Moment
from harness.model.dead_man import is_dead_man
from harness.model.record import Record

MEANING: Final[dict[MarkId, str]] = {
    "t_inject": "in force",
    "t_impact": "users are hurt",
    "t_detect": "detected",
    "t_act": "acted upon",
    "t_mitigate": "mitigated",
    "t_heal": "heal begun",
    "t_recover": "recovered",
    "t_observable": "observable by an ideal monitor",
}


def timeline(record: Record, incidents: Sequence[Incident]) -> tuple[Moment, ...]:
    """List the moments of a run in time order; ties keep the order of the record.

    The dead-man's alert is told once, and again where it fell silent.
    """
    moments = [
        moment
        for number, event in enumerate(record.events, 1)
        if (moment := _moment(event, f"event {number}")) is not None
    ]
    moments += _heard(record)
    moments += _marks(incidents)
    return tuple(sorted(moments, key=lambda m: m.t))


def _heard(record: Record) -> Iterator[Moment]:
    name, times = known(record), beats(record)
    source = "the dead-man's alert at the harness's webhook"
    if times:
        yield Moment(times[0], "alert", f"{name} heard: the alerting is alive", source)
    for low_s, high_s in silences(record):
        if low_s in times:
            until = f"until {high_s:.1f} s" if high_s in times else "to the end of the load"
            yield Moment(low_s, "alert", f"{name} silent from here {until}", source)


def _marks(incidents: Sequence[Incident]) -> Iterator[Moment]:
    for incident in incidents:
        for mark in incident.marks:
            if mark.at is not None and not mark.at.censored:
                yield Moment(
                    mark.at.value_s,
                    "mark",
                    f"{incident.fault_id}: {MEANING[mark.id]}",
                    f"{mark.id}: {mark.how}",
                )


def _moment(event: ev.Event, source: str) -> Moment | None:
    match event:
        case ev.StackUp():
            return Moment(event.t, "stack", f"up after {event.took_s:.1f} s", source)
        case ev.StackDown():
            return Moment(event.t, "stack", f"down after {event.took_s:.1f} s", source)
        case ev.LoadStarted():
            return Moment(event.t, "stack", f"load begins: {event.requests} requests", source)
        case ev.LoadFinished():
            return Moment(event.t, "stack", "load ends", source)
        case ev.PhaseEntered():
            return Moment(event.t, "phase", event.phase, source)
        case ev.Gated():
            answer = "steady" if event.passed else "not steady"
            return Moment(event.t, "note", f"gate: {answer}, {event.because}", source)
        case ev.Alerted() if is_dead_man(event.labels):
            return None
        case ev.Alerted():
            what = f"{event.labels.get('alertname', '?')} {event.status}"
            rest = {k: v for k, v in event.labels.items() if k != "alertname"}
            return Moment(event.t, "alert", f"{what} ({spell_labels(rest)})", source)
        case ev.Acted():
            what = f"{event.what} {event.target}".strip()
            return Moment(event.t, "action", f"{what} by {event.who}: {event.why}", source)
        case ev.Noted():
            return Moment(event.t, "note", f"{event.who}: {event.text}", source)
        case ev.Aborted():
            return Moment(event.t, "abort", f"aborted by the {event.by}: {event.because}", source)
        case _:
            return _fault_moment(event, source)


def _fault_moment(event: ev.Event, source: str) -> Moment | None:
    match event:
        case ev.FaultIntended():
            on = f" on {', '.join(event.nodes)}" if event.nodes else ""
            return Moment(event.t, "fault", f"{event.id}: injecting{on}", source)
        case ev.FaultInjected():
            after = units.spell(max(0.0, event.t - event.not_before_s))
            return Moment(event.t, "fault", f"{event.id}: in force, known to {after}", source)
        case ev.FaultHealing():
            return Moment(event.t, "fault", f"{event.id}: healing", source)
        case ev.FaultHealed():
            return Moment(event.t, "fault", f"{event.id}: healed", source)
        case ev.FaultFailed():
            return Moment(
                event.t, "fault", f"{event.id}: failed to {event.stage}: {event.error}", source
            )
        case _:
            return None
