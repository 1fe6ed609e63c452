"""From which events a change is dated: answers of a harmful kind, or the bad ones themselves.

Bad answers are thin evidence of *when*: a fault that spoils a feature harms the flights of the
evening and hardly those of the morning, so a quiet second under it looks like its end. But an
answer tells the client who gave it and what it lacked, and what makes answers bad is mostly that:
given its kind, the moment it came says no more about whether it is bad. Then all that the bad
answers know of the change is in the kinds (the sufficiency behind Rao and Blackwell's theorem), and
the kinds, which do not depend on the luck of the flight, know it to the request.

So: a kind is *harmful* when, while the incident lasted, its answers missed the objective: outcomes
say so, not names. Where harmful kinds come to be common and were not (or the reverse), that step is
dated. Where kinds do not tell (a stack that does not say who answered, a fault that makes all
answers late alike), the bad answers are dated, and the interval is as wide as their clumps demand.
Where one node's answers turn bad and the others' do not, only that node's are dated: what it
answered well until the step says when, and how the load is dealt out among nodes says nothing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.analyze.changepoint import Bools, Change, date_change, dispersion
from harness.analyze.slis import OracleEvents

Way = Literal["rise", "fall"]
FEW_OF_ONE_NODE = 2.0
"""The least dispersion assumed of one node's answers: nearly all are bad, and cannot clump."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events ``[start, end)`` with a step at one of ``[first, last]``, all numbers of events."""

    start: int
    first: int
    last: int
    end: int


@dataclass(frozen=True, slots=True)
class Dated:
    """A change, in numbers of events as those of its stretch; its shares are of bad answers.

    ``by_kind``: the kinds of answers told it, and not the bad ones alone.
    """

    change: Change
    by_kind: bool


def harmful(events: OracleEvents, budget: float, n_min: int, start_s: float, end_s: float) -> Bools:
    """(n,) which events are of a kind that spent more than its ``budget`` in [start_s, end_s).

    Kinds with fewer than ``n_min`` events there are judged as one; those with none are not harmful.
    """
    low, high = events.due_s.searchsorted([start_s, end_s])
    kinds = int(events.kind.max()) + 1 if len(events.kind) else 0
    count = np.bincount(events.kind[low:high], minlength=kinds)
    bad = np.bincount(events.kind[low:high], events.bad[low:high], minlength=kinds)
    rare = count < n_min
    bad[rare], count[rare] = bad[rare].sum(), np.where(count[rare], count[rare].sum(), 0)
    found: Bools = (bad > budget * count)[events.kind] if kinds else np.zeros(0, bool)
    return found


def date(
    events: OracleEvents, spoilt: Bools, of: Stretch, way: Way, budget: float, phi: float
) -> Dated | None:
    """Date one step. ``spoilt`` (n,): answers of harmful kinds; ``phi``: how bad answers clump."""
    by_kind = _step(spoilt, of, way, 1.0)
    if by_kind is not None:
        quiet, loud = by_kind.before, by_kind.after
        if way == "fall":
            quiet, loud = loud, quiet
        if quiet <= budget < loud:
            return Dated(_with_shares(by_kind, events.bad, of), by_kind=True)
    if way == "rise" and (by_node := _of_one_node(events, of, budget)) is not None:
        return Dated(_with_shares(by_node, events.bad, of), by_kind=False)
    by_outcome = _step(events.bad, of, way, phi)
    return None if by_outcome is None else Dated(by_outcome, by_kind=False)


def _of_one_node(events: OracleEvents, of: Stretch, budget: float) -> Change | None:
    """Date the rise among one node's answers; ``None`` where bad ones come from several nodes."""
    if events.node is None:
        return None
    node, bad = events.node[of.start : of.end], events.bad[of.start : of.end]
    guilty = np.unique(node[bad])
    if len(guilty) != 1 or (node == guilty[0]).all():
        return None
    here = of.start + np.flatnonzero(node == guilty[0])
    flags = events.bad[here]
    first, last = (int(i) for i in here.searchsorted([of.first, of.last + 1]))
    phi = dispersion(flags[int(flags.argmax()) :], few=FEW_OF_ONE_NODE)
    found = date_change(flags, first, last - 1, "rise", phi)
    if found is None or found.before > budget:
        return None
    low = int(here[found.low - 1]) + 1 if found.low else of.first
    return Change(int(here[found.index]), low, int(here[found.high]), found.before, found.after)


def _step(flags: Bools, of: Stretch, way: Way, phi: float) -> Change | None:
    start = of.start
    found = date_change(flags[start : of.end], of.first - start, of.last - start, way, phi)
    if found is None:
        return None
    return Change(
        found.index + start, found.low + start, found.high + start, found.before, found.after
    )


def _with_shares(change: Change, bad: Bools, of: Stretch) -> Change:
    before, after = bad[of.start : change.index], bad[change.index : of.end]
    shares = (float(part.mean()) if len(part) else 0.0 for part in (before, after))
    return Change(change.index, change.low, change.high, *shares)
