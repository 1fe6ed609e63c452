import dataclasses

import pytest

from harness import parse
from harness.model import events as ev
from harness.protocols import Reading
from harness.run.gate import steady
from harness.run.tally import Second
from tests.conftest import CATALOG, ROOT, read_scenario
from tests.playing import play

SLO = parse.slo((ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8"), name="flights")


def seconds(count=10, *, success=1.0, correct=1.0, completed=100):
    return [
        Second(float(n), completed, success, correct, 10.0, 0.0, completed) for n in range(count)
    ]


def test_a_healthy_stack_passes_and_says_with_what():
    passed, because = steady(seconds(), SLO, (), [Reading("replica_ready", "replica-0", 1)])
    assert passed and "success_ratio 100.00%" in because


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (((), SLO, (), ()), "only 0 of the last"),
        ((seconds(completed=0), SLO, (), ()), "only 0 of the last"),
        ((seconds(4), SLO, (), ()), "only 4 of the last"),
        ((seconds(success=0.98), SLO, (), ()), "success_ratio was 98.00%"),
        ((seconds(correct=0.9), SLO, (), ()), "paired_correctness was 90.00%"),
        ((seconds(correct=None), SLO, (), ()), "no data on paired_correctness"),
        ((seconds(), SLO, ({"alertname": "FeatureMissing"},), ()), "FeatureMissing"),
        ((seconds(), SLO, (), (), ("kill-1",)), "not healed: kill-1"),
        ((seconds(), SLO, (), (Reading("replica_ready", "replica-1", 0),)), "replica-1"),
        ((seconds(), SLO, (), (), (), 12.0), "dead-man's alert for 12 s"),
    ],
)
def test_an_unhealthy_stack_or_no_data_does_not(args, words):
    passed, because = steady(*args)
    assert not passed and words in because


def test_nothing_is_broken_on_top_of_what_could_not_be_healed_not_even_on_purpose(
    tmp_path, monkeypatch
):
    """The third fault overlaps with the second, and was to come when the first is healed."""
    core = ROOT / "scenarios" / "core"
    first, second, third = (
        dataclasses.replace(
            read_scenario(core / f"{name}.yaml", "simulated").faults[0], at_s=at_s, for_s=for_s
        )
        for name, at_s, for_s in (
            ("drop_features", 1.0, 8.0), ("kill_replica", 4.0, 20.0), ("pause_replica", 14.0, 5.0),
        )
    )  # fmt: skip

    def three(scenario):
        return dataclasses.replace(scenario, faults=(first, second, third), expect=())

    async def refuse(*_):
        raise RuntimeError("no heal today")

    def run(name):
        return play(core / "drop_features.yaml", tmp_path, run=name, change=three)[1]

    assert [span.fault for span in run("heals").spans] == [
        "drop_features", "kill_replica", "pause_replica",
    ]  # fmt: skip
    monkeypatch.setattr(CATALOG.fault("drop_features"), "heal", refuse)
    record = run("does-not")
    assert [span.fault for span in record.spans] == ["drop_features", "kill_replica"]
    assert [gate.passed for gate in record.of(ev.Gated)] == [True, False]
    (aborted,) = record.of(ev.Aborted)
    assert aborted.by == "gate" and aborted.because == "not healed: drop_features-1"
