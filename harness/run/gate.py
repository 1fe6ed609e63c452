"""The steady-state gate: an unhealthy stack is never injected.

It looks before the first fault and again before each later one, unless the scenario overlaps them
on purpose: then the stack is unhealthy because it was asked to be. Not even then is anything broken
while a fault that should be out of force by now could not be healed. One of the two judgements that
a run makes (the other is the abort guard); both are events of the record. No data is not steady.
"""

from collections.abc import Mapping, Sequence

from harness.model.plan import Enter, Heal, Inject, Plan
from harness.model.slo import Slo
from harness.protocols import Reading
from harness.run.tally import Second

LOOK_BACK = 10  # seconds
ENOUGH = 5  # seconds with requests


def overlaps(plan: Plan) -> dict[str, frozenset[str]]:
    """Return, for each injection, the ids of the faults that are meant to be in force by then.

    The gate must let those pass that have none. A placebo has no injection; its gate is the one at
    the start of the fault phase, which is always passed.
    """
    open_faults: set[str] = set()
    found = {}
    for step in plan.steps:
        match step:
            case Inject():
                found[step.id] = frozenset(open_faults)
                open_faults.add(step.id)
            case Heal():
                open_faults.discard(step.id)
            case Enter():
                pass
    return found


def steady(
    seconds: Sequence[Second],
    slo: Slo,
    firing: Sequence[Mapping[str, str]],
    readings: Sequence[Reading],
    unhealed: Sequence[str] = (),
    deaf_s: float = 0.0,
) -> tuple[bool, str]:
    """Decide from the last ten seconds, the alerts firing now and the latest probes.

    ``unhealed``: ids of faults that should be out of force by now and are not known to be.
    ``deaf_s``: for how long the alerting's dead-man's alert has been silent, if too long.
    """
    if unhealed:
        return False, f"not healed: {', '.join(unhealed)}"
    recent = [s for s in seconds[-LOOK_BACK:] if s.completed]
    if len(recent) < ENOUGH:
        return False, f"only {len(recent)} of the last {LOOK_BACK} seconds had requests"
    if firing:
        names = ", ".join(sorted({labels.get("alertname", "?") for labels in firing}))
        return False, f"alerts were firing already: {names}"
    if deaf_s:
        return False, f"the alerting is dead: no dead-man's alert for {deaf_s:.0f} s"
    down = sorted(r.node for r in readings if r.probe == "replica_ready" and r.value < 1)
    if down:
        return False, f"not ready: {', '.join(down)}"
    words = []
    for objective in slo.objectives:
        parts = [(getattr(s, objective.sli), s.completed) for s in recent]
        known = [(value, n) for value, n in parts if value is not None]
        total = sum(n for _, n in known)
        if not total:
            return False, f"no data on {objective.sli}"
        value = sum(v * n for v, n in known) / total
        if value < objective.target:
            return (
                False,
                f"{objective.sli} was {value:.2%}, below its target {objective.target:.2%}",
            )
        words.append(f"{objective.sli} {value:.2%}")
    return True, ", ".join(words) + ", no alert firing, every replica ready"
