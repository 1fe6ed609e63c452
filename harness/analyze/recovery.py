"""When everything was as before: the users' numbers, and the stack's own inside.

Meeting the SLO again is not recovery. A stack on its fallback, with a route pinned, a replica short
or a queue to catch up, serves well today and falls at the next push. So recovery waits for every
short window of every indicator *and* every direct probe to be back where the baseline had them,
for H.

A band is ``[min - w, max + w]`` of the baseline's readings, ``w`` being their spread, and for the
indicators at least what a short window can resolve: three events of a share (zero seen of n is
compatible with 3/n), a tenth of the promised latency. Only the bad side of an indicator counts.
A probe that the baseline never read is normally zero.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.analyze.impact import since
from harness.analyze.oracle import STEP_S, Oracle, injected_after, phases
from harness.analyze.slis import SLIS, Named
from harness.model.analysis import Estimate
from harness.model.record import FaultSpan, Window

EVENTS_TO_RESOLVE: Final = 3
LATENCY_TO_RESOLVE: Final = 0.1  # of the promised latency
MISSED_READINGS: Final = 3  # after so many a probe's state is no longer known


@dataclass(frozen=True, slots=True)
class Band:
    """The normal range of one reading; both ends belong to it."""

    low: float
    high: float

    def holds(self, value: float | None) -> bool:
        """Is it normal? No reading is not normal."""
        return value is not None and self.low - 1e-9 <= value <= self.high + 1e-9


@dataclass(frozen=True, slots=True)
class Wrong:
    """A stretch that was not normal, ``[start_s, end_s)``. A window's ends are the window's: what
    was wrong lies somewhere in it. ``blind``: it holds too little to say.
    """

    what: str
    start_s: float
    end_s: float
    window: bool
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Recovery:
    """``at`` is ``None`` when the record cannot say, for want of a baseline or of probes."""

    at: Estimate | None
    how: str


def recovery(oracle: Oracle, span: FaultSpan, served: Estimate | None) -> Recovery:
    """Find the earliest instant from which all was normal for H.

    ``served``: when it was mitigated under the fault, if it was; else the search begins at the
    heal. Right-censored at the end of the load or at the next fault.
    """
    until_s, hold_s = oracle.until_s(span), oracle.hold_s
    heal_s = until_s if span.healing_s is None else span.healing_s
    start = served or Estimate(heal_s, heal_s, heal_s)
    usual = _baseline(oracle, span)
    if usual is None or not len(usual.requests):
        return Recovery(None, "there is no baseline on record to go back to")
    if not usual.samples:
        return Recovery(None, "no probe looked at the stack's inside during the baseline")
    wrongs = _wrong_windows(oracle, usual, start.value_s, until_s)
    wrongs += _wrong_probes(oracle, usual, start.value_s, until_s)
    starts = {start.value_s, *oracle.window_starts(start.value_s, until_s).tolist()}
    starts |= {w.end_s for w in wrongs if w.end_s > start.value_s and not w.window}
    for at_s in sorted(starts):
        if at_s + hold_s > until_s:
            break
        if not any(_spoils(w, at_s, at_s + hold_s) for w in wrongs):
            return _since(at_s, start, wrongs, hold_s)
    last = max(wrongs, key=lambda w: (w.start_s, w.what), default=None)
    blind_s = [w.start_s for w in wrongs if w.blind]
    surely = any(w.end_s + hold_s > until_s for w in wrongs if not w.blind)
    if blind_s and not surely:
        return Recovery(None, f"no data from {since(span, min(blind_s))} on")
    if last is None:
        why = f"all was normal at the end, but for less than {hold_s:g} s"
    else:
        why = f"{last.what} was the last to be out of its baseline band, and H is {hold_s:g} s"
    low_s = max([start.low_s, *(w.start_s for w in wrongs if not w.blind)])
    return Recovery(Estimate(until_s, min(low_s, until_s), until_s, censored=True), why)


def _since(at_s: float, start: Estimate, wrongs: list[Wrong], hold_s: float) -> Recovery:
    before = [w for w in wrongs if w.start_s < at_s]
    low_s = max([start.low_s, *(w.start_s for w in before if not w.blind)])
    last = max(before, key=lambda w: (w.start_s, w.what), default=None)
    why = "nothing was out of its baseline band" if last is None else f"{last.what} came back last"
    high_s = max(at_s, start.high_s)
    return Recovery(
        Estimate(at_s, min(low_s, at_s), high_s),
        f"every indicator and probe in its baseline band for {hold_s:g} s from here; {why}",
    )


def _spoils(wrong: Wrong, start_s: float, end_s: float) -> bool:
    """A window spoils a hold that contains it (or all but less than a step of it); a probe's
    stretch spoils one that it touches.
    """
    if wrong.window:
        return wrong.start_s > start_s - STEP_S + 1e-9 and wrong.end_s <= end_s + 1e-9
    return wrong.start_s <= end_s and wrong.end_s > start_s


def _baseline(oracle: Oracle, span: FaultSpan) -> Window | None:
    """The baseline phase, up to the first injection."""
    edges = phases(oracle.record).get("baseline")
    if edges is None:
        return None
    first_s = min(injected_after(s) for s in (*oracle.record.spans, span))
    return oracle.record.window(edges[0], min(edges[1], first_s))


def sli_band(oracle: Oracle, named: Named, usual: Window) -> Band | None:
    """Find the normal range of an indicator's short windows; ``None``: not measured then."""
    starts_s = oracle.window_starts(usual.start_s, usual.end_s)
    windows = [oracle.record.window(s, s + oracle.window_s) for s in starts_s.tolist()]
    values = [v for w in windows if (v := named.measure(w, oracle.slo)) is not None]
    if not values:
        return None
    if named.unit == "ratio":
        count = float(np.median([len(w.requests) for w in windows]))
        resolved = EVENTS_TO_RESOLVE / max(1.0, count)
    else:
        resolved = LATENCY_TO_RESOLVE * oracle.slo.late_after_s * 1e3
    margin = max(max(values) - min(values), resolved)
    if named.better == "higher":
        return Band(min(values) - margin, float("inf"))
    return Band(float("-inf"), max(values) + margin)


def _wrong_windows(oracle: Oracle, usual: Window, start_s: float, until_s: float) -> list[Wrong]:
    starts_s = oracle.window_starts(start_s, until_s).tolist()
    windows = [oracle.record.window(s, s + oracle.window_s) for s in starts_s]
    enough = max((oracle.n_min(o) for o in oracle.slo.objectives), default=1)
    out = [
        Wrong("a window with too few requests", w.start_s, w.end_s, window=True, blind=True)
        for w in windows
        if len(w.requests) < enough
    ]
    windows = [w for w in windows if len(w.requests) >= enough]
    for named in SLIS.values():
        band = sli_band(oracle, named, usual) if named.better else None
        if band is None:
            continue
        out += [
            Wrong(named.name, w.start_s, w.end_s, window=True)
            for w in windows
            if not band.holds(named.measure(w, oracle.slo))
        ]
    return out


def _wrong_probes(oracle: Oracle, usual: Window, start_s: float, until_s: float) -> list[Wrong]:
    """Stretches in which a probe read something unusual, or was not read for too long."""
    normal: dict[tuple[str, str], list[float]] = {}
    for sample in usual.samples:
        normal.setdefault((sample.probe, sample.node), []).append(sample.value)
    read: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in normal}
    for sample in oracle.record.samples:
        if sample.t < until_s:
            read.setdefault((sample.probe, sample.node), []).append((sample.t, sample.value))
    every_s = _reading_every_s(usual)
    out: list[Wrong] = []
    for key, readings in sorted(read.items()):
        values = normal.get(key, [0.0])
        spread = max(values) - min(values)
        band = Band(min(values) - spread, max(values) + spread)
        out += _wrong_stretches(
            f"{key[0]} of {key[1]}", readings, band, MISSED_READINGS * every_s, until_s
        )
    return [w for w in out if w.end_s > start_s]


def _wrong_stretches(
    what: str, readings: list[tuple[float, float]], band: Band, stale_s: float, until_s: float
) -> list[Wrong]:
    """A reading speaks until the next one, but not for longer than ``stale_s``."""
    out = []
    times = np.array([t for t, _ in readings] + [until_s])
    if not readings:
        return [Wrong(what, 0.0, until_s, window=False)]
    for (at_s, value), next_s in zip(readings, times[1:].tolist(), strict=True):
        if not band.holds(value):
            out.append(Wrong(what, at_s, next_s, window=False))
        elif next_s - at_s > stale_s:
            out.append(Wrong(f"{what} (not read)", at_s + stale_s, next_s, window=False))
    return out


def _reading_every_s(usual: Window) -> float:
    """The usual time between two readings of one probe, and never less than a fifth of a second."""
    times: dict[tuple[str, str], list[float]] = {}
    for sample in usual.samples:
        times.setdefault((sample.probe, sample.node), []).append(sample.t)
    gaps: list[NDArray[np.float64]] = [np.diff(t) for t in times.values() if len(t) > 1]
    return max(0.2, float(np.median(np.concatenate(gaps)))) if gaps else usual.length_s
