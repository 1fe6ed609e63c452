"""One load, from its schedule to its report: who is sending what, and what became of it.

It knows gevent and not Locust: Locust's users come in through ``sit`` and ``claim``, and its
``request`` event goes out through ``fire``, so that another way to host the users (Locust's
distributed workers, one shard each) changes nothing here.
"""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.event

from harness.model.rows import ERROR, OK, TIMEOUT
from harness.run.load import Bodies, LoadReport, LoadSpec, Summary
from harness.run.load.client import Answer, BrokenAnswer, Connection, GaveUp
from harness.run.load.dispatcher import Dispatcher, Slot, read_schedule
from harness.run.load.recorder import Recorder, lateness

_TICK_S = 0.02
"""How often time limits are looked at: a request is given up at most this late."""
_FLUSH_EVERY = 10  # ticks

Fire = Callable[..., None]


class Seat:
    """One user's place: its connection, and the request it has in flight."""

    def __init__(self, session: "Session") -> None:
        spec = session.spec
        self._session = session
        self._limit_ns = int(spec.timeout_s * 1e9)
        self._greenlet = gevent.getcurrent()
        self.connection = Connection((spec.host, spec.port), spec.path, spec.headers)
        self.give_up_ns = 0  # 0 = nothing is in flight

    def open(self, within_s: float) -> None:
        """Connect before the run. A refusal is not an error yet: the first request will meet it."""
        try:
            with gevent.Timeout(within_s, GaveUp("no connection in time")):
                self.connection.open()
        except (OSError, GaveUp) as error:
            sys.stderr.write(f"load: before the run: {error}\n")

    def serve(self, slot: Slot) -> None:
        """Send one request and record it, whatever becomes of it."""
        case, due_ns = slot
        connection, session = self.connection, self._session
        sent_ns = time.monotonic_ns()
        if sent_ns >= due_ns + self._limit_ns:
            session.record_unsent(slot)
            return
        answer = connection.answer = Answer()
        error: Exception | None = None
        new = False
        session.sent += 1
        self.give_up_ns = sent_ns + self._limit_ns
        try:
            if not connection.is_open or connection.stale():
                new = True
                connection.open()
            connection.post(session.bodies[case])
        except (OSError, BrokenAnswer, GaveUp) as problem:
            error = problem
            connection.close()
        self.give_up_ns = 0
        session.record(slot, sent_ns, answer, error, new)

    def give_up(self) -> None:
        """End the request in flight, if its time is up, as a timeout.

        For the hub's callbacks only: there the user is surely waiting, and not half-way on.
        """
        if 0 < self.give_up_ns <= time.monotonic_ns():
            self._greenlet.throw(GaveUp("no whole answer within the time allowed"))


class Session:
    """``spec`` being carried out. Raises ``OSError`` or ``ValueError`` when it cannot be."""

    def __init__(self, spec: LoadSpec, fire: Fire, say: Callable[[Summary], None]) -> None:
        self.spec = spec
        self.bodies = Bodies(spec.bodies_file)
        self._schedule = read_schedule(spec)
        if len(self._schedule.cases) and self._schedule.cases.max() >= len(self.bodies):
            raise ValueError(
                f"{spec.cases_file}: case {self._schedule.cases.max()}, but {spec.bodies_file} "
                f"has {len(self.bodies)} bodies; write both from the same cases"
            )
        self.sent = self._expired = self._ticks = 0
        self.seats: list[Seat] = []
        self.done = gevent.event.Event()
        self._fire, self._say = fire, say
        self._recorder = Recorder(spec.out_file)
        self._dispatcher = Dispatcher(self._schedule, spec.zero_ns)
        self._stop_ns: int | None = None
        self._soon = gevent.get_hub().loop.run_callback
        self._epoch_less_mono_s = time.time() - time.monotonic()

    def sit(self) -> Seat:
        """Give the calling user its place, with its connection open if the target lets it."""
        seat = Seat(self)
        seat.open(self.spec.timeout_s)
        self.seats.append(seat)
        return seat

    def claim(self) -> Slot:
        """The calling user's next slot; waits for one."""
        return self._dispatcher.claim()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return sum(1 for seat in self.seats if seat.connection.is_open)

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered."""
        return sum(1 for seat in self.seats if seat.give_up_ns)

    def record(
        self, slot: Slot, sent_ns: int, answer: Answer, error: Exception | None, new: bool
    ) -> None:
        """Write one row and fire Locust's event for it."""
        end_ns, zero_ns = time.monotonic_ns(), self.spec.zero_ns
        (case, due_ns), prediction, score = slot, -1, math.nan
        if error is None:
            try:
                prediction, score = _read(answer)
            except ValueError as problem:
                error = problem
        outcome = OK if error is None else TIMEOUT if isinstance(error, GaveUp) else ERROR
        self._recorder.add(
            case,
            due_ns - zero_ns,
            sent_ns - zero_ns,
            (answer.first_ns or end_ns) - zero_ns,
            end_ns - zero_ns,
            outcome,
            answer.status,
            new,
            answer.node,
            answer.model,
            answer.version,
            answer.fallback,
            prediction,
            score,
            answer.mask,
        )
        self._fire(
            request_type="POST",
            name=self.spec.path,
            response_time=(end_ns - due_ns) / 1e6,
            response_length=len(answer.body),
            exception=error,
            context={"intended": due_ns - zero_ns},  # ns of run time
            start_time=due_ns / 1e9 + self._epoch_less_mono_s,
            url=self.spec.path,
            response=None,
        )

    def record_unsent(self, slot: Slot) -> None:
        """Write the row of a slot that ran out of time before a user was free."""
        self._expired += 1
        self.record(slot, time.monotonic_ns(), Answer(), GaveUp("no user was free in time"), False)

    def run(self) -> LoadReport:
        """Send everything, or until stopped; return once every due slot has its row.

        Raises ``OSError`` when rows cannot be written: a load without a record is no use.
        """
        connections = self.connections
        cpu_s, wall_s, kernel = time.process_time(), time.monotonic(), _kernel_counters()
        self._dispatcher.start()
        summaries = gevent.spawn(self._summarise)
        while not self._over():
            gevent.sleep(_TICK_S)
            self._tick()
        summaries.kill()
        self.flush()
        self.done.set()
        overflows, retransmits = (a - b for a, b in zip(_kernel_counters(), kernel, strict=True))
        ok, errors, timeouts = self._recorder.outcomes
        return LoadReport(
            planned=self._dispatcher.planned,
            sent=self.sent,
            expired=self._expired,
            never_sent=self._dispatcher.planned - self._dispatcher.dispatched,
            ok=ok,
            errors=errors,
            timeouts=timeouts,
            lag=lateness(self._recorder.lag_ns),
            dispatch=lateness(self._dispatcher.late_ns),
            connections=connections,
            cpu_s=time.process_time() - cpu_s,
            wall_s=time.monotonic() - wall_s,
            listen_overflows=overflows,
            syn_retransmits=retransmits,
            locust_requests=0,
            schedule_sha256=self._schedule.sha256,
        )

    def stop(self, grace_s: float) -> None:
        """Let no further slot come due, and give those that are ``grace_s`` to end."""
        self._stop_ns = time.monotonic_ns() + int(grace_s * 1e9)
        self._dispatcher.cancel()

    def flush(self) -> None:
        """Hand every row to the kernel."""
        self._recorder.flush()

    def _over(self) -> bool:
        rows = sum(self._recorder.outcomes)
        return self._dispatcher.over and rows == self._dispatcher.dispatched

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        all_up = self._stop_ns is not None and now_ns >= self._stop_ns
        backlog, limit_ns = self._dispatcher.backlog, int(self.spec.timeout_s * 1e9)
        while backlog and (all_up or backlog[0][1] + limit_ns <= now_ns):
            self.record_unsent(backlog.popleft())
        for seat in self.seats:
            if seat.give_up_ns and (all_up or seat.give_up_ns <= now_ns):
                seat.give_up_ns = min(seat.give_up_ns, now_ns)
                self._soon(seat.give_up)
        self._ticks += 1
        if self._ticks % _FLUSH_EVERY == 0:
            self.flush()

    def _summarise(self) -> None:
        zero_s, sent_before = self.spec.zero_ns / 1e9, 0
        second = max(0, math.floor(time.monotonic() - zero_s))
        while True:
            second += 1
            gevent.sleep(max(0.0, zero_s + second - time.monotonic()))
            self.flush()
            self._say(
                self._recorder.summary(
                    float(second),
                    sent=self.sent - sent_before,
                    in_flight=self.in_flight,
                    backlog=len(self._dispatcher.backlog),
                )
            )
            sent_before = self.sent


def _read(answer: Answer) -> tuple[int, float]:
    """(prediction, score). Raises ``ValueError`` for anything but a 200 that answers."""
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    return answer.prediction()


def _kernel_counters() -> tuple[int, int]:
    """(listen queue overflows, SYNs sent again) of this machine since boot.

    From /proc/net/netstat: a line of names, then a line of values, per protocol.
    """
    lines = Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()
    tcp = [line.split()[1:] for line in lines if line.startswith("TcpExt:")]
    counters = dict(zip(*tcp, strict=True))
    return int(counters.get("ListenOverflows", 0)), int(counters.get("TCPSynRetrans", 0))
