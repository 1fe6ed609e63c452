"""An old model on the simulated stack: what is served, what sees it, and what lets go of it."""

import asyncio
import functools
from typing import Any

import pytest

from faults.serve_stale_model import ServeStaleModel
from faults.skew_features import SkewFeatures
from fixtures.models import exported
from fixtures.serving import forward
from fixtures.serving.features import THRESHOLD
from fixtures.stacks.simulated import SimulatedStack
from harness import Site, StackError
from tests.test_stack_simulated import Day, live, run

NODES = ("registry",)


@functools.cache
def stale_day(mode: str = "promote_old", back: int = 5, **settings: Any) -> Day:
    fault = ServeStaleModel(mode=mode, back=back)  # type: ignore[arg-type]
    return live(SimulatedStack(**settings), fault=fault, nodes=NODES)


def metric(day: Day, name: str, **labels: str) -> list[tuple[float, float]]:
    return [
        (t - day.zero_s, v)
        for s in day.series
        if s.name == name and labels.items() <= s.labels.items()
        for t, v in zip(s.wall_s, s.value, strict=True)
    ]


def test_an_old_champion_is_detected_pinned_away_and_let_go_of() -> None:
    day = stale_day()
    assert 10.0 <= day.in_force_s <= 11.0
    (detected_s,) = day.firing("ModelStale")
    assert 5 <= detected_s - day.in_force_s < 8
    assert [entry.what for entry in day.audit] == ["pin_model", "unpin_model"]
    pinned_s, unpinned_s = (entry.wall_s - day.zero_s for entry in day.audit)
    served = {
        a.version
        for a, t in zip(day.answers, day.due_s, strict=True)
        if pinned_s + 1 < t < day.healed_s
    }
    assert served == {exported.load().versions["champion"]}
    # the pin outlasts the fault, and not the other way round: the wrong name is seen until it goes
    assert 5 < unpinned_s - day.healed_s < 10
    assert day.same_fingerprint and day.answers[-1].model == "champion"
    assert day.bad_share(unpinned_s, 60) == 0


def test_an_old_champion_answers_by_its_own_weights() -> None:
    day = stale_day(runbooks=())
    exports = exported.load()
    version, weights = exports.older[4]
    said = forward.score(weights, exports.features) >= THRESHOLD
    asked = [(c, a) for c, a in enumerate(day.answers) if a.version == version]
    assert len(asked) > 1_000
    assert all(bool(a.prediction) is bool(said[c]) for c, a in asked)
    assert {a.mask for _, a in asked} == {0} and {a.outcome for _, a in asked} == {0}


def test_without_the_runbook_it_hurts_until_the_heal_and_without_the_alert_nobody_knows() -> None:
    left, unseen = stale_day(runbooks=()), stale_day(alerts_off=("ModelStale",))
    for day in (left, unseen):
        assert day.audit == []
        served = [
            a.version
            for a, t in zip(day.answers, day.due_s, strict=True)
            if day.in_force_s + 1 < t < 34.9  # it is healed from 35 s on
        ]
        assert set(served) == {exported.load().older[4][0]}
    assert left.firing("ModelStale") and not unseen.firing("ModelStale")


def test_last_months_champion_is_as_stale_and_hurts_nobody() -> None:
    recent, first = stale_day(back=1, runbooks=()), stale_day(runbooks=())
    assert recent.firing("ModelStale") == first.firing("ModelStale")
    shares = [day.bad_share(day.in_force_s + 1, day.healed_s) for day in (recent, first)]
    assert shares[0] < 0.03 < shares[1]


def test_a_refresh_that_stops_is_seen_when_its_budget_is_used_up() -> None:
    day = stale_day("stop_refresh")
    (detected_s,) = day.firing("ModelStale")
    assert 8 + 5 < detected_s - day.in_force_s < 10 + 5 + 3
    ages = [age_s for t, age_s in metric(day, "model_age_seconds", node="registry") if t < 10]
    assert ages and max(ages) <= 2.01
    assert day.bad_share(0, 60) == 0
    assert day.same_fingerprint


def test_an_old_champion_reads_what_is_in_the_store_wrong_or_missing() -> None:
    async def both() -> tuple[list[bool], list[bool]]:
        stack = SimulatedStack(runbooks=())
        await stack.up(Site(folder="none", seed=3))
        skew, stale = SkewFeatures(fraction=1.0), ServeStaleModel()
        for fault, nodes in ((skew, ("feed",)), (stale, NODES)):
            undo = await fault.prepare(stack, nodes)  # type: ignore[arg-type]
            await fault.inject(stack, nodes, undo)  # type: ignore[arg-type]
        await asyncio.sleep(2)
        answers = [await stack.call(case) for case in range(300)]
        values = stack._up.answers.values
        rows = values.skewed(1).values[:300].astype("float32")
        said = forward.score(exported.load().older[4][1], rows) >= THRESHOLD
        await stack.down()
        return [bool(a.prediction) for a in answers], said.tolist()

    found, said = run(both())
    assert found == said


def test_a_promotion_that_was_mended_meanwhile_is_not_made() -> None:
    async def late() -> None:
        stack = SimulatedStack()
        await stack.up(Site(folder="none", seed=3))
        fault = ServeStaleModel()
        undo = await fault.prepare(stack, NODES)
        await fault.heal(stack, NODES, None)
        whole = await stack.fingerprint()
        with pytest.raises(StackError, match="mended"):
            await fault.inject(stack, NODES, undo)
        assert await stack.fingerprint() == whole
        with pytest.raises(ValueError, match="kept by registry"):
            await fault.prepare(stack, ("replica-0",))
        await stack.down()

    run(late())
