"""``gameday verify``: whether an audit trail is as it was written.

Every line is checked against its own sum and against the line before it (``harness.run.chain``).
For a run, the trail is also held against the actions in the record, which were read while it ran:
that finds a cut-off end, and a trail written anew, as far as the record saw it. Not found is what
nobody but the trail itself knew, such as a last action after the record's last look.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.cli.errors import UNKNOWN
from harness.model.events import Acted
from harness.run import chain, halt
from harness.run import folder as folders

BROKEN = 1


def main(args: argparse.Namespace) -> int:
    """Check one trail: 0 when it holds, 1 when it is broken, 3 when there is none."""
    path, seen = Path(args.run or folders.home() / halt.FILE), tuple[Acted, ...]()
    if args.run and not _is_file(path):
        folder = folders.find(args.run)
        path, record = folder.stack / "audit.jsonl", folders.read(folder)
        if not path.exists() and record.started.virtual_time:
            return _nothing("a stack on virtual time keeps its audit trail in the record alone")
        seen = tuple(record.of(Acted))
    if not path.exists() and not seen:
        return _nothing(f"there is no {path}")
    read = chain.read(path)
    broken = read.broken or _unlike(read.entries, seen)
    if broken is not None:
        print(f"{path}: BROKEN at {broken}")
        return BROKEN
    known = f"; the record saw {len(seen)} of them, and as they are" if seen else ""
    print(f"{path}: {len(read.entries)} entries, none changed{known}; head sha256:{read.head}")
    return 0


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for one
        return False


def _nothing(why: str) -> int:
    print(f"gameday: nothing to verify: {why}", file=sys.stderr)
    return UNKNOWN


def _unlike(entries: tuple[Mapping[str, Any], ...], seen: Iterable[Acted]) -> str | None:
    """Say where the trail is not what the record saw."""
    for action in seen:
        if action.seq > len(entries):
            return f"line {len(entries) + 1}: missing; the run's record saw entry {action.seq}"
        entry = entries[action.seq - 1]
        for key in ("who", "what", "target", "why"):
            if entry.get(key) != getattr(action, key):
                return f"line {action.seq}: {key} is not what the run's record saw"
    return None
