"""A run as its guardian knows it, and the list of the runs that are open on this machine.

The list is a folder with one small file per open run: written, durably, before the run's first
process starts, and removed when nothing of the run is left. So "is there anything to heal here?" is
the reading of a folder that is nearly always empty, wherever the runs' own folders lie, and is
asked by every command that may act.
"""

import contextlib
import json
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from harness.catalog import Catalog
from harness.catalog import Folder as Plugins
from harness.model.values import Json
from harness.run import processes
from harness.run.fence import write_durably
from harness.run.folder import Folder, FolderError, home
from harness.run.processes import Place, Process

STATE: Final = "attach.json"
ATTACHED: Final = "attached"  # in the folder of a run's stack: where the state of another lies
LEASE_S: Final = 3.0
"""How long the harness may be silent. With a heal it leaves the five seconds that are promised."""
MAX_FAULT_S: Final = 900.0
"""No fault lasts longer, whatever the scenario says."""

Condition = Literal["alive", "dead", "elsewhere"]


@dataclass(frozen=True, slots=True)
class Ward:
    """One run: where it is, what it stands on, and who carries it out.

    ``zero_ns``: the run's zero on CLOCK_MONOTONIC. ``mark``: in the environment of its processes.
    ``owns_stack``: the run started the stack, so it goes with it; else it is only healed, and
    ``state`` is the file by which it is reached.
    ``path``: where Python finds the plug-ins.
    """

    run: str
    folder: Folder
    stack: str
    harness: Process
    place: Place
    zero_ns: int
    mark: str
    owns_stack: bool = True
    state: str = ""
    lease_s: float = LEASE_S
    max_fault_s: float = MAX_FAULT_S
    plugins: tuple[str, str] = (Catalog.faults.package, Catalog.stacks.package)
    faults: tuple[str, ...] = ()
    path: tuple[str, ...] = field(default=(), repr=False)

    def catalog(self) -> Catalog:
        """Where its plug-ins come from."""
        return Catalog(Plugins(self.plugins[0], "fault"), Plugins(self.plugins[1], "stack"))

    @property
    def stack_state(self) -> Path:
        """The file by which its stack is reached, for as long as that stands."""
        return Path(self.state) if self.state else self.folder.stack / STATE

    def now(self) -> float:
        """Run time, from the same clock as the harness's; only good on the boot of the run."""
        return round((time.monotonic_ns() - self.zero_ns) / 1e9, 6)

    def to_json(self) -> Json:
        """Carry it to another process."""
        return {
            "run": self.run,
            "folder": str(self.folder.path),
            "stack": self.stack,
            "harness": self.harness.to_json(),
            "place": self.place.to_json(),
            "zero_ns": self.zero_ns,
            "mark": self.mark,
            "owns_stack": self.owns_stack,
            "state": self.state,
            "lease_s": self.lease_s,
            "max_fault_s": self.max_fault_s,
            "plugins": list(self.plugins),
            "faults": list(self.faults),
            "path": list(self.path),
        }

    @classmethod
    def from_json(cls, body: Json) -> "Ward":
        """Read it back. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        lists = {key: tuple(body[key]) for key in ("plugins", "faults", "path")}
        return cls(
            **body
            | lists
            | {
                "folder": Folder(Path(body["folder"])),
                "harness": Process.from_json(body["harness"]),
                "place": Place.from_json(body["place"]),
            }
        )


def ward_of(
    folder: Folder,
    stack: str,
    catalog: Catalog,
    faults: tuple[str, ...],
    state: Path | None = None,
    **settings: float,
) -> Ward:
    """Make the ward of a run that this process is about to carry out; its zero is now.

    ``state``: the file by which a stack is reached that the run did not start.
    """
    return Ward(
        run=folder.run,
        folder=Folder(folder.path.resolve()),
        stack=stack,
        harness=processes.me(),
        place=processes.here(),
        zero_ns=time.monotonic_ns(),
        mark=secrets.token_hex(8),
        plugins=(catalog.faults.package, catalog.stacks.package),
        faults=faults,
        owns_stack=state is None,
        state=str(state or ""),
        path=tuple(sys.path),
        **settings,
    )


def enlist(ward: Ward) -> Path:
    """Put a run on the list; durable when this returns. Raises ``FolderError``."""
    path = path_of(ward.run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps(ward.to_json()) + "\n")
    except OSError as error:
        raise FolderError(
            f"cannot write down that a run begins, {path}: {error.strerror}; set GAMEDAY_HOME to a "
            "folder that can be written"
        ) from None
    return path


def path_of(run: str) -> Path:
    """Where a run is listed while it is open."""
    return _list() / f"{run}.json"


def read(path: Path) -> Ward:
    """Read one entry. Raises ``OSError``, ``ValueError``, ``KeyError`` or ``TypeError``."""
    return Ward.from_json(json.loads(path.read_text("utf-8")))


def strike(run: str) -> None:
    """Take a run off the list: nothing of it is left."""
    with contextlib.suppress(OSError):
        path_of(run).unlink(missing_ok=True)


def enlisted() -> list[Ward]:
    """Every run on the list, oldest first. An entry that cannot be read is passed over."""
    return [entry for entry in _entries().values() if entry is not None]


def spoilt() -> list[Path]:
    """The entries of the list that cannot be read: nobody knows what those runs left."""
    return [path for path, entry in _entries().items() if entry is None]


def _entries() -> dict[Path, Ward | None]:
    try:
        paths = sorted(_list().glob("*.json"))
    except OSError:
        return {}
    found: dict[Path, Ward | None] = {}
    for path in paths:
        try:
            found[path] = read(path)
        except FileNotFoundError:
            continue  # it ended just now
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found[path] = None
    return found


def condition(ward: Ward) -> Condition:
    """Whether somebody still looks after a run.

    ``elsewhere``: it was started on another machine or in another container that shares our state
    folder, where our process ids mean nothing; nobody here can tell.
    """
    here = processes.here()
    if ward.place.host != here.host:
        return "elsewhere"
    if ward.place.boot != here.boot:
        return "dead"
    if ward.place.namespace != here.namespace:
        return "elsewhere"
    carers = [ward.harness, *guardians(ward.folder)]
    return "alive" if any(carer.alive for carer in carers) else "dead"


def guardians(folder: Folder) -> list[Process]:
    """The guardian of a run and its stand-by, as they wrote themselves down."""
    try:
        body = json.loads(folder.guardian.read_text("utf-8"))
        return [Process.from_json(body[key]) for key in ("guardian", "standby")]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _list() -> Path:
    return home() / "open"
