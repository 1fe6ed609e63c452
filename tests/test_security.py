"""What an attacker would try: a hostile text, a stolen secret, a changed trail, an open door."""

import ast
import asyncio
import hashlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fixtures.serving import control_plane, service
from fixtures.serving.audit import AuditTrail
from fixtures.serving.config import ConfigError
from fixtures.stacks import _settings
from fixtures.stacks._processes import marked
from fixtures.stacks._settings import Layout, Link
from fixtures.stacks.local import Local
from harness import inherited, parse, schema
from harness.model import events as ev
from harness.parse import ParseError
from harness.run import chain
from tests.conftest import CATALOG, ROOT, gameday
from tests.serving.rig import eventually, trained
from tests.test_report_browser import BROWSERS, Browser

CODE = ("harness", "faults", "reports", "fixtures")
SLO = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")

# --- the audit trail -----------------------------------------------------------------------------


@pytest.fixture
def trail(tmp_path):
    path = tmp_path / "audit.jsonl"
    with closing(AuditTrail(path)) as audit:
        for number in range(5):
            audit.write(
                who="ann", what=f"act {number}", why="drill \N{BUG}", target="arrival_delay"
            )
    return path


def broken_at(path: Path) -> int | None:
    said = chain.read(path).broken
    return None if said is None else int(re.match(r"line (\d+): ", said)[1])


def test_a_trail_is_a_chain_and_each_line_holds_the_digest_of_the_one_before(trail):
    lines = trail.read_bytes().splitlines()
    before = ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["prev"] for line in lines] == before[:-1]
    read = chain.read(trail)
    assert read.broken is None and read.head == before[-1]
    assert [entry["what"] for entry in read.entries] == [f"act {n}" for n in range(5)]


def test_one_changed_bit_anywhere_is_found_and_its_line_named(trail):
    content = trail.read_bytes()
    for at, bit in itertools.product(range(len(content)), (0x01, 0x20)):
        changed = bytearray(content)
        changed[at] ^= bit
        trail.write_bytes(changed)
        line = content.count(b"\n", 0, at) + 1
        found = broken_at(trail)
        assert found == line, f"byte {at} of line {line}: {found}"


def test_a_line_removed_moved_repeated_or_forged_is_found(trail):
    lines = trail.read_bytes().splitlines(keepends=True)
    for at in range(4):
        trail.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
        assert broken_at(trail) == at + 1
    for one, other in itertools.combinations(range(5), 2):
        moved = list(lines)
        moved[one], moved[other] = moved[other], moved[one]
        trail.write_bytes(b"".join(moved))
        assert broken_at(trail) == one + 1
    for at in range(5):
        trail.write_bytes(b"".join([*lines[: at + 1], *lines[at:]]))
        assert broken_at(trail) == at + 2
    body = {**json.loads(lines[2]), "who": "eve"}
    del body["sum"]
    unsummed = json.dumps(body, separators=(",", ":")).encode()
    mark = hashlib.sha256(unsummed).hexdigest().encode()
    forged = unsummed[:-1] + b',"sum":"' + mark + b'"}\n'  # a line as good as any, but not this one
    trail.write_bytes(b"".join([*lines[:2], forged, *lines[3:]]))
    assert broken_at(trail) == 4


def test_the_control_plane_refuses_to_go_on_with_a_broken_trail(trail):
    content = trail.read_bytes()
    trail.write_bytes(content.replace(b"act 2", b"act 7"))
    with pytest.raises(ValueError, match="line 3 breaks the chain"):
        AuditTrail(trail)
    trail.write_bytes(content + b'{"seq":6,"at_s":')
    with closing(AuditTrail(trail)) as audit:  # a crash tore it; that line was never confirmed
        audit.write(who="bob", what="act 5", why="drill", target="arrival_delay")
    assert chain.read(trail).broken is None and len(chain.read(trail).entries) == 6


def test_the_harness_writes_the_same_chain(tmp_path):
    path = tmp_path / "own.jsonl"
    for number in range(3):
        chain.append(path, {"who": "ann", "what": f"w{number}", "why": "\u2028\N{BUG}"})
    assert chain.read(path).broken is None
    assert [e["seq"] for e in chain.read(path).entries] == [1, 2, 3]
    path.write_bytes(path.read_bytes().replace(b"w1", b"w9"))
    assert broken_at(path) == 2
    with pytest.raises(ValueError, match="broken at line 2"):
        chain.append(path, {"who": "eve"})


@pytest.fixture
def run_with_trail(home, trail):
    """The folder of a run on a real stack whose record saw the first four of five actions."""
    folder = home / "runs" / "r1"
    (folder / "stack").mkdir(parents=True)
    shutil.copy(trail, folder / "stack" / "audit.jsonl")
    head = ev.RunStarted(
        t=0.0, format=ev.FORMAT, run="r1", scenario="x", text="", slo_text="", seed=1,
        stack="local", stack_params={}, wall_s=0.0, virtual_time=False, versions={}, machine={},
        digests={},
    )  # fmt: skip
    entries = chain.read(trail).entries[:4]
    keys = ("seq", "who", "what", "target", "why")
    acted = [ev.Acted(t=1.0 + e["seq"], **{key: e[key] for key in keys}) for e in entries]
    lines = [ev.to_line(event) + "\n" for event in (head, *acted)]
    (folder / "events.jsonl").write_text("".join(lines))
    return folder


def test_verify_says_that_a_trail_is_whole_or_where_it_is_not(run_with_trail):
    path = run_with_trail / "stack" / "audit.jsonl"
    for what in ("r1", "last", run_with_trail, path):
        done = gameday("verify", what)
        assert done.returncode == 0 and "5 entries, none changed" in done.stdout, done
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines).replace(b"act 4", b"act 5"))
    done = gameday("verify", "r1")
    assert done.returncode == 1 and "BROKEN at line 5: was changed" in done.stdout
    path.write_bytes(b"".join(lines[:3]))  # a good chain, too short for what the record knows
    done = gameday("verify", "r1")
    assert done.returncode == 1 and "BROKEN at line 4: missing" in done.stdout
    assert gameday("verify", path).returncode == 0  # by itself it cannot tell
    path.unlink()
    assert gameday("verify", "r1").returncode == 1


def test_a_trail_written_anew_is_found_by_what_the_record_saw(run_with_trail):
    path = run_with_trail / "stack" / "audit.jsonl"
    bodies = [dict(entry) for entry in chain.read(path).entries]
    path.unlink()
    bodies[1]["who"] = "eve"
    for body in bodies:
        chain.append(path, {k: v for k, v in body.items() if k not in ("seq", "prev", "sum")})
    done = gameday("verify", "r1")
    assert done.returncode == 1 and "line 2: who is not what" in done.stdout


def test_what_has_no_trail_is_not_called_whole(home):
    done = gameday("verify")
    assert done.returncode == 3 and "nothing to verify" in done.stderr
    assert gameday("verify", "no-such-run").returncode == 2


def test_the_trail_of_halt_and_resume_is_verified_too(home):
    for verb in (("halt", "--reason", "a drill"), ("resume", "--reason", "over")):
        assert gameday(*verb).returncode == 0
    assert "2 entries, none changed" in gameday("verify").stdout
    (trail,) = home.glob("halt.jsonl")
    trail.write_bytes(trail.read_bytes().replace(b"a drill", b"a grill"))
    done = gameday("verify")
    assert done.returncode == 1 and "BROKEN at line 1" in done.stdout


# --- doors ---------------------------------------------------------------------------------------

TOKEN = "right-token"
GUARDED = {
    ("gateway", "GET", "/admin/switches"),
    ("gateway", "GET", "/admin/route"),
    ("gateway", "PUT", "/admin/route"),
    *(
        ("gateway", method, f"/admin/{path}")
        for method in ("GET", "PUT")
        for path in ("disabled_features", "drained", "ai_breaker")
    ),
    ("gateway", "GET", "/admin/cache"),
    ("gateway", "PUT", "/admin/cache"),
    ("gateway", "POST", "/admin/cache/invalidate"),
    ("gateway", "POST", "/admin/cache/rewarm"),
    ("materializer", "POST", "/v1/backfill"),
    ("control_plane", "POST", "/v1/actions"),
    ("control_plane", "POST", "/v1/alerts"),
    ("control_plane", "POST", "/v1/tickets/close"),
}
_MODEL = "/v2/models/arrival_delay"
_SERVED = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
OPEN = {  # what changes nothing: reading, and asking for an answer
    ("gateway", "GET", _MODEL),
    ("gateway", "GET", f"{_MODEL}/ready"),
    ("gateway", "POST", f"{_MODEL}/infer"),
    ("control_plane", "GET", "/v1/audit"),
    ("control_plane", "GET", "/v1/actions"),
    ("control_plane", "GET", "/v1/tickets"),
    ("control_plane", "GET", "/v1/state"),
    ("feed", "GET", "/v1/features"),
    ("feed", "GET", "/v1/labels"),
    ("model_server", "GET", "/v2"),
    ("model_server", "GET", "/v2/models"),
    ("model_server", "GET", "/v2/device"),
    *(("model_server", "GET", path + rest) for path in _SERVED for rest in ("", "/ready")),
    *(("model_server", "POST", f"{path}/infer") for path in _SERVED),
    *(("model_server", "POST", f"/v2/models/{name}/infer") for name in ("champion", "baseline")),
}
WRONG = (
    None, "", "Bearer", "Bearer ", "Bearer  ", "Bearer wrong", f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}", f"bearer {TOKEN}", f"Basic {TOKEN}", TOKEN, "Bearer \xe9",
    f"Bearer {TOKEN} {TOKEN}", "Bearer null", f"Bearer {TOKEN.upper()}",
)  # fmt: skip


def everything(tmp_path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each service's configuration class, and a configuration that it can be built from."""
    release = str(trained())
    return {
        "gateway": ("GatewayConfig", {"redis": "127.0.0.1:1", "artefacts": release,
                                      "replicas": {"replica-0": "127.0.0.1:1"}}),
        "model_server": ("ModelServerConfig", {"artefacts": release}),
        "feed": ("FeedConfig", {"data": str(tmp_path / "none.npz")}),
        "materializer": ("MaterializerConfig", {"feed": "127.0.0.1:1", "redis": "127.0.0.1:1",
                                                "start_row": 0}),
        "monitor": ("MonitorConfig", {"redis": "127.0.0.1:1", "feed": "127.0.0.1:1",
                                      "artefacts": release}),
        "control_plane": ("ControlPlaneConfig", {"services": {"gateway": "127.0.0.1:1"},
                                                 "audit": str(tmp_path / "audit.jsonl")}),
    }  # fmt: skip


async def knock(app: Any, method: str, path: str, authorization: str | None) -> int:
    """Send one request straight into an application; returns the status."""
    head = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": head, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Run a coroutine function with every service of the stack, built in this process."""
    import aiohttp

    def run(use: Any) -> None:
        async def whole() -> None:
            sessions = []
            real, audit = aiohttp.ClientSession, control_plane.AuditTrail

            def session(*args: Any, **more: Any) -> aiohttp.ClientSession:
                sessions.append(real(*args, **more))
                return sessions[-1]

            def trail(path: Path) -> AuditTrail:
                trails.append(audit(path))
                return trails[-1]

            trails: list[AuditTrail] = []
            monkeypatch.setattr(aiohttp, "ClientSession", session)
            monkeypatch.setattr(control_plane, "AuditTrail", trail)
            services = {}
            for name, (kind, config) in everything(tmp_path).items():
                module = importlib.import_module(f"fixtures.serving.{name}")
                told = getattr(module, kind)(name=name, token=TOKEN, **config)
                services[name] = await module.build(told)
            try:
                await use(services)
            finally:
                for one in sessions:
                    await one.close()
                for one in trails:
                    one.close()

        asyncio.run(whole())

    return run


def test_every_route_of_every_service_is_known_to_be_guarded_or_harmless(built):
    async def use(services):
        found = {
            (name, method, route.path)
            for name, one in services.items()
            for route in one.routes
            for method in route.methods - {"HEAD"}
        }
        found |= {(name, *key) for name, one in services.items() for key in one.hot}
        assert found == GUARDED | OPEN

    built(use)


def test_no_control_route_answers_without_the_token_and_all_do_with_it(built, monkeypatch):
    compared = []
    compare = service.hmac.compare_digest
    monkeypatch.setattr(
        service.hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b)
    )

    async def use(services):
        for name, method, path in sorted(GUARDED):
            app = service.application(services[name])
            for wrong in WRONG:
                status = await knock(app, method, path, wrong)
                assert status == 401, (name, method, path, wrong, status)
            assert len(compared) == len(WRONG)  # all of them in constant time
            right = await knock(app, method, path, f"Bearer {TOKEN}")
            assert right not in (401, 403, 404, 405), (name, method, path, right)
            compared.clear()

    built(use)


def test_an_empty_token_guards_nothing_and_is_refused():
    with pytest.raises(ConfigError, match="token"):
        service.guarded("", lambda request: None)


def test_servers_that_are_not_ours_are_on_loopback_and_take_no_orders():
    layout = layout_of(Path("/x"))
    commands = {
        "redis": _settings.redis_arguments(layout),
        "prometheus": _settings.prometheus_arguments(layout),
        "alertmanager": _settings.alertmanager_arguments(layout),
    }
    for name, argv in commands.items():
        words = " ".join(argv)
        assert "127.0.0.1" in words and "0.0.0.0" not in words and layout.token not in words, name
        assert "enable-lifecycle" not in words and "enable-admin-api" not in words


# --- texts that want to be code ------------------------------------------------------------------

NASTY = (
    'a"b', "a'b", "a\\b", "a\nb", "a: b", "- a", "#a", "[a]", "{a}", "&a", "*", "!a", "%a", "@a",
    "`id`", "$(id)", "${HOME}", "{{ .Labels }}", "{{ env `HOME` }}", "{% raw %}", "<script>", "a b",
    'x"} or vector(1) or {a="', "é\u2028", "|", ">", "",
)  # fmt: skip


def layout_of(folder: Path) -> Layout:
    names = [*_settings.services(2), *_settings.SERVERS]
    at = {name: f"127.0.0.1:{1000 + n}" for n, name in enumerate(names)}
    links = {name: Link("127.0.0.1:9", at[to]) for name, to in _settings.link_upstreams(2).items()}
    return Layout(str(folder), "mark", "tok'\"\\{{en", "release", 0, 10, at, links)


def read_yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("nasty", NASTY)
def test_a_folder_of_any_name_is_written_into_the_configurations_as_it_is(nasty):
    layout = layout_of(Path("/tmp") / nasty)
    prometheus = read_yaml(_settings.prometheus_config(layout, Local()))
    pattern = re.sub(r"\\(.)", r"\1", prometheus["rule_files"][0])
    assert pattern == str(layout.path("rules.yml")).replace("*", "?")
    alerting = read_yaml(_settings.alertmanager_config(layout, f"http://h/{nasty}"))
    told = [r["webhook_configs"][0] for r in alerting["receivers"] if r["name"] != "nobody"]
    responder, harness = told
    assert responder["http_config"]["authorization"]["credentials"] == layout.token
    assert harness["url"] == f"http://h/{nasty}"
    for name, config in _settings.service_configs(layout, Local(), Path(nasty)).items():
        assert config["token"] == layout.token, name


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("name", ["[x]", "a*b", "a?b", "a\\b", "a'\"b", "{{x}}", "a: b", "${HOME}"])
def test_prometheus_finds_its_rules_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "rules.yml").write_text(_settings.rules([]))
    (folder / "p.yml").write_text(_settings.prometheus_config(layout_of(folder), Local()))
    argv = ["promtool", "check", "config", "p.yml"]
    said = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    assert said.returncode == 0 and "1 rule files found" in said.stdout, said


@pytest.mark.parametrize("nasty", [*NASTY, "../../x", "FeatureMissing\n", "FeatureMissing "])
@pytest.mark.parametrize("key", ["runbooks", "alerts_off", "replay_from", "device", "replicas"])
def test_a_setting_that_is_not_one_of_the_known_words_is_refused(key, nasty):
    try:
        stack = schema.build(Local, {key: [nasty] if key in ("runbooks", "alerts_off") else nasty})
    except schema.ParamError as wrong:
        assert wrong.key == key
        return
    assert key == "replay_from", f"{key} took {nasty!r}"
    from fixtures.stacks import _models
    from harness import Site, StackError

    with pytest.raises((StackError, ValueError)):
        asyncio.run(_models.prepare(stack.replay_from, Site(folder="/nowhere")))


def test_nothing_in_the_tree_hands_text_to_a_shell_an_interpreter_or_a_template():
    forbidden = {
        "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval",
        "exec", "asyncio.create_subprocess_shell", "yaml.load", "yaml.unsafe_load",
    }  # fmt: skip
    files = [path for part in CODE for path in sorted((ROOT / part).rglob("*.py"))]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "marshal", "shelve", "dill"}, path
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in forbidden and not name.endswith(".from_string"), (
                f"{path}:{node.lineno} {name}"
            )
            assert not any(k.arg == "shell" for k in node.keywords), f"{path}:{node.lineno}"


# --- a hostile scenario, from the file to the page -----------------------------------------------

SCRIPT = "<script>document.title='owned';location='https://evil.test/'</script>"
PAYLOADS = (
    SCRIPT,
    f"</title></style></svg>{SCRIPT}",
    "<img src=x onerror=\"document.title='owned'\">",
    '"><svg onload="document.title=`owned`">',
    "' onmouseover='document.title=1",
    "javascript:document.title='owned'",
    "[click](javascript:alert(1)) ![x](https://evil.test/x.png) | a | b |",
    "{{ 7*7 }} {% for x in y %} ${7*7} #{7*7} <%= 7*7 %> $(id) `id`",
    "]]> <!-- --> &lt;script&gt; &#60;script&#62; %3Cscript%3E",
    'x"} or on() vector(1) # \\" \\\\ \\n',
)
HOSTILE = f"""\
name: hostile
why: {json.dumps(" ".join(PAYLOADS))}
stack: simulated
slo: flights
load: {{arrivals: poisson, rate: 120/s}}
phases: {{warmup: 3s, baseline: 25s, fault: 32s, recovery: 32s}}
hold: 10s
faults:
  - drop_features: {{severity: 5}}
    where: all feed
    at: 1s
    for: 30s
expect:
""" + "".join(
    f"""\
  - detected: {{within: 10s, by: {{{json.dumps(payload[:100])}: {json.dumps(payload)}}}}}
  - no_alerts: {{allow: [{json.dumps(payload)}]}}
"""
    for payload in PAYLOADS
)


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """A hostile scenario, run by the command; returns the folder of its run."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "mine.yaml").write_text(HOSTILE)
    environment = {**os.environ, "GAMEDAY_HOME": str(folder / "home")}
    done = gameday("run", folder / "mine.yaml", env=environment)
    assert done.returncode in (1, 3) and "Traceback" not in done.stderr, done
    (run,) = (folder / "home" / "runs").iterdir()
    return run


def render(run: Path, name: str) -> str:
    done = gameday("report", run, "--format", name)
    assert done.returncode in (1, 3) and done.stdout and not done.stderr, done
    return done.stdout


def test_a_hostile_scenario_is_text_in_every_report(hostile_run):
    formats = {name: render(hostile_run, name) for name in CATALOG.reports.names()}
    assert {"html", "markdown", "json", "junit", "text"} <= set(formats)
    for name, text in formats.items():
        assert "owned" in text, f"{name} does not show what the scenario said"
        assert "49" not in re.findall(r"[{$#]\s*49|\b49 49\b", text)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), name
    loads = re.compile(
        r"<(script|img|iframe|object|embed|link|base|meta http-equiv=.refresh)", re.I
    )
    for name in ("html", "markdown"):
        own = '<link rel="icon" href="data:,">'
        assert not loads.search(formats[name].replace(own, "", 1)), name
    assert not re.search(r"<[^>]*\son\w+\s*=", formats["html"])
    assert not re.search(r"(href|src)\s*=\s*[\"']?\s*javascript:", formats["html"], re.IGNORECASE)
    assert not re.search(r"(?<!\\)\]\(", formats["markdown"])
    assert PAYLOADS[0] in json.dumps(json.loads(formats["json"]), ensure_ascii=False)
    assert ET.fromstring(formats["junit"]).tag.startswith("testsuite")


def test_the_page_forbids_all_but_its_own_style(hostile_run):
    page = (hostile_run / "report.html").read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";") if rule.strip()}
    assert rules["default-src"] == ["'none'"]
    assert "script-src" not in rules or rules["script-src"] == ["'none'"]
    assert all(word.startswith("'sha256-") for word in rules["style-src"])
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert page.index("Content-Security-Policy") < page.index("<style")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path is None:
        pytest.skip(f"no browser on PATH: looked for {', '.join(BROWSERS)}")
    found = Browser(path, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def title(browser: Browser, page: Path) -> str:
    browser.open(page, 1024)
    said = browser.value("document.title + ' @ ' + location.protocol")
    assert isinstance(said, str)
    return said


@pytest.mark.stack
def test_the_report_of_a_hostile_scenario_runs_no_script_in_a_browser(
    browser, hostile_run, tmp_path
):
    browser.ask("Log.enable")
    page = hostile_run / "report.html"
    text = page.read_text("utf-8")
    assert "owned" not in title(browser, page)
    browser.value(  # what a reader does: point at everything, click on everything that folds
        "[...document.querySelectorAll('*')].slice(0, 5000).forEach(e => {"
        "for (const n of ['mouseover', 'focus', 'load', 'error', 'toggle'])"
        "e.dispatchEvent(new Event(n)); if (e.tagName === 'SUMMARY') e.click() })"
    )
    assert browser.value("document.title + location.protocol").endswith("file:")
    assert "owned" not in browser.value("document.title")
    assert browser.value("document.scripts.length") == 0
    assert {url for url in browser.requests() if not url.startswith("data:")} == {page.as_uri()}
    assert not [e for e in browser.events if e["method"] == "Page.javascriptDialogOpening"]
    # The same script where nothing escapes it: the policy stops it, and only the policy does.
    told = "<script>document.title='owned'</script></body>"
    for name, policy, happens in (("kept", True, False), ("gone", False, True)):
        spoilt = text.replace("</body>", told)
        if not policy:
            spoilt = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", spoilt)
        other = tmp_path / f"{name}.html"
        other.write_text(spoilt, "utf-8")
        assert title(browser, other).startswith("owned") is happens, name


# --- secrets -------------------------------------------------------------------------------------

CANARY = "c4n4ry5ecret"
SECRETS = {
    "OPENAI_API_KEY": f"sk-{CANARY}",
    "ANTHROPIC_API_KEY": f"sk-ant-{CANARY}",
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "AWS_SESSION_TOKEN": f"{CANARY}==",
    "GITHUB_TOKEN": f"ghp_{CANARY}",
    "DATABASE_URL": f"postgresql://app:{CANARY}@db.internal:5432/app",
    "SENTRY_DSN": f"https://{CANARY}@o1.ingest.example.test/1",
    "REDIS_URL": f"redis://:{CANARY}@cache.internal/0",
    "SSH_PRIVATE_KEY": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n",
    "PASSWORD": CANARY,
}  # fmt: skip


def holding(folder: Path, secret: str) -> list[Path]:
    """Every file below a folder with the secret in its name or bytes, packed ones looked into."""
    found, needle = [], secret.encode()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                content += b"".join(packed.read(name) for name in packed.namelist())
        if needle in content or secret in str(path.relative_to(folder)):
            found.append(path)
    return found


def test_no_secret_of_the_environment_is_in_anything_a_run_leaves_behind(tmp_path):
    home = tmp_path / "home"
    environment = {**os.environ, **SECRETS, "GAMEDAY_HOME": str(home)}
    core = ROOT / "scenarios" / "core" / "drop_features.yaml"
    said = gameday("run", core, "--stack", "simulated", env=environment)
    assert said.returncode == 0, said
    for name in CATALOG.reports.names():
        out = tmp_path / f"report.{name}"
        assert gameday("report", "last", "--format", name, "--out", out, env=environment)
        assert out.stat().st_size > 100
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(core.read_text("utf-8").replace("seed: 11", "seed: $OPENAI_API_KEY"))
    refused = gameday("run", wrong, env=environment)
    assert refused.returncode == 2
    for done in (said, refused):
        assert CANARY not in done.stdout + done.stderr
    assert holding(tmp_path, CANARY) == []
    assert len(holding(tmp_path, "drop_features")) > 5  # the search does find things


def test_only_what_a_program_needs_is_handed_down():
    given = {
        **SECRETS, "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0",
        "GAMEDAY_HOME": "/g", "GAMEDAY_TOKEN": "x", "http_proxy": "http://u:p@h", "LESS_TOKEN": "x",
        "MINE": "1", "MINE_TOO": "2",
    }  # fmt: skip
    kept = {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "GAMEDAY_HOME"}
    assert inherited(given).keys() == kept
    passed = inherited({**given, "GAMEDAY_PASS": "MINE, MINE_TOO,NOT_THERE,"})
    assert passed.keys() == kept | {"MINE", "MINE_TOO", "GAMEDAY_PASS"}


def told(pid: int) -> bytes:
    """The environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_no_process_of_a_stack_has_the_secrets_of_whoever_started_it(tmp_path):
    environment = {**os.environ, **SECRETS, "GAMEDAY_HOME": str(tmp_path)}
    try:
        done = gameday("stack", "up", "--name", "processes", env=environment)
        assert done.returncode == 0, done
        state = json.loads((tmp_path / "stacks" / "processes" / "attach.json").read_text("utf-8"))
        pids = [child.pid for child in marked(state["mark"])]
        assert len(pids) == 3 and all(f"GAMEDAY_HOME={tmp_path}".encode() in told(p) for p in pids)
        assert [pid for pid in pids if CANARY.encode() in told(pid)] == []
    finally:
        assert gameday("stack", "down", "--name", "processes", env=environment).returncode == 0


def test_folders_of_runs_are_for_their_owner_alone(home):
    core = ROOT / "scenarios" / "core" / "placebo.yaml"
    assert gameday("run", core, "--stack", "simulated", "--quiet").returncode == 0
    (run,) = (home / "runs").iterdir()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


# --- a stack that stands -------------------------------------------------------------------------


class Up:
    """A local stack, brought up by the command with secrets in its environment."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "stacks" / "local"
        self.environment = {**os.environ, **SECRETS, "GAMEDAY_HOME": str(home)}
        self.said = gameday("stack", "up", env=self.environment)
        assert self.said.returncode == 0, self.said
        self.state = json.loads((self.folder / "attach.json").read_text("utf-8"))
        self.token: str = self.state["layout"]["token"]
        self.servers: dict[str, str] = self.state["layout"]["servers"]
        self.pids = {child.pid for child in marked(self.state["layout"]["mark"])}

    def ask(self, method: str, name: str, path: str, body: Any = None, token: str = "") -> Any:
        """Ask one part; returns the status and the text."""
        data = None if body is None else json.dumps(body).encode()
        head = {"content-type": "application/json"}
        if token:
            head["authorization"] = f"Bearer {token}"
        url = f"http://{self.servers[name]}{path}"
        request = urllib.request.Request(url, data, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Iterator[Up]:
    standing = Up(tmp_path_factory.mktemp("up") / "home")
    yield standing
    done = gameday("stack", "down", env=standing.environment)
    assert done.returncode == 0, done
    assert not marked(standing.state["layout"]["mark"])
    assert_kept(standing, "after it went down")
    trail = standing.folder / "audit.jsonl"
    checked = gameday("verify", trail, env=standing.environment)
    assert checked.returncode == 0 and "none changed" in checked.stdout, checked


def assert_kept(up: Up, when: str) -> None:
    """No canary anywhere; the token in private files of a private folder, and nowhere else."""
    assert holding(up.home, CANARY) == [], when
    assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700, when
    told = holding(up.home, up.token)
    assert told, f"{when}: the search does not find the files that must hold it"
    for path in told:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, f"{when}: {path}"
        assert path.suffix in (".json", ".yml") and "logs" not in path.parts, f"{when}: {path}"


def sockets(pids: set[int]) -> Iterator[tuple[int, str, str, str]]:
    """Yield (pid, kind, local, state) of every internet socket of these processes. proc(5)."""
    owner = {}
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd)):
                owner[found[1]] = pid
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in owner:
                yield owner[fields[9]], kind, fields[1].partition(":")[0], fields[3]


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.stack
def test_every_socket_of_the_stack_is_on_loopback(up):
    assert len(up.pids) >= 10
    found = list(sockets(up.pids))
    listening = {pid for pid, kind, _, state in found if state == "0A"}
    assert listening == up.pids, "every part listens, so every part must be seen to"
    for pid, kind, local, state in found:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert local in LOOPBACK, (name, kind, local, state)


SPEAK_NO_HTTP = ("redis", "links", "gpus")


@pytest.mark.stack
def test_no_secret_is_in_an_argument_a_log_a_page_or_a_file_of_others(up):
    for pid in up.pids:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert line and up.token.encode() not in line and CANARY.encode() not in line
        assert up.token.encode() not in told(pid) and CANARY.encode() not in told(pid)
    pages = [
        ("prometheus", f"/api/v1/status/{what}") for what in ("config", "flags", "runtimeinfo")
    ]
    pages += [("alertmanager", "/api/v2/status"), ("links", "/proxies")]
    pages += [(name, "/metrics") for name in up.servers if name not in SPEAK_NO_HTTP]
    for name, path in pages:
        status, text = up.ask("GET", name, path)
        assert status == 200 and up.token not in text and CANARY not in text, (name, path)
    assert up.token not in up.said.stdout + up.said.stderr
    assert CANARY not in up.said.stdout + up.said.stderr
    assert_kept(up, "while it stands")


@pytest.mark.stack
def test_doors_are_shut_without_the_token_and_alertmanager_has_the_key(up):
    for name, method, path in sorted(GUARDED):
        for token in ("", "wrong", up.token[:-1]):
            assert up.ask(method, name, path, {}, token)[0] == 401, (name, path)
    labels = {"alertname": "FeatureMissing", "feature": "visib", "runbook": "route_to_baseline"}
    assert up.ask("POST", "alertmanager", "/api/v2/alerts", [{"labels": labels}])[0] == 200
    eventually(
        lambda: "route_to_baseline" in up.ask("GET", "control_plane", "/v1/audit")[1],
        "the responder acts on what Alertmanager says",
    )


# --- names that want to be paths -----------------------------------------------------------------

UP = ("../../x", "/etc/passwd", "..", "../x.yaml", "a/../../b", "x\ny", "\x1b[31m", "a" * 5000)


@pytest.mark.parametrize(
    "words",
    [
        *(("faults", name) for name in (*UP, "_x", "__init__")),
        *(("report", "last", "--format", name) for name in (*UP, "_page", "_svg")),
        *(("report", name) for name in UP),
        *(("heal", name) for name in UP),
        *(("verify", name) for name in UP if name != "/etc/passwd"),
        *(("stack", action, "--name", name) for action in ("up", "down", "status") for name in UP),
        *(("new", name) for name in UP),
        *(("new", "ok", "--fault", name) for name in UP),
        *(("check", "core/drop_features", "--stack", name) for name in UP),
        ("check", "core/drop_features", "--set", "../x=1"),
        ("check", "core/drop_features", "--set", "runbooks=../x"),
    ],
    ids=lambda words: " ".join(words)[:40].encode("unicode_escape").decode(),
)
def test_a_name_that_leads_elsewhere_is_refused_in_one_line(words, tmp_path):
    environment = {"PYTHONPATH": str(ROOT), "GAMEDAY_HOME": str(tmp_path / "home"), "PATH": ""}
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "harness", *words],
        cwd=inside, capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert re.fullmatch(r"gameday: [^\n\x00-\x1f\x7f-\x9f]{5,1000}\n", done.stderr), done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_a_scenario_names_stays_inside(tmp_path):
    """Names and SLOs of a scenario are names: a file that is there is not read by a path."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out.yaml").write_text(SLO)
    text = (ROOT / "scenarios" / "core" / "placebo.yaml").read_text("utf-8")
    slo = re.search(r"^slo: .*$", text, re.MULTILINE)[0]
    for name in ("../out", str(tmp_path / "out"), "../../etc/passwd", "a/b", "..", "flights.yaml/"):
        path = tmp_path / "in" / "x.yaml"
        path.write_text(text.replace(slo, f"slo: {json.dumps(name)}"))
        done = gameday("check", path)
        assert done.returncode == 2 and "should be a name" in done.stderr, done
        assert len(done.stderr.splitlines()) == 1
    for name in UP:
        named = re.search(r"^name: .*$", text, re.MULTILINE)[0]
        with pytest.raises(ParseError):
            parse.scenario(text.replace(named, f"name: {json.dumps(name)}"), CATALOG)


def test_a_store_of_models_is_not_left_by_a_name(tmp_path):
    from fixtures.serving.artefacts import ArtefactError, open_release

    release = tmp_path / "release"
    release.mkdir()
    shutil.copytree(trained() / "champion", tmp_path / "stolen")
    (version,) = (p.name for p in (tmp_path / "stolen").iterdir())
    for where in (f"../../stolen/{version}", str(tmp_path / "stolen" / version), "..", ".", ""):
        (release / "release.json").write_text(json.dumps({"versions": {"champion": where}}))
        with pytest.raises(ArtefactError):
            open_release(release).artefact("champion")
