"""The one effectful arrow: Plan in, Record out.

It carries out a plan, writing down everything and judging nothing but whether the stack is steady
enough to be broken. However a run ends (its own end, a failed gate, Ctrl-C, a crash of a part), the
way out is the same: heal newest first, stop the load, export the monitored series, look once more,
take the stack down.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.model import events as ev
from harness.model.plan import Enter, Heal, Inject, Plan
from harness.model.record import Series
from harness.protocols import Journal, Notification, Reading, Served, Site, Stack
from harness.run import folder as folders
from harness.run.drive import Drive, drive_for
from harness.run.folder import Folder
from harness.run.gate import steady
from harness.run.supervisor import Faults, Supervisor
from harness.run.tally import Second, Tally
from harness.run.webhook import Webhook

LOAD_READY_S = 3.0  # ample for Locust to import, spawn its users and connect; measured 0.8
PROBE_EVERY_S = 1.0
AUDIT_EVERY_S = 0.5
SERIES_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line of the record says beside the plan."""

    run: str
    slo_text: str
    versions: Mapping[str, str]
    machine: Mapping[str, ev.Json]
    digests: Mapping[str, str]


class Run:
    """One run. ``execute`` once; ``stop`` from a signal handler, as often as people press it.

    ``watch`` is given every ``Second`` as it closes and ``say`` gets progress in words; events go
    to the journal, which has a watcher of its own.
    """

    def __init__(
        self,
        plan: Plan,
        stack: Stack,
        faults: Faults,
        folder: Folder,
        journal: Journal,
        header: Header,
        *,
        watch: Callable[[Second], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._plan, self._stack, self._faults = plan, stack, faults
        self._folder, self._journal, self._header = folder, journal, header
        self._watch, self._say = watch, say
        self._stop = asyncio.Event()
        self._stop_because = ""
        self._firing: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._readings: list[Reading] = []
        self._audited = 0
        self._offset_s = 0.0
        self._drive: Drive | None = None
        self._aborted = False
        self._fingerprinted = False

    def stop(self, because: str) -> None:
        """Ask for an orderly end: heal, take down, finish the record."""
        self._stop_because = self._stop_because or because
        self._stop.set()

    async def execute(self) -> None:
        """Carry out the plan. Raises what broke, after everything is healed and down."""
        loop = asyncio.get_running_loop()
        self._zero_s, self._wall_s = loop.time(), time.time()
        if self._stack.virtual_time:
            self._wall_s = self._zero_s
        self._journal.append(self._started())
        self._journal.sync()
        play = asyncio.create_task(self._guarded())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({play, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not play.done():
                self._abort("signal", self._stop_because)
                play.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await play
        finally:
            stopped.cancel()
            self._journal.append(ev.RunFinished(t=self.now()))
            self._journal.sync()

    def now(self) -> float:
        """Run time: seconds on the loop's clock since ``execute`` began."""
        return round(asyncio.get_running_loop().time() - self._zero_s, 6)

    async def _guarded(self) -> None:
        """Everything that needs the webhook, with the stack taken down on every way out."""
        async with contextlib.AsyncExitStack() as ways_out:
            url = ""
            if isinstance(self._stack, Served):
                url = (await ways_out.enter_async_context(Webhook(self._notified))).url
            ways_out.push_async_callback(self._down)
            try:
                await self._up(url)
                await self._play()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._abort("error", f"{type(error).__name__}: {error}")
                raise
            finally:
                await asyncio.shield(self._look_back())

    async def _up(self, webhook: str) -> None:
        began_s = self.now()
        self._say(f"standing up the stack {self._plan.scenario.stack}")
        await self._stack.up(
            Site(
                folder=str(self._folder.stack),
                seed=self._plan.seed,
                webhook=webhook,
                notify=self._notified,
                say=self._say,
            )
        )
        took_s = round(self.now() - began_s, 3)
        topology = {role: tuple(nodes) for role, nodes in self._stack.topology().items()}
        self._journal.append(ev.StackUp(t=self.now(), took_s=took_s, topology=topology))
        await self._read_clock()

    async def _play(self) -> None:
        cases = await self._stack.cases(len(self._plan.due_ns))
        folders.write_cases(self._folder, cases.label, cases.golden)
        drive = drive_for(self._stack)
        await drive.prepare(self._plan, cases, self._folder)
        zero_ns = round(self._zero_s * 1e9)
        self._drive = drive
        start_s = await self._begin(drive, zero_ns)
        self._journal.append(ev.LoadStarted(t=start_s, requests=len(self._plan.due_ns)))
        tally = Tally(cases, self._plan.slo.late_after_s)
        beside = [
            asyncio.create_task(self._each_second(tally, start_s)),
            asyncio.create_task(self._each(PROBE_EVERY_S, self._probe, start_s)),
            asyncio.create_task(self._each(AUDIT_EVERY_S, self._audit, start_s)),
        ]
        over = asyncio.create_task(drive.watch())
        try:
            async with Supervisor(self._stack, self._faults, self._journal, self.now) as supervisor:
                follow = asyncio.create_task(self._follow(supervisor, tally, start_s))
                await _first_failure(follow, over)
        finally:
            over.cancel()
            await self._end_load(beside)

    async def _begin(self, drive: Drive, zero_ns: int) -> float:
        """Start the load; return when its first request is due, which is after it is ready."""
        start_s = self.now()
        if not self._stack.virtual_time:
            self._say("starting the load")
            start_s += LOAD_READY_S
        await drive.begin(zero_ns, round(start_s * 1e9))
        return start_s

    async def _follow(self, supervisor: Supervisor, tally: Tally, start_s: float) -> None:
        """Walk through the plan, step by step, at its instants."""
        for step in self._plan.steps:
            await self._until(start_s + step.at_s)
            match step:
                case Enter():
                    self._journal.append(ev.PhaseEntered(t=self.now(), phase=step.phase))
                    if step.phase == "fault" and not await self._gate(tally):
                        return
                case Inject():
                    await supervisor.inject(step)
                case Heal():
                    await supervisor.heal(step.id)
        await self._until(start_s + self._plan.ends_s)

    async def _gate(self, tally: Tally) -> bool:
        await self._fingerprint("before")
        passed, because = steady(
            tally.seconds, self._plan.slo, tuple(self._firing.values()), self._readings
        )
        self._journal.append(ev.Gated(t=self.now(), passed=passed, because=because))
        if not passed:
            self._abort("gate", because)
        return passed

    async def _end_load(self, beside: list["asyncio.Task[None]"]) -> None:
        ended_s = self.now()
        assert self._drive is not None
        try:
            facts = await self._drive.stop()
        except Exception as error:
            facts = {"error": str(error)}
        self._journal.append(ev.LoadFinished(t=ended_s, facts=facts))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)

    async def _look_back(self) -> None:
        """Before the stack goes down: what its own monitoring and audit trail have to say."""
        if self._drive is None:
            return
        for look in (self._audit, self._probe, self._read_clock):
            await self._try(look)
        if self._fingerprinted:
            await self._try(lambda: self._fingerprint("after"))
        await self._try(self._export)
        self._journal.sync()

    async def _export(self) -> None:
        import numpy as np

        start_s, end_s = self._wall_s, self._wall_s + self.now()
        async with asyncio.timeout(SERIES_TIMEOUT_S):
            found = await self._stack.series(start_s + self._offset_s, end_s + self._offset_s)
        zero = self._wall_s + self._offset_s
        series = [
            Series(s.name, s.labels, np.asarray(s.wall_s, float) - zero, np.asarray(s.value))
            for s in found
        ]
        folders.write_series(self._folder, series)
        self._journal.append(ev.Exported(t=self.now(), series=len(series)))

    async def _down(self) -> None:
        began_s = self.now()
        self._say("taking the stack down")
        await asyncio.shield(self._stack.down())
        took_s = round(self.now() - began_s, 3)
        self._journal.append(ev.StackDown(t=self.now(), took_s=took_s))

    def _notified(self, notification: Notification) -> None:
        key = tuple(sorted(notification.labels.items()))
        if notification.status == "firing":
            self._firing[key] = notification.labels
        else:
            self._firing.pop(key, None)
        self._journal.append(
            ev.Alerted(
                t=self.now(),
                status="firing" if notification.status == "firing" else "resolved",
                labels=notification.labels,
                starts_wall_s=notification.starts_wall_s,
            )
        )

    async def _each(self, every_s: float, look: Callable[[], object], start_s: float) -> None:
        tick = 0
        while True:
            await self._until(start_s + tick * every_s)
            await self._try(look)
            tick = max(tick + 1, int((self.now() - start_s) / every_s) + 1)

    async def _each_second(self, tally: Tally, start_s: float) -> None:
        tick = 1
        while True:
            await self._until(start_s + tick)
            assert self._drive is not None
            self._watch(tally.close(float(tick), self._drive.more()))
            tick += 1

    async def _probe(self) -> None:
        self._readings = list(await self._stack.probe())
        for reading in self._readings:
            self._journal.append(
                ev.Sampled(
                    t=self.now(), probe=reading.probe, node=reading.node, value=reading.value
                )
            )

    async def _audit(self) -> None:
        for entry in await self._stack.audit(self._audited):
            self._audited = max(self._audited, entry.seq)
            self._journal.append(
                ev.Acted(
                    t=round(entry.wall_s - self._wall_s - self._offset_s, 6),
                    seq=entry.seq,
                    who=entry.who,
                    what=entry.what,
                    target=entry.target,
                    why=entry.why,
                )
            )

    async def _fingerprint(self, when: str) -> None:
        parts = await self._stack.fingerprint()
        self._fingerprinted = True
        self._journal.append(
            ev.Fingerprinted(
                t=self.now(), when="before" if when == "before" else "after", parts=parts
            )
        )

    async def _read_clock(self) -> None:
        offset_s, bound_s = await self._stack.clock()
        self._offset_s = offset_s if abs(offset_s) > bound_s else 0.0
        self._journal.append(
            ev.ClockRead(t=self.now(), source="monitoring", offset_s=offset_s, bound_s=bound_s)
        )

    async def _try(self, look: Callable[[], object]) -> None:
        """Look, and let a failure to see be a note in the record rather than the end of the run."""
        try:
            seen = look()
            if asyncio.iscoroutine(seen):
                await seen
        except Exception as error:
            name = getattr(look, "__name__", "look").strip("_<>")
            self._note(f"{name} failed: {type(error).__name__}: {error}")

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.now()))

    def _note(self, text: str) -> None:
        self._journal.append(ev.Noted(t=self.now(), who="harness", text=text))

    def _abort(self, by: str, because: str) -> None:
        if self._aborted:
            return
        self._aborted = True
        kind = next(k for k in ("gate", "guard", "signal", "error") if k == by)
        self._journal.append(ev.Aborted(t=self.now(), by=kind, because=because))

    def _started(self) -> ev.RunStarted:
        scenario, header = self._plan.scenario, self._header
        return ev.RunStarted(
            t=0.0,
            format=ev.FORMAT,
            run=header.run,
            scenario=scenario.name,
            text=scenario.text,
            slo_text=header.slo_text,
            seed=self._plan.seed,
            stack=scenario.stack,
            stack_params=scenario.stack_params,
            wall_s=round(self._wall_s, 6),
            virtual_time=self._stack.virtual_time,
            versions=header.versions,
            machine=header.machine,
            digests=header.digests,
        )


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
