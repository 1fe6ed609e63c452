"""Replicas that die.

The kernel takes the process that has grown too large; a node is drained by somebody in a hurry; a
driver crashes in the middle of a batch. Half the capacity is gone between two requests, and callers
should never know: the gateway tries another replica, leaves the dead one out, and an alert names
it within seconds. What hurts is the second failure, because nobody noticed the first. What is
killed stays dead: whatever starts in its place is killed too, as in a crash loop, until the heal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from harness import Defence, Evidence, Killable, Node, Undo, Window, fault, param

READY = "replica_ready"  # the probe; its readings are 1 and 0
MOSTLY_READY, MOSTLY_DEAD = 0.9, 0.5


@fault
@dataclass(frozen=True, slots=True)
class KillReplica:
    """A share of the chosen nodes is killed (SIGKILL), and kept dead."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"share": 0.2},
        {"share": 0.4},
        {"share": 0.6},
        {"share": 0.8},
        {"share": 1.0},
    )
    roles: ClassVar[tuple[str, ...]] = ("replica",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert TargetDown",
            "detection",
            "callers see nothing, so only the missing scrape tells that half the capacity is gone",
        ),
        Defence(
            "replicas",
            "availability",
            "another replica answers; alone, all that is left is the baseline in the gateway",
        ),
        Defence(
            "ejection",
            "availability",
            "who refuses is left out, so that retries do not use up their budget on the dead",
        ),
        Defence(
            "breaker",
            "availability",
            "who keeps failing is called on trial only, as if it had been left out",
        ),
    )

    share: float = param(
        1.0, "share of the chosen nodes that is killed, rounded up to whole nodes", ge=0.01, le=1
    )

    async def prepare(self, target: Killable, nodes: Sequence[Node]) -> Undo:
        """Ask leave to kill them; the leave ends with the next heal."""
        return {"permit": await target.killable(self._struck(nodes))}

    async def inject(self, target: Killable, nodes: Sequence[Node], undo: Undo) -> None:
        """Kill them without warning."""
        await target.kill(self._struck(nodes), undo["permit"])

    async def verify(self, target: Killable, nodes: Sequence[Node]) -> bool:
        """In force while none of them runs."""
        return not any((await target.running(self._struck(nodes))).values())

    async def heal(self, target: Killable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Start them again where they were, and wait until they serve."""
        await target.start_again(self._struck(nodes))

    def evidence(self, before: Window, during: Window) -> Evidence:
        """The probe of readiness must show a replica that was there and is not."""
        usual, now = _ready(before), _ready(during)
        known = sorted(usual.keys() & now.keys())
        if not known:
            return Evidence(False, f"no node has a reading of {READY} both before and during")
        node = min(known, key=lambda name: now[name] - usual[name])
        return Evidence(
            usual[node] >= MOSTLY_READY and now[node] <= MOSTLY_DEAD,
            f"{node} was ready in {now[node]:.1%} of probes, {usual[node]:.1%} before",
        )

    def _struck(self, nodes: Sequence[Node]) -> Sequence[Node]:
        return nodes[: ceil(self.share * len(nodes))]


def _ready(window: Window) -> dict[Node, float]:
    found: dict[Node, list[float]] = {}
    for sample in window.samples:
        if sample.probe == READY:
            found.setdefault(sample.node, []).append(sample.value)
    return {node: sum(values) / len(values) for node, values in found.items()}
