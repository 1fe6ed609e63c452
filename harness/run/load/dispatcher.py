"""The dispatcher: one greenlet that owns the schedule and hands each slot to an idle user.

One clock-watcher, not one per user, so that a slot leaves when it is due whoever is busy. It waits
on a timerfd because epoll's own timeout is on a 1 ms grid (0.5 ms mean lag; a timerfd wakes in
0.06). Idle users are taken last in, first out, which keeps few connections and those warm. A slot
that finds no idle user waits in an open backlog, its intended instant unchanged.
"""

import ctypes
import hashlib
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent
import numpy as np
from gevent.hub import Waiter
from numpy.typing import NDArray

from harness.run.load import LoadSpec

Slot = tuple[int, int]
"""(case, due): which body to send, and the intended instant, absolute CLOCK_MONOTONIC ns."""

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1
_NEAR_NS = 20_000
"""Closer than this, waiting costs more than being early: go."""
_YIELD_EVERY = 32
"""When behind, let answers in after this many slots."""
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Schedule:
    """The slots of one shard, in order: ``due_ns`` (n,) after the run's zero, ``cases`` (n,)."""

    due_ns: NDArray[np.int64]
    cases: NDArray[np.uint32]
    sha256: str  # of the whole schedule, whatever the shard


def read_schedule(spec: LoadSpec) -> Schedule:
    """Read and check the planned arrivals, and keep this shard's.

    Raises ``OSError`` for a file that cannot be read, ``ValueError`` for one that cannot be meant.
    """
    due_ns, cases = np.load(spec.due_ns_file), np.load(spec.cases_file)
    if due_ns.dtype != np.int64 or due_ns.ndim != 1:
        raise ValueError(f"{spec.due_ns_file}: {due_ns.dtype}{due_ns.shape}; want int64 (n,)")
    if cases.dtype != np.uint32 or cases.shape != due_ns.shape:
        raise ValueError(f"{spec.cases_file}: {cases.dtype}{cases.shape}; want uint32 (n,) as due")
    falls = np.flatnonzero(np.diff(due_ns) < 0)
    if len(falls):
        raise ValueError(f"{spec.due_ns_file}: slot {falls[0] + 1} is due before the one before it")
    if not 0 <= spec.shard < spec.shards:
        raise ValueError(f"shard {spec.shard} of {spec.shards}: want 0 <= shard < shards")
    sha256 = hashlib.sha256(due_ns.tobytes() + cases.tobytes()).hexdigest()
    mine = slice(spec.shard, None, spec.shards)
    return Schedule(due_ns[mine], cases[mine], sha256)


class _TimerSpec(ctypes.Structure):
    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    ]


class Alarm:
    """Sleeps until an absolute instant, to tens of microseconds."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._settime = ctypes.CDLL(None, use_errno=True).timerfd_settime
        self._fd: int = ctypes.CDLL(None, use_errno=True).timerfd_create(
            _CLOCK_MONOTONIC, _TFD_NONBLOCK | os.O_CLOEXEC
        )
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create: the load needs Linux's timerfd")
        self._spec = _TimerSpec(0, 0, 0, 0)
        self._watcher = self._hub.loop.io(self._fd, 1)

    def wait_until(self, instant_ns: int) -> None:
        """Block this greenlet until ``instant_ns`` (absolute CLOCK_MONOTONIC)."""
        if instant_ns - time.monotonic_ns() <= _NEAR_NS:
            return
        self._spec.value_s, self._spec.value_ns = divmod(instant_ns, 1_000_000_000)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)
        self._hub.wait(self._watcher)
        os.read(self._fd, 8)


class Dispatcher:
    """The schedule of one shard on its way to the users; ``zero_ns`` is the run's zero."""

    def __init__(self, schedule: Schedule, zero_ns: int) -> None:
        self.planned = len(schedule.due_ns)
        self.dispatched = 0
        self.backlog: deque[Slot] = deque()
        self.late_ns = array("q")  # how late the dispatcher itself reached each slot
        self._schedule, self._zero_ns = schedule, zero_ns
        self._idle: list[Waiter] = []
        self._cancelled = False
        self._greenlet: gevent.Greenlet | None = None

    @property
    def over(self) -> bool:
        """No slot is left to come."""
        return self._greenlet is not None and self._greenlet.dead

    def start(self) -> None:
        """Begin; slots already due leave at once, as late as they are."""
        self._greenlet = gevent.spawn(self._run)

    def cancel(self) -> None:
        """Let no further slot come due, begun or not. Those that were are still served."""
        self._cancelled = True
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def claim(self) -> Slot:
        """Give the calling user its next slot: the oldest in the backlog, else the next due."""
        if self.backlog:
            return self.backlog.popleft()
        waiter = Waiter()
        self._idle.append(waiter)
        slot: Slot = waiter.get()
        return slot

    def _run(self) -> None:
        if self._cancelled:
            return
        alarm, soon = Alarm(), gevent.get_hub().loop.run_callback
        idle, backlog, late = self._idle, self.backlog, self.late_ns.append
        now: Callable[[], int] = time.monotonic_ns
        for number, slot in enumerate(self._slots()):
            behind_ns = now() - slot[1]
            if behind_ns < 0:
                alarm.wait_until(slot[1])
                behind_ns = max(0, now() - slot[1])
            elif number % _YIELD_EVERY == 0:
                gevent.sleep(0)
            late(behind_ns)
            self.dispatched += 1
            if idle:
                soon(idle.pop().switch, slot)  # a Waiter may be switched to from the hub only
            else:
                backlog.append(slot)

    def _slots(self) -> Iterator[Slot]:
        # By chunks: boxing a million integers at once would stall the first second.
        for start in range(0, self.planned, _CHUNK):
            stop = start + _CHUNK
            due = (self._schedule.due_ns[start:stop] + self._zero_ns).tolist()
            yield from zip(self._schedule.cases[start:stop].tolist(), due, strict=True)
