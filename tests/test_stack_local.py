"""The local stack: its files, and the whole of it as real processes (marked `stack`)."""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from faults.drop_features import DropFeatures
from fixtures.stacks import _binaries, _ports, _settings, _standing
from fixtures.stacks._interposer import Interposer, spoil
from fixtures.stacks._offline import true_rows
from fixtures.stacks._processes import marked
from fixtures.stacks._settings import Layout, Link
from fixtures.stacks._store import newest_row, store_of, stored
from fixtures.stacks.local import FEATURES, Local
from harness import FeedRewritable, FeedRule, Segment, Site, StackError, prevails
from harness.catalog import Catalog
from harness.protocols import Served

ROOT = Path(__file__).parent.parent
DEADLINE_S = 45.0
RATE = 100
NULL_ALL = FeedRule(("dep_delay", "origin_delay", "carrier_delay"), 1.0, "null", "1")


def layout_of(folder, replicas=2):
    services = (*_settings.services(replicas), *_settings.SERVERS)
    at = {name: f"127.0.0.1:{1000 + number}" for number, name in enumerate(services)}
    upstreams = _settings.link_upstreams(replicas)
    links = {
        name: Link(f"127.0.0.1:{2000 + number}", at[upstream])
        for number, (name, upstream) in enumerate(upstreams.items())
    }
    return Layout(str(folder), "mark", "token", "/models", 100, 200, at, links)


# --- what it says of itself -------------------------------------------------------------------


def test_it_is_a_served_stack_whose_feed_can_be_rewritten():
    assert issubclass(Local, Served) and issubclass(Local, FeedRewritable)
    assert Catalog().fits("drop_features", "local")


def test_what_it_repeats_of_the_serving_stack_is_what_the_serving_stack_says():
    features = importlib.import_module("fixtures.serving.features")
    replay = importlib.import_module("fixtures.serving.replay")
    gateway = importlib.import_module("fixtures.serving.v2")
    assert features.FEATURES == FEATURES
    assert Local().replay_from == replay.DEFAULT_REPLAY_START
    assert gateway.MODEL in importlib.import_module("fixtures.stacks.local").PATH


def test_importing_it_brings_in_nothing_heavy():
    code = (
        "import sys, fixtures.stacks.local, harness\n"
        "harness.FeedRule, harness.stack, harness.param\n"
        "heavy = {'asyncio', 'aiohttp', 'redis', 'numpy', 'torch', 'subprocess', 'requests'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"runbooks": ("reboot",)}, "there is no runbook 'reboot'; there is route_to_baseline, "),
        ({"alerts_off": ("Nope",)}, "there is no alert 'Nope'; there are FeatureMissing, "),
    ],
)
def test_a_setting_that_means_nothing_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Local(**wrong)


def test_a_stack_that_is_not_up_says_so():
    for use in (Local().endpoint, Local().addresses, Local().state):
        with pytest.raises(StackError, match="the stack is not up"):
            use()
    asyncio.run(Local().down())


# --- its files --------------------------------------------------------------------------------


def test_prometheus_scrapes_each_service_of_ours_under_its_node_name(tmp_path):
    config = json.loads(_settings.prometheus_config(layout_of(tmp_path, 3), Local(replicas=3)))
    targets = {
        (group["labels"]["node"], group["labels"]["instance"], group["targets"][0])
        for job in config["scrape_configs"]
        for group in job["static_configs"]
    }
    services = _settings.services(3)
    at = layout_of(tmp_path, 3).servers
    assert targets == {(name, name, at[name]) for name in services}
    assert config["global"]["scrape_interval"] == "1000ms"
    assert config["global"]["evaluation_interval"] == "1000ms"


def test_alerts_go_to_the_responder_and_to_the_webhook_that_is_given(tmp_path):
    layout = layout_of(tmp_path)

    def receivers(webhook):
        config = json.loads(_settings.alertmanager_config(layout, webhook))
        nobody, *others = config["receivers"]
        urls = {r["name"]: r["webhook_configs"][0]["url"] for r in others}
        heartbeat, *routes = config["route"]["routes"]
        assert heartbeat == {
            "receiver": "harness" if webhook else "nobody",
            "matchers": ['severity="none"'],
            "repeat_interval": "2s",
        }
        assert nobody == {"name": "nobody"}
        assert all(route["continue"] for route in routes)
        assert {route["receiver"] for route in routes} == set(urls)
        return urls

    responder = f"http://{layout.servers['control_plane']}/v1/alerts"
    assert receivers("") == {"responder": responder}
    assert receivers("http://h/") == {"responder": responder, "harness": "http://h/"}


def test_an_alert_that_is_off_is_not_in_the_rule_file_and_all_others_are():
    names = _settings.alert_names()
    assert "FeatureMissing" in names and len(names) >= 7
    left = [
        rule["alert"]
        for group in json.loads(_settings.rules(["FeatureMissing"]))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert left == [name for name in names if name != "FeatureMissing"]
    assert _settings.rules([]) == _settings.RULES.read_text("utf-8")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("off", [[], ["FeatureMissing"]])
def test_prometheus_accepts_the_files(tmp_path, off):
    layout = layout_of(tmp_path)
    (tmp_path / "rules.yml").write_text(_settings.rules(off))
    (tmp_path / "prometheus.yml").write_text(_settings.prometheus_config(layout, Local()))
    for what in (["rules", "rules.yml"], ["config", "prometheus.yml"]):
        argv = ["promtool", "check", *what]
        said = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr


def test_every_service_accepts_its_configuration(tmp_path):
    config = importlib.import_module("fixtures.serving.config")
    kinds = {
        "gateway": "GatewayConfig",
        "model_server": "ModelServerConfig",
        "feed": "FeedConfig",
        "materializer": "MaterializerConfig",
        "monitor": "MonitorConfig",
        "control_plane": "ControlPlaneConfig",
        "exporter": "ExporterConfig",
        "registry": "RegistryConfig",
        "refresher": "RefresherConfig",
    }
    configs = _settings.service_configs(layout_of(tmp_path), Local(), tmp_path / "flights.npz")
    for name, module in _settings.services(2).items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**configs[name], "fd": 7}))
        kind = getattr(importlib.import_module(module), kinds[module.rpartition(".")[2]])
        assert config.read_config(str(path), kind).name == name


def test_every_connection_of_a_service_leads_through_a_link(tmp_path):
    layout = layout_of(tmp_path)
    configs = _settings.service_configs(layout, Local(), tmp_path)
    own = set(layout.servers.values())
    for name in ("gateway", "materializer", "monitor", "refresher"):
        told = json.dumps(configs[name])
        assert not [address for address in own if f'"{address}"' in told], name


def test_a_layout_survives_the_way_to_another_process(tmp_path):
    layout = layout_of(tmp_path)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_a_missing_program_is_named_with_its_purpose_and_its_remedy(monkeypatch, tmp_path):
    (tmp_path / "prometheus").write_text("#!/bin/sh\n")
    (tmp_path / "prometheus").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError) as error:
        _binaries.find()
    assert str(error.value) == (
        "alertmanager is missing: no prometheus-alertmanager or alertmanager on PATH; it carries "
        "alerts to the responder and to the harness; get it with: "
        "apt-get install prometheus-alertmanager"
    )


def test_the_interposer_spoils_only_what_the_rule_hits():
    rule = FeedRule(("dep_delay",), 0.5, "absent", "s")
    rows = [
        {"flight_id": f"f{n}", "event_time_s": n, "features": {"dep_delay": 1.0, "month": 2.0}}
        for n in range(100)
    ]
    after = json.loads(spoil(json.dumps({"rows": rows, "end": False}).encode(), rule))
    assert after["end"] is False and [row["flight_id"] for row in after["rows"]] == [
        row["flight_id"] for row in rows
    ]
    hit = [row["flight_id"] for row in after["rows"] if "dep_delay" not in row["features"]]
    assert hit == [f"f{n}" for n in range(100) if rule.hits(f"f{n}")] and 30 < len(hit) < 70
    assert all(row["features"]["month"] == 2.0 for row in after["rows"])


@pytest.mark.parametrize("body", [b"", b"[]", b'{"rows": 3}', b'{"rows": [{"x": 1}]}', b"\xff"])
def test_the_interposer_passes_what_it_does_not_understand(body):
    assert spoil(body, NULL_ALL) == body


def test_the_interposer_does_not_take_the_link_once_its_permit_is_gone(tmp_path):
    async def take():
        with _ports.listening() as listener:
            config = {
                "fd": os.dup(listener.fileno()),
                "rule": NULL_ALL.to_json(),
                "upstream": "127.0.0.1:1",
                "links": "127.0.0.1:2",
                "link": "materializer-feed",
                "lease_s": 5.0,
                "fences": {},
            }
            interposer = Interposer(config, tmp_path / "interposer.json", None)
            with interposer.listener, pytest.raises(RuntimeError, match="mended meanwhile"):
                await interposer.take()

    asyncio.run(take())


# --- the stack itself -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stood(tmp_path_factory):
    """A stack that stands, with a webhook beside it; one loop for all that is done to it."""
    from aiohttp import web

    notes = []

    async def hook(request):
        alerts = (await request.json())["alerts"]
        notes.extend((alert["status"], alert["labels"]["alertname"]) for alert in alerts)
        return web.Response()

    async def listen():
        app = web.Application()
        app.router.add_post("/hook", hook)
        server = web.AppRunner(app)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        return server

    with asyncio.Runner() as runner:
        server = runner.run(listen())
        webhook = f"http://127.0.0.1:{server.addresses[0][1]}/hook"
        folder = tmp_path_factory.mktemp("site")
        stack = Local(healthy_for_s=2.0)
        runner.run(stack.up(Site(str(folder), webhook=webhook)))
        mark = stack.state()["layout"]["mark"]
        try:
            yield SimpleNamespace(stack=stack, run=runner.run, notes=notes, folder=folder)
        finally:
            runner.run(stack.down())
            runner.run(server.cleanup())
    assert marked(mark) == []


async def until(holds, within_s=DEADLINE_S):
    deadline_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(0.05)


class Load:
    """Asks for case after case, `RATE` a second, from where the last one stopped."""

    next_case = 0

    def __init__(self, stack):
        self.stack = stack
        self.answers = []  # (model, mask, not worse than the golden answer)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self):
        import aiohttp

        at = self.stack.endpoint()
        cases = await self.stack.cases(Load.next_case + 60 * RATE)
        url = f"http://{at.host}:{at.port}{at.path}"
        async with aiohttp.ClientSession(headers=dict(at.headers)) as http:
            for case in range(Load.next_case, len(cases.bodies)):
                Load.next_case = case + 1
                async with http.post(url, data=cases.bodies[case]) as answer:
                    body = await answer.json()
                late = body["outputs"][0]["data"][0]
                fine = late == cases.golden[case] or cases.golden[case] != cases.label[case]
                mask = int(answer.headers["x-feature-mask"])
                self.answers.append((answer.headers["x-model"], mask, bool(fine)))
                await asyncio.sleep(1 / RATE)


@pytest.mark.stack
def test_it_answers_as_the_golden_table_says(stood):
    async def ask():
        async with Load(stood.stack) as load:
            await until(lambda: asyncio.sleep(0, len(load.answers) >= 150))
        return load.answers

    answers = stood.run(ask())
    assert all(answer == ("champion", 0, True) for answer in answers)


@pytest.mark.stack
def test_probes_read_a_healthy_stack_as_healthy(stood):
    readings = stood.run(stood.stack.probe())
    found = {(r.probe, r.node): r.value for r in readings}
    normal = {key: float(key[0] in ("replica_ready", "gpu_slowdown")) for key in found}
    assert found == normal
    assert found.keys() >= {
        *(("pin", "gateway"), ("disabled_features", "gateway"), ("breaker_open", "gateway")),
        *(("store_lacking", "redis"), ("store_skewed", "redis"), ("backlog_s", "materializer")),
        *((probe, f"replica-{n}") for probe in ("replica_ready", "drained") for n in (0, 1)),
    }


@pytest.mark.stack
def test_every_process_carries_the_mark_by_which_it_is_found_when_nobody_wrote_it_down(stood):
    state = stood.stack.state()
    found = {child.pid for child in marked(state["layout"]["mark"])}
    assert found == {child["pid"] for child in state["children"].values()}


@pytest.mark.stack
def test_every_process_is_scraped_and_its_samples_keep_their_own_times(stood):
    async def scraped():
        now_s = time.time()
        series = await stood.stack.series(now_s - 60, now_s)
        up = {one.labels["node"]: one for one in series if one.name == "up"}
        enough = all(len(one.value) >= 3 for one in up.values())
        return up if enough and set(up) == set(_settings.services(2)) else None

    async def wait():
        await until(scraped)
        return await scraped()

    for one in stood.run(wait()).values():
        assert set(one.value) == {1.0}, f"{one.labels} was seen down"
        assert any(at % 1 for at in one.wall_s) and list(one.wall_s) == sorted(one.wall_s)


@pytest.mark.stack
def test_the_clock_of_prometheus_is_ours_within_the_bound(stood):
    offset_s, bound_s = stood.run(stood.stack.clock())
    assert 0 < bound_s < 1 and abs(offset_s) <= bound_s


@pytest.mark.stack
def test_the_fingerprint_notices_a_cut_link_a_latency_and_a_route(stood):
    from fixtures.stacks._links import Links

    links = Links(stood.stack.addresses()["links"])
    before = stood.run(stood.stack.fingerprint())
    assert stood.run(stood.stack.fingerprint()) == before
    links.disable("monitor-feed")
    links.add_latency("monitor-redis", 1)
    during = stood.run(stood.stack.fingerprint())
    changed = {part for part in before if before[part] != during[part]}
    links.enable("monitor-feed")
    links.remove_toxic("monitor-redis", "latency_downstream")
    assert changed == {"link monitor-feed", "link monitor-redis"}
    assert stood.run(stood.stack.fingerprint()) == before


@pytest.mark.stack
def test_dropped_features_are_detected_mitigated_and_mended(stood):
    stack, fault = stood.stack, DropFeatures(fraction=1.0)

    async def acts(what):
        return what in [entry.what for entry in await stack.audit(0)]

    async def play():
        before = await stack.fingerprint()
        async with Load(stack) as load:
            undo = await fault.prepare(stack, ["feed"])
            assert not await fault.verify(stack, ["feed"])
            await fault.inject(stack, ["feed"], undo)
            await until(lambda: fault.verify(stack, ["feed"]))
            await until(lambda: acts("route_to_baseline"))
            await until(lambda: asyncio.sleep(0, load.answers[-1][0] == "baseline"))
            assert {r.probe: r.value for r in await stack.probe()}["store_lacking"] == 1.0
            await fault.heal(stack, ["feed"], undo)
            assert not await fault.verify(stack, ["feed"])
            await until(lambda: acts("route_to_champion"))
            await until(lambda: asyncio.sleep(0, load.answers[-1] == ("champion", 0, True)))
        await fault.heal(stack, ["feed"], undo)
        await fault.heal(stack, ["feed"], None)
        assert await stack.fingerprint() == before
        return load.answers

    answers = stood.run(play())
    dropped = 0b110000001
    assert {mask for _, mask, _ in answers} == {0, dropped}
    assert ("champion", dropped) in {(model, mask) for model, mask, _ in answers}
    assert ("baseline", dropped) in {(model, mask) for model, mask, _ in answers}
    assert ("firing", "FeatureMissing") in stood.notes
    assert ("resolved", "FeatureMissing") in stood.notes
    assert {name for _, name in stood.notes} == {"FeatureMissing", "Watchdog"}


@pytest.mark.stack
def test_a_milder_rule_replaces_a_harsher_one_and_rows_are_written_again_after(stood):
    stack = stood.stack
    half = FeedRule(("precip",), 0.5, "absent", "2")

    async def in_force(rule):
        share, looked_at = await stack.spoilt_share(rule)
        return looked_at > 5 and share > 0.9

    async def play():
        route = await stack.feed_route()
        await stack.rewrite_feed(NULL_ALL, route)
        await until(lambda: in_force(NULL_ALL))
        assert await stack.feed_route() == route, "the rewriting shows through"
        await stack.rewrite_feed(half, route)
        await until(lambda: in_force(half))
        assert not await in_force(NULL_ALL)
        names = [n for n in stack.state()["children"] if n.startswith("interposer")]
        assert len(names) == 1
        await stack.restore_feed(route)
        assert (await stack.spoilt_share(half))[0] == 0.0

    stood.run(play())


OTHER = """
import asyncio, json, sys
from fixtures.stacks import _feed
from fixtures.stacks.local import Local
from harness import FeedRule, Site
async def main():
    with open(sys.argv[1]) as state:
        stack = Local.attach(json.load(state))
    {what}
asyncio.run(main())
"""
BREAK = """
    rule = FeedRule(("dep_delay",), 1.0, "null", "1")
    await stack.rewrite_feed(rule, await stack.feed_route())
    while (await stack.spoilt_share(rule))[0] < 0.9:
        await asyncio.sleep(0.05)
    print("in force", flush=True)
    await asyncio.sleep(600)
"""


def other_process(stood, what):
    code = OTHER.format(what=what.strip())
    argv = [sys.executable, "-c", code, str(stood.folder / "attach.json")]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def routed_as_built(stack):
    from fixtures.stacks._links import Links

    links = Links(stack.addresses()["links"])
    upstream = await asyncio.to_thread(links.upstream_of, "materializer-feed")
    return upstream == stack.addresses()["feed"]


@pytest.mark.stack
@pytest.mark.parametrize(("number", "lease_s"), [(signal.SIGKILL, 600), (signal.SIGSTOP, 2)])
def test_the_feed_is_let_go_when_the_process_that_broke_it_dies_or_stops(stood, number, lease_s):
    stack = stood.stack
    harness = other_process(stood, f"_feed.LEASE_S = {lease_s}{BREAK}")
    try:
        assert harness.stdout.readline() == "in force\n"
        assert not stood.run(routed_as_built(stack))
        harness.send_signal(number)
        stood.run(until(lambda: routed_as_built(stack)))
        harness.send_signal(signal.SIGCONT)

        async def settled():
            readings = {r.probe: r.value for r in await stack.probe()}
            return readings.get("store_lacking") == 0.0

        stood.run(until(settled))
        assert stood.run(routed_as_built(stack)), "a harness that went on broke it again"
    finally:
        harness.kill()
        harness.communicate()
    stood.run(stack.restore_feed(None))


@pytest.mark.stack
def test_another_process_mends_the_feed_with_nothing_but_the_state_file(stood):
    stack = stood.stack

    async def break_it():
        await stack.rewrite_feed(NULL_ALL, await stack.feed_route())
        await until(lambda: in_force())

    async def in_force():
        return (await stack.spoilt_share(NULL_ALL))[0] > 0.9

    stood.run(break_it())
    mender = other_process(stood, "await stack.restore_feed(None)")
    mender.communicate(timeout=DEADLINE_S)
    assert mender.returncode == 0
    assert stood.run(routed_as_built(stack))
    assert stood.run(stack.spoilt_share(NULL_ALL))[0] == 0.0
    stood.run(stack.restore_feed(None))


@pytest.mark.stack
def test_who_reached_the_stack_before_it_was_broken_mends_it_too(stood):
    stack = stood.stack
    guardian = Local.attach(json.loads(json.dumps(stack.state())))

    async def play():
        await stack.rewrite_feed(NULL_ALL, await stack.feed_route())
        (name,) = [n for n in stack.state()["children"] if n.startswith("interposer")]
        interposer = stack._stands.processes.children[name]
        assert interposer.alive
        await guardian.restore_feed(None)
        assert not interposer.alive and await routed_as_built(stack)
        await stack.restore_feed(None)

    stood.run(play())


@pytest.mark.stack
@pytest.mark.parametrize("mode", ["null", "absent"])
def test_one_segment_loses_its_features_for_real_and_no_other(stood, mode):
    stack = stood.stack
    evening = FeedRule(("dep_delay", "month"), 1.0, mode, "1", Segment("sched_hour", 17, 20))

    async def rows():
        layout = stack._stands.layout
        async with store_of(layout) as store:
            first = await newest_row(store, layout.start_row) + 1
            flights = [f"f{row}" for row in range(first, first + 1000, 5)]  # a whole day
            entries = await stored(store, flights)
        true = await true_rows(layout, flights)
        return [(true[flight], entry) for flight, entry in zip(flights, entries, strict=True)]

    async def play():
        await stack.rewrite_feed(evening, await stack.feed_route())

        async def in_force():
            return prevails(*await stack.spoilt_share(evening))

        await until(in_force)
        spoilt = await rows()
        await stack.restore_feed(None)
        assert (await stack.spoilt_share(evening))[0] == 0.0
        return spoilt, await rows()

    spoilt, mended = stood.run(play())
    hit = [17 <= true["sched_hour"] <= 20 for true, _ in spoilt]
    assert 20 < sum(hit) < 100
    for ours, (true, entry) in zip(hit, spoilt, strict=True):
        if ours:
            assert entry.get("dep_delay") is entry.get("month") is None
            assert ("month" in entry) == (mode == "null") and entry["distance"] is not None
        else:
            assert entry == true
    assert all(entry == true for true, entry in mended)


@pytest.mark.stack
def test_a_rewriting_that_was_withdrawn_before_it_began_does_nothing(stood, monkeypatch):
    stack = stood.stack
    spawn = stack._stands.processes.spawn

    def withdrawn(name, argv, **how):
        pipe = spawn(name, argv, **how)
        (stood.folder / "interposer.json").unlink()
        return pipe

    async def play():
        monkeypatch.setattr(stack._stands.processes, "spawn", withdrawn)
        with pytest.raises(StackError, match="interposer-.* ended with status 2"):
            await stack.rewrite_feed(NULL_ALL, await stack.feed_route())
        assert await routed_as_built(stack)
        await stack.restore_feed(None)

    stood.run(play())


# --- coming up and going down -----------------------------------------------------------------


def children_of(folder):
    state = folder / "attach.json"
    return json.loads(state.read_text())["children"] if state.exists() else {}


def nothing_left(folder):
    """No process was started with this folder in its arguments, and nobody can be reached."""
    running = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            running.append(entry.read_bytes())
    here = str(folder).encode()
    return not any(here in one for one in running) and not (folder / "attach.json").exists()


@pytest.mark.stack
def test_a_cancelled_start_leaves_nothing(tmp_path):
    async def play():
        rising = asyncio.create_task(Local().up(Site(str(tmp_path))))
        await until(lambda: asyncio.sleep(0, "prometheus" in children_of(tmp_path)))
        assert not nothing_left(tmp_path)
        rising.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rising

    asyncio.run(play())
    assert nothing_left(tmp_path)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("program", "part"),
    [("redis-server", "redis"), ("prometheus", "prometheus"), ("toxiproxy-server", "links")],
)
def test_a_server_that_dies_while_starting_is_named_and_nothing_is_left(
    tmp_path, monkeypatch, program, part
):
    fake = tmp_path / "bin" / program
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho bad directive at line 7 >&2\nexit 4\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(StackError) as error:
        asyncio.run(Local().up(Site(str(tmp_path))))
    first, *rest = str(error.value).splitlines()
    assert first == f"{part} ended with status 4 before it was ready"
    assert rest[-1] == "  bad directive at line 7"
    assert nothing_left(tmp_path)


@pytest.mark.stack
def test_a_model_server_that_dies_while_starting_is_named_and_nothing_is_left(
    tmp_path, monkeypatch
):
    broken = {**_settings.services(2), "replica-1": "fixtures.serving.no_such_service"}
    monkeypatch.setattr(_settings, "services", lambda *_: broken)
    stack = Local()
    with pytest.raises(StackError, match=r"(?s)^replica-1 ended with status 1.*no_such_service"):
        asyncio.run(stack.up(Site(str(tmp_path))))
    assert nothing_left(tmp_path)
    asyncio.run(stack.down())


@pytest.mark.stack
def test_a_part_that_is_never_ready_is_named_after_the_deadline(tmp_path, monkeypatch):
    fake = tmp_path / "bin" / "redis-server"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho loading\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(_standing, "DEADLINE_S", 6.0)
    with pytest.raises(StackError, match=r"(?s)^not ready after .* s: redis.*loading"):
        asyncio.run(Local().up(Site(str(tmp_path))))
    assert nothing_left(tmp_path)


@pytest.mark.stack
def test_a_stack_outlives_who_started_it_and_another_process_takes_it_down(tmp_path, monkeypatch):
    # In the starter every machine is too slow, so that Prometheus is started twice.
    code = (
        "import asyncio, sys; from fixtures.stacks import _standing; _standing.FIRST_LOOK_S = 0; "
        "from fixtures.stacks.local import Local; from harness import Site; "
        "asyncio.run(Local().up(Site(sys.argv[1])))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=4 * DEADLINE_S
    )
    stack = Local.attach(json.loads((tmp_path / "attach.json").read_text()))

    async def play():
        try:
            readings = {r.probe: r.value for r in await stack.probe()}
            now_s = time.time()
            up = [one for one in await stack.series(now_s - 60, now_s) if one.name == "up"]
            return readings, {value for one in up for value in one.value}
        finally:
            await stack.down()

    readings, ups = asyncio.run(play())
    assert readings["replica_ready"] == 1.0 and ups == {1.0}
    assert nothing_left(tmp_path)
    assert (tmp_path / "logs" / "gateway.log").exists()
