"""A fault that did nothing must not be able to say that it bit."""

import numpy as np
import pytest

from harness import schema
from harness.model.events import Sampled
from harness.model.rows import ROW
from harness.model.window import Requests, Window
from tests.conftest import CATALOG


def window(masks, lacking=()):
    rows = np.zeros(len(masks), ROW)
    rows["mask"] = masks
    none = np.zeros(len(masks), bool)
    samples = tuple(
        Sampled(t=0.5, probe="store_lacking", node="redis", value=share) for share in lacking
    )
    return Window(0.0, 1.0, Requests(rows, none, none), samples, (), ())


@pytest.mark.parametrize(
    ("before", "during", "seen"),
    [
        ([0] * 100, [0] * 100, False),  # nothing happened
        ([0] * 100, [129] * 100, True),
        ([0] * 100, [129] * 30 + [0] * 70, False),  # far fewer than were to be hit
        ([129] * 100, [129] * 100, False),  # it was so before
        ([0] * 100, [], False),
        ([-1] * 100, [-1] * 100, False),  # nobody knows
    ],
)
def test_dropped_features_show_in_the_masks_of_the_answers(before, during, seen):
    fault = schema.build(CATALOG.fault("drop_features"), {"fraction": 1.0})
    evidence = fault.evidence(window(before), window(during))
    assert evidence.seen is seen, evidence.because


@pytest.mark.parametrize(
    ("before", "during", "lacked", "seen"),
    [
        ([0] * 1000, [129] * 40 + [0] * 960, [0.0, 0.0, 0.1], True),  # one request in 25 was hit
        ([0] * 1000, [129] * 10 + [0] * 990, [0.1], False),  # far fewer than the store lacked
        ([0] * 1000, [0] * 1000, [0.1], False),
        ([0] * 1000, [0] * 1000, [0.0], False),  # the segment did not come by
        ([0] * 1000, [129] * 4 + [0] * 996, [0.004], False),  # too few to believe
        ([129] * 40 + [0] * 960, [129] * 40 + [0] * 960, [0.04], False),  # it was so before
        ([0] * 1000, [129] * 1000, [], False),  # nobody says how large the segment is
    ],
)
def test_a_segment_is_held_against_its_own_share(before, during, lacked, seen):
    evening = {"segment": "sched_hour", "segment_from": 17, "segment_to": 20, "fraction": 1.0}
    fault = schema.build(CATALOG.fault("drop_features"), evening)
    usual = [float(np.mean(np.array(before) > 0))]
    evidence = fault.evidence(window(before, usual), window(during, lacked))
    assert evidence.seen is seen, evidence.because


@pytest.mark.parametrize("name", CATALOG.faults.names())
def test_no_fault_is_seen_in_windows_that_hold_nothing(name):
    cls = CATALOG.fault(name)
    for params in cls.severities:
        assert not schema.build(cls, params).evidence(window([]), window([])).seen
