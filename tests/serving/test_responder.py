import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fixtures.serving import responder
from fixtures.serving.actions import Action
from fixtures.serving.responder import Responder, read_webhook

RUNBOOK = "route_to_baseline"
UNDO = "route_to_champion"


def alert(status: str, fingerprint: str = "a", runbook: str | None = RUNBOOK) -> dict[str, Any]:
    labels = {"alertname": "FeatureMissing", "feature": fingerprint, "severity": "page"}
    if runbook is not None:
        labels["runbook"] = runbook
    return {"status": status, "labels": labels, "fingerprint": fingerprint, "news": True}


def drain(status: str, node: str, fingerprint: str = "") -> dict[str, Any]:
    labels = {"alertname": "ReplicaSlow", "runbook": "drain_replica"} | (
        {"node": node} if node else {}
    )
    return {"status": status, "labels": labels, "fingerprint": fingerprint or node}


class World:
    """A responder, what it did, and a gateway that can be told to fail."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.done: list[tuple[str, str]] = []
        self.attempts = 0
        self.gateway_works = True
        self.hanging: set[str] = set()
        settings: dict[str, Any] = {
            "runbooks": [RUNBOOK],
            "healthy_for_s": 0.2,
            "retry_s": 0.01,
        }
        self.responder = Responder(self.act, folder / "firing", **(settings | changes))

    async def act(self, action: str, target: str, why: str) -> bool:
        self.attempts += 1
        if target in self.hanging:
            await asyncio.sleep(30)
        if self.gateway_works:
            self.done.append((f"{action} {target}".strip(), why))
        return self.gateway_works

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.done]

    def notify(self, *alerts: dict[str, Any]) -> None:
        self.responder.notice(read_webhook({"version": "4", "alerts": list(alerts)}))

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not check():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def play(world: World, story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        running = asyncio.create_task(world.responder.run())
        try:
            await story(world)
        finally:
            running.cancel()

    asyncio.run(run())


def test_a_firing_alert_is_acted_on_once_and_undone_when_healthy(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.notify(alert("firing", "a"))
        await world.until(lambda: world.actions == [RUNBOOK])
        assert world.done[0][1] == "FeatureMissing{feature=a} firing"
        world.notify(alert("firing", "a"), alert("firing", "b"))
        world.notify(alert("resolved", "a"))
        await asyncio.sleep(0.4)  # longer than healthy_for_s: b still fires
        assert world.actions == [RUNBOOK]
        world.notify(alert("resolved", "b"))
        await world.until(lambda: world.actions == [RUNBOOK, UNDO])
        assert "0.2 s" in world.done[1][1]

    play(World(tmp_path), story)


def test_a_flickering_alert_does_not_make_the_route_flicker(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for _ in range(5):
            world.notify(alert("firing"))
            await world.until(lambda: world.actions == [RUNBOOK])
            world.notify(alert("resolved"))
            await asyncio.sleep(0.01)
        assert world.actions == [RUNBOOK]

    play(World(tmp_path, healthy_for_s=30.0), story)


@pytest.mark.parametrize("changes", [{"runbooks": []}, {}])
def test_without_the_runbook_it_only_logs(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        runbook = None if not changes else RUNBOOK
        world.notify(alert("firing", runbook=runbook), alert("firing", "b", "reboot_everything"))
        await asyncio.sleep(0.1)
        assert world.attempts == 0

    play(World(tmp_path, **changes), story)


def test_a_failed_action_is_tried_until_it_works(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.gateway_works = False
        world.notify(alert("firing"))
        await world.until(lambda: world.attempts >= 3)
        world.gateway_works = True
        await world.until(lambda: world.actions == [RUNBOOK])

    play(World(tmp_path), story)


def test_an_alert_that_goes_before_it_was_acted_on_is_let_go(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.gateway_works = False
        world.notify(alert("firing"))
        await world.until(lambda: world.attempts >= 1)
        world.notify(alert("resolved"))
        await asyncio.sleep(0.05)
        world.gateway_works = True
        await asyncio.sleep(0.3)
        assert world.actions == []

    play(World(tmp_path), story)


def test_a_person_who_overrules_it_is_not_overruled_back(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.notify(alert("firing"))
        await world.until(lambda: world.actions == [RUNBOOK])
        world.responder.overruled((RUNBOOK, ""))
        world.notify(alert("firing"))
        await asyncio.sleep(0.1)
        world.notify(alert("resolved"))
        await asyncio.sleep(0.4)
        assert world.actions == [RUNBOOK]

    play(World(tmp_path), story)


def test_a_restart_in_the_middle_forgets_nothing(tmp_path: Path) -> None:
    async def before(world: World) -> None:
        world.notify(alert("firing"))
        await world.until(lambda: world.actions == [RUNBOOK])

    async def after(world: World) -> None:
        await asyncio.sleep(0.4)
        assert world.actions == []  # it still fires: neither done again nor undone
        world.notify(alert("resolved"))
        await world.until(lambda: world.actions == [UNDO])

    play(World(tmp_path), before)
    play(World(tmp_path, engaged=[(RUNBOOK, "")]), after)


def test_a_restart_acts_on_what_could_not_be_acted_on_before(tmp_path: Path) -> None:
    async def before(world: World) -> None:
        world.gateway_works = False
        world.notify(alert("firing"))
        await world.until(lambda: world.attempts >= 1)

    async def after(world: World) -> None:
        await world.until(lambda: world.actions == [RUNBOOK])

    async def after_a_person(world: World) -> None:
        await asyncio.sleep(0.1)
        assert world.actions == []

    play(World(tmp_path), before)
    play(World(tmp_path, overruled=[(RUNBOOK, "")]), after_a_person)
    play(World(tmp_path), after)


def test_what_is_no_webhook_is_refused() -> None:
    wrong: list[dict[str, Any]] = [{}, {"alerts": 1}, {"alerts": [1]}, {"alerts": [{"labels": {}}]}]
    for body in wrong:
        with pytest.raises(ValueError, match="not an Alertmanager webhook"):
            read_webhook(body)


def test_each_replica_is_drained_and_comes_back_by_its_own_alerts(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.notify(drain("firing", "replica-0"))
        await world.until(lambda: world.actions == ["drain_replica replica-0"])
        world.notify(drain("firing", "replica-1"))
        await world.until(lambda: world.actions[1:] == ["drain_replica replica-1"])
        world.notify(drain("resolved", "replica-0"))
        await world.until(lambda: world.actions[2:] == ["undrain_replica replica-0"])
        await asyncio.sleep(0.4)  # longer than healthy_for_s: the other one still fires
        assert len(world.actions) == 3
        assert world.responder.engaged == [("drain_replica", "replica-1")]

    play(World(tmp_path, runbooks=["drain_replica"]), story)


def test_an_action_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.hanging.add("replica-0")
        world.notify(drain("firing", "replica-0"))
        await world.until(lambda: world.attempts == 1)
        world.notify(alert("firing"))
        await world.until(lambda: world.actions == [RUNBOOK])

    play(World(tmp_path, runbooks=["drain_replica", RUNBOOK]), story)


def test_an_alert_that_names_no_target_or_no_runbook_of_ours_is_left_alone(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.notify(drain("firing", "", "x"), alert("firing", "b", "route_to_champion"))
        await asyncio.sleep(0.1)
        assert (world.attempts, list(world.responder.firing)) == (0, [])

    play(World(tmp_path, runbooks=["drain_replica", RUNBOOK]), story)


def test_a_person_overrules_only_what_they_acted_on(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.notify(drain("firing", "replica-0"), drain("firing", "replica-1"))
        await world.until(lambda: len(world.actions) == 2)
        world.responder.overruled(("drain_replica", "replica-0"))
        world.notify(drain("resolved", "replica-0"), drain("resolved", "replica-1"))
        await world.until(lambda: world.actions[2:] == ["undrain_replica replica-1"])
        await asyncio.sleep(0.1)
        assert len(world.actions) == 3

    play(World(tmp_path, runbooks=["drain_replica"]), story)


def test_what_has_no_undo_is_done_once_for_each_time_its_alert_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Action("flush", "flushes", ())
    monkeypatch.setattr(responder, "ACTIONS", {"flush": once})
    monkeypatch.setattr(responder, "RUNBOOKS", ("flush",))
    monkeypatch.setattr(responder, "target_of", lambda runbook, labels: "")

    async def story(world: World) -> None:
        for times in (1, 2):
            world.notify(alert("firing", runbook="flush"))
            await world.until(lambda: world.actions == ["flush"] * times)  # noqa: B023
            world.notify(alert("firing", runbook="flush"))
            await asyncio.sleep(0.05)
            world.notify(alert("resolved", runbook="flush"))
        world.notify(alert("firing", runbook="flush"))
        await world.until(lambda: len(world.actions) == 3)

    async def after(world: World) -> None:
        await asyncio.sleep(0.3)
        assert world.actions == []  # it still fires and was done before the restart

    play(World(tmp_path, runbooks=["flush"]), story)
    play(World(tmp_path, runbooks=["flush"]), after)
