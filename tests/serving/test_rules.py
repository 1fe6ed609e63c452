import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML

from fixtures.serving import flights
from fixtures.serving.actions import ACTIONS
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


def alerts() -> dict[str, Any]:
    groups = YAML(typ="safe", pure=True).load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


KINDS = {"page": {"cause", "symptom"}, "ticket": {"cause", "symptom"}, "none": {"heartbeat"}}


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_it_is_and_what_to_do_and_is_tested(name: str) -> None:
    rule = alerts()[name]
    labels, annotations = rule["labels"], rule["annotations"]
    assert labels["kind"] in KINDS[labels["severity"]]
    assert len(annotations["summary"]) > 20, "say what is wrong, with the figure and where"
    if "runbook" in labels:
        named = re.sub(r"{{.*?}}", " ", labels["runbook"]).split()
        unknown = set(named) - ACTIONS.keys()
        assert named and not unknown, "a runbook that the control plane does not know"
    else:
        why = "nobody acts on it by itself: add a description of what a person should look at"
        assert len(annotations.get("description", "")) > 40, why
    tested = (RULES / "tests" / "alerts_test.yml").read_text()
    fires = rf"alertname: {name}\n +exp_alerts:\n +- exp_labels"
    assert re.search(fires, tested), "no promtool test in which it fires"


def test_only_the_dead_mans_alert_asks_nobody_for_anything() -> None:
    assert [n for n, rule in alerts().items() if rule["labels"]["severity"] == "none"] == [
        "Watchdog"
    ]
    assert len(alerts()) >= 14


def margin(figure: str) -> float:
    """How far below its reference a figure may be, as the alert has it."""
    found = re.search(rf"released_label_{figure}_reference - ([0-9.]+)", ALERTS.read_text())
    assert found is not None
    return float(found[1])


def default(key: str) -> int:
    value = MonitorConfig.__dataclass_fields__[key].default
    assert isinstance(value, int)
    return value


@dataclass(frozen=True)
class Replayed:
    """All held-out flights, and what the rule says of each."""

    cases: Cases
    rule: NDArray[np.bool_]

    def drops(
        self, answers: NDArray[np.bool_], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far answers are below the rule in accuracy and recall, by window of ``count``."""
        labels, rule = self.cases.labels, self.rule
        accuracy = moving(rule == labels, count) - moving(answers == labels, count)
        late = moving(labels, count)
        late[late * count < default("min_late")] = np.nan
        return accuracy, (moving(rule & labels, count) - moving(answers & labels, count)) / late


def moving(flags: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """The share of flags in every window of ``count``."""
    total = np.concatenate(([0], np.cumsum(flags, dtype=np.int64)))
    return (total[count:] - total[:-count]) / count


@pytest.fixture(scope="module")
def replayed() -> Replayed:
    cases = load_replay(open_release(trained()).replay_path)
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    return Replayed(cases, data.dep_delay[cases.rows] > flights.LATE_MIN)


def test_no_month_day_or_storm_makes_the_healthy_champion_look_bad(replayed: Replayed) -> None:
    accuracy, recall = replayed.drops(replayed.cases.golden, default("min_labels"))
    assert accuracy.max() <= margin("accuracy") - 0.01
    assert np.nanmax(recall) <= margin("recall") - 0.05
    # the reference earns its keep: against a fixed one, storms alone would page
    right = moving(replayed.cases.golden == replayed.cases.labels, default("min_labels"))
    assert right.mean() - right.min() > 2 * margin("accuracy")


def test_a_route_to_the_baseline_does_not_look_bad_at_the_usual_rate(replayed: Replayed) -> None:
    accuracy, recall = replayed.drops(replayed.cases.baseline, 1_000)
    assert accuracy.max() <= margin("accuracy")
    assert np.nanmax(recall) <= margin("recall") - 0.05


@pytest.mark.stack  # it imports torch
def test_a_champion_without_departure_delays_looks_bad_nearly_always(replayed: Replayed) -> None:
    from fixtures.serving import nets
    from fixtures.serving.features import FEATURES, THRESHOLD, impute_matrix, matrix

    artefact = open_release(trained()).artefact("champion")
    data = flights.load(ROOT / "fixtures" / "data" / "flights.npz")
    missing = ("dep_delay", "origin_delay", "carrier_delay")
    mask = sum(1 << FEATURES.index(name) for name in missing)
    starved = impute_matrix(matrix(data)[replayed.cases.rows], mask, artefact.manifest.means)
    answers = nets.score(nets.load(artefact), starved) >= THRESHOLD
    accuracy, recall = replayed.drops(answers, 1_000)
    pages = (accuracy > margin("accuracy")) | (recall > margin("recall"))
    start = data.first_row("11-01") - int(replayed.cases.rows[0])
    assert pages[start : start + 20_000].mean() > 0.9
