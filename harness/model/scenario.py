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
    text: str = field(default="", repr=False)

    @property
    def placebo(self) -> bool:
        """A run with no fault."""
        return not self.faults
