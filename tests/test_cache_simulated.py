"""A prediction cache gone wrong in each of its ways, on virtual time: who sees and contains it."""

import pytest

from harness import schema
from harness.analyze.oracle import phase_window
from harness.model.analysis import Verdict
from tests.conftest import CATALOG, ROOT
from tests.playing import judged, play

CORE = (ROOT / "scenarios" / "core" / "corrupt_cache.yaml").read_text("utf-8")
SEES = {"bit_flip": "CacheCorrupt", "wrong_entity": "CacheCorrupt", "flush": "CacheStampede"}


def scenario(mode, folder):
    """The core scenario in another mode, of which the stack's checks leave no harm to callers."""
    text = CORE.replace("{severity: 5}", f"{{severity: 5, mode: {mode}}}")
    text = text.replace("alertname: CacheDisagrees", f"alertname: {SEES[mode]}")
    text = text.replace("faults:", "absorbed: ok\nfaults:")
    path = folder / f"{mode}.yaml"
    path.write_text(text, "utf-8")
    return path


def fell(analysis):
    return {f.check.split(" ")[0]: f for f in analysis.findings if f.verdict is not Verdict.PASS}


@pytest.mark.parametrize("mode", SEES)
def test_it_bites_is_seen_hurts_nobody_and_is_healed(mode, tmp_path):
    analysis = judged(scenario(mode, tmp_path), tmp_path)
    assert analysis.verdict is Verdict.PASS, fell(analysis)
    assert analysis.incidents[0].outcome == "absorbed"


@pytest.mark.parametrize("mode", ["bit_flip", "wrong_entity"])
def test_without_checksums_it_is_answered_from_and_its_alert_is_silent(mode, tmp_path):
    analysis = judged(scenario(mode, tmp_path), tmp_path, cache_checksums=False)
    assert analysis.verdict is Verdict.FAIL and "detected" in fell(analysis)
    assert analysis.incidents[0].outcome != "absorbed"


@pytest.mark.parametrize("mode", SEES)
def test_without_its_alert_it_is_not_detected(mode, tmp_path):
    analysis = judged(scenario(mode, tmp_path), tmp_path, alerts_off=(SEES[mode],))
    assert set(fell(analysis)) == {"detected"}


@pytest.mark.parametrize("other", ["drop_features", "serve_stale_model"])
def test_a_cache_that_is_cold_for_another_reason_is_no_evidence_of_a_flush(other, tmp_path):
    _, record = play(ROOT / "scenarios" / "core" / f"{other}.yaml", tmp_path)
    before, during = phase_window(record, "baseline"), phase_window(record, "fault")
    cold = [sample.value for sample in during.samples if sample.probe == "cache_cold"]
    assert sum(cold) / len(cold) > 0.1, "it was cold"
    for params in CATALOG.fault("corrupt_cache").severities:
        fault = schema.build(CATALOG.fault("corrupt_cache"), {**params, "mode": "flush"})
        assert not fault.evidence(before, during).seen
