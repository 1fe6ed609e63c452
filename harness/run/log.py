"""A run's journal together with its clock: what the parts of a run write with.

``append`` raises when it cannot write, for what may only happen if it is on record. ``tell`` does
not, for what must be done whether or not it can be written: mending, and going.
"""

import asyncio
from collections.abc import Callable

from harness.model import events as ev
from harness.protocols import Journal


class Log:
    """``zero_s`` and ``wall_s``: the run's zero on the loop's clock and in Unix time.

    ``unwritten`` is the first failure that ``tell`` kept to itself.
    """

    def __init__(self, journal: Journal, zero_s: float, wall_s: float) -> None:
        self.journal, self.zero_s, self.wall_s = journal, zero_s, wall_s
        self.unwritten: OSError | None = None

    def now(self) -> float:
        """Run time: seconds on the loop's clock since the run's zero."""
        return round(asyncio.get_running_loop().time() - self.zero_s, 6)

    async def until(self, at_s: float) -> None:
        """Sleep until an instant of run time."""
        await asyncio.sleep(max(0.0, at_s - self.now()))

    def append(self, event: ev.Event) -> None:
        """Write one event. Raises ``OSError``."""
        self.journal.append(event)

    def tell(self, event: ev.Event) -> None:
        """Write one event if that can be."""
        try:
            self.journal.append(event)
        except OSError as error:
            self.unwritten = self.unwritten or error

    def note(self, text: str) -> None:
        """Have something remembered."""
        self.tell(ev.Noted(t=self.now(), who="harness", text=text))

    async def attempt(self, look: Callable[[], object], name: str = "") -> None:
        """Look, and let a failure to see be a note in the record rather than the end of the run."""
        try:
            seen = look()
            if asyncio.iscoroutine(seen):
                await seen
        except Exception as error:
            name = name or getattr(look, "__name__", "look")
            self.note(f"{name} failed: {type(error).__name__}: {error}")
