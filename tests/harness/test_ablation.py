"""The table itself, on made-up runs: who bears load, who covers for whom, what proves nothing."""

import dataclasses

import pytest

from harness.analyze import ablation
from harness.analyze.ablation import defence_table, findings, next_removal, removal
from harness.model.analysis import Finding, Verdict
from harness.model.defence import Defence
from harness.model.scenario import Bound, ExpectMark, ExpectQuiet, ExpectSli, Mode
from harness.model.study import Declared, Removal, Study, listed
from tests import report_samples
from tests.conftest import ROOT, read_scenario

KINDS = {"A": "detection", "B": "mitigation", "C": "mitigation", "D": "recovery"}
PASS, UNKNOWN, FAIL = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL


def study(names="AB", only=(), off=""):
    declared = [Declared(Defence(n, KINDS[n], "why"), ("f",), n in off) for n in names]
    return Study("s", "ablation", "mine", declared=tuple(declared), only=tuple(only))


def run(without="", fell="", unclear="", verdict=None):
    """A run without some defences, in which some measures fell; lower case: they are unknown."""
    found = tuple(
        Finding(x.upper(), FAIL if x.isupper() else UNKNOWN, "told", "expectation") for x in fell
    )
    verdict = verdict or Verdict.worst([PASS, *(f.verdict for f in found)])
    return Removal("run", tuple(without), UNKNOWN if unclear else verdict, "said", found, unclear)


def played(asked, world, tries=1):
    """Run what is asked for, in a world that says what falls without what."""
    runs, order = [], []
    while (without := next_removal(asked, runs, tries)) is not None:
        order.append("".join(without))
        answer = world("".join(without), order.count("".join(without)))
        runs.append(answer if isinstance(answer, Removal) else run(without, answer))
    return order, defence_table(asked, runs)


def standings(table):
    return {row.defence.name: row.standing for row in table.rows}


def verdict(asked, table):
    return Verdict.worst(f.verdict for f in findings(asked, table))


def test_whole_then_each_alone_then_none_and_both_bear_load():
    asked = study("AB")
    order, table = played(asked, lambda without, _: "M" if without else "")
    assert order == ["", "A", "B", "AB"]
    assert standings(table) == {"A": "load-bearing", "B": "load-bearing"}
    assert verdict(asked, table) is PASS


def test_who_is_not_missed_is_redundant_when_somebody_covers_and_that_is_proved_by_both():
    # B and C stand in for each other; A is needed for something else.
    def world(without, _):
        return ("T" if "A" in without else "") + ("M" if {"B", "C"} <= set(without) else "")

    asked = study("ABC")
    order, table = played(asked, world)
    assert order == ["", "A", "B", "C", "BC", "ABC"]
    rows = {row.defence.name: row for row in table.rows}
    assert rows["B"].standing == rows["C"].standing == "redundant"
    assert rows["B"].covered_by == ("C",) and rows["C"].covered_by == ("B",)
    assert [f.check for f in rows["B"].proof[0].fell] == ["M"]
    assert verdict(asked, table) is FAIL  # only one bears load


def test_a_fall_that_the_other_one_causes_alone_proves_no_cover():
    asked = study("AD")
    order, table = played(asked, lambda without, _: "T" if "A" in without else "")
    assert standings(table) == {"A": "load-bearing", "D": "idle"}
    assert verdict(asked, table) is FAIL


def test_worse_counts_as_more():
    def world(without, _):
        return {"A": "m", "AD": "M"}.get(without, "")

    assert standings(played(study("AD"), world)[1]) == {"A": "load-bearing", "D": "redundant"}


def test_a_measure_that_goes_unknown_bears_load_too_but_without_all_it_must_fail():
    asked = study("AB")
    _, table = played(asked, lambda without, _: "m" if without else "")
    assert set(standings(table).values()) == {"load-bearing"}
    assert verdict(asked, table) is UNKNOWN


def test_what_passes_without_all_of_them_fails():
    asked = study("AB")
    _, table = played(asked, lambda without, _: "M" if len(without) == 1 else "")
    assert [f.verdict for f in findings(asked, table)] == [PASS, PASS, FAIL]


@pytest.mark.parametrize("whole", [run("", "M"), run("", unclear="the harness was late")])
def test_what_does_not_pass_whole_says_nothing_of_its_parts(whole):
    asked = study("AB")
    order, table = played(asked, lambda *_: whole)
    assert order == [""] and set(standings(table).values()) == {"unclear"}
    assert verdict(asked, table) is UNKNOWN
    assert "does not pass whole" in ablation.headline(asked, table, UNKNOWN)


def test_a_run_that_cannot_tell_is_made_again_and_counts_neither_way():
    def world(without, time):
        return run(without, unclear="late") if without == "A" and time == 1 else "M" * bool(without)

    order, table = played(study("AB"), world, tries=2)
    assert order == ["", "A", "A", "B", "AB"] and standings(table)["A"] == "load-bearing"
    order, table = played(study("AB"), world, tries=1)
    assert order == ["", "A", "B", "AB"] and standings(table)["A"] == "unclear"
    assert verdict(study("AB"), table) is UNKNOWN


def test_a_pair_that_cannot_tell_leaves_open_who_covered():
    def world(without, _):
        return run(without, unclear="late") if without == "AD" else "M" * ("A" in without)

    _, table = played(study("AD"), world)
    assert standings(table) == {"A": "load-bearing", "D": "unclear"}
    assert "could not be told" in table.rows[1].because


def test_one_of_them_alone_is_not_asked_for_the_others():
    asked = study("ABC", only=["B"])
    order, table = played(asked, lambda without, _: "M" if "B" in without else "")
    assert order == ["", "B"] and standings(table) == {"B": "load-bearing"}
    assert verdict(asked, table) is PASS
    order, table = played(asked, lambda without, _: "M" if {"B", "C"} <= set(without) else "")
    assert order == ["", "B", "BC", "C"] and standings(table) == {"B": "redundant"}
    assert verdict(asked, table) is PASS
    order, table = played(asked, lambda *_: "")
    assert order == ["", "B", "BC", "AB"] and standings(table) == {"B": "idle"}
    assert verdict(asked, table) is FAIL


def test_what_is_off_already_is_said_and_not_run():
    asked = study("ABC", off="C")
    order, table = played(asked, lambda without, _: "M" if without else "")
    assert order == ["", "A", "B", "AB"] and standings(table)["C"] == "off"


def test_a_stopped_ablation_is_never_a_pass():
    asked = dataclasses.replace(study("AB"), stopped="stopped by Ctrl-C")
    _, table = played(asked, lambda without, _: "M" if without else "")
    assert verdict(asked, table) is UNKNOWN
    assert verdict(asked, defence_table(asked, [])) is UNKNOWN


SCENARIO = dataclasses.replace(
    read_scenario(ROOT / "scenarios" / "core" / "drop_features.yaml"),
    expect=(
        ExpectMark("detected", 10.0, {"alertname": "X"}),
        ExpectMark("mitigated", 20.0),
        ExpectQuiet("actions"),
        ExpectSli(Mode.OVERALL, "success_ratio", Bound("at_least", 0.99)),
    ),
)


def analysed(*answers, checks=(), outcome="detected, mitigated"):
    """An analysis whose expectations got these answers, and these checks others than a pass."""
    expected = [Finding(f"e{n}", v, "told", "expectation") for n, v in enumerate(answers)]
    made = [Finding(check, v, "told") for check, v in checks]
    incident = dataclasses.replace(report_samples.incident(), outcome=outcome)
    return dataclasses.replace(
        report_samples.passed(), findings=(*expected, *made), incidents=(incident,)
    )


def fell(analysis):
    return [f.check for f in removal((), analysis, SCENARIO).fell]


def test_what_the_stack_did_itself_does_not_count():
    assert fell(analysed(PASS, PASS, FAIL, PASS)) == []
    assert fell(analysed(FAIL, UNKNOWN, FAIL, FAIL)) == ["e0", "e1", "e3"]


def test_nobody_hurt_is_no_fall():
    assert fell(analysed(PASS, UNKNOWN, PASS, PASS, outcome="absorbed")) == []
    assert fell(analysed(UNKNOWN, UNKNOWN, PASS, PASS, outcome="absorbed")) == ["e0"]


@pytest.mark.parametrize("check", ablation.MUST_HOLD)
def test_a_trial_that_does_not_count_is_not_clear(check):
    made = removal((), analysed(FAIL, FAIL, PASS, FAIL, checks=[(check, UNKNOWN)]), SCENARIO)
    assert check in made.unclear
    left = analysed(FAIL, PASS, PASS, PASS, checks=[("everything healed", FAIL)])
    assert removal((), left, SCENARIO).unclear == ""


def test_when_the_guard_had_to_step_in_the_defence_was_missed():
    by_guard = analysed(UNKNOWN, UNKNOWN, PASS, UNKNOWN, checks=[("not aborted", FAIL)])
    assert "not aborted" in fell(by_guard) and removal((), by_guard, SCENARIO).unclear == ""
    by_hand = analysed(UNKNOWN, UNKNOWN, PASS, UNKNOWN, checks=[("not aborted", UNKNOWN)])
    assert removal((), by_hand, SCENARIO).unclear


def test_an_alert_that_could_not_be_heard_was_not_missed_for_want_of_a_defence():
    unheard = analysed(UNKNOWN, PASS, PASS, PASS)
    assert removal((), unheard, SCENARIO, "the alerting was not heard").unclear
    assert removal((), unheard, SCENARIO).unclear == ""
    late = analysed(FAIL, UNKNOWN, PASS, PASS)
    assert removal((), late, SCENARIO, "the alerting was not heard").unclear == "", "it is known"


@pytest.mark.parametrize(
    ("names", "said"), [((), ""), (("a",), "a"), (("a", "b"), "a and b"), ("abc", "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names, said):
    assert listed(names) == said
