"""When a run has hurt enough: every kind of condition, at its edge, and what the report says."""

import asyncio
import json
import re

import pytest

from harness.catalog import Catalog
from harness.model.scenario import (
    AbortAlert,
    AbortBudget,
    AbortQuery,
    AbortSli,
    AbortUnexpected,
    Threshold,
)
from harness.run.abort_guard import AbortGuard, answered
from harness.run.promql import NoNumber, asker, number
from harness.run.tally import Second
from tests.harness.records import SLO
from tests.report_samples import SAMPLES

HALF = Threshold("below", 0.5, 5.0)
BAD, GOOD, NOTHING = 0.4, 1.0, None


def second(t, *, success=1.0, correct=1.0, p99=10.0, fallback=0.0, completed=100, judged=None):
    judged = completed if judged is None else judged
    return Second(float(t), completed, success, correct, p99, fallback, judged)


def play(condition, values, **more):
    """Seconds 1, 2, 3 ... with these success ratios: when it stops the run, and why."""
    guard = AbortGuard([condition], SLO, 10_000, **more)
    for t, value in enumerate(values, 1):
        if (reason := guard.second(second(t, success=value))) is not None:
            return t, reason
    return None


@pytest.mark.parametrize(
    ("values", "stops_at"),
    [
        ([BAD] * 5, 5),
        ([BAD] * 4, None),
        ([0.5] * 20, None),  # at the threshold is not beyond it
        ([BAD] * 4 + [GOOD] + [BAD] * 4, None),
        ([BAD] * 4 + [GOOD] + [BAD] * 5, 10),
        ([BAD] * 4 + [NOTHING] * 3 + [BAD], 8),  # no data neither counts nor clears
        ([BAD] * 4 + [NOTHING] * 14 + [GOOD], None),
        ([NOTHING] * 14 + [GOOD] + [NOTHING] * 14, None),
        ([NOTHING] * 15, 15),
        ([GOOD] * 10 + [NOTHING] * 40, 25),
        ([float("nan")] * 15, 15),
    ],
)
def test_an_indicator_stops_the_run_once_it_was_beyond_for_the_hold_time(values, stops_at):
    stopped = play(AbortSli("success_ratio", HALF), values)
    assert (stopped and stopped[0]) == stops_at


def test_the_reason_says_what_was_seen_and_what_was_allowed():
    assert play(AbortSli("success_ratio", HALF), [BAD] * 5)[1] == (
        "success_ratio was 40.00%, below 50.00% for 5s"
    )
    assert (
        "no data on success_ratio for 15s" in play(AbortSli("success_ratio", HALF), [None] * 15)[1]
    )


def test_above_is_the_other_way_round_and_latency_is_spelt_as_a_time():
    guard = AbortGuard([AbortSli("latency_p99_ms", Threshold("above", 2000, 2.0))], SLO, 1000)
    assert guard.second(second(1, p99=2000.0)) is None
    assert guard.second(second(2, p99=2000.1)) is None
    assert guard.second(second(3, p99=2500.0)) == "latency_p99_ms was 2.5s, above 2s for 2s"


def test_it_watches_only_after_the_warm_up():
    assert play(AbortSli("success_ratio", HALF), [BAD] * 10, from_s=10.0) is None
    assert play(AbortSli("success_ratio", HALF), [BAD] * 15, from_s=10.0)[0] == 15


def test_a_share_of_the_budget_of_the_whole_run_is_counted_in_bad_events():
    # 10,000 requests at 99 %: 100 bad ones are allowed, and 50 % of them is 50.
    guard = AbortGuard([AbortBudget(0.5)], SLO, 10_000)
    for t in range(1, 50):
        assert guard.second(second(t, success=0.99)) is None
    assert guard.second(second(50, success=1.0)) is None
    reason = guard.second(second(51, success=0.99))
    assert reason.startswith("availability has spent 50 bad events") and "100.0" in reason


def test_the_budget_of_correctness_counts_the_answers_that_could_be_judged():
    # 1,000 requests at 97 %: 30 bad answers are allowed. 9 of 10 fail; of the tenth, half is wrong.
    guard = AbortGuard([AbortBudget(1.0)], SLO.__class__(
        SLO.name, SLO.service, SLO.objectives[1:], SLO.tiers, 1.0), 1000)  # fmt: skip
    for t in range(1, 6):
        assert guard.second(second(t, success=0.1, correct=0.5, judged=10)) is None
    assert guard.second(second(6, success=0.1, correct=0.5, judged=10)).startswith(
        "correctness has spent 30 bad events"
    )


def test_the_warm_up_spends_too_but_does_not_stop_the_run():
    guard = AbortGuard([AbortBudget(0.5)], SLO, 10_000, from_s=2.0)
    assert guard.second(second(1, success=0.0)) is None
    assert guard.second(second(2)) is None
    assert "100 bad events" in guard.second(second(3))


def test_a_budget_is_not_spent_by_a_run_without_bad_events():
    guard = AbortGuard([AbortBudget(0.001)], SLO, 0)
    assert guard.second(second(1)) is None
    assert "spent 1 bad" in guard.second(second(2, success=0.99))


@pytest.mark.parametrize(
    ("condition", "firing", "stops"),
    [
        (AbortAlert({"alertname": "A"}), [{"alertname": "A", "node": "x"}], True),
        (AbortAlert({"alertname": "A", "node": "y"}), [{"alertname": "A", "node": "x"}], False),
        (AbortAlert({"alertname": "A"}), [{"alertname": "B"}], False),
        (AbortAlert({"alertname": "A"}), [], False),
        (AbortUnexpected(("A",)), [{"alertname": "A"}], False),
        (AbortUnexpected(("A",)), [{"alertname": "A"}, {"alertname": "B"}], True),
        (AbortUnexpected(), [{"node": "x"}], True),
        (AbortUnexpected(), [], False),
    ],
)
def test_an_alert_stops_the_run_as_soon_as_it_fires(condition, firing, stops):
    reason = AbortGuard([condition], SLO, 100).second(second(1), firing)
    assert (reason is not None) is stops


def test_a_query_is_held_to_its_threshold_and_silence_is_not_good_news():
    query = AbortQuery("up", Threshold("below", 1, 2.0))
    guard = AbortGuard([query, query], SLO, 100)
    assert guard.queries == ("up",)
    assert guard.second(second(1), (), {"up": 1.0}) is None
    assert guard.second(second(2), (), {"up": 0}) is None
    assert guard.second(second(3), (), {"up": 0}) == "the query 'up' was 0, below 1 for 2s"
    silent = AbortGuard([query], SLO, 100)
    for t in range(1, 6):
        assert silent.second(second(t), (), {"up": "it is down"} if t % 2 else {}) is None
    assert "no data on the query 'up' for 6s (it is down)" in silent.second(
        second(6), (), {"up": "it is down"}
    )


def test_each_condition_holds_on_its_own_and_the_first_one_speaks():
    low = AbortSli("success_ratio", Threshold("below", 0.9, 3.0))
    guard = AbortGuard([AbortSli("success_ratio", HALF), low], SLO, 10_000)
    seen = [guard.second(second(t, success=0.6)) for t in range(1, 4)]
    assert seen[:2] == [None, None] and "below 90.00% for 3s" in seen[2]


def test_the_same_seconds_give_the_same_answer():
    values = [GOOD, BAD, NOTHING, BAD, BAD, GOOD, *[BAD] * 9]
    one, two = (play(AbortSli("success_ratio", HALF), values) for _ in range(2))
    assert one == two is not None


def test_no_condition_never_stops_a_run():
    guard = AbortGuard((), SLO, 0)
    assert all(guard.second(second(t, success=None), [{"a": "b"}]) is None for t in range(99))


def test_asking_turns_every_failure_into_words():
    async def ask(query):
        if query == "hangs":
            await asyncio.sleep(60)
        if query == "fails":
            raise NoNumber("the answer is a matrix")
        return None if query == "empty" else 4.0

    found = asyncio.run(answered(("fine", "fails", "hangs", "empty"), ask))
    assert found == {
        "fine": 4.0, "fails": "the answer is a matrix", "hangs": "no answer in 0.9s", "empty": None,
    }  # fmt: skip
    assert asyncio.run(answered((), ask)) == {}
    assert "no Prometheus" in asyncio.run(answered(("x",), None))["x"]


def success(kind, result):
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (success("vector", [{"metric": {}, "value": [1.5, "0.25"]}]), 0.25),
        (success("vector", []), None),
        (success("scalar", [1.5, "3"]), 3.0),
    ],
)
def test_one_number_is_read(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (success("vector", [{"value": [1, "1"]}, {"value": [1, "2"]}]), "2 series"),
        (success("matrix", []), "is a matrix"),
        (json.dumps({"status": "error", "error": "parse error at char 3"}), "parse error"),
        ("<html>", "not one of Prometheus"),
        ("[]", "not one of Prometheus"),
        (success("vector", [{"value": "x"}]), "not one of Prometheus"),
    ],
)
def test_what_is_not_one_number_is_refused_in_words(text, words):
    with pytest.raises(NoNumber, match=re.escape(words)):
        number(text)


def test_a_query_reaches_prometheus_as_a_form_field_whatever_is_in_it():
    from aiohttp import web

    seen = []

    async def answer(request):
        form = await request.post()
        seen.append((request.method, request.path, request.query_string, form["query"]))
        return web.Response(text=success("vector", [{"metric": {}, "value": [1, "7"]}]))

    class Stack:
        def __init__(self, address):
            self.address = address

        def addresses(self):
            return {"prometheus": self.address}

        def endpoint(self): ...
        def state(self): ...
        @classmethod
        def attach(cls, state): ...

    async def play():
        app = web.Application()
        app.router.add_post("/api/v1/query", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            return await asker(Stack(f"127.0.0.1:{port}"))('x{a="&query=1\n"}')
        finally:
            await runner.cleanup()

    assert asyncio.run(play()) == 7.0
    assert seen == [("POST", "/api/v1/query", "", 'x{a="&query=1\n"}')]
    assert asker(object()) is None
    assert asker(Stack("")) is None


@pytest.mark.parametrize("name", ["html", "markdown", "text"])
def test_an_abort_is_a_section_of_the_report(name):
    said = Catalog().report(name)(SAMPLES["aborted"]())
    assert "Stopped before its end" in said
    flat = " ".join(re.sub("<[^>]+>", " ", said).replace("\u00a0", " ").replace("\\", "").split())
    assert "aborted by the guard: success_ratio was 41.00%, below 50.00% for 3s" in flat
    assert "drop_features-1 was in force and was healed 0.1 s after" in flat
    assert "Stopped before its end" not in Catalog().report(name)(SAMPLES["passed"]())
