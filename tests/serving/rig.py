"""Runs the real services as processes on loopback, for the tests, by plain subprocess."""

import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "test-token"
DEADLINE_S = 60.0


@functools.cache
def trained() -> Path:
    """The folder of a trained release; trains one where the machine has none."""
    from fixtures.models import train

    return train.ensure().root


def listening() -> tuple[socket.socket, str]:
    """Bind and listen; returns the socket and its host:port."""
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    return bound, f"127.0.0.1:{bound.getsockname()[1]}"


def free_address() -> str:
    bound, where = listening()
    bound.close()
    return where


def call(
    method: str, where: str, path: str, body: Any = None, *, token: str | None = None
) -> tuple[int, dict[str, str], Any]:
    """Send one request; returns status, headers and the JSON (or text) of the answer."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        f"http://{where}{path}", data=data, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, raw = answer.status, answer.read()
            head = {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            status, raw, head = error.code, error.read(), {}
    try:
        return status, head, json.loads(raw)
    except ValueError:
        return status, head, raw.decode()


def metric(where: str, name: str, **labels: str) -> float:
    """Read one sample of a service's metrics; raises KeyError when there is none."""
    from prometheus_client.parser import text_string_to_metric_families

    _, _, text = call("GET", where, "/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    raise KeyError(f"{name} {labels}")


def eventually(check: Any, what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until ``check`` returns something true; fails naming what did not come about."""
    until_s = time.monotonic() + deadline_s
    last: Any = None
    while time.monotonic() < until_s:
        try:
            last = check()
            if last:
                return last
        except (OSError, KeyError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"not within {deadline_s:g} s: {what}; last {last!r}")


@dataclass
class Rig:
    """Processes by name, all ended when the rig is left."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def redis(self, where: str | None = None) -> str:
        binary = shutil.which("redis-server")
        assert binary is not None
        address = where or free_address()
        port = address.rpartition(":")[2]
        arguments = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._start("redis", [binary, *arguments, "--dir", str(self.folder)])
        self.addresses["redis"] = address
        eventually(lambda: _answers(address), "redis accepts connections")
        return address

    def service(self, name: str, module: str, **config: Any) -> str:
        """Start a service on an inherited socket; returns its address without waiting."""
        bound, where = listening()
        with bound:  # closed here, so that a dead service refuses and does not hang
            os.set_inheritable(bound.fileno(), True)
            path = self.folder / f"{name}.json"
            path.write_text(
                json.dumps({"name": name, "token": TOKEN, "fd": bound.fileno(), **config})
            )
            self._start(
                name,
                [sys.executable, "-m", f"fixtures.serving.{module}", str(path)],
                pass_fds=(bound.fileno(),),
            )
        self.addresses[name] = where
        return where

    def _start(self, name: str, command: list[str], pass_fds: tuple[int, ...] = ()) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, pass_fds=pass_fds
            )

    def ready(self, *names: str) -> None:
        """Wait until services are ready."""
        for name in names:
            where = self.addresses[name]

            def check(where: str = where, name: str = name) -> bool:
                code = self.processes[name].poll()
                assert code is None, f"{name} ended with {code}: {self.log(name)[-800:]}"
                return call("GET", where, "/v2/health/ready")[0] == 200

            eventually(check, f"{name} is ready")

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self, name: str) -> int:
        """Send SIGTERM and return the exit status."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(10)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)


def _answers(where: str) -> bool:
    host, _, port = where.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=1):
        return True


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    running = Rig(folder)
    try:
        yield running
    finally:
        for process in running.processes.values():
            process.terminate()
        for process in running.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def whole_stack(running: Rig, release: Path, start_row: int, **monitor: Any) -> None:
    """Start Redis and every service, and wait until all are ready."""
    redis = running.redis()
    data = str(ROOT / "fixtures" / "data" / "flights.npz")
    artefacts = str(release)
    replicas = {
        name: running.service(name, "model_server", artefacts=artefacts)
        for name in ("replica-0", "replica-1")
    }
    feed = running.service("feed", "feed", data=data)
    running.service("materializer", "materializer", feed=feed, redis=redis, start_row=start_row)
    gateway = running.service(
        "gateway", "gateway", redis=redis, replicas=replicas, artefacts=artefacts
    )
    running.service("monitor", "monitor", redis=redis, feed=feed, artefacts=artefacts, **monitor)
    running.service(
        "control_plane",
        "control_plane",
        services={"gateway": gateway},
        audit=str(running.folder / "audit.jsonl"),
        runbooks=["route_to_baseline"],
        healthy_for_s=0.5,
    )
    running.ready(*replicas, "feed", "materializer", "gateway", "monitor", "control_plane")
