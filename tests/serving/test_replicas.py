import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from fixtures.serving import v2
from fixtures.serving.asgi import DEADLINE, nobody_waits
from fixtures.serving.balancing import LastInService, Rules
from fixtures.serving.budget import BudgetSettings
from fixtures.serving.outliers import OutlierSettings
from fixtures.serving.replicas import Pool, ReplicaFailure, Scored
from tests.serving.rig import free_address

PATIENT = Rules(breaker=False, outliers=OutlierSettings(for_s=60.0, longest_s=60.0))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def well(_: web.Request) -> web.Response:
    return web.Response(body=v2.response("champion", "v1", "r", v2.answer([True], [0.75])))


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=500, body=b"{}")


async def hung(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def no_score(_: web.Request) -> web.Response:
    return web.Response(body=b'{"outputs":[{"name":"score","data":[null]}]}')


def pool_of(*nodes: str) -> Pool:
    """Make a pool that is asked nothing."""
    replicas = dict.fromkeys(nodes, "127.0.0.1:1")
    return Pool(None, replicas, CollectorRegistry(), timeout_s=1.0, rules=Rules())  # type: ignore[arg-type]


def with_pool(
    body: Callable[[Pool, dict[str, int]], Coroutine[Any, Any, None]],
    *handlers: Handler | None,
    clock: Callable[[], float] | None = None,
    timeout_s: float = 5.0,
    rules: Rules = PATIENT,
) -> None:
    """Run ``body`` with a pool of one replica a handler; None is one that nobody listens for."""

    async def run() -> None:
        asked: dict[str, int] = {}
        runners, replicas = [], {}
        for number, handler in enumerate(handlers):
            node = f"replica-{number}"
            replicas[node] = free_address()
            asked[node] = 0
            if handler is None:
                continue

            async def count(
                request: web.Request, handler: Handler = handler, node: str = node
            ) -> web.StreamResponse:
                asked[node] += 1
                return await handler(request)

            app = web.Application()
            app.router.add_post("/v2/models/champion/infer", count)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            port = int(replicas[node].rpartition(":")[2])
            await web.TCPSite(runner, "127.0.0.1", port).start()
            runners.append(runner)
        async with aiohttp.ClientSession() as session:
            pool = Pool(
                *(session, replicas, CollectorRegistry()),
                timeout_s=timeout_s,
                rules=rules,
                clock=clock or asyncio.get_running_loop().time,
            )
            await body(pool, asked)
        for runner in runners:
            await runner.cleanup()

    asyncio.run(run())


async def infer(pool: Pool, deadline_s: float = 30.0) -> Scored:
    now_s = pool._clock()
    return await pool.infer("champion", [1.0, 2.0], "r-1", deadline_s=now_s + deadline_s)


def test_replicas_are_asked_in_turn() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        assert {(await infer(pool)).node for _ in range(10)} == {"replica-0", "replica-1"}
        assert asked == {"replica-0": 5, "replica-1": 5}

    with_pool(body, well, well)


@pytest.mark.parametrize("bad", [broken, no_score, None], ids=["status", "malformed", "refused"])
def test_a_failed_call_is_tried_on_another_replica(bad: Handler | None) -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        for _ in range(4):
            assert await infer(pool) == Scored("replica-1", "v1", True, 0.75)

    with_pool(body, bad, well)


def test_a_hung_replica_costs_one_timeout_and_repels_traffic() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        answers = await asyncio.gather(*(infer(pool) for _ in range(20)))
        assert {answer.node for answer in answers} == {"replica-1"}
        before = asked["replica-0"]
        for _ in range(10):
            await infer(pool)
        assert asked["replica-0"] == before  # left out after three failures in a row

    with_pool(body, hung, well, timeout_s=0.3)


def test_an_ejected_replica_is_asked_again_after_its_time() -> None:
    now_s = 0.0
    state = {"handler": broken}

    async def moody(request: web.Request) -> web.StreamResponse:
        return await state["handler"](request)

    async def body(pool: Pool, asked: dict[str, int]) -> None:
        nonlocal now_s
        for _ in range(10):
            await infer(pool)
        assert asked["replica-0"] == 3
        state["handler"] = well
        now_s = 61.0
        assert {(await infer(pool)).node for _ in range(4)} == {"replica-0", "replica-1"}

    with_pool(body, moody, well, clock=lambda: now_s)


def test_failures_that_are_not_in_a_row_eject_nobody() -> None:
    turns = iter([broken, well] * 20)

    async def flaky(request: web.Request) -> web.StreamResponse:
        return await next(turns)(request)

    async def body(pool: Pool, asked: dict[str, int]) -> None:
        for _ in range(20):
            await infer(pool)
        assert asked["replica-0"] >= 9

    with_pool(body, flaky, well)


def test_when_all_replicas_fail_the_failure_says_whether_they_answered() -> None:
    async def answered(pool: Pool, asked: dict[str, int]) -> None:
        with pytest.raises(ReplicaFailure) as caught:
            await infer(pool)
        assert caught.value.answered
        assert asked == {"replica-0": 1, "replica-1": 1}

    async def silent(pool: Pool, asked: dict[str, int]) -> None:
        for _ in range(8):  # ejected replicas are still asked when there is no other
            with pytest.raises(ReplicaFailure) as caught:
                await infer(pool)
            assert not caught.value.answered

    with_pool(answered, broken, no_score)
    with_pool(silent, None, None)


def test_nothing_is_asked_after_the_deadline() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        with pytest.raises(ReplicaFailure):
            await infer(pool, deadline_s=0.0)
        assert asked == {"replica-0": 0}

    with_pool(body, well)


def test_a_drained_replica_is_asked_no_more_and_the_last_one_is_not_drained() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        pool.drain("replica-0", drained=True)
        assert {(await infer(pool)).node for _ in range(6)} == {"replica-1"}
        with pytest.raises(LastInService, match="replica-1 is the last replica in service"):
            pool.drain("replica-1", drained=True)
        pool.drain("replica-0", drained=True)  # twice is once
        assert pool.drained == ["replica-0"]
        pool.drain("replica-0", drained=False)
        assert {(await infer(pool)).node for _ in range(6)} == {"replica-0", "replica-1"}

    with_pool(body, well, well)


def test_an_ejected_replica_does_not_count_as_another_one_in_service() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        for _ in range(10):
            await infer(pool)
        with pytest.raises(LastInService):
            pool.drain("replica-1", drained=True)
        pool.drain("replica-0", drained=True)

    with_pool(body, broken, well)


def test_a_call_says_until_when_its_answer_is_of_use() -> None:
    said: list[float] = []

    async def listening(request: web.Request) -> web.Response:
        said.append(float(request.headers[DEADLINE]) - time.time())
        return await well(request)

    async def body(pool: Pool, asked: dict[str, int]) -> None:
        await infer(pool)  # the call's own limit, 5 s, comes first
        await infer(pool, deadline_s=2.0)
        assert 4.0 < said[0] <= 5.01 and 1.0 < said[1] <= 2.01

    with_pool(body, listening)


@pytest.mark.parametrize(
    ("header", "late"),
    [(b"1.5", True), (b"99999999999.25", False), (b"soon", False), (None, False)],
)
def test_what_nobody_waits_for_is_told_from_the_header(header: bytes | None, late: bool) -> None:
    headers = [(b"host", b"x")] + ([] if header is None else [(DEADLINE.encode(), header)])
    assert nobody_waits({"headers": headers}) == late


def test_retries_beyond_the_budget_are_not_made_and_are_counted() -> None:
    async def body(pool: Pool, asked: dict[str, int]) -> None:
        answered = 0
        for _ in range(40):
            try:
                await infer(pool)
                answered += 1
            except ReplicaFailure as failure:
                assert failure.answered
        assert sum(asked.values()) == 40 + 4
        assert answered == asked["replica-1"] < 40

    rules = Rules("round_robin", ejection=False, breaker=False, budget=BudgetSettings(0.0, 4))
    with_pool(body, broken, well, rules=rules)


def test_when_the_breakers_of_all_are_open_the_caller_is_told_at_once() -> None:
    now_s = 0.0

    async def body(pool: Pool, asked: dict[str, int]) -> None:
        nonlocal now_s
        for _ in range(10):
            with pytest.raises(ReplicaFailure):
                await infer(pool)
        before = dict(asked)
        with pytest.raises(ReplicaFailure) as caught:
            await infer(pool)
        assert asked == before and caught.value.answered
        pool.refresh()
        now_s = 2.5
        with pytest.raises(ReplicaFailure):
            await infer(pool)
        assert asked != before, "on trial"

    with_pool(body, broken, broken, clock=lambda: now_s, rules=Rules(ejection=False))
