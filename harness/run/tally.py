"""The run's live numbers, second by second: for the gate and for the people watching.

Read from the same rows that the analysis will read, as they are appended, so the live view and the
report cannot tell two stories. Nothing here decides a verdict.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.protocols import Cases

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Second:
    """One second of requests that ended in it. Ratios are ``None`` when nothing ended.

    ``judged``: how many answers bore a prediction; ``paired_correctness`` is a share of these.
    """

    t: float
    completed: int
    success_ratio: float | None
    paired_correctness: float | None
    latency_p99_ms: float | None
    fallback_share: float | None
    judged: int


class Tally:
    """Feeds on rows, in any batches, and keeps one ``Second`` for each call of ``close``."""

    def __init__(self, cases: Cases, late_after_s: float) -> None:
        self._cases, self._late_after_s = cases, late_after_s
        self.seconds: list[Second] = []

    def close(self, t: float, rows: "NDArray[np.void]") -> Second:
        """Sum up the rows that arrived since the last call."""
        import numpy as np

        from harness.model.rows import OK

        took_s = (rows["end_ns"] - rows["due_ns"]) / 1e9
        answered = rows[rows["outcome"] == OK]
        known = answered[answered["prediction"] >= 0]
        label, golden = self._cases.label[known["case"]], self._cases.golden[known["case"]]
        bad = (golden == label) & ((known["prediction"] == 1) != label)
        good = (rows["outcome"] == OK) & (took_s <= self._late_after_s)
        fallback = ~np.isin(answered["fallback"], [b"none", b""])
        second = Second(
            t,
            len(rows),
            float(good.mean()) if len(rows) else None,
            float(1 - bad.mean()) if len(known) else None,
            float(np.quantile(took_s, 0.99) * 1e3) if len(rows) else None,
            float(fallback.mean()) if len(answered) else None,
            len(known),
        )
        self.seconds.append(second)
        return second


class RowTail:
    """Reads whole new rows off a growing file."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def more(self) -> "NDArray[np.void]":
        """Rows appended since the last call."""
        import numpy as np

        from harness.model.rows import ROW

        if not self._path.exists():
            return np.zeros(0, ROW)
        with self._path.open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        raw = raw[: len(raw) - len(raw) % ROW.itemsize]
        self._read += len(raw)
        return np.frombuffer(raw, dtype=ROW)
