"""``gameday heal``: finish the job of a dead run, from its record alone."""

import argparse
import asyncio
import json

from harness.catalog import Catalog
from harness.model.record import Record
from harness.protocols import Served, Stack
from harness.run import folder as folders
from harness.run.folder import Folder
from harness.run.supervisor import Faults, heal_leftovers, leftovers


def main(args: argparse.Namespace) -> int:
    """Heal one run, or every run that never finished. Does nothing to a healthy one."""
    runs = [folders.find(args.run)] if args.run else _unfinished()
    if not runs:
        print("nothing to heal: every run on this machine finished")
    return max((_heal(folder) for folder in runs), default=0)


def _unfinished() -> list[Folder]:
    found = sorted((folders.home() / "runs").glob("*/events.jsonl"))
    return [Folder(path.parent) for path in found if not folders.read(Folder(path.parent)).complete]


def _heal(folder: Folder) -> int:
    record = folders.read(folder)
    left = leftovers(record)
    state = folder.stack / "attach.json"
    if record.complete and not left:
        print(f"{folder.run}: finished by itself; nothing to heal")
        return 0
    if not state.exists():
        print(f"{folder.run}: its stack left no state, so nothing of it can be running")
        return 0
    catalog = Catalog()
    cls = catalog.stack(record.started.stack)
    assert issubclass(cls, Served)
    stack = cls.attach(json.loads(state.read_text(encoding="utf-8")))
    faults = catalog.load_faults({span.fault for span in left})
    healed, error = asyncio.run(_mend(record, stack, faults))
    for id in healed:
        print(f"{folder.run}: healed {id}")
    if error is not None:
        print(f"{folder.run}: could not heal everything ({error}); its stack was taken down")
    print(f"{folder.run}: stack is down")
    return 0


async def _mend(record: Record, stack: Stack, faults: Faults) -> tuple[list[str], str | None]:
    """Heal, then take down what the run stood up: its stack goes with it."""
    healed: list[str] = []
    error = None
    try:
        healed = await heal_leftovers(record, stack, faults)
    except ExceptionGroup as group:
        error = "; ".join(str(e) for e in group.exceptions)
    await stack.down()
    return healed, error
