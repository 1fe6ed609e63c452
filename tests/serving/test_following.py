"""A model server follows the registry, and takes up nothing that it should not."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from fixtures.serving import artefacts, forward, signing
from fixtures.serving.artefacts import Artefact
from fixtures.serving.following import Follower, ProbeError, Store, Trust, check_golden
from fixtures.serving.refresher import validate
from tests.serving.registering import Furnished, furnished, serve
from tests.serving.rig import TOKEN, Rig, call, free_address, rig

SAID = {"who": "ann", "why": "a test"}


@dataclass
class Server:
    """A model server that loads nothing: it writes down what it was asked to serve."""

    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    served: list[str] = field(default_factory=list)
    golden_probe: bool = True

    async def serve(self, artefact: Artefact) -> None:
        tensors = artefacts.read_tensors(artefact.weights_path)
        if self.golden_probe:
            check_golden(artefact.manifest, lambda rows: forward.score(tensors, rows))
        self.served.append(artefact.manifest.version)

    def loads(self, outcome: str) -> float:
        return (
            self.metrics.get_sample_value("model_server_loads_total", {"outcome": outcome}) or 0.0
        )


@pytest.fixture
def made(tmp_path: Path) -> Furnished:
    return furnished(tmp_path)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as started:
        yield started


def following(
    where: str, folder: Path, public: str, do: Callable[[Follower, Server], Any], **trust: bool
) -> Server:
    """Have a follower of its own do something, in a loop of its own."""
    server = Server(golden_probe=trust.get("golden_probe", True))
    asks = Trust(public_key=public, **trust)

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            follower = Follower(
                *(where, Store(folder, asks), asks, session, server.metrics), every_s=0.02
            )
            await do(follower, server)

    asyncio.run(run())
    return server


async def begin(follower: Follower, server: Server) -> None:
    await follower.begin(server.serve, 5.0)


async def begin_at_once(follower: Follower, server: Server) -> None:
    await follower.begin(server.serve, 0.2)


def promote(where: str, version: str) -> None:
    body = {"version": version, **SAID}
    assert call("PUT", where, "/admin/aliases/champion", body, token=TOKEN)[0] == 200


def test_what_is_named_is_served_and_so_is_what_is_named_next(
    made: Furnished, running: Rig, tmp_path: Path
) -> None:
    where = serve(running, made)
    new, old = made.versions

    async def follow(follower: Follower, server: Server) -> None:
        await begin(follower, server)
        task = asyncio.create_task(follower.run(server.serve))
        await asyncio.to_thread(promote, where, old)
        async with asyncio.timeout(30):
            while server.served != [new, old]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        follower.refresh()
        age_s = server.metrics.get_sample_value("model_age_seconds", {"model": "champion"})
        assert age_s is not None and age_s > 86_000
        task.cancel()

    server = following(where, tmp_path / "models", made.public, follow)
    assert server.loads("ok") == 2 and server.loads("refused") == 0


def test_a_server_that_starts_while_the_registry_is_away_serves_what_was_good_last(
    made: Furnished, running: Rig, tmp_path: Path
) -> None:
    where = serve(running, made)
    models = tmp_path / "models"
    promote_old = made.versions[1]
    running.ready("registry")
    promote(where, promote_old)
    assert following(where, models, made.public, begin).served == [promote_old]
    running.kill("registry")
    assert following(where, models, made.public, begin_at_once).served == [promote_old]
    # and nothing at all where nothing was good before, or what was has been tampered with
    assert following(where, tmp_path / "new", made.public, begin_at_once).served == []
    path = models / promote_old / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert following(where, models, made.public, begin_at_once).served == []


def test_a_new_server_without_a_registry_has_nothing_of_its_own(tmp_path: Path) -> None:
    _, public = signing.new_key()
    assert following(free_address(), tmp_path, public, begin_at_once).served == []


def forge(made: Furnished, *, redo_digests: bool) -> None:
    """Put the weights of the oldest version into the champion's, as an intruder with the disk."""
    new, old = made.versions
    folder = made.root / "artefacts" / new
    weights = (made.root / "artefacts" / old / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").chmod(0o644)
    (folder / "weights.safetensors").write_bytes(weights)
    if not redo_digests:
        return
    path = folder / "manifest.json"
    body = json.loads(path.read_text())["manifest"]
    digest = hashlib.sha256(weights).hexdigest()
    body |= {"weights_sha256": digest, "version": digest[:12]}
    seal = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.chmod(0o644)
    path.write_text(json.dumps({"manifest": body, "sha256": seal}))
    # under the version that the digest makes it, or nobody would look twice
    shutil.rmtree(made.root / "artefacts" / old)
    folder.rename(made.root / "artefacts" / old)


def test_weights_that_are_not_those_of_the_manifest_are_refused_whatever_is_switched_off(
    made: Furnished, running: Rig, tmp_path: Path
) -> None:
    forge(made, redo_digests=False)
    where = serve(running, made)
    for number, off in enumerate(({}, {"signatures": False, "golden_probe": False})):
        server = following(where, tmp_path / str(number), made.public, begin, **off)
        assert server.served == [] and server.loads("refused") == 1


@pytest.mark.parametrize(
    ("off", "served"),
    [
        ({}, False),
        ({"signatures": False}, False),
        ({"golden_probe": False}, False),
        ({"signatures": False, "golden_probe": False}, True),
    ],
)
def test_an_artefact_that_is_whole_and_forged_is_stopped_by_signature_and_by_probe(
    off: dict[str, bool], served: bool, made: Furnished, running: Rig, tmp_path: Path
) -> None:
    old = made.versions[1]
    forge(made, redo_digests=True)
    where = serve(running, made)
    running.ready("registry")
    promote(where, old)
    server = following(where, tmp_path / "models", made.public, begin, **off)
    assert bool(server.served) is served
    assert server.loads("refused") == (0 if served else 1)


def test_a_stamp_by_somebody_else_is_refused(made: Furnished, running: Rig, tmp_path: Path) -> None:
    where = serve(running, made)
    _, other = signing.new_key()
    server = following(where, tmp_path / "models", other, begin)
    assert server.served == [] and server.loads("refused") == 1
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_a_model_that_answers_nothing_is_not_taken_for_one_that_answers_rightly(
    made: Furnished,
) -> None:
    artefact = artefacts.load(made.root / "artefacts" / made.versions[0])
    with pytest.raises(ProbeError, match="32 of 32"):
        check_golden(artefact.manifest, lambda rows: np.full(len(rows), np.nan, np.float32))


def test_the_refresher_stamps_nothing_that_it_would_not_serve(made: Furnished) -> None:
    new, _ = made.versions

    def files() -> dict[str, bytes]:
        folder = made.root / "artefacts" / new
        return {name: (folder / name).read_bytes() for name in artefacts.FILES}

    good = files()
    signed = {name: hashlib.sha256(content).hexdigest() for name, content in good.items()}
    validate(new, good, signed)
    forge(made, redo_digests=False)
    with pytest.raises(signing.StampError, match="not those that were signed"):
        validate(new, files(), signed)
    bad = files()
    with pytest.raises(artefacts.ArtefactError):
        validate(new, bad, {n: hashlib.sha256(c).hexdigest() for n, c in bad.items()})
