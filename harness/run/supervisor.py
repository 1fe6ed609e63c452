"""Faults in force, and the promise that none outlives the run.

The order never varies: read what healing needs, write it down with the intent, flush, inject, watch
until it is in force. Whatever happens next (an exception, Ctrl-C, a power cut), the record knows
more than the stack does, so ``heal`` can always be replayed from it. Healing goes newest first; one
that fails is tried again and does not stop the others, and neither does a record that can no longer
be written.

Before each effect the guard is asked whether this process may still act: one that was stopped and
resumed may find that somebody else has healed meanwhile.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterator
from itertools import dropwhile, islice
from typing import Any, Protocol, Self, TypeVar

from harness import schema
from harness.model import events as ev
from harness.model.plan import Inject
from harness.protocols import Fault, Journal, Stack
from harness.run.fence import Fenced
from harness.run.mending import (
    HEAL_TIMEOUT_S,
    HEAL_TRIES,
    POLL_S,
    Broken,
    Faults,
    Mending,
    heal_leftovers,
    holds,
    leftovers,
    mend,
    worded,
)

__all__ = (
    "IN_FORCE_WITHIN_S",
    "POLL_S",
    "Faults",
    "Supervisor",
    "heal_leftovers",
    "leftovers",
    "mend",
    "to_its_end",
)

T = TypeVar("T")
IN_FORCE_WITHIN_S = 10.0
INJECT_TIMEOUT_S = 30.0


class Permit(Protocol):
    """Says whether this process may still act; both raise ``Fenced``."""

    def may_break(self) -> None:
        """Ask before each inject: the fence, the lease and the guardian must all stand."""

    def may_mend(self) -> None:
        """Ask before each heal: nobody else may have taken the run over."""


class Free:
    """For what dies with its process, such as a stack on virtual time: always."""

    def may_break(self) -> None:
        """It may."""

    def may_mend(self) -> None:
        """It may."""


class Supervisor:
    """Injects, heals, and on the way out heals whatever is left, newest first."""

    def __init__(
        self,
        stack: Stack,
        faults: Faults,
        journal: Journal,
        now: Callable[[], float],
        permit: Permit | None = None,
    ) -> None:
        self._stack, self._faults, self._journal, self._now = stack, faults, journal, now
        self._permit = permit or Free()
        self._open: dict[str, Broken] = {}  # oldest first
        self._sealed = False
        self.unwritten: OSError | None = None

    @property
    def in_force(self) -> tuple[str, ...]:
        """Ids of the faults not yet healed, oldest first."""
        return tuple(id for id, one in self._open.items() if not one.again)

    async def inject(self, step: Inject) -> bool:
        """Put one fault in force. False (and a ``FaultFailed``) when that did not work.

        Raises ``OSError`` when its intent cannot be made durable, before any effect, and
        ``Fenced`` when somebody else holds the run; then it had no effect that lasts.
        """
        if self._sealed:
            return False
        fault = schema.build(self._faults[step.fault], step.params)
        try:
            async with asyncio.timeout(INJECT_TIMEOUT_S):
                undo = await fault.prepare(self._stack, step.nodes)
        except Exception as error:
            self._failed(step.id, "prepare", error)
            return False
        self._permit.may_break()
        self._journal.append(
            ev.FaultIntended(
                t=self._now(),
                id=step.id,
                fault=step.fault,
                params=step.params,
                nodes=step.nodes,
                undo=undo,
            )
        )
        self._journal.sync()
        self._permit.may_break()  # a sync may take seconds
        self._open[step.id] = Broken(step.id, fault, step.nodes, undo)
        started_s = self._now()
        try:
            async with asyncio.timeout(INJECT_TIMEOUT_S):
                await fault.inject(self._stack, step.nodes, undo)
        except Exception as error:
            self._failed(step.id, "inject", error)
            return False
        finally:
            await self._take_back_if_fenced(step.id)
        return await self._await_force(step, fault, started_s)

    async def heal(self, id: str) -> bool:
        """Take one fault out of force. Healing what is already healed does nothing.

        Raises ``Fenced`` when somebody else holds the run: whoever that is has healed, or will.
        """
        if id not in self.in_force:
            return True
        self._permit.may_mend()
        open_fault = self._open[id]
        held = await holds(open_fault, self._stack)
        self._permit.may_mend()  # asking takes time
        self._tell(ev.FaultHealing(t=self._now(), id=id, held=held))
        healed = False
        for _ in range(HEAL_TRIES):
            try:
                async with asyncio.timeout(HEAL_TIMEOUT_S):
                    due = self._due_again(open_fault)
                    await mend(
                        open_fault.fault, self._stack, open_fault.nodes, open_fault.undo, due
                    )
                healed = True
                break
            except Exception as error:
                self._failed(id, "heal", error)
                await asyncio.sleep(POLL_S)
                self._permit.may_mend()
        if healed:  # else it is tried again at the end, and the gate lets nothing more pass
            self._settle(open_fault)
            self._tell(ev.FaultHealed(t=self._now(), id=id))
        return healed

    async def heal_all(self) -> None:
        """Heal everything, newest first, and inject nothing from here on."""
        self._sealed = True
        broken = tuple(reversed(self._open.values()))
        mending = Mending(self._stack, self._tell, self._now, self._permit.may_mend)
        try:
            await mending.mend_all(broken, HEAL_TRIES * HEAL_TIMEOUT_S)
        except Fenced:
            return  # whoever holds the run has healed, or will
        self._open.clear()
        try:
            self._journal.sync()
        except OSError as error:
            self.unwritten = self.unwritten or error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await to_its_end(self.heal_all())

    def _due_again(self, healing: Broken) -> list[Broken]:
        """What was healed while ``healing``, and nothing else since, was in force; newest first."""
        return [
            one
            for one in reversed(self._open.values())
            if one.again and list(self._newer(one)) == [healing]
        ]

    def _newer(self, than: Broken) -> Iterator[Broken]:
        """What is in force on the same nodes, and was injected later."""
        later = dropwhile(lambda one: one.id != than.id, self._open.values())
        for one in islice(later, 1, None):
            if not one.again and set(one.nodes) & set(than.nodes):
                yield one

    def _settle(self, healed: Broken) -> None:
        """Forget what needs no healing any more; it may yet, while a newer one is in force."""
        for one in self._due_again(healed):
            del self._open[one.id]
        if any(self._newer(healed)):
            self._open[healed.id] = dataclasses.replace(healed, again=True)
        else:
            del self._open[healed.id]

    async def _take_back_if_fenced(self, id: str) -> None:
        """Undo an inject that was under way while somebody else healed: only we know of it."""
        try:
            self._permit.may_mend()
        except Fenced:
            open_fault = self._open.pop(id)
            self._sealed = True
            try:
                async with asyncio.timeout(HEAL_TIMEOUT_S):
                    await open_fault.fault.heal(self._stack, open_fault.nodes, open_fault.undo)
            except Exception as error:  # as when the stack went with its run
                self._failed(id, "heal", error)
            raise

    async def _await_force(self, step: Inject, fault: Fault[Any], started_s: float) -> bool:
        not_before_s = started_s
        try:
            async with asyncio.timeout(IN_FORCE_WITHIN_S):
                while True:
                    asked_s = self._now()
                    if await fault.verify(self._stack, step.nodes):
                        break
                    not_before_s = asked_s
                    await asyncio.sleep(POLL_S)
        except Exception as error:
            self._failed(step.id, "verify", error)
            return False
        self._journal.append(ev.FaultInjected(t=self._now(), id=step.id, not_before_s=not_before_s))
        return True

    def _failed(self, id: str, stage: Any, error: Exception) -> None:
        self._tell(ev.FaultFailed(t=self._now(), id=id, stage=stage, error=worded(error, stage)))

    def _tell(self, event: ev.Event) -> None:
        """Write down what was done; that it cannot be written must not keep it from being done."""
        try:
            self._journal.append(event)
        except OSError as error:
            self.unwritten = self.unwritten or error


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be cut short: a cancellation is kept, and raised when it has ended."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    result = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return result
