"""What a reader will want to know of the machine and the software, years later.

Facts only, never secrets: nothing is read from the environment.
"""

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "gameday",
    "aiohttp",
    "locust",
    "numpy",
    "prometheus-api-client",
    "redis",
    "starlette",
    "torch",
    "toxiproxy-python",
    "uvicorn",
)


def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that a run stands on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> Mapping[str, str | int | float]:
    """The size and kind of this machine."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def digests(paths: Iterable[str]) -> Mapping[str, str]:
    """SHA-256 of each file, by its last two path components."""
    return {
        "/".join(Path(path).parts[-2:]): hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in sorted(paths)
        if path
    }
