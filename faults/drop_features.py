"""Online features that stop arriving.

A column renamed upstream, a join that finds nothing, an upstream team that turns off a log. The
service answers every request, in time, with imputed values, and nobody is paged for being wrong.
Good looks like an alert on the null rate within seconds, a switch to the model that does not need
the features, and a way back that nobody has to remember.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness import Defence, Evidence, FeedRewritable, FeedRule, Node, Undo, Window, fault, param

IN_FORCE_SHARE = 0.9  # of the entities hit; the rest may have been written just before
ENOUGH = 5  # entities to look at before believing a share


@fault
@dataclass(frozen=True, slots=True)
class DropFeatures:
    """Some entities' features reach the store as nulls, or not at all."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"fraction": 0.01},
        {"fraction": 0.05},
        {"fraction": 0.20},
        {"fraction": 0.50},
        {"fraction": 1.00},
    )

    roles: ClassVar[tuple[str, ...]] = ("feed",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert FeatureMissing",
            "detection",
            "it watches the share of nulls; nothing else moves within seconds",
        ),
        Defence(
            "runbook route_to_baseline",
            "mitigation",
            "it switches to the model that does not read what is missing",
        ),
    )

    features: tuple[str, ...] = param(
        ("dep_delay", "origin_delay", "carrier_delay"), "which features to drop"
    )
    fraction: float = param(
        0.5, "share of entities hit, chosen by a seeded hash of their id", ge=0.005, le=1
    )
    mode: Literal["null", "absent"] = param("null", "arrive as null, or not at all")
    salt: str = param("1", "seed of the hash that chooses the entities")

    def __post_init__(self) -> None:
        """Dropping nothing is not a fault."""
        if not self.features:
            raise ValueError("features is empty; name at least one to drop")

    @property
    def traffic_share(self) -> float:
        """The share of requests it can touch, for the limits on the blast radius."""
        return self.fraction

    def refuse(self, target: FeedRewritable) -> str | None:
        """Features that the feed does not carry cannot be dropped."""
        known = target.feed_features()
        strange = next((name for name in self.features if name not in known), None)
        if strange is None:
            return None
        return f"the feed carries no feature {strange!r}; it has {', '.join(known)}"

    async def prepare(self, target: FeedRewritable, nodes: Sequence[Node]) -> Undo:
        """Remember how the feed is routed."""
        if (why := self.refuse(target)) is not None:
            raise ValueError(why)
        return {"route": await target.feed_route()}

    async def inject(self, target: FeedRewritable, nodes: Sequence[Node], undo: Undo) -> None:
        """Put the rewriting in the feed's way."""
        await target.rewrite_feed(self._rule(), undo["route"])

    async def verify(self, target: FeedRewritable, nodes: Sequence[Node]) -> bool:
        """In force once the store lacks the features of the entities about to be asked for."""
        share, looked_at = await target.spoilt_share(self._rule())
        return looked_at >= ENOUGH and share >= IN_FORCE_SHARE

    async def heal(self, target: FeedRewritable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Route the feed as it was, and have what was spoilt written again."""
        await target.restore_feed(undo["route"] if undo else None)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """The answers themselves say which features they lacked: the masks must show it."""
        usual, now = _lacking(before), _lacking(during)
        if usual is None or now is None:
            return Evidence(False, "no answered request says which features it lacked")
        return Evidence(
            now - usual >= self.fraction / 2,
            f"{now:.1%} of answers lacked a feature, {usual:.1%} before; "
            f"{self.fraction:.1%} of entities were hit",
        )

    def _rule(self) -> FeedRule:
        return FeedRule(self.features, self.fraction, self.mode, self.salt)


def _lacking(window: Window) -> float | None:
    masks = window.requests.rows["mask"]
    known = masks[masks >= 0]
    return float((known > 0).mean()) if len(known) else None
