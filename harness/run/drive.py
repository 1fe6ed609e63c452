"""Two ways to put the planned load on a stack, one shape.

A served stack is driven by Locust in its own process (``harness.run.load``); a simulated one by a
coroutine per request on its own virtual clock. Both leave the same rows in the same file.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from harness.model.events import Json
from harness.model.plan import Plan
from harness.protocols import Cases, Served, Simulated
from harness.run.folder import Folder
from harness.run.tally import RowTail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRACE_S = 3.0
USERS = 128


class Drive(Protocol):
    """One load. ``start`` (nothing is due yet), ``begin``, then ``more`` each second, ``stop``."""

    async def prepare(self, plan: Plan, cases: Cases, folder: Folder) -> None:
        """Write down what will be sent."""

    async def begin(self, zero_ns: int, start_ns: int) -> None:
        """Let it run: request ``i`` is due at ``start_ns + plan.due_ns[i]`` of run time."""

    def more(self) -> "NDArray[np.void]":
        """Rows of the requests that ended since the last call."""

    async def watch(self) -> None:
        """Return when the load is over; raise if it fell over."""

    async def stop(self) -> Mapping[str, Json]:
        """End it, wait for what is in flight, and return the facts for the pace check."""


def drive_for(stack: object) -> Drive:
    """Choose the way that fits a stack."""
    if isinstance(stack, Simulated):
        return SimulatedDrive(stack)
    if isinstance(stack, Served):
        return ServedDrive(stack)
    raise TypeError(f"{type(stack).__name__} has neither an endpoint nor a call")


class ServedDrive:
    """Locust in its own process, against an endpoint."""

    def __init__(self, stack: Served) -> None:
        from harness.run.load.driver import LoadDriver

        self._stack, self._driver = stack, LoadDriver()

    async def prepare(self, plan: Plan, cases: Cases, folder: Folder) -> None:
        """Write bodies and cases; the schedule follows in ``begin``."""
        import numpy as np

        from harness.run.load.driver import write_bodies

        self._folder, self._due_ns = folder, plan.due_ns[: len(cases.bodies)]
        await asyncio.to_thread(write_bodies, folder.load / "bodies.bin", cases.bodies)
        np.save(folder.load / "cases.npy", np.arange(len(self._due_ns), dtype=np.uint32))
        self._tail = RowTail(folder.requests)

    async def begin(self, zero_ns: int, start_ns: int) -> None:
        """Start the process; returns once its users wait for the first request."""
        import numpy as np

        from harness.run.load.driver import LoadSpec

        load, to = self._folder.load, self._stack.endpoint()
        np.save(load / "due_ns.npy", self._due_ns + start_ns)
        await self._driver.start(
            LoadSpec(
                host=to.host,
                port=to.port,
                path=to.path,
                headers=to.headers,
                bodies_file=load / "bodies.bin",
                due_ns_file=load / "due_ns.npy",
                cases_file=load / "cases.npy",
                zero_ns=zero_ns,
                out_file=self._folder.requests,
                users=USERS,
            )
        )

    def more(self) -> "NDArray[np.void]":
        """Rows appended since the last call."""
        return self._tail.more()

    async def watch(self) -> None:
        """Drain the child's summaries until it is done."""
        async for _ in self._driver.summaries():
            pass

    async def stop(self) -> Mapping[str, Json]:
        """End the child."""
        if self._driver.pid is None:
            return {}
        return dataclasses.asdict(await self._driver.stop(GRACE_S))


class SimulatedDrive:
    """A coroutine per request, in this event loop."""

    def __init__(self, stack: Simulated) -> None:
        self._stack = stack
        self._running: set[asyncio.Task[None]] = set()
        self._done = self._seen = self._sent = 0

    async def prepare(self, plan: Plan, cases: Cases, folder: Folder) -> None:
        """Make room for the rows."""
        import numpy as np

        from harness.model.rows import ROW

        self._folder, self._due_ns = folder, plan.due_ns[: len(cases.label)]
        self._rows: NDArray[np.void] = np.zeros(len(self._due_ns), ROW)

    async def begin(self, zero_ns: int, start_ns: int) -> None:
        """Start sending."""
        self._zero_ns = zero_ns
        self._feeder = asyncio.create_task(self._feed(start_ns))

    def more(self) -> "NDArray[np.void]":
        """Rows finished since the last call."""
        rows = self._rows[self._seen : self._done]
        self._seen = self._done
        return rows

    async def watch(self) -> None:
        """Wait for the last answer."""
        await self._feeder
        while self._running:
            await asyncio.wait(tuple(self._running))

    async def stop(self) -> Mapping[str, Json]:
        """Stop sending, wait for the answers, and write the rows."""
        if not hasattr(self, "_feeder"):
            return {}
        self._feeder.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=GRACE_S)
        self._folder.requests.write_bytes(self._rows[: self._done].tobytes())
        return {"sent": self._sent, "never_sent": len(self._due_ns) - self._sent}

    async def _feed(self, start_ns: int) -> None:
        loop = asyncio.get_running_loop()
        for case, due in enumerate((self._due_ns + start_ns).tolist()):
            at = (self._zero_ns + due) / 1e9
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            task = loop.create_task(self._one(case, due))
            self._sent += 1
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, case: int, due: int) -> None:
        answer = await self._stack.call(case)
        end = max(due, round(asyncio.get_running_loop().time() * 1e9) - self._zero_ns)
        self._rows[self._done] = (
            case,
            due,
            due,
            end,
            end,
            answer.outcome,
            answer.status,
            0,
            answer.node.encode(),
            answer.model.encode(),
            answer.version.encode(),
            answer.fallback.encode(),
            answer.prediction,
            answer.score,
            answer.mask,
        )
        self._done += 1
