"""The event loop *is* the clock.

Every wait in the project is an asyncio wait, so swapping the loop swaps time itself: a simulated
two-minute game day is over in a second, and the same seed gives the same bytes. That holds only if
nothing can come in from outside and if equal instants have an order, so ``VirtualTimeLoop`` keeps
timers in a heap of ``(when, seq)`` (asyncio's own heap does not keep ties in order), has no
selector at all, and refuses sockets, threads, signals and processes by name instead of hanging on
them.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import Any, Final, NoReturn, TypeVarTuple

Ts = TypeVarTuple("Ts")

STANDSTILL: Final = 1_000_000
"""So many callbacks at one instant, and time is taken to stand still."""
_LITTER: Final = 1_000  # cancelled timers that may lie in the heap before it is swept


class Stuck(RuntimeError):
    """The simulation cannot go on: nothing will ever happen, or time has ceased to pass."""


class NotSimulated(RuntimeError):
    """Something asked virtual time for a thread, a socket, a signal or a process."""


def _refuse(what: str) -> NoReturn:
    raise NotSimulated(
        f"virtual time has no place for {what}: use the loop's own waits, or a stack in real time"
    )


def _refusal(what: str) -> Any:
    """Make a method that refuses; ``Any``, because it stands in for many signatures."""

    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        _refuse(what)

    return refuse


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop whose ``time()`` leaps from timer to timer, starting at 0 s.

    Timers due at one instant run in the order in which they were set. Raises ``Stuck`` when every
    task waits for something that nobody will do, or when ``STANDSTILL`` callbacks run without time
    moving; ``NotSimulated`` when real I/O, a thread, a signal handler or a process is asked for.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _thread_id: int | None

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._seq = 0
        self._cancelled_timers = 0
        self._at_this_instant = 0

    def time(self) -> float:
        """Read the virtual clock, seconds."""
        return self._now_s

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call after ``delay`` virtual seconds; a negative delay counts as none."""
        when = self._now_s + delay if delay > 0 else self._now_s
        return self.call_at(when, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at ``when`` on this loop's clock, after all that was set for that instant before."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._seq += 1
        heappush(self._timers, (when, self._seq, handle))
        handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return  # it has run already: every finished sleep cancels its timer
        self._cancelled_timers += 1
        if self._cancelled_timers > _LITTER and self._cancelled_timers * 2 > len(self._timers):
            self._timers[:] = [entry for entry in self._timers if not entry[2].cancelled()]
            heapify(self._timers)
            self._cancelled_timers = 0

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            self._leap()
        now_s = self._now_s
        while timers and timers[0][0] <= now_s:
            handle = heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle._cancelled:
                self._cancelled_timers -= 1
            else:
                ready.append(handle)
        count = len(ready)
        self._at_this_instant += count
        if self._at_this_instant > STANDSTILL:
            self._at_this_instant = 0  # so that the tasks can still be cancelled
            raise Stuck(f"{STANDSTILL} callbacks at {now_s:.6f} s: something polls without waiting")
        for _ in range(count):
            next_one = ready.popleft()
            if not next_one._cancelled:
                next_one._run()

    def _leap(self) -> None:
        """Move the clock to the next timer that still counts."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
            self._cancelled_timers -= 1
        if timers:
            if timers[0][0] > self._now_s:
                self._now_s = timers[0][0]
                self._at_this_instant = 0
        elif not self._stopping:
            raise Stuck(
                f"at {self._now_s:.6f} s every task is waiting for something that nobody will do"
            )

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Like ``call_soon``, for a signal handler in the loop's own thread; else refused."""
        if self._thread_id not in (None, threading.get_ident()):
            _refuse("a thread")
        return self.call_soon(callback, *args, context=context)

    run_in_executor = _refusal("a thread")
    add_signal_handler = remove_signal_handler = _refusal("a signal handler")
    subprocess_exec = subprocess_shell = _refusal("a process")
    getaddrinfo = getnameinfo = _refusal("a name server")
    add_reader = add_writer = remove_reader = remove_writer = _refusal("real I/O")
    sock_recv = sock_recv_into = sock_recvfrom = sock_recvfrom_into = _refusal("a socket")
    sock_sendall = sock_sendto = sock_sendfile = sock_connect = sock_accept = _refusal("a socket")
    create_connection = create_server = create_datagram_endpoint = _refusal("a socket")
    create_unix_connection = create_unix_server = connect_accepted_socket = _refusal("a socket")
    connect_read_pipe = connect_write_pipe = sendfile = start_tls = _refusal("real I/O")

    def _process_events(self, event_list: object) -> None:
        """Nothing comes in from outside."""

    def _write_to_self(self) -> None:
        """Nobody has to be woken: the loop never blocks."""


def loop_factory(virtual: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    """Pick the kind of time a stack needs; to be given to ``asyncio.Runner``."""
    return VirtualTimeLoop if virtual else asyncio.new_event_loop
