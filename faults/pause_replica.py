"""Replicas that are there and do nothing.

A page cache that thrashes, a cgroup out of quota, a long collection of garbage, a stalled disk, a
neighbour on the same cores: the process lives, its port accepts, its health check sometimes even
answers, and requests sent to it hang. Such a grey failure is worse than a crash, because what
routes around the dead does not route around the slow. Good looks like short timeouts, one retry
elsewhere, a replica left out after a few of those, and an alert when it is stopped for good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import Defence, Evidence, Node, Pausable, Undo, Window, fault, param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH = 50  # answers of one node before, to believe a share of them
SLOWER_S = 0.02  # than the slowest hundredth before, to be called slow


@fault
@dataclass(frozen=True, slots=True)
class PauseReplica:
    """The chosen nodes are stopped (SIGSTOP) for a share of every second, all at once."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"share": 0.10},
        {"share": 0.25},
        {"share": 0.50},
        {"share": 0.75},
        {"share": 1.00},
    )
    roles: ClassVar[tuple[str, ...]] = ("replica",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert TargetDown",
            "detection",
            "a scrape that hangs is the one sign that comes within seconds",
        ),
        Defence(
            "replicas",
            "availability",
            "another replica answers once the first has had its time; alone, every caller waits",
        ),
    )

    share: float = param(1.0, "share of every second for which they are stopped", ge=0.01, le=1)

    async def prepare(self, target: Pausable, nodes: Sequence[Node]) -> Undo:
        """Ask leave to stop them; the leave ends with the next heal."""
        return {"permit": await target.pausable(nodes)}

    async def inject(self, target: Pausable, nodes: Sequence[Node], undo: Undo) -> None:
        """Have them stopped, second by second."""
        await target.pause(nodes, self.share, undo["permit"])

    async def verify(self, target: Pausable, nodes: Sequence[Node]) -> bool:
        """In force while something pauses them, or leaves one of them stopped."""
        return await target.pausing(nodes)

    async def heal(self, target: Pausable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Let them go on."""
        await target.resume(nodes)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """A stopped replica answers less than it used to, or later."""
        import numpy as np

        rows, served = before.requests.rows, during.requests.rows
        if not len(rows) or not len(served):
            return Evidence(False, "no requests before, or none during")
        nodes, counts = np.unique(rows["node"], return_counts=True)
        said = []
        for node, count in zip(nodes.tolist(), counts.tolist(), strict=True):
            if count < ENOUGH or not node:
                continue
            usual, now = count / len(rows), float((served["node"] == node).mean())
            slow = _slow(before, during, node)
            name = node.decode("ascii", "replace")
            said.append(f"{name} gave {now:.1%} of answers ({usual:.1%} before), {slow:.1%} slow")
            if now <= usual * (1 - self.share / 2) or slow >= self.share / 2:
                return Evidence(True, said[-1])
        return Evidence(False, "; ".join(said) or f"no node gave {ENOUGH} answers before")


def _slow(before: Window, during: Window, node: bytes) -> float:
    """The share of a node's answers that are slower than its slowest hundredth was before."""
    import numpy as np

    usual, now = _took_s(before, node), _took_s(during, node)
    if not len(now):
        return 0.0
    return float((now > np.quantile(usual, 0.99) + SLOWER_S).mean())


def _took_s(window: Window, node: bytes) -> "NDArray[np.float64]":
    took: NDArray[np.float64] = window.requests.took_s[window.requests.rows["node"] == node]
    return took
