"""A machine at its limits: each run ends in one clear message, and leaves nothing behind.

The runs are real ones, on the tiny stack of processes or on virtual time, through the command. They
mostly wait, so they are all started at once, a few at a time, and judged one by one.
"""

import contextlib
import itertools
import json
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fixtures.stacks.processes import TinyProcesses
from harness.cli import arguments
from harness.run import ballast
from harness.run.webhook import Webhook
from tests.conftest import ROOT, gameday

pytestmark = pytest.mark.stack

SCENARIO = """\
name: tiny
why: Whatever the machine runs out of, nothing may be left broken.
stack: processes
slo: quick
load: {arrivals: constant, rate: 20/s}
phases: {warmup: 1s, baseline: 5s, fault: 4s, recovery: 4s}
hold: 1s
faults:
  - drop_features: {severity: 5}
    where: all feed
    at: 500ms
    for: 2s
expect:
  - overall: {sli: success_ratio, at_least: 50%, during: baseline}
"""
AT_ONCE = 4
PORTS = (3000, 5000, 5557, 5558, 6379, 8000, 8001, 8002, 8080, 8089, 8474, 9090, 9093, 9094, 9100)
"""Where the parts of such stacks usually listen."""
JUMPS = """
import time
_wall, _zero = time.time, time.monotonic()
def _jumping():
    return _wall() + (JUMP_S if time.monotonic() - _zero > 7 else 0.0)
time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
"""


@dataclass
class Ended:
    """A run of the command that is over, and the home it had."""

    done: "subprocess.CompletedProcess[str]"
    home: Path

    def events(self) -> list[dict[str, Any]]:
        (path,) = self.home.glob("runs/*/events.jsonl")
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def limited(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


FILE_BYTES = (0, 3_000, 8_000, 60_000)
OPEN_FILES = (8, 12, 16, 24, 32)
STACKS = ("processes", "simulated")
RESERVE = ballast.SIZE // 1024
FULL = (
    *(("processes", kb) for kb in (40, 140, RESERVE + 140, RESERVE + 164, RESERVE + 244)),
    *(("simulated", kb) for kb in (40, 140)),
)  # kB


class Runs:
    """Starts runs of one scenario, a few at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "slos").mkdir()
        slo = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")
        quick = re.sub(r"long: \w+, short: \w+", "long: 5s, short: 1s", slo)
        assert quick != slo
        (folder / "slos" / "quick.yaml").write_text(quick)
        self.scenario = folder / "tiny.yaml"
        self.scenario.write_text(SCENARIO)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._started: dict[str, Future[Ended]] = {}

    def start(
        self,
        name: str,
        *words: str,
        home: Path | None = None,
        limit: Callable[[], None] | None = None,
        **environment: str,
    ) -> None:
        own = home or self.folder / f"home-{name}"
        variables = {**os.environ, "GAMEDAY_HOME": str(own), **environment}

        def run() -> Ended:
            done = gameday("run", self.scenario, "--quiet", *words, env=variables, preexec_fn=limit)
            return Ended(done, own)

        self._started[name] = self._pool.submit(run)

    def __getitem__(self, name: str) -> Ended:
        return self._started[name].result()

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture(scope="module")
def disks(tmp_path_factory) -> Iterator[dict[str, Path]]:
    """Small disks, and one that cannot be written; none where this user may mount nothing."""
    found = {}
    wanted = {f"{stack} on disk {kb}": f"size={kb}k" for stack, kb in FULL}
    wanted |= {f"{stack} on disk ro": "ro,size=16k" for stack in STACKS}
    for name, options in wanted.items():
        place = tmp_path_factory.mktemp("disk")
        argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        with contextlib.suppress(OSError):
            if subprocess.run(argv, capture_output=True).returncode == 0:
                found[name] = place
    yield found
    for place in found.values():
        subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, disks) -> Iterator[Runs]:
    found = Runs(tmp_path_factory.mktemp("limits"))
    taken = []
    for port in PORTS:
        with contextlib.suppress(OSError):  # somebody else has it, which will do
            taken.append(socket.create_server(("127.0.0.1", port)))
    shared = found.folder / "shared"
    for number in (1, 2):
        found.start(f"one of two, {number}", home=shared)
    found.start("on another stack", "--stack", "simulated", home=shared)
    for jump in ("3600", "-3600"):
        jumps = found.folder / f"jump {jump}"
        jumps.mkdir()
        (jumps / "sitecustomize.py").write_text(JUMPS.replace("JUMP_S", jump))
        found.start(f"jump {jump}", PYTHONPATH=str(jumps))
    for stack, most in itertools.product(STACKS, FILE_BYTES):
        limit = limited(resource.RLIMIT_FSIZE, most)
        found.start(f"{stack} {most} bytes", "--stack", stack, limit=limit)
    for most in OPEN_FILES:
        found.start(f"{most} files", limit=limited(resource.RLIMIT_NOFILE, most))
    for name, place in disks.items():
        found.start(name, "--stack", name.split()[0], home=place / "home")
    yield found
    found.close()
    for held in taken:
        held.close()


def left_behind(home: Path) -> list[str]:
    """The command lines of processes that have this home in their environment."""
    needle = f"GAMEDAY_HOME={home}".encode()
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if needle in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(Path("/proc", entry, "cmdline").read_bytes().decode())
    return found


def ends_well(ended: Ended, words: str) -> None:
    """One clear message with the right words, exit code 3 or 2, and nothing left."""
    done = ended.done
    assert done.returncode in (2, 3), done
    assert "Traceback" not in done.stdout + done.stderr, done
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("gameday: "), done
    assert re.search(words, said[0]), done
    assert left_behind(ended.home) == []


@pytest.mark.parametrize("most", FILE_BYTES)
@pytest.mark.parametrize("stack", STACKS)
def test_a_file_that_may_not_grow(runs, stack, most):
    ends_well(runs[f"{stack} {most} bytes"], r"File too large")


@pytest.mark.parametrize("most", OPEN_FILES)
def test_too_few_open_files(runs, most):
    ends_well(runs[f"{most} files"], r"Too many open files")


@pytest.mark.parametrize(("stack", "size"), FULL)
def test_a_disk_that_is_full(runs, disks, stack, size):
    name = f"{stack} on disk {size}"
    if name in disks:
        words = r"No space left on device.*; free some, or set GAMEDAY_HOME"
    else:  # a user that may not mount: a home that is a file is no disk at all
        (runs.folder / name).write_text("")
        runs.start(name, "--stack", stack, home=runs.folder / name)
        words = "cannot make the run folder .*set GAMEDAY_HOME"
    ends_well(runs[name], words)


@pytest.mark.parametrize("stack", STACKS)
def test_a_folder_that_cannot_be_written(runs, disks, stack):
    name = f"{stack} on disk ro"
    if name not in disks:
        place = runs.folder / f"closed-{stack}"
        place.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        runs.start(name, "--stack", stack, home=place / "home")
    ends_well(runs[name], r"cannot make the run folder .*set GAMEDAY_HOME|Read-only file system;")


def test_runs_on_stacks_of_their_own_do_not_meet_and_take_no_usual_port(runs):
    names = ("one of two, 1", "one of two, 2", "on another stack")
    for name in names[:2]:
        assert runs[name].done.returncode == 0, runs[name].done
    assert runs[names[2]].done.returncode in (0, 1), runs[names[2]].done
    home = runs[names[0]].home
    folders = list((home / "runs").iterdir())
    assert len(folders) == 3
    assert left_behind(home) == []
    kinds = [re.findall(r'"kind":"(\w+)"', (f / "events.jsonl").read_text()) for f in folders]
    spans = [kind for kind in kinds if "StackDown" in kind and kind[-1] == "RunFinished"]
    assert len(spans) == 3
    began = [json.loads((f / "events.jsonl").read_text().splitlines()[0]) for f in folders]
    real = sorted(one["wall_s"] for one in began if not one["virtual_time"])
    assert real[1] - real[0] < 14, "they were to run at the same time"


def test_the_same_stack_is_not_stood_up_twice(tmp_path):
    environment = {**os.environ, "GAMEDAY_HOME": str(tmp_path)}
    try:
        assert gameday("stack", "up", "--name", "processes", env=environment).returncode == 0
        again = gameday("stack", "up", "--name", "processes", env=environment)
        assert again.returncode == 2 and "is there already" in again.stderr
        status = gameday("stack", "status", "--name", "processes", env=environment)
        assert status.stdout.count("replica_ready replica-") == 2, status
    finally:
        down = gameday("stack", "down", "--name", "processes", env=environment)
    assert down.returncode == 0 and left_behind(tmp_path) == []


def test_the_same_stack_is_not_stood_up_by_two_at_once(tmp_path, monkeypatch):
    """The second one asks before the first has written down that there is a stack."""
    environment = {**os.environ, "GAMEDAY_HOME": str(tmp_path)}
    monkeypatch.setenv("GAMEDAY_HOME", str(tmp_path))
    up, second = TinyProcesses.up, []

    async def meanwhile(stack, site):
        second.append(gameday("stack", "up", "--name", "processes", env=environment))
        await up(stack, site)

    monkeypatch.setattr(TinyProcesses, "up", meanwhile)
    try:
        assert arguments.main(["stack", "up", "--name", "processes"]) == 0
    finally:
        gameday("stack", "down", "--name", "processes", env=environment)
    assert second[0].returncode == 2 and "just now" in second[0].stderr, second[0]
    assert len(second[0].stderr.splitlines()) == 1 and left_behind(tmp_path) == []


@pytest.mark.parametrize("jump", ["3600", "-3600"])
def test_a_clock_that_jumps_moves_no_duration(runs, jump):
    """The wall clock of every process jumps by an hour, seven seconds after its start."""
    ended = runs[f"jump {jump}"]
    assert ended.done.returncode == 0, ended.done
    assert left_behind(ended.home) == []
    events = ended.events()
    at = {e["phase"]: e["t"] for e in events if e["kind"] == "PhaseEntered"}
    lasted = [b - a for a, b in itertools.pairwise(at.values())]
    assert lasted == pytest.approx([1, 5, 4], abs=1.5)
    by_kind = {e["kind"]: e["t"] for e in events}
    assert 1.5 < by_kind["FaultHealed"] - by_kind["FaultInjected"] < 6
    assert all(0 <= e["t"] < 120 for e in events)


def test_the_sitecustomize_of_the_clock_test_does_jump(tmp_path):
    said = JUMPS.replace("> 7", "> 0.2").replace("JUMP_S", "3600")
    (tmp_path / "sitecustomize.py").write_text(said)
    code = "import time; a = time.time(); time.sleep(0.3); print(time.time() - a > 3000)"
    environment = {"PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.stdout == "True\n", done


def test_what_listens_asks_for_any_port():
    """So a port that is taken cannot happen: the kernel gives one that is free."""
    import asyncio

    from fixtures.stacks import _ports

    async def two() -> None:
        async with Webhook(lambda _: None) as one, Webhook(lambda _: None) as other:
            assert one.url != other.url
            assert all(w.url.startswith("http://127.0.0.1:") for w in (one, other))

    asyncio.run(two())
    held = [make() for make in (_ports.listening, _ports.reserved) for _ in range(20)]
    try:
        assert len({_ports.address(one) for one in held}) == 40
        assert all(_ports.address(one).startswith("127.0.0.1:") for one in held)
    finally:
        for one in held:
            one.close()


def test_a_run_id_is_never_used_twice_whatever_the_clock_says(tmp_path):
    from harness.run import folder as folders

    folders.create("20260101T000000Z-x-0000", tmp_path)
    with pytest.raises(folders.FolderError, match="cannot make the run folder"):
        folders.create("20260101T000000Z-x-0000", tmp_path)
    shutil.rmtree(tmp_path)
