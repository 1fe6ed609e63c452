"""What can be done to the simulated stack by hand, and what its control plane does by itself."""

import asyncio

import pytest

from fixtures.serving.actions import ACTIONS
from fixtures.stacks.simulated import SimulatedStack
from harness import Notification, Operable, Refused, Site, StackError, Ticketing
from tests.test_stack_simulated import run


async def up(**settings):
    stack = SimulatedStack(**settings)
    await stack.up(Site(""))
    await asyncio.sleep(2)
    stack.usual = await stack.probe()
    return stack


async def modes(stack):
    """What is not as it is while nobody has done anything; a cache without traffic is cold."""
    readings = {(r.probe, r.node): r.value for r in await stack.probe() if r.probe != "cache_cold"}
    usual = {(r.probe, r.node): r.value for r in stack.usual}
    return {key: value for key, value in readings.items() if value != usual[key]}


def test_it_can_be_operated_and_opens_tickets():
    stack = SimulatedStack()
    assert isinstance(stack, Operable) and isinstance(stack, Ticketing)


@pytest.mark.parametrize(
    ("action", "target", "mode", "answers"),
    [
        ("route_to_baseline", "", ("pin", "gateway"), {("baseline", "none")}),
        ("open_ai_breaker", "", ("breaker_open", "gateway"), {("rule", "none")}),
        ("disable_feature", "dep_delay", ("disabled_features", "gateway"), {("champion", "none")}),
        ("drain_replica", "replica-1", ("drained", "replica-1"), {("champion", "none")}),
    ],
)
def test_each_action_shows_in_its_probe_and_the_fingerprint_and_is_undone(
    action, target, mode, answers
):
    async def main():
        stack = await up()
        before = await stack.fingerprint()
        assert await modes(stack) == {}
        assert await stack.do(action, target, "ann", "drill") == 1
        assert await modes(stack) == {mode: 1.0}
        assert await stack.fingerprint() != before
        found = [await stack.call(case) for case in range(200)]
        assert {(a.model, a.fallback) for a in found} == answers
        assert {a.mask for a in found} == {0}, "the mask tells what the store holds"
        if action == "drain_replica":
            assert {a.node for a in found} == {"replica-0"}
        if action == "disable_feature":
            golden = (await stack.cases(200)).golden
            assert sum(a.prediction != bool(g) for a, g in zip(found, golden, strict=True)) > 10
        assert await stack.do(ACTIONS[action].undo, target, "ann", "over") == 2
        assert await modes(stack) == {} and await stack.fingerprint() == before
        assert {(e.who, e.target) for e in await stack.audit(0)} == {
            ("ann", target or "arrival_delay")
        }
        await stack.down()

    run(main())


def test_what_cannot_be_done_says_why():
    async def main():
        stack = await up()
        with pytest.raises(ValueError, match="must be one of"):
            await stack.do("reboot", "", "ann", "x")
        with pytest.raises(StackError, match="no feature 'smell'"):
            await stack.do("disable_feature", "smell", "ann", "x")
        await stack.do("drain_replica", "replica-0", "ann", "x")
        with pytest.raises(Refused, match="last replica in service"):
            await stack.do("drain_replica", "replica-1", "ann", "x")
        await stack.down()

    run(main())


def alert(status, **labels):
    return Notification(status, {"alertname": "A", **labels}, 0.0)


def test_the_responder_drains_by_target_never_the_last_one_and_puts_it_back():
    async def main():
        stack = await up(healthy_for_s=5.0)
        receive = stack._up.control.receive
        tasks = [
            asyncio.create_task(receive(alert("firing", runbook="drain_replica", node=node)))
            for node in ("replica-0", "replica-1")
        ]
        await asyncio.sleep(2)
        (drained,) = stack._up.pool.balancer.drained
        other = "replica-1" if drained == "replica-0" else "replica-0"
        trail = [(e.what, e.target) for e in await stack.audit(0)]
        assert trail == [("drain_replica", drained), ("drain_replica refused", other)]
        await receive(alert("resolved", runbook="drain_replica", node=drained))
        await asyncio.sleep(7)
        assert stack._up.pool.balancer.drained == [other], "now there was another one"
        await receive(alert("resolved", runbook="drain_replica", node=other))
        await asyncio.sleep(7)
        assert await modes(stack) == {}
        await asyncio.gather(*tasks)
        await stack.down()

    run(main())


def test_what_a_person_did_is_not_undone_by_the_responder():
    async def main():
        stack = await up(healthy_for_s=2.0)
        receive = stack._up.control.receive
        await receive(alert("firing", runbook="disable_feature", feature="visib"))
        await stack.do("disable_feature", "visib", "ann", "it stays off")
        await receive(alert("resolved", runbook="disable_feature", feature="visib"))
        await asyncio.sleep(5)
        assert await modes(stack) == {("disabled_features", "gateway"): 1.0}
        await stack.down()

    run(main())


def test_an_alert_of_their_severity_opens_a_ticket_that_waits_for_a_person():
    async def main():
        stack = await up()
        told = alert("firing", severity="ticket", feature="visib")
        await stack._up._ticket(told)
        await stack._up._ticket(told)
        (ticket,) = await stack.tickets()
        assert ticket.is_open and ticket.title == "A visib" and ticket.body["steps"]
        assert await stack.audit(0) == [], "nothing was done about it"
        with pytest.raises(ValueError, match="ticket-9"):
            await stack.close_ticket("ticket-9", "ann", "x")
        await stack.close_ticket(ticket.id, "ann", "the winter")
        assert not (await stack.tickets())[0].is_open
        await stack.down()

    run(main())
