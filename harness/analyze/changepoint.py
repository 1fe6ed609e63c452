"""When a share of bad events changed, and how sure that is. Statistics on arrays, nothing else.

*Did it rise above its budget?* A one-sided sequential likelihood-ratio test (Page's CUSUM) of
Bernoulli events: the budget ``p0`` against each of K higher shares ``p1``, from every possible
start. A start worth having is a bad event, which comes with probability at most ``p0`` while the
run is healthy, and is itself worth a likelihood ratio of ``p1 / p0``. From there on the ratio is a
non-negative supermartingale, so by Ville's inequality it ever reaches ``e**h`` with probability at
most ``p1 / p0 * e**-h``. The union over n starts, K alternatives and m objectives gives

    P(a healthy run of n events crosses) <= sum of n m p1 e**-h = alpha
    for   h = log(n K m / alpha) + log(p1)   of each alternative

It needs no simulation and no independence, of objectives or of events: it rests on one thing, that
no request of a healthy run is bad with a chance above the budget *given those before it*. That is
more than a share within the budget: bad answers that come in clumps keep to the budget on the whole
and break it within a clump, and then nothing is promised. So the threshold is multiplied by the
dispersion of the healthy baseline (see below), which is 1 without clumps. That takes most such
alarms away (of made-up runs with clumps, nearly all cross without it and 0 to 50 % with it) and is
no proof: a baseline may hold no clump by chance. It is conservative without clumps (a run at the
very budget crosses about a fifth as often), which delays the *decision* by a few events and the
back-dated instant not at all.

*When exactly?* The decision comes late; the change is dated back by maximum likelihood with the
shares before and after estimated from the data (for known shares that is the argmin of the
cumulative log likelihood ratio). The interval is every candidate whose profile likelihood is
within ``DROP`` of the best. With known shares, by Ville on either side, it misses the truth with
probability at most ``1 - (1 - e**-DROP)**2``; the margin in ``DROP`` beyond that pays for
estimating them. See D. Siegmund, "Confidence sets in change-point problems", 1988.

*How sure, in clumps?* A fault that spoils a feature harms the flights of the evening and hardly
those of the morning, so n events under it say less than n independent ones. By how much less is
read from the record: the dispersion phi, Pearson's chi-square of the bad counts of blocks of events
over its degrees of freedom. ``DROP`` is multiplied by it (quasi-likelihood: R. W. M. Wedderburn,
1974; P. McCullagh and J. A. Nelder, "Generalized linear models", 1989, 4.5), and by ``MARGIN``,
since a phi from a few blocks is itself uncertain and clumps may be longer than a block. ``BLOCK``,
``MARGIN`` and ``CAUTIOUS`` are calibrated on replays, where an interval for independent events
misses the truth in half of the runs: ``tests/harness/test_coverage_on_replays.py``.
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

ALPHA: Final = 0.01
"""Chance that a whole healthy run is said to be hurt, over all its objectives."""
ODDS: Final = (1.8, 4.0, 12.0, 50.0)
"""The alternatives, as multiples of the budget's odds: from somewhat over it to an outage."""
COVERAGE: Final = 0.95
DROP: Final = -log(1 - sqrt(COVERAGE)) + 0.5
"""3.68 nats for known shares, and half a nat for not knowing them (calibrated in the tests)."""
BLOCK: Final = 64
"""Events in a block: half a second of our load, the length of the clumps that our replays show."""
MARGIN: Final = 1.5
CHANCE: Final = 2.33
"""How many standard deviations a dispersion of independent events may reach: one in a hundred."""
FEW_BLOCKS: Final = 6
CAUTIOUS: Final = 5.0
"""The dispersion where there are too few blocks to tell it."""
_LEAST_BUDGET: Final = 1e-9  # a budget of nothing: any bad event is then overwhelming evidence


@dataclass(frozen=True, slots=True)
class Crossing:
    """The test's decision: the share has been over its budget since about ``start``.

    Indices of events: ``start`` is where the evidence began, ``at`` where it sufficed.
    """

    start: int
    at: int


@dataclass(frozen=True, slots=True)
class Change:
    """A dated change: event ``index`` is the first of the new regime; with 95 % confidence the
    first one lies in ``[low, high]``. ``before`` and ``after`` are the mean shares either side.
    """

    index: int
    low: int
    high: int
    before: float
    after: float


def threshold(events: int, objectives: int = 1, alpha: float = ALPHA) -> float:
    """``log(n K m / alpha)``, in nats, for a run of so many events; see the module."""
    return log(max(1, events) * len(ODDS) * max(1, objectives) / alpha)


def first_crossing(bad: Bools, budget: float, enough: float, n_min: int = 1) -> Crossing | None:
    """Find where the share of ``bad`` (n,) is first known to exceed ``budget``.

    ``enough``: what ``threshold`` says, in nats; ``n_min``: events there must be since the evidence
    began. ``None`` when it never is.
    """
    if budget >= 1 or not len(bad):
        return None
    healthy = max(budget, _LEAST_BUDGET)
    found = [_crossing(bad, healthy, p, enough, n_min) for p in _alternatives(healthy)]
    return min((c for c in found if c is not None), key=lambda c: (c.at, c.start), default=None)


def dispersion(*stretches: Bools, few: float = 1.0, beyond_chance: bool = False) -> float:
    """Estimate phi of stretches (n,) of events, each with a share of its own: 1 or more.

    How much more the bad counts of blocks vary than if events were independent. At least ``few``
    where the first stretch, the one that clumps, has too few blocks to tell. ``beyond_chance``: 1
    where independent events may well vary as much; for a test, that would lose power for nothing.
    """
    squares, freedom = 0.0, 0
    for bad in stretches:
        blocks = len(bad) // BLOCK
        if blocks < 2:
            continue
        counts = bad[len(bad) - blocks * BLOCK :].reshape(blocks, BLOCK).sum(axis=1)
        share = float(counts.mean()) / BLOCK
        if 0 < share < 1:
            squares += float(np.square(counts - BLOCK * share).sum()) / (share * (1 - share))
            freedom += blocks - 1
    phi = squares / BLOCK / freedom if freedom else 1.0
    if (
        beyond_chance and freedom and phi < 1 + CHANCE * sqrt(2 / freedom)
    ):  # the spread of chi-square over its mean
        phi = 1.0
    return max(phi, few if len(stretches[0]) < FEW_BLOCKS * BLOCK else 1.0)


def cautious(phi: float) -> float:
    """By how much evidence in nats must be greater for a dispersion; 1 without clumps."""
    return phi * MARGIN if phi > 1 else 1.0


def date_change(
    bad: Bools, first: int, last: int, way: Literal["rise", "fall"], phi: float = 1.0
) -> Change | None:
    """Date one step of the share of ``bad`` (n,), known to lie at an event in [first, last].

    ``phi``: the dispersion, which widens the interval; for independent events it is 1. ``None``
    when no split of the events goes that way.
    """
    count = len(bad)
    first, last = max(0, first), min(last, count - 1)
    if last < first:
        return None
    at = np.arange(first, last + 1)
    before_n, after_n = at.astype(float), (count - at).astype(float)
    total = np.concatenate(([0], np.cumsum(bad)))
    before_x = total[at].astype(float)
    after_x = float(total[-1]) - before_x
    likelihood = _likelihood(before_x, before_n) + _likelihood(after_x, after_n)
    up = after_x * np.maximum(before_n, 1) > before_x * after_n
    down = after_x * before_n < before_x * after_n
    likelihood[~(up if way == "rise" else down)] = -np.inf
    best = int(np.argmax(likelihood))
    if not np.isfinite(likelihood[best]):
        return None
    near = np.flatnonzero(likelihood >= likelihood[best] - DROP * cautious(phi))
    return Change(
        first + best,
        first + int(near[0]),
        first + int(near[-1]),
        float(before_x[best] / before_n[best]) if before_n[best] else 0.0,
        float(after_x[best] / after_n[best]),
    )


def known_shares_miss() -> float:
    """The chance that the interval misses the truth, were the shares known (an upper bound)."""
    return 1 - (1 - exp(-DROP)) ** 2


def _alternatives(budget: float) -> tuple[float, ...]:
    odds = budget / (1 - budget)
    found = tuple(odds * times / (1 + odds * times) for times in ODDS)
    # Many times a tiny budget is still tiny: let a plain outage be one of the alternatives.
    return found if found[-1] > 0.3 else (*found[:-1], 0.5)


def _crossing(
    bad: Bools, healthy: float, hurt: float, enough: float, n_min: int
) -> Crossing | None:
    steps = np.where(bad, log(hurt / healthy), log((1 - hurt) / (1 - healthy)))
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    floor = np.minimum.accumulate(walk)
    place = np.arange(len(walk))
    start = np.maximum.accumulate(np.where(walk <= floor, place, 0))
    over = (walk - floor >= enough + log(hurt)) & (place - start >= n_min)
    at = int(np.argmax(over))
    return Crossing(int(start[at]), at - 1) if over[at] else None


def _likelihood(bad: Floats, count: Floats) -> Floats:
    """Log likelihood of ``bad`` of ``count`` events at their own share; 0 for no events."""
    good = count - bad
    share = np.divide(bad, count, out=np.zeros_like(bad), where=count > 0)
    out: Floats = bad * np.log(np.where(bad > 0, share, 1.0)) + good * np.log(
        np.where(good > 0, 1 - share, 1.0)
    )
    return out
