"""Whether the stack's alerting could be heard: what its dead-man's alert proves by being there.

An alert that did not come is evidence only if it would have arrived. A stack with a dead-man's
alert (see ``harness.model.dead_man``) says so again and again, all the way from the rules to the
harness's webhook; where it falls silent, "not detected" and "no alert" become "not known". A stack
that has none claims nothing here, and is judged by its monitored series alone.
"""

from dataclasses import dataclass

from harness.model.analysis import Finding, Verdict
from harness.model.dead_man import HEARD_EVERY_S, is_dead_man
from harness.model.record import Record

ALERTS = "ALERTS"


def known(record: Record) -> str | None:
    """Name the stack's dead-man's alert, notified or only seen in its series; ``None`` without."""
    heard = (a.labels for a in record.alerts)
    shown = (s.labels for s in record.series if s.name == ALERTS)
    found = (labels for group in (heard, shown) for labels in group if is_dead_man(labels))
    return next((labels.get("alertname", "without a name") for labels in found), None)


def beats(record: Record) -> list[float]:
    """When it was heard, in order."""
    return [a.t for a in record.alerts if a.status == "firing" and is_dead_man(a.labels)]


def silences(record: Record) -> list[tuple[float, float]]:
    """The stretches of the load in which it was heard for too long by nobody: from the last time
    it was heard to the next, or to the end. Empty on a stack that has none.
    """
    if known(record) is None:
        return []
    start_s, end_s, times = record.load_start_s or 0.0, record.load_end_s, beats(record)
    last_s = max((t for t in times if t <= start_s), default=start_s)
    edges = [last_s, *(t for t in times if start_s < t < end_s), end_s]
    return [
        (low, high)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
        if high - low > HEARD_EVERY_S
    ]


def deaf_from_s(record: Record, start_s: float, end_s: float) -> float | None:
    """From when in ``[start_s, end_s)`` an alert might not have been heard; ``None`` if never."""
    found = (max(low, start_s) for low, high in silences(record) if low < end_s and high > start_s)
    return min(found, default=None)


def deaf_under_faults(record: Record) -> str:
    """Say from when an alert of the faults might not have been heard; nothing if it would have."""
    started = [span.intended_s for span in record.spans]
    if not started or (deaf_s := deaf_from_s(record, min(started), record.load_end_s)) is None:
        return ""
    after_s = deaf_s - min(started)
    return f"the alerting was not heard from {after_s:.1f} s after the injection on"


@dataclass(frozen=True)
class Heard:
    """The alerting was alive before anything was broken; what died later is said.

    Later is no business of this check: a fault may be meant for the alerting, and whatever is then
    asked of alerts (a detection, quiet) answers UNKNOWN by itself.
    """

    name: str = "alerting alive"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        alert, edges = known(record), record.phases.get("baseline")
        if alert is None or edges is None:
            because = "no dead-man's alert on record" if alert is None else "there was no baseline"
            return Finding(self.name, Verdict.UNKNOWN, because)
        times = beats(record)
        if (deaf_s := deaf_from_s(record, *edges)) is not None:
            since = f"from +{deaf_s - edges[0]:.1f} s of the baseline on"
            return Finding(
                self.name,
                Verdict.UNKNOWN,
                f"{alert} was not heard {since}, and must be every {HEARD_EVERY_S:g} s: whatever "
                "else the alerting said nothing of is not known",
            )
        because = f"{alert} was heard {len(times)} times"
        if (deaf_s := deaf_from_s(record, edges[1], record.load_end_s)) is not None:
            after_s = deaf_s - edges[1]
            because += f", and not any more from +{after_s:.1f} s after the baseline on"
        return Finding(self.name, Verdict.PASS, because)
