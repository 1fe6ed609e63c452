"""What the tests of the links are made of: link servers, upstreams with habits, plain clients."""

import contextlib
import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

from fixtures.stacks._links import Links

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0
REAL = shutil.which("toxiproxy-server")


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = folder / f"links-{listener.getsockname()[1]}.json"
    config.write_text(json.dumps({"name": "links", "fd": listener.fileno()}))
    command = [sys.executable, "-m", "fixtures.serving.links.server", str(config)]
    with running(command, listener.fileno()) as process:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        listener.close()
        yield address, process


@contextlib.contextmanager
def real(_: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running([str(REAL), "-host", "127.0.0.1", "-port", str(port)]) as process:
        links = Links(f"127.0.0.1:{port}")
        deadline_s = time.monotonic() + PATIENCE_S
        while links.version() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        yield links.address, process


@contextlib.contextmanager
def running(command: list[str], *fds: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, pass_fds=fds, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def upstream(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                client.settimeout(3 * PATIENCE_S)  # not the first to lose patience
                threading.Thread(target=serve_one, args=(client,), daemon=True).start()

    def serve_one(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            talk(client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE_S)


def echo(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data)


def shout(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data.upper())


def greet(client: socket.socket) -> None:
    client.sendall(b"hello")
    client.recv(1)


def reply_at_the_end(client: socket.socket) -> None:
    whole, size = hashlib.sha256(), 0
    while data := client.recv(1 << 20):
        whole.update(data)
        size += len(data)
    client.sendall(whole.digest() + size.to_bytes(8, "big"))


def connect(address: str, timeout_s: float = PATIENCE_S) -> socket.socket:
    host, port = address.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), timeout_s)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def round_trip(client: socket.socket, data: bytes = b"ping") -> tuple[bytes, float]:
    sent_s = time.monotonic()
    client.sendall(data)
    return receive(client, len(data)), time.monotonic() - sent_s


def ends(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def ask(
    address: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Message, bytes]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def without_ports(body: bytes) -> object:
    plain = re.sub(rb'(127\.0\.0\.1|\[::\]):\d{4,5}"', rb'127.0.0.1:PORT"', body)
    try:
        return json.loads(plain)
    except ValueError:
        return plain
