"""The table of actions, carried out by a control plane in this process at services that answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from fixtures.serving import actions, control_plane
from fixtures.serving.actions import ACTIONS, RUNBOOKS
from fixtures.serving.control_plane import ControlPlaneConfig
from fixtures.serving.service import application
from fixtures.serving.switches import Admin, Switches
from tests.serving.test_replicas import pool_of

TOKEN = "test-token"
Ask = Callable[..., Awaitable[tuple[int, Any]]]


class World:
    """A control plane, the real admin routes of a gateway, and ways to ask and to alert."""

    def __init__(self, folder: Path, runbooks: tuple[str, ...] = ()) -> None:
        self.folder, self.runbooks = folder, runbooks
        self.switches = Switches("champion", 0.0)
        self.pool = pool_of("replica-0", "replica-1")

    async def gateway(self) -> tuple[web.AppRunner, str]:
        """Serve the admin routes; returns the address."""
        routes = Admin(self.switches, self.pool, CollectorRegistry()).routes(TOKEN)
        return await serve(routes)

    async def play(self, story: Callable[["World"], Awaitable[None]], **services: str) -> None:
        runner, self.at = await self.gateway()
        config = ControlPlaneConfig(
            name="control_plane",
            token=TOKEN,
            services={"gateway": self.at, **services},
            audit=str(self.folder / "audit.jsonl"),
            runbooks=self.runbooks,
            healthy_for_s=0.1,
            retry_s=0.02,
        )
        opened: list[Any] = []  # what a control plane leaves to the end of its process

        def kept(make: Callable[..., Any]) -> Callable[..., Any]:
            def made(*args: Any, **more: Any) -> Any:
                opened.append(make(*args, **more))
                return opened[-1]

            return made

        with (
            mock.patch.object(control_plane, "AuditTrail", kept(control_plane.AuditTrail)),
            mock.patch.object(aiohttp, "ClientSession", kept(aiohttp.ClientSession)),
        ):
            service = await control_plane.build(config)
        trail, session = opened
        self.app = application(service)
        background = [asyncio.create_task(work()) for work in service.background]  # type: ignore[arg-type,var-annotated]
        try:
            await story(self)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await session.close()
            trail.close()
            await runner.cleanup()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await knock(self.app, method, path, body)

    async def do(self, action: str, target: str = "", who: str = "ann") -> tuple[int, Any]:
        body = {"action": action, "target": target, "who": who, "why": "drill"}
        return await self.ask("POST", "/v1/actions", body)

    async def alert(self, status: str, **labels: str) -> None:
        alerts = [{"status": status, "labels": {"alertname": "A", **labels}}]
        assert (await self.ask("POST", "/v1/alerts", {"alerts": alerts}))[0] == 200

    @property
    def trail(self) -> list[tuple[str, str, str]]:
        lines = (self.folder / "audit.jsonl").read_text().splitlines()
        return [(e["who"], e["what"], e["target"]) for e in map(json.loads, lines)]

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not check():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def knock(app: Any, method: str, path: str, body: Any, token: str = TOKEN) -> tuple[int, Any]:
    """Send one request straight into an application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said[0]["status"], json.loads(b"".join(m["body"] for m in said[1:]))


async def serve(routes: list[Any]) -> tuple[web.AppRunner, str]:
    """Serve the ASGI routes of a service of ours on loopback, by aiohttp."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException

    from fixtures.serving.service import _as_error

    return await serve_app(Starlette(routes=routes, exception_handlers={HTTPException: _as_error}))  # type: ignore[dict-item]


async def serve_app(app: Any) -> tuple[web.AppRunner, str]:
    """Serve an ASGI application on loopback, by aiohttp; returns its runner and its address."""

    async def handle(request: web.Request) -> web.Response:
        sent = await request.json() if request.can_read_body else None
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        status, body = await knock(app, request.method, request.path, sent, token)
        return web.json_response(body, status=status)

    outer = web.Application()
    outer.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(outer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"127.0.0.1:{runner.addresses[0][1]}"


def play(world: World, story: Callable[[World], Awaitable[None]], **services: str) -> None:
    asyncio.run(world.play(story, **services))


def test_every_undo_is_an_action_on_the_same_kind_of_target_and_takes_back_what_names_it() -> None:
    for name, action in ACTIONS.items():
        assert name == action.name and action.does and action.requests
        if action.undo is not None:
            undo = ACTIONS[action.undo]
            assert (undo.undo, undo.target) == (name, action.target)
            assert (name in RUNBOOKS) != (undo.name in RUNBOOKS)
        told = [value for request in action.requests for value in request.body.values()]
        assert (actions.TARGET in told) == (action.target != "none"), name


HERE = [  # the cache's are proven on the real services
    name
    for name in RUNBOOKS
    if name != "route_to_baseline"
    and ACTIONS[name].undo is not None
    and all(
        request.service == "gateway" and "cache" not in request.path
        for request in ACTIONS[name].requests
    )
]


@pytest.mark.parametrize("name", HERE)
def test_an_action_and_its_undo_leave_the_services_as_they_were(tmp_path: Path, name: str) -> None:
    action = ACTIONS[name]
    target = {"none": "", "replica": "replica-1", "feature": "visib"}[action.target]

    async def story(world: World) -> None:
        def state() -> list[Any]:
            return [world.switches.disabled, world.switches.breaker_open, world.pool.drained]

        before = state()
        assert (await world.do(name, target))[0] == 200
        assert state() != before
        status, said = await world.do(str(action.undo), target)
        assert (status, said["entries"][0]["what"]) == (200, action.undo)
        assert state() == before
        about = target or "arrival_delay"
        assert world.trail == [("ann", name, about), ("ann", action.undo, about)]

    play(World(tmp_path), story)


def test_what_cannot_be_done_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for action, target, status, says in (
            ("reboot", "", 400, "must be one of route_to_baseline"),
            ("drain_replica", "", 400, "needs a target: the name of a replica"),
            ("route_to_baseline", "visib", 400, "takes no target"),
            ("disable_feature", "smell", 502, "there is no feature 'smell'; there are dep_delay"),
            ("drain_replica", "monitor", 502, "there are replica-0, replica-1"),
        ):
            got, said = await world.do(action, target)
            assert (got, says in said["error"]) == (status, True), said
        assert (await world.do("drain_replica", "replica-0"))[0] == 200
        status, said = await world.do("drain_replica", "replica-1")
        assert status == 409 and "the last replica in service" in said["error"]
        assert world.pool.drained == ["replica-0"]
        assert world.trail[-1][1] == "drain_replica refused"

    play(World(tmp_path), story)


def test_an_action_whose_service_is_not_there_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = actions.Action("repaint", "repaints", (actions.Request("painter", "/paint", {}),))
    known = {**ACTIONS, "repaint": row}
    monkeypatch.setattr(actions, "ACTIONS", known)
    monkeypatch.setattr(control_plane, "ACTIONS", known)
    monkeypatch.setattr("fixtures.serving.operator.ACTIONS", known)

    async def story(world: World) -> None:
        status, said = await world.do("repaint")
        assert (status, "this stack has no service 'painter'" in said["error"]) == (502, True)
        rows = (await world.ask("GET", "/v1/actions"))[1]["actions"]
        assert {row["name"]: row["missing"] for row in rows}["repaint"] == ["painter"]

    play(World(tmp_path), story)


def test_the_responder_never_drains_the_last_replica_and_says_that_it_refused(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        for node in ("replica-0", "replica-1"):
            await world.alert("firing", runbook="drain_replica", node=node)
        await world.until(lambda: len(world.trail) == 2)
        (drained,) = world.pool.drained
        (refused,) = {"replica-0", "replica-1"} - {drained}
        await asyncio.sleep(0.2)  # it tries on, and does not fill the trail with it
        assert sorted(world.trail) == [
            ("responder", "drain_replica", drained),
            ("responder", "drain_replica refused", refused),
        ]
        await world.alert("resolved", runbook="drain_replica", node=drained)
        await world.until(lambda: world.pool.drained == [refused])  # now there is another one

    play(World(tmp_path, ("drain_replica",)), story)


def test_a_restart_takes_back_what_was_done_before_it_and_leaves_what_people_did(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, ("drain_replica", "disable_feature"))

    async def before(world: World) -> None:
        await world.alert("firing", runbook="drain_replica", node="replica-0")
        await world.alert("firing", runbook="disable_feature", feature="visib")
        await world.until(lambda: len(world.trail) == 2)
        assert (await world.do("disable_feature", "visib"))[0] == 200

    async def after(world: World) -> None:
        assert (await world.ask("GET", "/v1/state"))[1]["engaged"] == [
            {"runbook": "drain_replica", "target": "replica-0"}
        ]
        await world.alert("resolved", runbook="drain_replica", node="replica-0")
        await world.alert("resolved", runbook="disable_feature", feature="visib")
        await world.until(lambda: world.pool.drained == [])
        assert world.trail[-1] == ("responder", "undrain_replica", "replica-0")
        await asyncio.sleep(0.2)
        assert world.switches.disabled != 0 and len(world.trail) == 4

    play(world, before)
    play(world, after)
