"""The run folder: one run, everything it said, nothing else needed to judge it again.

=================  ================================================================================
``events.jsonl``   events, one JSON line each, append-only
``requests.bin``   fixed-width rows (``harness.model.rows``), append-only
``cases.npz``      the true label and golden answer of every case
``series.jsonl``   the monitored series behind rules and report, exported before the stack went down
``scenario.yaml``  the scenario as run; ``slo.yaml`` its SLO; ``plan.json`` every moment decided
``guardian.jsonl`` what others did to the run when its harness could not: events, merged on reading
``guardian.json``  the processes that watch over it; ``fence.json`` who may act on its stack
``ballast``        room on the disk that is given back before anything is mended
``stack/``         the stack's logs and state: for people; the analysis never reads it
``load/``          what the load process was given, and its log
=================  ================================================================================

Runs live under ``$GAMEDAY_HOME``, else ``$XDG_STATE_HOME/gameday``, else
``~/.local/state/gameday``; never in the source tree.
"""

import heapq
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from harness.model.events import Event
from harness.model.record import Record, Requests, Series, events_from_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EVENTS = "events.jsonl"
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,120}$")


class FolderError(Exception):
    """A run folder is missing or unreadable; the message says which and what to do."""


def home() -> Path:
    """Where runs and stacks are kept on this machine."""
    if given := os.environ.get("GAMEDAY_HOME"):
        return Path(given).expanduser()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "gameday"


@dataclass(frozen=True, slots=True)
class Folder:
    """The paths of one run."""

    path: Path

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def events(self) -> Path:
        """The events file."""
        return self.path / EVENTS

    @property
    def rescue(self) -> Path:
        """The events of whoever finished the job of its harness."""
        return self.path / "guardian.jsonl"

    @property
    def guardian(self) -> Path:
        """The processes that watch over it."""
        return self.path / "guardian.json"

    @property
    def requests(self) -> Path:
        """The rows file."""
        return self.path / "requests.bin"

    @property
    def cases(self) -> Path:
        """Labels and golden answers."""
        return self.path / "cases.npz"

    @property
    def series(self) -> Path:
        """The exported series."""
        return self.path / "series.jsonl"

    @property
    def stack(self) -> Path:
        """The stack's own folder."""
        return self.path / "stack"

    @property
    def load(self) -> Path:
        """The load process's folder."""
        return self.path / "load"

    def write(self, name: str, text: str) -> Path:
        """Write one small text file."""
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        return path


def create(run: str, parent: Path | None = None) -> Folder:
    """Make the folder of a new run. Raises ``FolderError`` if it cannot be made."""
    path = (parent or home() / "runs") / run
    try:
        path.mkdir(parents=True, mode=0o700)  # its stack's files hold the run's token
        for name in ("stack", "load"):
            (path / name).mkdir()
    except OSError as error:
        raise FolderError(
            f"cannot make the run folder {path}: {error.strerror}; set GAMEDAY_HOME to a folder "
            "that can be written"
        ) from None
    return Folder(path)


def find(run: str) -> Folder:
    """Find a run by its id, ``last``, or the path of its folder. Raises ``FolderError``."""
    runs = home() / "runs"
    if run == "last":
        found = sorted((p for p in runs.glob("*") if (p / EVENTS).exists()), key=_age)
        if not found:
            raise FolderError(
                f"there is no run yet in {runs}; make one with `gameday run SCENARIO`"
            )
        return Folder(found[-1])
    path = place(run, EVENTS)
    if path is None:
        raise FolderError(f"{run!r} is no run: not an id in {runs}, nor a folder with {EVENTS}")
    return Folder(path.resolve())


def place(name: str, file: str) -> Path | None:
    """Find the folder that holds ``file`` by its path, or by its id where runs are kept."""
    path = Path(name)
    if not _holds(path, file) and _RUN_ID.match(name):
        path = home() / "runs" / name
    return path if _holds(path, file) else None


def beside(path: Path, run: str) -> Folder:
    """The folder of a run that lies beside another folder. Raises ``FolderError``."""
    if not _RUN_ID.match(run) or not _holds(path.parent / run, EVENTS):
        raise FolderError(f"{run!r} is no run beside {path}: its folder was moved or removed")
    return Folder(path.parent / run)


def read(folder: Folder) -> Record:
    """Read a record back. Torn tails are dropped; a missing part is read as empty.

    Raises ``FolderError`` for one that was damaged otherwise.
    """
    try:
        series = tuple(_series(folder.series)) if folder.series.exists() else ()
        return Record(events(folder), requests(folder), series)
    except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as wrong:
        raise FolderError(
            f"{folder.path} cannot be judged: its record was changed or damaged "
            f"({type(wrong).__name__}: {str(wrong)[:120]!r}); run the scenario again"
        ) from None


def events(folder: Folder) -> tuple[Event, ...]:
    """Read what the harness wrote, and between it, by time, what its guardian or a heal did.

    The harness's own order is kept, for some of what it writes is dated back.
    """
    with folder.events.open(encoding="utf-8") as lines:
        own = events_from_lines(lines)
    if not folder.rescue.exists():
        return own
    with folder.rescue.open(encoding="utf-8") as lines:
        others = events_from_lines(lines)
    latest_s = accumulate((e.t for e in own), max)
    merged = heapq.merge(
        ((t, 0, n, e) for n, (t, e) in enumerate(zip(latest_s, own, strict=True))),
        ((e.t, 1, n, e) for n, e in enumerate(others)),
        key=lambda entry: entry[:3],
    )
    return tuple(entry[3] for entry in merged)


def requests(folder: Folder) -> Requests:
    """Read the rows, joined with the truth of their cases, ordered by when they were due."""
    import numpy as np

    from harness.model.rows import ROW

    raw = folder.requests.read_bytes() if folder.requests.exists() else b""
    rows = np.frombuffer(raw[: len(raw) - len(raw) % ROW.itemsize], dtype=ROW)
    label, golden = _cases(folder)
    rows = rows[rows["case"] < len(label)]
    rows = rows[np.argsort(rows["due_ns"], kind="stable")]
    return Requests(rows, label[rows["case"]], golden[rows["case"]])


def write_cases(folder: Folder, label: "NDArray[np.bool_]", golden: "NDArray[np.bool_]") -> None:
    """Write the truth of every case: (n,) bool each; a run killed here leaves none, or all."""
    import numpy as np

    draft = folder.path / "cases.draft.npz"
    np.savez_compressed(draft, label=label, golden=golden)
    draft.replace(folder.cases)


def write_series(folder: Folder, found: Iterable[Series]) -> None:
    """Write the exported series, one JSON line each; NaN is written as null."""
    with folder.series.open("w", encoding="utf-8") as file:
        for series in found:
            body = {
                "name": series.name,
                "labels": dict(series.labels),
                "t": [round(float(t), 4) for t in series.t],
                "value": [None if v != v else float(v) for v in series.value],
            }
            file.write(json.dumps(body, separators=(",", ":")) + "\n")


def _cases(folder: Folder) -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    import numpy as np

    if not folder.cases.exists():
        return np.zeros(0, bool), np.zeros(0, bool)
    with np.load(folder.cases, allow_pickle=False) as found:
        return found["label"].astype(bool), found["golden"].astype(bool)


def _series(path: Path) -> Iterable[Series]:
    import numpy as np

    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            body: Any = json.loads(line)
            value = np.array([np.nan if v is None else v for v in body["value"]], dtype=float)
            yield Series(body["name"], body["labels"], np.array(body["t"], dtype=float), value)


def _holds(path: Path, file: str) -> bool:
    try:
        return (path / file).is_file()
    except OSError:  # a name that is too long for one
        return False


def _age(path: Path) -> float:
    return (path / EVENTS).stat().st_mtime
