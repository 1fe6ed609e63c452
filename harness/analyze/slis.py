"""The numbers. Each is one small function from a window to a value, or to ``None``.

``None`` means that the window cannot say, and it is never rounded up to good news. An indicator
that is a share of good events also says, request by request, which events count and which are bad:
the same definition then serves the SLO, the marks and the charts.

Durations run from the instant a request was *due*, so that waiting in the client cannot hide; see
Gil Tene's "coordinated omission".
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.model.record import Requests, Window
from harness.model.rows import OK
from harness.model.slo import Slo

Bools = NDArray[np.bool_]
Measurer = Callable[[Window, Slo], float | None]
Judge = Callable[[Requests, Slo], tuple[Bools, Bools]]
Better = Literal["higher", "lower"]
NOT_A_FALLBACK = (b"", b"none")
CHAMPION = b"champion"
KIND_COLUMNS = ("outcome", "model", "version", "fallback", "mask")


@dataclass(frozen=True, slots=True)
class Named:
    """An indicator with its name, unit and title.

    ``judge``: for an indicator that can be an objective, ``(valid, bad)`` per request, (n,) each.
    ``better``: which way is good, for the indicators that recovery waits for; ``None`` for those
    that follow the data or the load rather than the stack (recall falls when a storm comes).
    """

    name: str
    unit: str
    title: str
    measure: Measurer
    judge: Judge | None = None
    better: Better | None = None


SLIS: dict[str, Named] = {}


def sli(
    name: str, unit: str, title: str, *, better: Better | None = None
) -> Callable[[Measurer], Measurer]:
    """Add an indicator to the vocabulary scenarios may use."""

    def add(measure: Measurer) -> Measurer:
        SLIS[name] = Named(name, unit, title, measure, better=better)
        return measure

    return add


def share_of_good(
    name: str, title: str, *, better: Better | None = None
) -> Callable[[Judge], Judge]:
    """Add an indicator that is the share of valid events that are not bad."""

    def add(judge: Judge) -> Judge:
        def measure(window: Window, slo: Slo) -> float | None:
            valid, bad = judge(window.requests, slo)
            return _share(valid & ~bad, valid)

        SLIS[name] = Named(name, "ratio", title, measure, judge, better)
        return judge

    return add


@dataclass(frozen=True)
class OracleEvents:
    """What an objective counts, in order: ``due_s`` (n,) run time, ``bad`` (n,) bool.

    ``kind`` (n,): numbers that tell answers apart by who gave them and what they lacked; ``node``
    (n,): by the node that they came from, empty where nothing says so.
    """

    due_s: NDArray[np.float64]
    bad: Bools
    kind: NDArray[np.int64]
    node: NDArray[np.int64] | None = None


def oracle_events(name: str, requests: Requests, slo: Slo) -> OracleEvents | None:
    """Pick the valid events of one indicator; ``None`` if it is not a share of events."""
    named = SLIS.get(name)
    if named is None or named.judge is None:
        return None
    valid, bad = named.judge(requests, slo)
    node: NDArray[np.int64] = np.unique(requests.rows["node"], return_inverse=True)[1]
    return OracleEvents(requests.due_s[valid], bad[valid], kinds(requests)[valid], node[valid])


def kinds(requests: Requests) -> NDArray[np.int64]:
    """(n,) a number for each kind of answer: equal for those of the same outcome, model, version,
    fallback and feature mask, as the harness's own client got them.
    """
    kind: NDArray[np.int64] = np.zeros(len(requests), np.int64)
    for column in KIND_COLUMNS:
        _, number = np.unique(requests.rows[column], return_inverse=True)
        kind = np.unique(kind * (len(requests) + 1) + number, return_inverse=True)[1]
    return kind


def quantile(q: float, values: NDArray[np.float64]) -> float | None:
    """Nearest-rank quantile of (n,): exact, and always a value that really occurred."""
    count = len(values)
    if not count:
        return None
    rank = max(0, ceil(q * count) - 1)
    return float(np.partition(values, rank)[rank])


def answered(requests: Requests) -> Bools:
    """(n,) answered, with a prediction that could be read."""
    rows = requests.rows
    found: Bools = (rows["outcome"] == OK) & (rows["prediction"] >= 0)
    return found


@share_of_good("success_ratio", "Answered in time", better="higher")
def success(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Every request counts; one that failed, or came late, is bad. A timeout is no answer."""
    good = (requests.rows["outcome"] == OK) & (requests.took_s <= slo.late_after_s)
    return np.ones(len(requests), bool), ~good


@share_of_good("paired_correctness", "As right as the healthy champion", better="higher")
def paired_correctness(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Of those answered: bad is wrong where the healthy champion, on clean features, was right.

    A storm that makes every model wrong does not count against the stack.
    """
    predicted = requests.rows["prediction"] == 1
    bad = (requests.golden == requests.label) & (predicted != requests.label)
    return answered(requests), bad


@sli("latency_p50_ms", "ms", "Typical latency", better="lower")
def latency_p50_ms(window: Window, slo: Slo) -> float | None:
    """Median time from when a request was due to its end, failed ones included."""
    value = quantile(0.50, window.requests.took_s)
    return None if value is None else value * 1e3


@sli("latency_p99_ms", "ms", "Slow-tail latency", better="lower")
def latency_p99_ms(window: Window, slo: Slo) -> float | None:
    """99th percentile of the time from when a request was due to its end."""
    value = quantile(0.99, window.requests.took_s)
    return None if value is None else value * 1e3


@share_of_good("recall", "Late flights called late")
def recall(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Of those answered whose true label is positive: the share predicted positive."""
    return answered(requests) & requests.label, requests.rows["prediction"] != 1


@share_of_good("precision", "Called late and late indeed")
def precision(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Of those answered positive: the share whose true label is positive."""
    return answered(requests) & (requests.rows["prediction"] == 1), ~requests.label


@share_of_good("accuracy", "Right against the true label")
def accuracy(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Of those answered: the share whose prediction is the true label."""
    predicted = requests.rows["prediction"] == 1
    return answered(requests), predicted != requests.label


@sli("fallback_share", "ratio", "Answered by a fallback", better="lower")
def fallback_share(window: Window, slo: Slo) -> float | None:
    """Of those answered: the share that a fallback answered (a route is not a fallback)."""
    requests = window.requests
    return _share(~np.isin(requests.rows["fallback"], NOT_A_FALLBACK), answered(requests))


@share_of_good("champion_share", "Answered by the champion", better="higher")
def champion_share(requests: Requests, slo: Slo) -> tuple[Bools, Bools]:
    """Of those answered: the share that the champion answered."""
    return answered(requests), requests.rows["model"] != CHAMPION


@sli("sent_per_s", "/s", "Offered load")
def sent_per_s(window: Window, slo: Slo) -> float | None:
    """Requests due per second; an empty window cannot tell silence from a lost record."""
    count = len(window.requests)
    return count / window.length_s if count and window.length_s > 0 else None


def _share(part: Bools, of: Bools) -> float | None:
    total = int(of.sum())
    return int((part & of).sum()) / total if total else None
