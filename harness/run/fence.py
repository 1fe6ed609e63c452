"""The fencing epoch of a run: who may still act on its stack.

A harness that was stopped and is resumed does not know that somebody else has healed meanwhile. So
whoever takes a run over first raises a number on disk, and whoever is about to act first compares
the number with the one it began with. The file also says who raised it and whether the job was
finished since, so that nobody finishes it twice and nobody leaves it to a dead healer.

A check and the effect that follows it are not one step: a process that is stopped exactly between
them acts once when it is resumed. That is why an inject looks again afterwards and takes back what
it did.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.run.journal import sync_folder
from harness.run.processes import Process, me

FILE: Final = "fence.json"
_LOCK: Final = "fence.lock"
_LOCK_WITHIN_S: Final = 1.0


class Fenced(Exception):
    """Somebody else has taken this run over; the message says who, and why."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds a run. Epoch 0: its own harness. ``settled``: nothing is left to be done."""

    epoch: int = 0
    who: str = "the harness"
    why: str = ""
    by: Process | None = None
    settled: bool = False


class Fence:
    """The epoch as it was when this was made; ``check`` before each effect."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._epoch = read(folder).epoch

    def check(self) -> None:
        """Raise ``Fenced`` when the epoch is another by now."""
        if (hold := self.taken()) is not None:
            raise Fenced(f"{hold.who} took the run over: {hold.why}")

    def taken(self) -> Hold | None:
        """Who holds the run, if it is somebody else."""
        try:
            hold = read(self._folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Hold(self._epoch + 1, "nobody knows who", f"{FILE} cannot be read: {error}")
        return None if hold.epoch == self._epoch else hold


def read(folder: Path) -> Hold:
    """Read who holds a run. Raises ``OSError``, ``ValueError``, ``KeyError`` or ``TypeError``."""
    try:
        body = json.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return Hold()
    by = Process.from_json(body["by"]) if body["by"] else None
    return Hold(int(body["epoch"]), body["who"], body["why"], by, bool(body["settled"]))


def take(folder: Path, who: str, why: str) -> Hold:
    """Raise the epoch; durable when this returns. Raises ``OSError`` when it cannot be written."""
    with _locked(folder):
        try:
            epoch = read(folder).epoch
        except (ValueError, KeyError, TypeError):
            epoch = time.time_ns()  # whatever it was, it was less
        hold = Hold(epoch + 1, who, why, me())
        _write(folder, hold)
    return hold


def settle(folder: Path, hold: Hold) -> None:
    """Say that the job is finished, unless somebody else holds the run by now."""
    with _locked(folder):
        if read(folder).epoch == hold.epoch:
            _write(folder, Hold(hold.epoch, hold.who, hold.why, hold.by, settled=True))


def write_durably(path: Path, text: str) -> None:
    """Replace a small file: whole or not at all, and there after a power cut."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    sync_folder(path.parent)


def _write(folder: Path, hold: Hold) -> None:
    body = {
        "epoch": hold.epoch,
        "who": hold.who,
        "why": hold.why,
        "by": hold.by.to_json() if hold.by else None,
        "settled": hold.settled,
    }
    write_durably(folder / FILE, json.dumps(body) + "\n")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time; but a holder that was stopped in here must not keep a healer from healing."""
    with (folder / _LOCK).open("a") as file:
        deadline_s = time.monotonic() + _LOCK_WITHIN_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    break
                time.sleep(0.01)
        yield
