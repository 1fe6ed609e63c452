"""Runs that are killed, and what is found afterwards by somebody who asks the kernel.

Each run has a state folder of its own (``GAMEDAY_HOME``), which all of its processes inherit in
their environment: that is how they are found here, independently of the marks, files and lists that
the harness itself goes by. One thread looks through all processes for all runs, because looking is
what costs most.
"""

import contextlib
import json
import math
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.cli.judge import judge
from harness.model import events as ev
from harness.model.analysis import Verdict
from harness.run import folder as folders
from harness.run import ward
from harness.run.folder import Folder
from harness.run.processes import process
from tests.conftest import CATALOG, ROOT

BOUND_S = 10.0
"""What is promised: nothing of a run is left so long after its harness fell silent."""
LEASE_S = 1.0
PATIENCE_S = 60.0
CANARY = "c4n4ry-0f-the-k1lled"
CANARIES = {"OPENAI_API_KEY": f"sk-{CANARY}", "DATABASE_URL": f"postgresql://a:{CANARY}@b/c"}
LOOK_EVERY_S = 0.15
POLL_S = 0.01
WHOLE_ROUTE = "feed.json"


class Lookout:
    """Everybody's processes, by the state folder in their environment, looked up now and then."""

    def __init__(self):
        self._homes = {}
        self._over = threading.Event()
        self._looked = threading.Condition()
        self._looks = 0
        threading.Thread(target=self._look_on, daemon=True).start()

    def watch(self, home):
        """Begin to watch; returns the set of all that were ever seen, kept up to date."""
        self._homes[f"GAMEDAY_HOME={home}".encode()] = seen = set()
        return seen

    def look(self):
        """Return once everybody was looked up by a look that began after this call."""
        with self._looked:
            wanted = self._looks + 2  # one may be under way
            assert self._looked.wait_for(lambda: self._looks >= wanted, PATIENCE_S)

    def close(self):
        self._over.set()

    def _look_on(self):
        while not self._over.wait(LOOK_EVERY_S):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                        if entry in self._homes and (one := process(int(pid))) is not None:
                            self._homes[entry].add(one)
            with self._looked:
                self._looks += 1
                self._looked.notify_all()


SCENARIO = """\
name: three_at_once
why: To kill whoever does this, at any instant, and to see what is left.
stack: processes
slo: quick
seed: 1
load: {arrivals: poisson, rate: 20/s}
phases: {warmup: 2s, baseline: 6s, fault: 5s, recovery: 3s}
hold: 1s
faults:
  - drop_features: {severity: 5}
    where: all feed
    at: 500ms
    for: 2500ms
  - kill_replica: {severity: 5}
    where: one replica
    at: 700ms
    for: 2500ms
  - pause_replica: {severity: 5}
    where: all replica
    at: 900ms
    for: 2500ms
expect:
  - overall: {sli: success_ratio, at_least: 50%, during: baseline}
"""
"""With a second of random injection phase each, all three are in force together for a second."""


def written(folder, text=SCENARIO):
    """Write a scenario, and an SLO that can be judged in seconds, and met by a machine that is
    busy with killing; returns the scenario's path.
    """
    (folder / "slos").mkdir(parents=True, exist_ok=True)
    slo = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")
    quick = re.sub(r"long: \w+, short: \w+", "long: 5s, short: 1s", slo)
    assert quick != slo
    quick = quick.replace("late-after: 1s", "late-after: 20s").replace(
        "target: 0.99}", "target: 0.8}"
    )
    assert quick.count("20s") == 1 and quick.count("target: 0.8}") == 1
    (folder / "slos" / "quick.yaml").write_text(quick)
    path = folder / "three_at_once.yaml"
    path.write_text(text)
    return path


class Victim:
    """One run, in a process of its own: by the command with these ``words``, or else a short one
    that is made by hand. ``leave``: nothing is ended afterwards but the run itself.
    """

    def __init__(
        self, parent, lookout, *, on=True, words=None, lease_s=LEASE_S, home=None, leave=False
    ):
        self.sweeps = 0 if leave else 2  # what is started while we look is found the second time
        self.home = home or parent / secrets.token_hex(4)
        self.home.mkdir(exist_ok=True)
        self.lookout = lookout
        self.seen = lookout.watch(self.home)
        asked = {"lease_s": lease_s, "on": on, "words": words and [str(word) for word in words]}
        self.known = set(self.runs())
        self.output = (self.home / "output").open("wb")
        self.started_s = time.monotonic()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.killable_run", json.dumps(asked)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            env={**os.environ, **CANARIES, "GAMEDAY_HOME": str(self.home)}, start_new_session=True,
        )  # fmt: skip
        self.reached_s = {"started": self.started_s}
        self.zero_s = None
        self.harness = process(self.child.pid)
        self.killed_s = self.started_s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing is left on this machine, whatever was found."""
        self.output.close()
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait(PATIENCE_S)
        for _ in range(self.sweeps):
            self.lookout.look()
            for one in tuple(self.seen):
                one.signal(signal.SIGKILL)

    def runs(self):
        return list((self.home / "runs").glob("*")) if (self.home / "runs").exists() else []

    @property
    def folder(self):
        found = [path for path in self.runs() if path not in self.known]
        return Folder(found[0]) if found else None

    @property
    def guardians(self):
        """The guardian and its stand-by."""
        return ward.guardians(self.folder) if self.folder else []

    def lines(self):
        """What its harness has written into its record so far."""
        try:
            return (self.folder.path / "events.jsonl").read_bytes().count(b"\n")
        except (OSError, AttributeError):
            return 0

    def steps(self):
        """How many events it has written so far, readings left out."""
        if not self.lines():
            return 0
        lines = self.folder.events.read_bytes().splitlines()
        return sum(b'"kind":"Sampled"' not in line for line in lines)

    def until(self, holds):
        """Wait until something holds of the run, or it has ended."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds(self):
            assert time.monotonic() < deadline_s, self.said()
            if self.child.poll() is not None:
                return False
            time.sleep(POLL_S)
        return True

    def since(self, what):
        """Seconds since it was ``started``, had ``begun`` (had written a first line), or had
        written an event of some kind; negative before.
        """
        if what not in self.reached_s and self._reached(what):
            self.reached_s[what] = time.monotonic()
        return time.monotonic() - self.reached_s.get(what, math.inf)

    def _reached(self, what):
        if what == "begun":
            return self.lines() > 0
        return self.lines() and f'"kind":"{what}"'.encode() in self.folder.events.read_bytes()

    def said(self):
        return (self.home / "output").read_text("utf-8", "replace")

    def strike(self, number=signal.SIGKILL, *, harness=True, guardian=False, standby=False):
        """Signal them, in one breath."""
        for path in (self.home / "open").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                self.zero_s = json.loads(path.read_text())["zero_ns"] / 1e9
        guardians = self.guardians
        struck = [self.harness] * harness
        struck += guardians[:1] * guardian + guardians[1:] * standby
        for one in struck:
            one.signal(number)
        self.killed_s = time.monotonic()
        return self

    def residue(self):
        """What is left of the run, in words."""
        self.lookout.look()
        left = [
            f"{' '.join(one.arguments())} runs"
            for one in tuple(self.seen)
            if one.alive and one != self.harness
        ]
        if (folder := self.folder) is not None:
            route = folder.stack / "route"
            if route.exists() and route.read_text() != WHOLE_ROUTE:
                left.append(f"the feed is led to {route.read_text()}")
            if list((folder.stack).glob("attach.json")):
                left.append("the stack is said to be up")
        left += [f"{path.name} is listed" for path in (self.home / "open").glob("*.json")]
        return left

    def nothing_left(self, bound_s=BOUND_S):
        """Wait until nothing is left; returns how long after the blow that was."""
        while left := self.residue():
            assert time.monotonic() - self.killed_s < bound_s, (left, self.said()[-2000:])
        took_s = time.monotonic() - self.killed_s
        assert self.residue() == [], "it came back"
        return took_s

    def healed_after_s(self):
        """How long after the blow the last fault was healed by the guardian; None if none was."""
        try:
            lines = self.folder.rescue.read_text().splitlines()
        except (OSError, AttributeError):
            return None
        healed = [json.loads(line)["t"] for line in lines if '"kind":"FaultHealed"' in line]
        return max(healed) + self.zero_s - self.killed_s if healed else None

    def told(self):
        """Every process of it, its harness left out, that was told a secret of the environment."""
        found = []
        for one in tuple(self.seen):
            with contextlib.suppress(OSError):
                raw = Path(f"/proc/{one.pid}/environ").read_bytes()
                if one.alive and one != self.harness and CANARY.encode() in raw:
                    found.append(" ".join(one.arguments()))
        return found

    def record(self):
        """The record, which tells what happened; None before its first line. One that was cut
        short never passes.
        """
        if not self.lines():
            return None
        record = folders.read(self.folder)
        spans = {span.id: span for span in record.spans}
        for event in record.of(ev.FaultIntended):
            assert spans[event.id].healed_s is not None, (event.id, record.events[-6:])
        if not record.complete or taken_over(record) is not None:
            assert judge(record, CATALOG).verdict is not Verdict.PASS
        return record


def taken_over(record):
    """The event that says that the guardian took the run over, if it did."""
    return next((e for e in record.of(ev.Aborted) if e.by == "guardian"), None)


def injected_in(record):
    """How many faults the run meant to inject."""
    return sum(1 for _ in record.of(ev.FaultIntended))
