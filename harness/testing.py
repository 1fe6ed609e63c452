"""Proofs shipped for plug-in authors. ``check_fault`` is what "it works" means for a fault.

Each proof stands up a fresh stack, breaks it, mends it in one of the ways a real run may have to,
and compares the stack's fingerprint with the one from before.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.catalog import Catalog
from harness.model.events import FaultIntended, Undo
from harness.model.plan import Inject, Node
from harness.model.record import Record, Requests
from harness.protocols import Fault, Site, Stack
from harness.run.clocks import loop_factory
from harness.run.journal import MemoryJournal
from harness.run.supervisor import IN_FORCE_WITHIN_S, POLL_S, Supervisor, heal_leftovers, mend

HARDEST = 4  # the index of severity 5
REACTS_S = 20.0
"""How long a real stack may take to undo what it did itself about a fault that is healed."""


class Disproved(AssertionError):
    """A fault does not do what every fault must; the message says which proof failed and how."""


@dataclass(frozen=True)
class _Bench:
    """A stack that is up, one fault, and what the stack was like before."""

    stack: Stack
    fault: Fault[Any]
    nodes: tuple[Node, ...]
    whole: object

    async def break_it(self) -> Undo:
        undo = await self.fault.prepare(self.stack, self.nodes)
        await self.expect_whole("prepare changed the stack; it may only read")
        await self.fault.inject(self.stack, self.nodes, undo)
        try:
            async with asyncio.timeout(IN_FORCE_WITHIN_S):
                while not await self.fault.verify(self.stack, self.nodes):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Disproved(f"verify never held within {IN_FORCE_WITHIN_S:g}s") from None
        if await self.stack.fingerprint() == self.whole:
            raise Disproved("inject changed nothing that the stack's fingerprint shows")
        return undo

    async def expect_whole(self, otherwise: str) -> None:
        """Its own responder may have answered the fault, and takes that back in its own time."""
        until_s = time.monotonic() + (0.0 if self.stack.virtual_time else REACTS_S)
        while await self.stack.fingerprint() != self.whole:
            if time.monotonic() >= until_s:
                raise Disproved(otherwise)
            await asyncio.sleep(POLL_S)


Proof = Callable[[_Bench], Awaitable[None]]


async def heals(bench: _Bench) -> None:
    """Inject, heal: the stack is as it was, and ``verify`` no longer holds."""
    undo = await bench.break_it()
    await _mend(bench, undo)
    await bench.expect_whole("heal did not restore the stack")


async def heals_twice(bench: _Bench) -> None:
    """A second heal changes nothing."""
    undo = await bench.break_it()
    await _mend(bench, undo)
    await _mend(bench, undo)
    await bench.expect_whole("a second heal changed the stack")


async def heals_a_healthy_stack(bench: _Bench) -> None:
    """Heal without an inject, with and without an undo, changes nothing."""
    undo = await bench.fault.prepare(bench.stack, bench.nodes)
    await _mend(bench, None)
    await _mend(bench, undo)
    await bench.expect_whole("heal broke a healthy stack")


async def heals_without_undo(bench: _Bench) -> None:
    """The undo is lost; heal still restores the stack as it was built."""
    await bench.break_it()
    await _mend(bench, None)
    await bench.expect_whole("heal without an undo did not restore the stack")


async def heals_from_the_record(bench: _Bench) -> None:
    """Die between breaking the stack and knowing it; the record alone must be enough."""
    journal = MemoryJournal()
    plain = type(bench.fault)

    class Dying(plain):  # type: ignore[misc, valid-type]
        async def inject(self, target: Any, nodes: Sequence[Node], undo: Undo) -> None:
            await super().inject(target, nodes, undo)
            raise asyncio.CancelledError

    with contextlib.suppress(asyncio.CancelledError):
        supervisor = Supervisor(bench.stack, {"it": Dying}, journal, lambda: 0.0)
        await supervisor.inject(Inject(0.0, "it-1", "it", {}, bench.nodes))
    if not any(isinstance(e, FaultIntended) for e in journal.events):
        raise Disproved("the intent was not on record when the run died")
    record = Record(tuple(journal.events), _no_requests())
    healed = await heal_leftovers(record, bench.stack, {"it": plain})
    if healed != ["it-1"]:
        raise Disproved(f"healed {healed} from the record instead of it-1")
    await bench.expect_whole("the record alone could not heal it")


async def heals_from_another_process(bench: _Bench) -> None:
    """What ``attach`` makes of its state can heal it (stacks on virtual time are exempt)."""
    if bench.stack.virtual_time:
        return
    undo = await bench.break_it()
    other = type(bench.stack).attach(bench.stack.state())  # type: ignore[attr-defined]
    await mend(bench.fault, other, bench.nodes, undo)
    await bench.expect_whole("heal through attach did not restore the stack")


PROOFS: tuple[Proof, ...] = (
    heals,
    heals_twice,
    heals_a_healthy_stack,
    heals_without_undo,
    heals_from_the_record,
    heals_from_another_process,
)


def check_fault(name: str, stack: str, catalog: Catalog | None = None) -> None:
    """Prove one fault on one stack, at its hardest severity. Raises ``Disproved``.

    A stack on virtual time is stood up afresh for each proof; a real one once for all of them.
    """
    catalog = catalog or Catalog()
    cls = catalog.stack(stack)
    groups = [(proof,) for proof in PROOFS] if cls.virtual_time else [PROOFS]
    for proofs in groups:
        with (
            tempfile.TemporaryDirectory() as folder,
            asyncio.Runner(loop_factory=loop_factory(cls.virtual_time)) as runner,
        ):
            runner.run(_prove(name, cls, catalog, folder, proofs))


async def _prove(
    name: str, cls: type[Stack], catalog: Catalog, folder: str, proofs: Sequence[Proof]
) -> None:
    from harness import schema

    stack = cls()
    plain = catalog.fault(name)
    fault = schema.build(plain, plain.severities[HARDEST])
    try:
        await stack.up(Site(folder=folder))
        nodes = await _nodes_for(fault, stack)
        whole = await stack.fingerprint()
        for proof in proofs:
            bench = _Bench(stack, fault, nodes, whole)
            try:
                await proof(bench)
            except Disproved as wrong:
                raise Disproved(f"{name} on {cls.__name__}, {proof.__name__}: {wrong}") from None
    finally:
        await stack.down()


async def _nodes_for(fault: Fault[Any], stack: Stack) -> tuple[Node, ...]:
    """The nodes of the last role that the fault agrees to strike: those nearest to the work."""
    for nodes in reversed(tuple(stack.topology().values())):
        with contextlib.suppress(ValueError):
            await fault.prepare(stack, nodes)
            return nodes
    raise Disproved("prepare refuses the nodes of every role")


async def _mend(bench: _Bench, undo: Undo | None) -> None:
    async with asyncio.timeout(IN_FORCE_WITHIN_S * 2):
        await mend(bench.fault, bench.stack, bench.nodes, undo)


def _no_requests() -> Requests:
    import numpy as np

    from harness.model.rows import ROW

    none = np.zeros(0, bool)
    return Requests(np.zeros(0, ROW), none, none)
