"""Replicas of the simulated stack, killed and paused: the gateway meets what it really would."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.stacks._simulated.harm import STARTS_AGAIN_IN_S
from fixtures.stacks._simulated.replicas import REPLICA_TIMEOUT_S, Pausing
from fixtures.stacks.simulated import SimulatedStack
from harness import Site, StackError
from harness.model.dead_man import is_dead_man
from harness.run.clocks import loop_factory

ONE, BOTH = ("replica-0",), ("replica-0", "replica-1")


def run(main):
    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        return runner.run(main)


def now_s():
    return asyncio.get_running_loop().time()


async def up(**settings):
    notified = []
    stack = SimulatedStack(**settings)

    def notify(notification):
        if not is_dead_man(notification.labels):
            notified.append(notification)

    await stack.up(Site("", seed=3, notify=notify))
    await asyncio.sleep(2)
    return stack, notified


async def ask(stack, low, high):
    """Answers, and the longest that one took."""
    answers, worst_s = [], 0.0
    for case in range(low, high):
        began_s = now_s()
        answers.append(await stack.call(case))
        worst_s = max(worst_s, now_s() - began_s)
        await asyncio.sleep(0.005)
    return answers, worst_s


def test_a_dead_replica_refuses_and_nobody_notices_but_the_probe_and_the_alert():
    async def main():
        stack, notified = await up()
        await stack.kill(ONE, await stack.killable(ONE))
        answers, worst_s = await ask(stack, 0, 400)
        assert {(a.node, a.model, a.outcome) for a in answers} == {("replica-1", "champion", 0)}
        assert worst_s < 0.1
        ready = {r.node: r.value for r in await stack.probe() if r.probe == "replica_ready"}
        assert ready == {"replica-0": 0.0, "replica-1": 1.0}
        assert stack._up.pool.balancer.outliers.ejections("replica-0", "failures") == 1
        await asyncio.sleep(3)
        firing = [n.labels for n in notified if n.labels["alertname"] == "TargetDown"]
        assert [(n["node"], n["job"]) for n in firing] == [("replica-0", "model_server")]
        await stack.start_again(ONE)
        await asyncio.sleep(6)  # until it is asked again
        answers, _ = await ask(stack, 400, 500)
        assert {a.node for a in answers} == set(BOTH)
        assert notified[-1].status == "resolved"
        await stack.down()

    run(main())


def test_a_paused_replica_hangs_and_its_callers_wait_for_their_timeout_once():
    async def main():
        stack, notified = await up()
        await stack.pause(ONE, 1.0, await stack.pausable(ONE))
        answers, worst_s = await ask(stack, 0, 400)
        assert {(a.node, a.outcome) for a in answers} == {("replica-1", 0)}
        assert REPLICA_TIMEOUT_S < worst_s < REPLICA_TIMEOUT_S + 0.1
        ready = {r.node: r.value for r in await stack.probe() if r.probe == "replica_ready"}
        assert ready == {"replica-1": 1.0}, "one that hangs cannot be told from a slow one"
        assert [n.labels["node"] for n in notified] == ["replica-0"]
        await stack.resume(ONE)
        await asyncio.sleep(6)
        answers, worst_s = await ask(stack, 400, 500)
        assert {a.node for a in answers} == set(BOTH) and worst_s < 0.1
        await stack.down()

    run(main())


def test_a_replica_paused_for_half_of_every_second_is_slow_and_raises_no_alert():
    async def main():
        stack, notified = await up()
        await stack.pause(BOTH, 0.5, await stack.pausable(BOTH))
        answers, worst_s = await ask(stack, 0, 300)
        assert {a.node for a in answers} == set(BOTH)
        assert 0.3 < worst_s <= REPLICA_TIMEOUT_S + 0.1 and notified == []
        await stack.down()

    run(main())


def test_with_every_replica_dead_the_cache_and_the_rule_answer():
    async def main():
        stack, _ = await up(cache="fallback")
        await ask(stack, 0, 10)
        await stack.kill(BOTH, await stack.killable(BOTH))
        answers, _ = await ask(stack, 5, 15)
        assert [a.fallback for a in answers] == ["cache"] * 5 + ["rule"] * 5
        await stack.down()

    run(main())


def test_a_replica_takes_as_long_to_come_back_as_torch_takes_and_a_running_one_takes_none():
    async def main():
        stack, _ = await up()
        began_s = now_s()
        await stack.start_again(BOTH)
        assert now_s() == began_s
        await stack.kill(ONE, await stack.killable(ONE))
        began_s = now_s()
        await stack.start_again(ONE)
        assert now_s() - began_s == pytest.approx(STARTS_AGAIN_IN_S)
        await stack.down()

    run(main())


@pytest.mark.parametrize("kind", ["kill", "pause"])
def test_leave_to_break_ends_with_the_next_heal(kind):
    async def main():
        stack, _ = await up()
        whole = await stack.fingerprint()
        if kind == "kill":
            doing = asyncio.create_task(stack.kill(ONE, await stack.killable(ONE)))
        else:
            doing = asyncio.create_task(stack.pause(ONE, 1.0, await stack.pausable(ONE)))
        await asyncio.sleep(0.01)
        await (stack.start_again(ONE) if kind == "kill" else stack.resume(ONE))
        with pytest.raises(StackError, match="were mended while"):
            await doing
        assert await stack.fingerprint() == whole
        await stack.down()

    run(main())


def test_only_replicas_can_be_harmed():
    async def main():
        stack, _ = await up()
        for ask_leave in (stack.killable, stack.pausable):
            with pytest.raises(ValueError, match="gateway cannot be killed or paused here"):
                await ask_leave(("gateway",))
        await stack.down()

    run(main())


@given(
    share=st.floats(0.01, 0.99),
    began_s=st.floats(0, 100),
    begins_s=st.floats(0, 100),
    work_s=st.floats(0, 5),
)
def test_work_is_done_in_the_rest_of_every_second_and_not_before(share, began_s, begins_s, work_s):
    done_s = Pausing(began_s, share).done_s(begins_s, work_s)
    awake = 0.0  # by adding up the waking part of every second on the way, another way to say it
    second = math.floor(begins_s - began_s) - 1
    while began_s + second < done_s:
        wakes_s, sleeps_s = began_s + second + share, began_s + second + 1
        awake += max(0.0, min(done_s, sleeps_s) - max(begins_s, wakes_s))
        second += 1
    assert awake == pytest.approx(work_s, abs=1e-6)
    assert done_s >= begins_s + work_s - 1e-9


def test_what_is_stopped_for_good_never_ends():
    assert Pausing(3.0, 1.0).done_s(4.0, 0.001) == math.inf
