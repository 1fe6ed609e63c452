import asyncio
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from fixtures.serving.cache import CacheRules, PredictionCache
from fixtures.serving.cache_audit import CacheAuditor, Opinion
from fixtures.serving.coalesce import Coalescer
from fixtures.serving.entries import (
    ANSWER_AT,
    EPOCH_KEY,
    Cached,
    decode,
    encode,
    judge,
    prediction_key,
)

NOW_S = 1_700_000_000.0
ANSWER = Cached("f301122", "3f2a", True, 0.75, NOW_S)
NAMES = st.text(min_size=1, max_size=40)


def outcome(
    raw: bytes | None, *, flight: str = "f301122", version: str = "3f2a", **more: Any
) -> str:
    rules = {"now_s": NOW_S + 1.0, "max_age_s": 15.0} | more
    return judge(raw, flight, version, **rules)[0]


@given(
    NAMES, NAMES, st.booleans(), st.floats(0, 1, width=32), st.floats(0, 4e9)
)  # fmt: skip
def test_what_is_laid_out_is_read_again(
    flight: str, version: str, late: bool, score: float, at_s: float
) -> None:
    answer = Cached(flight, version, late, score, at_s)
    assert decode(encode(answer)) == answer


@given(st.integers(0, 8 * len(encode(ANSWER)) - 1))
def test_any_single_flipped_bit_is_found(bit: int) -> None:
    raw = bytearray(encode(ANSWER))
    raw[bit // 8] ^= 1 << bit % 8
    assert outcome(bytes(raw)) == "corrupt"


@given(st.binary(max_size=120))
def test_what_is_no_entry_is_corrupt_and_nothing_worse(raw: bytes) -> None:
    for checksums in (True, False):
        assert outcome(raw, checksums=checksums) in ("corrupt", "stale")


def test_the_checks_tell_what_is_wrong() -> None:
    raw = encode(ANSWER)
    assert outcome(raw) == "hit"
    assert outcome(None) == "miss"
    assert outcome(raw, flight="f301123") == "wrong_entity"
    assert outcome(raw, version="beef") == "wrong_version"
    assert outcome(raw, now_s=NOW_S + 16) == "stale"
    assert outcome(raw, now_s=NOW_S - 2) == "stale", "from a time that has not come"


def test_the_checksum_covers_the_entity_the_version_and_the_time() -> None:
    """None of them can be exchanged for another of the same length."""
    raw = encode(ANSWER)
    for other in (
        Cached("f301123", "3f2a", True, 0.75, NOW_S),
        Cached("f301122", "3f2b", True, 0.75, NOW_S),
        Cached("f301122", "3f2a", True, 0.75, NOW_S + 1),
        Cached("f301122", "3f2a", False, 0.75, NOW_S),
        Cached("f301122", "3f2a", True, 0.25, NOW_S),
    ):
        assert outcome(encode(other)[:-8] + raw[-8:]) == "corrupt"


def test_without_checksums_an_entry_is_trusted_to_be_what_its_key_says() -> None:
    raw = bytearray(encode(ANSWER))
    raw[ANSWER_AT] ^= 1
    trusted, found = judge(
        bytes(raw), "f1", "v1", now_s=NOW_S + 1, max_age_s=15.0, checksums=False
    )  # fmt: skip
    assert trusted == "hit" and found is not None and found.late is False
    assert outcome(bytes(raw), now_s=NOW_S + 16, checksums=False) == "stale"


class FakeRedis:
    """Holds keys; ``down``: refuses."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.down = False

    async def get(self, key: str) -> bytes | None:
        if self.down:
            raise RedisConnectionError("refused")
        return self.keys.get(key)

    async def set(self, key: str, value: bytes | int, ex: int | None = None) -> None:
        self.keys[key] = value if isinstance(value, bytes) else b"%d" % value

    async def incr(self, key: str) -> int:
        self.keys[key] = b"%d" % (int(self.keys.get(key, b"0")) + 1)
        return int(self.keys[key])


def cache_of(
    redis: FakeRedis, registry: CollectorRegistry | None = None, *, first: bool = True
) -> PredictionCache:
    rules = CacheRules(first=first, checksums=True, max_age_s=15.0, keep_s=30)
    return PredictionCache(
        cast(Redis, redis), registry or CollectorRegistry(), rules, timeout_s=1.0
    )


def test_a_cache_answers_first_only_if_it_is_to_and_is_not_bypassed() -> None:
    async def look() -> None:
        redis = FakeRedis()
        cache = cache_of(redis)
        await cache.write("f1", "v1", True, 0.75)
        assert await cache.first("f1", "v1") and await cache.instead("f1", "v1")
        assert await cache.first("f1", "v2") is None
        cache.bypass(True)
        assert await cache.first("f1", "v1") is None and await cache.instead("f1", "v1") is None
        assert await cache.read("f1", "v1"), "an auditor still sees it"
        last_resort = cache_of(redis, first=False)
        assert await last_resort.first("f1", "v1") is None
        assert await last_resort.instead("f1", "v1")

    asyncio.run(look())


def test_an_older_answer_is_a_fallback_and_no_first_answer() -> None:
    async def look() -> None:
        redis = FakeRedis()
        old = Cached("f1", "v1", True, 0.75, time.time() - 20)
        redis.keys[prediction_key(0, "f1", "v1")] = encode(old)
        cache = cache_of(redis)
        assert await cache.first("f1", "v1") is None
        assert await cache.instead("f1", "v1") == old

    asyncio.run(look())


def test_invalidation_makes_every_entry_unreachable_for_all_gateways() -> None:
    async def look() -> None:
        redis = FakeRedis()
        one, other = cache_of(redis), cache_of(redis)
        await one.write("f1", "v1", True, 0.75)
        assert await other.first("f1", "v1")
        assert await one.invalidate() == 1
        following = asyncio.create_task(other.follow_epoch())
        async with asyncio.timeout(10):
            while other.epoch != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()
        for cache in (one, other):
            assert await cache.first("f1", "v1") is None

    asyncio.run(look())


def test_a_redis_that_has_forgotten_the_epoch_is_told_and_invalidation_still_works() -> None:
    async def look() -> None:
        redis = FakeRedis()
        cache = cache_of(redis)
        for _ in range(3):
            await cache.invalidate()
        redis.keys.clear()  # FLUSHALL, or a restart: nothing is on its disk
        await cache.write("f1", "v1", True, 0.75)
        assert await cache.first("f1", "v1")
        assert await cache.invalidate() == 4 and redis.keys[EPOCH_KEY] == b"4"
        assert await cache.first("f1", "v1") is None
        redis.keys.clear()
        following = asyncio.create_task(cache.follow_epoch())
        async with asyncio.timeout(10):
            while redis.keys.get(EPOCH_KEY) != b"4":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(look())


def test_reads_are_counted_by_what_came_of_them() -> None:
    async def look() -> None:
        redis, registry = FakeRedis(), CollectorRegistry()
        cache = cache_of(redis, registry)
        await cache.write("f1", "v1", True, 0.75)
        redis.keys[prediction_key(0, "f2", "v1")] = redis.keys[prediction_key(0, "f1", "v1")]
        redis.keys[prediction_key(0, "f3", "v1")] = b"nonsense"
        for flight in ("f1", "f2", "f3", "f4"):
            await cache.read(flight, "v1")
        redis.down = True
        await cache.read("f1", "v1")
        counts = {
            o: registry.get_sample_value("gateway_cache_reads_total", {"outcome": o})
            for o in ("hit", "wrong_entity", "corrupt", "miss", "error", "stale")
        }
        assert counts == dict.fromkeys(counts, 1.0) | {"stale": 0.0}

    asyncio.run(look())


def audits(given_: Opinion, other: Opinion | None, *, cached: bool) -> dict[str, float | None]:
    """Have one answer looked at; return the counts."""
    registry, redis = CollectorRegistry(), FakeRedis()
    cache = cache_of(redis)

    async def ask(flight: str) -> Opinion | None:
        return other

    async def look() -> None:
        if not cached and other is not None:
            await cache.write("f1", other.version, other.late, other.score)
        auditor = CacheAuditor(cache, ask, registry, every=2)
        auditor.note("f1", given_, cached=cached)
        auditor.note("f1", given_, cached=cached)  # every second one
        running = asyncio.create_task(auditor.run())
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()

    asyncio.run(look())
    return {
        o: registry.get_sample_value("gateway_cache_audits_total", {"outcome": o})
        for o in ("agree", "disagree", "unknown")
    }


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("other", "seen"),
    [
        (Opinion("v1", True, 0.75), "agree"),
        (Opinion("v1", False, 0.25), "disagree"),
        (Opinion("v1", True, 0.95), "disagree"),  # the same answer, for another reason
    ],
)
def test_an_auditor_holds_cache_and_model_against_each_other(
    other: Opinion, seen: str, cached: bool
) -> None:
    none = dict.fromkeys(("agree", "disagree", "unknown"), 0.0)
    assert audits(Opinion("v1", True, 0.75), other, cached=cached) == none | {seen: 1.0}


def test_what_cannot_be_compared_is_no_disagreement() -> None:
    mine = Opinion("v1", True, 0.75)
    assert audits(mine, None, cached=True)["unknown"] == 1.0
    assert audits(mine, Opinion("v2", False, 0.1), cached=True)["unknown"] == 1.0
    assert set(audits(mine, None, cached=False).values()) == {0.0}, "the cache has no entry"


def test_one_callers_failure_is_not_anothers() -> None:
    async def look() -> None:
        coalescer = Coalescer[str](on=True)
        started = asyncio.Event()

        async def fails() -> str:
            started.set()
            await asyncio.sleep(0)
            raise ValueError("the first one's own")

        async def works() -> str:
            return "an answer"

        first = asyncio.create_task(coalescer.once("f1", fails))
        await started.wait()
        assert await coalescer.once("f1", works) == ("an answer", False)
        with pytest.raises(ValueError, match="the first one's own"):
            await first
        assert await coalescer.once("f1", works) == ("an answer", False), "nothing is left behind"

    asyncio.run(look())


def test_a_follower_who_goes_away_does_not_take_the_answer_along() -> None:
    async def look() -> None:
        coalescer = Coalescer[str](on=True)
        ready = asyncio.Event()

        async def slow() -> str:
            await ready.wait()
            return "an answer"

        first = asyncio.create_task(coalescer.once("f1", slow))
        second, third = (asyncio.create_task(coalescer.once("f1", slow)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        ready.set()
        assert await first == ("an answer", False)
        assert await third == ("an answer", True)

    asyncio.run(look())
