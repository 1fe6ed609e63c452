"""A prediction cache that answers, at once, with what is not so.

A job that keeps the cache warm runs on yesterday's features; a hash of the key loses a digit and
two passengers get each other's answer; a stuck line on a memory bus flips a bit; somebody types
FLUSHALL. The cache is the one part that answers without asking anybody, so nothing downstream can
tell: every request succeeds, and faster than ever. Good looks like entries that say what they are
an answer to and are believed only if they match; a second opinion on a few of them, for what was
written whole and is wrong; a bypass that leaves the models to answer by themselves while the cache
cannot be trusted, and models that stand the load when it is empty.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness import (
    CacheCorruptible,
    CacheMode,
    CacheRule,
    Defence,
    Evidence,
    Node,
    Undo,
    Window,
    fault,
    param,
)

IN_FORCE_SHARE = 0.9  # of the entries hit; the rest may have been written just before
FLUSHED_SHARE = 0.7  # the gateway writes them again and again
MOSTLY = 0.9  # of the answers
ENOUGH = 5  # entries to look at before believing a share


@fault
@dataclass(frozen=True, slots=True)
class CorruptCache:
    """Entries of the prediction cache are overwritten with wrong ones, or deleted, as they come."""

    severities: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"fraction": 0.01},
        {"fraction": 0.05},
        {"fraction": 0.20},
        {"fraction": 0.50},
        {"fraction": 1.00},
    )
    roles: ClassVar[tuple[str, ...]] = ("store",)
    defences: ClassVar[tuple[Defence, ...]] = (
        Defence(
            "alert CacheDisagrees",
            "detection",
            "it computes a few cached answers again: an old answer passes every other check",
        ),
        Defence(
            "runbook bypass_cache",
            "mitigation",
            "it has the models answer while something keeps writing wrong entries",
        ),
        Defence(
            "cache_checksums",
            "correctness",
            "an entry of another entity or with a flipped bit is a miss, and not an answer",
        ),
        Defence(
            "alert CacheCorrupt",
            "detection",
            "entries that fail their check hurt nobody yet, and say that something writes them",
        ),
        Defence(
            "coalesce",
            "availability",
            "what everybody asks about after a flush is computed once",
        ),
    )

    mode: CacheMode = param(
        "stale_fresh",
        "bit_flip: the bit that holds the answer; wrong_entity: another entity's entry under the "
        "key; stale_fresh: an answer from features long gone, with the time of now and whole by "
        "every check; flush: deleted as they come",
    )
    fraction: float = param(
        0.5, "share of entities hit, chosen by a seeded hash of their id", ge=0.005, le=1
    )
    salt: str = param("1", "seed of the hash that chooses the entities")

    @property
    def traffic_share(self) -> float:
        """The share of requests it can touch, for the limits on the blast radius."""
        return self.fraction

    async def prepare(self, target: CacheCorruptible, nodes: Sequence[Node]) -> Undo:
        """Ask leave to write to the cache; the leave ends with the next heal."""
        return {"permit": await target.cache_permit()}

    async def inject(self, target: CacheCorruptible, nodes: Sequence[Node], undo: Undo) -> None:
        """Have a broken writer write, over what the gateway writes."""
        await target.corrupt_cache(self._rule(), undo["permit"])

    async def verify(self, target: CacheCorruptible, nodes: Sequence[Node]) -> bool:
        """In force once the entries about to be used are wrong, or gone."""
        share, looked_at = await target.corrupted_share(self._rule())
        line = FLUSHED_SHARE if self.mode == "flush" else IN_FORCE_SHARE
        return looked_at >= ENOUGH and share >= line

    async def heal(
        self, target: CacheCorruptible, nodes: Sequence[Node], undo: Undo | None
    ) -> None:
        """Stop what writes, and delete what it wrote: a miss is never wrong."""
        await target.mend_cache()

    def evidence(self, before: Window, during: Window) -> Evidence:
        """The harness's own probes read entries: they must have been wrong, or gone.

        The answers are told beside it and decide nothing: a stack that checks its entries, or does
        not use them, answers well. What has no entry counts only while the same version of the
        champion answers as before, from whole features: nothing else is kept under these keys.
        """
        if self.mode == "flush":
            probe, what, versions = "cache_cold", "had no entry", _versions(before)
            usual, now = _mean(before, probe, versions), _mean(during, probe, versions)
        else:
            probe, what = "cache_wrong", "held an entry that was wrong"
            usual, now = _mean(before, probe), _mean(during, probe)
        if usual is None or now is None:
            return Evidence(False, f"there is no reading of {probe} both before and during")
        return Evidence(
            now - usual >= self.fraction / 2,
            f"{now:.1%} of the entities about to be asked for {what}, {usual:.1%} before; "
            f"{self.fraction:.1%} of entities were hit; {_otherwise(during)} of the champion's "
            f"answers were not the golden ones, {_otherwise(before)} before",
        )

    def _rule(self) -> CacheRule:
        return CacheRule(self.mode, self.fraction, self.salt)


def _mean(window: Window, probe: str, versions: Collection[bytes] = ()) -> float | None:
    """The mean of a probe; with ``versions``, of when these versions of the champion answered."""
    found = [
        sample.value
        for sample in window.samples
        if sample.probe == probe and (not versions or _answer(window, sample.t, versions))
    ]
    return sum(found) / len(found) if found else None


def _answer(window: Window, at_s: float, versions: Collection[bytes]) -> bool:
    """Whether most answers of the second before were such as are kept, of these versions."""
    rows = window.requests.between(at_s - 1.0, at_s).rows
    own = (rows["model"] == b"champion") & (rows["fallback"] == b"none") & (rows["mask"] <= 0)
    by_these = sum(version in versions for version in rows["version"][own].tolist())
    return len(rows) > 0 and by_these >= MOSTLY * len(rows)


def _versions(window: Window) -> set[bytes]:
    rows = window.requests.rows
    return set(rows["version"][rows["model"] == b"champion"].tolist())


def _otherwise(window: Window) -> str:
    rows, golden = window.requests.rows, window.requests.golden
    asked = (rows["model"] == b"champion") & (rows["prediction"] >= 0)
    return f"{(rows['prediction'] != golden)[asked].mean():.1%}" if asked.any() else "none"
