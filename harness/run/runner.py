"""The one effectful arrow: Plan in, Record out.

It carries out a plan, writing down everything and judging nothing but whether the stack is steady
enough to be broken. However a run ends (its own end, a failed gate, Ctrl-C, a crash of a part), the
way out is the same and is not cut short by a second signal: heal newest first, stop the load, look
once more, export the monitored series, take the stack down. A run that somebody else took over
touches nothing any more: it waits until they have finished, and closes its record.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, get_args

from harness.model import events as ev
from harness.model.plan import Plan
from harness.model.policy import Policy
from harness.protocols import Journal, Served, Site, Stack
from harness.run import ballast
from harness.run.fence import Fenced
from harness.run.folder import Folder
from harness.run.lifeline import Lifeline, Unguarded
from harness.run.log import Log
from harness.run.observe import ALIKE_WITHIN_S, Observer
from harness.run.play import Play
from harness.run.safety import Safety
from harness.run.supervisor import Faults, to_its_end
from harness.run.tally import Second
from harness.run.webhook import Webhook

T = TypeVar("T")
_ABORTERS = get_args(ev.Aborted.__annotations__["by"])


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
    to the journal, which has a watcher of its own. ``lifeline`` leads to whoever heals for us;
    ``safety`` says what ends the run early. A stack that is not owned is up already, and stays up.
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
        lifeline: Lifeline | None = None,
        safety: Safety | None = None,
        owns_stack: bool = True,
    ) -> None:
        self._owns_stack = owns_stack
        self._plan, self._stack, self._faults = plan, stack, faults
        self._folder, self._journal, self._header = folder, journal, header
        self._watch, self._say = _harmless(watch), _harmless(say)
        self._lifeline = lifeline or Unguarded()
        self._safety = safety or Safety(plan, stack, faults, Policy(), None)
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._stop_because, self._stop_by = "", "signal"
        self._aborted = False

    def stop(self, because: str, by: str = "signal") -> None:
        """Ask for an orderly end: heal, take down, finish the record.

        Asked again, nothing is cut short that mends; only the last look at the stack is left out.
        """
        if self._stop.is_set():
            self._hurry.set()
        else:
            self._stop_because, self._stop_by = because, by
            self._stop.set()

    async def execute(self) -> None:
        """Carry out the plan. Raises what broke, after everything is healed and down."""
        self._begin()
        self._log.append(self._started())
        self._journal.sync()
        guarded = asyncio.create_task(self._heed_guard())
        try:
            async with contextlib.AsyncExitStack() as ways_out:
                body = asyncio.create_task(self._body(ways_out))
                try:
                    await self._until_over(body)
                finally:
                    await to_its_end(self._wind_up())
            if not body.cancelled() and (error := body.exception()) is not None:
                raise error
            if self._log.unwritten is not None:
                raise self._log.unwritten
        finally:
            guarded.cancel()
            self._log.tell(ev.RunFinished(t=self._log.now()))
            with contextlib.suppress(OSError):
                self._journal.sync()

    def _begin(self) -> None:
        """Set the run's zero: the guardian's, which began before us, or now."""
        now_s = asyncio.get_running_loop().time()
        zero_s = now_s if self._lifeline.zero_s is None else self._lifeline.zero_s
        wall_s = now_s if self._stack.virtual_time else time.time()
        self._log = Log(self._journal, zero_s, wall_s - (now_s - zero_s))
        self._observer = Observer(self._stack, self._log)
        self._play = Play(
            self._plan,
            self._stack,
            self._faults,
            self._folder,
            self._log,
            self._observer,
            self._lifeline,
            self._safety,
            watch=self._watch,
            say=self._say,
            abort=self._abort,
            stop=self.stop,
        )

    async def _heed_guard(self) -> None:
        self.stop(await self._lifeline.lost(), by="guardian")

    async def _until_over(self, body: "asyncio.Task[None]") -> None:
        """Wait for the body to end; when we are told to stop, or are cancelled, end it."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({body, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not body.done():
                self._abort(self._stop_by, self._stop_because or "cancelled")
                body.cancel()
            await to_its_end(_ended(body))

    async def _body(self, ways_out: contextlib.AsyncExitStack) -> None:
        """Stand the stack up and break it; mending is done when this returns."""
        try:
            url = ""
            if isinstance(self._stack, Served):
                url = (await ways_out.enter_async_context(Webhook(self._observer.notified))).url
            await self._up(url)
            await self._play.carry_out()
        except Fenced as fenced:
            self._abort("guardian", str(fenced))
        except Exception as error:
            try:
                self._lifeline.may_mend()
            except Fenced as fenced:  # then what broke is what our rescuer ended
                self._abort("guardian", str(fenced))
                return
            self._abort("error", f"{type(error).__name__}: {error}")
            raise

    async def _wind_up(self) -> None:
        """Look once more and take the stack down, or leave both to whoever took the run over."""
        ballast.drop(self._folder.path)
        if await self._lifeline.relieved():
            self._log.note("somebody else took this run over; the harness left the stack to them")
        elif self._play.drive is not None:
            look = asyncio.create_task(self._look_back())
            hurry = asyncio.create_task(self._hurry.wait())
            await asyncio.wait({look, hurry}, return_when=asyncio.FIRST_COMPLETED)
            for task in (look, hurry):
                task.cancel()
            await asyncio.wait({look, hurry})
        if self._owns_stack:
            await self._down()
        self._lifeline.goodbye()

    async def _down(self) -> None:
        began_s = self._log.now()
        self._say("taking the stack down")
        await self._stack.down()
        self._log.tell(ev.StackDown(t=self._log.now(), took_s=round(self._log.now() - began_s, 3)))

    async def _up(self, webhook: str) -> None:
        began_s = self._log.now()
        site = Site(
            folder=str(self._folder.stack),
            seed=self._plan.seed,
            webhook=webhook,
            notify=self._observer.notified,
            say=self._say,
        )
        if self._owns_stack:
            self._say(f"standing up the stack {self._plan.scenario.stack}")
            await self._stack.up(site)
        else:
            self._say(f"the stack {self._plan.scenario.stack} is up already, and stays up")
        took_s = round(self._log.now() - began_s, 3)
        topology = {role: tuple(nodes) for role, nodes in self._stack.topology().items()}
        self._log.append(ev.StackUp(t=self._log.now(), took_s=took_s, topology=topology))
        self._safety.reach()
        await self._observer.clock()

    async def _look_back(self) -> None:
        """Before the stack goes down: what its own monitoring and audit trail have to say."""
        seen = self._observer
        for look in (seen.audit, seen.probe, seen.clock):
            await self._log.attempt(look)
        patience_s = 0.0 if self._aborted else ALIKE_WITHIN_S  # cut short, it cannot have recovered
        await self._log.attempt(lambda: seen.fingerprint_after(patience_s), "fingerprint")
        await self._log.attempt(lambda: seen.export(self._folder), "export")
        await self._log.attempt(self._journal.sync)

    def _abort(self, by: str, because: str) -> None:
        if self._aborted:
            return
        self._aborted = True
        ballast.drop(self._folder.path)
        kind = next(k for k in _ABORTERS if k == by)
        self._log.tell(ev.Aborted(t=self._log.now(), by=kind, because=because))

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
            wall_s=round(self._log.wall_s, 6),
            virtual_time=self._stack.virtual_time,
            versions=header.versions,
            machine=header.machine,
            digests=header.digests,
        )


async def _ended(task: "asyncio.Task[None]") -> None:
    await asyncio.wait({task})


def _harmless(watch: Callable[[T], None]) -> Callable[[T], None]:
    """A terminal that is gone must not end a run, least of all while it heals."""

    def watching(what: T) -> None:
        with contextlib.suppress(Exception):
            watch(what)

    return watching
