"""Earlier champions are whole and well, and worse today: the further back, the more."""

import numpy as np
import pytest

from fixtures.data import FLIGHTS_PATH
from fixtures.models import exported, train
from fixtures.models.lineage import LINEAGE
from fixtures.serving import artefacts, features, flights, forward, replay
from fixtures.serving.following import check_golden


@pytest.fixture(scope="module")
def data():
    return flights.load(FLIGHTS_PATH)


@pytest.fixture(scope="module")
def release():
    return train.ensure()


def paired(release, data, tensors, start):
    """The share of 13,000 flights on which a model is not wrong where today's champion is right."""
    cases = replay.cases(release.root, data, start=start, count=13_000)
    said = forward.score(tensors, features.matrix(data)[cases.rows]) >= features.THRESHOLD
    return 1 - ((said != cases.labels) & (cases.golden == cases.labels)).mean()


def test_each_release_is_worse_than_the_one_after_it_and_the_oldest_miss_the_slo(release, data):
    for start, late in (("10-12", 0.89), ("12-05", 0.83)):
        found = [
            paired(release, data, artefacts.read_tensors(old.weights_path), start)
            for old in map(release.superseded, range(1, 6))
        ]
        assert found == sorted(found, reverse=True), start
        assert found[0] > 0.99  # last month's is nearly as good: nobody would notice
        assert max(found[3:]) < late < 0.97, found


def test_an_old_champion_is_what_a_registry_would_have_approved(release):
    ends = []
    for back, past in enumerate(LINEAGE, start=1):
        artefact = release.superseded(back)
        manifest = artefact.manifest
        tensors = artefacts.read_tensors(artefact.weights_path)
        assert manifest.fields == features.FEATURES and manifest.model == "champion"
        assert manifest.trained_until == past.trained_until
        check_golden(manifest, lambda rows, tensors=tensors: forward.score(tensors, rows))
        ends.append(manifest.trained_until)
    assert ends == sorted(ends, reverse=True)
    assert release.artefact("champion").manifest.trained_until > ends[0]
    with pytest.raises(artefacts.ArtefactError, match="5 releases back, not 6"):
        release.superseded(6)


def test_a_champion_is_blind_to_what_was_no_feature_yet(release, data):
    rows = features.matrix(data)[-500:]
    for back, past in enumerate(LINEAGE, start=1):
        tensors = artefacts.read_tensors(release.superseded(back).weights_path)
        usual = forward.score(tensors, rows)
        for column, name in enumerate(features.FEATURES):
            other = rows.copy()
            other[:, column] += 50
            changed = bool((np.abs(forward.score(tensors, other) - usual) > 1e-6).any())
            assert changed is (name not in past.without), (back, name)


def test_the_exported_ones_are_those_of_the_release(release):
    assert tuple(version for version, _ in exported.load().older) == release.older
    for back, (_, weights) in enumerate(exported.load().older, start=1):
        kept = artefacts.read_tensors(release.superseded(back).weights_path)
        assert weights.keys() == kept.keys()
        assert all((weights[name] == kept[name]).all() for name in kept)
