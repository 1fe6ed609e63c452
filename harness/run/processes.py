"""Processes of this machine, told apart for certain: by their id *and* the instant they started.

Ids are used again, sometimes within seconds, and whoever ends what a dead run left must never end
a stranger. A process is signalled through a descriptor that pins the very process that was checked.
What a run starts inherits a mark in its environment, so that what nobody wrote down, because its
starter was killed in between, is found too.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.model.values import Json

MARK: Final = "GAMEDAY_RUN"
"""The environment variable that every process of a run inherits; it configures nothing."""
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """One process: ``started`` is in clock ticks since boot, as the kernel tells it."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process is there; a zombie is not."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.started

    def signal(self, number: signal.Signals) -> None:
        """Signal this very process, or nobody."""
        with contextlib.suppress(ProcessLookupError):
            pinned = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(pinned, number)
            finally:
                os.close(pinned)

    def arguments(self) -> list[str]:
        """How it was called; empty when it is gone."""
        try:
            raw = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return []
        return raw.decode("utf-8", "replace").split("\0")

    def to_json(self) -> Json:
        """Carry it to another process."""
        return {"pid": self.pid, "started": self.started}

    @classmethod
    def from_json(cls, body: Json) -> "Process":
        """Read it back."""
        return cls(int(body["pid"]), int(body["started"]))


@dataclass(frozen=True, slots=True)
class Place:
    """Where process ids mean something: this machine, since this boot, in this namespace of ids."""

    host: str
    boot: str
    namespace: str

    def to_json(self) -> Json:
        """Carry it to another process."""
        return {"host": self.host, "boot": self.boot, "namespace": self.namespace}

    @classmethod
    def from_json(cls, body: Json) -> "Place":
        """Read it back."""
        return cls(body["host"], body["boot"], body["namespace"])


def here() -> Place:
    """Where we are."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return Place(os.uname().nodename, boot, os.readlink("/proc/self/ns/pid"))


def process(pid: int) -> Process | None:
    """The process that has this id now; ``None`` when there is none, or a zombie."""
    found = _stat(pid)
    return None if found is None else Process(pid, found[1])


def me() -> Process:
    """Ourselves."""
    found = process(os.getpid())
    assert found is not None
    return found


def marked(mark: str) -> set[Process]:
    """Every process that carries this run's mark in its environment, and that we may read."""
    needle = f"{MARK}={mark}".encode()
    found = set()
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        one = process(pid) if needle in environment.split(b"\0") else None
        if one is not None:
            found.add(one)
    return found


def descendants(of: Process) -> set[Process]:
    """Every process below this one, as of now; one whose parent has died is no longer below it."""
    children: dict[int, list[Process]] = {}
    for pid in _pids():
        if (found := _stat(pid)) is not None:
            children.setdefault(found[0], []).append(Process(pid, found[1]))
    below: set[Process] = set()
    ask = [of.pid] if of.alive else []
    while ask:
        for child in children.get(ask.pop(), ()):
            if child not in below:
                below.add(child)
                ask.append(child.pid)
    return below


def end(processes: Iterable[Process], within_s: float) -> set[Process]:
    """SIGKILL them and wait; returns those still there after ``within_s``."""
    left = set(processes)
    for one in left:
        one.signal(signal.SIGKILL)
    deadline_s = time.monotonic() + within_s
    while left := {one for one in left if one.alive}:
        if time.monotonic() > deadline_s:
            break
        time.sleep(_POLL_S)
    return left


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _stat(pid: int) -> tuple[int, int] | None:
    """``(parent, started)`` of a process; ``None`` when there is none, or a zombie.

    Source: proc(5), /proc/[pid]/stat, fields 3, 4 and 22; the name in field 2 may hold anything.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return int(fields[1]), int(fields[19])
