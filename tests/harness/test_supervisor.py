"""Faults in force, and what the record says of them, on a target that can refuse anything."""

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from harness.model import events as ev
from harness.model.plan import Inject
from harness.model.record import Record
from harness.protocols import Evidence
from harness.run.clocks import loop_factory
from harness.run.journal import MemoryJournal
from harness.run.supervisor import Supervisor, heal_leftovers, leftovers
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


def test_a_heal_that_keeps_failing_is_red_and_never_called_healed():
    target = Target(heals_refused=99)
    names, _ = play(target)
    assert "FaultHealed" not in names and names.count("FaultFailed") == 3


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
    assert [span.id for span in leftovers(record)] == ["break-2", "break-1"]

    async def go():
        return await heal_leftovers(record, target, {"break": Break})

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        assert runner.run(go()) == ["break-2", "break-1"]
    assert not target.broken


def test_one_leftover_that_cannot_be_healed_does_not_stop_the_others():
    target = Target(broken=True, heals_refused=1)
    events = tuple(
        ev.FaultIntended(t=n, id=f"break-{n}", fault="break", params={}, nodes=("a",), undo={})
        for n in (1, 2)
    )

    async def go():
        await heal_leftovers(Record(events, _no_requests()), target, {"break": Break})

    with (
        asyncio.Runner(loop_factory=loop_factory(True)) as runner,
        pytest.raises(ExceptionGroup),
    ):
        runner.run(go())
    assert target.did.count("heal") == 2 and not target.broken
