"""What will be done, with every moment decided and every die already rolled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.model.scenario import Phase, Scenario
from harness.model.slo import Slo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Node = str
Topology = Mapping[str, tuple[Node, ...]]  # role -> its nodes


@dataclass(frozen=True, slots=True)
class Enter:
    """Cross into a phase."""

    at_s: float
    phase: Phase


@dataclass(frozen=True, slots=True)
class Inject:
    """Start a fault. ``id`` ties its inject, heal and every later mention together."""

    at_s: float
    id: str
    fault: str
    params: Mapping[str, object]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Heal:
    """End the fault with this id."""

    at_s: float
    id: str


Step = Enter | Inject | Heal


@dataclass(frozen=True)
class Plan:
    """A scenario with nothing left to chance. Printing one is the dry run.

    ``due_ns``: shape (n,), int64, when each request is due, in nanoseconds after the load starts;
    request ``i`` replays case ``i``. ``hold_s`` is H of the definitions of the marks.
    """

    scenario: Scenario
    slo: Slo
    seed: int
    due_ns: "NDArray[np.int64]"
    steps: tuple[Step, ...]
    ends_s: float
    hold_s: float

    def summary(self) -> dict[str, Any]:
        """Say what will happen, as JSON-able values; arrivals as a count and a digest."""
        import dataclasses
        import hashlib

        return {
            "scenario": self.scenario.name,
            "stack": self.scenario.stack,
            "seed": self.seed,
            "ends_s": self.ends_s,
            "hold_s": self.hold_s,
            "requests": len(self.due_ns),
            "arrivals_sha256": hashlib.sha256(self.due_ns.tobytes()).hexdigest(),
            "steps": [{"do": type(s).__name__.lower()} | dataclasses.asdict(s) for s in self.steps],
        }
