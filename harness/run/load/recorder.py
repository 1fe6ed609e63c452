"""The load's own record: rows appended to a file, and what can be said of each second.

Rows are packed into a buffer and written several times a second, so a killed process loses at most
a quarter second and a request costs about a microsecond to record. Summaries and the closing
figures are computed from the very rows that were written.
"""

import os
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.model.rows import ERROR, OK, ROW, TIMEOUT
from harness.run.load import Lateness, Summary

_PACKED = struct.Struct("<IqqqqBHB16s16s16s12sbfi")
assert _PACKED.size == ROW.itemsize, "the packing must follow harness.model.rows.ROW"
_LATE_NS = 100_000_000


class Recorder:
    """Appends rows to ``path``. One writer only. Raises ``OSError`` when it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        # A tail torn by an earlier writer would shift every row after it.
        os.ftruncate(self._fd, os.fstat(self._fd).st_size // ROW.itemsize * ROW.itemsize)
        self._unwritten = bytearray()
        self._second = bytearray()
        self.lag_ns = array("q")  # of every row
        self.outcomes = [0, 0, 0]  # rows by outcome

    def add(self, *row: Any) -> None:
        """Append one row: the fields of ``ROW`` in order, text as bytes."""
        self._unwritten += _PACKED.pack(*row)
        self.lag_ns.append(row[2] - row[1])
        self.outcomes[row[5]] += 1

    def flush(self) -> None:
        """Hand everything to the kernel; it outlives us then. Raises ``OSError``."""
        rows = bytes(self._unwritten)
        self._second += rows
        self._unwritten.clear()
        done = 0
        while done < len(rows):
            done += os.write(self._fd, rows[done:])

    def summary(self, t_s: float, *, sent: int, in_flight: int, backlog: int) -> Summary:
        """Sum up the rows flushed since the last summary."""
        rows = np.frombuffer(bytes(self._second), dtype=ROW)
        self._second.clear()
        outcome = np.bincount(rows["outcome"], minlength=3)
        kinds, counts = np.unique(rows["fallback"], return_counts=True)
        lag = quantiles_ms(rows["sent_ns"] - rows["due_ns"], (50, 99))
        latency = quantiles_ms(rows["end_ns"] - rows["due_ns"], (50, 99))
        return Summary(
            t_s=t_s,
            sent=sent,
            completed=len(rows),
            ok=int(outcome[OK]),
            errors=int(outcome[ERROR]),
            timeouts=int(outcome[TIMEOUT]),
            fallbacks={
                kind.decode("ascii", "replace"): int(count)
                for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
                if kind not in (b"", b"none")
            },
            lag_p50_ms=lag[0] if len(rows) else None,
            lag_p99_ms=lag[1] if len(rows) else None,
            latency_p50_ms=latency[0] if len(rows) else None,
            latency_p99_ms=latency[1] if len(rows) else None,
            in_flight=in_flight,
            backlog=backlog,
        )


def quantiles_ms(values_ns: NDArray[np.int64], percents: Sequence[float]) -> list[float]:
    """The percentiles of ``values_ns`` (n,) in ms; zeros when n is 0."""
    if not len(values_ns):
        return [0.0] * len(percents)
    return [float(v) / 1e6 for v in np.percentile(values_ns, percents)]


def lateness(values_ns: Sequence[int]) -> Lateness:
    """Sum up how late n things were."""
    values = np.asarray(values_ns, dtype=np.int64)
    late = float((values > _LATE_NS).mean()) if len(values) else 0.0
    p50, p99, most = quantiles_ms(values, (50, 99, 100))
    return Lateness(p50, p99, most, late)
