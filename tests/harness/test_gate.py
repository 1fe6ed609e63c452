import pytest

from harness import parse
from harness.protocols import Reading
from harness.run.gate import steady
from harness.run.tally import Second
from tests.conftest import ROOT

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
