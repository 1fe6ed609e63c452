"""The kill switch: stop every run of this machine, and let none begin until somebody says so.

``halt.jsonl``, in the folder where runs are kept, is both the switch and its audit trail: a hash
chain (``harness.run.chain``) of who did what, when and why, whose last line says how the switch
stands. Whoever cannot read it, or finds the chain broken, takes it for *halted*: a switch that
fails must fail to the safe side. (Who may write the folder can still remove the file, or cut lines
off its end.)

It works while a run hangs: the guardian of the run reads the file too, and ``stop`` ends a harness
that does not listen, upon which its guardian heals. A run writes itself down before it looks at the
switch and ``gameday halt`` throws the switch before it looks for runs, so one of them sees the
other.
"""

import contextlib
import json
import os
import pwd
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from harness.run import chain
from harness.run.processes import Place, Process, here

FILE: Final = "halt.jsonl"
OPEN: Final = "open"  # one file for each run that is open: see `harness.run.ward`
MAX_REASON: Final = 500
GRACE_S: Final = 8.0
"""How long a harness may take to heal and take down before it is killed and its guardian heals."""
HUNG_S: Final = 7.0
"""A guardian whose harness is dead ends before; one that has not is stopped, or hangs."""
WITHIN_S: Final = 15.0
_POLL_S: Final = 0.05
What = Literal["halt", "resume"]


class HaltError(Exception):
    """The switch could not be thrown; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One throw of the switch. ``at_s``: Unix time."""

    at_s: float
    who: str
    what: What
    why: str

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(self.at_s))
        why = f": {self.why}" if self.why else ""
        return f"{'halted' if self.what == 'halt' else 'resumed'} by {self.who} at {when}{why}"


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that somebody still looks after. ``elsewhere``: not with the process ids of here."""

    run: str
    harness: Process | None
    guardians: tuple[Process, ...]
    elsewhere: bool = False

    @property
    def harness_alive(self) -> bool:
        """Whether its harness is there."""
        return not self.elsewhere and self.harness is not None and self.harness.alive

    @property
    def alive(self) -> bool:
        """Whether anything that looks after it is there."""
        return self.elsewhere or self.harness_alive or any(g.alive for g in self.guardians)


def halted(home: Path) -> str | None:
    """Say who halted this machine, when and why; ``None`` when runs may be. Cheap: ask often."""
    path = home / FILE
    try:
        trail = chain.read(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}), which is taken for a halt"
    found = [_entry(body) for body in trail.entries]
    if trail.broken is not None or None in found:
        broken = trail.broken or "it has an entry that is none"
        return (
            f"{path} is damaged, which is taken for a halt: {broken}; look into it, and move it "
            "aside to lift the halt"
        )
    last = found[-1] if found else None
    return str(last) if last is not None and last.what == "halt" else None


def entries(home: Path) -> list[Entry]:
    """Read the trail, oldest first, up to the first line that breaks it."""
    found = (_entry(body) for body in chain.read(home / FILE).entries)
    return [entry for entry in found if entry is not None]


def throw(home: Path, what: What, why: str) -> Entry:
    """Throw the switch; durable when this returns. Raises ``HaltError``."""
    words = "".join(c if c.isprintable() else "?" for c in " ".join(why.split()))
    entry = Entry(round(time.time(), 3), who(), what, words[:MAX_REASON])
    body = {"at_s": entry.at_s, "who": entry.who, "what": entry.what, "why": entry.why}
    try:
        home.mkdir(parents=True, exist_ok=True)
        chain.append(home / FILE, body)
    except OSError as error:
        raise HaltError(f"cannot write {home / FILE}: {error.strerror}") from None
    except ValueError as broken:
        raise HaltError(str(broken)) from None
    return entry


def who() -> str:
    """The user of the operating system; not what an environment variable says."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def live_runs(home: Path) -> list[LiveRun]:
    """Every run of this machine that somebody still looks after. A torn entry is passed over."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted((home / OPEN).glob("*.json")):
            run = _live_run(path)
            if run is not None and run.alive:
                found.append(run)
    return found


def stop(
    home: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    grace_s: float = GRACE_S,
    hung_s: float = HUNG_S,
    within_s: float = WITHIN_S,
) -> list[LiveRun]:
    """Stop every run and wait until none is alive; returns those that still are.

    SIGTERM first: the harness heals, takes its stack down and finishes its record. One that is
    still there after ``grace_s`` hangs, or is stopped: SIGKILL, and its guardian heals. A guardian
    that has not after ``hung_s`` is killed too, and its stand-by heals.
    """
    began_s = time.monotonic()
    asked: set[str] = set()
    killed: set[str] = set()
    dead_s: dict[str, float] = {}
    while live := live_runs(home):
        now_s = time.monotonic() - began_s
        for run in live:
            if run.run not in asked:
                asked.add(run.run)
                say(_asked(run))
                _signal(run, signal.SIGTERM, say)
            elif now_s > grace_s and run.harness_alive and run.run not in killed:
                killed.add(run.run)
                say(f"{run.run}: does not stop, so it is killed, and its guardian heals")
                _signal(run, signal.SIGKILL, say)
            if run.elsewhere or run.harness_alive:
                continue
            if now_s - dead_s.setdefault(run.run, now_s) > hung_s and run.guardians[0].alive:
                say(f"{run.run}: its guardian hangs, so it is killed, and its stand-by heals")
                run.guardians[0].signal(signal.SIGKILL)
        if now_s > within_s or all(run.elsewhere for run in live):
            break
        time.sleep(_POLL_S)
    for name in sorted(asked - {run.run for run in live}):
        say(f"{name}: stopped")
    return live


def _asked(run: LiveRun) -> str:
    if run.elsewhere:
        return f"{run.run}: runs in another container or on another machine; it reads the switch"
    if run.harness_alive:
        return f"{run.run}: told to stop"
    return f"{run.run}: its harness is dead; its guardian heals"


def _signal(run: LiveRun, number: signal.Signals, say: Callable[[str], None]) -> None:
    if run.harness is None or run.elsewhere:
        return
    try:
        run.harness.signal(number)
    except OSError as error:
        say(f"{run.run}: process {run.harness.pid} cannot be signalled: {error.strerror}")


def _live_run(path: Path) -> LiveRun | None:
    try:
        body = json.loads(path.read_text("utf-8"))
        place, ours = Place.from_json(body["place"]), here()
        if place.host == ours.host and place.boot != ours.boot:
            return None  # from before the machine was started again
        harness = Process.from_json(body["harness"])
        guardians = _guardians(Path(body["folder"]))
        return LiveRun(str(body["run"]), harness, guardians, elsewhere=place != ours)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _guardians(folder: Path) -> tuple[Process, ...]:
    try:
        body = json.loads((folder / "guardian.json").read_text("utf-8"))
        return tuple(Process.from_json(body[key]) for key in ("guardian", "standby") if key in body)
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _entry(body: Mapping[str, Any]) -> Entry | None:
    try:
        at_s, who_, why = float(body["at_s"]), str(body["who"]), str(body["why"])
    except (ValueError, KeyError, TypeError):
        return None
    match body.get("what"):
        case "halt":
            return Entry(at_s, who_, "halt", why)
        case "resume":
            return Entry(at_s, who_, "resume", why)
        case _:
            return None
