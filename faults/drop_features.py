"""Online features that stop arriving.

A column renamed upstream, a join that finds nothing, an upstream team that turns off a log. The
service answers every request, in time, with imputed values, and nobody is paged for being wrong.
They go missing of entities at random (`fraction`), of one segment (`segment: sched_hour`,
`segment_from: 17`, `segment_to: 20`), or for everybody, the whole column (`mode: absent`).
Good looks like an alert on the null rate within seconds, a switch to the model that does not need
the features, and a way back that nobody has to remember.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from harness import (
    Defence,
    Evidence,
    FeedRewritable,
    FeedRule,
    Node,
    Segment,
    Undo,
    Window,
    fault,
    param,
    prevails,
    unknown_feature,
)

ENOUGH = 5  # answers that lacked a feature, before it is believed that a segment was hit


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
    segment: str | None = param(
        None, "hit only entities whose value of this feature lies from segment_from to segment_to"
    )
    segment_from: float | None = param(None, "lowest value of the segment")
    segment_to: float | None = param(
        None, "highest value of the segment; below segment_from it wraps around, as hours do"
    )

    def __post_init__(self) -> None:
        """Dropping nothing is not a fault."""
        if not self.features:
            raise ValueError("features is empty; name at least one to drop")
        given = [self.segment, self.segment_from, self.segment_to]
        if any(one is not None for one in given) and None in given:
            raise ValueError("a segment needs all of segment, segment_from and segment_to")

    @property
    def traffic_share(self) -> float:
        """The largest share of requests it can touch, for the limits on the blast radius."""
        return self.fraction

    def refuse(self, target: FeedRewritable) -> str | None:
        """Features that the feed does not carry cannot be dropped."""
        named = self.features if self.segment is None else (*self.features, self.segment)
        return unknown_feature(named, target.feed_features())

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
        return prevails(*await target.spoilt_share(self._rule()))

    async def heal(self, target: FeedRewritable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Route the feed as it was, and have what was spoilt written again."""
        await target.restore_feed(undo["route"] if undo else None)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """The answers themselves say which features they lacked: the masks must show it.

        What share of the traffic a segment has depends on the hour, so there they are held against
        the share of the flights about to be asked for that the store was seen to lack.
        """
        usual, now = _lacking(before), _lacking(during)
        if usual is None or now is None:
            return Evidence(False, "no answered request says which features it lacked")
        told = f"{now:.1%} of answers lacked a feature, {usual:.1%} before; "
        if self.segment is None:
            because = f"{self.fraction:.1%} of entities were hit"
            return Evidence(now - usual >= self.fraction / 2, told + because)
        hit, before_it = _stored_lacking(during), _stored_lacking(before)
        if hit is None or before_it is None:
            return Evidence(False, "no probe says what share of the flights was hit")
        count = round(now * _answers(during))
        because = f"{hit:.1%} of the flights about to be asked for were hit, {before_it:.1%} before"
        bit = hit > before_it and now - usual >= (hit - before_it) / 2 and count >= ENOUGH
        return Evidence(bit, told + because)

    def _rule(self) -> FeedRule:
        segment = None
        if self.segment and self.segment_from is not None and self.segment_to is not None:
            segment = Segment(self.segment, self.segment_from, self.segment_to)
        return FeedRule(self.features, self.fraction, self.mode, self.salt, segment)


def _lacking(window: Window) -> float | None:
    masks = window.requests.rows["mask"]
    known = masks[masks >= 0]
    return float((known > 0).mean()) if len(known) else None


def _answers(window: Window) -> int:
    return int((window.requests.rows["mask"] >= 0).sum())


def _stored_lacking(window: Window) -> float | None:
    found = [sample.value for sample in window.samples if sample.probe == "store_lacking"]
    return sum(found) / len(found) if found else None
