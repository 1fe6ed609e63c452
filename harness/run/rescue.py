"""Finishing the job of a run whose harness cannot: for the guardian, and for ``gameday heal``.

The order: raise the fencing epoch, end what still sends load, heal from the record (newest first,
one that fails does not stop the others and is tried again), take down the stack if the run started
it, end every process that is left, write down what was done, take the run off the list. Each part
has its share of a bounded time and none waits for the one before it to succeed: a record that
cannot be written, or an undo that hangs, must not keep the rest from being mended.
"""

import asyncio
import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from harness import schema
from harness.capabilities import Hurriable
from harness.model import events as ev
from harness.model.record import FaultSpan
from harness.protocols import Journal, Served, Stack
from harness.run import ballast, fence, processes, ward
from harness.run import folder as folders
from harness.run.fence import Fence, Fenced, Hold
from harness.run.journal import FileJournal, MemoryJournal
from harness.run.mending import Broken, Mending, done_to_stack, leftovers, to_mend, worded
from harness.run.observe import alike
from harness.run.processes import Process
from harness.run.ward import Ward

_LOCK: Final = "rescue.lock"


class Busy(Exception):
    """Somebody else is at it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long each part may take: the guardian is in a hurry, a person is not."""

    heal_s: float
    down_s: float
    kill_s: float = 1.0
    look_s: float = 20.0

    @property
    def whole_s(self) -> float:
        """All of it."""
        return self.heal_s + self.down_s + self.kill_s


HURRIED: Final = Bounds(heal_s=2.8, down_s=2.2, kill_s=0.6, look_s=1.0)
PATIENT: Final = Bounds(heal_s=60.0, down_s=10.0)


@dataclass(slots=True)
class Outcome:
    """What came of it. ``failed``: in words, by fault or part; ``left``: processes still there;
    ``differs``: in words, what of a stack that stays is not as it was before.
    """

    healed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    down: bool = False
    left: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Rescue:
    """One attempt to finish the job of one run.

    ``spared`` are processes of the run that must not be ended: its harness, its guardians.
    ``seen`` are processes known to be its own whatever their environment says.
    """

    ward: Ward
    who: Literal["guardian", "heal"]
    why: str
    bounds: Bounds
    now: Callable[[], float]
    spared: frozenset[Process] = frozenset()
    seen: frozenset[Process] = frozenset()

    def carry_out(self, *, wait_s: float) -> Outcome:
        """Do it all. Raises ``Busy`` when somebody else is at it for longer than ``wait_s``."""
        outcome = Outcome()
        ballast.drop(self.ward.folder.path)
        with _alone(self.ward.folder.path, wait_s), self._journal() as journal:
            if self._nothing_left():
                outcome.settled, outcome.down = True, self.ward.owns_stack
                ward.strike(self.ward.run)
                return outcome
            hold = self._take(journal)
            if not _begun_by_guardian(self.ward):
                why = ev.Aborted(t=self.now(), by="guardian", because=self.why)
                _tell(journal, why)
            self._end_load()
            try:
                _run(self._mend(journal, outcome))
            except Fenced as fenced:
                outcome.failed.append(str(fenced))
                return outcome
            if self.ward.owns_stack:
                outcome.left = len(processes.end(self._own(), self.bounds.kill_s))
                outcome.down = not outcome.left
            self._conclude(journal, outcome, hold)
        return outcome

    def sweep(self) -> None:
        """Only end what is left, at once: for when there is no time for anything else."""
        if self.ward.owns_stack:
            processes.end(self._own(), 0.5)

    def _nothing_left(self) -> bool:
        """Whether the run ended by itself, and was killed only after it had mended everything."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            events = folders.events(self.ward.folder)
            complete = any(isinstance(e, ev.RunFinished) for e in events)
            whole = (
                not self.ward.stack_state.exists()
                if self.ward.owns_stack
                else not leftovers(events)
            )
            return complete and whole and not self._own()
        return False

    def _take(self, journal: Journal) -> Hold | None:
        """Raise the epoch. Where that cannot be written, the harness itself must go."""
        try:
            return fence.take(self.ward.folder.path, f"the {self.who}", self.why)
        except OSError as error:
            self._note(journal, f"the epoch cannot be raised ({error}), so the harness is ended")
            processes.end([self.ward.harness], self.bounds.kill_s)
            return None

    def _end_load(self) -> None:
        """Whatever of the harness itself still acts: the load, which is a module of ours."""
        processes.end([p for p in self._own() if _sends_load(p)], 0.3)

    def _own(self) -> set[Process]:
        """Every process of the run, as far as anybody knows, but those that are spared.

        On a stack that it did not start, what it started again there is the stack's by now.
        """
        known = processes.marked(self.ward.mark) | {p for p in self.seen if p.alive}
        if not self.ward.owns_stack:
            known = {p for p in known if _sends_load(p)}
        return known - self.spared - {processes.me(), self.ward.harness}

    async def _mend(self, journal: Journal, outcome: Outcome) -> None:
        """Heal through the stack's state, then take the stack down."""
        events, unread, spoilt = done_to_stack((self.ward.folder.events, self.ward.folder.rescue))
        spans = to_mend(events)
        outcome.failed += unread
        state = self.ward.stack_state
        if not state.exists():
            if spans:
                ids = ", ".join(span.id for span, again in spans if not again)
                self._note(journal, f"not healed, for the stack left no state: {ids}")
            return
        try:
            cls = self.ward.catalog().stack(self.ward.stack)
            assert issubclass(cls, Served)
            stack = cls.attach(json.loads(state.read_text("utf-8")))
        except Exception as error:
            outcome.failed.append(f"the stack cannot be reached: {worded(error, 'attach')}")
            self._note(journal, outcome.failed[-1])
            return
        if isinstance(stack, Hurriable) and (self.ward.owns_stack or self.bounds == HURRIED):
            stack.hurry()  # what is about to go need not serve, and else there is no time to wait
        await self._heal(spans, stack, journal, outcome)
        if self.ward.owns_stack:
            await self._down(stack, state, journal, outcome)
        else:
            before = next(
                (e for e in events if isinstance(e, ev.Fingerprinted) and e.when == "before"), None
            )
            whole = before is not None and await self._compare(stack, before, journal, outcome)
            if spoilt and not whole:
                outcome.failed.append(f"what cannot be read any more: {', '.join(spoilt)}")
                self._note(journal, f"not healed, as far as anybody knows: {outcome.failed[-1]}")

    async def _heal(
        self,
        spans: Sequence[tuple[FaultSpan, bool]],
        stack: Stack,
        journal: Journal,
        outcome: Outcome,
    ) -> None:
        broken = []
        for span, again in spans:
            try:
                fault = schema.build(self.ward.catalog().fault(span.fault), span.params)
            except Exception as error:
                outcome.failed.append(f"{span.id}: {worded(error, 'load')}")
                self._note(journal, outcome.failed[-1])
                continue
            broken.append(Broken(span.id, fault, span.nodes, span.undo, again))
        here = Fence(self.ward.folder.path)
        mending = Mending(stack, lambda event: _tell(journal, event), self.now, here.check)
        failed = await mending.mend_all(broken, self.bounds.heal_s)
        outcome.failed += [f"{id}: {why}" for id, why in failed.items()]
        outcome.healed += [b.id for b in broken if b.id not in failed and not b.again]

    async def _compare(
        self, stack: Stack, before: ev.Fingerprinted, journal: Journal, outcome: Outcome
    ) -> bool:
        """Say what a stack that stays is like now, and whether all of it is as it was before."""
        try:
            async with asyncio.timeout(self.bounds.look_s):
                after, words = await alike(stack, before.parts, self.bounds.look_s / 2)
        except Exception as error:
            self._note(journal, f"looking at the stack: {worded(error, 'fingerprint')}")
            return False
        _tell(journal, ev.Fingerprinted(t=self.now(), when="after", parts=after))
        outcome.differs = words
        if words:
            self._note(journal, f"the stack is not what it was before: {'; '.join(words)}")
        return not words

    async def _down(self, stack: Stack, state: Path, journal: Journal, outcome: Outcome) -> None:
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self.bounds.down_s):
                await stack.down()
        except Exception as error:
            # What it did not end itself is ended by the sweep that follows.
            self._note(journal, f"taking the stack down: {worded(error, 'down')}")
        _forget(state)
        took_s = round(time.monotonic() - began_s, 3)
        _tell(journal, ev.StackDown(t=self.now(), took_s=took_s))

    def _conclude(self, journal: Journal, outcome: Outcome, hold: Hold | None) -> None:
        """Settled: nothing is left to do. A stack of its own took its faults along."""
        outcome.settled = outcome.down if self.ward.owns_stack else not outcome.failed
        if outcome.left:
            self._note(journal, f"{outcome.left} processes of the run could not be ended")
        with contextlib.suppress(OSError):
            journal.sync()
        if outcome.settled:
            if hold is not None:
                with contextlib.suppress(OSError):
                    fence.settle(self.ward.folder.path, hold)
            ward.strike(self.ward.run)

    def _note(self, journal: Journal, text: str) -> None:
        _tell(journal, ev.Noted(t=self.now(), who=self.who, text=text))

    def _journal(self) -> "FileJournal | MemoryJournal":
        try:
            return FileJournal(self.ward.folder.rescue, new=False)
        except OSError:
            return MemoryJournal()


def _sends_load(one: Process) -> bool:
    return any(argument.startswith("harness.") for argument in one.arguments())


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Like ``asyncio.run``, but for what a hung undo left behind: that is dropped, not awaited."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _begun_by_guardian(of: Ward) -> bool:
    """Whether the record says already that it was taken over: a second attempt says nothing new."""
    with contextlib.suppress(OSError):
        return '"kind":"Aborted"' in of.folder.rescue.read_text("utf-8", "replace")
    return False


def _forget(state: Path) -> None:
    with contextlib.suppress(OSError):
        state.unlink(missing_ok=True)


def _tell(journal: Journal, event: ev.Event) -> None:
    """Write down what was done; that it cannot be written must not keep it from being done."""
    with contextlib.suppress(OSError):
        journal.append(event)


@contextlib.contextmanager
def _alone(folder: Path, wait_s: float) -> Iterator[None]:
    """One rescuer at a time. Raises ``Busy``. The lock goes with its holder, however that ends."""
    try:
        file = (folder / _LOCK).open("a")
    except OSError:  # no disk, or no folder: better twice than not at all
        yield
        return
    with file:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise Busy(f"{folder.name} is being healed by somebody else") from None
                time.sleep(0.02)
        yield
