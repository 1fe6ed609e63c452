"""Where a study is kept: a folder beside those of its runs, with ``study.json`` and its reports.

Its runs are ordinary runs, each in a folder of its own with a report of its own. The study is
written again after each of them, so that one which is cut short says what it found until then.
"""

import json
from pathlib import Path
from typing import Final

from harness.model.study import Study
from harness.run.fence import write_durably
from harness.run.folder import EVENTS, FolderError, home, place

NAME: Final = "study.json"


def create(study: Study, parent: Path | None = None) -> Path:
    """Make its folder, which bears its id. Raises ``FolderError``."""
    path = (parent or home() / "runs") / study.id
    try:
        path.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise FolderError(
            f"cannot make the folder of the study {path}: {error.strerror}; set GAMEDAY_HOME to a "
            "folder that can be written"
        ) from None
    save(study, path)
    return path


def save(study: Study, path: Path) -> None:
    """Write it down, all of it or nothing."""
    write_durably(path / NAME, json.dumps(study.to_json(), indent=1) + "\n")


def find_study(name: str) -> Path | None:
    """Find a study by its id, by the path of its folder, or as the ``last`` thing that was done;
    nothing when that is a run, or not there.
    """
    if name == "last":
        found = sorted(everyone(), key=_age)
        runs = (home() / "runs").glob(f"*/{EVENTS}")
        newest_run_s = max((p.stat().st_mtime for p in runs), default=0.0)
        return found[-1] if found and _age(found[-1]) >= newest_run_s else None
    path = place(name, NAME)
    return None if path is None else path.resolve()


def everyone() -> list[Path]:
    """The folder of every study on this machine."""
    return [path.parent for path in (home() / "runs").glob(f"*/{NAME}")]


def read(path: Path) -> Study:
    """Read one back. Raises ``FolderError`` for one that was damaged."""
    try:
        return Study.from_json(json.loads((path / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise FolderError(f"{path / NAME} cannot be read: {str(wrong)[:120]!r}") from None


def _age(path: Path) -> float:
    return (path / NAME).stat().st_mtime
