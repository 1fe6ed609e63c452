"""Comparing samples with the pipeline over a real connection: right, wrong, away and back."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from fixtures.models import exported
from fixtures.serving import sampling
from fixtures.serving.features import FEATURES
from fixtures.serving.samples import CAPACITY, SampleWindow
from fixtures.serving.sampling import Sampling
from fixtures.serving.windows import Served

MODELS = exported.load()
COUNT = 60


class Pipeline:
    """A feed that says what it is told to; ``asked`` are the ids of every request."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.status = 200
        self.known = COUNT

    async def rows(self, request: web.Request) -> web.Response:
        ids = request.query["ids"].split(",")
        self.asked.append(ids)
        rows = [
            {"flight_id": i, "features": row(int(i[1:]))} for i in ids if int(i[1:]) < self.known
        ]
        return web.json_response({"rows": rows}, status=self.status)


def row(case: int) -> dict[str, float]:
    return dict(zip(FEATURES, MODELS.features[case].tolist(), strict=True))


def served(case: int, at_s: float, carrier: str = "UA", **changes: Any) -> Served:
    features = tuple((row(case) | changes).values())
    return Served(
        *(at_s, f"f{case}", 0, "champion", "none", 0.5, True, True, 8, 0.1),
        *(features, carrier, "EWR"),
    )


def with_feed(main: Callable[[Pipeline, Sampling, Any], Awaitable[None]]) -> None:
    async def body() -> None:
        feed, registry = Pipeline(), CollectorRegistry()
        app = web.Application()
        app.router.add_get("/v1/features", feed.rows)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        window = SampleWindow(MODELS.profile, window_s=5.0, min_samples=50)
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/v1/features"
            watch = Sampling(MODELS.profile, window, session, url, registry)
            following = asyncio.create_task(watch.follow())
            try:
                await main(feed, watch, registry)
            finally:
                following.cancel()
                await runner.cleanup()

    asyncio.run(body())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def figure(registry: CollectorRegistry, name: str, **labels: str) -> float:
    value = registry.get_sample_value(name, labels)
    assert value is not None, name
    return value


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "COMPARE_EVERY_S", 0.05)


def test_what_was_served_is_held_against_the_pipeline_feature_by_feature() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        for case in range(COUNT):
            watch.add(served(case, 10.0, **({"visib": 99.0} if case < 15 else {})))
        await until(lambda: bool(feed.asked))
        await until(lambda: watch._window.figures(11.0).compared == COUNT)
        watch.refresh(11.0)
        assert feed.asked[0] == [f"f{case}" for case in range(COUNT)]
        assert figure(registry, "feature_skew_ratio", feature="visib") == 0.25
        assert figure(registry, "feature_skew_ratio", feature="dep_delay") == 0.0
        assert figure(registry, "feature_out_of_range_ratio", feature="visib") == 0.25
        assert figure(registry, "category_unseen_ratio", field="carrier") == 0.0
        assert figure(registry, "feature_stuck_reference", feature="dep_delay") > 0
        assert math.isnan(figure(registry, "feature_drift_psi", feature="dep_delay"))
        assert math.isnan(figure(registry, "prediction_late_ratio"))

    with_feed(main)


def test_three_days_of_samples_show_drift_and_the_scores_distribution() -> None:
    async def main(_: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        for case in range(1_350):
            watch.add(served(case, 10.0))  # each with a score of 0.5
        watch.refresh(11.0)
        assert figure(registry, "prediction_late_ratio") == 1.0
        assert 0.05 < figure(registry, "prediction_late_reference") < 0.5
        shares = [figure(registry, "prediction_score_share", decile=str(d)) for d in range(1, 11)]
        assert sorted(shares) == [0.0] * 9 + [1.0]
        usual = [
            figure(registry, "prediction_score_share_reference", decile=str(d))
            for d in range(1, 11)
        ]
        assert sum(usual) == pytest.approx(1)
        assert figure(registry, "prediction_drift_psi") > 1

    with_feed(main)


def test_a_carrier_and_an_hour_nobody_knows_are_told_apart_from_those_somebody_does() -> None:
    async def main(_: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        for case in range(COUNT):
            strange = {"carrier": "ZZ"} if case < 15 else {"sched_hour": 3.0} if case < 21 else {}
            watch.add(served(case, 10.0, **strange))
        watch.refresh(11.0)
        assert figure(registry, "category_unseen_ratio", field="carrier") == 0.25
        assert figure(registry, "category_unseen_ratio", field="origin") == 0.0
        assert figure(registry, "category_unseen_ratio", field="sched_hour") == 0.1
        assert figure(registry, "category_unseen_ratio", field="month") == 0.0

    with_feed(main)


def test_while_the_pipeline_cannot_be_asked_nothing_is_said() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        feed.status = 500
        for case in range(COUNT):
            watch.add(served(case, 10.0))
        await until(lambda: figure(registry, "monitor_compare_errors_total") > 0)
        watch.refresh(11.0)
        assert math.isnan(figure(registry, "feature_skew_ratio", feature="visib"))
        assert figure(registry, "feature_out_of_range_ratio", feature="visib") == 0.0
        feed.status = 200
        for case in range(COUNT):
            watch.add(served(case, 20.0))
        await until(lambda: watch._window.figures(21.0).compared == COUNT)
        watch.refresh(21.0)
        assert figure(registry, "feature_skew_ratio", feature="visib") == 0.0

    with_feed(main)


def test_flights_the_pipeline_does_not_know_are_not_compared() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        feed.known = 0
        for case in range(COUNT):
            watch.add(served(case, 10.0))
        await until(lambda: bool(feed.asked))
        watch.refresh(11.0)
        assert math.isnan(figure(registry, "feature_skew_ratio", feature="visib"))

    with_feed(main)


def test_an_answer_that_tells_no_features_is_no_sample() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        event = Served(10.0, "f1", 0, "champion", "none", 0.5, True, True, 8, 0.1)
        for _ in range(100):
            watch.add(event)
        watch.refresh(11.0)
        assert figure(registry, "feature_samples") == 0

    with_feed(main)


def test_a_flight_that_is_asked_about_again_is_compared_again_and_sampled_once() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        for _ in range(3):
            for case in range(COUNT):
                watch.add(served(case, 10.0))
        await until(lambda: watch._window.figures(11.0).compared == 3 * COUNT)
        watch.refresh(11.0)
        assert figure(registry, "feature_samples") == COUNT

    with_feed(main)


def test_samples_that_nobody_asks_about_do_not_pile_up() -> None:
    async def main(feed: Pipeline, watch: Sampling, registry: CollectorRegistry) -> None:
        for number in range(2 * CAPACITY):
            watch.add(replace(served(number % COUNT, 10.0), flight=f"f{number}"))
        assert len(watch._fresh) == CAPACITY

    with_feed(main)
