"""A chain of lines: append-only files in which a changed, removed or moved line is found.

One JSON object a line. Its first key ``seq`` counts from 1 on, and its last two are

======== =======================================================================================
``prev`` SHA-256, in hex, of the line before, without its newline; 64 zeros in the first line
``sum``  SHA-256, in hex, of this line as it would be without ``sum``
======== =======================================================================================

The control plane of the serving stack writes its audit trail so, and the harness what people did to
all runs of a machine. ``sum`` names the very line that was changed, the last one included; ``prev``
tells where one is missing, was put in, or was moved. What no chain can tell by itself is that its
end was cut off, or that somebody wrote all of it anew: that takes an entry known from elsewhere,
like the actions that a run's record holds.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.run.journal import sync_folder

FIRST: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Chain:
    """A file that was read. ``broken``: what is wrong, in words that name the line; else None."""

    entries: tuple[Mapping[str, Any], ...]
    head: str
    broken: str | None = None


def read(path: Path) -> Chain:
    """Read a chain up to the first line that breaks it. A missing file is an empty chain."""
    content = path.read_bytes() if path.exists() else b""
    entries: list[Mapping[str, Any]] = []
    head = FIRST
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        wrong, body = _wrong(line, number, head)
        if wrong is not None:
            return Chain(tuple(entries), head, f"line {number}: {wrong}")
        entries.append(body)
        head = _digest(line)
    if lines[-1]:
        words = f"line {len(lines)}: has no end; a crash tore it, or somebody did"
        return Chain(tuple(entries), head, words)
    return Chain(tuple(entries), head)


def append(path: Path, body: Mapping[str, Any]) -> None:
    """Add an entry, through to the disk; ``seq``, ``prev`` and ``sum`` are put in here.

    Processes may do so at the same time. A torn last line was never confirmed and is cut off;
    raises ``ValueError`` when the chain is broken otherwise: it is evidence then, to be put aside.
    """
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        before = read(path)
        if before.broken is not None:
            raise ValueError(f"{path} is broken at {before.broken}; move it aside and look into it")
        full = {"seq": len(before.entries) + 1, **body, "prev": before.head}
        unsummed = json.dumps(full, separators=(",", ":")).encode()
        file.write(unsummed[:-1] + b',"sum":"' + _digest(unsummed).encode() + b'"}\n')
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _wrong(line: bytes, number: int, head: str) -> tuple[str | None, Mapping[str, Any]]:
    """What is wrong with one line, and its body."""
    unsummed, _, mark = line.rpartition(b',"sum":"')
    if mark != _digest(unsummed + b"}").encode() + b'"}':
        return "was changed: its bytes do not have the sum that it says", {}
    try:
        body = json.loads(line)
        seq, prev = body["seq"], body["prev"]
    except (ValueError, KeyError, TypeError):
        return "is no entry", {}
    if prev != head:
        return f"does not follow the line before it; it says to be entry {seq}", {}
    if seq != number:
        return f"says to be entry {seq}", {}
    return None, body


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
