"""The load process, and the only place that imports Locust.

Real Locust users, each with one keep-alive connection, are spawned before the run and then told
when to send by one dispatcher; Locust's own pacing is closed loop, which understates a stall
90-fold. Locust's ``request`` event still fires for every request, so its listeners, statistics and
plug-ins work, with the response time counted from the intended instant.

It speaks JSON lines. In: a LoadSpec, then perhaps {"stop": grace_s}. Out: "ready", a "summary"
each second, then "report"; or "failed". SIGTERM stops it as {"stop": timeout_s} does. When its
stdin ends, the harness is gone: it writes what it has and exits at once, with status 3.
"""

import argparse
import dataclasses
import gc
import os
import signal
import sys
import time
from collections import deque
from typing import Any

import gevent
import gevent.os
import locust
import orjson
from locust.env import Environment

from harness.run.load import LoadSpec, Summary
from harness.run.load.session import Seat, Session

_LINES_KEPT = 1000
_STDIN, _STDOUT = 0, 1
_ORPHANED = 3


class Outbox:
    """Lines to the harness. Never blocks: a harness that is stopped must not stop the load."""

    def __init__(self) -> None:
        gevent.os.make_nonblocking(_STDOUT)
        self._lines: deque[bytes] = deque(maxlen=_LINES_KEPT)
        self._part = b""

    def put(self, kind: str, **fields: Any) -> None:
        """Queue one line, and write what the pipe takes."""
        self._lines.append(orjson.dumps({"kind": kind, **fields}) + b"\n")
        self._push()

    def drain(self, within_s: float) -> None:
        """Wait until all is written, or for ``within_s``."""
        deadline_s = time.monotonic() + within_s
        while not self._push() and time.monotonic() < deadline_s:
            gevent.sleep(0.01)

    def _push(self) -> bool:
        while self._part or self._lines:
            self._part = self._part or self._lines.popleft()
            try:
                self._part = self._part[os.write(_STDOUT, self._part) :]
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self._lines.clear()
                self._part = b""
        return True


def _user_class(take_seat: Any, claim: Any) -> type[Any]:
    class Arrivals(locust.User):  # type: ignore[misc]  # locust is not followed by mypy
        wait_time = locust.constant(0)
        seat: Seat

        def on_start(self) -> None:
            self.seat = take_seat()

        @locust.task  # type: ignore[untyped-decorator]
        def send(self) -> None:
            while True:
                self.seat.serve(claim())

    return Arrivals


def _read_line(buffer: bytes) -> tuple[bytes, bytes]:
    """(one line of stdin, what came after it); an empty line at the end of stdin."""
    while b"\n" not in buffer:
        piece: bytes = gevent.os.nb_read(_STDIN, 65536)
        if not piece:
            return b"", b""
        buffer += piece
    line, _, rest = buffer.partition(b"\n")
    return line, rest


def _obey(session: Session, rest: bytes) -> None:
    """Follow the harness's commands; go when it is gone."""
    while True:
        line, rest = _read_line(rest)
        if not line:
            session.stop(0.0)
            session.done.wait(0.4)
            session.flush()
            os._exit(_ORPHANED)  # nothing may hold us: no clean-up, no listener, no thread
        session.stop(float(orjson.loads(line)["stop"]))


def _spawn_users(runner: Any, session: Session) -> None:
    """Spawn all users and wait until each has its seat. Raises ``TimeoutError``."""
    users = session.spec.users
    runner.start(users, spawn_rate=users)
    deadline_s = time.monotonic() + session.spec.timeout_s + 10
    while len(session.seats) < users:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"only {len(session.seats)} of {users} Locust users came up")
        gevent.sleep(0.005)


def carry_out(spec: LoadSpec, outbox: Outbox, rest: bytes = b"") -> None:
    """Run one load to its report. Raises ``OSError`` or ``ValueError`` when it cannot begin."""
    environment = Environment()

    def say(summary: Summary) -> None:
        outbox.put("summary", **dataclasses.asdict(summary))

    session = Session(spec, environment.events.request.fire, say)
    environment.user_classes = [_user_class(session.sit, session.claim)]
    runner = environment.create_local_runner()
    gevent.spawn(_obey, session, rest)
    _spawn_users(runner, session)
    gevent.signal_handler(signal.SIGTERM, session.stop, spec.timeout_s)
    gc.collect()
    gc.freeze()  # what exists now stays: a full collection would be a pause in the sending
    outbox.put("ready", connections=session.connections)
    report = session.run()
    counted = environment.stats.total.num_requests
    report = dataclasses.replace(report, locust_requests=counted)
    runner.quit()
    outbox.put("report", **dataclasses.asdict(report))
    outbox.drain(within_s=1.0)


def main() -> int:
    """Read the spec from stdin and carry it out. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.run.load.process",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the harness's to handle
    gevent.os.make_nonblocking(_STDIN)
    outbox = Outbox()
    line, rest = _read_line(b"")
    try:
        carry_out(LoadSpec.from_json(orjson.loads(line)), outbox, rest)
    except (OSError, ValueError, TypeError) as error:
        outbox.put("failed", message=f"{type(error).__name__}: {error}")
        outbox.drain(within_s=1.0)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
