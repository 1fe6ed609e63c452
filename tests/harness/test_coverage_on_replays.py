"""How often the intervals of the marks hold the truth, on runs of the simulated stack.

The truth is the stack's own (``truth``), and the arrival of the notification as the stack sent it;
the analysis reads neither. Bad answers come in clumps here, by the hour and the weather of real
flights, which a generator of independent events cannot show.
"""

import asyncio
import dataclasses

import numpy as np
import pytest

from harness import parse, schema
from harness.analyze.incidents import incidents
from harness.analyze.oracle import Oracle
from harness.plan import hold_s, plan
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.journal import FileJournal
from harness.run.runner import Header, Run
from tests.conftest import CATALOG, SCENARIOS, read_scenario
from tests.playing import SLO_TEXT

DROP_FEATURES = next(path for path in SCENARIOS if path.stem == "drop_features")
FEW = range(3000, 3040)
MANY = range(5000, 5200)
COVERED = 0.93
WIDE_S = 1.0
HONEST_S = 6.0  # by bad answers alone: half of the flights hit, and those of the morning not hurt
SAID_OF_ITSELF = ("model", "version", "fallback", "mask")


@dataclasses.dataclass(frozen=True)
class Replay:
    """One run, what really happened in it (run time), and what is found in it."""

    record: object
    scenario: object
    slo: object
    truth: dict

    def found(self, *, told=True):
        """The incident; with ``told`` off, as if answers did not say who gave them."""
        record = self.record
        if not told:
            rows = record.requests.rows.copy()
            for column in SAID_OF_ITSELF:
                rows[column] = -1 if column == "mask" else b""
            requests = dataclasses.replace(record.requests, rows=rows)
            record = dataclasses.replace(record, requests=requests)
        oracle = Oracle(record, self.slo, hold_s(self.scenario, self.slo))
        return incidents(oracle, self.scenario)[0]


def replay(seed, parent):
    """Run drop_features at another hour of other flights, hitting all of them or half."""
    scenario = read_scenario(DROP_FEATURES, "simulated")
    step = dataclasses.replace(scenario.faults[0], params={"fraction": 0.5 if seed % 3 else 1.0})
    phases_s = {**scenario.phases_s, "warmup": 10.0 + seed % 16}
    scenario = dataclasses.replace(scenario, faults=(step,), phases_s=phases_s, stack_params={})
    slo = parse.slo(SLO_TEXT, name=scenario.slo)
    stack, heard = schema.build(CATALOG.stack("simulated"), {}), []
    listen_to(stack, heard)
    folder = folders.create("run", parent)
    header = Header("run", SLO_TEXT, {}, {}, {})
    faults = CATALOG.load_faults({"drop_features"})
    planned = plan(scenario, slo, stack.topology(), seed=seed)
    with (
        FileJournal(folder.events) as journal,
        asyncio.Runner(loop_factory=loop_factory(True)) as runner,
    ):
        runner.run(Run(planned, stack, faults, folder, journal, header).execute())
    record = folders.read(folder)
    return Replay(record, scenario, slo, true_marks(record, stack.truth, heard))


def listen_to(stack, heard):
    """Note when each notification is handed over, on the stack's clock, before the harness has it.

    Notifications are told by their labels, so that the first of the alert that counts is known.
    """
    up = stack.up

    async def listened(site):
        def notify(notification):
            now_s = asyncio.get_running_loop().time()
            heard.append((now_s, notification.status, notification.labels["alertname"]))
            return site.notify(notification)

        await up(dataclasses.replace(site, notify=notify))

    stack.up = listened


def true_marks(record, truth, heard):
    """Run times of what really happened: see ``harness.analyze.impact`` for what the marks mean."""
    zero_s, due_s = record.started.wall_s, record.requests.due_s
    spoilt_s = truth.first("feed_spoilt")
    asked = next(i for i in truth.instants if i.what == "asked_lacking" and i.at_s >= spoilt_s)
    routed_s = truth.first("routed", "baseline") - zero_s
    firing = [t for t, status, name in heard if (status, name) == ("firing", "FeatureMissing")]
    case = record.requests.rows["case"] == int(asked.value)
    return {
        "t_impact": float(due_s[case][0]),
        "t_mitigate": float(due_s[due_s.searchsorted(routed_s)]),
        "t_detect": firing[0] - zero_s,
    }


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return [replay(seed, tmp_path_factory.mktemp("few")) for seed in FEW]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return [replay(seed, tmp_path_factory.mktemp("many")) for seed in MANY]


def cover(replays, mark, **how):
    """(share that hold the truth, median width, how many were dated)."""
    held, widths_s = [], []
    for run in replays:
        found = run.found(**how).mark(mark).at
        if found is None or found.censored:
            continue  # a fault at night hurts nobody, and then there is nothing to date
        held.append(found.low_s - 1e-6 <= run.truth[mark] <= found.high_s + 1e-6)
        widths_s.append(found.high_s - found.low_s)
    return np.mean(held), np.median(widths_s), len(held)


def check(replays, mark, *, wide_s, **how):
    held, width_s, dated = cover(replays, mark, **how)
    print(f"{mark} {how}: {held:.1%} of {dated} of {len(replays)}, median width {width_s:.3f} s")
    assert dated >= 0.6 * len(replays)
    assert held >= COVERED
    assert width_s <= wide_s


MARKS = ("t_impact", "t_mitigate", "t_detect")


@pytest.mark.parametrize("mark", MARKS)
def test_the_intervals_hold_the_truth(mark, few):
    check(few, mark, wide_s=WIDE_S)


@pytest.mark.parametrize("mark", MARKS[:2])
def test_they_do_so_where_answers_do_not_say_who_gave_them(mark, few):
    check(few, mark, wide_s=HONEST_S, told=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mark", MARKS)
def test_the_intervals_of_two_hundred_runs_hold_the_truth(mark, many):
    check(many, mark, wide_s=WIDE_S)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mark", MARKS[:2])
def test_two_hundred_do_so_where_answers_do_not_say_who_gave_them(mark, many):
    check(many, mark, wide_s=HONEST_S, told=False)
