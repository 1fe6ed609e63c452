"""Which defences matter, proved for every scenario that breaks something. Nothing here names one.

A new fault is proved by its scenario being there: two of its defences or more bear load, what is
redundant has somebody who covers for it, and without all of them the scenario fails.
"""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from harness.analyze.ablation import next_removal, removal
from harness.analyze.expectations import spell_expect
from harness.cli.ablate import ablatable, study_of
from harness.cli.judge import Several, judge_study, judged
from harness.cli.sources import read
from harness.model.analysis import Verdict
from harness.model.scenario import ExpectMark, ExpectQuiet
from harness.model.study import Member
from harness.run import folder as folders
from harness.run import studies
from tests.conftest import CATALOG, ROOT, SCENARIOS, gameday, read_scenario
from tests.playing import play

BREAKING = [path for path in SCENARIOS if path.parent.name == "core" and read_scenario(path).faults]
ABLATE_WITHIN_S = 900


def ablated(path, parent):
    """The whole table on virtual time: its study, its analysis, and the scenario."""
    source = read(path, CATALOG, stack="simulated")
    stack, several = ablatable(source), Several()
    study = dataclasses.replace(study_of(source, stack, ()), id=f"{path.stem}-ablation")
    while (without := next_removal(study, several.removals)) is not None:
        run = f"run-{len(study.members)}"
        settings = {**source.scenario.stack_params, **stack.without(without)}
        _, record = play(path, parent, run=run, **settings)
        study = dataclasses.replace(study, members=(*study.members, Member(run, without)))
        several.add(study, judged(record, CATALOG))
    return study, several.judge(study), source.scenario


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Each table once, with the folder of its runs."""
    made = {}

    def once(path):
        if path not in made:
            folder = tmp_path_factory.mktemp(path.stem)
            made[path] = *ablated(path, folder), folder
        return made[path]

    return once


@pytest.mark.parametrize("path", BREAKING, ids=lambda p: p.stem)
def test_its_defences_matter_and_without_all_of_them_it_fails(path, tables):
    _, analysis, scenario, _ = tables(path)
    table = analysis.ablation
    assert analysis.verdict is Verdict.PASS, analysis.findings
    assert table.whole.verdict is Verdict.PASS
    assert table.all_off.verdict is Verdict.FAIL
    bearing = [row for row in table.rows if row.standing == "load-bearing"]
    assert len(bearing) >= 2
    counts = {spell_expect(e) for e in scenario.expect if not isinstance(e, ExpectQuiet)}
    for row in bearing:
        assert row.without.fell and {f.check for f in row.without.fell} <= counts
    for row in table.rows:
        assert row.standing in ("load-bearing", "redundant", "idle"), row.because
        if row.standing == "redundant":
            assert row.without.fell == () and row.covered_by and row.proof[0].fell
        if row.standing == "idle":  # said, and allowed: a fault has defences for each of its modes
            assert row.without.fell == () and "does nothing here" in row.because


@pytest.mark.parametrize("path", BREAKING, ids=lambda p: p.stem)
def test_without_the_alert_nobody_is_told_and_without_the_runbook_nobody_mends(path, tables):
    _, analysis, scenario, _ = tables(path)
    alone = {row.defence.name: row.without for row in analysis.ablation.rows}
    marks = [e for e in scenario.expect if isinstance(e, ExpectMark)]
    for expect in marks:
        fell = spell_expect(expect)
        if expect.mark == "detected":
            fallen = alone[f"alert {expect.by['alertname']}"].fell
            assert Verdict.FAIL in [f.verdict for f in fallen if f.check == fell]
        if expect.mark == "mitigated":
            missed = [run for name, run in alone.items() if name.startswith("runbook ")]
            assert any(f.check == fell for run in missed for f in run.fell)


def test_the_same_run_falls_the_same_and_so_does_its_record(tables, tmp_path):
    path = min(BREAKING, key=lambda p: sum(read_scenario(p).phases_s.values()))
    study, analysis, _, runs = tables(path)
    assert judge_study(studies.create(study, runs), CATALOG) == (0, analysis)
    last, member = analysis.ablation.runs[-1], study.members[-1]
    source = read(path, CATALOG, stack="simulated")
    settings = {**source.scenario.stack_params, **ablatable(source).without(member.without)}
    again = judged(play(path, tmp_path, run=member.run, **settings)[1], CATALOG)
    assert removal(member.without, again.analysis, again.scenario) == last


@pytest.mark.slow
@pytest.mark.stack
@pytest.mark.timeout(ABLATE_WITHIN_S + 60)
@pytest.mark.parametrize("path", BREAKING, ids=lambda p: p.stem)
def test_a_defence_of_it_bears_load_on_real_processes(path, tables, home):
    """One that does on virtual time; no alert, for that one is missed surprises nobody."""
    bearing = [
        r.defence.name for r in tables(path)[1].ablation.rows if r.standing == "load-bearing"
    ]
    name = next(name for name in bearing if not name.startswith("alert "))
    done = gameday(
        "ablate", path, "--stack", "local", "--only", name,
        timeout_s=ABLATE_WITHIN_S, env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    _, analysis = judge_study(studies.find_study("last"), CATALOG)
    (row,) = analysis.ablation.rows
    assert row.standing == "load-bearing", row.because


@pytest.mark.slow
@pytest.mark.stack
@pytest.mark.timeout(ABLATE_WITHIN_S)
def test_ctrl_c_in_the_middle_heals_and_tells_what_was_found(home):
    child = subprocess.Popen(
        [sys.executable, "-m", "harness", "ablate", ROOT / "scenarios/core/drop_features.yaml",
         "--only", "runbook route_to_baseline"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "GAMEDAY_HOME": str(home)},
    )  # fmt: skip
    try:
        for line in child.stdout:
            if "in force" in line:
                break
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        code = child.wait(60)
    finally:
        child.kill()
        child.communicate()
    assert code == 3, rest
    assert "stopped by SIGINT" in rest and "healed" in rest
    record = folders.read(folders.find(str(next((home / "runs").glob("*/events.jsonl")).parent)))
    assert all(span.healed_s is not None for span in record.spans)
