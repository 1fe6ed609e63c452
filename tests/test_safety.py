"""What may end a run before its time, by the command that people type."""

import os
import signal
import subprocess
import sys

import pytest

from harness.model import events as ev
from harness.run import folder as folders
from tests.conftest import ROOT, gameday

GOOD = (ROOT / "scenarios" / "core" / "drop_features.yaml").read_text("utf-8")
HURT = "abort:\n  - {sli: paired_correctness, below: 90%, for: 2s}\n"


@pytest.fixture
def scenario(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


def run(path, *more, stack="simulated"):
    return gameday("run", path, "--stack", stack, *more)


def record():
    return folders.read(folders.find("last"))


def test_the_abort_guard_heals_at_once_and_exits_4(home, scenario):
    done = run(scenario(GOOD + HURT))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Stopped before its end" in done.stdout
    (span,) = record().spans
    (aborted,) = record().of(ev.Aborted)
    assert aborted.by == "guard" and "paired_correctness" in aborted.because
    assert span.healed_s - aborted.t < 2  # virtual seconds


def test_a_guard_that_is_never_crossed_changes_nothing(home, scenario):
    calm = "abort:\n  - {sli: success_ratio, below: 50%, for: 5s}\n"
    assert run(scenario(GOOD + calm)).returncode == 0


def test_an_unexpected_alert_aborts_and_an_allowed_one_does_not(home, scenario):
    allow = "abort:\n  - unexpected_alert: {allow: [%s]}\n"
    assert run(scenario(GOOD + allow % "Other")).returncode == 4
    assert run(scenario(GOOD + allow % "FeatureMissing, QualityDrop")).returncode == 0


def test_nothing_runs_while_halted_and_resume_lets_it(home, scenario):
    path = scenario(GOOD)
    assert gameday("halt", "--reason", "drill").returncode == 0
    refused = run(path)
    assert refused.returncode == 4 and "drill" in refused.stderr and not (home / "runs").exists()
    assert gameday("resume").returncode == 0
    assert run(path).returncode == 0
    assert gameday("verify").returncode == 0
    trail = home / "halt.jsonl"
    trail.write_bytes(trail.read_bytes().replace(b"drill", b"drilk"))
    assert gameday("verify").returncode != 0


def test_a_policy_that_a_scenario_cannot_override(home, scenario, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("limits: {nodes: 50%}\n")
    done = run(scenario(GOOD), "--policy", policy)
    assert done.returncode == 2 and "policy.yaml" in done.stderr and "50%" in done.stderr


def test_a_closed_window_refuses_at_the_start(home, scenario, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "windows:\n  - {kind: deny, schedule: '* * * * *', duration: 1h, time_zone: UTC,\n"
        "     description: freeze}\n"
    )
    done = gameday("run", scenario(GOOD), "--policy", policy)  # on the local stack: never stood up
    assert done.returncode == 4 and "freeze" in done.stderr and not (home / "runs").exists()


def test_a_later_fault_is_not_injected_into_a_stack_that_is_not_steady(home, scenario):
    text = GOOD.replace("fault: 32s", "fault: 60s").replace("for: 30s", "for: 20s")
    text = text[: text.index("expect:")].rstrip() + (
        "\n  - drop_features: {severity: 5}\n    where: all feed\n    at: 23s\n    for: 20s\n"
        "expect:\n  - overall: {sli: success_ratio, at_least: 99%, during: fault}\n"
    )
    done = run(scenario(text))
    assert done.returncode == 4, done.stdout
    assert [g.passed for g in record().of(ev.Gated)] == [True, False]
    assert [s.id for s in record().spans] == ["drop_features-1"]


def test_the_gate_looks_again_when_the_first_fault_is_not_due_at_once(home, scenario):
    text = GOOD.replace("fault: 32s", "fault: 52s").replace("at: 1s", "at: 20s")
    assert text.count("20s") > GOOD.count("20s")
    done = run(scenario(text))
    gates = [g.t for g in record().of(ev.Gated)]
    (span,) = record().spans
    assert len(gates) == 2 and span.intended_s - gates[1] < 1 < 15 < gates[1] - gates[0], done


def test_faults_that_overlap_are_overlapped_on_purpose_and_pass_one_gate(home, scenario):
    text = GOOD[: GOOD.index("expect:")].rstrip() + (
        "\n  - kill_replica: {severity: 5}\n    where: one replica\n    at: 5s\n    for: 20s\n"
        "expect:\n  - overall: {sli: success_ratio, at_least: 50%, during: fault}\n"
    )
    done = run(scenario(text))
    assert [g.passed for g in record().of(ev.Gated)] == [True], done
    first, second = record().spans
    assert first.injected_s < second.injected_s < first.healing_s


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_stops_one_run_of_several_stops_all(home, scenario, number):
    path = scenario(GOOD.replace("stack: local", "stack: processes"))
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", path, path, "--plain"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    try:
        for line in child.stdout:
            if "phase warmup" in line:
                break
        child.send_signal(number)
        rest, _ = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 3 and "[2/2]" not in rest, rest
    assert "1 not run, because the one before was stopped" in rest
    assert len(list((home / "runs").iterdir())) == 1


def test_halt_stops_a_run_on_real_processes(home, scenario):
    text = GOOD.replace("stack: local", "stack: processes")
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", scenario(text), "--plain"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    try:
        for line in child.stdout:
            if "phase warmup" in line:
                break
        assert gameday("halt", "--reason", "enough").returncode == 0
        rest = child.stdout.read()
        assert child.wait(60) == 4, rest
    finally:
        child.kill()
        child.communicate()
    (aborted,) = record().of(ev.Aborted)
    assert aborted.by == "halt" and "enough" in aborted.because
