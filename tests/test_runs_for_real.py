"""Whole runs on real processes, by the command that people type.

The long ones (ten runs of each scenario, and the runs with a defence off) are marked slow and print
their figures; `make test` makes one run, and stops another half-way.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.analyze.hearing import beats, silences
from harness.cli.judge import judge
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.model.dead_man import is_dead_man
from harness.run import folder as folders
from tests.conftest import CATALOG, ROOT, gameday

CORE = ROOT / "scenarios" / "core"
RUN_WITHIN_S = 240
STOP_WITHIN_S = 60


def command_line(pid):
    """What a process was started with; nothing once it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def processes_of(home):
    """Every process whose command line names the place where this test's runs live."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line = command_line(pid)
        if str(home) in line and int(pid) != os.getpid():
            found.append(line.strip())
    return found


def run(home, scenario, *more):
    """One run; its record, its analysis and its exit code."""
    done = gameday(
        "run", CORE / f"{scenario}.yaml", "--plain", *more,
        timeout_s=RUN_WITHIN_S, env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    os.environ["GAMEDAY_HOME"] = str(home)
    folder = folders.find("last")
    record = folders.read(folder)
    return folder, record, judge(record, CATALOG), done


def seconds(estimate):
    if estimate is None:
        return "none"
    sign = "> " if estimate.censored else ""
    return f"{sign}{estimate.value_s:.2f} [{estimate.low_s:.2f}, {estimate.high_s:.2f}]"


@pytest.mark.stack
@pytest.mark.timeout(RUN_WITHIN_S + 60)
def test_the_core_scenario_passes_and_its_report_needs_nothing_but_the_record(home):
    folder, record, analysis, done = run(home, "drop_features")
    assert done.returncode == 0, done.stdout + done.stderr
    assert analysis.verdict is Verdict.PASS
    (incident,) = analysis.incidents
    assert incident.outcome == "detected, mitigated"
    for value in (incident.ttd, incident.ttm, incident.ttr):
        assert value is not None and not value.censored
        assert value.low_s <= value.value_s <= value.high_s
    assert processes_of(home) == []
    html = (folder.path / "report.html").read_bytes()
    assert len(html) < 400_000
    for gone in ("stack", "load"):
        subprocess.run(["rm", "-r", folder.path / gone], check=True)
    again = gameday("report", folder.path, "--format", "html")
    assert again.stdout.encode() == html


@pytest.mark.stack
@pytest.mark.timeout(RUN_WITHIN_S)
@pytest.mark.parametrize("after", ["standing up", pytest.param("in force", marks=pytest.mark.slow)])
def test_ctrl_c_heals_and_takes_everything_down(home, after):
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", CORE / "drop_features.yaml", "--plain"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    try:
        for line in child.stdout:
            if after in line:
                break
        child.send_signal(signal.SIGINT)
        asked = time.monotonic()
        child.send_signal(signal.SIGINT)  # people press it twice
        rest = child.stdout.read()
        code = child.wait(STOP_WITHIN_S)
    finally:
        child.kill()
        child.communicate()
    assert time.monotonic() - asked < STOP_WITHIN_S
    assert code in (3, 4), rest
    assert processes_of(home) == []
    record = folders.read(folders.find("last"))
    assert any(isinstance(e, ev.Aborted) for e in record.events)
    assert all(span.healed_s is not None for span in record.spans)
    assert judge(record, CATALOG).verdict is not Verdict.PASS


@pytest.mark.slow
@pytest.mark.timeout(12 * RUN_WITHIN_S)
def test_ten_runs_detect_and_mitigate_every_time(home):
    for seed in range(1, 11):
        _, _, analysis, done = run(home, "drop_features", "--seed", seed)
        (incident,) = analysis.incidents
        print(
            f"\nseed {seed}: {analysis.verdict.name} {incident.outcome};"
            f" TTD {seconds(incident.ttd)} TTM {seconds(incident.ttm)} TTR {seconds(incident.ttr)}",
            flush=True,
        )
        assert done.returncode == 0, done.stdout
        assert incident.outcome == "detected, mitigated"


def quiet(home, *more):
    """One placebo run in which nothing happens but that the dead-man's alert is heard."""
    _, record, analysis, done = run(home, "placebo", *more)
    print(f"\n{' '.join(map(str, more))}: {analysis.headline}", flush=True)
    assert done.returncode == 0, done.stdout
    assert record.actions == () and all(is_dead_man(a.labels) for a in record.alerts)
    assert len(beats(record)) > 20 and silences(record) == []
    return record


@pytest.mark.slow
@pytest.mark.timeout(2 * RUN_WITHIN_S)
def test_a_placebo_whose_alertmanager_dies_half_way_was_not_quiet_but_deaf(home):
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", CORE / "placebo.yaml", "--plain"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    try:
        next(line for line in child.stdout if "gate passed" in line)
        (pid,) = (
            int(pid)
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if str(home) in (line := command_line(pid)) and "alertmanager" in line.split(" ")[0]
        )
        os.kill(pid, signal.SIGKILL)
        child.stdout.read()
        assert child.wait(RUN_WITHIN_S) == 3
    finally:
        child.kill()
        child.communicate()
    analysis = judge(folders.read(folders.find("last")), CATALOG)
    found = {f.check: f for f in analysis.findings}
    assert found["no alerts"].verdict is Verdict.UNKNOWN, found
    assert "the alerting was not heard from" in found["no alerts"].because
    assert found["alerting alive"].verdict is Verdict.PASS  # it was, before
    assert "not any more" in found["alerting alive"].because


@pytest.mark.slow
@pytest.mark.timeout(2 * RUN_WITHIN_S)
def test_no_alert_but_the_dead_mans_fires_through_the_winter_storms(home):
    record = quiet(home, "--seed", 1, "--set", "replay_from=12-05")
    late = record.requests.label
    days = [late[first : first + 900].mean() for first in range(0, len(late) - 900, 900)]
    assert max(days) > 0.6 and sum(share > 0.4 for share in days) >= 5  # they were in it


@pytest.mark.slow
@pytest.mark.timeout(12 * RUN_WITHIN_S)
def test_no_alert_but_the_dead_mans_fires_in_nine_more_placebo_runs(home):
    for seed in range(2, 11):
        quiet(home, "--seed", seed)


@pytest.mark.slow
@pytest.mark.timeout(2 * RUN_WITHIN_S)
def test_without_the_runbook_nothing_mitigates_and_the_run_does_not_pass(home):
    _, _, analysis, done = run(home, "drop_features", "--set", "runbooks=none")
    assert done.returncode in (1, 3)
    (incident,) = analysis.incidents
    assert incident.outcome == "detected, unmitigated"
    assert incident.ttm is not None and incident.ttm.censored


@pytest.mark.slow
@pytest.mark.timeout(2 * RUN_WITHIN_S)
def test_without_the_alert_rule_detection_is_missing_and_the_run_does_not_pass(home):
    _, _, analysis, done = run(home, "drop_features", "--set", "alerts_off=FeatureMissing")
    assert done.returncode in (1, 3)
    (incident,) = analysis.incidents
    assert incident.ttd is None or incident.ttd.censored
