"""Slow devices on the simulated stack: the three cases, what is done, how it is mended."""

import asyncio
import functools

import numpy as np
import pytest

from faults.throttle_gpu import ThrottleGpu
from fixtures.stacks.simulated import SimulatedStack
from harness import Node, Site, StackError, Throttle
from harness.model.events import Sampled
from harness.model.rows import ROW
from harness.model.window import Requests, Window
from tests.test_simulated_harm import BOTH, ONE, now_s, run, up
from tests.test_stack_simulated import Day, live

PLAIN = {"balancing": "round_robin", "ejection": False, "breaker": False}


@functools.cache
def day_of(by: str, share: float, plain: bool, **settings: object) -> Day:
    stack = SimulatedStack(**{**(PLAIN if plain else {}), **settings})  # type: ignore[arg-type]
    return live(stack, fault=_OnOne(ThrottleGpu(by=by, share=share)))  # type: ignore[arg-type]


class _OnOne:
    """The fault, on the first replica, whatever nodes it is given."""

    def __init__(self, fault: ThrottleGpu) -> None:
        self._fault = fault

    def __getattr__(self, name: str) -> object:
        verb = getattr(self._fault, name)
        return lambda target, nodes, *undo: verb(target, ONE, *undo)


def alerts(day: Day) -> set[tuple[str, str]]:
    return {(n.labels["alertname"], n.labels.get("node", "")) for _, n in day.notified}


def worst_s(day: Day, start_s: float, end_s: float) -> float:
    return float(np.array(day.took_s)[(day.due_s >= start_s) & (day.due_s < end_s)].max())


@pytest.mark.parametrize(
    ("by", "share", "told"),
    [
        ("clock", 0.1, {("GpuThrottled", "replica-0")}),
        ("clock", 0.7, {("GpuThrottled", "replica-0")}),
        ("power", 0.1, {("GpuThrottled", "replica-0")}),
        ("contention", 0.25, {("GpuSlow", "replica-0")}),
        ("power", 0.9, set()),  # a limit that this load does not reach
        ("clock", 0.9, set()),  # less than anybody feels
    ],
)
def test_slow_with_a_reason_slow_without_and_not_slow_are_told_apart(
    by: str, share: float, told: set[tuple[str, str]]
) -> None:
    day = day_of(by, share, plain=False)
    assert alerts(day) == told
    actions = [(entry.what, entry.target) for entry in day.audit]
    there_and_back = [("drain_replica", "replica-0"), ("undrain_replica", "replica-0")]
    assert actions == (there_and_back if told else [])
    assert day.same_fingerprint


def test_taking_turns_callers_wait_until_the_replica_is_drained() -> None:
    day = day_of("clock", 0.1, plain=True)
    drained_s, undrained_s = (entry.wall_s - day.zero_s for entry in day.audit)
    assert 1 < drained_s - day.in_force_s < 6 and 5 < undrained_s - day.healed_s < 13
    assert worst_s(day, day.in_force_s, drained_s) > 0.45
    assert worst_s(day, drained_s + 0.1, undrained_s) < 0.1
    nodes = {
        a.node
        for a, t in zip(day.answers, day.due_s, strict=True)
        if drained_s + 0.6 < t < undrained_s - 0.1
    }
    assert nodes == {"replica-1"}
    assert {a.node for a in day.answers[-200:]} == set(BOTH)


def test_without_the_runbook_they_wait_until_it_is_mended() -> None:
    day = day_of("clock", 0.1, plain=True, runbooks=())
    assert day.audit == [] and ("GpuThrottled", "replica-0") in alerts(day)
    assert worst_s(day, day.healed_s - 5, day.healed_s) > 0.45
    assert worst_s(day, day.healed_s + 2, 60) < 0.1


def test_a_balancer_that_looks_absorbs_it() -> None:
    day = day_of("clock", 0.1, plain=False, runbooks=())
    assert worst_s(day, day.in_force_s, day.healed_s) < 0.2
    assert {a.fallback for a in day.answers} == {"none"}


def test_a_device_stays_known_to_be_slow_while_its_replica_gets_no_request() -> None:
    day = day_of("clock", 0.1, plain=True)
    firing_s = [t for t, n in day.notified if n.labels["alertname"] == "GpuThrottled"]
    assert len(firing_s) == 2  # once there, once back: it does not flap
    assert 1 < firing_s[1] - day.healed_s < 9


def test_mending_voids_permits_works_twice_and_blind() -> None:
    async def main() -> None:
        stack, _ = await up()
        whole, how = await stack.fingerprint(), Throttle("clock", 0.5)
        with pytest.raises(ValueError, match="'?gateway'? uses no device"):
            await stack.throttleable(("gateway",))
        permit = await stack.throttleable(ONE)
        throttling = asyncio.create_task(stack.throttle(ONE, how, permit))
        await asyncio.sleep(0.01)
        await stack.unthrottle(ONE)
        with pytest.raises(StackError, match="mended while"):
            await throttling
        assert await stack.fingerprint() == whole and not await stack.throttled(ONE, how)
        await stack.throttle(ONE, how, await stack.throttleable(ONE))
        assert await stack.throttled(ONE, how) and not await stack.throttled(BOTH, how)
        slow = {r.node: r.value for r in await stack.probe() if r.probe == "gpu_slowdown"}
        assert slow == {"replica-0": 2.0, "replica-1": 1.0}
        for _ in range(2):
            await stack.unthrottle(BOTH)
            assert await stack.fingerprint() == whole
        await stack.down()

    run(main())


def test_a_placebo_raises_nothing_for_devices() -> None:
    async def main() -> None:
        stack, notified = await up()
        until_s = now_s() + 20
        case = 0
        while now_s() < until_s:
            await stack.call(case := case + 1)
        assert notified == []
        await stack.down()

    run(main())


def window(slowdown: float, *, real: float = 0.0, node: Node = "replica-0") -> Window:
    rows, none = np.zeros(0, ROW), np.zeros(0, bool)
    samples = (
        Sampled(t=0.0, probe="gpu_slowdown", node=node, value=slowdown),
        Sampled(t=0.0, probe="gpu_real", node=node, value=real),
    )
    return Window(0.0, 1.0, Requests(rows, none, none), samples, (), ())


@pytest.mark.parametrize(
    ("fault", "before", "during", "seen"),
    [
        (ThrottleGpu(share=0.1), 1.0, 9.5, True),
        (ThrottleGpu(share=0.1), 1.0, 1.0, False),
        (ThrottleGpu(share=0.1), 1.0, 2.0, False),  # far less than was asked for
        (ThrottleGpu(share=0.1), 9.6, 9.5, False),  # it was so before
        (ThrottleGpu(share=0.9), 1.0, 1.1, True),
        (ThrottleGpu(share=0.1, by="power"), 1.0, 1.4, True),  # the load decides what it costs
        (ThrottleGpu(share=0.1, by="power"), 1.0, 1.0, False),
    ],
)
def test_the_evidence_is_the_pace_of_batches(
    fault: ThrottleGpu, before: float, during: float, seen: bool
) -> None:
    evidence = fault.evidence(window(before), window(during))
    assert evidence.seen is seen, evidence.because


def test_the_evidence_says_what_kind_of_device_it_was_and_how_it_was_slowed() -> None:
    fault = ThrottleGpu(share=0.1)
    for real, words in ((0.0, "by clock on a virtual"), (1.0, "by contention on a real")):
        assert words in fault.evidence(window(1.0), window(9.5, real=real)).because


class _Stack:
    def __init__(self, kind: str | None) -> None:
        self._kind = kind

    def devices(self) -> str | None:
        return self._kind


@pytest.mark.parametrize(
    ("kind", "fault", "why"),
    [
        ("virtual", ThrottleGpu(), None),
        ("virtual", ThrottleGpu(by="power"), None),
        ("real", ThrottleGpu(), None),
        ("real", ThrottleGpu(by="contention"), None),
        ("real", ThrottleGpu(by="clock"), "real: true"),
        ("real", ThrottleGpu(by="power"), "real: true"),
        ("real", ThrottleGpu(by="clock", real=True), None),
        (None, ThrottleGpu(), "on the CPU"),
    ],
)
def test_a_real_device_is_set_only_when_the_scenario_says_so_by_name(
    kind: str | None, fault: ThrottleGpu, why: str | None
) -> None:
    said = fault.refuse(_Stack(kind))  # type: ignore[arg-type]
    assert said is None if why is None else said is not None and why in said


def test_a_stack_that_is_up_is_asked_again_before_anything_is_done() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        undo = await ThrottleGpu().prepare(stack, ONE)
        assert undo["device"] == "virtual" and undo["by"] == "clock"
        with pytest.raises(ValueError, match="on the CPU"):
            await ThrottleGpu().prepare(_Stack(None), ONE)  # type: ignore[arg-type]
        await stack.down()

    run(main())
