"""A new file in scenarios/ is tested by existing: on virtual time, in about a second."""

import shutil
import time

import pytest

from harness.cli.judge import judge
from harness.model.analysis import Verdict
from harness.model.scenario import ExpectMark
from harness.run import folder as folders
from tests.conftest import CATALOG, SCENARIOS, gameday, read_scenario
from tests.playing import play


def names(path):
    return path.stem


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Each scenario once, for every test that only reads."""
    made = {}

    def once(path):
        if path not in made:
            started = time.process_time()
            folder, record = play(path, tmp_path_factory.mktemp(path.stem))
            made[path] = folder, record, judge(record, CATALOG), time.process_time() - started
        return made[path]

    return once


@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_it_passes_and_every_fault_bites(path, played):
    _, _, analysis, _ = played(path)
    assert analysis.verdict is Verdict.PASS, analysis.findings
    assert len(analysis.incidents) == len(analysis.spans)


@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_same_seed_same_bytes(path, played, tmp_path):
    folder, _, analysis, _ = played(path)
    again, record = play(path, tmp_path)
    for name in ("events.jsonl", "requests.bin", "series.jsonl", "cases.npz"):
        assert (folder.path / name).read_bytes() == (again.path / name).read_bytes(), name
    assert judge(record, CATALOG) == analysis


@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_another_seed_is_another_run_with_the_same_verdict(path, played, tmp_path):
    folder, _, analysis, _ = played(path)
    other, record = play(path, tmp_path, seed=99)
    assert other.requests.read_bytes() != folder.requests.read_bytes()
    assert judge(record, CATALOG).verdict is analysis.verdict


@pytest.mark.parametrize(
    "keep", [0.02, 0.6, 0.999, *(pytest.param(k, marks=pytest.mark.slow) for k in (0.0, 0.3, 0.9))]
)
@pytest.mark.parametrize("part", ["events.jsonl", "requests.bin"])
@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_a_torn_record_is_readable_and_never_passes(path, part, keep, played, tmp_path):
    folder, *_ = played(path)
    torn = shutil.copytree(folder.path, tmp_path / "torn")
    whole = (torn / part).read_bytes()
    (torn / part).write_bytes(whole[: int(len(whole) * keep)])
    record = folders.read(folders.Folder(torn))
    if not record.events:
        with pytest.raises(folders.FolderError, match="no header"):
            judge(record, CATALOG)
        return
    assert judge(record, CATALOG).verdict is not Verdict.PASS


@pytest.mark.parametrize("part", ["cases.npz", "series.jsonl"])
@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_a_record_that_lacks_a_part_never_passes(path, part, played, tmp_path):
    folder, *_ = played(path)
    lacking = shutil.copytree(folder.path, tmp_path / "lacking")
    (lacking / part).unlink()
    assert judge(folders.read(folders.Folder(lacking)), CATALOG).verdict is not Verdict.PASS


@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_the_report_needs_nothing_but_the_record(path, played, tmp_path):
    folder, *_ = played(path)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("events.jsonl", "requests.bin", "series.jsonl", "cases.npz"):
        shutil.copy(folder.path / name, alone / name)
    for format_ in CATALOG.reports.names():
        render = CATALOG.report(format_)
        here = render(judge(folders.read(folder), CATALOG))
        assert render(judge(folders.read(folders.Folder(alone)), CATALOG)) == here, format_


@pytest.mark.parametrize("path", SCENARIOS, ids=names)
def test_check_finds_nothing_wrong(path):
    done = gameday("check", path)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def expected(path, mark):
    """What a scenario expects of one mark: its lines, or nothing."""
    scenario = read_scenario(path)
    return [e for e in scenario.expect if isinstance(e, ExpectMark) and e.mark == mark]


def alerts(path):
    """The alerts that a scenario says detect its faults."""
    return sorted({e.by["alertname"] for e in expected(path, "detected") if "alertname" in e.by})


def test_every_scenario_that_breaks_something_says_how_it_is_detected():
    for path in SCENARIOS:
        assert alerts(path) or not read_scenario(path).faults, path
