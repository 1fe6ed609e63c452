"""What may end a run before its time, each second and before each injection, in one place.

The abort guard and the kill switch are asked every second; the policy (limits, targets, windows)
before anything is broken, each time. The first that objects ends the run: it heals, takes its stack
down, and says who objected and why.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.model.plan import Enter, Plan
from harness.model.policy import Policy
from harness.protocols import Stack
from harness.run import halt
from harness.run.abort_guard import AbortGuard, Ask, answered
from harness.run.blast_radius import addresses_of, refusals
from harness.run.promql import asker
from harness.run.supervisor import Faults
from harness.run.tally import Second

Objector = Literal["guard", "policy", "halt"]


@dataclass(frozen=True, slots=True)
class Objection:
    """Who wants the run to end, and why."""

    by: Objector
    because: str


class Safety:
    """The rules of one run. ``home``: where the kill switch lies; ``None`` where nothing real runs.

    ``reach`` it once the stack is up, because only then are its addresses known.
    """

    def __init__(
        self, plan: Plan, stack: Stack, faults: Faults, policy: Policy, home: Path | None
    ) -> None:
        self._plan, self._stack, self._faults, self._policy = plan, stack, faults, policy
        self._home = None if stack.virtual_time else home
        watched_from_s = next(
            (s.at_s for s in plan.steps if isinstance(s, Enter) and s.phase == "baseline"), 0.0
        )
        self._guard = AbortGuard(
            plan.scenario.abort, plan.slo, len(plan.due_ns), from_s=watched_from_s
        )
        self._ask: Ask | None = None
        self._addresses: Mapping[str, str] = {}

    def reach(self) -> None:
        """Learn the addresses of a stack that is up."""
        self._ask = asker(self._stack)
        self._addresses = addresses_of(self._stack)

    def before_injection(self) -> Objection | None:
        """Ask the kill switch and the policy, at this moment."""
        if (halted := self._halted()) is not None:
            return halted
        found = refusals(
            self._policy,
            self._plan.scenario,
            self._plan.steps,
            self._stack.topology(),
            self._addresses,
            None if self._stack.virtual_time else time.time(),
            faults=self._faults,
        )
        return Objection("policy", "; ".join(found)) if found else None

    async def each_second(
        self, second: Second, firing: Sequence[Mapping[str, str]]
    ) -> Objection | None:
        """Ask the kill switch and the abort guard. A guard that falls over is an objection too."""
        if (halted := self._halted()) is not None:
            return halted
        try:
            answers = await answered(self._guard.queries, self._ask)
            because = self._guard.second(second, tuple(firing), answers)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            because = f"the abort guard itself failed: {type(error).__name__}: {error}"
        return Objection("guard", because) if because is not None else None

    def _halted(self) -> Objection | None:
        if self._home is None or (why := halt.halted(self._home)) is None:
            return None
        return Objection("halt", why)
