"""A run in a process of its own that a test may kill, and what must be true afterwards."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.cli.judge import exit_code, judge
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.run import fence, ward
from harness.run import folder as folders
from harness.run.folder import Folder
from harness.run.processes import process
from tests.conftest import ROOT
from tests.harness.guarded_run import CATALOG

PATIENCE_S = 30.0
BOUND_S = 10.0
"""What is promised: nothing of a run is left so long after its harness fell silent."""
LEASE_S = 1.0


class Rig:
    """One run. ``sleeps`` tells its processes from everybody else's."""

    def __init__(self, home, *, faults=((0.3, "well", "ab"),), ends_s=120.0, on=True, **more):
        self.home = home
        self.sleeps = f"98765.{secrets.randbelow(10**9)}"
        stack = {"sleeps": self.sleeps, **more.pop("stack", {})}
        asked = {
            "faults": faults, "ends_s": ends_s, "stack": stack, "out": None, "on": on,
            "lease_s": LEASE_S, "max_fault_s": 900.0, **more,
        }  # fmt: skip
        self.began_s = time.monotonic()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.guarded_run", json.dumps(asked)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "GAMEDAY_HOME": str(home)}, start_new_session=True,
        )  # fmt: skip
        self.said = ""
        self.folder = Folder(Path())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is left on this machine, whatever the test found."""
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(signal.SIGKILL)
        self.child.wait(PATIENCE_S)
        for one in [*self.guardians, *self.processes()]:
            one.signal(signal.SIGKILL)
        self.child.stdout.close()

    def until(self, words):
        """Wait until the run says this; the test's own timeout bounds it."""
        while words not in self.said:
            line = self.child.stdout.readline()
            assert line, f"never said {words!r}:\n{self.said}"
            self.said += line
        if self.folder.path == Path():
            self.folder = Folder(next(iter((self.home / "runs").glob(f"*{self.run_id}"))))
        return self

    @property
    def run_id(self):
        return self.said.partition("run ")[2].split()[0]

    @property
    def guardians(self):
        return ward.guardians(self.folder)

    def kill(self, number=signal.SIGKILL):
        self.child.send_signal(number)
        self.killed_s = time.monotonic()

    def processes(self):
        """Processes of its stack, found by what only they are called with."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if self.sleeps.encode() in words and (one := process(int(pid))) is not None:
                    found.append(one)
        return found

    @property
    def state(self):
        path = self.folder.stack / "state.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def residue(self):
        """What is left of the run, in words; nothing is what every run must leave."""
        left = [f"{node} is {word}" for node, word in self.state.items() if word != "healthy"]
        left += [f"{' '.join(one.arguments())} runs" for one in self.processes()]
        left += [f"guardian {one.pid} runs" for one in self.guardians if one.alive]
        left += [f"{name} is listed" for name in self._listed()]
        return left

    def _listed(self):
        return [
            path.name for path in (self.home / "open").glob("*.json") if self.run_id in path.name
        ]

    def gone_within(self, bound_s=BOUND_S, spare=()):
        """Wait until nothing is left; returns how long after the blow that was."""
        while left := [words for words in self.residue() if not words.startswith(tuple(spare))]:
            assert time.monotonic() - self.killed_s < bound_s, left
            time.sleep(0.02)
        return time.monotonic() - self.killed_s

    def ends(self, within_s=PATIENCE_S):
        """Its exit code; what it said is in ``said``."""
        code = self.child.wait(within_s)
        self.said += self.child.stdout.read()
        return code

    def record(self):
        """Read what is on record, which never passes."""
        record = folders.read(self.folder)
        assert judge(record, CATALOG).verdict is not Verdict.PASS
        return record

    def tells_of_rescue(self):
        """The record says who finished the job, and why."""
        record = self.record()
        abort = next(e for e in record.of(ev.Aborted) if e.by == "guardian")
        assert abort.because and exit_code(record, judge(record, CATALOG)) == 4
        assert fence.read(self.folder.path).settled
        assert all(span.healed_s is not None for span in record.spans)
        return record, abort
