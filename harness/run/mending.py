"""Mending: one fault, several at once, or all that a dead run left behind.

Healing is done by whoever is there: the run itself, its guardian, or a person at another terminal;
so what is common to them is here, and depends on nothing but the faults and the stack.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import schema
from harness.model import events as ev
from harness.model.record import FaultSpan, Record, spans_of
from harness.protocols import Fault, Stack

Faults = Mapping[str, type[Fault[Any]]]
POLL_S = 0.05
HEAL_TIMEOUT_S = 20.0
HEAL_TRIES = 3
HELD_WITHIN_S = 0.5
SHARE = 0.9  # of the time left, for one undo and its proof
SHARE_OF_MANY = 0.6  # while others wait


@dataclass(frozen=True, slots=True)
class Broken:
    """One fault that is, or may be, in force.

    ``again``: it was healed before, but while a newer one was in force on the same nodes, whose
    undo may bring back what that one had found.
    """

    id: str
    fault: Fault[Any]
    nodes: tuple[str, ...]
    undo: ev.Undo
    again: bool = False


@dataclass(frozen=True, slots=True)
class Mending:
    """Heals several faults of one stack. ``tell`` writes; ``check`` raises when it may not act."""

    stack: Stack
    tell: Callable[[ev.Event], None]
    now: Callable[[], float]
    check: Callable[[], None]

    async def mend_all(self, broken: Sequence[Broken], within_s: float) -> dict[str, str]:
        """Heal, newest first as they are given; returns those that are not healed, and why.

        One that fails does not stop the others. None is asked for proof before all were healed,
        for an older one may still look like it; and when an undo is tried again those of all older
        faults are too, for it may put back what they had changed.
        """
        until_s = asyncio.get_running_loop().time() + within_s
        todo, told, failed = list(broken), set[str](), dict[str, str]()
        for one in todo:
            if not one.again:
                self.tell(ev.FaultHealing(t=self.now(), id=one.id))
        for attempt in range(HEAL_TRIES):
            if attempt:
                await asyncio.sleep(POLL_S)
            failed = {}
            for verb in (self._heal, self._prove):
                for one in [one for one in todo if one.id not in failed]:
                    self.check()
                    left_s = until_s - asyncio.get_running_loop().time()
                    share_s = left_s * (SHARE if len(todo) == 1 else SHARE_OF_MANY)
                    try:
                        async with asyncio.timeout(min(HEAL_TIMEOUT_S, max(0.1, share_s))):
                            await verb(one)
                    except Exception as error:
                        failed[one.id] = words = worded(error, "heal")
                        self.tell(
                            ev.FaultFailed(t=self.now(), id=one.id, stage="heal", error=words)
                        )
            for one in todo:
                if one.id not in failed and one.id not in told and not one.again:
                    told.add(one.id)
                    self.tell(ev.FaultHealed(t=self.now(), id=one.id))
            todo = todo[next((n for n, one in enumerate(todo) if one.id in failed), len(todo)) :]
            if not todo or asyncio.get_running_loop().time() > until_s:
                break
        return failed

    async def _heal(self, one: Broken) -> None:
        await one.fault.heal(self.stack, one.nodes, one.undo)

    async def _prove(self, one: Broken) -> None:
        while await one.fault.verify(self.stack, one.nodes):  # noqa: ASYNC110 (nothing to wait for)
            await asyncio.sleep(POLL_S)


async def holds(one: Broken, stack: Stack) -> bool | None:
    """Ask whether a fault is still in force, for half a second; ``None`` when it does not say.

    One that has lapsed by itself, or was mended by somebody else, was not there for as long as the
    scenario says, and nothing may be concluded from it.
    """
    said: bool | None = None
    with contextlib.suppress(Exception):
        async with asyncio.timeout(HELD_WITHIN_S):
            while not (said := await one.fault.verify(stack, one.nodes)):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
    return said


def worded(error: BaseException, stage: str) -> str:
    """Say what went wrong in a verb of a fault."""
    if isinstance(error, TimeoutError):
        return "it took too long" if stage != "verify" else "it never came into force"
    return f"{type(error).__name__}: {error}".strip(": ")


async def mend(
    fault: Fault[Any],
    stack: Stack,
    nodes: tuple[str, ...],
    undo: ev.Undo | None,
    again: Sequence[Broken] = (),
) -> None:
    """Heal, and do not believe it until ``verify`` says that the fault is out of force.

    ``again``: what must be healed once more in between, newest first.
    """
    await fault.heal(stack, nodes, undo)
    for one in again:
        await one.fault.heal(stack, one.nodes, one.undo)
    while await fault.verify(stack, nodes):  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(POLL_S)


def done_to_stack(paths: Iterable[Path]) -> tuple[list[ev.Event], list[str], list[str]]:
    """Read what was done to a stack off the files of a record, whatever else they hold.

    Line by line, for one that is spoilt must not hide the others. Returns the events of faults and
    fingerprints; in words which files could not be read; and which lines. A last line without an
    end is none of them: what it was to say was not on disk, and so was not done.
    """
    events: list[ev.Event] = []
    unread, spoilt = [], []
    for path in paths:
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue  # it died before its first line, or nobody had to finish its job before
        except OSError as error:
            unread.append(f"the record cannot be read: {error}")
            continue
        for number, line in enumerate(lines[:-1], 1):
            if b'"kind":"F' in line:
                try:
                    event = ev.from_line(line.decode())
                    spans_of([event])  # what cannot be folded is spoilt as well
                    events.append(event)
                except (ValueError, KeyError, TypeError, AttributeError):
                    spoilt.append(f"{path.name}:{number}")
    return events, unread, spoilt


def to_mend(events: Sequence[ev.Event]) -> list[tuple[FaultSpan, bool]]:
    """What a record says is to be healed, newest first, and whether it was healed before: see
    ``Broken.again``.
    """
    found: list[tuple[FaultSpan, bool]] = []
    for span in reversed(spans_of(events)):
        newer = [one for one, _ in found if set(one.nodes) & set(span.nodes)]
        if span.healed_s is None:
            found.append((span, False))
        elif any((span.healing_s or span.healed_s) >= one.intended_s for one in newer):
            found.append((span, True))
    return found


def leftovers(events: Sequence[ev.Event]) -> tuple[FaultSpan, ...]:
    """Faults that a record intended and never healed, newest first."""
    return tuple(reversed([span for span in spans_of(events) if span.healed_s is None]))


async def heal_leftovers(record: Record, stack: Stack, faults: Faults) -> list[str]:
    """Heal what a dead run left behind, with nothing but its record to go on.

    One that fails does not stop the others; raises an ``ExceptionGroup`` of what failed at the end.
    """
    broken = [
        Broken(span.id, schema.build(faults[span.fault], span.params), span.nodes, span.undo, again)
        for span, again in to_mend(record.events)
    ]
    mending = Mending(stack, lambda _: None, lambda: 0.0, lambda: None)
    failed = await mending.mend_all(broken, HEAL_TRIES * HEAL_TIMEOUT_S)
    if failed:
        errors = [RuntimeError(f"{id}: {why}") for id, why in failed.items()]
        raise ExceptionGroup("some faults could not be healed", errors)
    return [one.id for one in broken if not one.again]
