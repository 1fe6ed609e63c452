"""What someone asked for, exactly as they asked it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Phase = Literal["warmup", "baseline", "fault", "recovery"]
PHASES: tuple[Phase, ...] = get_args(Phase)
Arrivals = Literal["constant", "poisson"]
MarkName = Literal["detected", "mitigated", "recovered"]


class Mode(enum.StrEnum):
    """How an expectation reads its indicator over time."""

    OVERALL = "overall"  # the value over the whole phase
    ALWAYS = "always"  # every one-second bucket of the phase
    EVENTUALLY = "eventually"  # from some bucket on, until the end
    SOMETIMES = "sometimes"  # at least one bucket: proof that the interesting thing happened


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit, either absolute or as a multiple of the baseline."""

    side: Literal["at_least", "at_most"]
    value: float
    times_baseline: bool = False


@dataclass(frozen=True, slots=True)
class ExpectSli:
    """An indicator stays within a bound during a phase."""

    mode: Mode
    sli: str
    bound: Bound
    during: Phase = "fault"


@dataclass(frozen=True, slots=True)
class ExpectMark:
    """The stack detects, mitigates or recovers, within a time from the injection.

    ``by`` are label matchers (name to exact value) of the alert that counts as detection; empty
    means that any alert does, and a linter warns about it.
    """

    mark: MarkName
    within_s: float
    by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpectQuiet:
    """Nothing of a kind happens in the whole run, but for the names allowed."""

    what: Literal["alerts", "actions"]
    allow: tuple[str, ...] = ()


Expect = ExpectSli | ExpectMark | ExpectQuiet


@dataclass(frozen=True, slots=True)
class Threshold:
    """Beyond it lies danger: ``below`` or ``above`` it, never at it, for ``for_s`` seconds."""

    side: Literal["below", "above"]
    value: float
    for_s: float


@dataclass(frozen=True, slots=True)
class AbortSli:
    """A live indicator (``LIVE_SLI_NAMES``) is beyond a threshold."""

    sli: str
    beyond: Threshold


@dataclass(frozen=True, slots=True)
class AbortBudget:
    """An objective has spent this share (0 to 1, or more) of the error budget of the whole run."""

    share: float


@dataclass(frozen=True, slots=True)
class AbortAlert:
    """An alert that bears all these labels fires."""

    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AbortUnexpected:
    """An alert fires whose name is not one of those allowed."""

    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AbortQuery:
    """The answer of the stack's own Prometheus to a query is beyond a threshold."""

    query: str
    beyond: Threshold


Abort = AbortSli | AbortBudget | AbortAlert | AbortUnexpected | AbortQuery


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a run may reach. Shares are 0 to 1; what is not given is not limited.

    Both the scenario's and the policy's are checked, so the stricter of the two holds.

    ``nodes``: the largest share of the nodes of any one role under fault at a time. ``traffic``:
    the largest share of the requests under fault at a time, where a fault that does not say how
    much it hits counts as all and faults in force together add up. ``faults_at_once``: how many may
    be in force at a time. ``tenants_never``: tenants that no fault may touch.
    """

    nodes: float = 1.0
    traffic: float = 1.0
    faults_at_once: int | None = None
    tenants_never: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FaultStep:
    """One fault, where, when and for how long. ``at_s`` counts from the start of its phase."""

    fault: str
    params: Mapping[str, object]
    role: str
    pick: int | Literal["all"]
    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class LoadShape:
    """How requests arrive: ``rate_per_s`` is a mean for ``poisson``, exact for ``constant``."""

    arrivals: Arrivals
    rate_per_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question about the stack, with the reason it is worth asking."""

    name: str
    why: str
    stack: str
    stack_params: Mapping[str, object]
    slo: str
    seed: int
    load: LoadShape
    phases_s: Mapping[Phase, float]
    hold_s: float
    faults: tuple[FaultStep, ...]
    expect: tuple[Expect, ...]
    absorbed_ok: bool = False
    abort: tuple[Abort, ...] = ()
    limits: Limits = Limits()
    text: str = field(default="", repr=False)

    @property
    def placebo(self) -> bool:
        """A run with no fault."""
        return not self.faults
