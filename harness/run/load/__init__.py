"""The load: open loop, by Locust, in a process of its own. Here: what crosses between the two.

Locust patches the whole process with gevent, so the harness never imports it: ``driver`` (asyncio)
starts ``process`` (gevent), and they exchange the values below as one JSON object per line. Bulk
goes through files: schedule, cases and bodies on the way in, rows on the way out.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to send, where, and when. No dice: the schedule is planned by the harness.

    A request is given up, as a timeout, when it finds no idle user within ``timeout_s`` of being
    due, or has no whole answer within ``timeout_s`` of being sent (as HTTP clients time their
    pool and their reads). Both limits matter in an outage: the first bounds the backlog, which
    would otherwise fall upon a target just back; the second bounds how often users reconnect.
    """

    host: str
    port: int
    path: str
    headers: Mapping[str, str]
    bodies_file: Path  # see ``write_bodies``
    due_ns_file: Path  # npy int64 (n,), never falling: intended instants, ns after ``zero_ns``
    cases_file: Path  # npy uint32 (n,): which body each arrival sends
    zero_ns: int  # CLOCK_MONOTONIC at the run's zero
    out_file: Path  # rows of ``harness.model.rows.ROW`` are appended to it
    users: int = 64  # most connections, and most requests in flight
    timeout_s: float = 2.0
    shard: int = 0  # this process sends slots shard, shard + shards, shard + 2 shards ...
    shards: int = 1

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()} | {
            "headers": dict(self.headers)
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "LoadSpec":
        """Back from ``to_json``. Raises ``TypeError`` for a field that is missing or unknown."""
        paths = ("bodies_file", "due_ns_file", "cases_file", "out_file")
        fields: dict[str, Any] = {k: Path(v) if k in paths else v for k, v in plain.items()}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Summary:
    """One second of load, ending at ``t_s``. Counts are of that second, not running totals.

    Quantiles are over the requests that ended in it and ``None`` when none did; latency counts
    from the intended instant, lag is how late a request left.
    """

    t_s: float  # run time
    sent: int
    completed: int
    ok: int
    errors: int
    timeouts: int
    fallbacks: Mapping[str, int]  # answers by kind of fallback; ``none`` is not a kind
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    in_flight: int  # at the end of the second
    backlog: int  # due, and waiting for an idle user, at the end of the second


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late things were. Zeros when there were none."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    late_ratio: float  # share over 100 ms


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The whole load, and whether its generator can be believed.

    ``lag`` is sent minus due. It grows when the generator is slow *and* when the target holds
    every user busy; ``dispatch`` is only the former: how late the dispatcher itself came to a slot.
    """

    planned: int  # slots of this shard = sent + expired + never_sent
    sent: int
    expired: int  # recorded as timeouts without leaving: no user was free in time
    never_sent: int  # not yet due when the load was stopped; they have no row
    ok: int
    errors: int
    timeouts: int
    lag: Lateness
    dispatch: Lateness
    connections: int  # open when the load was ready; fewer than ``users`` = the target refused
    cpu_s: float  # of the process, user and system, from ready to the end
    wall_s: float
    listen_overflows: int  # kernel counters of the machine, from ready to the end
    syn_retransmits: int
    locust_requests: int  # what Locust's own statistics counted through its ``request`` event
    schedule_sha256: str  # of all due instants, then all cases, whatever the shard

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "LoadReport":
        """Back from ``dataclasses.asdict``."""
        nested = {name: Lateness(**plain[name]) for name in ("lag", "dispatch")}
        return cls(**{**plain, **nested})


def offsets_path(bodies_file: Path) -> Path:
    """Where the offsets into ``bodies_file`` lie."""
    return bodies_file.with_name(bodies_file.name + ".idx.npy")


def write_bodies(path: Path, bodies: Iterable[bytes]) -> int:
    """Write request bodies for ``LoadSpec.bodies_file``; return how many.

    ``path`` holds them end to end; body ``i`` is ``[offsets[i], offsets[i + 1])``, with the
    offsets (n + 1,) int64 in an npy file beside it. Raises ``OSError``.
    """
    ends = [0]
    with path.open("wb") as file:
        for body in bodies:
            ends.append(ends[-1] + file.write(body))
    np.save(offsets_path(path), np.array(ends, dtype=np.int64))
    return len(ends) - 1


class Bodies:
    """The bodies that ``write_bodies`` wrote. Raises ``OSError`` or ``ValueError``."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self._ends: list[int] = np.load(offsets_path(path)).tolist()
        if not self._ends or self._ends[-1] != len(self._data):
            raise ValueError(f"{path}: its {len(self._data)} bytes do not match its offsets")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, case: int) -> bytes:
        return self._data[self._ends[case] : self._ends[case + 1]]
