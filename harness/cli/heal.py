"""``gameday heal``: finish the job of a dead run, from its record alone.

Every command that may act does the same first, for the runs that nobody looks after any more: after
a crash of everything, or a power cut, the next command heals before anything else.
"""

import argparse
import contextlib
import sys
import time

from harness.cli.errors import Usage
from harness.model.events import RunStarted, from_line
from harness.parse.graph import one_line
from harness.run import fence, processes, ward
from harness.run import folder as folders
from harness.run.folder import Folder, FolderError
from harness.run.mending import done_to_stack, leftovers
from harness.run.processes import Process
from harness.run.rescue import PATIENT, Busy, Outcome, Rescue
from harness.run.ward import ATTACHED, Ward

STILL_BROKEN = 3


def main(args: argparse.Namespace) -> int:
    """Heal one run, or every run that nobody looks after. Does nothing to a healthy one."""
    if args.run:
        return _heal(folders.find(args.run), force=getattr(args, "force", False))
    healed, code = heal_orphans()
    if not healed and not code:
        print("nothing to heal: nothing was left behind by a run on this machine")
    return code


def heal_orphans() -> tuple[int, int]:
    """Heal every run that nobody looks after; returns how many, and an exit code.

    Cheap when there is none: it reads a folder that is nearly always empty.
    """
    count, code = 0, 0
    for path in ward.spoilt():
        code = STILL_BROKEN
        print(
            f"gameday: {path} cannot be read, so nobody knows what that run left; look at its "
            f"folder, heal it with `gameday heal {path.stem}`, and remove the file",
            file=sys.stderr,
        )
    for of in ward.enlisted():
        match ward.condition(of):
            case "alive":
                pass
            case "elsewhere":
                print(
                    f"gameday: {of.run} was begun on {of.place.host} and cannot be seen from here; "
                    f"if that machine is gone, `gameday heal {of.folder.path} --force` finishes it",
                    file=sys.stderr,
                )
            case "dead":
                count += 1
                why = "its harness and its guardian were dead, and the next command found it"
                code = max(code, _rescued(of, why))
    return count, code


def _rescued(of: Ward, why: str) -> int:
    """Finish one run; whatever is wrong with it must not keep the others from being healed."""
    try:
        return _rescue(of, why)
    except Exception as error:
        words = one_line(f"{type(error).__name__}: {error}")
        print(
            f"gameday: {of.run} could NOT be healed ({words}); look into {of.folder.path}, and "
            f"try `gameday heal {of.run}`",
            file=sys.stderr,
        )
        return STILL_BROKEN


def _heal(folder: Folder, *, force: bool) -> int:
    of = _ward(folder)
    state = "dead" if of.run not in {w.run for w in ward.enlisted()} else ward.condition(of)
    if state != "dead" and not force:
        who = (
            "is running" if state == "alive" else f"was begun on {of.place.host}, unseen from here"
        )
        raise Usage(
            f"{folder.run} {who}; stop it with Ctrl-C, or heal it all the same with --force"
        )
    if state == "dead" and _whole(folder):
        print(f"{folder.run}: nothing to heal")
        return 0
    return _rescue(of, "a person asked for it" if force else "it was left behind")


def _whole(folder: Folder) -> bool:
    """Whether nothing of a run can be in force: it is settled, or left neither fault nor stack."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if fence.read(folder.path).settled:
            return True
    events, unread, spoilt = done_to_stack((folder.events, folder.rescue))
    in_force = leftovers(events) or unread or spoilt
    return not in_force and not (folder.stack / ward.STATE).exists()


def _ward(folder: Folder) -> Ward:
    """What the list of open runs knows of it, or else its record."""
    for of in ward.enlisted():
        if of.folder.path == folder.path:
            return of
    if (started := _header(folder)) is None:
        raise FolderError(f"{folder.run}: its record has no header, so nothing was begun")
    nobody = Process(0, 0)
    own = folder.stack / ATTACHED
    return Ward(
        folder.run,
        folder,
        started.stack,
        nobody,
        processes.here(),
        0,
        mark=folder.run,
        owns_stack=not own.exists(),
        state=own.read_text("utf-8").strip() if own.exists() else "",
    )


def _rescue(of: Ward, why: str) -> int:
    """Finish one run and say so in a line; an exit code."""
    sys.path.extend(entry for entry in of.path if entry not in sys.path)
    spared = frozenset({of.harness, *ward.guardians(of.folder)})
    try:
        outcome = Rescue(of, "heal", why, PATIENT, Clock(of), spared).carry_out(wait_s=1.0)
    except Busy as busy:
        print(f"gameday: {busy}", file=sys.stderr)
        return 0
    print(f"{of.run}: {worded(outcome)}", file=sys.stderr)
    return 0 if outcome.settled and not outcome.failed else STILL_BROKEN


def worded(outcome: Outcome) -> str:
    """Say what came of a rescue, in one line."""
    words = []
    if outcome.healed:
        words.append(f"healed {', '.join(outcome.healed)}")
    if outcome.failed:
        words.append(f"could NOT heal {'; '.join(outcome.failed)}")
    if outcome.differs:
        words.append(f"its stack is not what it was before: {'; '.join(outcome.differs)}")
    if outcome.down:
        words.append("its stack is down")
    if outcome.left:
        words.append(f"{outcome.left} of its processes could not be ended")
    return ", ".join(words) or "nothing was left of it"


class Clock:
    """Run time for somebody who was not there: by the wall when the machine was started since."""

    def __init__(self, of: Ward) -> None:
        self._ward = of
        self._same_boot = bool(of.zero_ns) and of.place == processes.here()
        self._wall_s = 0.0
        if not self._same_boot:
            started = _header(of.folder)
            self._wall_s = time.time() if started is None else started.wall_s

    def __call__(self) -> float:
        """Seconds since the run's zero."""
        if self._same_boot:
            return self._ward.now()
        return round(time.time() - self._wall_s, 6)


def _header(folder: Folder) -> RunStarted | None:
    """The first line of a record, whatever became of the others."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        with folder.events.open(encoding="utf-8") as lines:
            first = from_line(lines.readline())
        return first if isinstance(first, RunStarted) else None
    return None
