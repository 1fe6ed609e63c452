"""Room on the disk that a run keeps back for its own end.

Healing writes: that the fault is out of force, that the stack is being taken down, who holds the
run. On a disk that is full none of it could be, and what cannot be written down cannot be relied
on. So a run takes some room before it touches anything, and whoever begins to mend gives it back
first. A disk without that much room is refused at once.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

FILE: Final = "ballast"
SIZE: Final = 256 * 1024
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def lay(folder: Path) -> None:
    """Take the room. Raises ``OSError`` when the disk has not so much; then nothing is taken."""
    path = folder / FILE
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)
    except OSError as error:
        drop(folder)
        if error.errno in _FULL:
            raise
        # A limit on the size of files, or a disk that cannot do this: no ballast would help.


def drop(folder: Path) -> None:
    """Give it back; does nothing where there is none."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
