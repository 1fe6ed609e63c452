"""What a link proxy adds to a round trip, and how much it carries; the real one beside it if there.

``python -m tests.bench.bench_links`` (half a minute). Targets: 0.2 ms added to the median round
trip. Peers: no proxy at all, and ``toxiproxy-server`` when it is on PATH, in the same run.
"""

import contextlib
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from fixtures.stacks._links import Links
from tests.serving.links_under_test import REAL, embedded, real

ROUND_TRIPS = 3000
MEGABYTES = 400
ADDED_MS = 0.2


def echo():
    """An upstream that sends everything back; returns its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            peer, _ = server.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=pump, args=(peer,), daemon=True).start()

    def pump(peer):
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(1 << 20):
                if len(data) < 4096:  # bulk is only taken in
                    peer.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def connect(address):
    host, _, port = address.rpartition(":")
    made = socket.create_connection((host, int(port)))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def round_trips(address):
    """Sorted milliseconds."""
    took = []
    with connect(address) as peer:
        for _ in range(ROUND_TRIPS):
            started = time.perf_counter()
            peer.sendall(b"x" * 200)
            left = 200
            while left:
                left -= len(peer.recv(4096))
            took.append((time.perf_counter() - started) * 1e3)
    return sorted(took[ROUND_TRIPS // 10 :])


def throughput(address):
    """Megabytes a second, into the upstream's socket buffers."""
    block = b"\0" * (1 << 20)
    started = time.perf_counter()
    with connect(address) as peer:
        for _ in range(MEGABYTES):
            peer.sendall(block)
    return MEGABYTES / (time.perf_counter() - started)


def main():
    upstream = echo()
    kinds = [("embedded", embedded)] + ([("toxiproxy-server", real)] if REAL else [])
    rows = [("direct (no proxy)", round_trips(upstream), throughput(upstream))]
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in kinds:
            with kind(Path(folder)) as (address, _):
                listen = Links(address).create("bench", "127.0.0.1:0", upstream)
                rows.append((name, round_trips(listen), throughput(listen)))
    print(f"{'link':20} {'p50':>9} {'p99':>9} {'added p50':>10} {'MB/s':>7}")
    floor = statistics.median(rows[0][1])
    for name, took, rate in rows:
        p50 = statistics.median(took)
        p99 = took[int(0.99 * len(took))]
        print(f"{name:20} {p50:7.3f}ms {p99:7.3f}ms {p50 - floor:8.3f}ms {rate:7.0f}")
    return 1 if statistics.median(rows[1][1]) - floor > ADDED_MS else 0


if __name__ == "__main__":
    sys.exit(main())
