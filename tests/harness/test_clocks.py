import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from harness.run import clocks

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=clocks.loop_factory(True)) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_time_starts_at_zero_and_leaps_to_the_timer_exactly() -> None:
    async def main() -> list[float]:
        seen = [now()]
        for pause_s in (0.1, 3600.0, 0.0, 1e-9):
            await asyncio.sleep(pause_s)
            seen.append(now())
        return seen

    assert run(main()) == [0.0, 0.1, 3600.1, 3600.1, 3600.1 + 1e-9]


def test_timers_due_at_one_instant_run_in_the_order_they_were_set() -> None:
    order: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(200):
            loop.call_at(1.0, order.append, number)
        await asyncio.sleep(2)

    run(main())
    assert order == list(range(200))


def test_what_is_ready_now_runs_before_what_is_due_later() -> None:
    order: list[str] = []

    async def worker(name: str, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        order.append(name)

    async def main() -> None:
        await asyncio.gather(worker("late", 0.2), worker("soon", 0.1), worker("now", 0))

    run(main())
    assert order == ["now", "soon", "late"]


def test_a_timeout_is_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(86_400):
                await asyncio.Event().wait()
        return now()

    assert run(main()) == 86_400


def test_a_deadlock_is_raised_and_its_tasks_are_cancelled() -> None:
    cleaned: list[bool] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)  # a finaliser may still wait
            cleaned.append(True)

    with pytest.raises(clocks.Stuck, match="nobody will do"):
        run(main())
    assert cleaned == [True]


def test_cancelled_timers_do_not_hide_a_deadlock() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.Event().wait()

    with pytest.raises(clocks.Stuck, match="at 0.0"):
        run(main())


def test_a_loop_that_polls_without_waiting_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "STANDSTILL", 1000)

    async def main() -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0)

    with pytest.raises(clocks.Stuck, match="polls"):
        run(main())


def test_many_callbacks_are_fine_as_long_as_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "STANDSTILL", 100)

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0.5)
        return now()

    assert run(main()) == 500


def test_cancelled_timers_are_swept_out() -> None:
    async def main() -> tuple[int, list[int]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clocks.VirtualTimeLoop)
        kept: list[int] = []
        for number in range(20_000):
            handle = loop.call_later(100, kept.append, number)
            if number % 1000:
                handle.cancel()
        litter = len(loop._timers)
        await asyncio.sleep(200)
        return litter, kept

    litter, kept = run(main())
    assert litter < 5000
    assert kept == list(range(0, 20_000, 1000))


def test_finished_sleeps_are_not_taken_for_cancelled_timers() -> None:
    async def main() -> int:
        for _ in range(100):
            await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, clocks.VirtualTimeLoop)
        return loop._cancelled_timers

    assert run(main()) == 0


def test_a_timer_cancelled_at_its_own_instant_does_not_run() -> None:
    ran: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handle = asyncio.TimerHandle(0, print, (), loop)
        loop.call_at(1, lambda: handle.cancel())
        handle = loop.call_at(1, ran.append, "cancelled one")
        await asyncio.sleep(2)

    run(main())
    assert ran == []


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda: asyncio.to_thread(print),
        lambda: asyncio.open_connection("127.0.0.1", 1),
        lambda: asyncio.start_server(lambda *_: None, "127.0.0.1", 0),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
    ],
    ids=["thread", "connection", "server", "process", "name"],
)
def test_the_world_outside_is_refused_by_name(forbidden: Any) -> None:
    async def main() -> None:
        await forbidden()

    with pytest.raises(clocks.NotSimulated, match="real time"):
        run(main())


def test_a_reader_and_a_signal_handler_are_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            with pytest.raises(clocks.NotSimulated):
                loop.add_reader(sock, print)
            with pytest.raises(clocks.NotSimulated):
                await loop.sock_recv(sock, 1)
        with pytest.raises(clocks.NotSimulated):
            loop.add_signal_handler(2, print)

    run(main())


def test_only_the_own_thread_may_call_in() -> None:
    errors: list[BaseException] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()

        def from_outside() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except clocks.NotSimulated as error:
                errors.append(error)

        thread = threading.Thread(target=from_outside)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(future.set_result, "as a signal handler does")
        return await future

    assert run(main()) == "as a signal handler does"
    assert len(errors) == 1


def test_real_time_is_the_ordinary_loop() -> None:
    loop = clocks.loop_factory(False)()
    loop.close()
    assert not isinstance(loop, clocks.VirtualTimeLoop)


TRACE = """
import asyncio, random
from harness.run import clocks
rng, out = random.Random(7), []
async def worker(name):
    for _ in range(50):
        await asyncio.sleep(rng.choice([0, 0.1, 0.25]))
        out.append((asyncio.get_running_loop().time(), name))
async def main():
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(worker(number))
with asyncio.Runner(loop_factory=clocks.loop_factory(True)) as runner:
    runner.run(main())
print(out)
"""


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    digests = set()
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", TRACE],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            check=True,
        )
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1
