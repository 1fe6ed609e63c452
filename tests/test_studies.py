"""Ablations and sweeps as people ask for them: the calls, the words, the exit codes, the files."""

import json

import pytest

from harness.cli import course, main
from harness.cli.sources import read
from harness.cli.sweep import with_severity
from harness.parse.scenario import scenario as parse_scenario
from harness.run import folder as folders
from tests.conftest import CATALOG, ROOT

CORE = ROOT / "scenarios" / "core"
SHORT = (CORE / "pause_replica.yaml").read_text("utf-8")


@pytest.fixture
def short(tmp_path):
    """A scenario that takes as little as there can be judged."""
    path = tmp_path / "short.yaml"
    phases = "{warmup: 5s, baseline: 15s, fault: 17s, recovery: 26s}"
    text = SHORT.replace("{warmup: 10s, baseline: 20s, fault: 22s, recovery: 28s}", phases)
    path.write_text(text.replace("for: 20s", "for: 15s").replace("within: 35s", "within: 30s"))
    return path


def called(capsys, *words):
    """A call in this process: exit code, what it printed, what it complained of."""
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_an_ablation_prints_its_table_keeps_its_runs_and_is_reported_again(
    short, home, tmp_path, capsys
):
    file = tmp_path / "table.md"
    code, out, err = called(capsys, "ablate", short, "--stack", "simulated", "--report", file)
    assert code == 0, out + err
    for words in ("alert TargetDown", "replicas", "load-bearing", "[1] whole", "[4] without"):
        assert words in out
    assert "| `alert TargetDown` | detection | **load-bearing** |" in file.read_text("utf-8")
    code, again, _ = called(capsys, "report", "last")
    assert code == 0 and again in out
    (folder,) = (home / "runs").glob("*-ablation-*")
    for format_, name in (("html", "report.html"), ("markdown", "report.md")):
        _, text, _ = called(capsys, "report", folder.name, "--format", format_)
        assert text == (folder / name).read_text("utf-8")
    assert file.read_text("utf-8") == (folder / "report.md").read_text("utf-8")
    members = [m["run"] for m in json.loads((folder / "study.json").read_text())["members"]]
    assert len(members) == 4
    code, one, _ = called(capsys, "report", members[1])
    assert code == 1 and "not detected" in one
    listed = called(capsys, "runs")[1]
    assert "ablation" in listed and all(run in listed for run in (*members, folder.name))


def test_only_one_defence_and_what_does_not_pass_whole(short, home, capsys):
    less = ("ablate", short, "--stack", "simulated", "--quiet")
    code, out, _ = called(capsys, *less, "--only", "replicas")
    assert code == 0 and "replicas bears load" in out
    assert len(list((home / "runs").glob("*/events.jsonl"))) == 2
    gone_or_elsewhere(home, capsys)
    code, out, _ = called(capsys, *less, "--set", "alerts_off=TargetDown")
    assert code == 3 and "does not pass whole" in out
    assert len(list((home / "runs").glob("*/events.jsonl"))) == 3


def gone_or_elsewhere(home, capsys):
    """A study whose run is gone, or points out of the folder, is refused."""
    (folder,) = (home / "runs").glob("*-ablation-*")
    whole = (folder / "study.json").read_text()
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "events.jsonl").write_text("")
    for run in ("../elsewhere", "20260101T000000Z-gone-000000"):
        body = json.loads(whole)
        body["members"][0]["run"] = run
        (folder / "study.json").write_text(json.dumps(body))
        code, _, err = called(capsys, "report", folder.name)
        assert code == 2 and "is no run beside" in err
    (folder / "study.json").write_text("{")
    assert called(capsys, "report", folder.name)[0] == 2


def test_ctrl_c_tells_what_was_found_so_far(short, home, capsys, monkeypatch):
    carry, made = course.carry, []

    def pressed(*given, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return carry(*given, **more)

    monkeypatch.setattr(course, "carry", pressed)
    code, out, _ = called(capsys, "ablate", short, "--stack", "simulated")
    assert code == 3 and "stopped by Ctrl-C" in out and "load-bearing" in out
    code, again, _ = called(capsys, "report", "last")
    assert code == 3 and again in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ablate", CORE / "placebo.yaml"), "no fault"),
        (("ablate", CORE / "kill_replica.yaml", "--only", "luck"), "no such defence"),
        (("ablate", CORE / "kill_replica.yaml", "--report", "table.pdf"), "suffix"),
        (("ablate", CORE / "kill_replica.yaml", "--report", "no/where.md"), "no folder"),
        (("ablate", CORE / "kill_replica.yaml", "--stack", "processes"), "cannot be without"),
        (("run", CORE / "placebo.yaml", "--severity", "3"), "no fault"),
        (("run", CORE, "--severity", "3", "--report", "x.md"), "one sweep"),
        (("run", CORE, "--report", "x.md"), "one run"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_2_before_anything_runs(words, said, home, capsys):
    code, out, err = called(capsys, *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1, out + err
    assert not (home / "runs").exists()


@pytest.mark.parametrize("text", ["0", "6", "5..1", "", "1..", "a", "1,,2", "1...3"])
def test_a_severity_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", "x.yaml", "--severity", text])
    assert stopped.value.code == 2


def test_a_sweep_names_the_smallest_severity_that_each_alert_saw(home, tmp_path, capsys):
    file = tmp_path / "sweep.json"
    code, out, err = called(
        capsys, "run", CORE / "drop_features.yaml", "--stack", "simulated",
        "--severity", "1,3", "--report", file,
    )  # fmt: skip
    assert code == 0, out + err
    table = json.loads(file.read_text("utf-8"))["sweep"]
    shares = [r["params"]["drop_features-1"]["fraction"] for r in table["rungs"]]
    assert shares == [0.01, 0.2] and [r["bit"] for r in table["rungs"]] == ["pass", "pass"]
    by_alert = {m["alert"]: m for m in table["monitors"]}
    missing = by_alert["FeatureMissing"]
    assert missing["expected"] and missing["smallest"] == 3
    assert [s["seen"] for s in missing["sightings"]] == ["not seen", "seen"]
    assert by_alert["TargetDown"]["said"] == "saw none"
    assert "severity 3" in out and "fraction 0.01" in out
    code, again, _ = called(capsys, "report", "last")
    assert code == 0 and again in out
    record = folders.read(folders.find(table["rungs"][0]["run"]))
    assert "severity: 1" in record.started.text and "# " in record.started.text


def test_a_severity_takes_the_place_of_what_it_sets_and_of_nothing_else():
    text = (CORE / "drop_features.yaml").read_text("utf-8")
    text = text.replace("{severity: 5}", "{features: [dep_delay], fraction: 0.9}  # all of them")
    changed = with_severity(text, 2, CATALOG)
    (step,) = parse_scenario(changed, CATALOG).faults
    assert step.params == {"fraction": 0.05, "features": ["dep_delay"]}
    assert "# all of them" in changed and changed.splitlines()[0] == text.splitlines()[0]
    before, after = parse_scenario(text, CATALOG), parse_scenario(changed, CATALOG)
    assert before.expect == after.expect and before.phases_s == after.phases_s


def test_settings_of_a_source_are_checked():
    source = read(CORE / "kill_replica.yaml", CATALOG, stack="simulated")
    with pytest.raises(ValueError, match="alerts_of"):
        source.with_settings({"alerts_of": ("X",)})


def test_a_severity_that_the_policy_forbids_is_refused_before_the_first_run(home, tmp_path, capsys):
    policy, path = tmp_path / "policy.yaml", tmp_path / "mine.yaml"
    policy.write_text("limits: {traffic: 20%}\n")
    text = (CORE / "drop_features.yaml").read_text("utf-8")
    path.write_text(text.replace("severity: 5", "severity: 1"), "utf-8")
    code, out, err = called(
        capsys, "run", path, "--stack", "simulated", "--severity", "1..5", "--policy", policy
    )
    assert code == 2 and "severity 4" in err and "traffic" in err, out + err
    assert not (home / "runs").exists()
