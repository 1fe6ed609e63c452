"""The stack of tiny processes: quick to stand up, and whole again whoever breaks it and dies."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.stacks import _carrier
from fixtures.stacks._processes import environment, marked
from fixtures.stacks.processes import FEATURES, TinyProcesses
from harness import FeedRewritable, FeedRule, Killable, Pausable, Site, StackError
from harness.capabilities import Hurriable
from harness.protocols import Served
from tests.conftest import CATALOG, ROOT

DEADLINE_S = 20.0
RULE = FeedRule(("dep_delay",), 1.0, "null", "1")
REPLICAS = ("replica-0", "replica-1")
BREAKS = {
    "drop": lambda s: rewrite(s),
    "kill": lambda s: kill(s, ("replica-0",)),
    "pause": lambda s: pause(s, REPLICAS, 1.0),
}
HEALS = {
    "drop": lambda s: s.restore_feed(None),
    "kill": lambda s: s.start_again(("replica-0",)),
    "pause": lambda s: s.resume(REPLICAS),
}


async def rewrite(stack):
    await stack.rewrite_feed(RULE, await stack.feed_route())


async def kill(stack, nodes):
    await stack.kill(nodes, await stack.killable(nodes))


async def pause(stack, nodes, share):
    await stack.pause(nodes, share, await stack.pausable(nodes))


async def until(holds, within_s=DEADLINE_S):
    deadline_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def standing(folder, **settings):
    """A stack that is up, with what it is like when whole; nothing of it is left afterwards."""
    stack = TinyProcesses(**settings)
    await stack.up(Site(folder=str(folder)))
    mark = stack._stands.mark
    try:
        yield stack, await stack.fingerprint()
    finally:
        await stack.down()
    assert marked(mark) == [] and not (folder / "attach.json").exists()


def ask(stack, entity=0):
    """One request: the headers and the body of its answer."""
    to = stack.endpoint()
    connection = http.client.HTTPConnection(to.host, to.port, timeout=DEADLINE_S)
    body = json.dumps(
        {
            "parameters": {"flight_id": f"f{entity}"},
            "features": FEATURES,
            "dep_delay": 20.0 if entity % 3 == 0 else 0.0,
        }
    )
    with contextlib.closing(connection):
        connection.request("POST", to.path, body)
        answer = connection.getresponse()
        assert answer.status == 200
        return dict(answer.getheaders()), json.loads(answer.read())


def late(body):
    return next(o["data"][0] for o in body["outputs"] if o["name"] == "late")


BREAKER = """
import asyncio, json, sys
from fixtures.stacks.processes import TinyProcesses
from tests.test_stack_processes import BREAKS, HEALS, kill

async def main():
    stack = TinyProcesses.attach(json.load(open(sys.argv[1])))
    for name in sys.argv[2].split(","):
        await {**BREAKS, **{f"heal {n}": h for n, h in HEALS.items()}}[name](stack)
    print("done", flush=True)
    await asyncio.sleep(float(sys.argv[3]))

asyncio.run(main())
"""


def another_process(folder, what, *, lingers_s=600):
    argv = [sys.executable, "-c", BREAKER, str(folder / "attach.json"), what, str(lingers_s)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_it_is_a_served_stack_that_hosts_every_fault_it_was_made_for():
    assert issubclass(TinyProcesses, Served)
    for capability in (FeedRewritable, Killable, Pausable):
        assert issubclass(TinyProcesses, capability)
    for name in ("drop_features", "kill_replica", "pause_replica"):
        assert CATALOG.fits(name, "processes")


def test_importing_it_brings_in_nothing_heavy():
    code = (
        "import sys, fixtures.stacks.processes\n"
        "heavy = {'asyncio', 'aiohttp', 'numpy', 'subprocess', 'socket'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr


def test_it_is_up_in_less_than_half_a_second(tmp_path, capsys):
    async def play():
        took = []
        for attempt in range(5):
            folder = tmp_path / str(attempt)
            folder.mkdir()
            began_s = time.perf_counter()
            async with standing(folder):
                took.append(time.perf_counter() - began_s)
        return min(took)

    best_s = asyncio.run(play())
    with capsys.disabled():
        print(f" (up in {best_s:.3f} s)", end="")
    assert best_s < 2.0  # 0.08 s on a quiet machine


def resident_kib(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def test_its_processes_are_small(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):
            for child in stack._stands.processes.children.values():
                assert resident_kib(child.pid) < 30_000

    asyncio.run(play())


def test_it_answers_as_its_cases_say_and_falls_back_when_nobody_else_does(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):
            cases = await stack.cases(2_500)
            assert len(cases.bodies) == len(cases.label) == len(cases.golden) == 2_500
            for entity in range(4):
                headers, body = await asyncio.to_thread(ask, stack, entity)
                assert late(body) == cases.golden[entity] == cases.label[entity]
                assert headers["x-model"] == "champion" and headers["x-feature-mask"] == "0"
            await rewrite(stack)
            headers, body = await asyncio.to_thread(ask, stack)
            assert headers["x-feature-mask"] == "1" and not late(body), "imputed, and wrong"
            await kill(stack, REPLICAS)
            headers, body = await asyncio.to_thread(ask, stack)
            assert headers["x-fallback"] == "rule" and late(body)

    asyncio.run(play())


def test_probes_tell_the_dead_from_the_hanging_and_the_spoilt_from_the_whole(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):

            async def probes():
                return {(r.probe, r.node): r.value for r in await stack.probe()}

            whole = {("replica_ready", node): 1.0 for node in REPLICAS}
            await until(lambda: _equal(probes, {**whole, ("store_lacking", "feed"): 0.0}))
            await rewrite(stack)
            await kill(stack, ("replica-0",))
            await pause(stack, ("replica-1",), 1.0)
            broken = {("replica_ready", "replica-0"): 0.0, ("store_lacking", "feed"): 1.0}
            assert await probes() == broken

    asyncio.run(play())


async def _equal(read, expected):
    return await read() == expected


def test_the_audit_trail_is_what_a_person_wrote_into_the_file(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):
            assert await stack.audit(0) == []
            entry = {"wall_s": 1.0, "who": "kim", "what": "look", "target": "feed", "why": "x"}
            lines = [json.dumps({"seq": seq, **entry}) for seq in (1, 2)]
            await asyncio.to_thread((tmp_path / "audit.jsonl").write_text, "\n".join(lines))
            assert [found.seq for found in await stack.audit(1)] == [2]

    asyncio.run(play())


@pytest.mark.parametrize("order", list(itertools.permutations(HEALS)), ids="-".join)
def test_faults_overlap_and_heal_in_any_order(tmp_path, order):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            for broken in BREAKS.values():
                await broken(stack)
            await until(lambda: _state(stack, "replica-0", "dead"))
            await until(lambda: _state(stack, "replica-1", "paused"))
            assert (await stack.fingerprint())["route"] != whole["route"]
            for name in order:
                await HEALS[name](stack)
            assert await stack.fingerprint() == whole
            await asyncio.to_thread(ask, stack)
            assert sorted(stack.state()["children"]) == ["gateway", *REPLICAS]

    asyncio.run(play())


def test_a_replica_that_is_started_again_is_paused_as_well_and_serves_where_it_was(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            await pause(stack, ("replica-0",), 1.0)
            before = stack._stands.processes.children["replica-0"]
            await kill(stack, ("replica-0",))
            await stack.start_again(("replica-0",))
            after = stack._stands.processes.children["replica-0"]
            assert after != before and await stack.pausing(("replica-0",))
            await until(lambda: _state(stack, "replica-0", "paused"))
            await stack.resume(("replica-0",))
            assert await stack.fingerprint() == whole
            await until(lambda: stack._stands.serves["replica-0"]())

    asyncio.run(play())


async def _state(stack, node, expected):
    return (await stack.fingerprint())[node] == expected


def start_by_hand(folder, node):
    """As a process manager would that knows nothing of the fault."""
    recipes = json.loads(next(folder.glob("kill-*.json")).read_text())["recipes"]
    code = f"from fixtures.stacks import _carrier; _carrier.start({str(folder)!r}, {node!r}, "
    deadline_s = time.monotonic() + DEADLINE_S
    while subprocess.run([sys.executable, "-c", f"{code}{recipes[node]!r})"], cwd=ROOT).returncode:
        assert time.monotonic() < deadline_s


def test_what_is_killed_is_killed_again_when_something_starts_it(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):
            await kill(stack, ("replica-0",))
            await asyncio.to_thread(start_by_hand, tmp_path, "replica-0")
            assert (tmp_path / "pids" / "replica-0.json").exists()
            await until(lambda: _state(stack, "replica-0", "dead"))

    asyncio.run(play())


def test_who_is_in_a_hurry_starts_it_again_and_does_not_wait_for_it_to_serve(tmp_path):
    async def never():
        return False

    async def play():
        async with standing(tmp_path) as (stack, whole):
            await kill(stack, ("replica-0",))
            there = TinyProcesses.attach(stack.state())
            assert isinstance(there, Hurriable)
            there._stands.nodes._serves["replica-0"] = never
            there.hurry()
            await asyncio.wait_for(there.start_again(("replica-0",)), DEADLINE_S / 4)
            assert (await there.running(("replica-0",))) == {"replica-0": True}
            await until(lambda: _state(stack, "replica-0", "running"))
            assert await stack.fingerprint() == whole

    asyncio.run(play())


def test_a_node_that_nobody_wrote_down_is_found_and_not_started_twice(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            tiny = stack._stands
            recipe = tiny._recipe("replica-0")
            tiny.processes.children["replica-0"].signal(signal.SIGKILL)
            await until(lambda: _state(stack, "replica-0", "dead"))
            with _carrier.bound(recipe.address) as listener:
                listener.listen()
                config = {"name": "replica-0", "fd": listener.fileno()}
                await asyncio.to_thread(Path(recipe.config).write_text, json.dumps(config))
                orphan = subprocess.Popen(  # noqa: ASYNC220 (its starter dies in the next instant)
                    recipe.argv, pass_fds=[listener.fileno()], env=environment(tiny.mark)
                )
            try:
                assert await _state(stack, "replica-0", "dead")
                await asyncio.wait_for(stack.start_again(("replica-0",)), DEADLINE_S)
                assert tiny.processes.children["replica-0"].pid == orphan.pid
                assert await stack.fingerprint() == whole
            finally:
                orphan.kill()
                await asyncio.to_thread(orphan.wait)

    asyncio.run(play())


def test_a_pause_of_half_of_every_second_is_just_that(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            await pause(stack, ("replica-0",), 0.5)
            seen = []
            until_s = time.monotonic() + 4.0
            while time.monotonic() < until_s:
                seen.append((await stack.fingerprint())["replica-0"])
                assert await stack.pausing(("replica-0",)), "it is being paused all the time"
                await asyncio.sleep(0.02)
            share = seen.count("paused") / len(seen)
            assert 0.25 < share < 0.75, share
            changes = sum(a != b for a, b in itertools.pairwise(seen))
            assert 4 <= changes <= 12, changes
            await stack.resume(("replica-0",))
            assert await stack.fingerprint() == whole

    asyncio.run(play())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_whatever_is_broken_mends_itself_when_the_harness_dies_or_stops(tmp_path, number):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            harness = another_process(tmp_path, ",".join(BREAKS))
            try:
                assert await asyncio.to_thread(harness.stdout.readline) == "done\n"
                now = await stack.fingerprint()
                assert (now["replica-0"], now["replica-1"]) == ("dead", "paused")
                harness.send_signal(number)
                await until(lambda: _equal(stack.fingerprint, whole))
                harness.send_signal(signal.SIGCONT)
                for _ in range(20):  # nor does it break again what was mended
                    assert await stack.fingerprint() == whole
                    await asyncio.sleep(0.05)
            finally:
                harness.kill()
                await asyncio.to_thread(harness.communicate)

    asyncio.run(play())


def test_another_process_mends_it_with_nothing_but_the_state_file(tmp_path):
    async def play():
        async with standing(tmp_path, lease_s=60.0) as (stack, whole):
            for broken in BREAKS.values():
                await broken(stack)
            heals = ",".join(f"heal {name}" for name in HEALS)
            mender = another_process(tmp_path, heals, lingers_s=0)
            await asyncio.to_thread(mender.communicate, None, DEADLINE_S)
            assert mender.returncode == 0
            assert await stack.fingerprint() == whole
            await asyncio.to_thread(ask, stack)

    asyncio.run(play())


@pytest.mark.parametrize("name", HEALS)
def test_leave_to_break_ends_with_the_next_heal(tmp_path, name):
    async def play():
        async with standing(tmp_path) as (stack, whole):
            late_comers = {
                "drop": (stack.rewrite_feed, RULE, await stack.feed_route()),
                "kill": (stack.kill, ("replica-0",), await stack.killable(("replica-0",))),
                "pause": (stack.pause, REPLICAS, 1.0, await stack.pausable(REPLICAS)),
            }
            await HEALS[name](stack)
            break_it, *how = late_comers[name]
            with pytest.raises(StackError, match="ended with status 2"):
                await break_it(*how)
            assert await stack.fingerprint() == whole

    asyncio.run(play())


def test_nothing_is_started_in_the_name_of_a_stack_that_somebody_else_took_down(tmp_path):
    async def play():
        stack = TinyProcesses()
        await stack.up(Site(folder=str(tmp_path)))
        mark, leave = stack._stands.mark, await stack.killable(REPLICAS)
        other = TinyProcesses.attach(json.loads(json.dumps(stack.state())))
        await other.down()
        for use in (
            lambda: stack.start_again(REPLICAS),
            lambda: stack.kill(REPLICAS, leave),
        ):
            with pytest.raises(StackError, match="taken down by somebody else"):
                await use()
        await stack.down()
        assert marked(mark) == []

    asyncio.run(play())


def test_a_node_that_is_no_process_is_refused(tmp_path):
    async def play():
        async with standing(tmp_path) as (stack, _):
            with pytest.raises(ValueError, match="feed cannot be killed or paused here"):
                await stack.killable(("feed",))
            with pytest.raises(ValueError, match="these can: gateway, replica-0, replica-1"):
                await stack.pausable(("redis",))

    asyncio.run(play())


def test_when_one_part_cannot_start_nothing_is_left(tmp_path, monkeypatch):
    from fixtures.stacks import _tiny

    (tmp_path / "broken.py").write_text("raise SystemExit('no disk')")
    monkeypatch.setattr(_tiny._tiny_replica, "__file__", str(tmp_path / "broken.py"))
    stack = TinyProcesses()
    with pytest.raises(StackError, match="(?s)replica-[01] ended with status 1.*no disk"):
        asyncio.run(stack.up(Site(folder=str(tmp_path))))
    assert not (tmp_path / "attach.json").exists()
    ours = [p for p in os.listdir("/proc") if p.isdigit() and _mentions(p, str(tmp_path))]
    assert ours == []


def _mentions(pid, text):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return text in file.read()
    except OSError:
        return False


def test_it_says_so_when_it_is_not_up():
    for use in (TinyProcesses().endpoint, TinyProcesses().addresses, TinyProcesses().state):
        with pytest.raises(StackError, match="the stack is not up"):
            use()
    asyncio.run(TinyProcesses().down())
