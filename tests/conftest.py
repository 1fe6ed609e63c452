import subprocess
import sys
from pathlib import Path

import pytest

from harness import parse
from harness.catalog import Catalog

ROOT = Path(__file__).parent.parent
CATALOG = Catalog()
SCENARIOS = sorted(p for p in (ROOT / "scenarios").rglob("*.yaml") if "slos" not in p.parts)


@pytest.fixture(scope="session")
def catalog():
    return CATALOG


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine on which nothing was ever run."""
    monkeypatch.setenv("GAMEDAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def read_scenario(path, stack=None):
    return parse.scenario(path.read_text("utf-8"), CATALOG, source=path.name, stack=stack)


def gameday(*words, timeout_s=120, **more):
    """The command as a user types it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        **more,
    )
