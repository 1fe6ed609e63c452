"""Faults in force, and what the record says of them, on a target that can refuse anything."""

import asyncio
import os
import stat
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from harness.model import events as ev
from harness.model.plan import Inject
from harness.model.record import Record
from harness.protocols import Evidence
from harness.run.clocks import loop_factory
from harness.run.fence import Fenced
from harness.run.journal import FileJournal, MemoryJournal
from harness.run.supervisor import Supervisor, heal_leftovers, leftovers
from harness.schema import param
from harness.testing import _no_requests


@dataclass
class Target:
    """A thing with one switch, and a list of what was done to it."""

    broken: bool = False
    did: list = field(default_factory=list)
    refuses: frozenset = frozenset()
    heals_refused: int = 0

    virtual_time: ClassVar[bool] = True

    def do(self, verb):
        self.did.append(verb)
        if verb in self.refuses:
            raise RuntimeError(f"no {verb} today")


@dataclass(frozen=True)
class Break:
    severities: ClassVar[tuple] = ()

    async def prepare(self, target, nodes):
        target.do("prepare")
        return {"was": target.broken}

    async def inject(self, target, nodes, undo):
        target.do("inject")
        target.broken = True

    async def verify(self, target, nodes):
        target.do("verify")
        return target.broken

    async def heal(self, target, nodes, undo):
        target.did.append("heal")
        if target.heals_refused:
            target.heals_refused -= 1
            raise RuntimeError("cannot heal")
        target.broken = False

    def evidence(self, before, during):
        return Evidence(True, "")


def play(target, *, dies=False):
    journal = MemoryJournal()

    async def go():
        now = asyncio.get_running_loop().time
        async with Supervisor(target, {"break": Break}, journal, now) as supervisor:
            await supervisor.inject(Inject(0.0, "break-1", "break", {}, ("a",)))
            if dies:
                raise KeyError("the run fell over")

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(go())
    return [type(e).__name__ for e in journal.events], journal.events


def test_the_intent_comes_before_the_effect_and_the_heal_after():
    target = Target()
    names, events = play(target)
    assert names == ["FaultIntended", "FaultInjected", "FaultHealing", "FaultHealed"]
    assert events[0].undo == {"was": False}
    assert target.did == ["prepare", "inject", "verify", "heal", "verify"]
    assert not target.broken


@pytest.mark.parametrize(
    ("lapses", "held"), [(False, True), (True, False), ("and says nothing", None)]
)
def test_before_a_heal_it_is_asked_whether_the_fault_still_holds(lapses, held):
    target, journal = Target(), MemoryJournal()

    async def go():
        now = asyncio.get_running_loop().time
        async with Supervisor(target, {"break": Break}, journal, now) as supervisor:
            await supervisor.inject(Inject(0.0, "break-1", "break", {}, ("a",)))
            target.broken = not lapses
            if held is None:
                target.refuses = frozenset({"verify"})
            asked_s = now()
            asyncio.get_running_loop().call_later(2, setattr, target, "refuses", frozenset())
            await supervisor.heal("break-1")
            assert held is None or now() - asked_s < 1

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(go())
    healing = next(e for e in journal.events if isinstance(e, ev.FaultHealing))
    assert healing.held is held and not target.broken


def test_what_healing_needs_is_durable_before_anything_is_broken():
    target, order = Target(), []

    class Watched(MemoryJournal):
        def append(self, event):
            order.append(type(event).__name__)
            super().append(event)

        def sync(self):
            order.append("sync")

    async def go():
        now = asyncio.get_running_loop().time
        async with Supervisor(target, {"break": Break}, Watched(), now) as supervisor:
            target.do = lambda verb: order.append(verb)
            await supervisor.inject(Inject(0.0, "break-1", "break", {}, ("a",)))

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(go())
    first = order.index("inject")
    assert "FaultIntended" in order[:first]
    assert "sync" in order[order.index("FaultIntended") : first]


def test_a_run_that_falls_over_heals_on_its_way_out():
    target = Target()
    with pytest.raises(KeyError):
        play(target, dies=True)
    assert not target.broken


@pytest.mark.parametrize(
    ("refuses", "stage", "intended"),
    [("prepare", "prepare", False), ("inject", "inject", True), ("verify", "verify", True)],
)
def test_a_verb_that_raises_is_on_record_and_what_was_intended_is_healed(refuses, stage, intended):
    target = Target(refuses=frozenset({refuses}))
    if stage == "verify":  # heal asks verify too: with it broken, healed cannot be believed
        names, events = play(target)
        assert names.count("FaultFailed") == 4 and "FaultHealed" not in names
    else:
        names, events = play(target)
    failed = next(e for e in events if isinstance(e, ev.FaultFailed))
    assert failed.stage == stage and "FaultInjected" not in names
    assert ("FaultIntended" in names) is intended
    assert not target.broken


def test_a_fault_that_never_comes_into_force_is_a_failure_in_bounded_time():
    class Never(Target):
        def do(self, verb):
            super().do(verb)
            self.broken = False

    names, events = play(Never())
    failed = next(e for e in events if isinstance(e, ev.FaultFailed))
    assert failed.stage == "verify" and "never came into force" in failed.error
    assert events[-1].t < 60


def test_a_heal_that_fails_once_is_tried_again():
    target = Target(heals_refused=1)
    names, _ = play(target)
    assert names[-3:] == ["FaultHealing", "FaultFailed", "FaultHealed"] and not target.broken
    assert target.did[-3:] == ["heal", "heal", "verify"]


def test_a_heal_that_keeps_failing_is_red_and_never_called_healed():
    target = Target(heals_refused=99)
    names, _ = play(target)
    assert "FaultHealed" not in names and names.count("FaultFailed") == 3


def test_a_heal_that_failed_in_its_turn_is_tried_again_at_the_end_and_stays_red():
    target, journal = Target(heals_refused=4), MemoryJournal()

    async def go():
        now = asyncio.get_running_loop().time
        async with Supervisor(target, {"break": Break}, journal, now) as supervisor:
            await supervisor.inject(Inject(0.0, "break-1", "break", {}, ("a",)))
            assert not await supervisor.heal("break-1")
            assert supervisor.in_force == ("break-1",)  # which the gate is told

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(go())
    names = [type(e).__name__ for e in journal.events]
    assert names.count("FaultFailed") == 4 and names[-1] == "FaultHealed" and not target.broken


def test_the_instant_of_injection_is_bounded_by_the_last_look_that_saw_nothing():
    class Slow(Target):
        looks = 0

        def do(self, verb):
            super().do(verb)
            if verb == "inject":
                asyncio.get_running_loop().call_later(1.0, setattr, self, "late", True)
            if verb == "verify" and not hasattr(self, "late"):
                self.broken, self.hidden = False, True
            elif verb == "verify" and hasattr(self, "hidden"):
                self.broken = True
                del self.hidden

    _, events = play(Slow())
    injected = next(e for e in events if isinstance(e, ev.FaultInjected))
    assert 0.9 <= injected.not_before_s <= injected.t <= 1.11
    assert injected.t - injected.not_before_s <= 0.11


def test_what_a_dead_run_left_is_healed_from_its_record_newest_first():
    target = Target(broken=True)
    events = tuple(
        ev.FaultIntended(t=n, id=f"break-{n}", fault="break", params={}, nodes=("a",), undo={})
        for n in (1, 2)
    )
    record = Record(events, _no_requests())
    assert [span.id for span in leftovers(record.events)] == ["break-2", "break-1"]

    async def go():
        return await heal_leftovers(record, target, {"break": Break})

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        assert runner.run(go()) == ["break-2", "break-1"]
    assert not target.broken


def test_one_leftover_that_cannot_be_healed_does_not_stop_the_others():
    class Half(Target):
        """Refuses to heal what is newest, and nothing else."""

    @dataclass(frozen=True)
    class Stubborn(Break):
        async def heal(self, target, nodes, undo):
            target.did.append(f"heal {nodes[0]}")
            if nodes == ("2",):
                raise RuntimeError("cannot heal")
            target.broken = False

    target = Half(broken=True)
    events = tuple(
        ev.FaultIntended(t=n, id=f"break-{n}", fault="break", params={}, nodes=(str(n),), undo={})
        for n in (1, 2)
    )

    async def go():
        await heal_leftovers(Record(events, _no_requests()), target, {"break": Stubborn})

    with (
        asyncio.Runner(loop_factory=loop_factory(True)) as runner,
        pytest.raises(ExceptionGroup) as failed,
    ):
        runner.run(go())
    assert [str(error) for error in failed.value.exceptions] == [
        "break-2: RuntimeError: cannot heal"
    ]
    assert [did for did in target.did if did != "verify"] == ["heal 2", "heal 1"] * 3
    assert not target.broken


@dataclass(frozen=True)
class Overwrite:
    """One word, replaced; the undo is the word that was there."""

    severities: ClassVar[tuple] = ()
    word: str = param("x", "what to write")
    fails: int = param(0, "how often its heal fails first")

    async def prepare(self, target, nodes):
        return {"was": target.word}

    async def inject(self, target, nodes, undo):
        target.word = self.word

    async def verify(self, target, nodes):
        return target.word != "whole"  # cannot tell who wrote it

    async def heal(self, target, nodes, undo):
        target.failed = getattr(target, "failed", 0)
        if target.failed < self.fails:
            target.failed += 1
            raise RuntimeError("not yet")
        target.word = undo["was"]

    def evidence(self, before, during):
        return Evidence(True, "")


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_overlapping_faults_end_as_it_was_though_an_undo_is_late(fails):
    target = Target()
    target.word = "whole"
    journal = MemoryJournal()

    async def go():
        now = asyncio.get_running_loop().time
        async with Supervisor(target, {"write": Overwrite}, journal, now) as supervisor:
            await supervisor.inject(Inject(0.0, "w-1", "write", {"word": "one"}, ("a",)))
            params = {"word": "two", "fails": fails}
            await supervisor.inject(Inject(0.0, "w-2", "write", params, ("a",)))
            assert target.word == "two"

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(go())
    assert target.word == "whole"
    healed = [e.id for e in journal.events if isinstance(e, ev.FaultHealed)]
    assert sorted(healed) == ["w-1", "w-2"]


def guarded(target, permit, *, faults=None, journal=None):
    """One inject under a permit; what it raised, and what is on record."""
    journal = journal or MemoryJournal()

    async def go():
        now = asyncio.get_running_loop().time
        supervised = Supervisor(target, faults or {"break": Break}, journal, now, permit)
        async with supervised as supervisor:
            await supervisor.inject(Inject(0.0, "break-1", "break", {}, ("a",)))

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        try:
            runner.run(go())
        except Exception as error:
            return error, journal
    return None, journal


class Fence:
    """Says no from the n-th question on."""

    def __init__(self, asks):
        self.asks = asks

    def may_break(self):
        self.may_mend()

    def may_mend(self):
        self.asks -= 1
        if self.asks < 0:
            raise Fenced("somebody else is at it")


@pytest.mark.parametrize("asks", [0, 1])
def test_a_fenced_run_breaks_nothing(asks):
    target = Target()
    error, journal = guarded(target, Fence(asks))
    assert isinstance(error, Fenced) and "inject" not in target.did and "heal" not in target.did
    assert [type(e).__name__ for e in journal.events] == ["FaultIntended"] * asks


def test_a_run_fenced_while_it_injects_takes_back_what_it_did():
    target = Target()
    error, journal = guarded(target, Fence(2))
    assert isinstance(error, Fenced)
    assert target.did == ["prepare", "inject", "heal"] and not target.broken


def test_a_run_fenced_before_its_heal_leaves_it_to_whoever_took_over():
    target = Target()
    error, journal = guarded(target, Fence(3))
    assert error is None and target.broken and "heal" not in target.did
    assert not any(isinstance(e, ev.FaultHealed) for e in journal.events)


class Full(MemoryJournal):
    """A disk that is full from the n-th event on."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def append(self, event):
        if len(self.events) >= self.room:
            raise OSError(28, "No space left on device")
        super().append(event)


def test_an_intent_that_cannot_be_written_has_no_effect():
    target = Target()
    error, _ = guarded(target, None, journal=Full(0))
    assert isinstance(error, OSError) and "inject" not in target.did


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_record_that_cannot_be_written_does_not_keep_a_fault_from_being_healed(room):
    target = Target()
    guarded(target, None, journal=Full(room))
    assert "inject" in target.did and target.did[-2:] == ["heal", "verify"] and not target.broken


def test_the_intent_is_synced_with_its_folder_before_the_effect(tmp_path, monkeypatch):
    target, order = Target(), []

    def fsync(handle):
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    with FileJournal(tmp_path / "events.jsonl") as journal:
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(target, "do", lambda verb: order.append(verb))
        guarded(target, None, journal=journal)
        monkeypatch.undo()
    assert order[:4] == ["prepare", "file", "folder", "inject"]


def test_a_line_cut_short_by_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    write = os.write

    def half(handle, line):
        if len(line) > 80:
            write(handle, line[:10])
            raise OSError(28, "No space left on device")
        return write(handle, line)

    with FileJournal(path) as journal:
        journal.append(ev.Noted(t=1.0, who="me", text="short"))
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            journal.append(ev.Noted(t=2.0, who="me", text="long" * 50))
        monkeypatch.undo()
        journal.append(ev.Noted(t=3.0, who="me", text="again"))
    with path.open("ab") as file:
        file.write(b'{"kind":"No')  # whoever wrote this died
    with FileJournal(path, new=False) as journal:
        journal.append(ev.Noted(t=4.0, who="you", text="after"))
    events = [ev.from_line(line) for line in path.read_text().splitlines()]
    assert [event.t for event in events] == [1.0, 3.0, 4.0]


def test_a_watcher_that_fails_does_not_harm_the_record(tmp_path):
    def gone(event):
        raise BrokenPipeError

    with FileJournal(tmp_path / "events.jsonl", gone) as journal:
        for n in range(3):
            journal.append(ev.Noted(t=n, who="me", text=""))
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 3
