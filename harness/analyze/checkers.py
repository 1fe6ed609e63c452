"""The judgements that are always made, whatever the scenario expects.

They guard the meaning of a pass: that the faults bit, that nothing was left broken, that the
harness itself kept pace, and that the record is whole. None can be switched off, and one that
crashes answers UNKNOWN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from harness import schema
from harness.analyze.detection import lost_series
from harness.analyze.oracle import Oracle, judged_window, phase_window
from harness.model import events as ev
from harness.model.analysis import Finding, Incident, Verdict
from harness.model.record import FaultSpan, Record
from harness.model.scenario import Phase, Scenario
from harness.protocols import Fault

Faults = Mapping[str, type[Fault[Any]]]
LATE_S: Final = 0.1
LATE_SHARE: Final = 0.01
JUDGED: Final[tuple[Phase, ...]] = ("baseline", "fault", "recovery")
"""The phases that marks and expectations are read from; the warm-up is not."""


class Named(Protocol):
    """A checker with the name its finding bears."""

    @property
    def name(self) -> str:
        """What is checked."""

    def check(self, record: Record) -> Finding:
        """Decide. Missing data is ``UNKNOWN``, never ``PASS``."""


def guarded(checker: Named, record: Record) -> Finding:
    """Run a checker; turn its crash into its answer: it does not know."""
    try:
        return checker.check(record)
    except Exception as error:
        return Finding(checker.name, Verdict.UNKNOWN, f"the check itself failed: {error!r}")


@dataclass(frozen=True)
class Bit:
    """Every fault left evidence. Without this, a pass may only mean that nothing was tested."""

    faults: Faults
    scenario: Scenario
    name: str = "every fault bit"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        spans, asked = record.spans, len(self.scenario.faults)
        if not asked and not spans:
            if not len(record.requests):
                return Finding(self.name, Verdict.UNKNOWN, "a placebo without a request on record")
            return Finding(self.name, Verdict.PASS, "a placebo: nothing was to bite")
        if len(spans) < asked:
            why = _failed(record) or "the run was cut short"
            return Finding(
                self.name, Verdict.UNKNOWN, f"{asked - len(spans)} of {asked} never began: {why}"
            )
        answers = [self._evidence(record, span) for span in spans]
        good = all(seen for seen, _ in answers)
        because = "; ".join(words for seen, words in answers if good or not seen)
        return Finding(self.name, Verdict.PASS if good else Verdict.UNKNOWN, because)

    def _evidence(self, record: Record, span: FaultSpan) -> tuple[bool, str]:
        before = phase_window(record, "baseline")
        if before is None:
            return False, f"{span.id}: there is no baseline on record to compare with"
        if span.injected_s is None:
            return False, f"{span.id} never took hold: {'; '.join(span.errors) or 'cut short'}"
        asked = not any(record.of(ev.Aborted))  # an abort heals at once
        if span.healing_s is not None and (span.held is False or (asked and span.held is None)):
            lapsed = "had lapsed" if span.held is False else "was not known to be in force"
            return False, f"{span.id} {lapsed} when its heal began"
        end_s = record.load_end_s if span.healing_s is None else span.healing_s
        if span.fault not in self.faults:
            return False, f"{span.id}: the fault {span.fault} is not here to read its evidence"
        fault = schema.build(self.faults[span.fault], span.params)
        found = fault.evidence(before, record.window(span.injected_s, end_s))
        return found.seen, f"{span.id}: {found.because}"


@dataclass(frozen=True)
class Healed:
    """Nothing was left broken, and the configuration is what it was."""

    name: str = "everything healed"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        left = [s.id for s in record.spans if s.healed_s is None]
        if left:
            verdict = Verdict.FAIL if record.complete else Verdict.UNKNOWN
            tail = "" if record.complete else "; the record is cut short"
            return Finding(self.name, verdict, f"not known to be healed: {', '.join(left)}{tail}")
        if failed := _failed(record):
            return Finding(self.name, Verdict.UNKNOWN, failed)
        prints = {p.when: p.parts for p in record.of(ev.Fingerprinted)}
        if not record.spans and not prints and record.complete:
            return Finding(self.name, Verdict.PASS, "nothing was broken")
        if not prints.get("before") or not prints.get("after"):
            return Finding(
                self.name,
                Verdict.UNKNOWN,
                "the stack's configuration was not read both before and after",
            )
        before, after = prints["before"], prints["after"]
        differ = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
        if differ and any(record.of(ev.Aborted)):
            return Finding(
                self.name,
                Verdict.UNKNOWN,
                "every fault was healed, but the run was aborted before the stack could be as "
                f"before; still different: {', '.join(differ)}",
            )
        if differ:
            return Finding(self.name, Verdict.FAIL, f"left changed: {', '.join(differ)}")
        healed = f"{len(record.spans)} of {len(record.spans)} healed; " if record.spans else ""
        return Finding(
            self.name, Verdict.PASS, f"{healed}{len(before)} parts of the configuration as before"
        )


@dataclass(frozen=True)
class KeptPace:
    """The harness itself was not the bottleneck, least of all around a mark."""

    incidents: Sequence[Incident]
    name: str = "harness kept pace"

    def check(self, record: Record) -> Finding:
        """Decide it: at most 1 % of sends over 100 ms late, and no late burst across a mark."""
        requests = record.requests
        if not len(requests):
            return Finding(self.name, Verdict.UNKNOWN, "no requests on record")
        lag = requests.lag_s
        late = lag > LATE_S
        share = float(late.mean())
        p99_ms, worst_ms = float(np.quantile(lag, 0.99)) * 1e3, float(lag.max()) * 1e3
        figures = f"p99 send lag {p99_ms:.1f} ms, worst {worst_ms:.0f} ms"
        if share > LATE_SHARE:
            return Finding(
                self.name,
                Verdict.UNKNOWN,
                f"{share:.1%} of requests left over {LATE_S * 1e3:.0f} ms late; {figures}",
            )
        due_s, sent_s = requests.due_s[late], requests.due_s[late] + lag[late]
        for mark in (m for i in self.incidents for m in i.marks):
            if mark.at is None or mark.at.censored:
                continue
            if bool(((due_s <= mark.at.value_s) & (sent_s >= mark.at.value_s)).any()):
                return Finding(
                    self.name, Verdict.UNKNOWN, f"a late burst spans {mark.id}; {figures}"
                )
        return Finding(self.name, Verdict.PASS, figures)


@dataclass(frozen=True)
class Complete:
    """The run reached its own end, and everything it promised to write is there."""

    name: str = "record complete"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        missing = []
        header = next(record.of(ev.RunStarted), None)
        if header is None:
            missing.append("its header")
        if not record.complete:
            missing.append("its end: the run was cut short")
        planned = next((e.requests for e in record.of(ev.LoadStarted)), None)
        if planned is None:
            missing.append("the start of the load")
        elif len(record.requests) != planned and (
            len(record.requests) > planned or not any(record.of(ev.Aborted))
        ):
            missing.append(f"requests: {len(record.requests)} of {planned} are there")
        elif not len(record.requests):
            missing.append("any request")
        if (lost := lost_series(record)) is not None:
            missing.append(f"monitored series: {lost}")
        numbers = sorted({a.seq for a in record.actions})
        if numbers and len(numbers) != numbers[-1] - numbers[0] + 1:
            missing.append(f"entries of the audit trail, between {numbers[0]} and {numbers[-1]}")
        if missing:
            return Finding(self.name, Verdict.UNKNOWN, f"the record lacks {'; '.join(missing)}")
        series = f", {len(record.series)} monitored series" if record.series else ""
        return Finding(
            self.name, Verdict.PASS, f"{len(record.requests)} of {planned} requests{series}"
        )


@dataclass(frozen=True)
class Steady:
    """The stack was healthy before anything was broken, or before the placebo was taken."""

    name: str = "steady before injection"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        gates = list(record.of(ev.Gated))
        if not gates:
            return Finding(self.name, Verdict.UNKNOWN, "no steady-state gate is on record")
        refused = [g for g in gates if not g.passed]
        if refused:
            return Finding(self.name, Verdict.UNKNOWN, f"the gate refused: {refused[0].because}")
        first_s = min((s.intended_s for s in record.spans), default=float("inf"))
        if gates[0].t > first_s:
            return Finding(self.name, Verdict.UNKNOWN, "the gate looked after the first fault only")
        return Finding(self.name, Verdict.PASS, gates[0].because)


@dataclass(frozen=True)
class NotAborted:
    """The run was not cut short. If a guard had to step in, users were hurt too much."""

    name: str = "not aborted"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        aborts = list(record.of(ev.Aborted))
        if aborts:
            verdict = Verdict.FAIL if any(a.by == "guard" for a in aborts) else Verdict.UNKNOWN
            return Finding(self.name, verdict, f"by the {aborts[0].by}: {aborts[0].because}")
        if not record.complete:
            return Finding(self.name, Verdict.UNKNOWN, "the record is cut short")
        return Finding(self.name, Verdict.PASS, "the run went as planned")


@dataclass(frozen=True)
class Measured:
    """Every objective could be measured, and every fault gave a trial that counts."""

    oracle: Oracle
    incidents: Sequence[Incident]
    name: str = "trial valid"

    def check(self, record: Record) -> Finding:
        """Decide it."""
        if not self.oracle.slo.objectives:
            return Finding(self.name, Verdict.UNKNOWN, "the SLO has no objective")
        for phase in JUDGED:
            if (lack := self._lacks(record, phase)) is not None:
                return Finding(self.name, Verdict.UNKNOWN, lack)
        invalid = [i for i in self.incidents if i.outcome == "invalid"]
        if invalid:
            because = "; ".join(f"{i.fault_id}: {i.budget_note}" for i in invalid)
            return Finding(self.name, Verdict.UNKNOWN, because)
        phases_judged = f"{', '.join(JUDGED[:-1])} and {JUDGED[-1]}"
        because = f"every objective was measured, without a gap, in {phases_judged}"
        return Finding(self.name, Verdict.PASS, because)

    def _lacks(self, record: Record, phase: Phase) -> str | None:
        """What a phase lacks to be judged: enough events for each objective, and no silence."""
        window = judged_window(record, phase)
        if window is None:
            return f"the run never got to {phase}"
        for objective in self.oracle.slo.objectives:
            seen = self.oracle.count(objective, window.start_s, window.end_s)
            if seen < self.oracle.n_min(objective):
                return f"only {seen} events for {objective.name} in {phase}: too few to judge"
        silent_s = self.oracle.silence_s(window.start_s, window.end_s)
        if silent_s is not None:
            from_s = silent_s - window.start_s
            return f"no request is on record in {phase} from +{from_s:.1f} s on"
        return None


def _failed(record: Record) -> str:
    return "; ".join(f"{e.id} failed to {e.stage}: {e.error}" for e in record.of(ev.FaultFailed))
