"""Where events go: one JSON line each, appended to one file, and to whoever watches.

The file is never rewritten. ``sync`` also syncs the folder, because a new file whose name was not
yet on disk is as lost as an empty one after a power cut.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from harness.model.events import Event, to_line

Watcher = Callable[[Event], None]


class FileJournal:
    """The record's events on disk."""

    def __init__(self, path: Path, watch: Watcher = lambda _: None) -> None:
        self._folder, self._watch = path.parent, watch
        self._file = path.open("x", encoding="utf-8", buffering=1)  # never overwrite a record
        sync_folder(self._folder)

    def append(self, event: Event) -> None:
        """Write one event, and show it to the watcher."""
        self._file.write(to_line(event) + "\n")
        self._watch(event)

    def sync(self) -> None:
        """Push everything to the disk itself."""
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_folder(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()
        self._file.close()


class MemoryJournal:
    """The same, kept as events in a list; for tests."""

    def __init__(self, watch: Watcher = lambda _: None) -> None:
        self.events: list[Event] = []
        self._watch = watch

    def append(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)
        self._watch(event)

    def sync(self) -> None:
        """Nothing to do: memory dies with us, and that is understood."""


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
