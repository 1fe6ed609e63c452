"""The smallest stack of real processes: they do nothing, and its state is a file.

The file outlives everything, so what a fault did to it stays until somebody heals it. Of its
processes only the first is written down; the second can be found by the mark in its environment,
and a third, if it is asked for, by nobody who did not see it running.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from harness import (
    Answer,
    AuditEntry,
    Cases,
    Endpoint,
    Json,
    RawSeries,
    Reading,
    Site,
    Topology,
    param,
    stack,
)
from harness.run.fence import write_durably
from harness.run.processes import Process, process

NODES = ("a", "b", "c")


@stack
@dataclass
class Filed:
    """Three nodes, each a key of one file."""

    virtual_time: ClassVar[bool] = False

    up_s: float = param(0.0, "how long it takes to stand up", ge=0)
    down_s: float = param(0.0, "how long it takes to take down", ge=0)
    sleeps: str = param("98765", "what its processes sleep, so that a test can tell them apart")

    hides: bool = param(False, "whether there is a third process, without the mark")

    def __post_init__(self) -> None:
        self._folder = Path()
        self._own: list[subprocess.Popen[bytes]] = []
        self._children: list[Process] = []

    def topology(self) -> Topology:
        return {"part": NODES}

    async def up(self, site: Site) -> None:
        self._folder = Path(site.folder)
        write_durably(self._state, json.dumps(dict.fromkeys(NODES, "healthy")))
        self._save()
        self._start("sleep", self.sleeps, "1")
        self._children.append(process(self._own[0].pid))
        self._save()
        try:
            await asyncio.sleep(self.up_s)
            self._start("sleep", self.sleeps, "2")
            if self.hides:
                self._start("env", "-i", "/bin/sleep", self.sleeps, "3")
        except BaseException:
            await self.down()
            raise

    async def down(self) -> None:
        await asyncio.sleep(self.down_s)
        for child in self._children:
            child.signal(signal.SIGKILL)
        for own in self._own:
            own.kill()
            own.wait()
        if self._folder != Path():
            (self._folder / "attach.json").unlink(missing_ok=True)

    async def call(self, case: int) -> Answer:
        await asyncio.sleep(0.002)
        return Answer(0, 200, "a", "m", "1", "none", 0, 0.1, 0)

    async def cases(self, count: int) -> Cases:
        return Cases(np.zeros(count, bool), np.zeros(count, bool))

    async def probe(self) -> Sequence[Reading]:
        return ()

    async def audit(self, after: int) -> Sequence[AuditEntry]:
        return ()

    async def fingerprint(self) -> Mapping[str, str]:
        return self.read()

    async def series(self, start_wall_s: float, end_wall_s: float) -> Sequence[RawSeries]:
        return ()

    async def clock(self) -> tuple[float, float]:
        return 0.0, 0.001

    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", 9, "/", {})

    def addresses(self) -> Mapping[str, str]:
        return {"file": str(self._state)}

    def state(self) -> Json:
        children = [child.to_json() for child in self._children]
        return {"folder": str(self._folder), "children": children, "down_s": self.down_s}

    @classmethod
    def attach(cls, state: Json) -> "Filed":
        attached = cls(down_s=state["down_s"])
        attached._folder = Path(state["folder"])
        attached._children = [Process.from_json(child) for child in state["children"]]
        return attached

    def read(self) -> dict[str, str]:
        return json.loads(self._state.read_text())

    def put(self, node: str, value: str) -> None:
        write_durably(self._state, json.dumps(self.read() | {node: value}))

    @property
    def _state(self) -> Path:
        return self._folder / "state.json"

    def _save(self) -> None:
        write_durably(self._folder / "attach.json", json.dumps(self.state()))

    def _start(self, *argv: str) -> None:
        with contextlib.ExitStack() as closing:
            log = closing.enter_context((self._folder / "log").open("ab"))
            self._own.append(
                subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True, env=dict(os.environ),
                )
            )  # fmt: skip
