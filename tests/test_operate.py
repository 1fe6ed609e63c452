"""People tell a stack what to do: the real command line, at a real control plane and gateway."""

import asyncio
import json
import threading
from dataclasses import replace

import pytest

from harness.cli.arguments import main
from tests.conftest import gameday
from tests.serving.test_actions import TOKEN, World, serve_app
from tests.test_stack_local import layout_of


@pytest.fixture
def stood(home, tmp_path):
    """A control plane that listens, found as a stack that was left running."""
    world, ready, over = World(tmp_path), threading.Event(), threading.Event()

    async def story(world):
        runner, where = await serve_app(world.app)
        attach(home / "stacks" / "local", {"control_plane": where, "gateway": world.at})
        world.loop = asyncio.get_running_loop()
        ready.set()
        await asyncio.to_thread(over.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(world.play(story)))
    thread.start()
    assert ready.wait(30)
    yield world
    over.set()
    thread.join(30)


def attach(folder, servers):
    folder.mkdir(parents=True)
    layout = layout_of(folder)
    layout = replace(layout, servers={**layout.servers, **servers}, token=TOKEN)
    state = {"stack": "local", "settings": {}, "layout": layout.to_json(), "children": {}}
    (folder / "attach.json").write_text(json.dumps(state))


def test_without_an_action_it_says_what_there_is_to_do(stood, capsys):
    assert main(["stack", "do"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("drain_replica --target REPLICA  ") for line in lines)
    assert any(line.startswith("route_to_baseline  ") for line in lines)


def test_what_is_done_and_undone_by_hand_is_in_the_trail_with_who_and_why(stood, capsys):
    words = ["--target", "replica-1", "--reason", "a noisy fan"]
    assert main(["stack", "do", "drain_replica", *words]) == 0
    assert "take it back with `gameday stack do undrain_replica --target replica-1" in (
        capsys.readouterr().out
    )
    assert stood.pool.drained == ["replica-1"]
    assert main(["stack", "do", "drain_replica", "--undo", *words]) == 0
    assert stood.pool.drained == []
    entries = [json.loads(line) for line in (stood.folder / "audit.jsonl").read_text().splitlines()]
    assert [(e["what"], e["target"], e["why"]) for e in entries] == [
        ("drain_replica", "replica-1", "a noisy fan"),
        ("undrain_replica", "replica-1", "a noisy fan"),
    ]
    assert len({e["who"] for e in entries}) == 1 and entries[0]["who"] not in ("", "responder")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["reboot", "--reason", "x"], 2, "no action called 'reboot'; there is route_to_baseline, "),
        (["open_ai_breaker"], 2, "say why"),
        (["open_ai_breaker", "--reason", " "], 2, "say why"),
        (["drain_replica", "--reason", "x"], 2, "say which with --target"),
        (["open_ai_breaker", "--target", "y", "--reason", "x"], 2, "leave --target away"),
        (["drain_replica", "--target", "z", "--reason", "x"], 3, "there is no replica 'z'"),
        (["--run", "nope"], 2, "'nope' is no run"),
        (["open_ai_breaker", "--name", "nope", "--reason", "x"], 2, "no stack called 'nope'"),
    ],
)
def test_a_wrong_call_is_one_line_that_says_what_to_write(stood, capsys, words, code, says):
    assert main(["stack", "do", *words]) == code
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1, said
    assert not stood.switches.breaker_open and stood.pool.drained == []


def test_what_would_do_harm_is_refused_with_a_code_of_its_own(stood, capsys):
    why = ["--reason", "drill"]
    assert main(["stack", "do", "drain_replica", "--target", "replica-0", *why]) == 0
    assert main(["stack", "do", "drain_replica", "--target", "replica-1", *why]) == 1
    assert "refused: " in capsys.readouterr().out
    assert stood.pool.drained == ["replica-0"]


def test_where_nothing_is_up_it_says_how_to_find_a_stack(home, capsys):
    assert main(["stack", "do", "open_ai_breaker", "--reason", "x"]) == 2
    assert "gameday stack up" in capsys.readouterr().err
    assert main(["stack", "tickets"]) == 2


def test_tickets_are_listed_shown_and_closed_with_a_reason(stood, capsys):
    assert main(["stack", "tickets"]) == 0
    assert capsys.readouterr().out == "no tickets\n"
    told = stood.ask("POST", "/v1/alerts", {"alerts": [DRIFT]})
    assert asyncio.run_coroutine_threadsafe(told, stood.loop).result(30) == (200, {})
    assert main(["stack", "tickets"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("ticket-0001  open  ") and "visib has drifted" in line
    assert main(["stack", "tickets", "ticket-0001"]) == 0
    assert json.loads(capsys.readouterr().out)["alert"]["labels"]["feature"] == "visib"
    assert main(["stack", "tickets", "--close", "ticket-0001"]) == 2
    assert main(["stack", "tickets", "--close", "ticket-0001", "--reason", "the winter"]) == 0
    assert main(["stack", "tickets", "--close", "ticket-0001", "--reason", "again"]) == 2
    assert main(["stack", "tickets", "ticket-9"]) == 2
    capsys.readouterr()
    assert main(["stack", "tickets"]) == 0
    assert capsys.readouterr().out.startswith("ticket-0001  closed")


DRIFT = {
    "status": "firing",
    "fingerprint": "d1",
    "startsAt": "2026-01-01T00:00:00Z",
    "labels": {"alertname": "DriftSuspected", "severity": "ticket", "feature": "visib"},
    "annotations": {"summary": "Feature visib has drifted from training: PSI 0.4"},
}


@pytest.mark.slow
@pytest.mark.stack
def test_on_the_real_stack_an_action_takes_effect_and_back(home):
    assert gameday("stack", "up").returncode == 0
    try:
        words = ("--target", "replica-1", "--reason", "drill")
        assert gameday("stack", "do", "drain_replica", *words).returncode == 0
        assert "drained replica-1 1" in gameday("stack", "status").stdout
        words = ("--target", "replica-0", "--reason", "drill")
        assert gameday("stack", "do", "drain_replica", *words).returncode == 1
        assert gameday("stack", "do", "open_ai_breaker", "--reason", "drill").returncode == 0
        status = gameday("stack", "status").stdout
        assert "breaker_open gateway 1" in status and "drained replica-0 0" in status
        assert gameday("stack", "do", "close_ai_breaker", "--reason", "drill").returncode == 0
        words = ("--target", "replica-1", "--reason", "drill")
        assert gameday("stack", "do", "undrain_replica", *words).returncode == 0
        status = gameday("stack", "status").stdout
        assert "breaker_open gateway 0" in status and "drained replica-1 0" in status
        assert gameday("stack", "tickets").stdout == "no tickets\n"
    finally:
        assert gameday("stack", "down").returncode == 0
