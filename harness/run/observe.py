"""What the harness itself sees of the stack: probes, audit trail, clock, fingerprint, series.

Everything here only reads, and writes what it saw into the record. The oracle is not the monitor:
the monitored series are exported for the record's sake and decide no mark but detection.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from harness.model import events as ev
from harness.model.dead_man import HEARD_EVERY_S, is_dead_man
from harness.model.record import Series
from harness.protocols import Notification, Reading, Stack
from harness.run import folder as folders
from harness.run.folder import Folder
from harness.run.log import Log

SERIES_TIMEOUT_S: Final = 30.0
ALIKE_WITHIN_S: Final = 5.0
"""What a stack is given, after its recovery phase, to be again what it was before."""
_LOOK_EVERY_S: Final = 0.5


class Observer:
    """Looks on behalf of one run."""

    def __init__(self, stack: Stack, log: Log) -> None:
        self._stack, self._log, self._now = stack, log, log.now
        self._offset_s = 0.0
        self._audited = 0
        self._before: Mapping[str, str] | None = None
        self.readings: list[Reading] = []
        self.firing: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._heard_s: float | None = None

    @property
    def deaf_s(self) -> float:
        """For how long the dead-man's alert has been silent, once it was heard; 0 if not too long.

        Before it is heard for the first time nothing is known: a stack need not have one.
        """
        silent_s = 0.0 if self._heard_s is None else self._now() - self._heard_s
        return silent_s if silent_s > HEARD_EVERY_S else 0.0

    def notified(self, notification: Notification) -> None:
        """Take in one alert of the stack's own; a dead-man's is heard and is not in the way."""
        key = tuple(sorted(notification.labels.items()))
        if is_dead_man(notification.labels):
            if notification.status == "firing":
                self._heard_s = self._now()
        elif notification.status == "firing":
            self.firing[key] = notification.labels
        else:
            self.firing.pop(key, None)
        self._log.append(
            ev.Alerted(
                t=self._now(),
                status="firing" if notification.status == "firing" else "resolved",
                labels=notification.labels,
                starts_wall_s=notification.starts_wall_s,
            )
        )

    async def probe(self) -> None:
        """Read every probe."""
        self.readings = list(await self._stack.probe())
        for reading in self.readings:
            self._log.append(
                ev.Sampled(
                    t=self._now(), probe=reading.probe, node=reading.node, value=reading.value
                )
            )

    async def audit(self) -> None:
        """Read on in the control plane's audit trail."""
        for entry in await self._stack.audit(self._audited):
            self._audited = max(self._audited, entry.seq)
            self._log.append(
                ev.Acted(
                    t=round(entry.wall_s - self._log.wall_s - self._offset_s, 6),
                    seq=entry.seq,
                    who=entry.who,
                    what=entry.what,
                    target=entry.target,
                    why=entry.why,
                )
            )

    async def clock(self) -> None:
        """Read how far the stack's clock stands from ours."""
        offset_s, bound_s = await self._stack.clock()
        self._offset_s = offset_s if abs(offset_s) > bound_s else 0.0
        self._log.append(
            ev.ClockRead(t=self._now(), source="monitoring", offset_s=offset_s, bound_s=bound_s)
        )

    async def fingerprint_before(self) -> None:
        """Remember what the stack was like before the first fault; later calls change nothing."""
        if self._before is None:
            self._before = await self._stack.fingerprint()
            self._log.append(ev.Fingerprinted(t=self._now(), when="before", parts=self._before))

    async def fingerprint_after(self, patience_s: float = ALIKE_WITHIN_S) -> None:
        """Look until the stack is again what it was before, and say what still differs if not."""
        if self._before is None:
            return
        after, words = await alike(self._stack, self._before, patience_s)
        self._log.append(ev.Fingerprinted(t=self._now(), when="after", parts=after))
        if words:
            text = f"the stack is not what it was before: {'; '.join(words)}"
            self._log.note(text)

    async def export(self, folder: Folder) -> None:
        """Write down the monitored series."""
        import numpy as np

        start_s, end_s = self._log.wall_s, self._log.wall_s + self._now()
        async with asyncio.timeout(SERIES_TIMEOUT_S):
            found = await self._stack.series(start_s + self._offset_s, end_s + self._offset_s)
        zero = self._log.wall_s + self._offset_s
        series = [
            Series(s.name, s.labels, np.asarray(s.wall_s, float) - zero, np.asarray(s.value))
            for s in found
        ]
        folders.write_series(folder, series)
        self._log.append(ev.Exported(t=self._now(), series=len(series)))


async def alike(
    stack: Stack, before: Mapping[str, str], patience_s: float
) -> tuple[Mapping[str, str], list[str]]:
    """Look until a stack is again what it was; returns what it is, and what still differs."""
    now = asyncio.get_running_loop().time
    until_s = now() + patience_s
    while True:
        after = await stack.fingerprint()
        words = differences(before, after)
        if not words or now() >= until_s:
            return after, words
        await asyncio.sleep(_LOOK_EVERY_S)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Say, part by part, what is not as it was."""
    words = []
    for part in sorted({*before, *after}):
        was, now = before.get(part), after.get(part)
        if was is None:
            words.append(f"{part} is new")
        elif now is None:
            words.append(f"{part} is gone")
        elif was != now:
            words.append(f"{part} was {was[:12]} and is {now[:12]}")
    return words
