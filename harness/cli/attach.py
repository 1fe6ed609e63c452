"""Which stack a run plays on: one of its own, or one that ``gameday stack up`` left running.

A stack that the run did not start is healed and never taken down, by nobody who finishes the job of
that run either. Only one run at a time may be on it: a second one would take the first one's harm
for the stack's own state.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import schema
from harness.catalog import Catalog
from harness.cli.errors import Usage
from harness.cli.sources import Source
from harness.protocols import Served, Stack
from harness.run import folder as folders
from harness.run import ward

STATE: Final = "attach.json"
_CLAIM: Final = "run.lock"


@dataclass(frozen=True, slots=True)
class Target:
    """A stack to run on. ``state``: what reaches one that is up already, else ``None``."""

    stack: Stack
    state: Path | None = None


def folder_of(name: str) -> Path:
    """Where a stack lives that is left running. Raises ``Usage`` for a name that is none."""
    if name not in (known := Catalog().stacks.names()):
        raise Usage(f"no stack called {name!r}; there is {', '.join(known)}")
    return folders.home() / "stacks" / name


def attached(name: str) -> Stack | None:
    """Reach the stack that was left running; ``None`` when there is none."""
    state = folder_of(name) / STATE
    if not state.exists():
        return None
    cls = Catalog().stack(name)
    assert issubclass(cls, Served)
    return cls.attach(json.loads(state.read_text(encoding="utf-8")))


def run_on(name: str) -> str | None:
    """The id of the run that is on a stack that was left running, or has not let go of it."""
    state = str((folder_of(name) / STATE).resolve())
    return next((of.run for of in ward.enlisted() if of.state == state), None)


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Be the only one who stands this stack up. Raises ``Usage``."""
    folder = folder_of(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the stack's folder, which goes when the stack is stood up anew.
    with (folder.parent / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Usage(
                f"somebody is standing the stack {name!r} up just now; wait for them, and look at "
                "it with `gameday stack status`"
            ) from None
        yield


@contextlib.contextmanager
def target(source: Source, *, attach: bool) -> Iterator[Target]:
    """Choose the stack of a run, and claim it for as long as that lasts. Raises ``Usage``."""
    name = source.scenario.stack
    if not attach:
        yield Target(source.stack())
        return
    stack = attached(name)
    if stack is None:
        raise Usage(
            f"no stack {name!r} is up to attach to; `gameday stack up --name {name}` brings one "
            "up, and without --attach a run has one of its own"
        )
    _refuse_other_settings(source, stack)
    folder = folder_of(name)
    with (folder / _CLAIM).open("a") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Usage(_taken(name, run_on(name) or "another run")) from None
        if (other := run_on(name)) is not None:
            raise Usage(_taken(name, other))
        yield Target(stack, (folder / STATE).resolve())


def _taken(name: str, run: str) -> str:
    return (
        f"the stack {name!r} has {run} on it; wait for its end, or run without --attach to have a "
        "stack of your own"
    )


def _refuse_other_settings(source: Source, stack: Stack) -> None:
    """A scenario that asks for a setting must not be judged on a stack that has another."""
    scenario = source.scenario
    wanted = schema.build(type(stack), scenario.stack_params)
    for key in scenario.stack_params:
        asked, has = getattr(wanted, key), getattr(stack, key)
        if asked != has:
            raise Usage(
                f"{source.path}: the scenario asks for a stack with {key}={asked!r}, and the one "
                f"that is up has {has!r}; take it down, and bring it up with --set"
            )
