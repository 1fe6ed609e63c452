"""What a stack may let you do to it.

A fault names the capability it needs as the type of its ``target``; a stack offers a capability by
having the methods. Neither imports the other, and which faults fit which stacks is computed. Each
capability is something that a real failure or a real operator could do: none is a hook in the
stack.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, runtime_checkable

from harness.model.feed import Segment, SkewRule, chosen
from harness.model.plan import Node
from harness.model.values import Json

DeviceKind = Literal["real", "virtual"]


@dataclass(frozen=True, slots=True)
class Throttle:
    """How devices are made slow.

    ``by`` clock: locked at ``share`` of the highest; power: the limit set at ``share`` of the way
    from the lowest to the default one; contention: co-tenants that leave about ``share`` of the
    device to whoever was there before.
    """

    by: Literal["clock", "power", "contention"]
    share: float


@dataclass(frozen=True, slots=True)
class FeedRule:
    """How features go missing from rows of the feature feed on their way to the store.

    Which entities are hit is a seeded hash of their id, so that it is the same on every read, in
    every process and on every stack; with a ``segment``, only rows of that segment are.
    """

    features: tuple[str, ...]
    fraction: float
    mode: Literal["null", "absent"]
    salt: str
    segment: Segment | None = None

    def hits(self, entity: str) -> bool:
        """Say whether this entity's row is spoilt, provided that its segment is."""
        return chosen(entity, self.fraction, self.salt)

    def within(self, true: Mapping[str, float | None]) -> bool:
        """Say whether a row, told by its true features, is of the segment that is hit."""
        return self.segment is None or self.segment.holds(true)

    def spoil(self, entity: str, features: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the row as the store will get it."""
        if not (self.hits(entity) and self.within(features)):
            return dict(features)
        if self.mode == "absent":
            return {n: v for n, v in features.items() if n not in self.features}
        return {n: None if n in self.features else v for n, v in features.items()}

    def in_force(
        self, entity: str, stored: Mapping[str, object], true: Mapping[str, float | None]
    ) -> bool | None:
        """Say whether a stored row lacks what this rule takes away; ``None`` where the true row is
        of another segment than the one that is hit.
        """
        if not self.within(true):
            return None
        return all(stored.get(name) is None for name in self.features)

    def to_json(self) -> Json:
        """Carry it to another process."""
        return {
            "features": list(self.features),
            "fraction": self.fraction,
            "mode": self.mode,
            "salt": self.salt,
            "segment": asdict(self.segment) if self.segment else None,
        }

    @classmethod
    def from_json(cls, body: Json) -> "FeedRule":
        """Read it back."""
        segment = Segment(**body["segment"]) if body.get("segment") else None
        return cls(tuple(body["features"]), body["fraction"], body["mode"], body["salt"], segment)


def feed_rule(body: Json) -> FeedRule | SkewRule:
    """Read back a rule for the feed, of whichever kind."""
    return SkewRule.from_json(body) if body.get("rule") == "skew" else FeedRule.from_json(body)


@runtime_checkable
class Ablatable(Protocol):
    """Its own defences can be left out, by its ordinary settings and by nothing else."""

    def switches(self) -> Sequence[str]:
        """The name of every defence that can be left out; see ``harness.model.defence``. A
        dead-man's alert is none: it tells of no fault.
        """

    def without(self, names: Iterable[str]) -> Mapping[str, object]:
        """The changes to its settings with which it is stood up without these defences; none for
        one that it lacks already. Raises ``ValueError`` for a name that is no switch of it.
        """


Ageing = Literal["promote_old", "stop_refresh"]
"""How a model gets old: an old one is promoted, or the one that is served is refreshed no more."""


@runtime_checkable
class Ageable(Protocol):
    """Which version of the model is served is somebody's decision, and so is that it is refreshed;
    both can be decided wrongly.
    """

    async def ageable(self, nodes: Sequence[Node], way: Ageing) -> Json:
        """Return the permit that ``age`` asks for, with what ``freshen`` goes back to; only reads.
        Mending voids it.

        Raises ``ValueError`` for a node that does not keep the models.
        """

    async def age(self, way: Ageing, back: int, permit: Json) -> None:
        """Promote the version of ``back`` (1 or more) releases ago, or have refreshing stopped
        (``back`` is ignored then).

        What does this holds a lease of its own: without the harness it takes that back.
        """

    async def aged(self, way: Ageing) -> bool:
        """Say whether another version than the approved one is champion and a replica has followed,
        or refreshing has stopped; cheap.
        """

    async def freshen(self, way: Ageing, permit: Json | None) -> None:
        """Void every permit for this way, stop what carries it, and put back what ``permit`` says
        (``None``: the version that is known to be good, refreshed); returns once replicas serve it.
        Does nothing to a stack that is right.
        """


@runtime_checkable
class FeedRewritable(Protocol):
    """The feed that the store is filled from passes a place where its rows can be rewritten."""

    def feed_features(self) -> Sequence[str]:
        """The names of the features that the feed carries."""

    async def feed_route(self) -> Json:
        """How the feed is routed now; only reads."""

    async def rewrite_feed(self, rule: FeedRule | SkewRule, route: Json) -> None:
        """Route the feed through something that spoils rows by ``rule``, in place of any other."""

    async def restore_feed(self, route: Json | None) -> None:
        """Route the feed as ``route`` says (``None``: as the stack was built), stop what rewrote
        it, and have the pipeline write again what was spoilt. Does nothing to a healthy feed.
        """

    async def spoilt_share(self, rule: FeedRule | SkewRule) -> tuple[float, int]:
        """Read the store: of the entities about to be asked for that ``rule`` hits and changes, the
        share whose stored row is what the rule makes of it, and how many were looked at.
        """


@runtime_checkable
class FeedSkewable(FeedRewritable, Protocol):
    """A feed whose rows can also be given other values, and whose truth can be computed again."""

    def skewable_features(self) -> Sequence[str]:
        """The names of the features whose values can be changed on their way."""


@runtime_checkable
class Hurriable(Protocol):
    """A stack that can be mended in a hurry, by whoever has seconds and no more."""

    def hurry(self) -> None:
        """Start again what was broken, from now on, and do not wait until it serves."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done to a stack by those who run it.

    ``target``: what kind of thing it is done to, empty for nothing in particular. ``undo``: the
    action that takes it back, empty when it leaves nothing behind.
    """

    name: str
    does: str
    target: str = ""
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Something that a stack wants a person to look into. ``body``: all that it says about it."""

    id: str
    title: str
    opened_wall_s: float
    is_open: bool
    body: Json


@runtime_checkable
class Operable(Protocol):
    """The stack has a control plane, which people can tell what to do; everything is audited."""

    def actions(self) -> Sequence[Action]:
        """Everything that it can be told to do."""

    async def do(self, action: str, target: str, who: str, why: str) -> int:
        """Have it do something, once; returns the number of the entry in its audit trail.

        Raises ``ValueError`` when that is no action or no target of it, ``Refused`` when it would
        do harm, and ``StackError`` when it failed.
        """


@runtime_checkable
class Ticketing(Protocol):
    """The stack opens tickets for people, and waits for them."""

    async def tickets(self) -> Sequence[Ticket]:
        """Every ticket, oldest first."""

    async def close_ticket(self, ticket: str, who: str, why: str) -> None:
        """Close one. Raises ``ValueError`` when there is no such open ticket."""


CacheMode = Literal["bit_flip", "wrong_entity", "stale_fresh", "flush"]


@dataclass(frozen=True, slots=True)
class CacheRule:
    """What a broken writer does to the prediction cache, and to which entities' entries.

    ``bit_flip``: the bit that holds the answer is flipped. ``wrong_entity``: another entity's entry
    lies under the key. ``stale_fresh``: an answer from features long gone, whole by every check,
    with the time of now. ``flush``: entries are deleted as they come.
    """

    mode: CacheMode
    fraction: float
    salt: str

    def hits(self, entity: str) -> bool:
        """Say whether this entity's entry is spoilt."""
        return chosen(entity, self.fraction, self.salt)

    def to_json(self) -> Json:
        """Carry it to another process."""
        return {"mode": self.mode, "fraction": self.fraction, "salt": self.salt}

    @classmethod
    def from_json(cls, body: Json) -> "CacheRule":
        """Read it back."""
        return cls(body["mode"], body["fraction"], body["salt"])


@runtime_checkable
class CacheCorruptible(Protocol):
    """Answers are cached where another writer than the gateway can write, too."""

    async def cache_permit(self) -> Json:
        """Return the permit that ``corrupt_cache`` asks for; only reads. Mending voids it."""

    async def corrupt_cache(self, rule: CacheRule, permit: Json) -> None:
        """Keep writing entries by ``rule``, over what the gateway writes, until it is mended.

        Returns before that has begun, so that the instant when it does can be seen.

        What does this holds a lease of its own: without the harness it stops and deletes them.
        """

    async def mend_cache(self) -> None:
        """Void every permit, stop what corrupts the cache, and delete every entry that fails
        recomputation. Does nothing to a healthy cache.
        """

    async def corrupted_share(self, rule: CacheRule) -> tuple[float, int]:
        """Read the cache: of the entries about to be used that ``rule`` hits, the share that fails
        recomputation (that is gone, for a flush), and how many were looked at.
        """


@runtime_checkable
class Killable(Protocol):
    """Nodes are processes that can be killed without warning, and started again."""

    async def killable(self, nodes: Sequence[Node]) -> Json:
        """Return the permit that ``kill`` asks for; only reads. Mending these nodes voids it.

        Raises ``ValueError`` for a node that is no process which can be killed here.
        """

    async def kill(self, nodes: Sequence[Node], permit: Json) -> None:
        """Kill them (SIGKILL), and again whatever starts in their place, until they are mended.

        What does this holds a lease of its own: without the harness it stops and starts them again.
        """

    async def start_again(self, nodes: Sequence[Node]) -> None:
        """Void every permit for these nodes, stop what kills them, and start those that are dead,
        at the addresses they had; returns once they serve. Does nothing to nodes that run.
        """

    async def running(self, nodes: Sequence[Node]) -> Mapping[Node, bool]:
        """Say of each node whether its process is there; cheap."""


@runtime_checkable
class Pausable(Protocol):
    """Nodes are processes that can be stopped and continued, as SIGSTOP and SIGCONT do."""

    async def pausable(self, nodes: Sequence[Node]) -> Json:
        """Return the permit that ``pause`` asks for; only reads. Mending these nodes voids it.

        Raises ``ValueError`` for a node that is no process which can be stopped here.
        """

    async def pause(self, nodes: Sequence[Node], share: float, permit: Json) -> None:
        """Keep them stopped for ``share`` (0 to 1) of every second, all at the same time.

        What does this holds a lease of its own: without the harness it lets them go on.
        """

    async def resume(self, nodes: Sequence[Node]) -> None:
        """Void every permit for these nodes, stop what pauses them, and let them go on. Does
        nothing to nodes that run.
        """

    async def pausing(self, nodes: Sequence[Node]) -> bool:
        """Say whether these nodes are being paused, be it that they run at this instant; cheap."""


@runtime_checkable
class Throttleable(Protocol):
    """Nodes compute on devices whose clocks or power limit can be set, or which can be shared."""

    def devices(self) -> DeviceKind | None:
        """Say whether the devices are real ones, virtual ones, or none. Known before it is up."""

    async def throttleable(self, nodes: Sequence[Node]) -> Json:
        """Return the permit that ``throttle`` asks for; only reads. Mending these nodes voids it.

        Raises ``ValueError`` for a node that uses no device.
        """

    async def throttle(self, nodes: Sequence[Node], how: Throttle, permit: Json) -> None:
        """Make the devices of these nodes slow, until they are mended.

        What does this saves the settings first, durably, and holds a lease of its own: without the
        harness it sets them back.
        """

    async def throttled(self, nodes: Sequence[Node], how: Throttle) -> bool:
        """Read back whether all these devices are set, or shared, like that; cheap."""

    async def unthrottle(self, nodes: Sequence[Node]) -> None:
        """Void every permit for these nodes, stop what makes their devices slow, and set back what
        was set. Touches nothing that was not set by ``throttle``.
        """
