"""The policy of this machine: where it lies, and what it says to a scenario.

``--policy FILE``, else ``policy.yaml`` in the folder where runs are kept, else
``/etc/gameday/policy.yaml``; the first that is there counts, whole. One that cannot be read stops
everything: a policy is never skipped because it is broken. Without one the built-in policy holds:
loopback alone, and no fault longer than a quarter of an hour.
"""

import time
from pathlib import Path
from typing import Final

from harness.cli.sources import Source, text_of
from harness.model.plan import Step
from harness.model.policy import Policy
from harness.model.scenario import Limits
from harness.parse.policy import policy
from harness.run import folder as folders
from harness.run.blast_radius import refusals
from harness.run.windows import blocked, wrong_window

MACHINE: Final = Path("/etc/gameday/policy.yaml")
NAME: Final = "policy.yaml"


def policy_of(given: str | None) -> Policy:
    """Read the policy: from ``--policy``, or where it lies. Raises ``ParseError``."""
    return read(folders.home(), given)


def read(home: Path, given: str | None = None, machine: Path = MACHINE) -> Policy:
    """Find and read the policy. Raises ``ParseError``.

    ``home``: where runs are kept; ``given``: from the command line, and must then be there.
    """
    if given is not None:
        return _read(Path(given))
    for path in (home / NAME, machine):
        # Not `exists()`, which takes a file that may not be seen for one that is not there.
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass
        return _read(path)
    return Policy()


def refused(source: Source, policy: Policy, seed: int | None = None) -> list[str]:
    """List why this scenario may never run here, at whatever time."""
    scenario, topology = source.scenario, source.stack().topology()
    steps: tuple[Step, ...] = ()
    if scenario.faults and not scenario.limits == policy.limits == Limits():
        steps = source.plan(topology, seed).steps  # the dice are slow to load, so only if need be
    faults = source.catalog.load_faults({step.fault for step in scenario.faults})
    return refusals(policy, scenario, steps, topology, {}, None, faults=faults)


def closed_now(source: Source, policy: Policy) -> str | None:
    """Say why it may not run at this moment; nothing real is broken on virtual time."""
    if source.stack().virtual_time:
        return None
    return blocked(policy.windows, time.time())


def _read(path: Path) -> Policy:
    return policy(text_of(path), source=str(path), wrong_window=wrong_window)
