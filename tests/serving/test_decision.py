import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fixtures.serving.decision import MASK_UNKNOWN, Answer, Ask, Decider, hash_of
from fixtures.serving.features import ALL_MISSING, FEATURES, request_vector
from fixtures.serving.flights import Carried
from fixtures.serving.replicas import Pool, ReplicaFailure, Scored
from fixtures.serving.store import Cached, Entry, OnlineStore, StoreUnavailable
from fixtures.serving.switches import Switches

MEANS = [float(number) for number in range(9)]
FRESH: Mapping[str, object] = dict.fromkeys(FEATURES, 100.0)
LATE, EARLY = (Carried(delay, 500.0, 8, 11, "UA", "EWR") for delay in (16.0, 15.0))


@dataclass
class FakeStore:
    """Stands in for ``OnlineStore``."""

    entry: Entry | None = None
    cache: Cached | None = None
    cache_reads: list[tuple[str, str]] = field(default_factory=list)
    hangs: bool = False

    async def read(self, flight: str) -> Entry:
        if self.hangs:
            await asyncio.sleep(60)
        if self.entry is None:
            raise StoreUnavailable("timeout")
        return self.entry

    async def cached(self, flight: str, version: str) -> Cached | None:
        self.cache_reads.append((flight, version))
        return self.cache


@dataclass
class FakePool:
    """Stands in for ``Pool``: answers for the models it has, else fails with ``reason``."""

    scores: Mapping[str, float]
    reason: str = "unreachable"
    vectors: list[Sequence[float]] = field(default_factory=list)

    async def infer(
        self, model: str, vector: Sequence[float], identity: str, *, deadline_s: float
    ) -> Scored:
        self.vectors.append(vector)
        if model not in self.scores:
            raise ReplicaFailure(self.reason)
        return Scored("replica-0", f"{model}-v2", self.scores[model] >= 0.5, self.scores[model])


BOTH = {"champion": 0.25, "baseline": 0.75}


def decide(
    store: FakeStore,
    pool: FakePool,
    *,
    route: Any = "champion",
    carried: Carried = LATE,
    **set_: Any,
) -> Answer:
    decider = Decider(
        *(cast(OnlineStore, store), cast(Pool, pool), Switches(route, 0.0, **set_), MEANS, "v1"),
        shadow_read_s=0.05,
    )
    ask = Ask("r-1", "f7", 7, "web", carried)
    return asyncio.run(decider.decide(ask, 1e9))


def test_the_champion_answers_from_the_store() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), pool)
    assert (answer.model, answer.version, answer.node) == ("champion", "champion-v2", "replica-0")
    assert (answer.fallback, answer.mask, answer.age_s) == ("none", 0, 0.5)
    assert (answer.late, answer.score, answer.hash) == (False, 0.25, hash_of([100.0] * 9))
    assert pool.vectors == [[100.0] * 9]


def test_what_is_null_or_absent_is_imputed_without_a_word() -> None:
    features = {k: v for k, v in FRESH.items() if k != "distance"} | {"dep_delay": None}
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(features, 0.5)), pool)
    assert (answer.fallback, answer.mask) == ("none", 0b11)
    assert pool.vectors == [[0.0, 1.0] + [100.0] * 7]


def test_a_flight_the_store_does_not_know_is_imputed_altogether() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry({}, None)), pool)
    assert (answer.fallback, answer.mask, answer.age_s) == ("none", ALL_MISSING, None)
    assert pool.vectors == [MEANS]


def test_a_failed_read_falls_back_to_the_cache_first() -> None:
    store = FakeStore(None, Cached(True, 0.9, "v1"))
    answer = decide(store, FakePool(BOTH))
    assert (answer.model, answer.version, answer.node) == ("champion", "v1", "gateway")
    assert (answer.fallback, answer.late, answer.mask) == ("cache", True, MASK_UNKNOWN)
    assert store.cache_reads == [("f7", "v1")]


def test_a_failed_read_falls_back_to_the_baseline_on_what_the_request_carries() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(None), pool)
    assert (answer.model, answer.fallback, answer.late) == ("baseline", "baseline", True)
    assert pool.vectors == [request_vector(LATE)]


@pytest.mark.parametrize(("carried", "late"), [(LATE, True), (EARLY, False)])
def test_when_nothing_answers_the_rule_does(carried: Carried, late: bool) -> None:
    answer = decide(FakeStore(None), FakePool({}), carried=carried)
    assert (answer.model, answer.fallback, answer.node) == ("rule", "rule", "gateway")
    assert (answer.late, answer.score) == (late, float(late))


def test_replicas_that_do_not_answer_are_not_asked_for_the_baseline_too() -> None:
    pool = FakePool({"baseline": 0.75}, reason="timeout")
    assert decide(FakeStore(Entry(FRESH, 0.5)), pool).fallback == "rule"
    assert len(pool.vectors) == 1


def test_replicas_that_answer_with_an_error_are_asked_for_the_baseline() -> None:
    pool = FakePool({"baseline": 0.75}, reason="status")
    assert decide(FakeStore(Entry(FRESH, 0.5)), pool).fallback == "baseline"


def test_a_route_to_the_baseline_is_no_fallback_and_still_shows_the_mask() -> None:
    features = dict(FRESH) | {"dep_delay": None}
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(features, 0.5)), pool, route="baseline")
    assert (answer.model, answer.fallback, answer.mask) == ("baseline", "none", 0b1)
    assert pool.vectors == [request_vector(LATE)]


def test_a_route_to_the_baseline_does_not_wait_for_a_store_that_hangs() -> None:
    answer = decide(FakeStore(hangs=True), FakePool(BOTH), route="baseline")
    assert (answer.model, answer.fallback, answer.mask) == ("baseline", "none", MASK_UNKNOWN)


def test_a_route_to_the_baseline_never_falls_back_to_the_champions_cache() -> None:
    store = FakeStore(Entry(FRESH, 0.5), Cached(False, 0.1, "v1"))
    answer = decide(store, FakePool({}), route="baseline")
    assert (answer.model, answer.fallback, answer.mask) == ("rule", "rule", 0)
    assert store.cache_reads == []


def test_a_disabled_feature_is_filled_in_and_the_mask_still_tells_what_the_store_holds() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), pool, disabled=1 << 4 | 1)
    assert pool.vectors == [[0.0, 100.0, 100.0, 100.0, 4.0, 100.0, 100.0, 100.0, 100.0]]
    assert (answer.model, answer.mask, answer.read) == ("champion", 0, FRESH)
    answer = decide(FakeStore(Entry(FRESH | {"month": None}, 0.5)), pool, disabled=1)
    assert answer.mask == 1 << 3


def test_with_the_models_cut_off_the_rule_answers_and_none_is_asked() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), pool, breaker_open=True)
    assert (answer.model, answer.fallback, answer.node) == ("rule", "none", "gateway")
    assert (answer.late, answer.mask, pool.vectors) == (True, 0, [])
    answer = decide(FakeStore(hangs=True), pool, breaker_open=True, carried=EARLY)
    assert (answer.model, answer.late, answer.mask) == ("rule", False, MASK_UNKNOWN)
