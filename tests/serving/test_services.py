"""The real services as real processes, on real flights: healthy, and losing parts."""

import dataclasses
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from fixtures.serving import flights, replay
from fixtures.serving.entries import decode, encode, prediction_key
from fixtures.serving.features import FEATURES
from tests.serving.rig import ROOT, TOKEN, Rig, call, eventually, metric, rig, trained, whole_stack

pytestmark = pytest.mark.stack
INFER = "/v2/models/arrival_delay/infer"
COUNT = 200


@dataclass(frozen=True)
class Stack:
    rig: Rig
    cases: replay.Cases
    bodies: list[bytes]
    store: redis.Redis

    def at(self, name: str) -> str:
        return self.rig.addresses[name]

    def ask(self, number: int) -> tuple[int, dict[str, str], Any]:
        return call("POST", self.at("gateway"), INFER, self.bodies[number])

    def events(self) -> list[Any]:
        entries: Any = self.store.xrange("events")
        return [json.loads(fields[b"e"]) for _, fields in entries]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    release = trained()
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    cases = replay.cases(release, data, count=COUNT)
    with rig(tmp_path) as running:
        whole_stack(
            running,
            release,
            int(cases.rows[0]),
            label_delay_s=0.1,
            min_labels=COUNT,
            window_s=60.0,
            quality_window_s=60.0,
        )
        host, _, port = running.addresses["redis"].rpartition(":")
        with redis.Redis(host=host, port=int(port)) as store:
            yield Stack(running, cases, replay.bodies(data, cases.rows), store)


def test_a_healthy_stack_gives_the_golden_answers_and_says_how(stack: Stack) -> None:
    start = int(stack.cases.rows[0])
    window = {start - 257: 0, start - 256: 1, start + 1_499: 1, start + 1_500: 0}
    assert {row: stack.store.exists(f"features:f{row}") for row in window} == window
    assert stack.store.get("materializer:cursor") == str(start).encode()
    right = 0
    for number in range(COUNT):
        status, headers, body = stack.ask(number)
        assert (status, body["id"], headers["x-request-id"]) == (200, f"r-{number}", f"r-{number}")
        assert headers["x-served-by"] in ("replica-0", "replica-1")
        said = [headers[f"x-{name}"] for name in ("model", "fallback", "feature-mask", "cache")]
        assert said == ["champion", "none", "0", "miss"]
        assert headers["x-model-version"] == body["model_version"]
        late, score = (output["data"][0] for output in body["outputs"])
        right += late == bool(stack.cases.golden[number])
        assert abs(score - stack.cases.score[number]) < 1e-4
    assert right == COUNT
    _one_event_a_request(stack)
    _metrics_follow(stack)


def _one_event_a_request(stack: Stack) -> None:
    eventually(lambda: len(stack.events()) >= COUNT, "every event is written")
    events = stack.events()
    assert [event["id"] for event in events] == [f"r-{number}" for number in range(COUNT)]
    assert [event["row"] for event in events] == stack.cases.rows.tolist()
    assert {event["mask"] for event in events} == {0}
    assert {event["fallback"] for event in events} == {"none"}
    assert {event["tenant"] for event in events} == {"web"}
    assert len({event["hash"] for event in events}) > COUNT // 2
    assert all(0 <= event["age_s"] < 30 for event in events)
    event = events[-1]
    key = prediction_key(0, event["flight_id"], event["version"])
    assert decode(stack.store.get(key)).late == event["late"]


def _metrics_follow(stack: Stack) -> None:
    served = {"model": "champion", "fallback": "none", "outcome": "ok"}
    assert metric(stack.at("gateway"), "gateway_requests_total", **served) > 0.9 * COUNT
    monitor = stack.at("monitor")
    eventually(lambda: metric(monitor, "monitor_events_total") == COUNT, "the monitor reads on")
    assert metric(monitor, "feature_null_ratio", feature="dep_delay") == 0.0
    assert metric(monitor, "feature_observations") == COUNT
    eventually(lambda: metric(monitor, "released_label_observations") == COUNT, "labels come out")
    right = (stack.cases.golden == stack.cases.labels).mean()
    assert metric(monitor, "released_label_accuracy_ratio") == pytest.approx(right)
    assert metric(monitor, "released_label_accuracy_reference") > 0.7


def test_a_killed_replica_fails_no_request_and_a_lost_store_falls_back(stack: Stack) -> None:
    stack.rig.kill("replica-0")
    for number in range(60):
        status, headers, _ = stack.ask(number)
        assert (status, headers["x-model"], headers["x-fallback"]) == (200, "champion", "none")
        assert headers["x-served-by"] == "replica-1"
    where = stack.at("redis")
    stack.rig.end("redis")
    for number in range(60, 90):
        status, headers, body = stack.ask(number)
        assert (status, headers["x-model"], headers["x-fallback"]) == (200, "baseline", "baseline")
        assert body["outputs"][0]["data"][0] == bool(stack.cases.baseline[number])
    stack.rig.kill("replica-1")
    status, headers, _ = stack.ask(90)
    assert (status, headers["x-fallback"], headers["x-served-by"]) == (200, "rule", "gateway")
    for name in ("gateway", "monitor", "materializer"):
        assert stack.rig.processes[name].poll() is None
    assert metric(stack.at("materializer"), "materializer_lag_seconds") >= 0
    stack.rig.redis(where)
    eventually(lambda: stack.store.exists(f"features:f{stack.cases.rows[0]}"), "rows are back")
    lost = metric(stack.at("gateway"), "gateway_events_total", outcome="dropped_write_failed")
    assert lost >= 1


def test_cached_answers_are_given_while_all_replicas_are_gone(stack: Stack) -> None:
    version = stack.ask(0)[1]["x-model-version"]
    key = prediction_key(0, f"f{stack.cases.rows[0]}", version)
    eventually(lambda: stack.store.exists(key), "the answer is cached")
    for name in ("replica-0", "replica-1"):
        stack.rig.kill(name)
    status, headers, body = stack.ask(0)
    said = [headers[f"x-{name}"] for name in ("model", "fallback", "cache", "served-by")]
    assert (status, *said) == (200, "champion", "none", "hit", "gateway")
    assert body["outputs"][0]["data"][0] == bool(stack.cases.golden[0])
    assert stack.ask(1)[1]["x-fallback"] == "rule"
    # Too old for a first answer, and still better than the rule.
    old = dataclasses.replace(decode(stack.store.get(key)), written_at_s=time.time() - 20)
    stack.store.set(key, encode(old), ex=30)
    _, headers, _ = stack.ask(0)
    assert [headers[f"x-{name}"] for name in ("fallback", "cache")] == ["cache", "miss"]


def flights_told(stack: Stack) -> set[str]:
    """The flights that the event stream tells of."""
    return {json.loads(entry[b"e"])["flight_id"] for _, entry in stack.store.xrange("events")}


def test_the_cache_does_what_operators_say_and_believes_no_entry_of_another_flight(
    stack: Stack,
) -> None:
    gateway, version = stack.at("gateway"), stack.ask(0)[1]["x-model-version"]
    key, other = (prediction_key(0, f"f{stack.cases.rows[n]}", version) for n in (0, 1))

    def operate(method: str, path: str, **body: object) -> dict[str, Any]:
        told = body | {"who": "somebody", "why": "to see"}
        assert call(method, gateway, path, told)[0] == 401
        assert call(method, gateway, path, body, token=TOKEN)[0] == 400, "it must say why"
        status, _, said = call(method, gateway, path, told, token=TOKEN)
        assert status == 200, said
        return dict(said)

    eventually(lambda: stack.store.exists(key), "the answer is cached")
    assert stack.ask(0)[1]["x-cache"] == "hit"
    stack.store.set(other, stack.store.get(key))
    assert stack.ask(1)[1]["x-cache"] == "miss"
    assert metric(gateway, "gateway_cache_reads_total", outcome="wrong_entity") == 1
    assert operate("PUT", "/admin/cache", bypassed=True)["bypassed"] is True
    assert stack.ask(0)[1]["x-cache"] == "bypass"
    assert operate("PUT", "/admin/cache", bypassed=False)["bypassed"] is False
    assert stack.ask(0)[1]["x-cache"] == "hit"
    assert operate("POST", "/admin/cache/invalidate")["epoch"] == 1
    assert stack.ask(0)[1]["x-cache"] == "miss"
    stack.store.delete(prediction_key(1, f"f{stack.cases.rows[0]}", version))
    asked = {f"f{stack.cases.rows[n]}" for n in (0, 1)}
    eventually(lambda: asked <= flights_told(stack), "the events of both are written")
    operate("POST", "/admin/cache/rewarm")
    keys = [prediction_key(1, f"f{stack.cases.rows[n]}", version) for n in (0, 1)]
    eventually(lambda: stack.store.exists(*keys) == 2, "both flights are warm")
    assert stack.ask(0)[1]["x-cache"] == stack.ask(1)[1]["x-cache"] == "hit"
    materializer = stack.at("materializer")
    status, _, said = call("POST", materializer, "/v1/backfill", {}, token=TOKEN)
    assert (status, said) == (200, {"rows": 256 + 1_500})


def test_an_alert_routes_to_the_baseline_and_back(stack: Stack) -> None:
    plane, gateway = stack.at("control_plane"), stack.at("gateway")
    labels = {"alertname": "FeatureMissing", "feature": "visib", "runbook": "route_to_baseline"}
    alert = {"labels": labels, "fingerprint": "1", "annotations": {}, "startsAt": "2013"}
    for status in ("firing", "firing"):
        body = {"version": "4", "alerts": [alert | {"status": status}]}
        call("POST", plane, "/v1/alerts", body, token=TOKEN)
    eventually(
        lambda: call("GET", plane, "/v1/state")[2]["pins"] == {"arrival_delay": "baseline"},
        "the route is set",
    )
    _, headers, _ = stack.ask(0)
    said = [headers[f"x-{name}"] for name in ("model", "fallback", "feature-mask")]
    assert said == ["baseline", "none", "0"]
    assert metric(gateway, "gateway_route", model="baseline") == 1.0
    body = {"alerts": [alert | {"status": "resolved"}]}
    call("POST", plane, "/v1/alerts", body, token=TOKEN)
    eventually(lambda: call("GET", plane, "/v1/state")[2]["pins"] == {}, "the route is undone")
    entries = call("GET", plane, "/v1/audit?after=0")[2]["entries"]
    assert [(entry["seq"], entry["who"], entry["what"]) for entry in entries] == [
        (1, "responder", "route_to_baseline"),
        (2, "responder", "route_to_champion"),
    ]
    assert entries[0]["why"] == "FeatureMissing{feature=visib} firing"
    assert {entry["target"] for entry in entries} == {"arrival_delay"}
    assert call("GET", plane, "/v1/audit?after=1")[2]["entries"] == entries[1:]
    on_disk = (stack.rig.folder / "audit.jsonl").read_text().splitlines()
    chain = {"prev", "sum"}
    written = [json.loads(line) for line in on_disk]
    assert [{k: v for k, v in line.items() if k not in chain} for line in written] == entries


def test_nulls_and_gaps_of_the_feed_reach_the_mask_and_the_gauge(stack: Stack) -> None:
    for number, row in enumerate(stack.cases.rows[:60].tolist()):
        entry = {"features": dict.fromkeys(FEATURES, 1.0) | {"visib": None}, "written_at_s": 0}
        del entry["features"]["month"]  # type: ignore[attr-defined]
        if number == 0:
            stack.rig.end("materializer")  # or it would put everything right again
        stack.store.set(f"features:f{row}", json.dumps(entry))
        assert stack.ask(number)[1]["x-feature-mask"] == str(1 << 6 | 1 << 3)
    stack.store.delete("features:f9")
    body = json.loads(stack.bodies[60])
    body["parameters"]["flight_id"] = "f9"
    status, headers, _ = call("POST", stack.at("gateway"), INFER, body)
    assert (status, headers["x-fallback"], headers["x-feature-mask"]) == (200, "none", "511")
    monitor = stack.at("monitor")
    eventually(lambda: metric(monitor, "monitor_events_total") == 61, "the monitor reads on")
    assert metric(monitor, "feature_null_ratio", feature="visib") == 1.0
    assert metric(monitor, "feature_null_ratio", feature="distance") == pytest.approx(1 / 61)
    assert metric(monitor, "feature_freshness_seconds") > 1e6
    stack.store.set("features:f8", "{torn")
    body["parameters"]["flight_id"] = "f8"
    _, headers, _ = call("POST", stack.at("gateway"), INFER, body)
    assert headers["x-fallback"] == "baseline"


def test_doors_are_kept_and_wrong_requests_answered_as_the_protocol_says(stack: Stack) -> None:
    gateway, replica = stack.at("gateway"), stack.at("replica-0")
    for where, method, path in (
        (gateway, "GET", "/admin/route"),
        (gateway, "PUT", "/admin/route"),
        (stack.at("materializer"), "POST", "/v1/backfill"),
        (stack.at("control_plane"), "POST", "/v1/actions"),
    ):
        for token in (None, "wrong", "t" * 999):
            assert call(method, where, path, {}, token=token)[0] == 401, path
    wrong = {"model": "rule", "who": "ann", "why": "drill"}
    assert call("PUT", gateway, "/admin/route", wrong, token=TOKEN)[0] == 400
    action = {"action": "route_to_baseline", "who": "ann"}
    plane = stack.at("control_plane")
    assert call("POST", plane, "/v1/actions", action, token=TOKEN)[0] == 400
    assert call("POST", plane, "/v1/actions", action | {"why": "drill"}, token=TOKEN)[0] == 200
    assert call("GET", gateway, "/admin/route", token=TOKEN)[2]["model"] == "baseline"
    action = {"action": "drain_replica", "target": "replica-1", "who": "ann", "why": "drill"}
    assert call("POST", plane, "/v1/actions", action, token=TOKEN)[0] == 200
    assert {stack.ask(number)[1]["x-served-by"] for number in range(6)} == {"replica-0"}
    assert call("POST", plane, "/v1/actions", action | {"target": "x"}, token=TOKEN)[0] == 502
    rows = {"after": int(stack.cases.rows[0]) - 1, "limit": 5}
    materializer = stack.at("materializer")
    assert call("POST", materializer, "/v1/backfill", rows, token=TOKEN)[2] == {"rows": 5}
    for where, path, body, status in (
        (gateway, INFER, b"{", 400),
        (gateway, INFER, b" " * (1 << 21), 400),
        (gateway, "/v2/models/nope/infer", b"{}", 404),
        (replica, "/v2/models/champion/infer", b"{}", 400),
        (replica, "/v2/models/nope/infer", b"{}", 404),
        (replica, "/v2/models/champion/versions/0/infer", b"{}", 404),
    ):
        got, _, answer = call("POST", where, path, body)
        assert (got, path) == (status, path)
        assert path.endswith("nope/infer") and where == gateway or "error" in answer
    _what_nobody_waits_for_is_not_scored(replica)
    assert call("GET", replica, "/v2/models")[2] == {"models": ["champion", "baseline"]}
    assert call("GET", replica, "/v2/models/champion/ready")[0] == 200
    assert call("GET", stack.at("feed"), "/v1/features?after=x")[0] == 400
    last = call("GET", stack.at("feed"), "/v1/features?after=327343&limit=9")[2]
    assert last["end"] is True and len(last["rows"]) < 9


def _what_nobody_waits_for_is_not_scored(replica: str) -> None:
    url = f"http://{replica}/v2/models/champion/infer"
    for until_s, status in ((time.time() - 5, 504), (time.time() + 60, 400)):
        request = urllib.request.Request(url, data=b"{}", headers={"x-deadline-s": str(until_s)})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == status
        caught.value.close()
    expired = {"model": "champion", "outcome": "expired"}
    assert metric(replica, "model_server_requests_total", **expired) == 1


def test_every_service_ends_cleanly_on_sigterm(stack: Stack) -> None:
    stack.ask(0)
    names = [name for name in stack.rig.processes if name != "redis"]
    assert {name: stack.rig.end(name) for name in names} == dict.fromkeys(names, 0)


def test_a_wrong_configuration_ends_a_service_with_one_line(tmp_path: Path) -> None:
    with rig(tmp_path) as running:
        running.service("gateway", "gateway", redis="x:1", replicas={}, artefacts="/nowhere")
        running.service("feed", "feed", data="/nowhere")
        running.service("monitor", "monitor", colour="red")
        for name, says, status in (("gateway", "/nowhere", 2), ("monitor", "'colour'", 2)):
            code = running.processes[name].wait(60)
            lines = running.log(name).splitlines()
            assert (code, len(lines), says in lines[0]) == (status, 1, True), lines
        assert running.processes["feed"].wait(60) == 1  # found out in the background
        assert "no flights at /nowhere" in running.log("feed").splitlines()[-1]


def test_wrong_values_in_the_store_show_in_the_skew_of_their_feature(stack: Stack) -> None:
    stack.rig.end("materializer")  # or it would put everything right again
    for number, row in enumerate(stack.cases.rows.tolist()):
        key = f"features:f{row}"
        if row % 4 == 0:
            entry = json.loads(stack.store.get(key))  # type: ignore[arg-type]
            entry["features"]["dep_delay"] = entry["features"]["dep_delay"] * 60 + 1
            stack.store.set(key, json.dumps(entry))
        assert stack.ask(number)[1]["x-feature-mask"] == "0"
    monitor = stack.at("monitor")
    eventually(lambda: len(stack.events()) == COUNT, "every event is written")
    told = [event for event in stack.events() if "features" in event]
    assert [event["row"] % 2 for event in told] == [0] * (COUNT // 2)
    assert {len(event["features"]) for event in told} == {len(FEATURES)}
    eventually(
        lambda: metric(monitor, "feature_skew_observations") == COUNT // 2,
        "every sample is compared",
    )
    assert metric(monitor, "feature_skew_ratio", feature="dep_delay") == pytest.approx(0.5, abs=0.1)
    assert metric(monitor, "feature_skew_ratio", feature="distance") == 0.0
    assert metric(monitor, "feature_out_of_range_ratio", feature="dep_delay") > 0.02
    assert metric(monitor, "category_unseen_ratio", field="origin") == 0.0


def test_the_feed_tells_the_rows_of_the_flights_that_are_named(stack: Stack) -> None:
    feed = stack.at("feed")
    status, _, body = call("GET", feed, "/v1/features?ids=f9,f327340,f999999999")
    assert status == 200 and [row["flight_id"] for row in body["rows"]] == ["f9", "f327340"]
    whole = call("GET", feed, "/v1/features?after=8&limit=1")[2]["rows"]
    assert whole == body["rows"][:1]
    assert call("GET", feed, "/v1/features?ids=")[2] == {"rows": []}
    assert call("GET", feed, "/v1/features?ids=x9")[0] == 400
    assert call("GET", feed, "/v1/features?ids=" + ",".join(["f1"] * 5_001))[0] in (400, 414)
