"""The models without torch say what the models with torch say, and what the golden table says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.data import FLIGHTS_PATH, MODELS_PATH
from fixtures.models import exported, train
from fixtures.models.golden import CASES, MASKS, GoldenTable
from fixtures.serving import features, flights, profile
from fixtures.serving.features import FEATURES, THRESHOLD

MODELS = exported.load()
TABLE = GoldenTable.load()
MEANS = MODELS.weights["champion"]["mean"].tolist()


def test_the_forward_pass_is_torchs_within_the_promise() -> None:
    from fixtures.serving import nets

    release = train.ensure()
    champion, baseline = (nets.load(release.artefact(m)) for m in exported.MODELS)
    rng = np.random.default_rng(3)
    wild = MODELS.features[:5_000] * rng.choice([0.02, 1, 10, 60, -5], (5_000, 9))
    for inputs in (MODELS.features, wild.astype(np.float32)):
        np.testing.assert_allclose(
            MODELS.champion(inputs), nets.score(champion, inputs), atol=1e-4, rtol=0
        )
    np.testing.assert_allclose(
        MODELS.baseline(MODELS.requests), nets.score(baseline, MODELS.requests), atol=1e-4, rtol=0
    )


def test_what_is_exported_is_the_release_of_this_code() -> None:
    release = train.ensure()
    assert MODELS.versions == release.versions
    assert MODELS.versions["champion"] == TABLE.champion_version
    assert MODELS.versions["baseline"] == TABLE.baseline_version
    trained = profile.read(release.artefact("champion").folder)
    assert trained.version == MODELS.profile.version == TABLE.champion_version
    for ours, theirs in zip(MODELS.profile.columns, trained.columns, strict=True):
        if ours.name != profile.SCORE:  # whose last bits depend on the machine
            assert ours == theirs
        assert ours.psi == pytest.approx(theirs.psi, rel=0.02)


def test_features_and_requests_are_those_of_the_flights() -> None:
    data = flights.load(FLIGHTS_PATH)
    rows = TABLE.first_row + np.arange(CASES)
    np.testing.assert_array_equal(MODELS.features, features.matrix(data)[rows])
    np.testing.assert_array_equal(MODELS.requests, features.request_matrix(data)[rows])


def test_every_answer_of_the_golden_table_comes_out_clean_and_imputed() -> None:
    everything = np.arange(CASES)
    baseline = MODELS.baseline(MODELS.requests) >= THRESHOLD
    np.testing.assert_array_equal(baseline, TABLE.answers(everything, "baseline"))
    np.testing.assert_array_equal(MODELS.champion(MODELS.features) >= THRESHOLD, TABLE.golden)
    for mask in (1 << bit for bit in range(len(FEATURES))):
        imputed = features.impute_matrix(MODELS.features, mask, MEANS)
        said = MODELS.champion(imputed) >= THRESHOLD
        np.testing.assert_array_equal(said, TABLE.answers(everything, "champion", mask))


@pytest.mark.slow
def test_every_answer_of_every_mask_comes_out() -> None:
    everything = np.arange(CASES)
    for mask in range(MASKS):
        said = MODELS.champion(features.impute_matrix(MODELS.features, mask, MEANS)) >= THRESHOLD
        np.testing.assert_array_equal(said, TABLE.answers(everything, "champion", mask))


def test_a_wild_logit_is_a_probability() -> None:
    wild = np.full((4, 9), 1e30, np.float32) * np.array([[1], [-1], [0], [1e-30]], np.float32)
    assert ((MODELS.champion(wild) >= 0) & (MODELS.champion(wild) <= 1)).all()


def test_a_missing_and_a_torn_file_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "models.npz"
    with pytest.raises(FileNotFoundError, match=r"fixtures\.models\.exported"):
        exported.Exported.load(path)
    content = MODELS_PATH.read_bytes()
    for torn in (b"", b"text", content[:50_000], FLIGHTS_PATH.read_bytes()):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match="make them again"):
            exported.Exported.load(path)


def test_the_same_release_makes_the_same_file(tmp_path: Path) -> None:
    exported.make(train.ensure(), tmp_path / "models.npz")
    again = exported.Exported.load(tmp_path / "models.npz")
    assert again.versions == MODELS.versions
    np.testing.assert_array_equal(again.features, MODELS.features)
    for model in exported.MODELS:
        for name, tensor in MODELS.weights[model].items():
            np.testing.assert_array_equal(again.weights[model][name], tensor)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from fixtures.models import exported; exported.load();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
