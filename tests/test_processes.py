"""Children of the local stack, with tiny Pythons in place of services."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.stacks import _ports
from fixtures.stacks._processes import MARK, Child, Processes, marked
from harness import StackError

FOREVER = "import time; time.sleep(600)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(600)"
)
DEADLINE_S = 20.0


def python(code):
    return [sys.executable, "-I", "-c", code]


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path, secrets.token_hex(8))
    yield made
    made.kill()


def eventually(holds):
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.02)


def starttime_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


async def never():
    return False


async def at_once():
    return True


def test_a_child_leads_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(processes):
    processes.spawn("one", python(FOREVER))
    pid = processes.children["one"].pid
    assert os.getsid(pid) == pid != os.getsid(0)


def test_output_of_a_child_goes_to_its_own_log(processes):
    processes.spawn("one", python("import sys; print('out'); print('err', file=sys.stderr)"))
    processes.spawn("two", python("print('other')"))
    eventually(lambda: not processes.alive("one") and not processes.alive("two"))
    assert sorted(processes.log("one").read_text().split()) == ["err", "out"]
    assert processes.log("two").read_text() == "other\n"


def test_a_listening_socket_is_handed_down_under_its_number(processes):
    serve = (
        "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); "
        "c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    )
    with _ports.listening() as listener:
        where = listener.getsockname()
        argv = [*python(serve), str(listener.fileno())]
        processes.spawn("server", argv, fds=[listener.fileno()])
    with socket.create_connection(where, timeout=DEADLINE_S) as client:
        assert client.recv(10) == b"hello"


def test_a_reserved_port_refuses_until_a_server_with_so_reuseaddr_binds_it():
    with _ports.reserved() as reserved:
        where = reserved.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=DEADLINE_S)
        with socket.socket() as thief, pytest.raises(OSError):
            thief.bind(where)
        with socket.create_server(where) as server:  # sets SO_REUSEADDR, as Redis and Go do
            socket.create_connection(where, timeout=DEADLINE_S).close()
            assert server.getsockname() == where


def test_stop_ends_all_children_and_works_twice(processes):
    for name in ("one", "two"):
        processes.spawn(name, python(FOREVER))
    children = list(processes.children.values())
    asyncio.run(processes.stop())
    assert not any(child.alive for child in children)
    assert processes.children == {}
    asyncio.run(processes.stop())


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(processes, monkeypatch):
    monkeypatch.setattr("fixtures.stacks._processes.GRACE_S", 0.2)
    processes.spawn("deaf", python(DEAF))
    child = processes.children["deaf"]
    eventually(lambda: processes.log("deaf").exists() and processes.log("deaf").read_text())
    asyncio.run(processes.stop())
    assert not child.alive


def test_a_stopped_child_is_ended_too(processes):
    processes.spawn("one", python(FOREVER))
    child = processes.children["one"]
    child.signal(signal.SIGSTOP)
    asyncio.run(processes.stop())
    assert not child.alive


def test_a_cancelled_stop_kills_at_once(processes):
    processes.spawn("deaf", python(DEAF))
    child = processes.children["deaf"]
    eventually(lambda: processes.log("deaf").exists() and processes.log("deaf").read_text())

    async def cancelled():
        stopping = asyncio.create_task(processes.stop())
        await asyncio.sleep(0.05)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping

    asyncio.run(cancelled())
    eventually(lambda: not child.alive)


def test_a_recycled_process_id_is_never_signalled(tmp_path):
    bystander = subprocess.Popen(python(FOREVER))
    try:
        true = Child(bystander.pid, starttime_of(bystander.pid))
        stale = Child(bystander.pid, true.started - 1)
        assert true.alive and not stale.alive
        stale.signal(signal.SIGKILL)
        other = Processes(tmp_path, secrets.token_hex(8), {"gone": stale})
        asyncio.run(other.stop())
        assert bystander.poll() is None and true.alive
    finally:
        bystander.kill()
        bystander.wait()


def test_another_process_can_take_over_what_was_written_down_and_stop_it(processes, tmp_path):
    processes.spawn("one", python(FOREVER))
    child = processes.children["one"]
    written = json.loads(json.dumps(processes.to_json()))
    other = Processes(tmp_path, secrets.token_hex(8))
    other.adopt(written)
    assert other.alive("one")
    asyncio.run(other.stop())
    assert not child.alive and not processes.alive("one")


def test_children_that_nobody_wrote_down_are_found_by_their_mark(processes, tmp_path):
    mark = secrets.token_hex(8)
    orphan = subprocess.Popen(python(FOREVER), env={**os.environ, MARK: mark})
    stranger = subprocess.Popen(python(FOREVER), env={**os.environ, MARK: mark + "0"})
    try:
        eventually(lambda: [child.pid for child in marked(mark)] == [orphan.pid])
        asyncio.run(Processes(tmp_path, mark).stop())
        assert orphan.wait(DEADLINE_S) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for left in (orphan, stranger):
            left.kill()
            left.wait()


def test_what_a_child_left_behind_ends_with_it(processes):
    fork = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(600)'], "
        "start_new_session=True); print('forked', flush=True)"
    )
    processes.spawn("parent", python(fork))
    eventually(lambda: not processes.alive("parent"))
    mark = processes._mark
    assert len(marked(mark)) == 1
    asyncio.run(processes.stop())
    eventually(lambda: marked(mark) == [])


def test_every_start_and_stop_is_written_down_at_once(tmp_path):
    seen = []
    processes = Processes(tmp_path, secrets.token_hex(8))
    processes._changed = lambda: seen.append(sorted(processes.children))
    processes.spawn("one", python(FOREVER))
    processes.spawn("two", python(FOREVER))
    asyncio.run(processes.stop(["one"]))
    asyncio.run(processes.stop())
    assert seen == [["one"], ["one", "two"], ["two"], []]


def test_ready_returns_once_every_check_holds(processes):
    processes.spawn("one", python(FOREVER))
    calls = []

    async def third_time():
        calls.append(1)
        return len(calls) == 3

    asyncio.run(processes.await_ready({"one": third_time}, DEADLINE_S))
    assert len(calls) == 3


def test_a_child_that_dies_while_starting_is_named_with_the_tail_of_its_log(processes):
    processes.spawn("good", python(FOREVER))
    processes.spawn("bad", python("print('first'); print('cannot bind'); raise SystemExit(3)"))
    with pytest.raises(StackError) as error:
        asyncio.run(processes.await_ready({"good": never, "bad": never}, DEADLINE_S))
    assert str(error.value).splitlines() == [
        "bad ended with status 3 before it was ready",
        f"the end of {processes.log('bad')}:",
        "  first",
        "  cannot bind",
    ]


def test_a_child_that_is_killed_while_starting_says_by_which_signal(processes):
    processes.spawn("bad", python("import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(StackError, match="bad was ended by SIGKILL before it was ready"):
        asyncio.run(processes.await_ready({"bad": never}, DEADLINE_S))


def test_a_child_that_is_never_ready_is_named_after_the_deadline(processes):
    processes.spawn("quick", python(FOREVER))
    processes.spawn("slow", python("print('loading', flush=True); import time; time.sleep(600)"))
    eventually(lambda: processes.log("slow").read_text())
    with pytest.raises(StackError, match=r"(?s)not ready after 0.3 s: slow\n.*loading"):
        asyncio.run(processes.await_ready({"quick": at_once, "slow": never}, 0.3))


def test_a_check_that_hangs_does_not_hide_a_death(processes, monkeypatch):
    monkeypatch.setattr("fixtures.stacks._processes._CHECK_S", 0.1)

    async def hangs():
        await asyncio.sleep(600)
        return True

    processes.spawn("bad", python("raise SystemExit(1)"))
    with pytest.raises(StackError, match="bad ended with status 1"):
        asyncio.run(processes.await_ready({"bad": hangs}, DEADLINE_S))


def test_a_program_that_is_not_there_is_named(processes):
    with pytest.raises(StackError, match="redis cannot be started: .*no-such-server"):
        processes.spawn("redis", ["/no-such-server"])


def test_a_held_child_reads_the_end_of_its_input_when_its_starter_dies(tmp_path):
    script = f"""
import os, sys
sys.path.insert(0, {os.getcwd()!r})
from pathlib import Path
from fixtures.stacks._processes import Processes
held = Processes(Path({str(tmp_path)!r}), "held-by-the-dead")
held.spawn("held", [sys.executable, "-I", "-c",
    "import sys; sys.stdin.read(); print('let go', flush=True)"], held=True)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    log = tmp_path / "logs" / "held.log"
    eventually(lambda: log.exists() and log.read_text() == "let go\n")
