"""Online features that arrive on time and are wrong.

A producer counts delays from another clock, a team sends seconds where it sent minutes, two columns
change places in a join, a sensor repeats its last value. Every entry of the store is fresh and
complete, no null rate moves, every request is answered in time, and the model believes what it
reads. Good looks like a monitor that holds what was served against what the pipeline says of the
same entity, and a switch to the model that does not need the features until the two agree again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness import (
    Defence,
    Evidence,
    FeedSkewable,
    Node,
    SkewMode,
    SkewRule,
    Undo,
    Window,
    fault,
    param,
    prevails,
    unknown_feature,
)


@fault
@dataclass(frozen=True, slots=True)
class SkewFeatures:
    """Some entities' features reach the store with other values than the pipeline computed."""

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
            "alert FeatureSkew",
            "detection",
            "it holds what was served against the pipeline; the values alone look right",
        ),
        Defence(
            "runbook route_to_baseline",
            "mitigation",
            "it switches to the model that does not read what is wrong",
        ),
    )

    features: tuple[str, ...] = param(
        ("dep_delay", "origin_delay", "carrier_delay"), "which features to change"
    )
    mode: SkewMode = param(
        "shift",
        "shift, scale and change of unit, stuck value, swap of columns, or recode: a category or "
        "hour under another code",
    )
    amount: float = param(
        30.0,
        "addend of a shift or recode (30: half an hour), factor of a scale (60: minutes sent as "
        "seconds), the value that is stuck",
    )
    cycle: float = param(24.0, "where a recode wraps around: 24 for hours sent as UTC", ge=1)
    fraction: float = param(
        0.5, "share of entities hit, chosen by a seeded hash of their id", ge=0.005, le=1
    )
    salt: str = param("1", "seed of the hash that chooses the entities")

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("features is empty; name at least one")
        if self.mode == "swap" and len(set(self.features)) < 2:
            raise ValueError(f"swap needs two features or more, not {', '.join(self.features)}")
        if (self.mode, self.amount) in (("scale", 1.0), ("shift", 0.0)):
            raise ValueError(f"{self.mode} by {self.amount:g} changes nothing; choose another")

    @property
    def traffic_share(self) -> float:
        """The share of requests it can touch, for the limits on the blast radius."""
        return self.fraction

    def refuse(self, target: FeedSkewable) -> str | None:
        """Features that the feed does not carry cannot be changed."""
        return unknown_feature(self.features, target.skewable_features())

    async def prepare(self, target: FeedSkewable, nodes: Sequence[Node]) -> Undo:
        """Remember how the feed is routed."""
        if (why := self.refuse(target)) is not None:
            raise ValueError(why)
        return {"route": await target.feed_route()}

    async def inject(self, target: FeedSkewable, nodes: Sequence[Node], undo: Undo) -> None:
        """Put the rewriting in the feed's way."""
        await target.rewrite_feed(self._rule(), undo["route"])

    async def verify(self, target: FeedSkewable, nodes: Sequence[Node]) -> bool:
        """In force once the store holds wrong values of the entities about to be asked for."""
        return prevails(*await target.spoilt_share(self._rule()))

    async def heal(self, target: FeedSkewable, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Route the feed as it was, and have what was spoilt written again."""
        await target.restore_feed(undo["route"] if undo else None)

    def evidence(self, before: Window, during: Window) -> Evidence:
        """The harness's own probe recomputed stored rows: the store must have held wrong ones.

        The answers are told beside it and decide nothing: a stack that stops using the features
        answers well, and a skew of few entities changes few answers.
        """
        usual, now = _skewed(before), _skewed(during)
        if usual is None or now is None:
            return Evidence(False, "no probe held the store's values against the pipeline's")
        return Evidence(
            now - usual >= self.fraction / 2,
            f"{now:.1%} of the rows about to be asked for held wrong values, {usual:.1%} before; "
            f"{self.fraction:.1%} of entities were hit; the champion answered otherwise than on "
            f"true features in {_otherwise(during)} of its answers, {_otherwise(before)} before",
        )

    def _rule(self) -> SkewRule:
        return SkewRule(self.features, self.mode, self.amount, self.cycle, self.fraction, self.salt)


def _skewed(window: Window) -> float | None:
    found = [sample.value for sample in window.samples if sample.probe == "store_skewed"]
    return sum(found) / len(found) if found else None


def _otherwise(window: Window) -> str:
    rows, golden = window.requests.rows, window.requests.golden
    asked = (rows["model"] == b"champion") & (rows["prediction"] >= 0)
    return f"{(rows['prediction'] != golden)[asked].mean():.1%}" if asked.any() else "none"
