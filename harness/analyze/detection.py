"""When the stack noticed, and what was done about it: the only marks read off the stack itself."""

from collections.abc import Mapping

import numpy as np

from harness.analyze.hearing import deaf_from_s, known
from harness.model.analysis import Estimate, Mark
from harness.model.dead_man import is_dead_man
from harness.model.events import Alerted, ClockRead, Exported
from harness.model.record import Record, Series

ALERTS = "ALERTS"
FAILED = (" failed", " refused")  # how an audit entry ends that tells of an action in vain
EVALUATION_S = 1.0  # assumed where too few samples are on record to tell


def detected(record: Record, by: Mapping[str, str], from_s: float, until_s: float) -> Mark:
    """Find the first alert that matches ``by`` (any, when empty) in [from_s, until_s).

    The arrival of a notification at the harness's webhook; where none arrived, the first raw
    firing sample. A dead-man's alert is none. Right-censored at ``until_s`` when there is neither,
    or at the instant from which an alert might not have been heard.
    """
    what = f"alert with {spell_labels(by)}" if by else "alert of any name (the scenario names none)"
    for alert in record.alerts:
        if is_dead_man(alert.labels) or alert.status != "firing":
            continue
        if from_s <= alert.t < until_s and matches(by, alert.labels):
            return Mark(
                "t_detect",
                Estimate(alert.t, alert.t, alert.t),
                f"first notification of an {what} to reach the harness's webhook",
            )
    times = [
        float(series.t[i])
        for series in firing(record, by)
        for i in np.flatnonzero(series.value > 0)
        if from_s <= series.t[i] < until_s
    ]
    if times:
        at_s, bound_s = min(times), clock_bound_s(record)
        return Mark(
            "t_detect",
            Estimate(at_s, at_s - bound_s, at_s + bound_s),
            f"first firing sample of an {what}: no notification reached the webhook",
        )
    if (lacks := lost_series(record)) is not None:
        return Mark("t_detect", None, f"no {what} was notified, and {lacks}")
    return _unseen(record, what, from_s, until_s)


def _unseen(record: Record, what: str, from_s: float, until_s: float) -> Mark:
    deaf_s = deaf_from_s(record, from_s, until_s)
    end_s = until_s if deaf_s is None else deaf_s
    how = f"no {what} was seen"
    if deaf_s is not None:
        how += f" until the alerting fell silent: {known(record)} was not heard any more"
    return Mark("t_detect", Estimate(end_s, end_s, end_s, censored=True), how)


def lost_series(record: Record) -> str | None:
    """Say what the record lacks of the monitored series; ``None`` if it has all that there were."""
    exported = next((e.series for e in record.of(Exported)), None)
    if exported is None:
        return "the monitored series were not exported"
    if len(record.series) != exported:
        return f"{len(record.series)} of {exported} monitored series are on record"
    return None


def already_firing(record: Record, by: Mapping[str, str], at_s: float) -> str | None:
    """Name a matching alert that was firing at an instant; ``None`` if there was none."""
    latest: dict[tuple[tuple[str, str], ...], Alerted] = {}
    for alert in record.alerts:
        if alert.t < at_s and matches(by, alert.labels) and not is_dead_man(alert.labels):
            latest[tuple(sorted(alert.labels.items()))] = alert
    for alert in latest.values():
        if alert.status == "firing":
            return alert.labels.get("alertname", spell_labels(alert.labels))
    for series in firing(record, by):
        seen = int(series.t.searchsorted(at_s)) - 1
        fresh_s = 2.5 * (spacing_s([series]) or EVALUATION_S)
        if seen >= 0 and at_s - series.t[seen] <= fresh_s and series.value[seen] > 0:
            return series.labels.get("alertname", spell_labels(series.labels))
    return None


def acted(record: Record, from_s: float, heal_s: float, until_s: float) -> Mark:
    """Find the first action in the audit trail in [from_s, until_s); one that failed is none."""
    bound_s = clock_bound_s(record)
    for action in record.actions:
        if from_s <= action.t < until_s and not action.what.endswith(FAILED):
            what = f"{action.what} by {action.who}"
            when = "" if action.t <= heal_s else ", after the heal had begun"
            return Mark(
                "t_act",
                Estimate(action.t, action.t - bound_s, action.t + bound_s),
                f"first action in the audit trail since the injection: {what}{when}",
            )
    return Mark("t_act", None, "the audit trail has no action since the injection")


def firing(record: Record, by: Mapping[str, str]) -> list[Series]:
    """The exported series of matching alerts that say ``firing``, the dead-man's left out."""
    return [
        series
        for series in record.series
        if series.name == ALERTS
        and series.labels.get("alertstate") == "firing"
        and matches(by, series.labels)
        and not is_dead_man(series.labels)
    ]


def matches(by: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Say whether every matcher finds its exact value."""
    return all(labels.get(name) == value for name, value in by.items())


def spell_labels(labels: Mapping[str, str]) -> str:
    """Write labels as people match them: ``alertname=FeatureMissing``."""
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items())) or "no labels"


def clock_bound_s(record: Record) -> float:
    """By how much at most a time taken from the stack's clock may be wrong."""
    return max((read.bound_s for read in record.of(ClockRead)), default=0.0)


def scrape_s(record: Record) -> float | None:
    """The scrape interval, as the exported samples show it; ``None`` if they cannot say."""
    return spacing_s([s for s in record.series if not s.name.startswith(ALERTS)])


def evaluation_s(record: Record) -> float | None:
    """The rule evaluation interval, as the samples of the alerts show it."""
    return spacing_s([s for s in record.series if s.name == ALERTS])


def spacing_s(series: list[Series]) -> float | None:
    """The median time between samples of one series, over all of them."""
    gaps = [np.median(np.diff(s.t)) for s in series if len(s.t) > 1]
    return round(float(np.median(gaps)), 3) if gaps else None
