"""How each number was obtained, and how sure it is: the small print, written from the record."""

from collections.abc import Sequence

import numpy as np

from harness.analyze.changepoint import ALPHA, COVERAGE
from harness.analyze.detection import clock_bound_s, evaluation_s, scrape_s
from harness.analyze.hearing import beats, known
from harness.analyze.marks import blur_limit_s
from harness.analyze.oracle import Oracle
from harness.analyze.recovery import EVENTS_TO_RESOLVE, LATENCY_TO_RESOLVE
from harness.model import events as ev
from harness.model.analysis import Estimate, Incident, MethodNote
from harness.model.dead_man import HEARD_EVERY_S
from harness.model.record import Record


def method(oracle: Oracle, incidents: Sequence[Incident]) -> tuple[MethodNote, ...]:
    """Write the notes: of the marks as found, then of the methods and the clocks behind them."""
    notes = [
        MethodNote(f"{incident.fault_id} {mark.id}", mark.how, _interval(mark.at))
        for incident in incidents
        for mark in incident.marks
    ]
    return (
        *notes,
        _impact(oracle),
        _mitigation(oracle),
        _recovery(oracle),
        MethodNote(
            "TTD, TTM, TTR",
            "from t_inject, and again from t_impact; detection only from the stack's alerting, "
            "everything else only from the harness's own requests and probes",
            "the intervals of both ends, added; a censored time is a lower bound",
        ),
        _indicators(oracle),
        _injection(oracle),
        _pace(oracle.record),
        *_clocks(oracle.record),
        _sampling(oracle.record),
        _alerting(oracle.record),
    )


def _interval(at: Estimate | None) -> str:
    if at is None:
        return "not known"
    if at.censored:
        return "right-censored: it had not happened by then"
    return f"{at.low_s:.3f} to {at.high_s:.3f} s of run time"


def _impact(oracle: Oracle) -> MethodNote:
    count, objectives = len(oracle.record.requests), len(oracle.slo.objectives)
    needed = ", ".join(f"{o.name} {oracle.n_min(o)}" for o in oracle.slo.objectives)
    return MethodNote(
        "impact",
        "one-sided sequential likelihood-ratio test of bad events against the budget, from the "
        f"injection on; dated back by maximum likelihood, by the kinds of answers where these tell "
        f"(who answered, and what it lacked), else by the bad answers; least events: {needed}",
        f"a healthy run of {count} requests and {objectives} objectives crosses with probability "
        f"below {ALPHA:g} if no request is bad with a chance above the budget given those before "
        "it (Ville's inequality; independence is not needed). Bad answers that come in clumps "
        "break that; the threshold is therefore multiplied by the dispersion of the baseline. "
        f"{COVERAGE:.0%} interval of the first spoilt answer, by profile likelihood; by bad "
        "answers alone it is widened by their dispersion",
    )


def _mitigation(oracle: Oracle) -> MethodNote:
    return MethodNote(
        "mitigation",
        f"change point after the last {oracle.window_s:g} s window, stepped by 1 s, that misses an "
        f"objective, if every window of the next {oracle.hold_s:g} s meets all of them before the "
        "heal",
        f"{COVERAGE:.0%} interval of the first answer from which on none is spoilt, by profile "
        "likelihood, as for the impact; right-censored at the heal",
    )


def _recovery(oracle: Oracle) -> MethodNote:
    return MethodNote(
        "recovery",
        f"earliest instant from which, for {oracle.hold_s:g} s, every {oracle.window_s:g} s window "
        "of every indicator and every probe is in its baseline band: min - w to max + w of the "
        "baseline's readings, w their spread, for a share at least "
        f"{EVENTS_TO_RESOLVE} events a window, for a latency {LATENCY_TO_RESOLVE:.0%} of the "
        "promised one",
        "windows are stepped by 1 s and probes are read at their own pace: the interval goes back "
        "to the last that was out of its band",
    )


def _indicators(oracle: Oracle) -> MethodNote:
    return MethodNote(
        "indicators",
        "from every request of the harness, at the instant it was due; quantiles are exact "
        f"(nearest rank); an answer later than {oracle.slo.late_after_s:g} s is a failure",
        "a request belongs to the second in which it was due, however late it ended",
    )


def _injection(oracle: Oracle) -> MethodNote:
    return MethodNote(
        "injection",
        "verify is polled; the fault came into force between the last poll that did not hold and "
        "the first that did",
        f"a trial with more than {blur_limit_s(oracle):.2f} s between them does not count",
    )


def _pace(record: Record) -> MethodNote:
    how = "every request's instant of leaving against the instant it was due"
    if not len(record.requests):
        return MethodNote("send lag", how, "no requests on record")
    lag_ms = np.quantile(record.requests.lag_s, [0.5, 0.99, 1.0]) * 1e3
    return MethodNote(
        "send lag",
        how,
        f"p50 {lag_ms[0]:.2f} ms, p99 {lag_ms[1]:.2f} ms, worst {lag_ms[2]:.1f} ms; the lag around "
        "a mark widens its interval",
    )


def _clocks(record: Record) -> list[MethodNote]:
    reads: dict[str, list[ev.ClockRead]] = {}
    for read in record.of(ev.ClockRead):
        reads.setdefault(read.source, []).append(read)
    notes = [
        MethodNote(
            f"clock of {source}",
            f"offset {_mean_ms(found):+.2f} ms, read {len(found)} times, taken off its times",
            f"at most {clock_ms(found):.2f} ms, half a round trip",
        )
        for source, found in sorted(reads.items())
    ]
    return notes or [
        MethodNote(
            "clocks",
            "no other clock was read",
            "none: virtual time"
            if any(e.virtual_time for e in record.of(ev.RunStarted))
            else "not known",
        )
    ]


def clock_ms(reads: Sequence[ev.ClockRead]) -> float:
    """The greatest error of a clock's readings, in ms."""
    return max(read.bound_s for read in reads) * 1e3


def _mean_ms(reads: Sequence[ev.ClockRead]) -> float:
    return sum(read.offset_s for read in reads) / len(reads) * 1e3


def _sampling(record: Record) -> MethodNote:
    scrape, evaluation = scrape_s(record), evaluation_s(record)
    found = [
        f"{what} every {every_s:g} s"
        for what, every_s in (("scraped", scrape), ("rules evaluated", evaluation))
        if every_s is not None
    ]
    spread = f"{(scrape or 0) + (evaluation or scrape or 0):g} s" if found else "not known"
    return MethodNote(
        "monitoring",
        ", ".join(found) or "no monitored series on record",
        f"detection varies by up to {spread} from run to run with the phase of the injection; "
        f"times from the stack's clock are good to {clock_bound_s(record) * 1e3:.2f} ms",
    )


def _alerting(record: Record) -> MethodNote:
    alert, times = known(record), beats(record)
    if alert is None:
        return MethodNote(
            "no alert",
            "from the webhook and the monitored series",
            "the stack has no dead-man's alert (label severity=none): that its alerts could have "
            "been heard is assumed",
        )
    gaps = np.diff(times)
    longest = f", at most {gaps.max():.1f} s apart" if len(gaps) else ""
    return MethodNote(
        "no alert",
        f"from the webhook and the monitored series; {alert} always fires, and what was not said "
        f"while it was silent for over {HEARD_EVERY_S:g} s is not known",
        f"heard {len(times)} times{longest}",
    )
