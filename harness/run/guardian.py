"""``python -m harness.run.guardian WARD.json FD``: the dead-man switch of one run.

It is the run's first process, in a session of its own, and does nothing but listen: on the socket
FD the harness says every quarter of a lease that it lives. When it does not (it was killed, or
stopped, its event loop hangs, the lid was closed), or when a fault lasts longer than any may, the
guardian takes the run over: it raises the fencing epoch, heals from the record, takes down what the
run started, and ends. A harness that ends well says goodbye, and the guardian goes.

Before anything else it splits in two: the stand-by shares the socket and does not touch it until
the guardian dies, so that killing harness and guardian together also heals. It costs a fork.

It loads all of its code, and the plug-ins, before it says that it watches: later is too late to
find out that they cannot be loaded, or were changed meanwhile. Then it waits in ``poll``.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from harness.model import events as ev
from harness.run import fence, ward
from harness.run.fence import Fence
from harness.run.folder import home
from harness.run.halt import halted
from harness.run.processes import Process, descendants, me, process
from harness.run.ward import Ward

BYE: Final = b"bye"
READY: Final = b"ready\n"
ALIVE: Final = b"."
LOOK_EVERY_S: Final = 0.5
LAST_RESORT_S: Final = 6.8
"""After so long in a takeover only SIGKILL is left; with a lease of 3 s that makes ten."""
HALT_GRACE_S: Final = 10.0
"""Longer than ``gameday halt`` waits: this is for whom no signal of it reaches."""
_SCAN_SHARE: Final = 50  # a scan of all processes may take one part in so many of our time


class Watch:
    """What a guardian knows: when the harness last spoke, what is in force, whose the run is."""

    def __init__(self, of: Ward, line: socket.socket) -> None:
        self._ward, self._line = of, line
        self._fence = Fence(of.folder.path)
        self._spoke_s = 0.0
        self._said = b""
        self._read = 0
        self._open: dict[str, float] = {}
        self._asked_to_end = False
        self._halted_s: float | None = None
        self._scan_at_s = 0.0
        self.seen: set[Process] = set()

    def wait(self) -> str | None:
        """Wait until the run has to be taken over, and say why; ``None``: it ended well."""
        signal.signal(signal.SIGTERM, self._told_to_end)
        self._spoke_s = boottime_s()
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        every_s = min(LOOK_EVERY_S, self._ward.lease_s / 4)
        while True:
            heard = poll.poll(max(1.0, min(every_s, self._left_s()) * 1e3))
            if heard and (over := self._hear()) is not None:
                return over or None
            if self._asked_to_end:
                return "the guardian was told to end while the run was on"
            if (why := self._late() or self._expired() or self._halted()) is not None:
                return why
            if (held := self._held()) is None or held:
                return held
            self._scan()

    def _left_s(self) -> float:
        """Until the lease is over, if nothing is heard meanwhile."""
        return self._spoke_s + self._ward.lease_s - boottime_s()

    def _hear(self) -> str | None:
        """Take in what was said: why it is over, empty for a goodbye, ``None``: it is not."""
        try:
            said = self._line.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            said = b""
        if not said:
            return "the harness is gone"
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            if line == BYE:
                return ""
            spoke_s = int(line) / 1e9
            gap_s = spoke_s - self._spoke_s
            self._spoke_s = spoke_s
            if gap_s > self._ward.lease_s:
                return f"the harness was silent for {gap_s:.1f} s"
        with contextlib.suppress(OSError):
            self._line.send(ALIVE)
        return None

    def _late(self) -> str | None:
        silent_s = boottime_s() - self._spoke_s
        if silent_s <= self._ward.lease_s:
            return None
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        if poll.poll(0):  # we were late ourselves: hear it out first
            return None
        return f"the harness was silent for {silent_s:.1f} s"

    def _expired(self) -> str | None:
        """Read on in the record, and see whether a fault lasts longer than any may."""
        try:
            with self._ward.folder.events.open("rb") as file:
                file.seek(self._read)
                raw = file.read()
        except OSError:
            return None
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if b'"kind":"Fault' in line:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._follow(ev.from_line(line.decode()))
        now_s = self._ward.now()
        for id, since_s in self._open.items():
            if now_s - since_s > self._ward.max_fault_s:
                return f"{id} was in force for longer than {self._ward.max_fault_s:g} s"
        return None

    def _follow(self, event: ev.Event) -> None:
        match event:
            case ev.FaultIntended():
                self._open[event.id] = event.t
            case ev.FaultHealed():
                self._open.pop(event.id, None)
            case _:
                pass

    def _halted(self) -> str | None:
        """Read the kill switch too: a harness that does not heed it in time is not waited for."""
        why = halted(home())
        if why is None:
            self._halted_s = None
            return None
        self._halted_s = self._halted_s or time.monotonic()
        return why if time.monotonic() - self._halted_s > HALT_GRACE_S else None

    def _held(self) -> str | None:
        """Whose the run is: empty for the harness's or a live healer's, ``None`` when settled."""
        hold = self._fence.taken()
        if hold is None or (hold.by is not None and hold.by.alive and not hold.settled):
            return ""
        return None if hold.settled else f"{hold.who} took the run over and died"

    def _scan(self) -> None:
        """Remember what the harness started, so that it is known when the harness is gone."""
        if time.monotonic() < self._scan_at_s:
            return
        began_s = time.monotonic()
        ours = {me(), *ward.guardians(self._ward.folder)}
        self.seen = {p for p in self.seen if p.alive} | descendants(self._ward.harness) - ours
        took_s = time.monotonic() - began_s
        self._scan_at_s = time.monotonic() + max(LOOK_EVERY_S, took_s * _SCAN_SHARE)

    def _told_to_end(self, *_: object) -> None:
        self._asked_to_end = True


def boottime_s() -> float:
    """Seconds since boot, those included in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main(arguments: Sequence[str]) -> int:
    """Guard one run to its end; 2 when that cannot begin."""
    path, fd = arguments
    line = socket.socket(fileno=int(fd))
    try:
        of = ward.read(Path(path))
        sys.path.extend(entry for entry in of.path if entry not in sys.path)
        catalog = of.catalog()
        catalog.stack(of.stack)
        catalog.load_faults(of.faults)
        importlib.import_module("harness.run.rescue")
    except Exception as error:
        line.sendall(f"{type(error).__name__}: {error}".replace("\n", " ").encode() + b"\n")
        return 2
    for number in (signal.SIGINT, signal.SIGHUP):  # ours is to outlive the terminal
        signal.signal(number, signal.SIG_IGN)
    standby = os.fork()
    if standby == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stand_by(of, line)
    _write_down(of, standby)
    line.sendall(READY)
    line.setblocking(False)
    watch = Watch(of, line)
    if (why := watch.wait()) is not None:
        take_over(of, why, watch.seen, standby)
    else:
        ward.strike(of.run)  # the harness said goodbye, and may not live to do so itself
    os.kill(standby, signal.SIGKILL)  # not yet reaped, so it is nobody else
    os.waitpid(standby, 0)
    return 0


def take_over(of: Ward, why: str, seen: set[Process], standby: int | None = None) -> None:
    """Finish the job of the harness, within a bound whatever happens."""
    from harness.run.rescue import HURRIED, Busy, Rescue

    spared = {p for p in (process(standby) if standby else None,) if p is not None}
    rescue = Rescue(of, "guardian", why, HURRIED, of.now, frozenset(spared), frozenset(seen))

    def last_resort() -> NoReturn:
        rescue.sweep()
        for one in spared:
            one.signal(signal.SIGKILL)
        os._exit(1)

    timer = threading.Timer(LAST_RESORT_S, last_resort)
    timer.daemon = True
    timer.start()
    with contextlib.suppress(Busy):
        rescue.carry_out(wait_s=2.0)
    timer.cancel()


def _stand_by(of: Ward, line: socket.socket) -> NoReturn:
    """Do nothing until the guardian dies; then be the guardian."""
    try:
        os.setsid()
        watch = Watch(of, line)  # now: if the guardian dies having taken over, this will show
        guardian = os.pidfd_open(os.getppid())
        select.select([guardian], [], [])
        if (why := watch.wait()) is not None:
            take_over(of, why, watch.seen)
        else:
            ward.strike(of.run)
        os._exit(0)
    finally:
        os._exit(1)


def _write_down(of: Ward, standby: int) -> None:
    other = process(standby)
    assert other is not None
    body = {"guardian": me().to_json(), "standby": other.to_json()}
    fence.write_durably(of.folder.guardian, json.dumps(body) + "\n")


if __name__ == "__main__":
    sys.stderr.flush()
    code = main(sys.argv[1:])
    os._exit(code)
