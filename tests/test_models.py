"""Models are good enough, made once, the same wherever they are made, and refused when changed."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fixtures.data import FLIGHTS_PATH
from fixtures.models import measure, train
from fixtures.serving import artefacts, features, flights, replay
from fixtures.serving.artefacts import ArtefactError, Release
from fixtures.serving.flights import Flights


@pytest.fixture(scope="module")
def release() -> Release:
    return train.ensure()  # the user's cache: trained once, then shared with every test and run


@pytest.fixture(scope="module")
def data() -> Flights:
    return flights.load(FLIGHTS_PATH)


def test_the_champion_is_good_and_the_baseline_close(release: Release) -> None:
    champion = release.artefact("champion").manifest.metrics
    baseline = release.artefact("baseline").manifest.metrics
    assert champion["auc"] >= 0.88
    assert champion["auc"] > baseline["auc"] >= 0.87
    assert champion["accuracy"] >= 0.9


def test_a_manifest_says_what_the_model_is_made_of(release: Release, data: Flights) -> None:
    manifest = release.artefact("champion").manifest
    assert manifest.fields == features.FEATURES
    assert manifest.data_fingerprint == data.fingerprint()
    assert manifest.code_revision == train.code_revision()
    assert release.folder("champion").name == manifest.version == manifest.weights_sha256[:12]
    trained = features.matrix(data)[: data.held_out.start]
    np.testing.assert_allclose(manifest.means, trained.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(manifest.stds, trained.std(0, dtype=float), rtol=1e-6)
    for by_hour in (manifest.score_by_hour, manifest.accuracy_by_hour):
        assert len(by_hour) == 24
        assert all(0 < value < 1 for value in by_hour)
    assert manifest.score_by_hour[20] > manifest.score_by_hour[6] + 0.1  # delays grow by day


def test_what_is_made_is_found_again_without_torch(release: Release) -> None:
    code = (
        "import sys; from fixtures.models import train; print(train.ensure().root);"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(release.root)


def test_another_seed_is_another_release() -> None:
    assert train.release_key(1) != train.release_key(2) == train.release_key(2)


def test_the_replay_is_the_champion_on_clean_features(release: Release, data: Flights) -> None:
    from fixtures.serving import nets

    cases = replay.load_replay(release.replay_path)
    assert cases.rows.tolist() == list(data.held_out)
    np.testing.assert_array_equal(cases.labels, data.late[cases.rows])
    some = slice(30_000, 34_000)
    champion = nets.load(release.artefact("champion"))
    scores = nets.score(champion, features.matrix(data)[cases.rows[some]])
    np.testing.assert_allclose(scores, cases.score[some], atol=1e-5)
    np.testing.assert_array_equal(cases.golden, cases.score >= features.THRESHOLD)
    baseline = nets.load(release.artefact("baseline"))
    said = nets.score(baseline, features.request_matrix(data)[cases.rows[some]]) >= 0.5
    assert (said == cases.baseline[some]).mean() > 0.999


def test_one_flight_scores_as_it_does_in_a_batch(release: Release, data: Flights) -> None:
    from fixtures.serving import nets

    inputs = features.matrix(data)[-64:]
    net = nets.load(release.artefact("champion"))
    one_by_one = np.concatenate([nets.score(net, inputs[i : i + 1]) for i in range(len(inputs))])
    np.testing.assert_allclose(one_by_one, nets.score(net, inputs), atol=1e-6)


def test_an_unknown_carrier_is_scored_and_not_an_error(release: Release) -> None:
    from fixtures.serving import nets

    net = nets.load(release.artefact("baseline"))
    rows = np.array([[60, 500, 8, 10, 16, 3], [60, 500, 8, 10, 99, -1]], np.float32)
    assert (nets.score(net, rows) > 0.5).all()


@pytest.mark.parametrize("model", ["champion", "baseline"])
def test_rounding_and_threads_do_not_change_what_is_learned(model: str, data: Flights) -> None:
    import torch

    from fixtures.serving import nets

    subject = next(s for s in measure.subjects(data) if s.model == model)
    few = measure.Subject(
        model, subject.fields, subject.inputs, subject.labels, subject.hours,
        slice(0, 20_000), slice(20_000, 30_000),
    )  # fmt: skip
    threads = torch.get_num_threads()
    learned = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            net = nets.build(model)
            train.initialise(net, few, seed=5)
            recipe = train.Recipe(epochs=2)
            train.fit(net, few, None, seed=5, device="cpu", recipe=recipe)
            learned.append(artefacts.pack(nets.tensors_of(net)))
    finally:
        torch.set_num_threads(threads)
    assert learned[0] == learned[1]


def _release(root: Path, tensors: dict[str, NDArray[np.float32]] | None = None) -> Release:
    facts = {
        "model": "champion", "data_fingerprint": "d", "code_revision": "c", "seed": 1,
        "torch_version": "none", "device": "cpu", "fields": ("a",), "means": (0.5,),
        "stds": (1.0,), "metrics": {"auc": 0.9}, "score_by_hour": (0.1,) * 24,
        "accuracy_by_hour": (0.9,) * 24,
    }  # fmt: skip
    with artefacts.publishing(root) as draft:
        artefacts.publish(draft, tensors or {"w": np.arange(6, dtype=np.float32)}, facts)
    return artefacts.open_release(root)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    release = _release(tmp_path / "r")
    path = release.artefact("champion").weights_path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="its manifest says"):
        release.artefact("champion")


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    release = _release(tmp_path / "r")
    path = release.folder("champion") / "manifest.json"
    path.chmod(0o644)
    whole = path.read_text()
    path.write_text(whole.replace("0.5", "0.6"))
    with pytest.raises(ArtefactError, match="changed since it was written"):
        release.artefact("champion")
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="torn"):
        release.artefact("champion")
    path.unlink()
    with pytest.raises(ArtefactError, match=r"python -m fixtures\.models\.train"):
        release.artefact("champion")


def test_a_release_is_never_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "r"
    first = _release(root)
    second = _release(root, {"w": np.zeros(6, np.float32)})
    assert first.versions == second.versions
    with pytest.raises(FileExistsError):
        artefacts.write_durably(first.artefact("champion").weights_path, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_training_that_fails_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "store" / "r"
    with pytest.raises(RuntimeError), artefacts.publishing(root) as draft:
        (draft / "half").write_text("done")
        raise RuntimeError
    assert not list(root.parent.iterdir())
    with pytest.raises(ArtefactError, match="no release at"):
        artefacts.open_release(root)


def test_weights_survive_the_file_and_a_torn_file_is_refused(tmp_path: Path) -> None:
    tensors = {"b": np.array([[1.5, -2], [3, 4]], np.float32), "a": np.zeros(0, np.float32)}
    path = tmp_path / "store" / "r" / "champion" / "weights.safetensors"
    path.parent.mkdir(parents=True)
    whole = artefacts.pack(tensors)
    path.write_bytes(whole)
    read = artefacts.read_tensors(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name], tensor)
    header = int.from_bytes(whole[:8], "little")
    assert json.loads(whole[8 : 8 + header])["b"]["shape"] == [2, 2]
    for torn in (b"", whole[:7], whole[:30], whole[:-1], b"\xff" * 40):
        path.write_bytes(torn)
        with pytest.raises(ArtefactError, match="torn"):
            artefacts.read_tensors(path)


def test_the_store_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert artefacts.store_root() == tmp_path / "gameday" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert artefacts.store_root() == tmp_path / "home" / ".cache" / "gameday" / "models"


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    late = [score for score, label in pairs if label]
    on_time = [score for score, label in pairs if not label]
    scores = np.array([score for score, _ in pairs], float)
    found = measure.auc(scores, np.array([label for _, label in pairs]))
    if not late or not on_time:
        assert np.isnan(found)
        return
    wins = sum((a > b) + (a == b) / 2 for a, b in product(late, on_time))
    assert found == pytest.approx(wins / (len(late) * len(on_time)))


def test_cases_are_consecutive_flights_from_a_day_on(release: Release, data: Flights) -> None:
    cases = replay.cases(release.root, data, start="11-01", count=500)
    first = data.first_row("11-01")
    assert cases.rows.tolist() == list(range(first, first + 500))
    np.testing.assert_array_equal(cases.labels, data.late[cases.rows])
    with pytest.raises(ValueError, match="trained up to"):
        replay.cases(release.root, data, start="08-31", count=1)
    with pytest.raises(ValueError, match="send fewer requests"):
        replay.cases(release.root, data, start="12-31", count=5000)


def test_a_request_names_its_flight_and_carries_what_a_caller_knows(data: Flights) -> None:
    row = data.first_row("10-08")
    (sent,) = replay.bodies(data, np.array([row], np.int32), tenant="kiosk")
    request = orjson.loads(sent)
    carried = data.carried(row)
    assert request["id"] == "r-0"
    assert request["parameters"] == {"flight_id": f"f{row}", "tenant": "kiosk"}
    found = {entry["name"]: entry for entry in request["inputs"]}
    assert list(found) == list(features.REQUEST_FIELDS)
    for name, entry in found.items():
        assert entry["shape"] == [1]
        assert entry["data"] == [getattr(carried, name)]
    datatypes = [entry["datatype"] for entry in request["inputs"]]
    assert datatypes == ["FP32", "FP32", "INT32", "INT32", "BYTES", "BYTES"]
