"""How fast, how punctual and how truthful the load is; beside Locust's own closed loop.

``python -m tests.bench.bench_load`` (about two minutes). The server is pinned to one core, the
load to another. Three questions, each with its target:

1. Requests a second one core sends open loop against a trivial server: >= 8,000.
2. How late a request leaves at 1,000/s, median: <= 0.5 ms.
3. p99 when the server is stopped (SIGSTOP) for 1 s in 10, against what arithmetic says it must be:
   within 3 %. The peer, ``FastHttpUser`` with ``constant_throughput``, meets the same stall.

Cores here are often shared, and a neighbour adds tens of milliseconds to a tail: rounds alternate,
medians of the rounds are judged, CPU time a request is shown beside every rate.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.model.rows import OK, ROW
from harness.run.load.driver import LoadDriver, LoadReport, LoadSpec, write_bodies

PATH = "/v2/models/arrival_delay/infer"
BODY_BYTES = 640  # a V2 request of this domain
STALL_RATE, STALL_FOR_S, STALL_AT_S, STALL_LOAD_S = 500, 1.0, 4.0, 10.0
PEER_USERS = 20
LEAD_S = 1.5
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    pid: int
    port: int


@contextlib.contextmanager
def trivial_server(core: int) -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.bench.trivial_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        os.sched_setaffinity(process.pid, {core})
        try:
            yield Server(process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


@dataclass(frozen=True)
class Stall:
    """When the server was stopped and let go, CLOCK_MONOTONIC ns."""

    start_ns: int
    end_ns: int


async def stall(server: Server, start_s: float) -> Stall:
    """Stop the server at ``start_s`` (CLOCK_MONOTONIC) for ``STALL_FOR_S``."""
    await asyncio.sleep(start_s - time.monotonic())
    os.kill(server.pid, signal.SIGSTOP)
    start_ns = time.monotonic_ns()
    await asyncio.sleep(STALL_FOR_S)
    os.kill(server.pid, signal.SIGCONT)
    return Stall(start_ns, time.monotonic_ns())


@dataclass(frozen=True)
class Ours:
    rows: NDArray[np.void]
    report: LoadReport
    zero_ns: int
    stalled: Stall | None

    @property
    def rate(self) -> float:
        """Answers a second, from the first due to the last end."""
        span_ns = self.rows["end_ns"].max() - self.rows["due_ns"].min()
        return float((self.rows["outcome"] == OK).sum() / (span_ns / 1e9))

    @property
    def cpu_us(self) -> float:
        return self.report.cpu_s / self.report.sent * 1e6

    def latency_ms(self) -> NDArray[np.float64]:
        latency: NDArray[np.float64] = (self.rows["end_ns"] - self.rows["due_ns"]) / 1e6
        return latency


async def run_ours(server: Server, core: int, rate: float, for_s: float, stop: bool) -> Ours:
    count = int(rate * for_s)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bodies(folder / "bodies", [b"%d" % i + b" " * BODY_BYTES for i in range(100)])
        np.save(folder / "due.npy", (np.arange(count) * (1e9 / rate)).astype(np.int64))
        np.save(folder / "cases.npy", (np.arange(count) % 100).astype(np.uint32))
        zero_ns = time.monotonic_ns() + int(LEAD_S * 1e9)
        spec = LoadSpec(
            host="127.0.0.1",
            port=server.port,
            path=PATH,
            headers={"content-type": "application/json"},
            bodies_file=folder / "bodies",
            due_ns_file=folder / "due.npy",
            cases_file=folder / "cases.npy",
            zero_ns=zero_ns,
            out_file=folder / "requests.bin",
            timeout_s=5.0,
        )
        driver = LoadDriver()
        await driver.start(spec)
        assert driver.pid is not None
        os.sched_setaffinity(driver.pid, {core})
        stalled = await stall(server, zero_ns / 1e9 + STALL_AT_S) if stop else None
        async for _ in driver.summaries():
            pass
        report = await driver.stop(0.0)
        return Ours(np.fromfile(spec.out_file, dtype=ROW), report, zero_ns, stalled)


def expected_p99_ms(ours: Ours) -> float:
    """p99 from the intended instants, by arithmetic alone.

    A request due at t in the stall [a, b) cannot be answered before b, so it takes b - t; every
    other takes as long as the median one. No queue is modelled: the server clears it in
    milliseconds, and the requests that set p99 are at the head of it.
    """
    assert ours.stalled is not None
    due_ns = ours.rows["due_ns"] + ours.zero_ns
    latency_ms = ours.latency_ms()
    usual_ms = float(np.median(latency_ms))
    inside = (due_ns >= ours.stalled.start_ns) & (due_ns < ours.stalled.end_ns)
    must_ms = np.where(inside, (ours.stalled.end_ns - due_ns) / 1e6, 0.0) + usual_ms
    return float(np.percentile(must_ms, 99))


def peer_main(port: int, rate: float, for_s: float) -> None:
    """In a process of its own: Locust as it comes, closed loop, at a nominal ``rate``."""
    import gevent
    from locust import FastHttpUser, constant_throughput, task
    from locust.env import Environment

    class Closed(FastHttpUser):  # type: ignore[misc]  # locust is not followed by mypy
        host = f"http://127.0.0.1:{port}"
        wait_time = constant_throughput(rate / PEER_USERS)
        body = b" " * BODY_BYTES

        @task  # type: ignore[untyped-decorator]
        def send(self) -> None:
            self.client.post(PATH, data=self.body)

    environment = Environment(user_classes=[Closed])
    runner = environment.create_local_runner()
    taken_ms: list[float] = []
    environment.events.request.add_listener(
        lambda response_time, **_: taken_ms.append(response_time)
    )
    sys.stdout.write(f"{time.monotonic()}\n")
    sys.stdout.flush()
    cpu_s = time.process_time()
    runner.start(PEER_USERS, spawn_rate=PEER_USERS)
    gevent.sleep(for_s)
    figures = {
        "count": len(taken_ms),
        "rate": len(taken_ms) / for_s,
        "p99_ms": float(np.percentile(taken_ms, 99)),
        "reported_p99_ms": environment.stats.total.get_response_time_percentile(0.99),
        "cpu_us": (time.process_time() - cpu_s) / len(taken_ms) * 1e6,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    runner.quit()


async def run_peer(
    server: Server, core: int, rate: float, for_s: float, stop: bool
) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bench_load", "--peer"),
        *(str(server.port), str(rate), str(for_s)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    os.sched_setaffinity(process.pid, {core})
    started_s = float(await process.stdout.readline())
    if stop:
        await stall(server, started_s + STALL_AT_S)
    figures: dict[str, Any] = json.loads(await process.stdout.readline())
    await process.wait()
    return figures


def median(values: list[float]) -> float:
    return statistics.median(values)


def row(what: str, value: str, target: str, met: bool | None) -> None:
    verdict = "" if met is None else "met" if met else "MISSED"
    print(f"{what:<58} {value:>26}  {target:<14} {verdict}")


async def bench(rounds: int) -> bool:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("bench_load: needs two cores, one for the server and one for the load")
    load_core, server_core = cores[0], cores[1]
    rates: dict[int, list[Ours]] = {1000: [], 8500: [], 16000: []}
    stalls: list[Ours] = []
    fast: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    with trivial_server(server_core) as server:
        for _ in range(rounds):
            for rate, done in rates.items():
                done.append(await run_ours(server, load_core, rate, 2.0, stop=False))
            fast.append(await run_peer(server, load_core, 1e6, 2.0, stop=False))
            stalls.append(await run_ours(server, load_core, STALL_RATE, STALL_LOAD_S, stop=True))
            closed.append(await run_peer(server, load_core, STALL_RATE, STALL_LOAD_S, stop=True))
    return show_rates(rates, fast) & show_stall(stalls, closed)


def show_rates(rates: dict[int, list[Ours]], fast: list[dict[str, Any]]) -> bool:
    print(f"\nopen loop on one core, medians of {len(fast)} rounds")
    met_all = True
    for rate, done in rates.items():
        achieved, cpu = median([r.rate for r in done]), median([r.cpu_us for r in done])
        lag = median([r.report.lag.p50_ms for r in done])
        tail = median([r.report.lag.p99_ms for r in done])
        met = achieved >= 8000 if rate == 8500 else None
        row(
            f"  at {rate}/s",
            f"{achieved:,.0f}/s {cpu:.0f} us",
            ">= 8,000/s" * (met is not None),
            met,
        )
        punctual = lag <= 0.5 if rate == 1000 else None
        target = "<= 0.5 ms" * (punctual is not None)
        row("    send lag p50 / p99", f"{lag:.3f} / {tail:.3f} ms", target, punctual)
        met_all &= met is not False and punctual is not False
    peer = (
        f"{median([f['rate'] for f in fast]):,.0f}/s {median([f['cpu_us'] for f in fast]):.0f} us"
    )
    row("  peer: FastHttpUser flat out, closed loop", peer, "", None)
    return met_all


def show_stall(stalls: list[Ours], closed: list[dict[str, Any]]) -> bool:
    print(f"\nserver stopped {STALL_FOR_S:g} s in {STALL_LOAD_S:g} s at {STALL_RATE}/s: p99")
    must = [expected_p99_ms(s) for s in stalls]
    ours = [float(np.percentile(s.latency_ms(), 99)) for s in stalls]
    off = median([abs(o / m - 1) * 100 for o, m in zip(ours, must, strict=True)])
    theirs, reported = (median([c[k] for c in closed]) for k in ("p99_ms", "reported_p99_ms"))
    row("  by arithmetic, from the intended instants", f"{median(must):.1f} ms", "", None)
    row("  ours", f"{median(ours):.1f} ms, off {off:.2f} %", "<= 3 %", off <= 3)
    row(
        f"  peer: FastHttpUser, constant_throughput, {PEER_USERS} users",
        f"{theirs:.1f} ms, {median(must) / theirs:.0f} x too low",
        "",
        None,
    )
    row("    as Locust's own statistics report it", f"{reported:.0f} ms", "", None)
    sent = STALL_RATE * STALL_LOAD_S
    lost = (1 - median([c["count"] for c in closed]) / sent) * 100
    row("    arrivals it never sent", f"{lost:.1f} %", "", None)
    return off <= 3


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the load; see the module's own text.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", nargs=3, metavar=("PORT", "RATE", "SECONDS"))
    args = parser.parse_args()
    if args.peer:
        peer_main(int(args.peer[0]), float(args.peer[1]), float(args.peer[2]))
        return 0
    return 0 if asyncio.run(bench(args.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
