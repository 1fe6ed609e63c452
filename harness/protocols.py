"""Every seam in the project, on one page.

=========  ==============================  ==========  =========================================
Seam       Question it answers             Effects?    Where its implementations live
=========  ==============================  ==========  =========================================
Fault      how is it broken, and mended?   yes         ``faults/<name>.py``
Stack      what is under test?             yes         ``fixtures/stacks/<name>.py``
Journal    where do events go?             yes         ``harness/run/journal.py``
Sli        what number is that?            none        ``harness/analyze/slis.py``
Checker    is that good enough?            none        ``harness/analyze/checkers.py``
Report     how do we tell people?          none        ``reports/<name>.py``
=========  ==============================  ==========  =========================================

A stack is either *served* (real processes at an endpoint, real time) or *simulated* (a coroutine
per request, virtual time). What may be done to it is in ``harness.capabilities``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

from harness.model.defence import Defence
from harness.model.plan import Node, Topology
from harness.model.values import Json, Undo

if TYPE_CHECKING:  # a stack or a fault needs none of these to be loaded
    import numpy as np
    from numpy.typing import NDArray

    from harness.model.analysis import Analysis, Finding
    from harness.model.events import Event
    from harness.model.record import Record
    from harness.model.window import Window

Target_contra = TypeVar("Target_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Does the record show the fault biting? ``because`` says what was looked at, with numbers."""

    seen: bool
    because: str


class Fault(Protocol[Target_contra]):
    """A way to break a target, and to mend it again.

    A fault is a frozen dataclass of its parameters. ``severities`` are its five published
    severities, mildest first, as parameter values, ``roles`` those of the nodes it can strike, and
    ``defences`` what should notice or contain it, two or more, each of which can be left out.
    ``heal`` must work twice, on a healthy target, without an undo, and from another process: it may
    run after a crash, with nothing to go on.

    A fault may also have ``refuse(target) -> str | None``: why its parameters make no sense on this
    target, asked of a stack that is not up, so that a scenario is refused before anything starts.
    """

    severities: ClassVar[tuple[Mapping[str, object], ...]]
    roles: ClassVar[tuple[str, ...]]
    defences: ClassVar[tuple[Defence, ...]]

    async def prepare(self, target: Target_contra, nodes: Sequence[Node]) -> Undo:
        """Read, and only read, whatever ``heal`` will need, as JSON."""

    async def inject(self, target: Target_contra, nodes: Sequence[Node], undo: Undo) -> None:
        """Break it."""

    async def verify(self, target: Target_contra, nodes: Sequence[Node]) -> bool:
        """Say whether it is in force now; polled every 50 ms, so it must be cheap."""

    async def heal(self, target: Target_contra, nodes: Sequence[Node], undo: Undo | None) -> None:
        """Mend it."""

    def evidence(self, before: "Window", during: "Window") -> Evidence:
        """Read the record: a fault nobody can see in it proves nothing."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One alert as the stack's alerting sent it. ``starts_wall_s``: its ``startsAt``, Unix time."""

    status: str
    labels: Mapping[str, str]
    starts_wall_s: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the control plane's audit trail. ``wall_s``: Unix time by the stack's clock."""

    seq: int
    wall_s: float
    who: str
    what: str
    target: str
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One direct probe of one node."""

    probe: str
    node: Node
    value: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a served stack takes requests: HTTP POST of a case's body to ``path``."""

    host: str
    port: int
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Cases:
    """What to ask, in order, and what is true: n cases.

    ``label``, ``golden``: (n,) bool, the real outcome and the healthy champion's answer.
    ``bodies``: n request bodies (empty for simulated stacks, which know their cases).
    """

    label: "NDArray[np.bool_]"
    golden: "NDArray[np.bool_]"
    bodies: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a simulated stack answered; the fields are those of ``harness.model.rows.ROW``."""

    outcome: int
    status: int
    node: str
    model: str
    version: str
    fallback: str
    prediction: int
    score: float
    mask: int


@dataclass(frozen=True)
class RawSeries:
    """One monitored series with the stack's own timestamps: Unix time, (n,) each."""

    name: str
    labels: Mapping[str, str]
    wall_s: Sequence[float]
    value: Sequence[float]


@dataclass(frozen=True, slots=True)
class Site:
    """What the harness gives a stack to stand on.

    ``folder``: an existing folder for its state and logs. ``webhook``: the URL that a served
    stack's alerting must notify. ``notify``: what a simulated stack calls instead. ``say``:
    progress, one line at a time.
    """

    folder: str
    seed: int = 0
    webhook: str = ""
    notify: Callable[[Notification], None] = field(default=lambda _: None)
    say: Callable[[str], None] = field(default=lambda _: None)


class Stack(Protocol):
    """The system under test: a dataclass of its settings, started by ``up``.

    Its settings are ordinary configuration (which runbooks are on, how many replicas), never a
    chaos hook. Capabilities are extra methods; see ``harness.capabilities``.
    """

    virtual_time: ClassVar[bool]

    def topology(self) -> Topology:
        """Name every node, by role. Known before anything is started."""

    async def up(self, site: Site) -> None:
        """Start it and return once it serves. On failure, take down what was started and raise
        ``StackError`` with the name of the part and the tail of its log.
        """

    async def down(self) -> None:
        """Stop it. Safe to call twice, and after a failed ``up``."""

    async def cases(self, count: int) -> Cases:
        """The first ``count`` cases of the replay; fewer when the data ends."""

    async def probe(self) -> Sequence[Reading]:
        """Read pins, replicas, caches, backlog and data debt directly, not from its monitoring."""

    async def audit(self, after: int) -> Sequence[AuditEntry]:
        """Entries of the audit trail with a greater ``seq``."""

    async def fingerprint(self) -> Mapping[str, str]:
        """Digests of its configuration, by part: equal before a fault and after its heal."""

    async def series(self, start_wall_s: float, end_wall_s: float) -> Sequence[RawSeries]:
        """The monitored series behind rules and report, with their raw timestamps."""

    async def clock(self) -> tuple[float, float]:
        """``(offset_s, bound_s)`` of the monitoring's clock against ours; positive: it is ahead."""


@runtime_checkable
class Served(Protocol):
    """A stack of real processes.

    From its first process on it keeps ``attach.json`` in its site's folder, which holds what
    ``attach`` needs, so that somebody else can finish the job of a harness that died.
    """

    def endpoint(self) -> Endpoint:
        """Where it takes requests, once up."""

    def addresses(self) -> Mapping[str, str]:
        """Every part's address, for a person with curl, once up."""

    def state(self) -> Json:
        """All that another process needs to reach it: see ``attach``."""

    @classmethod
    def attach(cls, state: Json) -> "Stack":
        """Reach a stack that another process started. It can be probed, healed and taken down."""


@runtime_checkable
class Simulated(Protocol):
    """A stack that lives in the harness's own event loop, on virtual time."""

    async def call(self, case: int) -> Answer:
        """Answer one request. Never raises for anything the stack did."""


class StackError(Exception):
    """The stack could not be brought up or reached; the message names the part and its log."""


class Refused(StackError):
    """The stack understood what it was told to do, and did not, for it would have done harm."""


class Journal(Protocol):
    """The append-only record. There is no update and no delete."""

    def append(self, event: "Event") -> None:
        """Write one event."""

    def sync(self) -> None:
        """Return only once everything written would survive a power cut."""


class Sli(Protocol):
    """A number read off a window, or ``None`` when the window cannot say."""

    def __call__(self, window: "Window", /) -> float | None:
        """Measure it."""


class Checker(Protocol):
    """A judgement over a whole record."""

    def check(self, record: "Record") -> "Finding":
        """Decide. Missing data is ``UNKNOWN``, never ``PASS``."""


class Report(Protocol):
    """One way of telling people what was found."""

    suffix: str

    def __call__(self, analysis: "Analysis", /) -> str:
        """Render it. No files, no clock, no network."""
