"""Whatever is done in whatever order, in the end the stack is what it was in the beginning.

Hypothesis injects faults that overlap, heals them in any order, has verbs fail half-way, kills the
harness before, in and after them, takes the run away from it while it lives, restarts, and heals
again what is healed. The supervisor, its journal on disk, the fence and the rescue are the real
ones; the stack is a file, and the fault the meanest there is: its undo is what it found, be that
another fault's doing.
"""

import asyncio
import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.catalog import Catalog, Folder
from harness.model import events as ev
from harness.model.plan import Inject
from harness.run import fence, ward
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.fence import Fence, Fenced
from harness.run.journal import FileJournal
from harness.run.processes import Process
from harness.run.rescue import Bounds, Rescue
from harness.run.supervisor import Supervisor
from tests.plugins.faults.spoil import Spoil
from tests.plugins.stacks.filed import NODES, Filed

CATALOG = Catalog(
    faults=Folder("tests.plugins.faults", "fault"), stacks=Folder("tests.plugins.stacks", "stack")
)
NODE_SETS = st.sets(st.sampled_from(NODES), min_size=1).map(lambda found: tuple(sorted(found)))
BOUNDS = Bounds(heal_s=2.0, down_s=1.0)
WRITES = st.integers(0, 3)  # that still succeed
GOES_WRONG = st.sampled_from(["fails", "crashes"])


class Crash(BaseException):
    """The harness dies here: nothing of it runs any more, not even what cleans up."""


class Shaky(Filed):
    """The same stack, as seen by a harness whose writes may fail, or be its last."""

    goes_wrong = ""
    left = 0

    def put(self, node, value):
        if self.goes_wrong and not self.left:
            how, self.goes_wrong = self.goes_wrong, ""
            raise Crash if how == "crashes" else RuntimeError("this write does not work")
        self.left -= 1
        super().put(node, value)


class Permit:
    """What the lifeline says to a harness: whether the run is still its own."""

    def __init__(self, folder):
        self._fence = Fence(folder)

    def may_break(self):
        self._fence.check()

    may_mend = may_break


class AnyOrder(RuleBasedStateMachine):
    """One stack, and one harness after the other."""

    def __init__(self):
        super().__init__()
        self.closing = contextlib.ExitStack()
        self.place = Path(self.closing.enter_context(tempfile.TemporaryDirectory()))
        patched = self.closing.enter_context(pytest.MonkeyPatch.context())
        patched.setenv("GAMEDAY_HOME", str(self.place / "home"))
        patched.setattr("os.fsync", lambda _: None)  # that it is done is proved elsewhere
        self.state = self.place / "attach.json"
        self.stack = Shaky()
        self.stack._folder = self.place
        (self.place / "state.json").write_text(json.dumps(dict.fromkeys(NODES, "healthy")))
        self.state.write_text(json.dumps(self.stack.state()))
        self.first = self.print()
        self.runs = []
        self.supervisor = None

    def print(self):
        return asyncio.run(self.stack.fingerprint())

    def go(self, work):
        """Let the harness work, until it dies of it."""
        self.stack.goes_wrong, self.stack.left = self.wrong
        self.wrong = ("", 0)
        try:
            with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
                return runner.run(work)
        except Crash:
            self.supervisor = None
        except Fenced:
            pass
        finally:
            self.stack.goes_wrong = ""
        return None

    wrong = ("", 0)

    @rule(how=GOES_WRONG, left=WRITES)
    def something_will_go_wrong(self, how, left):
        self.wrong = (how, left)

    @rule()
    @precondition(lambda self: self.supervisor is None)
    def restart(self):
        """Begin a run, which first finishes the job of the one before, as every command does."""
        self.finish_the_job_of_the_dead()
        folder = folders.create(f"r{len(self.runs)}", self.place / "runs")
        of = ward.ward_of(folder, "filed", CATALOG, ("spoil",), self.state)
        self.runs.append(of)
        self.journal = FileJournal(folder.events)
        self.supervisor = Supervisor(
            self.stack, {"spoil": Spoil}, self.journal, of.now, Permit(folder.path)
        )
        self.injected = 0

    @rule(nodes=NODE_SETS)
    @precondition(lambda self: self.supervisor is not None)
    def inject(self, nodes):
        self.injected += 1
        step = Inject(0.0, f"spoil-{self.injected}", "spoil", {"way": "well"}, nodes)
        taken, before = fence.read(self.runs[-1].folder.path).epoch, self.print()
        self.go(self.supervisor.inject(step))
        assert not taken or self.print() == before, "a run that was taken over went on to break"

    @rule(which=st.integers(1, 5))
    @precondition(lambda self: self.supervisor is not None)
    def heal(self, which):
        self.go(self.supervisor.heal(f"spoil-{which}"))

    @rule()
    @precondition(lambda self: self.supervisor is not None)
    def crash(self):
        self.supervisor = None

    @rule()
    @precondition(lambda self: self.supervisor is not None)
    def end(self):
        """The way out of a run: all that is left is healed, unless somebody else has."""
        self.go(self.supervisor.heal_all())
        self.supervisor = None

    @rule()
    @precondition(lambda self: self.supervisor is not None)
    def be_taken_over(self):
        """The guardian heals while the harness is stopped, and it is resumed after."""
        self.rescue(self.runs[-1], "guardian")

    @rule(which=st.integers(0, 9))
    @precondition(lambda self: self.supervisor is None and self.runs)
    def heal_again(self, which):
        self.finish_the_job_of_the_dead()
        self.rescue(self.runs[which % len(self.runs)], "heal")

    def finish_the_job_of_the_dead(self):
        for of in self.runs[-1:]:
            self.rescue(of, "heal")

    def rescue(self, of, who):
        nobody = Process(0, 0)
        of = dataclasses.replace(of, harness=nobody)
        outcome = Rescue(of, who, "they are dead", BOUNDS, of.now).carry_out(wait_s=1.0)
        assert outcome.settled and not outcome.failed, outcome
        events = folders.events(of.folder)
        spans = {e.id for e in events if isinstance(e, ev.FaultIntended)}
        healed = {e.id for e in events if isinstance(e, ev.FaultHealed)}
        assert spans == healed
        assert self.print() == self.first

    @invariant()
    def nobody_invents_anything(self):
        assert set(self.stack.read().values()) <= {"healthy", "spoilt"}

    def teardown(self):
        self.finish_the_job_of_the_dead()
        assert self.print() == self.first
        self.closing.close()


QUICK = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = QUICK


@pytest.mark.slow
def test_thousands_of_orders():
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(AnyOrder, settings=settings(QUICK, max_examples=1500))
