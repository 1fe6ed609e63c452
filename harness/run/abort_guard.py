"""The abort guard: it says when a run hurts more than it was allowed to, and must stop at once.

One of the two judgements that a run makes (the other is the steady-state gate). It is given what is
known at the end of each second and answers with a reason, or nothing; the same seconds give the
same answer. What it means, exactly:

* It watches from the baseline on. A stack that warms up is cold by nature, and nothing is broken.
* A threshold is beyond when the value is *below* or *above* it; at it is not beyond. It must be
  beyond for ``for``: in so many seconds that had data, with none between them that was not beyond.
  A second without data neither counts nor clears.
* No data is not good news: an indicator or a query that said nothing for three times ``for``,
  second after second, stops the run.
* The budget of an objective is what the whole run would be allowed: (1 - target) x the requests
  planned. What is spent are the bad events of the seconds seen so far, warm-up included, and the
  run stops once their share of the budget *reaches* the one given.
* An alert stops the run in the first second in which it fires: it has a hold time of its own.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from harness import units
from harness.model.scenario import (
    Abort,
    AbortAlert,
    AbortBudget,
    AbortQuery,
    AbortSli,
    AbortUnexpected,
    Threshold,
)
from harness.model.slo import Slo
from harness.run.tally import Second

Ask = Callable[[str], Awaitable[float | None]]
Answer = float | str | None
"""A number; or why there is none; or ``None``: no data."""
SILENT: Final = 3  # times the hold time without data
_HAIR: Final = 1e-6  # 1 - 0.99 is not 0.01
ASK_WITHIN_S: Final = 0.9  # an answer later than this belongs to no second


class AbortGuard:
    """Feeds on seconds, in order. ``queries`` are what it wants answered for each.

    ``planned_requests``: how many the whole run will send. ``from_s``: when the baseline begins, on
    the clock of ``Second.t`` (a second is watched when it ends after it).
    """

    def __init__(
        self,
        conditions: Sequence[Abort],
        slo: Slo,
        planned_requests: int,
        *,
        from_s: float = 0.0,
    ) -> None:
        self._conditions, self._slo, self._from_s = tuple(conditions), slo, from_s
        self._allowed = {o.name: o.budget * planned_requests for o in slo.objectives}
        self._spent = dict.fromkeys(self._allowed, 0)
        self._holds = {n: _Hold() for n in range(len(self._conditions))}
        asked = (c.query for c in self._conditions if isinstance(c, AbortQuery))
        self.queries: tuple[str, ...] = tuple(dict.fromkeys(asked))

    def second(
        self,
        second: Second,
        firing: Sequence[Mapping[str, str]] = (),
        answers: Mapping[str, Answer] | None = None,
    ) -> str | None:
        """Take in one second; return why the run must stop, or ``None``.

        ``firing``: the labels of each alert that fires now. ``answers``: by query.
        """
        self._spend(second)
        if second.t <= self._from_s:
            return None
        found = [
            self._judge(number, condition, second, firing, answers or {})
            for number, condition in enumerate(self._conditions)
        ]
        return next((reason for reason in found if reason is not None), None)

    def _judge(
        self,
        number: int,
        condition: Abort,
        second: Second,
        firing: Sequence[Mapping[str, str]],
        answers: Mapping[str, Answer],
    ) -> str | None:
        hold = self._holds[number]
        match condition:
            case AbortSli():
                value = getattr(second, condition.sli)
                spell = _spell_ms if condition.sli.endswith("_ms") else _spell_share
                return hold.second(condition.sli, value, condition.beyond, spell)
            case AbortQuery():
                answer = answers.get(condition.query)
                name = f"the query {condition.query!r}"
                return hold.second(name, answer, condition.beyond, _spell_number)
            case AbortBudget():
                return self._over_budget(condition)
            case AbortAlert():
                bears = (a for a in firing if condition.labels.items() <= a.items())
                return next((f"the alert {_spell_alert(a)} fires" for a in bears), None)
            case AbortUnexpected():
                rest = (a for a in firing if a.get("alertname", "") not in condition.allow)
                return next((f"an unexpected alert fires: {_spell_alert(a)}" for a in rest), None)

    def _spend(self, second: Second) -> None:
        counts = {"success_ratio": second.completed, "paired_correctness": second.judged}
        for objective in self._slo.objectives:
            value: float | None = getattr(second, objective.sli)
            if value is not None and not math.isnan(value):
                bad = (1.0 - value) * counts[objective.sli]
                self._spent[objective.name] += round(bad)  # it was a whole number of requests

    def _over_budget(self, condition: AbortBudget) -> str | None:
        for name, allowed in self._allowed.items():
            spent, most = self._spent[name], condition.share * allowed
            if spent and spent >= most - _HAIR:
                return (
                    f"{name} has spent {spent} bad events; the whole run would be allowed "
                    f"{allowed:.1f}, of which {condition.share:.0%} is {most:.1f}"
                )
        return None


class _Hold:
    """How long a value has been beyond its threshold, and how long nothing was known of it."""

    def __init__(self) -> None:
        self._beyond, self._silent, self._why = 0, 0, ""

    def second(
        self, name: str, answer: Answer, beyond: Threshold, spell: Callable[[float], str]
    ) -> str | None:
        value = answer if isinstance(answer, int | float) else math.nan
        if math.isnan(value):
            self._silent += 1
            self._why = f" ({answer})" if isinstance(answer, str) else ""
            if self._silent < SILENT * beyond.for_s:
                return None
            silent = units.spell(float(self._silent))
            return f"no data on {name} for {silent}{self._why}, which is not taken for good news"
        self._silent = 0
        crossed = value < beyond.value if beyond.side == "below" else value > beyond.value
        self._beyond = self._beyond + 1 if crossed else 0
        if self._beyond < beyond.for_s:
            return None
        return (
            f"{name} was {spell(value)}, {beyond.side} {spell(beyond.value)} "
            f"for {units.spell(float(self._beyond))}"
        )


async def answered(queries: Sequence[str], ask: Ask | None) -> dict[str, Answer]:
    """Ask every query at once, in less than a second; what fails is its answer, in words."""
    if ask is None:
        return dict.fromkeys(queries, "the stack has no Prometheus to ask")
    return dict(
        zip(queries, await asyncio.gather(*(_answer(q, ask) for q in queries)), strict=True)
    )


async def _answer(query: str, ask: Ask) -> Answer:
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            return await ask(query)
    except TimeoutError:
        return f"no answer in {ASK_WITHIN_S:g}s"
    except Exception as error:
        return str(error) or type(error).__name__


def _spell_share(value: float) -> str:
    return units.spell_ratio(value)


def _spell_ms(value: float) -> str:
    return units.spell(value / 1e3)


def _spell_number(value: float) -> str:
    return f"{value:g}"


def _spell_alert(labels: Mapping[str, str]) -> str:
    rest = ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k != "alertname")
    return labels.get("alertname", "without a name") + (f" ({rest})" if rest else "")
