"""What happened. The closed list of things a record can say, and their one-line JSON form.

``t`` is seconds on the harness's monotonic clock since the run began (before the stack is up). To
say something new, add a kind here and nowhere else. Requests are not events of this file: they are
many and alike, so they live in fixed-width rows (``harness.model.rows``).
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.model.plan import Node
from harness.model.scenario import Phase
from harness.model.values import Json as Json
from harness.model.values import Undo as Undo

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """First line of every record: enough to plan the run again without any other file.

    ``wall_s`` is Unix time at ``t`` = 0. ``versions`` and ``machine`` are facts for the appendix;
    ``digests`` are SHA-256 of every plug-in file used.
    """

    t: float
    format: int
    run: str
    scenario: str
    text: str
    slo_text: str
    seed: int
    stack: str
    stack_params: Mapping[str, Json]
    wall_s: float
    virtual_time: bool
    versions: Mapping[str, str]
    machine: Mapping[str, Json]
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackUp:
    """The stack serves. ``took_s``: how long it took; ``topology``: its nodes by role."""

    t: float
    took_s: float
    topology: Mapping[str, tuple[Node, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackDown:
    """The stack is gone."""

    t: float
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted:
    """The first request is due now: the zero of the plan's times."""

    t: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFinished:
    """What the load process says of itself; ``facts`` are numbers for the pace check."""

    t: float
    facts: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered:
    """A phase began; it lasts until the next one."""

    t: float
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """The steady-state gate looked at the stack before an injection, and let it pass or not."""

    t: float
    passed: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultIntended:
    """Written and flushed *before* the fault is attempted, so a crash cannot hide it."""

    t: float
    id: str
    fault: str
    params: Mapping[str, Json]
    nodes: tuple[Node, ...]
    undo: Undo


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected:
    """``verify`` held for the first time: the fault is in force.

    ``not_before_s`` is when ``verify`` was last seen not to hold (or inject was called): the true
    instant lies between the two.
    """

    t: float
    id: str
    not_before_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHealing:
    """The heal was begun; from here on nothing is said to happen under the fault.

    ``held``: whether ``verify`` still held just before; ``None`` when nobody asked, or no answer
    came.
    """

    t: float
    id: str
    held: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHealed:
    """The fault is gone: heal returned, and ``verify`` no longer holds."""

    t: float
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFailed:
    """A step of a fault raised. The run goes on to heal; the verdict cannot be a pass."""

    t: float
    id: str
    stage: Literal["prepare", "inject", "verify", "heal"]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprinted:
    """The stack's configuration in digests, before the first fault or after the last heal."""

    t: float
    when: Literal["before", "after"]
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerted:
    """A notification of the stack's alerting arrived at the harness's webhook.

    ``starts_wall_s`` is the alert's own ``startsAt`` in Unix time by the stack's clock.
    """

    t: float
    status: Literal["firing", "resolved"]
    labels: Mapping[str, str]
    starts_wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """An entry of the control plane's audit trail: who did what to what, when and why."""

    t: float
    seq: int
    who: str
    what: str
    target: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One direct probe reading. Normal is whatever the probe read in the baseline phase."""

    t: float
    probe: str
    node: Node
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRead:
    """How far another clock stands from ours: its Unix time minus ours, and by how much at most
    that may be wrong.
    """

    t: float
    source: str
    offset_s: float
    bound_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The monitored series were written down, so many; fewer on record means that some are lost."""

    t: float
    series: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something a person, or the harness itself, wants remembered."""

    t: float
    who: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """The run was cut short for safety, or by a person."""

    t: float
    by: Literal["gate", "guard", "guardian", "policy", "halt", "signal", "error"]
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """Last line. A record without it was cut short and can never earn a pass."""

    t: float


Event = (
    RunStarted
    | StackUp
    | StackDown
    | LoadStarted
    | LoadFinished
    | PhaseEntered
    | Gated
    | FaultIntended
    | FaultInjected
    | FaultHealing
    | FaultHealed
    | FaultFailed
    | Fingerprinted
    | Alerted
    | Acted
    | Sampled
    | ClockRead
    | Exported
    | Noted
    | Aborted
    | RunFinished
)
_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def to_line(event: Event) -> str:
    """Encode one event, without its newline. Key order is field order: equal runs, equal bytes."""
    body = {f.name: getattr(event, f.name) for f in dataclasses.fields(event)}
    return json.dumps({"kind": type(event).__name__, **body}, separators=(",", ":"))


def from_line(line: str) -> Event:
    """Decode one event. Raises ``ValueError``, ``KeyError`` or ``TypeError`` if it is not one."""
    body = json.loads(line)
    kind = _KINDS[body.pop("kind")]
    if "nodes" in body:
        body["nodes"] = tuple(body["nodes"])
    if "topology" in body:
        body["topology"] = {role: tuple(nodes) for role, nodes in body["topology"].items()}
    return kind(**body)
