"""Where events go: one JSON line each, appended to one file, and to whoever watches.

The file is never rewritten. ``sync`` also syncs the folder, because a new file whose name was not
yet on disk is as lost as an empty one after a power cut. A line is there whole or not at all: one
that a full disk cut short is taken back, or it would spoil the next. Whoever watches cannot spoil
anything: a terminal that is gone must not keep a run from being healed.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from harness.model.events import Event, to_line
from harness.run import ballast

Watcher = Callable[[Event], None]


class FileJournal:
    """The record's events on disk. Raises ``OSError`` when an event cannot be written."""

    def __init__(self, path: Path, watch: Watcher = lambda _: None, *, new: bool = True) -> None:
        self._folder, self._watch = path.parent, watch
        how = os.O_EXCL if new else 0  # never overwrite a record
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | how
        self._file = os.open(path, flags, 0o644)
        self._size = _whole(self._file)
        sync_folder(self._folder)

    def append(self, event: Event) -> None:
        """Write one event, and show it to the watcher."""
        line = (to_line(event) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            ballast.drop(self._folder)  # for what is to be said of the end that this makes
            raise
        self._size += len(line)
        try:
            self._watch(event)
        except Exception:
            self._watch = lambda _: None

    def sync(self) -> None:
        """Push everything to the disk itself."""
        os.fsync(self._file)
        sync_folder(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)


class MemoryJournal:
    """The same, kept as events in a list; for tests, and for when there is no disk left."""

    def __init__(self, watch: Watcher = lambda _: None) -> None:
        self.events: list[Event] = []
        self._watch = watch

    def append(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)
        self._watch(event)

    def sync(self) -> None:
        """Nothing to do: memory dies with us, and that is understood."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _whole(file: int) -> int:
    """Take back a last line that its writer did not live to end; returns the size after."""
    size = os.fstat(file).st_size
    end = size
    while end:
        start = max(0, end - 4096)
        cut = os.pread(file, end - start, start).rfind(b"\n")
        if cut >= 0:
            end = start + cut + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
    return end
