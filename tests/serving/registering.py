"""A registry's disk for the tests: the trained release, stamped by a key made on the spot."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.serving import shelf, signing
from fixtures.serving.artefacts import FILES, Artefact, open_release
from fixtures.serving.signing import Stamp
from tests.serving.rig import Rig, trained

DAY_S = 86_400.0


@dataclass(frozen=True)
class Furnished:
    """A registry's folder, its keys, and the versions in it, the champion first."""

    root: Path
    private: str
    public: str
    versions: tuple[str, ...]

    @property
    def key_file(self) -> Path:
        return self.root.with_name("signing.key")


def stamped(artefact: Artefact, private: str, *, age_s: float = 0.0) -> dict[str, Any]:
    manifest = artefact.manifest
    files = {
        name: hashlib.sha256((artefact.folder / name).read_bytes()).hexdigest() for name in FILES
    }
    stamp = Stamp(
        *("champion", manifest.version, files, manifest.trained_until),
        *(time.time() - age_s, "release"),
    )
    return signing.sign(stamp, private)


def furnished(folder: Path, *, back: tuple[int, ...] = (5,)) -> Furnished:
    """The champion and some of its predecessors."""
    release = open_release(trained())
    private, public = signing.new_key()
    past = [release.superseded(number) for number in back]
    champion = release.artefact("champion")
    stamps = {champion.folder: stamped(champion, private)} | {
        artefact.folder: stamped(artefact, private, age_s=DAY_S) for artefact in past
    }
    shelf.furnish(folder / "registry", stamps, champion=champion.manifest.version)
    made = Furnished(
        folder / "registry",
        *(private, public),
        (champion.manifest.version, *(artefact.manifest.version for artefact in past)),
    )
    made.key_file.write_text(private)
    return made


def serve(running: Rig, made: Furnished, **config: Any) -> str:
    """Start the registry's service."""
    return running.service(
        "registry", "registry", root=str(made.root), public_key=made.public, **config
    )


def following(made: Furnished, registry: str, models: Path, **config: Any) -> dict[str, Any]:
    """What a model server is told."""
    told = {"artefacts": str(trained()), "registry": registry, "models": str(models)}
    return {**told, "public_key": made.public, "follow_every_s": 0.05, **config}
