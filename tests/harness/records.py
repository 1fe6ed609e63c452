"""Records whose truth is known, made up on virtual data: what an analysis is tested against.

``Script`` says what happens to users (``Stretch``: which share errs, is late, is wrong, falls
back), when the fault is in force, and what alerts, actions, probes and series say; ``record()``
rolls the requests from a seed. Times in a script count from the start of the load, which is
``LOAD_AT_S``.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from harness import fault, param
from harness.model import events as ev
from harness.model.record import Record, Requests, Series
from harness.model.rows import ERROR, OK, ROW, TIMEOUT
from harness.model.scenario import ExpectMark, FaultStep, LoadShape, Scenario
from harness.model.slo import AlertTier, Objective, Slo
from harness.protocols import Evidence

LOAD_AT_S = 12.0
PHASES_S = {"warmup": 10.0, "baseline": 25.0, "fault": 32.0, "recovery": 32.0}
ALERT = {"alertname": "FeatureMissing", "severity": "page", "feature": "dep_delay"}
FAULT_AT_S = 36.4  # 1.4 s into the fault phase
HEAL_AT_S = 66.4
HOLD_S = 10.0
AVAILABILITY = Objective("availability", "Answered in time", "success_ratio", 0.99)
CORRECTNESS = Objective("correctness", "As right as the champion", "paired_correctness", 0.97)
SLO = Slo(
    "flights",
    "flights",
    (AVAILABILITY, CORRECTNESS),
    (AlertTier("page", 14.4, 60.0, 5.0),),
    late_after_s=1.0,
)


@fault
@dataclass(frozen=True, slots=True)
class Spoil:
    """A fault that leaves evidence when it is told to."""

    severities = ({}, {}, {}, {}, {})

    seen: bool = param(True, "whether the record shows it")

    async def prepare(self, target, nodes):
        return {}

    async def inject(self, target, nodes, undo):
        pass

    async def verify(self, target, nodes):
        return True

    async def heal(self, target, nodes, undo):
        pass

    def evidence(self, before, during):
        return Evidence(self.seen and len(during.requests) > 0, "as the test says")


FAULTS = {"spoil": Spoil}


@dataclass(frozen=True)
class Stretch:
    """What users get in [start_s, end_s): shares of all requests; later stretches win."""

    start_s: float
    end_s: float
    error: float = 0.0
    timeout: float = 0.0
    wrong: float = 0.0  # wrong where the champion was right
    took_s: float = 0.008
    fallback: str = "none"
    model: str = "champion"


@dataclass(frozen=True)
class Span:
    """One fault's life."""

    at_s: float = FAULT_AT_S
    heal_s: float | None = HEAL_AT_S
    blur_s: float = 0.05
    seen: bool = True
    id: str = "spoil-1"
    healed: bool = True
    injected: bool = True
    held: bool | None = True


@dataclass(frozen=True)
class Script:
    """A run, with its truth. See the module."""

    stretches: tuple[Stretch, ...] = ()
    spans: tuple[Span, ...] = (Span(),)
    alerts: tuple[tuple[float, str], ...] = ()  # (when, firing | resolved)
    actions: tuple[tuple[float, str], ...] = ()
    readings: tuple[
        tuple[float, float, str, float], ...
    ] = ()  # from, to, probe, value (else usual)
    series: tuple[Series, ...] | None = None
    extra: tuple[ev.Event, ...] = ()
    rate_per_s: float = 120.0
    arrivals: str = "poisson"
    phases_s: dict = field(default_factory=lambda: dict(PHASES_S))
    seed: int = 1
    usual_wrong: float = 0.0  # shares in a healthy run
    usual_error: float = 0.0
    positives: float = 0.2  # share of true labels
    champion_right: float = 0.85
    usual_probes: tuple[tuple[str, str, float], ...] = (
        ("pin", "gateway", 0.0),
        ("replica_ready", "replica-0", 1.0),
        ("backlog_s", "materializer", 0.0),
    )
    probe_every_s: float = 0.5
    lag_s: float = 0.0004
    late: tuple[tuple[float, float, float], ...] = ()  # from, to, lag_s
    gate_passed: bool = True
    virtual_time: bool = False

    def with_(self, **changes) -> "Script":
        """The same run but for this."""
        return replace(self, **changes)

    @property
    def load_s(self) -> float:
        """How long the load lasts."""
        return sum(self.phases_s.values())

    def record(self) -> Record:
        """Roll it."""
        return Record(tuple(_events(self)), _requests(self), _series(self))


def scenario(script=None, *, expect=(), absorbed_ok=False, placebo=False) -> Scenario:
    """The question such a record answers."""
    script = script or Script()
    steps = (
        ()
        if placebo
        else tuple(FaultStep("spoil", {}, "feed", "all", 1.0, 30.0) for _ in script.spans)
    )
    return Scenario(
        name="made_up",
        why="to know the truth",
        stack="local",
        stack_params={},
        slo="flights",
        seed=script.seed,
        load=LoadShape(script.arrivals, script.rate_per_s),
        phases_s=script.phases_s,
        hold_s=HOLD_S,
        faults=steps,
        expect=tuple(expect),
        absorbed_ok=absorbed_ok,
    )


DETECTED = ExpectMark("detected", 10.0, {"alertname": "FeatureMissing"})
MITIGATED = ExpectMark("mitigated", 20.0)
RECOVERED = ExpectMark("recovered", 60.0)
ALL_MARKS = (DETECTED, MITIGATED, RECOVERED)

USUAL_RUN = Script(
    stretches=(
        Stretch(FAULT_AT_S + 0.3, 41.0, wrong=0.12),
        Stretch(41.0, 74.0, wrong=0.005, model="baseline"),
    ),
    alerts=((39.5, "firing"), (68.0, "resolved")),
    actions=((39.6, "route_to_baseline"), (74.0, "route_to_champion")),
    readings=((39.6, 74.0, "pin", 1.0),),
)
"""Detected after 3.1 s, mitigated after 4.6 s, recovered after 37.6 s, all from the injection."""

PLACEBO = Script(spans=())


def due_s(script: Script) -> np.ndarray:
    """(n,) when each request is due, from the start of the load."""
    if script.arrivals == "constant":
        return np.arange(int(script.load_s * script.rate_per_s)) / script.rate_per_s
    dice = np.random.default_rng([script.seed, 1])
    expected = script.load_s * script.rate_per_s
    gaps = dice.exponential(1 / script.rate_per_s, int(expected + 10 * expected**0.5 + 50))
    due = np.cumsum(gaps)
    return due[due < script.load_s]


def _requests(script: Script) -> Requests:
    due = due_s(script)
    n = len(due)
    dice = np.random.default_rng([script.seed, 2])
    label = dice.random(n) < script.positives
    golden = np.where(dice.random(n) < script.champion_right, label, ~label)
    rows = np.zeros(n, ROW)
    rows["case"] = np.arange(n)
    rows["due_ns"] = np.round((due + LOAD_AT_S) * 1e9)
    lag = np.full(n, script.lag_s)
    for start, end, late_s in script.late:
        lag[(due >= start) & (due < end)] = late_s
    usual = Stretch(0.0, script.load_s, error=script.usual_error, wrong=script.usual_wrong)
    took = dice.gamma(4.0, 0.25, n)  # times the stretch's own
    rows["score"], rows["mask"], rows["version"] = 0.5, 0, b"v1"
    error = np.zeros(n, bool)
    timeout, wrong = error.copy(), error.copy()
    chance = dice.random((3, n))
    for s in (usual, *script.stretches):
        inside = (due >= s.start_s) & (due < s.end_s)
        error[inside] = chance[0, inside] < s.error
        timeout[inside] = chance[1, inside] < s.timeout
        wrong[inside] = chance[2, inside] < s.wrong
        rows["fallback"][inside], rows["model"][inside] = s.fallback.encode(), s.model.encode()
        took[inside] *= s.took_s / (1 if s is usual else usual.took_s)
    took[timeout] = 5.0
    rows["outcome"] = np.where(timeout, TIMEOUT, np.where(error, ERROR, OK))
    rows["status"] = np.where(timeout, 0, np.where(error, 503, 200))
    # A wrong answer counts as bad only where the champion was right: make it so where asked for.
    golden = np.where(wrong, label, golden)
    predicted = np.where(wrong, ~label, golden)
    failed = error | timeout
    rows["prediction"] = np.where(failed, -1, predicted)
    rows["mask"][failed] = -1
    rows["sent_ns"] = rows["due_ns"] + np.round(lag * 1e9).astype(np.int64)
    rows["end_ns"] = rows["sent_ns"] + np.round(took * 1e9).astype(np.int64)
    rows["first_ns"] = rows["end_ns"]
    rows["node"] = np.where(np.arange(n) % 2, b"replica-0", b"replica-1")
    return Requests(rows, label, golden)


def _events(script: Script) -> list[ev.Event]:
    at = LOAD_AT_S
    end = at + script.load_s
    out: list[ev.Event] = [
        ev.StackUp(t=at - 2, took_s=6.0, topology={"feed": ("feed",)}),
        ev.LoadStarted(t=at, requests=len(due_s(script))),
        ev.LoadFinished(t=end, facts={"sent": len(due_s(script))}),
        ev.Exported(t=end + 2, series=len(_series(script))),
        ev.StackDown(t=end + 3, took_s=1.0),
        ev.RunFinished(t=end + 3.5),
        ev.ClockRead(t=5.0, source="prometheus", offset_s=0.002, bound_s=0.001),
        ev.Fingerprinted(t=at + 34, when="before", parts={"route": "a", "rules": "b"}),
        ev.Fingerprinted(t=end, when="after", parts={"route": "a", "rules": "b"}),
        ev.Gated(t=at + 34.5, passed=script.gate_passed, because="every objective was met"),
        *script.extra,
    ]
    clock_s = at
    for phase, length_s in script.phases_s.items():
        out.append(ev.PhaseEntered(t=clock_s, phase=phase))
        clock_s += length_s
    for span in script.spans:
        out += _span(span)
    out += [
        ev.Alerted(t=at + t, status=status, labels=ALERT, starts_wall_s=1e9)
        for t, status in script.alerts
    ]
    out += [
        ev.Acted(t=at + t, seq=i, who="responder", what=what, target="arrival_delay", why="alert")
        for i, (t, what) in enumerate(script.actions, 1)
    ]
    out += _samples(script)
    header = ev.RunStarted(
        t=0.0,
        format=ev.FORMAT,
        run="made-up",
        scenario="made_up",
        text="",
        slo_text="",
        seed=script.seed,
        stack="local",
        stack_params={},
        wall_s=1_400_000_000.0,
        virtual_time=script.virtual_time,
        versions={"python": "3.11"},
        machine={"cpus": 2},
        digests={"faults/spoil": "0" * 64},
    )
    return [header, *sorted(out, key=lambda e: e.t)]


def _span(span: Span) -> list[ev.Event]:
    at = LOAD_AT_S + span.at_s
    out: list[ev.Event] = [
        ev.FaultIntended(
            t=at - 0.5,
            id=span.id,
            fault="spoil",
            params={"seen": span.seen},
            nodes=("feed",),
            undo={},
        )
    ]
    if not span.injected:
        out.append(ev.FaultFailed(t=at, id=span.id, stage="verify", error="it never came"))
    else:
        out.append(ev.FaultInjected(t=at, id=span.id, not_before_s=at - span.blur_s))
    if span.heal_s is not None:
        out.append(ev.FaultHealing(t=LOAD_AT_S + span.heal_s, id=span.id, held=span.held))
        if span.healed:
            out.append(ev.FaultHealed(t=LOAD_AT_S + span.heal_s + 0.6, id=span.id))
    return out


def _samples(script: Script) -> list[ev.Event]:
    out: list[ev.Event] = []
    for i in range(int(script.load_s / script.probe_every_s) + 1):
        t = i * script.probe_every_s
        for probe, node, usual in script.usual_probes:
            said = [v for a, b, p, v in script.readings if p == probe and a <= t < b]
            value = said[-1] if said else usual
            out.append(ev.Sampled(t=LOAD_AT_S + t, probe=probe, node=node, value=value))
    return out


def _series(script: Script) -> tuple[Series, ...]:
    if script.series is not None:
        return script.series
    t = LOAD_AT_S + np.arange(0.0, script.load_s, 1.0)
    up = Series("up", {"job": "gateway"}, t, np.ones(len(t)))
    return (up, *((alerts_series(script),) if script.alerts else ()))


def alerts_series(script: Script) -> Series:
    """The ``ALERTS`` series that goes with a script's notifications, evaluated every second."""
    t = LOAD_AT_S + np.arange(0.0, script.load_s, 1.0)
    on = np.zeros(len(t), bool)
    for when, status in script.alerts:
        on[t >= LOAD_AT_S + when - 1.0] = status == "firing"
    return Series("ALERTS", {**ALERT, "alertstate": "firing"}, t[on], np.ones(int(on.sum())))
