"""The part of a run in which the stack is under load, is broken, and is mended again.

However it ends, every fault is healed before it returns, newest first, and the load is over.
"""

import asyncio
import contextlib
from collections.abc import Callable

from harness.model import events as ev
from harness.model.plan import Enter, Heal, Inject, Plan
from harness.protocols import Stack
from harness.run import ballast
from harness.run import folder as folders
from harness.run.drive import Drive, drive_for
from harness.run.folder import Folder
from harness.run.gate import overlaps, steady
from harness.run.lifeline import Lifeline
from harness.run.log import Log
from harness.run.observe import Observer
from harness.run.safety import Safety
from harness.run.supervisor import Faults, Supervisor, to_its_end
from harness.run.tally import Second, Tally

LOAD_READY_S = 3.0  # ample for Locust to import, spawn its users and connect; measured 0.8
PROBE_EVERY_S = 1.0
AUDIT_EVERY_S = 0.5
FRESH_S = 3.0
"""So long the look at the start of the fault phase is good for the first fault."""


class Play:
    """One plan on one stack that is up.

    ``abort`` is told who cut it short, and why; ``stop`` ends the run for a reason and by somebody.
    """

    def __init__(
        self,
        plan: Plan,
        stack: Stack,
        faults: Faults,
        folder: Folder,
        log: Log,
        observer: Observer,
        lifeline: Lifeline,
        safety: Safety,
        *,
        watch: Callable[[Second], None],
        say: Callable[[str], None],
        abort: Callable[[str, str], None],
        stop: Callable[[str, str], None],
    ) -> None:
        self._plan, self._stack, self._faults = plan, stack, faults
        self._folder, self._log, self._observer, self._lifeline = folder, log, observer, lifeline
        self._safety, self._beside = safety, overlaps(plan)
        self._watch, self._say, self._abort, self._stop = watch, say, abort, stop
        self._injected = False
        self._gated_s = -FRESH_S
        self.drive: Drive | None = None

    async def carry_out(self) -> None:
        """Start the load, walk through the plan, heal what is left, stop the load."""
        cases = await self._stack.cases(len(self._plan.due_ns))
        folders.write_cases(self._folder, cases.label, cases.golden)
        drive = drive_for(self._stack)
        await drive.prepare(self._plan, cases, self._folder)
        self.drive = drive
        start_s = await self._begin(drive)
        self._log.append(ev.LoadStarted(t=start_s, requests=len(self._plan.due_ns)))
        tally = Tally(cases, self._plan.slo.late_after_s)
        beside = [
            asyncio.create_task(self._each_second(tally, start_s)),
            asyncio.create_task(self._each(PROBE_EVERY_S, self._observer.probe, start_s)),
            asyncio.create_task(self._each(AUDIT_EVERY_S, self._observer.audit, start_s)),
        ]
        over = asyncio.create_task(drive.watch())
        journal, now = self._log.journal, self._log.now
        supervisor = Supervisor(self._stack, self._faults, journal, now, self._lifeline)
        try:
            async with supervisor:
                follow = asyncio.create_task(self._follow(supervisor, tally, start_s))
                try:
                    await _first_failure(follow, over)
                finally:
                    ballast.drop(self._folder.path)  # from here on it is mended
        finally:
            self._log.unwritten = self._log.unwritten or supervisor.unwritten
            over.cancel()
            await to_its_end(self._end_load(drive, beside))

    async def _begin(self, drive: Drive) -> float:
        """Start the load; return when its first request is due, which is after it is ready."""
        start_s = self._log.now()
        if not self._stack.virtual_time:
            self._say("starting the load")
            start_s += LOAD_READY_S
        await drive.begin(round(self._log.zero_s * 1e9), round(start_s * 1e9))
        return start_s

    async def _follow(self, supervisor: Supervisor, tally: Tally, start_s: float) -> None:
        """Walk through the plan, step by step, at its instants."""
        for step in self._plan.steps:
            await self._log.until(start_s + step.at_s)
            match step:
                case Enter():
                    self._log.append(ev.PhaseEntered(t=self._log.now(), phase=step.phase))
                    if step.phase == "fault" and not await self._gate(tally, supervisor):
                        return
                case Inject():
                    if not await self._may_inject(step, tally, supervisor):
                        return
                    await supervisor.inject(step)
                case Heal():
                    await supervisor.heal(step.id)
        await self._log.until(start_s + self._plan.ends_s)

    async def _may_inject(self, step: Inject, tally: Tally, supervisor: Supervisor) -> bool:
        """Ask who may object, and pass the gate again unless faults overlap on purpose."""
        if (objection := self._safety.before_injection()) is not None:
            self._abort(objection.by, objection.because)
            return False
        first = not self._injected
        self._injected = True
        beside = self._beside[step.id]
        if left := [id for id in supervisor.in_force if id not in beside]:
            return self._gated(passed=False, because=f"not healed: {', '.join(left)}")
        fresh = first and self._log.now() - self._gated_s < FRESH_S
        return fresh or bool(beside) or await self._gate(tally, supervisor)

    async def _gate(self, tally: Tally, supervisor: Supervisor) -> bool:
        if not self._injected:
            await self._observer.fingerprint_before()
        seen = self._observer
        passed, because = steady(
            tally.seconds,
            self._plan.slo,
            tuple(seen.firing.values()),
            seen.readings,
            supervisor.in_force,
            seen.deaf_s,
        )
        return self._gated(passed=passed, because=because)

    def _gated(self, *, passed: bool, because: str) -> bool:
        self._gated_s = self._log.now()
        self._log.append(ev.Gated(t=self._gated_s, passed=passed, because=because))
        if not passed:
            self._abort("gate", because)
        return passed

    async def _end_load(self, drive: Drive, beside: list["asyncio.Task[None]"]) -> None:
        ended_s = self._log.now()
        try:
            facts = await drive.stop()
        except Exception as error:
            facts = {"error": str(error)}
        self._log.tell(ev.LoadFinished(t=ended_s, facts=facts))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)

    async def _each(self, every_s: float, look: Callable[[], object], start_s: float) -> None:
        tick = 0
        while True:
            await self._log.until(start_s + tick * every_s)
            await self._log.attempt(look)
            tick = max(tick + 1, int((self._log.now() - start_s) / every_s) + 1)

    async def _each_second(self, tally: Tally, start_s: float) -> None:
        tick = 1
        while True:
            await self._log.until(start_s + tick)
            assert self.drive is not None
            second = tally.close(float(tick), self.drive.more())
            self._watch(second)
            firing = tuple(self._observer.firing.values())
            if (objection := await self._safety.each_second(second, firing)) is not None:
                self._stop(objection.because, objection.by)
                return
            tick += 1


async def _first_failure(follow: "asyncio.Task[None]", over: "asyncio.Task[None]") -> None:
    """Wait for the plan to end, unless the load falls over before."""
    try:
        await asyncio.wait({follow, over}, return_when=asyncio.FIRST_COMPLETED)
        if over.done() and not over.cancelled() and (error := over.exception()) is not None:
            raise RuntimeError(f"the load fell over: {error}")
        await follow
    finally:
        follow.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follow
