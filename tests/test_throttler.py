"""What makes devices slow, against a real device process: leases, permits, debts, co-tenants."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from fixtures.serving.device import physics
from fixtures.stacks import _cotenants, _fences, _nodes, _throttler
from fixtures.stacks._gpus import KIND, Gpus
from fixtures.stacks._nodes import Nodes
from fixtures.stacks._processes import Processes
from fixtures.stacks._settings import Layout
from harness import StackError, Throttle
from tests.serving.rig import TOKEN, listening

LEASE_S = 1.0
ONE, BOTH = ("replica-0",), ("replica-0", "replica-1")


class Bench:
    """A folder as a stack's, a device process, and what throttles its devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder, f"throttler-{os.getpid()}")
        bound, where = listening()
        with bound:
            os.set_inheritable(bound.fileno(), True)
            config = folder / "gpus.json"
            told = {"name": "gpus", "token": TOKEN, "fd": bound.fileno(), "gpus": 2}
            config.write_text(json.dumps(told))
            argv = [sys.executable, "-m", "fixtures.serving.device.server", str(config)]
            self.processes.spawn("gpus", argv, fds=[bound.fileno()])
        self.layout = Layout(
            *(str(folder), "mark", TOKEN, "", 0, 0, {"gpus": where}, {}),
        )
        (folder / "attach.json").write_text("{}")
        self.nodes = Nodes(folder, self.processes, {}, {}, LEASE_S)
        self.gpus = Gpus(self.layout, self.nodes, "virtual", BOTH)

    async def break_it(self, how: Throttle, nodes: tuple[str, ...] = ONE) -> None:
        await self.gpus.throttle(nodes, how, self.gpus.permit(nodes))
        await self.until(lambda: self.gpus.throttled(nodes, how))

    async def until(self, check, within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not await check():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def whole(self) -> bool:
        return await self.gpus.fingerprint() == self.as_built

    def carrier(self) -> int:
        """The process id of what throttles."""
        (pid,) = [
            child.pid
            for name, child in self.processes.children.items()
            if name.startswith(KIND) and self.processes.alive(name)
        ]
        return pid


@pytest.fixture
def on(tmp_path):
    """Run a coroutine function with a bench, and leave no process behind."""

    def run(main) -> None:
        async def whole() -> None:
            bench = Bench(tmp_path)
            try:
                bench.as_built = await bench.gpus.fingerprint()
                await main(bench)
            finally:
                bench.nodes.close()
                await bench.processes.stop()

        asyncio.run(whole())

    return run


HOWS = [Throttle("clock", 0.1), Throttle("power", 0.5), Throttle("contention", 0.25)]


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.by)
def test_devices_are_slowed_and_mended_by_somebody_who_only_knows_the_folder(on, how):
    async def main(bench):
        await bench.break_it(how)
        assert not await bench.whole()
        assert not await bench.gpus.throttled(BOTH, how)  # the other one is left alone
        assert bench.gpus.permit(ONE) == {f"{KIND}-replica-0": 0}
        processes = Processes(bench.folder, f"throttler-{os.getpid()}")
        processes.adopt({n: c.to_json() for n, c in bench.processes.children.items()})
        stranger = Gpus(
            bench.layout, Nodes(bench.folder, processes, {}, {}, LEASE_S), "virtual", BOTH
        )
        for _ in range(2):
            await stranger.unthrottle(BOTH)
            assert await bench.whole()
        assert not await bench.gpus.throttled(ONE, how)

    on(main)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.by)
def test_without_renewals_what_throttles_sets_everything_back_by_itself(on, how):
    async def main(bench):
        await bench.break_it(how, BOTH)
        bench.nodes.close()  # nobody renews any more
        await bench.until(bench.whole)

    on(main)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.by)
def test_what_throttles_may_be_killed_and_the_debt_is_still_known(on, how):
    async def main(bench):
        await bench.break_it(how)
        os.kill(bench.carrier(), signal.SIGKILL)
        if how.by != "contention":  # whose work is gone with it
            assert _throttler.owed(bench.folder) == [0]
        await bench.gpus.unthrottle(ONE)
        assert await bench.whole()

    on(main)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: how.by)
def test_a_look_before_the_harm_is_possible_however_long_its_carrier_takes_to_start(on, how):
    async def main(bench):
        await bench.gpus.throttle(ONE, how, bench.gpus.permit(ONE))
        assert not await bench.gpus.throttled(ONE, how)
        await bench.until(lambda: bench.gpus.throttled(ONE, how))

    on(main)


def test_a_carrier_that_was_ready_and_not_let_loose_does_nothing(on, monkeypatch):
    async def main(bench):
        monkeypatch.setattr(_nodes, "HELD_BACK_S", 60)
        await bench.gpus.throttle(ONE, HOWS[0], bench.gpus.permit(ONE))
        bench.nodes.close()

        async def ended():
            return not any(n.startswith(KIND) and bench.processes.alive(n) for n in names)

        names = list(bench.processes.children)
        await bench.until(ended)
        assert await bench.whole() and _throttler.owed(bench.folder) == []

    on(main)


def test_a_setting_of_before_comes_back_and_an_older_debt_is_not_forgotten(on):
    async def main(bench):
        with _throttler.opened(bench.layout.servers["gpus"], TOKEN) as nvml:
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            nvml.nvmlDeviceSetPowerManagementLimit(gpu, 250_000)  # an operator's choice
        bench.as_built = await bench.gpus.fingerprint()
        for how in (Throttle("power", 0.5), Throttle("power", 0.2), Throttle("clock", 0.3)):
            await bench.break_it(how)
            os.kill(bench.carrier(), signal.SIGKILL)
        await bench.gpus.unthrottle(ONE)
        assert await bench.whole()

    on(main)


def test_a_void_permit_throttles_nothing_and_one_that_is_voided_ends_it(on):
    async def main(bench):
        permit = bench.gpus.permit(ONE)
        await bench.gpus.unthrottle(ONE)
        with pytest.raises(StackError, match="no leave"):
            await bench.gpus.throttle(ONE, HOWS[0], permit)
        assert await bench.whole()
        await bench.break_it(HOWS[0])
        _fences.void(bench.folder, KIND, ONE)
        await bench.until(bench.whole)

    on(main)


def test_mending_says_what_to_do_when_the_device_cannot_be_reached(on):
    async def main(bench):
        await bench.break_it(HOWS[0])
        gpus = bench.processes.children["gpus"]
        gpus.signal(signal.SIGKILL)
        with pytest.raises(StackError, match="by hand"):
            await bench.gpus.unthrottle(ONE)
        assert _throttler.owed(bench.folder) == [0]

    on(main)


def test_nothing_that_was_not_set_is_touched(on):
    async def main(bench):
        with _throttler.opened(bench.layout.servers["gpus"], TOKEN) as nvml:
            gpu = nvml.nvmlDeviceGetHandleByIndex(0)
            nvml.nvmlDeviceSetGpuLockedClocks(gpu, 1000, 1000)
        locked = await bench.gpus.fingerprint()
        await bench.gpus.unthrottle(BOTH)
        assert await bench.gpus.fingerprint() == locked

    on(main)


@pytest.mark.parametrize(("share", "count"), [(0.1, 9), (0.25, 3), (0.5, 1), (0.7, 1), (0.9, 1)])
def test_so_many_co_tenants_leave_that_share(share, count):
    found, duty = _cotenants.needed(share)
    assert found == count and 0 < duty <= 1
    assert 1 - duty * found / (found + 1) == pytest.approx(share)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.25, 0.1])
def test_a_virtual_device_under_that_many_leaves_that_share(share):
    count, duty = _cotenants.needed(share)
    gpu, took = physics.Gpu(0.0), []
    period_s, until_s = _cotenants.PERIOD_S, 40.0
    while gpu.now_s < until_s:
        for tenant in range(count):
            gpu.submit(tenant, duty * period_s / max(1, duty * count), gpu.now_s, lambda _: None)
        for _ in range(2):
            gpu.submit("us", 0.0005, gpu.now_s, took.append)
            gpu.advance(gpu.now_s + period_s / 2)
    measured = 0.0005 / (sum(took) / len(took))
    assert measured == pytest.approx(share, rel=0.35)


def test_a_limit_is_read_back_in_milliwatts_and_a_clock_in_steps():
    class Nvml:
        NVML_CLOCK_SM = 1

        def __getattr__(self, name):
            return lambda *_: {
                "nvmlDeviceGetPowerManagementLimitConstraints": [200_000, 700_000],
                "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
                "nvmlDeviceGetMaxClockInfo": 1980,
                "nvmlDeviceGetClockInfo": 1005,  # the step above 990
                "nvmlDeviceGetPowerManagementLimit": 450_000,
            }.get(name)

    assert _throttler.target_mw(Nvml(), None, 0.5) == 450_000
    assert _throttler.is_set(Nvml(), 0, "power", 0.5)
    assert not _throttler.is_set(Nvml(), 0, "power", 0.6)
    assert _throttler.is_set(Nvml(), 0, "clock", 0.5)
    assert not _throttler.is_set(Nvml(), 0, "clock", 0.4)


def test_the_library_is_given_back_whatever_happens():
    import pynvml

    with contextlib.suppress(pynvml.NVMLError), _throttler.opened("127.0.0.1:9", ""):
        raise AssertionError("nobody listens there")
    assert pynvml.nvmlLib is None
