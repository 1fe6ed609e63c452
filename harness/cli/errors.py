"""From an exception to one clear line and an exit code; a traceback is never shown to a user."""

import argparse
import errno
import os
import sys
from collections.abc import Callable

from harness.catalog import CatalogError
from harness.parse.document import ParseError
from harness.parse.graph import one_line
from harness.plan import PlanError
from harness.protocols import StackError
from harness.schema import ParamError

USAGE, UNKNOWN = 2, 3
_ELSEWHERE = ", or set GAMEDAY_HOME to another folder"
_REMEDIES = {
    errno.ENOSPC: f"; free some{_ELSEWHERE}",
    errno.EDQUOT: f"; free some{_ELSEWHERE}",
    errno.EROFS: f"; make it writable{_ELSEWHERE}",
    errno.EFBIG: "; raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "; raise the limit on open files (ulimit -n)",
    errno.ENFILE: "; close other programs: this machine has no more open files to give",
}


class Usage(Exception):
    """The call is wrong; the message says what to write instead."""


def explained(verb: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Carry out a verb, and explain what went wrong."""
    try:
        code = verb(args)
        print(end="", flush=True)  # here, where what goes wrong with it is explained
        return code
    except (ParseError, PlanError, CatalogError, ParamError, Usage) as wrong:
        return _say(one_line(str(wrong)), USAGE)
    except StackError as broken:
        return _say(str(broken), UNKNOWN)
    except KeyboardInterrupt:
        return _say("stopped", UNKNOWN)
    except BrokenPipeError:  # `gameday faults | head`: whoever read has seen enough
        _let_nobody_read()
        return UNKNOWN
    except OSError as error:
        return _say(one_line(in_words(error)), UNKNOWN)
    except Exception as error:
        from harness.run.folder import FolderError  # not before: it loads all kinds of events

        if isinstance(error, FolderError):
            return _say(one_line(str(error)), USAGE)
        return _say(one_line(f"a bug in gameday: {_where(error)}; please report it"), UNKNOWN)


def _let_nobody_read() -> None:
    """Send the rest of the output nowhere, so that ending does not stumble over it as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def in_words(error: Exception) -> str:
    """Say what went wrong, and what to do about it where the machine has run out of something."""
    if isinstance(error, OSError):
        words = f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
        return words + _REMEDIES.get(error.errno or 0, "")
    words = str(error) or type(error).__name__
    found = (remedy for code, remedy in _REMEDIES.items() if os.strerror(code) in words)
    return words + next(found, "")


def _where(error: Exception) -> str:
    """What it was, and the line of ours that it came from."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _say(text: str, code: int) -> int:
    print(f"gameday: {text}", file=sys.stderr)
    return code
