"""A fault that did nothing must not be able to say that it bit."""

import numpy as np
import pytest

from harness import schema
from harness.model.rows import ROW
from harness.model.window import Requests, Window
from tests.conftest import CATALOG


def window(masks):
    rows = np.zeros(len(masks), ROW)
    rows["mask"] = masks
    none = np.zeros(len(masks), bool)
    return Window(0.0, 1.0, Requests(rows, none, none), (), (), ())


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


@pytest.mark.parametrize("name", CATALOG.faults.names())
def test_no_fault_is_seen_in_windows_that_hold_nothing(name):
    cls = CATALOG.fault(name)
    for params in cls.severities:
        assert not schema.build(cls, params).evidence(window([]), window([])).seen
