"""The golden table says what the real models say, and the faults cost what the design needs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fixtures.data import FLIGHTS_PATH, GOLDEN_PATH
from fixtures.models import train
from fixtures.models.golden import CASES, MASKS, GoldenTable
from fixtures.serving import features, flights, replay
from fixtures.serving.features import FEATURES

TABLE = GoldenTable.load()
DELAYS = sum(1 << FEATURES.index(f) for f in ("dep_delay", "origin_delay", "carrier_delay"))
RUN = np.arange(15_000)  # a run of two and a half minutes at 100 requests/s


def _paired_loss(answers: NDArray[np.bool_]) -> float:
    right = TABLE.golden[RUN] == TABLE.labels[RUN]
    return float((right & (answers != TABLE.labels[RUN])).mean())


def test_the_table_agrees_with_the_models_trained_here() -> None:
    from fixtures.serving import nets

    release = train.ensure()
    data = flights.load(FLIGHTS_PATH)
    champion = release.artefact("champion")
    net = nets.load(champion)
    rng = np.random.default_rng(7)
    chosen = rng.integers(0, CASES, 40_000)
    masks = rng.integers(0, MASKS, len(chosen))
    inputs = features.matrix(data)[TABLE.first_row + chosen]
    missing = masks[:, None] >> np.arange(len(FEATURES)) & 1 == 1
    imputed = np.where(missing, np.array(champion.manifest.means, np.float32), inputs)
    said = nets.score(net, imputed) >= features.THRESHOLD
    assert (said == TABLE.answers(chosen, "champion", masks)).mean() >= 0.995
    cases = replay.cases(release.root, data, count=CASES)
    everything = np.arange(CASES)
    assert cases.rows[0] == TABLE.first_row
    assert (cases.golden == TABLE.golden).mean() >= 0.995
    assert (cases.baseline == TABLE.answers(everything, "baseline")).mean() >= 0.995


def test_labels_hours_and_rule_are_those_of_the_flights() -> None:
    data = flights.load(FLIGHTS_PATH)
    rows = TABLE.first_row + np.arange(CASES)
    assert TABLE.first_row == data.first_row(replay.DEFAULT_REPLAY_START)
    np.testing.assert_array_equal(TABLE.labels, data.late[rows])
    np.testing.assert_array_equal(TABLE.hours, data.sched_hour[rows])
    np.testing.assert_array_equal(
        TABLE.answers(np.arange(CASES), "rule"), data.dep_delay[rows] > flights.LATE_MIN
    )


def test_imputed_delays_cost_what_the_slo_can_see() -> None:
    assert 0.08 <= _paired_loss(TABLE.answers(RUN, "champion", DELAYS)) <= 0.15
    assert 0.08 <= _paired_loss(TABLE.answers(RUN, "champion", 1)) <= 0.15


def test_the_baseline_costs_less_than_the_budget_in_every_five_seconds() -> None:
    answers = TABLE.answers(RUN, "baseline")
    assert _paired_loss(answers) < 0.01
    bad = (TABLE.golden[RUN] == TABLE.labels[RUN]) & (answers != TABLE.labels[RUN])
    windows = np.convolve(bad, np.ones(500), "valid") / 500
    assert windows.max() < 0.03


def test_the_champion_on_clean_features_costs_nothing() -> None:
    assert _paired_loss(TABLE.answers(RUN, "champion")) == 0
    np.testing.assert_array_equal(TABLE.answers(np.arange(CASES), "champion"), TABLE.golden)


@given(st.lists(st.tuples(st.integers(0, CASES - 1), st.integers(0, MASKS - 1)), max_size=20))
def test_one_answer_and_many_answers_are_the_same(pairs: list[tuple[int, int]]) -> None:
    chosen, masks = np.array(pairs, np.int64).reshape(-1, 2).T
    for model in ("champion", "baseline", "rule"):
        many = TABLE.answers(chosen, model, masks)
        assert many.tolist() == [TABLE.answer(case, model, mask) for case, mask in pairs]


def test_baseline_and_rule_do_not_depend_on_the_store() -> None:
    chosen = np.arange(300)
    for model in ("baseline", "rule"):
        whole = TABLE.answers(chosen, model)
        np.testing.assert_array_equal(whole, TABLE.answers(chosen, model, MASKS - 1))


@pytest.mark.parametrize(("case", "mask"), [(-1, 0), (CASES, 0), (0, -1), (0, MASKS)])
def test_what_is_not_in_the_table_is_refused(case: int, mask: int) -> None:
    for model in ("champion", "rule"):
        with pytest.raises(IndexError, match=re.escape(str(case))):
            TABLE.answer(case, model, mask)
        with pytest.raises(IndexError, match=re.escape(str(case))):
            TABLE.answers(np.array([0, case]), model, np.array([0, mask]))


def test_a_missing_and_a_torn_table_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    with pytest.raises(FileNotFoundError, match=r"fixtures\.models\.golden"):
        GoldenTable.load(path)
    content = GOLDEN_PATH.read_bytes()
    for torn in (b"", b"text", content[:20_000], FLIGHTS_PATH.read_bytes()[:100]):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match="make it again"):
            GoldenTable.load(path)


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys; from fixtures.models.golden import GoldenTable; GoldenTable.load();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
