import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.serving import flights
from fixtures.serving.artefacts import open_release
from fixtures.serving.monitor import MonitorConfig
from fixtures.serving.replay import Cases, load_replay
from tests.serving.rig import ROOT, trained

RULES = ROOT / "fixtures" / "serving" / "rules"
ALERTS = RULES / "alerts.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (prometheus) is not on PATH")


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_every_rule_file_is_one_that_prometheus_takes() -> None:
    files = sorted(map(str, RULES.glob("*.yml")))
    assert "SUCCESS" in promtool("check", "rules", *files)


@needs_promtool
@pytest.mark.parametrize("path", sorted((RULES / "tests").glob("*.yml")), ids=lambda p: p.stem)
def test_the_rules_fire_when_they_should_and_not_when_not(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_every_alert_says_what_it_is_and_is_tested() -> None:
    text = ALERTS.read_text()
    blocks = text.split("- alert: ")[1:]
    tested = (RULES / "tests" / "alerts_test.yml").read_text()
    assert len(blocks) == 7
    for block in blocks:
        name = block.split()[0]
        assert re.search(r"labels: \{severity: page, kind: (cause|symptom)", block), name
        assert re.search(rf"alertname: {name}\n +exp_alerts:\n +- exp_labels", tested), name


def margin() -> float:
    found = re.search(r"released_label_accuracy_reference - ([0-9.]+)", ALERTS.read_text())
    assert found is not None
    return float(found[1])


def default_min_labels() -> int:
    return int(MonitorConfig.__dataclass_fields__["min_labels"].default)


@pytest.fixture(scope="module")
def replayed() -> tuple[Cases, NDArray[np.bool_]]:
    """All held-out flights, and what the rule says of each."""
    cases = load_replay(open_release(trained()).replay_path)
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    return cases, data.dep_delay[cases.rows] > flights.LATE_MIN


def worst_drop(
    answers: NDArray[np.bool_], rule: NDArray[np.bool_], labels: NDArray[np.bool_], count: int
) -> float:
    """How far answers ever are below the rule, over all windows of ``count`` labels in order."""
    lost = (rule == labels).astype(np.int64) - (answers == labels)
    total = np.concatenate(([0], np.cumsum(lost)))
    return float((total[count:] - total[:-count]).max()) / count


def test_no_month_day_or_storm_makes_the_healthy_champion_look_bad(
    replayed: tuple[Cases, NDArray[np.bool_]],
) -> None:
    cases, rule = replayed
    assert worst_drop(cases.golden, rule, cases.labels, default_min_labels()) <= margin() - 0.01
    # the reference earns its keep: against a fixed one, storms alone would page
    right = np.convolve(cases.golden == cases.labels, np.full(500, 1 / 500), "valid")
    assert right.mean() - right.min() > 2 * margin()


def test_a_route_to_the_baseline_does_not_look_bad_at_the_usual_rate(
    replayed: tuple[Cases, NDArray[np.bool_]],
) -> None:
    cases, rule = replayed
    assert worst_drop(cases.baseline, rule, cases.labels, 1_000) <= margin()


@pytest.mark.stack
def test_a_champion_without_departure_delays_looks_bad_nearly_always(
    replayed: tuple[Cases, NDArray[np.bool_]],
) -> None:
    from fixtures.serving import nets
    from fixtures.serving.features import FEATURES, THRESHOLD, impute_matrix, matrix

    cases, rule = replayed
    artefact = open_release(trained()).artefact("champion")
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    mask = 1 << FEATURES.index("dep_delay") | 1 << 7 | 1 << 8  # and the rolling delays
    clean = matrix(data)[cases.rows]
    starved = nets.score(nets.load(artefact), impute_matrix(clean, mask, artefact.manifest.means))
    lost = (rule == cases.labels).astype(float) - ((starved >= THRESHOLD) == cases.labels)
    drops = np.convolve(lost, np.full(1_000, 1 / 1_000), "valid")
    assert np.mean(drops > margin()) > 0.7
