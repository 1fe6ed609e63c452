import asyncio
from typing import Any, cast

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from fixtures.serving.events import EventStream


class FakeRedis:
    """Keeps what a pipeline would have sent; fails while ``down``."""

    def __init__(self) -> None:
        self.down = False
        self.entries: list[bytes] = []
        self.cache: dict[str, bytes] = {}
        self.round_trips = 0

    def pipeline(self, transaction: bool) -> "FakePipeline":
        return FakePipeline(self)


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._queued: list[tuple[str, Any]] = []

    def xadd(self, stream: str, fields: dict[str, bytes], **_: Any) -> None:
        self._queued.append(("xadd", fields["e"]))

    def set(self, key: str, value: bytes, *, ex: int) -> None:
        assert ex == 60
        self._queued.append((key, value))

    async def execute(self) -> None:
        if self._redis.down:
            raise RedisConnectionError("refused")
        self._redis.round_trips += 1
        for key, value in self._queued:
            if key == "xadd":
                self._redis.entries.append(value)
            else:
                self._redis.cache[key] = value


def fates(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "gateway_events_total"
    }


def test_events_are_written_in_batches_and_those_that_cannot_be_are_dropped_and_counted() -> None:
    async def story() -> None:
        redis, registry = FakeRedis(), CollectorRegistry()
        stream = EventStream(cast(Redis, redis), registry, stream="events", maxlen=10, queue=4)
        assert set(fates(registry).values()) == {0.0}
        for number in range(6):  # nobody writes yet: two too many
            stream.emit(b"%d" % number, cache_key=f"k{number}", cached=b"x", ttl_s=60)
        running = asyncio.create_task(stream.run())
        async with asyncio.timeout(20):
            while len(redis.entries) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (redis.entries, redis.round_trips) == ([b"0", b"1", b"2", b"3"], 1)
        assert redis.cache == {f"k{number}": b"x" for number in range(4)}
        redis.down = True
        stream.emit(b"lost")
        async with asyncio.timeout(20):
            while fates(registry)["dropped_write_failed"] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        redis.down = False
        stream.emit(b"found")
        async with asyncio.timeout(20):
            while redis.entries[-1] != b"found":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        expected = {"written": 5.0, "dropped_queue_full": 2.0, "dropped_write_failed": 1.0}
        assert fates(registry) == expected
        assert b"lost" not in redis.entries

    asyncio.run(story())
