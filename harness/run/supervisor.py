"""Faults in force, and the promise that none outlives the run.

The order never varies: read what healing needs, write it down with the intent, flush, inject, watch
until it is in force. Whatever happens next (an exception, Ctrl-C, a power cut), the record knows
more than the stack does, so ``heal`` can always be replayed from it. Healing goes newest first; one
that fails is tried again and does not stop the others.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from harness import schema
from harness.model import events as ev
from harness.model.plan import Inject
from harness.model.record import FaultSpan, Record
from harness.protocols import Fault, Journal, Stack

Faults = Mapping[str, type[Fault[Any]]]
POLL_S = 0.05
IN_FORCE_WITHIN_S = 10.0
INJECT_TIMEOUT_S = 30.0
HEAL_TIMEOUT_S = 20.0
HEAL_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Open:
    fault: Fault[Any]
    nodes: tuple[str, ...]
    undo: ev.Undo


class Supervisor:
    """Injects, heals, and on the way out heals whatever is left, newest first."""

    def __init__(
        self, stack: Stack, faults: Faults, journal: Journal, now: Callable[[], float]
    ) -> None:
        self._stack, self._faults, self._journal, self._now = stack, faults, journal, now
        self._open: dict[str, _Open] = {}
        self._sealed = False

    @property
    def in_force(self) -> tuple[str, ...]:
        """Ids of the faults not yet healed, oldest first."""
        return tuple(self._open)

    async def inject(self, step: Inject) -> bool:
        """Put one fault in force. False (and a ``FaultFailed``) when that did not work."""
        if self._sealed:
            return False
        fault = schema.build(self._faults[step.fault], step.params)
        try:
            async with asyncio.timeout(INJECT_TIMEOUT_S):
                undo = await fault.prepare(self._stack, step.nodes)
        except Exception as error:
            self._failed(step.id, "prepare", error)
            return False
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
        self._open[step.id] = _Open(fault, step.nodes, undo)
        started_s = self._now()
        try:
            async with asyncio.timeout(INJECT_TIMEOUT_S):
                await fault.inject(self._stack, step.nodes, undo)
        except Exception as error:
            self._failed(step.id, "inject", error)
            return False
        return await self._await_force(step, fault, started_s)

    async def heal(self, id: str) -> bool:
        """Take one fault out of force. Healing what is already healed does nothing."""
        if id not in self._open:
            return True
        open_fault = self._open[id]
        self._journal.append(ev.FaultHealing(t=self._now(), id=id))
        healed = False
        for _ in range(HEAL_TRIES):
            try:
                async with asyncio.timeout(HEAL_TIMEOUT_S):
                    await mend(open_fault.fault, self._stack, open_fault.nodes, open_fault.undo)
                healed = True
                break
            except Exception as error:
                self._failed(id, "heal", error)
                await asyncio.sleep(POLL_S)
        del self._open[id]
        if healed:
            self._journal.append(ev.FaultHealed(t=self._now(), id=id))
        return healed

    async def heal_all(self) -> None:
        """Heal everything, newest first, and inject nothing from here on."""
        self._sealed = True
        for id in reversed(self.in_force):
            await self.heal(id)
        self._journal.sync()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(self.heal_all())

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
        words = f"{type(error).__name__}: {error}".strip(": ")
        if isinstance(error, TimeoutError):
            words = "it took too long" if stage != "verify" else "it never came into force"
        self._journal.append(ev.FaultFailed(t=self._now(), id=id, stage=stage, error=words))


async def mend(
    fault: Fault[Any], stack: Stack, nodes: tuple[str, ...], undo: ev.Undo | None
) -> None:
    """Heal, and do not believe it until ``verify`` says that the fault is out of force."""
    await fault.heal(stack, nodes, undo)
    while await fault.verify(stack, nodes):  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(POLL_S)


def leftovers(record: Record) -> tuple[FaultSpan, ...]:
    """Faults that a record intended and never healed, newest first."""
    return tuple(reversed([span for span in record.spans if span.healed_s is None]))


async def heal_leftovers(record: Record, stack: Stack, faults: Faults) -> list[str]:
    """Heal what a dead run left behind, with nothing but its record to go on.

    One that fails does not stop the others; raises an ``ExceptionGroup`` of what failed at the end.
    """
    healed: list[str] = []
    errors: list[Exception] = []
    for span in leftovers(record):
        try:
            fault = schema.build(faults[span.fault], span.params)
            async with asyncio.timeout(HEAL_TIMEOUT_S):
                await mend(fault, stack, span.nodes, span.undo)
            healed.append(span.id)
        except Exception as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup("some faults could not be healed", errors)
    return healed
