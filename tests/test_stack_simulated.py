import asyncio
import dataclasses
import functools
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from faults.drop_features import DropFeatures
from fixtures.models.golden import GoldenTable, Model
from fixtures.serving.features import FEATURES
from fixtures.stacks._simulated import gateway as gateway_part
from fixtures.stacks._simulated import rules as rules_part
from fixtures.stacks._simulated.truth import What
from fixtures.stacks.local import Local
from fixtures.stacks.simulated import SimulatedStack
from harness import AuditEntry, FeedRule, Notification, RawSeries, Reading, Site, StackError
from harness import schema as schemas
from harness.catalog import Catalog
from harness.model.dead_man import HEARD_EVERY_S, is_dead_man
from harness.protocols import Answer, Served, Simulated
from harness.run.clocks import loop_factory

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
SEVERITIES = [dict(s) for s in DropFeatures.severities]


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclasses.dataclass
class Day:
    """What one run of a stack under load left behind; times are seconds after the load began."""

    stack: SimulatedStack
    due_s: NDArray[np.float64]
    answers: list[Answer]
    took_s: NDArray[np.float64]
    notified: list[tuple[float, Notification]]  # all but the dead-man's alert
    heard_s: list[float]  # when that one was
    audit: list[AuditEntry]
    probes: list[tuple[float, dict[tuple[str, str], float]]]
    series: list[RawSeries]
    zero_s: float
    label: NDArray[np.bool_]
    golden: NDArray[np.bool_]
    same_fingerprint: bool
    in_force_s: float = 0.0
    healed_s: float = 0.0

    def firing(self, name: str) -> list[float]:
        return [
            t for t, n in self.notified if n.labels["alertname"] == name and n.status == "firing"
        ]

    def bad_share(self, start_s: float, end_s: float) -> float:
        inside = (self.due_s >= start_s) & (self.due_s < end_s)
        said = np.array([a.prediction for a in self.answers])
        bad = (self.golden == self.label) & (said != self.label)
        return float(bad[inside].mean())

    def bytes(self) -> bytes:
        parts = (self.answers, self.took_s.tolist(), self.notified, self.audit, self.probes)
        return repr((*parts, self.series, self.stack.truth)).encode()


def live(
    stack: SimulatedStack,
    *,
    seed: int = 11,
    rate: float = 120.0,
    for_s: float = 60.0,
    fault: DropFeatures | None = None,
    at_s: float = 10.0,
    heal_s: float = 35.0,
    nodes: tuple[str, ...] = (),
) -> Day:
    return run(_live(stack, seed, rate, for_s, fault, at_s, heal_s, nodes))


async def _live(
    stack: SimulatedStack,
    seed: int,
    rate: float,
    for_s: float,
    fault: DropFeatures | None,
    at_s: float,
    heal_s: float,
    nodes: tuple[str, ...],
) -> Day:
    notified: list[tuple[float, Notification]] = []
    heard_s: list[float] = []

    def notify(notification: Notification) -> None:
        if is_dead_man(notification.labels):
            heard_s.append(now())
        else:
            notified.append((now() - zero_s, notification))

    await stack.up(Site("", seed=seed, notify=notify))
    zero_s = now()
    count = int(rate * for_s)
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    cases = await stack.cases(count)
    answers: list[Any] = [None] * count
    took_s = np.zeros(count)
    probes: list[tuple[float, dict[tuple[str, str], float]]] = []
    marks = [0.0, 0.0]

    async def ask(case: int) -> None:
        answers[case] = await stack.call(case)
        took_s[case] = now() - zero_s - due_s[case]

    async def load() -> None:
        async with asyncio.TaskGroup() as requests:
            for case, when_s in enumerate(due_s.tolist()):
                await asyncio.sleep(zero_s + when_s - now())
                requests.create_task(ask(case))

    async def probe() -> None:
        for second in range(1, int(for_s)):
            await asyncio.sleep(zero_s + second - now())
            readings = await stack.probe()
            probes.append((float(second), {(r.probe, r.node): r.value for r in readings}))

    async def hurt() -> None:
        if fault is None:
            return
        await asyncio.sleep(at_s)
        undo = await fault.prepare(stack, nodes)
        await fault.inject(stack, nodes, undo)
        await holds(lambda: fault.verify(stack, nodes))
        marks[0] = now() - zero_s
        await asyncio.sleep(zero_s + heal_s - now())
        await fault.heal(stack, nodes, undo)
        assert not await fault.verify(stack, nodes)
        marks[1] = now() - zero_s

    before = await stack.fingerprint()
    await asyncio.gather(load(), probe(), hurt())
    day = Day(
        *(stack, due_s, answers, took_s, notified, heard_s, list(await stack.audit(0)), probes),
        *(list(await stack.series(0, 1e9)), zero_s, cases.label, cases.golden),
        before == await stack.fingerprint(),
        *marks,
    )
    await stack.down()
    await stack.down()
    return day


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never held")


@functools.cache
def faulty_day(**settings: Any) -> Day:
    return live(SimulatedStack(**settings), fault=DropFeatures(fraction=1.0))


@pytest.fixture(scope="module")
def table() -> GoldenTable:
    return GoldenTable.load()


# --- the incident -----------------------------------------------------------------------------


def test_a_dropped_feature_is_detected_mitigated_and_recovered_from() -> None:
    day = faulty_day()
    assert 10.4 <= day.in_force_s <= 11.5
    detected_s = day.firing("FeatureMissing")[0]
    assert 0.5 < detected_s - day.in_force_s < 5
    assert [entry.what for entry in day.audit] == ["route_to_baseline", "route_to_champion"]
    acted_s, undone_s = (entry.wall_s - day.zero_s for entry in day.audit)
    assert 0 < acted_s - detected_s < 0.2
    assert 5 < undone_s - day.healed_s < 15
    models = [
        a.model for a, t in zip(day.answers, day.due_s, strict=True) if acted_s < t < undone_s
    ]
    assert set(models) == {"baseline"}
    assert day.answers[-1].model == "champion"
    assert day.same_fingerprint


def test_the_masks_say_what_was_missing_and_for_how_long() -> None:
    day = faulty_day()
    masks = np.array([a.mask for a in day.answers])
    dropped = sum(1 << FEATURES.index(n) for n in ("dep_delay", "origin_delay", "carrier_delay"))
    assert set(masks[(day.due_s > day.in_force_s) & (day.due_s < 35)]) == {dropped}
    assert set(masks[(day.due_s < 10) | (day.due_s > day.healed_s)]) == {0}


def test_without_the_runbook_it_is_detected_and_stays_broken() -> None:
    day = faulty_day(runbooks=())
    assert day.firing("FeatureMissing")
    assert day.audit == []
    assert {a.model for a in day.answers} == {"champion"}
    assert day.bad_share(day.in_force_s, 35) > 2 * faulty_day().bad_share(day.in_force_s, 35) > 0
    assert day.bad_share(day.healed_s, 60) == 0


def test_without_the_alert_nothing_says_that_a_feature_is_missing() -> None:
    day = faulty_day(alerts_off=("FeatureMissing",))
    assert day.firing("FeatureMissing") == []
    assert day.audit == []
    assert not any(s.labels.get("alertname") == "FeatureMissing" for s in day.series)


def test_a_healthy_replay_of_the_whole_table_alarms_nobody(table: GoldenTable) -> None:
    day = live(SimulatedStack(), rate=250, for_s=len(table) / 250)
    assert len(day.answers) == len(table)
    assert day.notified == [] and day.audit == []
    assert not any(s.name == "ALERTS" and not is_dead_man(s.labels) for s in day.series)
    assert {(a.outcome, a.model, a.mask, a.fallback) for a in day.answers} == {
        (0, "champion", 0, "none")
    }
    assert [a.prediction for a in day.answers] == table.golden.tolist()
    assert max(day.took_s) < 0.1


@pytest.mark.parametrize("severity", SEVERITIES, ids=lambda s: str(s["fraction"]))
def test_every_severity_hits_the_share_it_publishes(severity: dict[str, Any]) -> None:
    fault = DropFeatures(**severity)
    day = live(SimulatedStack(), for_s=32, fault=fault, at_s=6, heal_s=31)
    inside = (day.due_s > day.in_force_s) & (day.due_s < 31)
    share = float((np.array([a.mask for a in day.answers])[inside] > 0).mean())
    assert share == pytest.approx(fault.fraction, rel=0.35)
    if fault.fraction != rules_part.NULL_RATIO:  # where it is, chance decides
        assert bool(day.firing("FeatureMissing")) == (fault.fraction > rules_part.NULL_RATIO)


def test_the_truth_is_in_causal_order_and_within_the_measured_bounds() -> None:
    day = faulty_day()
    truth = day.stack.truth  # kept, although the stack is down
    order: tuple[What, ...] = (
        *("feed_spoilt", "store_lacks", "asked_lacking"),
        *("alert_firing", "routed"),
    )
    firsts = [truth.first(what) for what in order]
    assert None not in firsts and firsts == sorted(f for f in firsts if f is not None)
    assert 0 <= day.in_force_s + day.zero_s - (truth.first("store_lacks") or 0) <= 0.05
    assert truth.all("routed", "champion") == [day.audit[1].wall_s]
    whole_s = truth.first("store_whole") or 0
    assert truth.last_asked_lacking_s is not None
    assert truth.last_asked_lacking_s <= whole_s <= day.healed_s + day.zero_s


def test_probes_show_the_pin_and_the_debt_and_both_go_away() -> None:
    day = faulty_day()
    topology = day.stack.topology()
    nodes = {node for group in topology.values() for node in group}
    assert all(node in nodes for _, reading in day.probes for _, node in reading)

    def read(probe: str, node: str, at_s: float) -> float:
        return dict(day.probes)[at_s][probe, node]

    assert [read("store_lacking", "redis", t) for t in (9.0, 20.0, 50.0)] == [0, 1, 0]
    assert [read("pin", "gateway", t) for t in (9.0, 20.0, 58.0)] == [0, 1, 0]
    assert {r["replica_ready", "replica-1"] for _, r in day.probes} == {1.0}
    assert {r["backlog_s", "materializer"] for _, r in day.probes} == {0.0}


# --- the five verbs ---------------------------------------------------------------------------


async def _asked(stack: SimulatedStack, low: int, high: int) -> list[Answer]:
    answers = []
    for case in range(low, high):
        answers.append(await stack.call(case))
        await asyncio.sleep(0.005)
    return answers


@pytest.mark.parametrize("blind", [False, True])
def test_heal_works_twice_and_blind_and_on_a_healthy_stack(blind: bool) -> None:
    fault = DropFeatures(fraction=0.5)

    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site("", seed=3))
        before = await stack.fingerprint()
        undo = await fault.prepare(stack, ())
        await fault.heal(stack, (), None if blind else undo)
        assert await stack.fingerprint() == before
        assert not await fault.verify(stack, ())
        await fault.inject(stack, (), undo)
        await holds(lambda: fault.verify(stack, ()))
        assert await stack.fingerprint() != before
        assert any(a.mask for a in await _asked(stack, 0, 100))
        for _ in range(2):
            await fault.heal(stack, (), None if blind else undo)
            assert await stack.fingerprint() == before
            assert not await fault.verify(stack, ())
        await asyncio.sleep(5)
        assert not any(a.mask for a in await _asked(stack, 0, 300))  # the old rows were mended too
        await stack.down()

    run(main())


def test_an_injection_that_is_healed_before_it_took_hold_never_does() -> None:
    fault = DropFeatures(fraction=1.0)

    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        injecting = asyncio.create_task(fault.inject(stack, (), await fault.prepare(stack, ())))
        await asyncio.sleep(0.1)
        await fault.heal(stack, (), None)
        with pytest.raises(StackError, match="restored"):
            await injecting
        await asyncio.sleep(2)
        assert not await fault.verify(stack, ())
        await stack.down()

    run(main())


def test_no_row_stays_spoilt_whenever_the_heal_comes() -> None:
    fault = DropFeatures(fraction=1.0)

    async def main(heal_after_s: float) -> None:
        stack = SimulatedStack()
        await stack.up(Site("", seed=5))
        undo = await fault.prepare(stack, ())
        await fault.inject(stack, (), undo)
        await _asked(stack, 0, 50)
        await asyncio.sleep(heal_after_s)
        await fault.heal(stack, (), undo)
        await asyncio.sleep(3)
        assert {a.mask for a in await _asked(stack, 0, 400)} == {0}
        await stack.down()

    for tenth in range(12):
        run(main(0.05 * tenth))


def test_a_feature_that_the_feed_does_not_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="moon_phase"):
        live(SimulatedStack(), for_s=20, fault=DropFeatures(features=("moon_phase",)))


# --- determinism and speed --------------------------------------------------------------------


def short_day(seed: int) -> Day:
    stack, fault = SimulatedStack(), DropFeatures(fraction=0.5)
    return live(stack, seed=seed, for_s=20, fault=fault, at_s=6, heal_s=14)


DIGEST = """
import hashlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
import test_stack_simulated as t
print(hashlib.sha256(t.short_day(4).bytes()).hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", DIGEST, str(ROOT)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    ]
    assert outputs[0] == outputs[1] and len(outputs[0]) > 60


def test_another_seed_gives_other_bytes_and_other_phases() -> None:
    assert short_day(4).bytes() == short_day(4).bytes() != short_day(5).bytes()

    def phase(day: Day) -> float:
        return next(s for s in day.series if s.name == "gateway_route").wall_s[0] % 1

    assert phase(short_day(4)) != phase(short_day(5))


def test_the_luck_of_a_request_does_not_depend_on_what_came_before() -> None:
    async def took(before: int) -> float:
        stack = SimulatedStack()
        await stack.up(Site("", seed=9))
        await _asked(stack, 0, before)
        await asyncio.sleep(30.0 - now())
        await stack.call(5000)
        return now() - 30.0

    assert run(took(0)) == pytest.approx(run(took(400)), abs=1e-9)


def test_thirteen_thousand_requests_take_about_a_second() -> None:
    started_s = time.process_time()
    live(SimulatedStack(), for_s=109, fault=DropFeatures(fraction=1.0), at_s=36, heal_s=66)
    assert time.process_time() - started_s < 3  # 0.6 when nobody else is on the machine


# --- the gateway ------------------------------------------------------------------------------


def test_every_answer_is_the_golden_tables(table: GoldenTable) -> None:
    for case, answer in enumerate(faulty_day().answers):
        assert answer.model in ("champion", "baseline")
        model: Model = "champion" if answer.model == "champion" else "baseline"
        assert answer.prediction == table.answer(case, model, answer.mask)
        version = table.champion_version if model == "champion" else table.baseline_version
        assert answer.version == version and np.isnan(answer.score)


def test_an_overloaded_replica_makes_the_gateway_fall_back_to_the_rule(table: GoldenTable) -> None:
    day = live(SimulatedStack(replicas=1), rate=1000, for_s=12)
    by_rule = [(c, a) for c, a in enumerate(day.answers) if a.model == "rule"]
    assert len(by_rule) > 1000
    assert all(a.fallback == "rule" and a.node == "gateway" and a.mask == -1 for _, a in by_rule)
    assert all(a.prediction == table.answer(c, "rule") for c, a in by_rule)
    assert max(day.took_s) < 1.2  # the deadline holds however long the queue is
    assert day.firing("FallbackSurge")


def test_more_requests_than_fit_are_refused_and_counted() -> None:
    async def main() -> list[Answer]:
        stack = SimulatedStack(replicas=1)
        await stack.up(Site(""))
        tasks = [stack.call(case) for case in range(gateway_part.MAX_IN_FLIGHT + 7)]
        answers = await asyncio.gather(*tasks)
        await asyncio.sleep(2)
        counts = [
            s.value[-1] for s in await stack.series(0, 1e9) if s.labels.get("outcome") == "error"
        ]
        assert 7.0 in counts
        await stack.down()
        return list(answers)

    answers = run(main())
    assert [a.status for a in answers if a.outcome == 1] == [503] * 7


def test_a_slow_store_falls_back_to_the_baseline_and_a_slow_replica_is_left_out() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        assert stack._plant is not None
        store, (first, second) = stack._plant.store, stack._plant.pool.replicas
        store.link_delay_s = 0.3
        answer = await stack.call(0)
        assert (answer.model, answer.fallback, answer.mask) == ("baseline", "baseline", -1)
        store.link_delay_s = 0.0
        first.link_delay_s = 2.0
        answers = await _asked(stack, 1, 40)
        assert {a.node for a in answers} == {"replica-1"}  # each failed call was tried again there
        assert stack._plant.pool.balancer.outliers.ejections("replica-0", "failures") == 1
        second.link_delay_s = 2.0
        again = await asyncio.gather(stack.call(30), stack.call(300))
        assert [(a.model, a.fallback) for a in again] == [("champion", "cache"), ("rule", "rule")]
        await stack.down()

    run(main())


def test_the_route_is_not_a_fallback_and_still_reads_the_store() -> None:
    day = faulty_day()
    routed = [a for a in day.answers if a.model == "baseline"]
    assert {a.fallback for a in routed} == {"none"}
    assert {a.mask > 0 for a in routed} == {True, False}


# --- alerting ---------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_local_stack() -> None:
    from ruamel.yaml import YAML

    file = ROOT / "fixtures" / "serving" / "rules" / "alerts.yml"
    theirs = {
        rule["alert"]: (group["name"], float(rule.get("for", "0s")[:-1]), dict(rule["labels"]))
        for group in YAML(typ="safe", pure=True).load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    ours = {}
    for rule in rules_part.RULES:
        labels = rule.labels({})
        del labels["alertname"]
        ours[rule.name] = (rule.group, rule.for_s, labels)
    assert ours == theirs
    text = " ".join(file.read_text().split())
    assert f"feature_null_ratio > {rules_part.NULL_RATIO:g}" in text
    assert f"feature_freshness_seconds > {rules_part.STALE_S:g}" in text
    assert f"released_label_accuracy_reference - {rules_part.QUALITY_POINTS:g}" in text


def test_alerts_are_pending_first_and_firing_on_the_evaluation_grid() -> None:
    day = faulty_day()
    states = {
        s.labels["alertstate"]: s
        for s in day.series
        if s.name == "ALERTS" and s.labels.get("feature") == "dep_delay"
    }
    pending, firing = states["pending"], states["firing"]
    assert firing.wall_s[0] - pending.wall_s[0] == pytest.approx(1)
    assert np.diff(firing.wall_s) == pytest.approx(1)
    assert np.isnan(pending.value[-1]) and np.isnan(firing.value[-1])
    notified_s, notification = next(
        (t, n) for t, n in day.notified if n.labels.get("feature") == "dep_delay"
    )
    assert notification.starts_wall_s == firing.wall_s[0]
    assert 0 < notified_s + day.zero_s - firing.wall_s[0] < 0.1
    assert notification.labels["runbook"] == "route_to_baseline"


def test_every_alert_that_fired_is_told_resolved() -> None:
    day = faulty_day()
    told: dict[str, list[str]] = {}
    for _, n in day.notified:
        told.setdefault(n.labels.get("feature", ""), []).append(n.status)
    assert told == {
        name: ["firing", "resolved"] for name in ("dep_delay", "origin_delay", "carrier_delay")
    }


def test_the_dead_mans_alert_is_told_again_and_again_to_the_pager_alone() -> None:
    day = faulty_day()
    assert len(day.heard_s) > 10 and np.diff(day.heard_s).max() < HEARD_EVERY_S / 2
    assert faulty_day(alerts_off=("Watchdog",)).heard_s == []


def test_series_are_cut_to_the_span_that_is_asked_for() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        await asyncio.sleep(10)
        found = await stack.series(4, 8)
        assert {s.name for s in found} >= {"up", "gateway_route", "feature_null_ratio"}
        assert all(4 <= t <= 8 for s in found for t in s.wall_s)
        assert all(len(s.wall_s) == len(s.value) == 4 for s in found)
        assert await stack.clock() == (0.0, 0.0)
        await stack.down()

    run(main())


@pytest.mark.parametrize(("events", "known"), [(0, False), (40, False), (60, True)])
def test_too_few_events_is_not_a_number_and_not_zero(events: int, known: bool) -> None:
    async def main() -> list[RawSeries]:
        stack = SimulatedStack()
        await stack.up(Site(""))
        await _asked(stack, 0, events)
        await asyncio.sleep(3)
        found = list(await stack.series(0, 1e9))
        await stack.down()
        return found

    ratios = [s for s in run(main()) if s.name == "feature_null_ratio"]
    assert len(ratios) == len(FEATURES)
    assert all((s.value[-1] == 0) if known else np.isnan(s.value).all() for s in ratios)


# --- the seam ---------------------------------------------------------------------------------


def test_it_is_found_by_name_and_hosts_the_fault() -> None:
    catalog = Catalog()
    assert catalog.stack("simulated") is SimulatedStack
    assert catalog.fits("drop_features", "simulated")
    assert isinstance(SimulatedStack(), Simulated) and not isinstance(SimulatedStack(), Served)


def test_it_has_the_settings_the_roles_and_the_features_of_the_local_stack() -> None:
    theirs = {f.name: f for f in dataclasses.fields(Local)}
    for ours in dataclasses.fields(SimulatedStack):
        assert ours.default == theirs[ours.name].default
        assert ours.metadata["ge"] == theirs[ours.name].metadata["ge"]
    assert SimulatedStack().topology() == Local().topology()
    assert tuple(SimulatedStack().feed_features()) == tuple(Local().feed_features())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alerts_off": ["FeatureMising"]}, "no alert 'FeatureMising'; there is FeatureMissing"),
        ({"runbooks": ["reboot"]}, "no runbook 'reboot'; there is route_to_baseline, "),
        ({"replicas": 0}, "below its minimum"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(schemas.ParamError, match=message):
        schemas.build(SimulatedStack, setting)


def test_a_stack_that_is_not_up_says_so() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        for ask in (stack.probe, stack.fingerprint, lambda: stack.call(0)):
            with pytest.raises(StackError, match="not up"):
                await ask()
        with pytest.raises(StackError, match="never up"):
            _ = stack.truth
        await stack.down()

    run(main())


def test_a_part_that_fails_is_told_and_not_lost() -> None:
    def refuse(_: Notification) -> None:
        raise RuntimeError("the webhook is broken")

    async def main() -> list[Reading]:
        stack, fault = SimulatedStack(), DropFeatures(fraction=1.0)
        await stack.up(Site("", notify=refuse))
        await fault.inject(stack, (), await fault.prepare(stack, ()))
        for case in range(1200):
            await stack.call(case)
        return list(await stack.probe())

    with pytest.raises(StackError, match="webhook is broken"):
        run(main())


def test_it_can_be_taken_down_and_stood_up_again() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        for _ in range(2):
            await stack.up(Site(""))
            with pytest.raises(StackError, match="up already"):
                await stack.up(Site(""))
            assert (await stack.call(0)).model == "champion"
            await stack.down()

    run(main())


def test_checking_a_scenario_does_not_import_numpy() -> None:
    script = (
        "import sys; from fixtures.stacks.simulated import SimulatedStack\n"
        "SimulatedStack(alerts_off=('FeatureStale',)).topology()\n"
        "sys.exit('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_share_of_spoilt_entities_ignores_those_that_are_not_hit() -> None:
    async def main() -> None:
        stack = SimulatedStack()
        await stack.up(Site(""))
        rule = FeedRule(("dep_delay",), 0.3, "absent", "x")
        other = FeedRule(("precip",), 1.0, "null", "y")
        await stack.rewrite_feed(rule, await stack.feed_route())
        await asyncio.sleep(1.5)
        share, looked_at = await stack.spoilt_share(rule)
        assert share == 1.0 and 300 < looked_at < 600
        assert (await stack.spoilt_share(other))[0] == 0.0
        await stack.down()

    run(main())
