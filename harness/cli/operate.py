"""``gameday stack do`` and ``gameday stack tickets``: what people do to a stack by hand.

What there is to do is the stack's own to say; the harness knows no action by name. Everything goes
through the stack's control plane, so it is in its audit trail, and where a run is looking on, in
the record of the run.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

from harness.capabilities import Action, Operable, Ticket, Ticketing
from harness.catalog import Catalog
from harness.cli.attach import STATE, attached
from harness.cli.errors import Usage
from harness.protocols import Refused, Served, Stack
from harness.run import folder as folders
from harness.run.halt import who

REFUSED = 1


def do(args: argparse.Namespace) -> int:
    """Have the stack do something; without an action, say what there is to do."""
    stack = _stack(args)
    if not isinstance(stack, Operable):
        raise Usage(f"the stack {args.name!r} has no control plane to be told anything")
    known = {action.name: action for action in stack.actions()}
    if args.what is None:
        print("\n".join(_lines(list(known.values()))))
        return 0
    action = _named(args.what, known)
    if args.undo:
        if not action.undo:
            raise Usage(f"{action.name} leaves nothing behind that could be undone")
        action = known[action.undo]
    if not args.reason.strip():
        raise Usage(f"say why: gameday stack do {args.what} --reason TEXT (for the audit trail)")
    if action.target and not args.target:
        raise Usage(f"{action.name} is done to a {action.target}: say which with --target NAME")
    if args.target and not action.target:
        raise Usage(f"{action.name} is done to nothing in particular: leave --target away")
    try:
        number = asyncio.run(stack.do(action.name, args.target, who(), args.reason))
    except Refused as refused:
        print(f"refused: {refused}")
        return REFUSED
    except ValueError as wrong:
        raise Usage(str(wrong)) from None
    on = f" {args.target}" if args.target else ""
    print(f"{action.name}{on}: done, number {number} of the audit trail")
    if action.undo:
        of = f" --target {args.target}" if args.target else ""
        print(f"take it back with `gameday stack do {action.undo}{of} --reason TEXT`")
    return 0


def tickets(args: argparse.Namespace) -> int:
    """List what the stack wants people to look into, show one ticket, or close it."""
    stack = _stack(args)
    if not isinstance(stack, Ticketing):
        raise Usage(f"the stack {args.name!r} opens no tickets")
    if args.close:
        if not args.reason.strip():
            raise Usage(f"say why: gameday stack tickets --close {args.close} --reason TEXT")
        try:
            asyncio.run(stack.close_ticket(args.close, who(), args.reason))
        except ValueError as wrong:
            raise Usage(str(wrong)) from None
        print(f"{args.close} is closed")
        return 0
    found = asyncio.run(stack.tickets())
    if args.ticket is not None:
        one = next((ticket for ticket in found if ticket.id == args.ticket), None)
        if one is None:
            raise Usage(f"there is no ticket {args.ticket!r}; there is {_ids(found)}")
        print(json.dumps(one.body, indent=2))
        return 0
    print("\n".join(map(_line, found)) if found else "no tickets")
    return 0


def _stack(args: argparse.Namespace) -> Stack:
    """Reach the stack that is meant: of a run that runs, or the one that was left running."""
    if not args.run:
        stack = attached(args.name)
        if stack is None:
            raise Usage(
                f"no stack {args.name!r} is up; bring one up with `gameday stack up`, or name the "
                "run whose stack it is: --run last"
            )
        return stack
    path = folders.find(args.run).stack / STATE
    if not path.exists():
        raise Usage(f"the run {args.run} has no stack of its own that is up")
    state = json.loads(path.read_text(encoding="utf-8"))
    args.name = str(state["stack"])
    cls = Catalog().stack(args.name)
    assert issubclass(cls, Served)
    return cls.attach(state)


def _named(name: str, known: dict[str, Action]) -> Action:
    if name not in known:
        raise Usage(f"no action called {name!r}; there is {', '.join(known)}")
    return known[name]


def _lines(actions: list[Action]) -> list[str]:
    calls = [a.name + (f" --target {a.target.upper()}" if a.target else "") for a in actions]
    width = max(map(len, calls), default=0)
    return [f"{call:{width}}  {a.does}" for call, a in zip(calls, actions, strict=True)]


def _line(ticket: Ticket) -> str:
    when = datetime.fromtimestamp(ticket.opened_wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{ticket.id}  {'open' if ticket.is_open else 'closed':6}  {when}Z  {ticket.title}"


def _ids(found: Sequence[Ticket]) -> str:
    return ", ".join(ticket.id for ticket in found) or "none"
