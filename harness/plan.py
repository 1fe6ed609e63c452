"""Scenario to Plan. Pure: this is where every die is rolled, once, from the seed.

Load, faults and the injection phase draw from streams of their own, so that changing one never
moves another. The injection phase matters: scrapes and rule evaluations fall on fixed grids, so a
fault at a fixed offset would be detected after a fixed, and misleading, delay.
"""

from math import ceil
from typing import TYPE_CHECKING

from harness.model.plan import Enter, Heal, Inject, Plan, Step, Topology
from harness.model.scenario import PHASES, ExpectMark, FaultStep, Phase, Scenario
from harness.model.slo import Slo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STREAMS = {"load": 1, "faults": 2, "phase": 3}
PHASE_SPREAD_S = 1.0  # the scrape interval of a stack that does not say
MAX_REQUESTS = 5_000_000
MIN_BAD_EVENTS = 5  # below which a window's bad ratio says nothing
TEARDOWN_S = 1.0


class PlanError(ValueError):
    """The scenario asks for what its own phases cannot hold; the message says by how much.

    ``path``: the keys and places that lead to what asks for it.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


def plan(
    scenario: Scenario,
    slo: Slo,
    topology: Topology,
    *,
    seed: int | None = None,
    spread_s: float = PHASE_SPREAD_S,
) -> Plan:
    """Decide every moment of a run. Raises ``PlanError``.

    ``spread_s``: over how long the injection phase is drawn: the longer of the stack's scrape and
    evaluation intervals.
    """
    seed = scenario.seed if seed is None else seed
    starts: dict[Phase, float] = {}
    clock_s = 0.0
    for phase in PHASES:
        starts[phase] = clock_s
        clock_s += scenario.phases_s[phase]
    hold = hold_s(scenario, slo)
    refuse_unjudgeable(scenario, slo, spread_s)
    steps: list[Step] = [Enter(at_s, phase) for phase, at_s in starts.items()]
    dice, phase_dice = _dice(seed, "faults"), _dice(seed, "phase")
    for number, fault in enumerate(scenario.faults, 1):
        shift_s = round(float(phase_dice.uniform(0, spread_s)), 6)
        steps += _fault(f"{fault.fault}-{number}", fault, starts["fault"] + shift_s, topology, dice)
    steps.sort(key=lambda step: step.at_s)
    return Plan(
        scenario, slo, seed, _arrivals(scenario, clock_s, seed), tuple(steps), clock_s, hold
    )


def hold_s(scenario: Scenario, slo: Slo) -> float:
    """H: how long a state must last to be believed (design: the clock of an incident)."""
    budget = min(objective.budget for objective in slo.objectives)
    burn = max(tier.burn for tier in slo.tiers)
    n_min = ceil(MIN_BAD_EVENTS / min(1.0, burn * budget))
    return max(2 * slo.short_window_s, n_min / scenario.load.rate_per_s, scenario.hold_s)


def refuse_unjudgeable(scenario: Scenario, slo: Slo, spread_s: float = PHASE_SPREAD_S) -> None:
    """Raise ``PlanError`` when the phases are too short for the bounds that are to be judged.

    ``spread_s``: over how long the injection phase is drawn.
    """
    hold = hold_s(scenario, slo)
    requests = scenario.load.rate_per_s * sum(scenario.phases_s.values())
    if requests > MAX_REQUESTS:
        raise PlanError(
            f"{requests:,.0f} requests are too many; shorten the phases or lower the rate until "
            f"there are at most {MAX_REQUESTS:,}",
            "load",
        )
    fault_s, recovery_s = scenario.phases_s["fault"], scenario.phases_s["recovery"]
    for place, step in enumerate(scenario.faults):
        needed_s = step.at_s + step.for_s + spread_s
        if needed_s > fault_s:
            raise PlanError(
                f"{step.fault} needs a fault phase of {needed_s:g}s (at + for + up to "
                f"{spread_s:g}s of random injection phase), but it lasts {fault_s:g}s",
                *("faults", place),
            )
        if recovery_s < hold:
            raise PlanError(
                f"recovery must hold for {hold:g}s to be believed, but its phase lasts "
                f"{recovery_s:g}s",
                *("phases", "recovery"),
            )
        left_s = fault_s - step.at_s - spread_s + recovery_s
        for asked, expect in enumerate(scenario.expect):
            if isinstance(expect, ExpectMark):
                _refuse_bound(expect, step, hold, left_s, asked)


def _refuse_bound(
    mark: ExpectMark, step: FaultStep, hold: float, left_s: float, asked: int
) -> None:
    held_s, at = mark.within_s + hold, ("expect", asked)
    match mark.mark:
        case "detected" if mark.within_s > left_s:
            raise PlanError(
                f"'detected within {mark.within_s:g}s' is longer than the {left_s:g}s that remain "
                "after the injection",
                *at,
            )
        case "mitigated" if held_s > step.for_s:
            raise PlanError(
                f"'mitigated within {mark.within_s:g}s' must then hold for {hold:g}s while "
                f"{step.fault} is in force, but it lasts {step.for_s:g}s; make it {held_s:g}s",
                *at,
            )
        case "recovered" if held_s > left_s:
            raise PlanError(
                f"'recovered within {mark.within_s:g}s' must then hold for {hold:g}s, but the run "
                f"ends {left_s:g}s after the injection; make the recovery phase "
                f"{held_s - left_s:g}s longer",
                *at,
            )
        case _:
            pass


def _fault(
    id: str, step: FaultStep, start_s: float, topology: Topology, dice: "np.random.Generator"
) -> tuple[Inject, Heal]:
    nodes = topology[step.role]
    picked = nodes
    if step.pick != "all":
        chosen = sorted(dice.choice(len(nodes), size=step.pick, replace=False).tolist())
        picked = tuple(nodes[i] for i in chosen)
    at_s = start_s + step.at_s
    return Inject(at_s, id, step.fault, step.params, picked), Heal(at_s + step.for_s, id)


def _arrivals(scenario: Scenario, until_s: float, seed: int) -> "NDArray[np.int64]":
    import numpy as np

    rate = scenario.load.rate_per_s
    if scenario.load.arrivals == "constant":
        due_s = np.arange(int(until_s * rate)) / rate
    else:
        dice = _dice(seed, "load")
        expected = until_s * rate
        gaps = dice.exponential(1 / rate, size=int(expected + 10 * expected**0.5 + 50))
        due_s = np.cumsum(gaps)
        due_s = due_s[due_s < until_s]
    return np.asarray(np.round(due_s * 1e9), dtype=np.int64)


def _dice(seed: int, stream: str) -> "np.random.Generator":
    import numpy as np

    return np.random.Generator(np.random.PCG64([seed, STREAMS[stream]]))
