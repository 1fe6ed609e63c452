"""``gameday resume``: let runs begin again after ``gameday halt``."""

import argparse
import sys

from harness.run import folder as folders
from harness.run import halt


def main(args: argparse.Namespace) -> int:
    """Take the halt back; does nothing where there is none."""
    home = folders.home()
    because = halt.halted(home)
    if because is None:
        print("nothing is halted on this machine")
        return 0
    try:
        entry = halt.throw(home, "resume", args.reason)
    except halt.HaltError as error:
        print(f"gameday: {error}", file=sys.stderr)
        return 3
    print(f"it was {because}; now {entry}")
    return 0
