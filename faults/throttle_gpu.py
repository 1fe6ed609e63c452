"""Devices that are slower than they were.

A power cap that somebody forgot, a rack that brakes, a fan that died, a clock locked for last
week's benchmark, another team's job on the same device: every health check is green, every answer
is right, and batches take several times as long. On one cluster, nine nodes ran with the power
brake on for a day and a half before a person noticed, because nothing watched (NVSentinel issue
1666). Good looks like an alert that names the replica, tells a throttled device from a shared one
and does not page for a limit that nobody feels; and a replica that is drained until it is well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness import (
    Defence,
    Evidence,
    Node,
    Throttle,
    Throttleable,
    Undo,
    Window,
    fault,
    param,
)

FELT = 0.5  # of the slowness that the share promises; the rest is the ramp
LEAST = 1.05  # slower than this is slower: batches take their time exactly on a virtual device


@fault
@dataclass(frozen=True, slots=True)
class ThrottleGpu:
    """The devices of the chosen nodes keep a share of their clock, their power or their time."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"share": 0.90},
        {"share": 0.70},
        {"share": 0.50},
        {"share": 0.25},
        {"share": 0.10},
    )
    roles: ClassVar[tuple[str, ...]] = ("replica",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert GpuThrottled",
            "detection",
            "no answer is wrong and none fails: only the device's own pace and clock can tell",
        ),
        Defence(
            "runbook drain_replica",
            "mitigation",
            "a balancer that takes turns goes on sending callers to the slow device",
        ),
        Defence(
            "replicas",
            "availability",
            "the other device carries the traffic; alone, a slow one is the service",
        ),
    )

    share: float = param(
        0.1,
        "share of the clock, of the range of the power limit, or of the device",
        ge=0.1,
        le=0.95,
    )
    by: Literal["auto", "clock", "power", "contention"] = param(
        "auto",
        "lock the clock, lower the power limit, or share the device with co-tenants; auto is clock "
        "on a virtual device and contention on a real one",
    )
    real: bool = param(
        False, "leave to set the clock or the power limit of a real device; needs root there"
    )

    def refuse(self, target: Throttleable) -> str | None:
        """There must be devices, and real ones are only set by who says so."""
        kind = target.devices()
        if kind is None:
            return "the models run on the CPU here; set `device` to virtual or cuda"
        if kind == "real" and self.by in ("clock", "power") and not self.real:
            return (
                f"by {self.by} would set a real device; say `real: true` if that is meant, or take "
                "contention"
            )
        return None

    async def prepare(self, target: Throttleable, nodes: Sequence[Node]) -> Undo:
        """Ask leave, and note what kind of device it is about and how it will be slowed."""
        if (why := self.refuse(target)) is not None:
            raise ValueError(why)
        permit = await target.throttleable(nodes)
        return {"permit": permit, "device": target.devices(), "by": self._how(target).by}

    async def inject(self, target: Throttleable, nodes: Sequence[Node], undo: Undo) -> None:
        """Have them slowed."""
        await target.throttle(nodes, self._how(target), undo["permit"])

    async def verify(self, target: Throttleable, nodes: Sequence[Node]) -> bool:
        """In force while clock, limit or co-tenants read back as they were asked for."""
        return await target.throttled(nodes, self._how(target))

    async def heal(self, target: Throttleable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Set the devices back, or take the co-tenants away."""
        await target.unthrottle(nodes)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """Batches took longer *on a device*, by the model servers' own clocks, than ever before.

        How much longer follows from the share, but for a power limit: what that costs depends on
        how much power the load asks for.
        """
        usual, now, real = _paces(before), _paces(during), _real(during)
        if not usual or not now or real is None:
            return Evidence(False, "no probe told the pace of a device")
        by = self.by if self.by != "auto" else "contention" if real else "clock"
        slowest = max(now, key=lambda node: sum(now[node]) / len(now[node]))
        took = sum(now[slowest]) / len(now[slowest])
        most = max(max(usual.get(slowest, [1.0])), 1.0)
        least = LEAST if by == "power" else max(LEAST, 1 + FELT * (1 / self.share - 1))
        return Evidence(
            took > most and took >= least,
            f"by {by} on a {'real' if real else 'virtual'} device: batches of {slowest} took "
            f"{took:.2f} times as long as when its models were loaded, at most {most:.2f} before; "
            f"{least:.2f} or more was looked for",
        )

    def _how(self, target: Throttleable) -> Throttle:
        if self.by != "auto":
            return Throttle(self.by, self.share)
        return Throttle("contention" if target.devices() == "real" else "clock", self.share)


def _paces(window: Window) -> dict[Node, list[float]]:
    found: dict[Node, list[float]] = {}
    for sample in window.samples:
        if sample.probe == "gpu_slowdown":
            found.setdefault(sample.node, []).append(sample.value)
    return found


def _real(window: Window) -> bool | None:
    found = [sample.value for sample in window.samples if sample.probe == "gpu_real"]
    return bool(found[-1]) if found else None
