"""A server that does as a test tells it, and one load driven against it."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httptools
import numpy as np
import orjson
from numpy.typing import NDArray

from harness.model.rows import ROW
from harness.run.load.driver import (
    LoadDriver,
    LoadFailed,
    LoadReport,
    LoadSpec,
    Summary,
    write_bodies,
)

CASES = 8
PROMPT_S = 3.0
"""Ample for the load process to be ready before its run's zero."""
Rows = NDArray[np.void]
Cases = NDArray[np.integer[Any]]


class Asked(asyncio.Protocol):
    """One connection of a test server: ``answer(self, case)`` decides what becomes of a request."""

    def __init__(self, answer: Callable[["Asked", int], None]) -> None:
        self._answer = answer
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        case, self._body = orjson.loads(self._body)["case"], b""
        self._answer(self, case)

    def reply(self, case: int, status: int = 200, body: bytes | None = None) -> None:
        if body is None:
            late = {"name": "late", "data": [case % 2 == 1]}
            body = orjson.dumps({"outputs": [late, {"name": "score", "data": [case / 100]}]})
        head = (
            f"HTTP/1.1 {status} Whatever\r\nX-Served-By: replica-{case % 2}\r\n"
            f"x-MODEL: champion\r\nx-model-version: v{case}\r\n"
            f"X-Fallback: {'cache' if case == 3 else 'none'}\r\n"
            f"x-feature-mask: {case}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)


@dataclass
class Outcome:
    rows: Rows
    summaries: list[Summary]
    report: LoadReport
    spec: LoadSpec


def every(period_s: float, count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) * np.float64(period_s)


def only(case: int, count: int) -> Cases:
    return np.full(count, case)


def spec_for(
    folder: Path,
    port: int,
    due_s: NDArray[np.float64],
    cases: Cases,
    *,
    lead_s: float = 0.5,
    **more: Any,
) -> LoadSpec:
    write_bodies(folder / "bodies", (orjson.dumps({"case": i}) for i in range(CASES)))
    np.save(folder / "due.npy", (due_s * 1e9).astype(np.int64))
    np.save(folder / "cases.npy", cases.astype(np.uint32))
    spec = LoadSpec(
        host="127.0.0.1",
        port=port,
        path="/v2/models/arrival_delay/infer",
        headers={"content-type": "application/json"},
        bodies_file=folder / "bodies",
        due_ns_file=folder / "due.npy",
        cases_file=folder / "cases.npy",
        zero_ns=time.monotonic_ns() + int(lead_s * 1e9),
        out_file=folder / "requests.bin",
        timeout_s=30.0,
    )
    return dataclasses.replace(spec, **more)


Meddle = Callable[[LoadDriver, list[Asked]], Awaitable[None]]


async def drive(
    folder: Path,
    answer: Callable[[Asked, int], None],
    due_s: NDArray[np.float64],
    cases: Cases,
    *,
    meddle: Meddle | None = None,
    grace_s: float = 10.0,
    **more: Any,
) -> Outcome:
    peers: list[Asked] = []

    def connect() -> Asked:
        peers.append(Asked(answer))
        return peers[-1]

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    spec = spec_for(folder, server.sockets[0].getsockname()[1], due_s, cases, **more)
    driver = LoadDriver()
    try:
        await driver.start(spec)
        summaries: list[Summary] = []
        if meddle is not None:
            await meddle(driver, peers)
        else:
            summaries = [summary async for summary in driver.summaries()]
        report = await driver.stop(grace_s)
    finally:
        server.close()
        if driver.pid is not None and driver.report is None:
            with contextlib.suppress(LoadFailed):
                await driver.stop(0.0)
        for peer in peers:
            peer.transport.abort()
    return Outcome(read_rows(spec.out_file), summaries, report, spec)


def read_rows(path: Path) -> Rows:
    rows = np.fromfile(path, dtype=ROW)
    assert path.stat().st_size == len(rows) * ROW.itemsize
    return rows[np.lexsort((rows["case"], rows["due_ns"]))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to that"
        await asyncio.sleep(0.01)
