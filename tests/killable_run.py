"""``python -m tests.killable_run '{...}'``: a run that tests kill. There are two.

With ``words`` it is the command itself, ``gameday WORDS...``; only the lease of its guardian is
another (and there is none for the negative control).

Without, it is a run by the command's own code with nothing to wait for: three overlapping faults on
the stack of tiny processes, in three seconds, so that it can be killed at every single step.
Replaced is what takes long: the plan is made by hand, the load is a trickle from this process, and
the gate, which wants to see five seconds of it, lets everything pass.
"""

import argparse
import asyncio
import functools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from harness import parse
from harness.catalog import Catalog
from harness.cli import run as command
from harness.cli import sources
from harness.cli.arguments import main as gameday
from harness.cli.errors import explained
from harness.cli.run import Deadman, run_one
from harness.model.plan import Enter, Heal, Inject, Plan
from harness.model.rows import OK, ROW
from harness.run import play
from tests.conftest import ROOT

CATALOG = Catalog()
SLO = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")
SCENARIO = """\
name: three_at_once
why: To kill whoever does this, at any instant, and to see what is left.
stack: processes
slo: flights
seed: 1
load: {arrivals: constant, rate: 20/s}
phases: {warmup: 10s, baseline: 25s, fault: 32s, recovery: 32s}
hold: 10s
absorbed: ok
faults:
  - drop_features: {severity: 5}
    where: all feed
    at: 1s
    for: 30s
  - kill_replica: {severity: 5}
    where: one replica
    at: 1s
    for: 30s
  - pause_replica: {severity: 5}
    where: all replica
    at: 1s
    for: 30s
expect:
  - recovered: {within: 30s}
"""
STEPS = (
    Enter(0.0, "warmup"),
    Enter(0.2, "baseline"),
    Enter(0.5, "fault"),
    Inject(0.6, "drop_features-1", "drop_features", {"fraction": 1.0}, ("feed",)),
    Inject(0.8, "kill_replica-2", "kill_replica", {"share": 1.0}, ("replica-0",)),
    Inject(1.0, "pause_replica-3", "pause_replica", {"share": 1.0}, ("replica-0", "replica-1")),
    Heal(1.8, "kill_replica-2"),
    Heal(2.0, "drop_features-1"),
    Heal(2.2, "pause_replica-3"),
    Enter(2.4, "recovery"),
)
ENDS_S = 2.8
RATE = 20


class Handmade(sources.Source):
    """A source whose plan is written by hand."""

    def plan(self, topology, seed=None):
        due_ns = (np.arange(int(ENDS_S * RATE)) * 1e9 / RATE).astype(np.int64)
        return Plan(self.scenario, self.slo, 1, due_ns, STEPS, ENDS_S, 10.0)


class Trickle:
    """A load of a few requests a second, from the harness's own event loop."""

    def __init__(self, stack):
        self._to = stack.endpoint()
        self._rows = []

    async def prepare(self, plan, cases, folder):
        self._due_ns, self._bodies, self._folder = plan.due_ns, cases.bodies, folder

    async def begin(self, zero_ns, start_ns):
        self._over = asyncio.create_task(self._send(zero_ns, start_ns))

    def more(self):
        new, self._rows = self._rows, []
        return np.array(new, ROW)

    async def watch(self):
        await asyncio.shield(self._over)

    async def stop(self):
        self._over.cancel()
        return {}

    async def _send(self, zero_ns, start_ns):
        with self._folder.requests.open("ab") as file:
            for case, due in enumerate((self._due_ns + start_ns).tolist()):
                await asyncio.sleep(max(0.0, (zero_ns + due - time.monotonic_ns()) / 1e9))
                mask = await self._ask(self._bodies[case])
                end = time.monotonic_ns() - zero_ns
                row = (
                    *(case, due, due, end, end, OK, 200, 1),
                    *(b"replica-0", b"champion", b"tiny", b"none", 0, 0.0, mask),
                )
                self._rows.append(row)
                file.write(np.array([row], ROW).tobytes())
                file.flush()

    async def _ask(self, body):
        head = f"POST {self._to.path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_connection(self._to.host, self._to.port)
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return -1
        return int(answer.partition(b"x-feature-mask: ")[2].split(b"\r\n")[0])


def main():
    asked = json.loads(sys.argv[1])
    if asked["words"]:
        command.Deadman = functools.partial(Deadman, asked["lease_s"], on=asked["on"])
        return gameday(asked["words"])
    play.LOAD_READY_S = 0.1
    play.drive_for = Trickle
    play.steady = lambda *_, **__: (True, "nobody looked")
    scenario = parse.scenario(SCENARIO, CATALOG, source="three_at_once.yaml")
    slo = parse.slo(SLO, name="flights")
    source = Handmade(Path("three_at_once.yaml"), scenario, slo, SLO, CATALOG)
    args = argparse.Namespace(seed=1, out=None, plain=True, quiet=False)
    watch = Deadman(asked["lease_s"], 900.0, asked["on"])
    return explained(lambda _: run_one(source, args, watch).code, args)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
