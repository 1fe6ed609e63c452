"""A feature feed whose values are wrong: which rows, and what becomes of them.

Plain data that travels from a fault to whatever rewrites the feed, be it a process or an array. It
is arithmetic on one row at a time, so that every stack spoils a row in the same way and a probe can
tell by recomputing whether a stored row is what the rule makes of the true one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from harness.model.values import Json

SkewMode = Literal["scale", "shift", "stuck", "swap", "recode"]

_IN_FORCE_SHARE: Final = 0.9  # of the entities hit; the rest may have been written just before
_ENOUGH: Final = 5  # entities to look at before believing a share


def chosen(entity: str, fraction: float, salt: str) -> bool:
    """Say whether an entity is among the ``fraction`` that a seeded hash of its id chooses.

    The same on every read, in every process and on every stack.
    """
    digest = hashlib.blake2b(f"{salt}/{entity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def prevails(share: float, looked_at: int) -> bool:
    """Say whether a rule is in force, from what ``FeedRewritable.spoilt_share`` read."""
    return looked_at >= _ENOUGH and share >= _IN_FORCE_SHARE


def unknown_feature(wanted: Sequence[str], known: Sequence[str]) -> str | None:
    """Say why a feed that carries the ``known`` features cannot be spoilt in those ``wanted``."""
    strange = next((name for name in wanted if name not in known), None)
    if strange is None:
        return None
    return f"the feed carries no feature {strange!r}; it has {', '.join(known)}"


@dataclass(frozen=True, slots=True)
class Segment:
    """The entities whose true value of one feature lies in a range, both ends included.

    A ``low`` above ``high`` wraps around, as hours do: from 22 to 4 is the night.
    """

    feature: str
    low: float
    high: float

    def holds(self, features: Mapping[str, float | None]) -> bool:
        """Say whether a row is in it; one that lacks the feature is not."""
        value = features.get(self.feature)
        if value is None:
            return False
        if self.low <= self.high:
            return self.low <= value <= self.high
        return value >= self.low or value <= self.high


@dataclass(frozen=True, slots=True)
class SkewRule:
    """How values of the feature feed are changed on their way to the store.

    ``scale``: times ``amount``; ``shift``: plus ``amount``; ``stuck``: always ``amount``;
    ``recode``: plus ``amount``, modulo ``cycle``; ``swap``: each of the features gets the value of
    the next one, the last that of the first. What is null or absent stays so.
    """

    features: tuple[str, ...]
    mode: SkewMode
    amount: float
    cycle: float
    fraction: float
    salt: str

    def hits(self, entity: str) -> bool:
        """Say whether this entity's row is changed."""
        return chosen(entity, self.fraction, self.salt)

    def spoil(self, entity: str, features: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the row as the store will get it."""
        row = dict(features)
        if self.hits(entity):
            for at, name in enumerate(self.features):
                other = self.features[(at + 1) % len(self.features)]
                given = features.get(other if self.mode == "swap" else name)
                if features.get(name) is not None and given is not None:
                    row[name] = self._changed(given)
        return row

    def in_force(
        self, entity: str, stored: Mapping[str, object], true: Mapping[str, float | None]
    ) -> bool | None:
        """Say whether a stored row is what this rule makes of the true one.

        ``None`` where that cannot be told: the rule does not change this row.
        """
        spoilt = self.spoil(entity, true)
        if spoilt == dict(true):
            return None
        return all(stored.get(name) == spoilt.get(name) for name in self.features)

    def to_json(self) -> Json:
        """Carry it to another process."""
        return asdict(self) | {"features": list(self.features), "rule": "skew"}

    @classmethod
    def from_json(cls, body: Json) -> "SkewRule":
        """Read it back."""
        given = {key: value for key, value in body.items() if key != "rule"}
        return cls(**given | {"features": tuple(given["features"])})

    def _changed(self, value: float) -> float:
        match self.mode:
            case "scale":
                return value * self.amount
            case "shift":
                return value + self.amount
            case "stuck":
                return self.amount
            case "recode":
                return (value + self.amount) % self.cycle
            case "swap":
                return value
