"""A stretch of what was observed: requests with their truth, probes, alerts, actions, series.

Apart from the whole record, because a fault reads windows and need not load every kind of event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.model import events as ev


@dataclass(frozen=True)
class Requests:
    """n requests, ordered by when they were due.

    ``rows``: (n,) of ``harness.model.rows.ROW``, times in ns since the run's zero;
    ``label``, ``golden``: (n,) bool, the truth and the healthy champion's answer of each case.
    """

    rows: "NDArray[np.void]"
    label: "NDArray[np.bool_]"
    golden: "NDArray[np.bool_]"

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def due_s(self) -> "NDArray[np.float64]":
        """(n,) when each was due, seconds of run time."""
        due: NDArray[np.float64] = self.rows["due_ns"] / 1e9
        return due

    @cached_property
    def took_s(self) -> "NDArray[np.float64]":
        """(n,) from the instant each was due to its end: waiting in the client counts."""
        took: NDArray[np.float64] = (self.rows["end_ns"] - self.rows["due_ns"]) / 1e9
        return took

    @cached_property
    def lag_s(self) -> "NDArray[np.float64]":
        """(n,) how late each left."""
        lag: NDArray[np.float64] = (self.rows["sent_ns"] - self.rows["due_ns"]) / 1e9
        return lag

    def between(self, start_s: float, end_s: float) -> "Requests":
        """Those due in ``[start_s, end_s)``."""
        low, high = self.due_s.searchsorted([start_s, end_s])
        return Requests(self.rows[low:high], self.label[low:high], self.golden[low:high])


@dataclass(frozen=True)
class Series:
    """One Prometheus series: ``t`` (n,) seconds of run time, ``value`` (n,), NaN where stale."""

    name: str
    labels: Mapping[str, str]
    t: "NDArray[np.float64]"
    value: "NDArray[np.float64]"


@dataclass(frozen=True)
class Window:
    """A stretch of a record: half-open, ``[start_s, end_s)``, run time."""

    start_s: float
    end_s: float
    requests: Requests
    samples: "tuple[ev.Sampled, ...]"
    alerts: "tuple[ev.Alerted, ...]"
    actions: "tuple[ev.Acted, ...]"

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s
