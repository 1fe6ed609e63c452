"""Several runs of one scenario that answer one question together.

An *ablation* asks which defences matter: each run goes without some of them. A *sweep* asks how
small a fault can be and still be seen: each run has a severity. A study holds only what the records
of its runs do not say; everything in its tables is read from them, and can be read again later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from harness.model.analysis import Estimate, Finding, Outcome, Verdict
from harness.model.defence import Defence
from harness.model.values import Json

FORMAT = 1
Kind = Literal["ablation", "sweep"]
Standing = Literal["load-bearing", "redundant", "idle", "off", "unclear"]
Seen = Literal["seen", "not seen", "unknown"]


def listed(names: Sequence[str]) -> str:
    """Write names as in a sentence: ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a study: without which defences it went, or at which severity."""

    run: str
    without: tuple[str, ...] = ()
    severity: int | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """A defence, the faults of the scenario that declare it, and whether it was off all along."""

    defence: Defence
    faults: tuple[str, ...]
    off: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked, and which runs were made for it, in their order.

    ``only``: the defences that were asked about, if not all. ``severities``: those of a sweep.
    ``monitors``: the stack's alerts. ``stopped``: why it ended before its end, if it did.
    """

    id: str
    kind: Kind
    scenario: str
    members: tuple[Member, ...] = ()
    declared: tuple[Declared, ...] = ()
    only: tuple[str, ...] = ()
    severities: tuple[int, ...] = ()
    monitors: tuple[str, ...] = ()
    stopped: str = ""

    def to_json(self) -> Json:
        """Write it down."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, body: Json) -> "Study":
        """Read it back. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        if body["kind"] not in ("ablation", "sweep") or body["format"] != FORMAT:
            raise ValueError(f"kind {body['kind']!r}, format {body['format']!r}")
        return cls(
            id=str(body["id"]),
            kind=body["kind"],
            scenario=str(body["scenario"]),
            members=tuple(
                Member(str(m["run"]), tuple(m["without"]), m["severity"]) for m in body["members"]
            ),
            declared=tuple(
                Declared(Defence(**d["defence"]), tuple(d["faults"]), bool(d["off"]))
                for d in body["declared"]
            ),
            only=tuple(body["only"]),
            severities=tuple(int(s) for s in body["severities"]),
            monitors=tuple(str(m) for m in body["monitors"]),
            stopped=str(body["stopped"]),
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """One run of an ablation. ``fell``: the measures of what users got, and the times to detect,
    that did not pass. ``unclear``: why the run cannot tell, or nothing if it can.
    """

    run: str
    without: tuple[str, ...]
    verdict: Verdict
    headline: str
    fell: tuple[Finding, ...]
    unclear: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What one defence turned out to be worth.

    ``without``: the run that lacked only this one. ``covered_by``: the defences that stood in for
    it, and ``proof`` the runs that lacked it together with one of those.
    """

    defence: Defence
    faults: tuple[str, ...]
    standing: Standing
    because: str
    without: Removal | None = None
    covered_by: tuple[str, ...] = ()
    proof: tuple[Removal, ...] = ()


@dataclass(frozen=True, slots=True)
class Ablation:
    """The defence table. ``all_off``: the run without any of them; ``runs``: all there were."""

    rows: tuple[Tried, ...]
    whole: Removal | None
    all_off: Removal | None
    runs: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class Took:
    """The outcome and the times of one fault in one run of a sweep."""

    fault_id: str
    outcome: Outcome
    ttd: Estimate | None
    ttm: Estimate | None
    ttr: Estimate | None


@dataclass(frozen=True, slots=True)
class Rung:
    """One severity of a sweep. ``params``: of each fault, what the severity sets. ``bit``: whether
    there is evidence of every fault. ``unclear``: why the run cannot tell, or nothing if it can.
    """

    severity: int
    run: str
    verdict: Verdict
    params: Mapping[str, Mapping[str, Json]]
    bit: Verdict
    because: str
    took: tuple[Took, ...]
    unclear: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Whether an alert saw a fault of one severity; ``ttd`` from the injection, if it did."""

    severity: int
    seen: Seen
    ttd: Estimate | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Monitor:
    """One alert and one fault: the smallest severity that it saw, and that in words.

    ``expected``: the scenario counts on it.
    """

    alert: str
    fault_id: str
    expected: bool
    sightings: tuple[Sighting, ...]
    smallest: int | None
    said: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """One run for each severity, and what each alert made of them."""

    rungs: tuple[Rung, ...]
    monitors: tuple[Monitor, ...]
