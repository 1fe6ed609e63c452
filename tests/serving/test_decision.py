import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fixtures.serving.cache import CacheRules, PredictionCache
from fixtures.serving.decision import MASK_UNKNOWN, Answer, Ask, Decider, hash_of
from fixtures.serving.entries import Cached
from fixtures.serving.features import ALL_MISSING, FEATURES, request_vector
from fixtures.serving.flights import Carried
from fixtures.serving.replicas import Pool, ReplicaFailure, Scored
from fixtures.serving.store import Entry, OnlineStore, StoreUnavailable
from fixtures.serving.switches import Switches

MEANS = [float(number) for number in range(9)]
FRESH: Mapping[str, object] = dict.fromkeys(FEATURES, 100.0)
LATE, EARLY = (Carried(delay, 500.0, 8, 11, "UA", "EWR") for delay in (16.0, 15.0))


@dataclass
class FakeStore:
    """Stands in for ``OnlineStore``."""

    entry: Entry | None = None
    hangs: bool = False

    async def read(self, flight: str) -> Entry:
        if self.hangs:
            await asyncio.sleep(60)
        if self.entry is None:
            raise StoreUnavailable("timeout")
        return self.entry


@dataclass
class FakeCache:
    """Stands in for ``PredictionCache``: what it holds is fresh, or only good for want of better.

    Reads are (whether a fresh answer was wanted, flight, version).
    """

    fresh: Cached | None = None
    older: Cached | None = None
    bypassed: bool = False
    rules: CacheRules = CacheRules(first=True, checksums=True, max_age_s=15.0, keep_s=30)
    reads: list[tuple[bool, str, str]] = field(default_factory=list)

    async def first(self, flight: str, version: str) -> Cached | None:
        self.reads.append((True, flight, version))
        return self.fresh

    async def instead(self, flight: str, version: str) -> Cached | None:
        self.reads.append((False, flight, version))
        return self.older


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
        await asyncio.sleep(0)  # a call takes time: others come meanwhile
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
    cache: FakeCache | None = None,
    **set_: Any,
) -> Answer:
    ask = Ask("r-1", "f7", 7, "web", carried)
    return asyncio.run(decider(store, pool, route=route, cache=cache, **set_).decide(ask, 1e9))


def decider(
    store: FakeStore,
    pool: FakePool,
    *,
    route: Any = "champion",
    cache: FakeCache | None = None,
    coalesce: bool = True,
    **set_: Any,
) -> Decider:
    return Decider(
        *(cast(OnlineStore, store), cast(Pool, pool), Switches(route, 0.0, **set_), MEANS, "v1"),
        shadow_read_s=0.05,
        cache=cast(PredictionCache, cache or FakeCache()),
        coalesce=coalesce,
    )


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
    cache = FakeCache(older=Cached("f7", "v1", True, 0.9, 0.0))
    answer = decide(FakeStore(None), FakePool(BOTH), cache=cache)
    assert (answer.model, answer.version, answer.node) == ("champion", "v1", "gateway")
    assert (answer.fallback, answer.late, answer.mask) == ("cache", True, MASK_UNKNOWN)
    assert cache.reads == [(True, "f7", "v1"), (False, "f7", "v1")]
    assert not answer.worth_keeping


def test_a_fresh_cached_answer_needs_neither_store_nor_models_and_is_no_fallback() -> None:
    cache = FakeCache(fresh=Cached("f7", "v1", True, 0.9, 0.0))
    pool = FakePool({})
    answer = decide(FakeStore(None), pool, cache=cache)
    assert (answer.model, answer.version, answer.node) == ("champion", "v1", "gateway")
    assert (answer.cache, answer.fallback, answer.late, answer.score) == ("hit", "none", True, 0.9)
    assert pool.vectors == []
    assert not answer.worth_keeping, "or it would never grow old"


def test_of_callers_who_ask_the_same_at_the_same_time_one_computes_for_all() -> None:
    calls = {True: 1, False: 5}
    for coalesce, computed in calls.items():
        pool = FakePool(BOTH)
        gateway = decider(FakeStore(Entry(FRESH, 0.5)), pool, coalesce=coalesce)

        async def all_at_once(gateway: Decider = gateway) -> list[Answer]:
            asks = [Ask(f"r-{n}", "f7", 7, "web", LATE) for n in range(5)]
            return await asyncio.gather(*(gateway.decide(ask, 1e9) for ask in asks))

        answers = asyncio.run(all_at_once())
        assert {(a.model, a.late, a.score) for a in answers} == {("champion", False, 0.25)}
        assert len(pool.vectors) == computed
        assert [a.worth_keeping for a in answers] == [n < computed for n in range(5)]


def test_callers_who_say_something_else_about_a_flight_are_not_told_the_same() -> None:
    """Where the models fail, the rule goes by what the caller says."""
    gateway = decider(FakeStore(None), FakePool({}))

    async def at_once() -> list[Answer]:
        asks = [Ask("r-1", "f7", 7, "web", LATE), Ask("r-2", "f7", 7, "web", EARLY)]
        return await asyncio.gather(*(gateway.decide(ask, 1e9) for ask in asks))

    assert [answer.late for answer in asyncio.run(at_once())] == [True, False]


def test_an_answer_from_features_with_gaps_is_not_kept() -> None:
    whole = decide(FakeStore(Entry(FRESH, 0.5)), FakePool(BOTH))
    gap = decide(FakeStore(Entry(dict(FRESH) | {"dep_delay": None}, 0.5)), FakePool(BOTH))
    assert whole.worth_keeping and not gap.worth_keeping
    assert whole.cache == gap.cache == "miss"


def test_an_opinion_is_given_only_on_whole_features_and_by_the_champion() -> None:
    whole, gap = FakeStore(Entry(FRESH, 0.5)), FakeStore(Entry({"dep_delay": 1.0}, 0.5))
    given = asyncio.run(decider(whole, FakePool(BOTH)).opinion("f7"))
    assert given is not None and (given.late, given.score) == (False, 0.25)
    assert asyncio.run(decider(gap, FakePool(BOTH)).opinion("f7")) is None
    assert asyncio.run(decider(whole, FakePool({})).opinion("f7")) is None
    assert asyncio.run(decider(FakeStore(None), FakePool(BOTH)).opinion("f7")) is None


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
    found = Cached("f7", "v1", False, 0.1, 0.0)
    cache = FakeCache(found, found)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), FakePool({}), route="baseline", cache=cache)
    assert (answer.model, answer.fallback, answer.mask) == ("rule", "rule", 0)
    assert cache.reads == []


def test_a_disabled_feature_is_filled_in_and_the_mask_still_tells_what_the_store_holds() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), pool, disabled=1 << 4 | 1)
    assert pool.vectors == [[0.0, 100.0, 100.0, 100.0, 4.0, 100.0, 100.0, 100.0, 100.0]]
    assert (answer.model, answer.mask, answer.read) == ("champion", 0, FRESH)
    answer = decide(FakeStore(Entry(FRESH | {"month": None}, 0.5)), pool, disabled=1)
    assert answer.mask == 1 << 3


def test_while_a_feature_is_disabled_nothing_comes_from_the_cache_or_goes_there() -> None:
    cache = FakeCache(fresh=Cached("f7", "v1", True, 0.9, 0.0))
    answer = decide(FakeStore(Entry(FRESH, 0.5)), FakePool(BOTH), cache=cache, disabled=1)
    assert (answer.cache, answer.node, answer.mask) == ("apart", "replica-0", 0)
    assert not answer.worth_keeping
    gateway = decider(FakeStore(Entry(FRESH, 0.5)), FakePool(BOTH), disabled=1)
    assert asyncio.run(gateway.opinion("f7")) is None


def test_with_the_models_cut_off_the_rule_answers_and_none_is_asked() -> None:
    pool = FakePool(BOTH)
    answer = decide(FakeStore(Entry(FRESH, 0.5)), pool, breaker_open=True)
    assert (answer.model, answer.fallback, answer.node) == ("rule", "none", "gateway")
    assert (answer.late, answer.mask, pool.vectors) == (True, 0, [])
    answer = decide(FakeStore(hangs=True), pool, breaker_open=True, carried=EARLY)
    assert (answer.model, answer.late, answer.mask) == ("rule", False, MASK_UNKNOWN)
