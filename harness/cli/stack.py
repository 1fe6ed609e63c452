"""``gameday stack``: a stack for people to look at, in a process tree of its own."""

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path

from harness import schema
from harness.catalog import Catalog
from harness.cli import operate
from harness.cli.attach import STATE, alone, attached, folder_of, run_on
from harness.cli.errors import Usage
from harness.cli.heal import heal_orphans
from harness.cli.sources import settings_of
from harness.protocols import Served, Site, Stack


def main(args: argparse.Namespace) -> int:
    """Carry out one action."""
    heal_orphans()
    match args.action:
        case "up":
            return _up(args)
        case "status":
            return _status(args)
        case "do":
            return operate.do(args)
        case "tickets":
            return operate.tickets(args)
        case _:
            return _down(args)


def _up(args: argparse.Namespace) -> int:
    catalog, folder = Catalog(), folder_of(args.name)
    cls = catalog.stack(args.name)
    if cls.virtual_time:
        raise Usage(
            f"the stack {args.name!r} lives on virtual time, inside a run; there is no "
            "process to leave running"
        )
    stack = schema.build(cls, settings_of(args.set))
    state = folder / STATE
    with alone(args.name):
        if state.exists():
            raise Usage(
                f"a stack {args.name!r} is there already; `gameday stack status` looks at it, "
                "`gameday stack down` takes it down"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        asyncio.run(_bring_up(stack, folder, state))
    return 0


async def _bring_up(stack: Stack, folder: Path, state: Path) -> None:
    def say(text: str) -> None:
        print(text, file=sys.stderr)

    await stack.up(Site(folder=str(folder), say=say))
    assert isinstance(stack, Served)
    await asyncio.to_thread(state.write_text, json.dumps(stack.state()), "utf-8")
    _print_addresses(stack)
    print(f"\nlogs in {folder}; take it down with `gameday stack down`")


def _print_addresses(stack: Served) -> None:
    addresses = stack.addresses()
    width = max(map(len, addresses))
    for name, address in addresses.items():
        print(f"{name:{width}}  {address}")


def _status(args: argparse.Namespace) -> int:
    stack = attached(args.name)
    if stack is None:
        print(f"no stack {args.name!r} is up")
        return 0
    assert isinstance(stack, Served)
    _print_addresses(stack)
    print()
    for reading in asyncio.run(_probe(stack)):
        print(reading)
    return 0


async def _probe(stack: Stack) -> list[str]:
    return [f"{r.probe} {r.node} {r.value:g}" for r in await stack.probe()]


def _down(args: argparse.Namespace) -> int:
    stack = attached(args.name)
    if stack is None:
        print(f"no stack {args.name!r} is up")
        return 0
    if (run := run_on(args.name)) is not None:
        raise Usage(f"{run} is on the stack {args.name!r}; wait for its end, or `gameday halt`")
    asyncio.run(stack.down())
    (folder_of(args.name) / STATE).unlink(missing_ok=True)
    print(f"the stack {args.name!r} is down")
    return 0
