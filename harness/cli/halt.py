"""``gameday halt``: stop every run on this machine, and let none begin until ``gameday resume``."""

import argparse
import sys

from harness.run import folder as folders
from harness.run import halt

STILL_ALIVE = 3


def main(args: argparse.Namespace) -> int:
    """Throw the switch first, then stop what runs; 3 when something is still alive after 15 s."""
    home = folders.home()
    try:
        entry = halt.throw(home, "halt", args.reason)
    except halt.HaltError as error:
        print(f"gameday: {error}; stopping what runs all the same", file=sys.stderr)
        halt.stop(home, print)
        return STILL_ALIVE
    print(f"{entry}; no run begins before `gameday resume`", flush=True)
    seen: list[str] = []

    def say(text: str) -> None:
        seen.append(text)
        print(text, flush=True)

    left = halt.stop(home, say)
    if not seen:
        print("no run was alive")
    for run in left:
        where = "elsewhere" if run.elsewhere else "here"
        print(
            f"gameday: {run.run} is still alive {where}; look at `gameday runs`, and heal what it "
            f"leaves with `gameday heal {run.run}`",
            file=sys.stderr,
        )
    return STILL_ALIVE if left else 0
