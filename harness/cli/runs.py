"""``gameday runs``: what was run on this machine, what runs now, and what was left behind."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from harness.cli.heal import heal_orphans
from harness.model.events import Aborted, RunFinished, RunStarted, from_line
from harness.parse.graph import one_line
from harness.run import folder as folders
from harness.run import studies, ward
from harness.run.folder import Folder

_STATES = {"alive": "running", "dead": "orphan", "elsewhere": "elsewhere"}


def main(args: argparse.Namespace) -> int:
    """List them, newest first."""
    heal_orphans()
    root = folders.home() / "runs"
    found = {path.parent for path in root.glob("*/events.jsonl")}
    opened = {of.folder.path: _STATES[ward.condition(of)] for of in ward.enlisted()}
    runs = found | {p for p in opened if p.is_dir()}
    paths = sorted(runs | set(studies.everyone()), key=_begun, reverse=True)
    if not paths:
        print(f"no run yet in {root}")
        return 0
    for path in paths[: args.last]:
        if (path / studies.NAME).exists():
            print(one_line(_study_line(path)))
        else:
            print(one_line(_line(Folder(path), opened.get(path))))
    return 0


def _begun(path: Path) -> tuple[float, str]:
    for name in ("events.jsonl", studies.NAME):
        if (path / name).exists():
            return (path / name).stat().st_mtime, path.name
    return path.stat().st_mtime, path.name


def _study_line(path: Path) -> str:
    """An ablation or a sweep: its kind stands where a run has its stack."""
    try:
        study = studies.read(path)
    except folders.FolderError:
        return f"{'torn':10} {path.name}"
    state = "cut short" if study.stopped or not (path / "report.json").exists() else "finished"
    return _laid(state, Folder(path), _begun(path)[0], study.scenario, study.kind)


def _laid(state: str, folder: Folder, began_s: float, scenario: str, what: str) -> str:
    when = datetime.fromtimestamp(began_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    verdict = _verdict(folder)
    return f"{state:10} {verdict:8} {when}Z  {scenario:24} {what:10} {folder.run}"


def _line(folder: Folder, opened: str | None) -> str:
    try:
        with folder.events.open(encoding="utf-8") as file:
            first = from_line(file.readline())
    except (OSError, ValueError, KeyError, TypeError):
        return f"{opened or 'torn':10} {folder.run}"
    assert isinstance(first, RunStarted)
    state = opened or _ended(folder)
    began_s = first.wall_s if not first.virtual_time else folder.events.stat().st_mtime
    return _laid(state, folder, began_s, first.scenario, first.stack)


def _verdict(folder: Folder) -> str:
    """The verdict as it was reported, where there is a report."""
    try:
        text = (folder.path / "report.json").read_text(encoding="utf-8")
        return str(json.loads(text)["verdict"]).upper()
    except (OSError, ValueError, KeyError, TypeError):
        return "-"


def _ended(folder: Folder) -> str:
    """How a run ended that nobody looks after any more."""
    state = "cut short"
    for text in (*_last_lines(folder.events), *_last_lines(folder.rescue)):
        try:
            event = from_line(text)
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(event, RunFinished) and state == "cut short":
            state = "finished"
        if isinstance(event, Aborted):
            state = "aborted"
    return state


def _last_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        return file.read().decode("utf-8", "replace").splitlines()[-60:]
