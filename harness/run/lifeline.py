"""The harness's side of the dead-man switch: start the guardian, say that we live, ask leave.

The lease is renewed from the event loop, because a harness whose loop hangs cannot heal and is as
good as dead. The guardian answers each renewal, so that a harness whose guardian is gone or stopped
knows, and ends its run: nothing is broken without somebody who would mend it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, Self

from harness.model.environment import inherited
from harness.protocols import StackError
from harness.run import ward
from harness.run.fence import Fence, Fenced, read
from harness.run.guardian import BYE, LAST_RESORT_S, READY, boottime_s
from harness.run.processes import MARK
from harness.run.ward import Ward

READY_WITHIN_S: Final = 10.0
GONE_WITHIN_S: Final = 2.0
_POLL_S: Final = 0.02
_ROOT: Final = Path(__file__).resolve().parents[2]


class GuardianError(StackError):
    """The guardian could not be started; nothing was touched."""


class Lifeline(Protocol):
    """What a run asks of whoever watches over it."""

    zero_s: float | None

    def may_break(self) -> None:
        """Ask before each inject. Raises ``Fenced``."""

    def may_mend(self) -> None:
        """Ask before each heal. Raises ``Fenced``."""

    async def lost(self) -> str:
        """Wait until the run has to end because it is guarded no more, and say why."""

    async def relieved(self) -> bool:
        """Whether somebody else took the run over; then it returns once their job is done."""

    def goodbye(self) -> None:
        """Say that everything is healed and down: without it, the guardian sees to that."""


class Unguarded:
    """For what dies with its process: a stack on virtual time."""

    zero_s: float | None = None

    def may_break(self) -> None:
        """It may."""

    def may_mend(self) -> None:
        """It may."""

    async def lost(self) -> str:
        """Never."""
        await asyncio.Event().wait()
        return ""

    async def relieved(self) -> bool:
        """Nobody does."""
        return False

    def goodbye(self) -> None:
        """Nobody listens."""


class Guardian:
    """A guard that is a process. An async context manager around everything that a run does.

    Raises ``GuardianError`` on the way in when it cannot be started. ``worst_gap_s``: the longest
    silence so far, of a lease of ``ward.lease_s``.
    """

    def __init__(self, of: Ward, entry: Path) -> None:
        self._ward, self._entry = of, entry
        self.zero_s: float | None = of.zero_ns / 1e9
        self.worst_gap_s = 0.0
        self._fence = Fence(of.folder.path)
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._renewing: asyncio.Task[None] | None = None
        self._ended_well = False

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        log = self._ward.folder.path / "guardian.log"
        self._process = self._spawn(theirs, log)
        self._line = ours
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                said = await loop.sock_recv(ours, 4096)
        except (TimeoutError, OSError) as error:
            said = repr(error).encode()
        except BaseException:
            self._end()
            ward.strike(self._ward.run)
            raise
        if said != READY:
            self._end()
            ward.strike(self._ward.run)
            why = said.decode("utf-8", "replace").strip() or "it ended at once"
            raise GuardianError(f"the guardian cannot watch over this run: {why}; see {log}")
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._died)
        loop.add_reader(ours.fileno(), self._answered)
        self._renewed_s = self._answered_s = boottime_s()
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the guardian to go: at once after a goodbye, else when it has done our job."""
        assert self._renewing is not None
        self._renewing.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        loop.remove_reader(self._line.fileno())
        well = self._ended_well and not self._taken()
        if well:
            with contextlib.suppress(OSError):
                self._line.send(BYE + b"\n")
        else:
            self._line.close()  # what the guardian, or its stand-by, takes for our end
        gone = await _within(GONE_WITHIN_S if well else LAST_RESORT_S + GONE_WITHIN_S, self._gone)
        os.close(self._pidfd)
        if well:
            if not gone:
                self._end()
            self._line.close()
            ward.strike(self._ward.run)

    def may_break(self) -> None:
        """Ask before each inject. Raises ``Fenced``."""
        self._fence.check()
        if self._lost.done():
            raise Fenced(self._lost.result())
        silent_s = boottime_s() - self._renewed_s
        if silent_s > self._ward.lease_s:
            raise Fenced(f"the lease was not renewed for {silent_s:.1f} s")

    def may_mend(self) -> None:
        """Ask before each heal. Raises ``Fenced``."""
        self._fence.check()

    async def lost(self) -> str:
        """Wait until the run has to end because it is guarded no more, and say why."""
        return await asyncio.shield(self._lost)

    async def relieved(self) -> bool:
        """Whether somebody else took the run over; then it returns once their job is done."""
        if not self._taken():
            return False
        await _within(LAST_RESORT_S + GONE_WITHIN_S, self._settled)
        return True

    def _spawn(self, theirs: socket.socket, log: Path) -> "subprocess.Popen[bytes]":
        with theirs, log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "harness.run.guardian", self._entry, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=_environment(),
            )

    def goodbye(self) -> None:
        """Say that everything is healed and down: without it, the guardian sees to that."""
        self._ended_well = True

    async def _renew(self) -> None:
        lease_s = self._ward.lease_s
        while True:
            now_s = boottime_s()
            gap_s, self._renewed_s = now_s - self._renewed_s, now_s
            self.worst_gap_s = max(self.worst_gap_s, gap_s)
            if (hold := self._fence.taken()) is not None:
                self._lose(f"{hold.who} took the run over: {hold.why}")
            elif gap_s > lease_s:
                self._lose(f"the harness was silent for {gap_s:.1f} s, and its lease is over")
            elif now_s - self._answered_s > lease_s:
                self._lose(f"the guardian was silent for {now_s - self._answered_s:.1f} s")
            with contextlib.suppress(OSError):
                self._line.send(f"{time.clock_gettime_ns(time.CLOCK_BOOTTIME)}\n".encode())
            await asyncio.sleep(lease_s / 4)

    def _answered(self) -> None:
        with contextlib.suppress(OSError):
            if self._line.recv(65536):
                self._answered_s = boottime_s()
            else:
                asyncio.get_running_loop().remove_reader(self._line.fileno())

    def _died(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        hold = self._fence.taken()
        self._lose(f"{hold.who} took the run over: {hold.why}" if hold else "the guardian died")

    def _lose(self, why: str) -> None:
        if not self._lost.done():
            self._lost.set_result(why)

    def _taken(self) -> bool:
        return self._fence.taken() is not None

    def _settled(self) -> bool:
        try:
            return read(self._ward.folder.path).settled
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _gone(self) -> bool:
        """Reap the guardian; the stand-by has another parent, or none, by the time we look."""
        carers = ward.guardians(self._ward.folder)
        return self._process.poll() is not None and not any(c.alive for c in carers)

    def _end(self) -> None:
        """End guardian and stand-by by force: they are stopped, or hang, or never began."""
        self._line.close()
        for carer in ward.guardians(self._ward.folder):
            carer.signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def marking(of: Ward) -> Iterator[None]:
    """Have every process that is started meanwhile inherit the run's mark."""
    before = os.environ.get(MARK)
    os.environ[MARK] = of.mark
    try:
        yield
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before


def _environment() -> dict[str, str]:
    """What is handed down of ours, without the mark: a guardian does not end with its ward."""
    entries = dict.fromkeys([str(_ROOT), *filter(None, sys.path)])
    kept = {key: value for key, value in inherited(os.environ).items() if key != MARK}
    return {**kept, "PYTHONPATH": os.pathsep.join(entries)}


async def _within(deadline_s: float, holds: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() > end_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True
