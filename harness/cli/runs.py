"""``gameday runs``: what was run on this machine, and which runs never finished."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from harness.model.events import Aborted, RunFinished, RunStarted, from_line
from harness.run import folder as folders


def main(args: argparse.Namespace) -> int:
    """List them, newest first."""
    root = folders.home() / "runs"
    found = sorted(root.glob("*/events.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)
    if not found:
        print(f"no run yet in {root}")
        return 0
    for events in found[: args.last]:
        print(_line(events))
    return 0


def _line(events: Path) -> str:
    run = events.parent.name
    try:
        with events.open(encoding="utf-8") as file:
            first = from_line(file.readline())
            last = _last_lines(events)
    except (ValueError, KeyError, TypeError):
        return f"{'torn':10} {run}"
    assert isinstance(first, RunStarted)
    state = "orphan"
    for text in last:
        try:
            event = from_line(text)
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(event, RunFinished):
            state = "finished"
        if isinstance(event, Aborted):
            state = "aborted"
    when = datetime.fromtimestamp(first.wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{state:10} {when}Z  {first.scenario:24} {first.stack:10} {run}"


def _last_lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        return file.read().decode("utf-8", "replace").splitlines()[-30:]
