"""What the dead-man switch stands on: the epoch, the list of open runs, the last look."""

import argparse
import asyncio
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness.cli import heal
from harness.model import events as ev
from harness.run import fence, ward
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.fence import Fence, Fenced
from harness.run.folder import FolderError
from harness.run.journal import FileJournal, MemoryJournal
from harness.run.log import Log
from harness.run.observe import Observer, differences
from harness.run.processes import Process
from harness.run.rescue import Bounds, Rescue
from tests.conftest import CATALOG
from tests.plugins.stacks.filed import NODES, Filed


def test_the_epoch_only_rises_and_whoever_began_before_is_fenced(tmp_path):
    ours = Fence(tmp_path)
    ours.check()
    first = fence.take(tmp_path, "the guardian", "the harness is gone")
    with pytest.raises(Fenced, match="the guardian took the run over: the harness is gone"):
        ours.check()
    theirs = Fence(tmp_path)
    second = fence.take(tmp_path, "a heal", "a person asked for it")
    assert (first.epoch, second.epoch) == (1, 2)
    with pytest.raises(Fenced, match="a heal"):
        theirs.check()
    fence.settle(tmp_path, first)  # it is not theirs any more to say
    assert not fence.read(tmp_path).settled
    fence.settle(tmp_path, second)
    assert fence.read(tmp_path).settled and fence.read(tmp_path).epoch == 2


def test_many_who_take_over_at_once_get_an_epoch_each(tmp_path):
    taken = []
    threads = [
        threading.Thread(target=lambda: taken.append(fence.take(tmp_path, "x", "y").epoch))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 9))


@pytest.mark.parametrize("text", ["", "{", '{"epoch": "x"}', "[]", '{"epoch": 1}'])
def test_an_epoch_that_cannot_be_read_stops_us(tmp_path, text):
    ours = Fence(tmp_path)
    (tmp_path / fence.FILE).write_text(text)
    with pytest.raises(Fenced, match="cannot be read"):
        ours.check()
    assert fence.take(tmp_path, "x", "y").epoch > 1


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    fence.write_durably(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fence.write_durably(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_run_is_listed_until_it_is_struck(home, tmp_path):
    assert ward.enlisted() == []
    folder = folders.create("r1", tmp_path)
    of = ward.ward_of(folder, "simulated", CATALOG, ("drop_features",), lease_s=1.0)
    ward.enlist(of)
    assert ward.enlisted() == [of] and ward.condition(of) == "alive"
    ward.strike("r1")
    ward.strike("r1")
    assert ward.enlisted() == []


@pytest.fixture
def listed(home, tmp_path):
    """Put a run on the list whose harness is dead; returns its ward."""

    def make(run, **more):
        folder = folders.create(run, tmp_path)
        of = ward.ward_of(folder, "simulated", CATALOG, ("drop_features",), lease_s=1.0)
        of = dataclasses.replace(of, harness=Process(0, 0), **more)
        ward.enlist(of)
        return of

    return make


def heal_all(capsys):
    code = heal.main(argparse.Namespace(run=None))
    return code, capsys.readouterr()


def test_a_run_that_said_goodbye_is_struck_off_though_its_harness_dies_before_it_can(listed):
    of = listed("r1")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        argv = [sys.executable, "-m", "harness.run.guardian", ward.path_of("r1"), str(fd)]
        child = subprocess.Popen(argv, pass_fds=[fd], start_new_session=True)
        ours.settimeout(20)
        assert ours.recv(100) == b"ready\n" and ward.enlisted() == [of]
        ours.send(b"bye\n")
        assert child.wait(20) == 0
    assert ward.enlisted() == [] and not of.folder.rescue.exists()


def test_one_run_that_cannot_be_healed_does_not_keep_the_others_from_it(
    listed, capsys, monkeypatch
):
    carry_out = Rescue.carry_out

    def stumbles(self, *, wait_s):
        if self.ward.run == "b":
            raise ValueError("what a mess\nthis is")
        return carry_out(self, wait_s=wait_s)

    for run in "abc":
        listed(run)
    (ward.path_of("torn")).write_text('{"run": "torn", "fol')
    (ward.path_of("list")).write_text("[]")
    monkeypatch.setattr(Rescue, "carry_out", stumbles)
    code, said = heal_all(capsys)
    assert code == 3 and "nothing to heal" not in said.out
    for words in ("a: its stack is down", "c: its stack is down", "b could NOT be healed"):
        assert words in said.err
    assert "torn.json cannot be read" in said.err and "list.json cannot be read" in said.err
    assert len(said.err.splitlines()) == 5
    assert [of.run for of in ward.enlisted()] == ["b"]
    monkeypatch.undo()


@pytest.mark.parametrize(
    "spoilt",
    [
        '{"kind":"FaultIntended","t":1,"id":["x"],"fault":"drop_features","params":{},'
        '"nodes":["feed"],"undo":{}}',
        '{"kind":"FaultIntended","t":1,"id":"x","fault":3,"params":3,"nodes":3,"undo":3}',
        '{"kind":"FaultHealed","t":1,"id":{"a":1}}',
        '["kind","Fault"]',
        '{"kind":"Fault',
        "\x00\x00",
    ],
)
def test_a_spoilt_line_of_a_record_stops_no_heal(listed, capsys, spoilt):
    of = listed("r1")
    of.folder.events.write_text(spoilt + "\n" + spoilt)
    code, said = heal_all(capsys)
    assert code == 0 and "r1: " in said.err and "NOT" not in said.err
    assert ward.enlisted() == []


@pytest.fixture
def standing(listed, tmp_path, monkeypatch):
    """A dead run on a stack that stays and is as it was, but for what its record says no more.

    Returns the ward and what is the stack's state now.
    """
    state = tmp_path / "attach.json"
    stack = Filed()
    stack._folder = tmp_path
    stack._state.write_text(json.dumps(dict.fromkeys(NODES, "healthy")))
    state.write_text(json.dumps(stack.state()))
    of = listed(
        "r1", stack="filed", owns_stack=False, state=str(state),
        plugins=("tests.plugins.faults", "tests.plugins.stacks"),
    )  # fmt: skip
    (of.folder.stack / ward.ATTACHED).write_text(str(state))
    before = asyncio.run(stack.fingerprint())
    with FileJournal(of.folder.events) as journal:
        journal.append(ev.Fingerprinted(t=1.0, when="before", parts=before))
    with of.folder.events.open("a") as file:
        file.write('{"kind":"FaultIntended","t":2.0,"id":"spoil-1"!"fault":"spoil"}\n')
    monkeypatch.setattr(heal, "PATIENT", Bounds(heal_s=1.0, down_s=1.0, look_s=1.0))
    return of, stack._state


def test_a_fault_that_its_record_says_no_more_is_not_called_healed(standing, capsys):
    of, state = standing
    well = state.read_text()
    state.write_text(well.replace("healthy", "spoilt", 1))
    for _ in range(2):
        code, said = heal_all(capsys)
        assert code == 3 and "could NOT heal what cannot be read any more" in said.err, said
        assert "events.jsonl:2" in said.err and "is not what it was before: a was" in said.err
        assert [one.run for one in ward.enlisted()] == ["r1"]
    state.write_text(well)  # somebody mends it by hand
    code, said = heal_all(capsys)
    assert code == 0 and "NOT" not in said.err and ward.enlisted() == []


def test_a_damaged_record_is_healed_by_its_name_too(standing, capsys):
    of, _ = standing
    named = argparse.Namespace(run=str(of.folder.path))
    (of.folder.path / "fence.json").write_text("{")
    for said in ("r1: nothing was left of it\n", ""):
        ward.enlist(of)
        assert heal.main(named) == 0
        out, err = capsys.readouterr()
        assert err == said and (out == "r1: nothing to heal\n") is (not said)
    ward.strike(of.run)
    with pytest.raises(FolderError, match="its record has no header"):
        heal.main(named)


def test_a_list_that_cannot_be_written_refuses_the_run(home, tmp_path):
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("a file is in the way")
    of = ward.ward_of(folders.create("r1", tmp_path), "simulated", CATALOG, ())
    with pytest.raises(FolderError, match="set GAMEDAY_HOME"):
        ward.enlist(of)


def test_what_others_did_is_merged_by_time_and_the_harness_keeps_its_order(tmp_path):
    folder = folders.create("r1", tmp_path)
    own = [
        ev.Noted(t=1.0, who="harness", text="a"),
        ev.Acted(t=0.2, seq=1, who="w", what="x", target="y", why="z"),  # dated back
        ev.Noted(t=2.0, who="harness", text="b"),
        ev.Noted(t=9.0, who="harness", text="resumed"),
    ]
    with FileJournal(folder.events) as journal:
        for event in own:
            journal.append(event)
    with FileJournal(folder.rescue) as journal:
        journal.append(ev.Noted(t=1.5, who="guardian", text="c"))
        journal.append(ev.Noted(t=5.0, who="guardian", text="d"))
    order = [getattr(e, "text", "acted") for e in folders.read(folder).events]
    assert order == ["a", "acted", "c", "b", "d", "resumed"]


def test_differences_are_named_part_by_part():
    words = differences({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert words == ["b was 1 and is 2", "c is gone", "d is new"]
    assert differences({"a": "1"}, {"a": "1"}) == []


class Mending:
    """A stack that is as it was before only after a while."""

    def __init__(self, looks):
        self.looks = looks

    async def fingerprint(self):
        self.looks -= 1
        return {"route": "baseline" if self.looks > 0 else "champion"}


@pytest.mark.parametrize(("looks", "alike"), [(0, True), (4, True), (999, False)])
def test_the_last_look_waits_for_the_stack_to_be_what_it_was_and_says_if_it_is_not(looks, alike):
    journal = MemoryJournal()

    async def look():
        stack = Mending(0)
        observer = Observer(stack, Log(journal, 0.0, 0.0))
        await observer.fingerprint_before()
        stack.looks = looks
        await observer.fingerprint_after()

    with asyncio.Runner(loop_factory=loop_factory(True)) as runner:
        runner.run(look())
    before, after = (e for e in journal.events if isinstance(e, ev.Fingerprinted))
    assert (before.parts == after.parts) is alike
    notes = [e.text for e in journal.events if isinstance(e, ev.Noted)]
    assert notes == (
        [] if alike
        else ["the stack is not what it was before: route was champion and is baseline"]
    )  # fmt: skip


def test_listing_open_runs_costs_nothing_when_there_is_none(home):
    began_s = time.perf_counter()
    for _ in range(100):
        ward.enlisted()
    assert time.perf_counter() - began_s < 1
