"""The command as its users meet it: in a process of its own, with the mistakes people make."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT, gameday

CORE = ROOT / "scenarios" / "core"
GOOD = (CORE / "drop_features.yaml").read_text("utf-8")


def refused(done):
    """Exit 2, one line on stderr, no traceback; return the line."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("gameday: "), done.stderr
    return lines[0]


@pytest.mark.parametrize("verb", ["check", "run", "plan"])
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed: 11", "sead: 11", "unknown key 'sead'"),
        ("drop_features: {", "drop_nothing: {", "no fault called 'drop_nothing'"),
        ("for: 30s", "for: 30", "write it with a unit"),
        ("severity: 5", "severity: 6", "it goes from 1 (mildest) to 5"),
        ("for: 30s", "for: 300s", "needs a fault phase of"),
    ],
)
def test_a_wrong_scenario_is_one_line_with_file_line_value_and_remedy(
    tmp_path, verb, old, new, words
):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    line = refused(gameday(verb, path))
    assert words in line and re.search(r"mine\.yaml:\d+: ", line)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"\x7fELF\x02\x00\xff\xfe" * 50, "not a text file"),
        (b"a: 1\n" * 2_500_000, "at most 128 kB is read"),
        (b"", "holds 0 documents"),
        (
            b"a: &a [x,x,x,x,x,x,x,x,x]\n"
            + b"".join(
                b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9))
                for i in range(9)
            ),
            "aliases counted",
        ),
    ],
    ids=["missing", "binary", "10 MB", "empty", "exploding anchors"],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    assert words in refused(gameday("check", path))


def test_a_folder_is_no_file_and_an_empty_one_says_so(tmp_path):
    assert "no scenario" in refused(gameday("check", tmp_path))


def test_a_fault_that_the_stack_cannot_host_is_refused(tmp_path, monkeypatch):
    """Played on a stack made for this test, which offers nothing."""
    stacks = tmp_path / "barestacks"
    stacks.mkdir()
    (stacks / "__init__.py").write_text("")
    (stacks / "bare.py").write_text(
        '"""Nothing to break."""\nfrom dataclasses import dataclass\nfrom harness import stack\n'
        '@stack\n@dataclass\nclass Bare:\n    """Bare."""\n    virtual_time = True\n'
        '    def topology(self):\n        return {"feed": ("feed",)}\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from harness import parse
    from harness.catalog import Catalog, Folder
    from harness.parse import ParseError

    catalog = Catalog(stacks=Folder("barestacks", "stack"))
    with pytest.raises(ParseError, match="'bare' cannot host the fault 'drop_features'"):
        parse.scenario(GOOD, catalog, source="x.yaml", stack="bare")


def test_help_and_no_verb_and_an_unknown_verb():
    assert "exit codes:" in gameday("--help").stdout
    assert gameday().returncode == 2
    assert gameday("explode").returncode == 2


def test_help_loads_nothing_that_is_slow():
    code = (
        "import sys; from harness.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "slow = {'torch','locust','kubernetes','pandas','numpy','asyncio','aiohttp','rich',"
        "'ruamel.yaml','jinja2','prometheus_api_client','gevent'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_check_loads_nothing_that_is_slow():
    code = (
        "import sys; from harness.cli import main\n"
        f"assert main(['check', {str(CORE / 'drop_features.yaml')!r}]) == 0\n"
        "slow = {'torch','locust','kubernetes','pandas','numpy','aiohttp','asyncio',"
        "'prometheus_api_client','redis','gevent'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_plan_is_told_to_people_moment_by_moment(home):
    done = gameday("plan", CORE / "drop_features.yaml", "--seed", 3)
    told = done.stdout.splitlines()
    assert told[0].startswith("drop_features on local, seed 3: ")
    moments = [line.split("s  ", 1) for line in told if re.match(r" +[0-9.]+s  ", line)]
    assert [what.split(" ")[0] for _, what in moments] == [
        *("phase", "phase", "phase", "inject", "heal", "phase", "the"),
    ]
    assert [float(at_s) for at_s, _ in moments] == sorted(float(at_s) for at_s, _ in moments)
    assert any("into feed (fraction 1.0)" in line for line in told)
    assert sum("   expect  " in line for line in told) == 6
    assert not home.exists()


def test_a_plan_is_json_for_machines_and_touches_nothing(home):
    done = gameday("plan", CORE / "drop_features.yaml", "--seed", 3, "--json")
    plan = json.loads(done.stdout)
    assert plan["seed"] == 3 and plan["requests"] > 10_000
    assert [s["do"] for s in plan["steps"]].count("inject") == 1
    assert not home.exists()


def test_a_run_a_report_and_the_list_of_runs(home):
    done = gameday("run", CORE / "drop_features.yaml", "--stack", "simulated")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("PASS", "TTD", "TTM", "TTR", "report.html"):
        assert word in done.stdout
    (folder,) = (home / "runs").iterdir()
    assert (folder / "report.html").stat().st_size < 600_000
    again = gameday("report", "last")
    assert again.returncode == 0 and again.stdout in done.stdout
    html = gameday("report", folder.name, "--format", "html")
    assert html.stdout == (folder / "report.html").read_text("utf-8")
    listed = gameday("runs")
    assert "finished" in listed.stdout and folder.name in listed.stdout
    assert "nothing to heal" in gameday("heal", folder.name).stdout
    record = (folder / "events.jsonl").read_text("utf-8")  # as of a run from somebody else
    name = '"scenario":"drop_features"'
    assert name in record
    hostile = record.replace(name, r'"scenario":"\u001b]0;x\u0007\u001b[31m"', 1)
    (folder / "events.jsonl").write_text(hostile)
    listed = gameday("runs").stdout
    assert folder.name in listed and re.search(r"[\x00-\x09\x0b-\x1f]", listed) is None


def test_several_scenarios_end_in_one_table_and_the_worst_exit_code(home):
    done = gameday("run", CORE, "--stack", "simulated", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    worse = gameday("run", CORE, "--stack", "simulated", "--set", "runbooks=none", "--quiet")
    assert worse.returncode in (1, 3)
    assert "placebo" in worse.stdout and "drop_features" in worse.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("run", "x.yaml", "--set", "runbooks"),
        ("report", "../../etc"),
        ("report", "last"),
        ("faults", "nothing"),
        ("stack", "up", "--name", "simulated"),
        ("stack", "up", "--name", "nothing"),
        ("new", "x", "--fault", "nothing"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2(words, home):
    refused(gameday(*words))


def test_faults_are_listed_and_described():
    assert "drop_features" in gameday("faults").stdout
    page = gameday("faults", "drop_features").stdout
    assert "| 5 | `fraction: 1.0` |" in page and "FeedRewritable" in page


def test_a_new_scenario_is_right_as_it_is_written(tmp_path, monkeypatch):
    import subprocess
    import sys

    def there(*words):
        return subprocess.run(
            [sys.executable, "-m", "harness", *words],
            cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    assert there("new", "mine").returncode == 0
    checked = there("check", "mine.yaml")
    assert checked.returncode == 0, checked.stderr
    assert there("new", "mine").returncode == 2


def test_stack_status_and_down_without_a_stack(home):
    for action in ("status", "down"):
        done = gameday("stack", action)
        assert done.returncode == 0 and "no stack 'local' is up" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alertname: FeatureMissing", "alertname: FeatureMising"),
        ("faults:", "abort:\n  - unexpected_alert: {allow: [FeatureMising]}\nfaults:"),
        ("faults:", "abort:\n  - alert: {alertname: FeatureMising}\nfaults:"),
        ("expect:", "expect:\n  - no_alerts: {allow: [FeatureMising]}"),
    ],
)
@pytest.mark.parametrize("stack", ["local", "simulated"])
def test_check_warns_of_an_alert_that_the_stack_does_not_have(tmp_path, stack, old, new):
    text = (CORE / "drop_features.yaml").read_text()
    path = tmp_path / "typo.yaml"
    path.write_text(text.replace(old, new, 1))
    done = gameday("check", path, "--stack", stack)
    assert done.returncode == 0
    assert f"the stack {stack} has no alert 'FeatureMising' that tells of a fault" in done.stderr
    assert "'FeatureMissing'" not in done.stderr


def test_an_slo_that_is_not_there_is_named_with_its_line_and_those_that_are_shipped(tmp_path):
    path = tmp_path / "lost.yaml"
    text = (CORE / "drop_features.yaml").read_text().replace("slo: flights", "slo: nothing")
    path.write_text(text)
    line = text.splitlines().index("slo: nothing") + 1
    done = gameday("check", path)
    assert done.returncode == 2 and f"lost.yaml:{line}: slo: no SLO file" in done.stderr
    assert "shipped: flights" in done.stderr


def test_a_day_that_nobody_can_replay_is_refused_before_anything_starts():
    for day in ("13-45", "08-31", "1-1", "tomorrow", "09-31", "11-31"):
        done = gameday("check", CORE / "placebo.yaml", "--set", f"replay_from={day}")
        assert done.returncode == 2 and "should be a month and day" in done.stderr, day


def test_a_setting_that_a_stack_does_not_have_is_refused_with_the_stacks_name():
    done = gameday("check", CORE / "placebo.yaml", "--set", "bogus=1")
    assert done.returncode == 2
    assert "--set: stack 'local': unknown parameter 'bogus'" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("rate: 120/s", "rate: 20000/s", "load:"),
        ("recovery: 32s", "recovery: 8s", "phases:"),
        ("    for: 30s", "    for: 40s", "  - drop_features:"),
        ("mitigated: {within: 20s}", "mitigated: {within: 25s}", "  - mitigated:"),
        ("detected: {by: {alertname: FeatureMissing}, within: 10s}",
         "detected: {within: 2m}", "  - detected:"),
    ],
)  # fmt: skip
def test_what_the_phases_cannot_hold_is_refused_at_its_own_line(old, new, at, tmp_path):
    path, text = tmp_path / "mine.yaml", (CORE / "drop_features.yaml").read_text()
    assert old in text
    text = text.replace(old, new)
    if at == "load:":
        text = text.replace("warmup: 10s", "warmup: 10m")
    path.write_text(text)
    line = next(n for n, words in enumerate(text.splitlines(), 1) if words.startswith(at))
    done = gameday("check", path)
    assert done.returncode == 2 and f"mine.yaml:{line}: " in done.stderr, done.stderr


@pytest.mark.parametrize("by", ["{alertname: Watchdog}", "{severity: none}"])
def test_who_takes_the_dead_mans_alert_for_a_detection_is_warned(by, tmp_path):
    path, text = tmp_path / "mine.yaml", (CORE / "drop_features.yaml").read_text()
    path.write_text(text.replace("{alertname: FeatureMissing}", by))
    done = gameday("check", path)
    assert done.returncode == 0 and "warning: " in done.stderr, done.stderr


@pytest.mark.parametrize("words", [("docs", "schema"), ("plan", CORE / "placebo.yaml")])
def test_who_stops_reading_is_told_no_more_and_it_is_never_a_pass(words):
    """As in `gameday docs schema | head -1`, where the exit code may be looked at all the same."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writes)
    assert (done.returncode, done.stderr) == (3, "")
