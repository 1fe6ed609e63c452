"""The dead-man switch, proved by killing: a real run on a tiny stack, and what is left of it."""

import json
import os
import signal
import time

import pytest

from harness.model import events as ev
from harness.run import fence, ward
from harness.run.processes import Process, me, process
from tests.conftest import gameday
from tests.harness.guarded_rig import BOUND_S, LEASE_S, Rig

pytestmark = pytest.mark.timeout(120)


def heal(rig, *words):
    return gameday("heal", *words, env={**os.environ, "GAMEDAY_HOME": str(rig.home)})


@pytest.mark.parametrize(
    ("moment", "spoilt"),
    [("standing up the stack", 0), ("phase warmup", 0), ("spoil-1: in force", 1)],
)
def test_a_harness_killed_at_any_step_leaves_nothing(home, moment, spoilt):
    with Rig(home, stack={"up_s": "500ms"}) as rig:
        rig.until(moment).kill()
        rig.gone_within(BOUND_S)
        record, abort = rig.tells_of_rescue()
        assert abort.because == "the harness is gone"
        assert len(record.spans) == spoilt


@pytest.mark.parametrize("way", ["die_before", "die_half", "die_after"])
def test_a_harness_killed_by_its_own_inject_leaves_nothing_for_the_undo_was_on_disk(home, way):
    faults = ((0.2, "well", "b"), (0.4, way, "abc"))
    with Rig(home, faults=faults) as rig:
        rig.until("spoil-2: injecting")
        rig.killed_s = time.monotonic()
        rig.gone_within(BOUND_S)
        record, _ = rig.tells_of_rescue()
        assert [span.id for span in record.spans] == ["spoil-1", "spoil-2"]
        healing = [e.id for e in record.of(ev.FaultHealing)]
        assert healing == ["spoil-2", "spoil-1"]  # newest first
        assert record.spans[1].undo == {"was": {"a": "healthy", "b": "spoilt", "c": "healthy"}}


def test_a_process_that_hides_is_ended_too_once_the_guardian_has_seen_it(home):
    with Rig(home, faults=((2.0, "well", "a"),), stack={"hides": True}) as rig:
        rig.until("spoil-1: in force")
        assert len(rig.processes()) == 3
        rig.kill()
        rig.gone_within(BOUND_S)
        rig.tells_of_rescue()


def test_a_harness_killed_while_it_takes_down_leaves_nothing(home):
    with Rig(home, ends_s=1.0, stack={"down_s": "1s"}) as rig:
        rig.until("taking the stack down").kill()
        rig.gone_within(BOUND_S)
        rig.record()


def test_a_stopped_harness_is_healed_and_injects_nothing_more_when_it_is_resumed(home):
    with Rig(home, faults=((0.3, "well", "ab"), (2.0, "well", "c"))) as rig:
        rig.until("spoil-1: in force").kill(signal.SIGSTOP)
        # The guardian is our harness's child: a zombie until the harness can reap it.
        took_s = rig.gone_within(BOUND_S)
        assert took_s > LEASE_S / 2
        rig.kill(signal.SIGCONT)
        assert rig.ends() == 4, rig.said
        record, abort = rig.tells_of_rescue()
        assert "silent" in abort.because
        assert [e.id for e in record.of(ev.FaultIntended)] == ["spoil-1"]
        assert rig.residue() == []


@pytest.mark.parametrize("way", ["stop_before", "stop_after"])
def test_a_harness_stopped_inside_an_inject_takes_back_what_it_does_when_resumed(home, way):
    with Rig(home, faults=((0.3, way, "ab"),)) as rig:
        rig.until("spoil-1: injecting")
        rig.killed_s = time.monotonic()
        rig.gone_within(BOUND_S + LEASE_S)
        while not fence.read(rig.folder.path).settled:
            time.sleep(0.02)
        rig.kill(signal.SIGCONT)
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []
        rig.tells_of_rescue()


def test_a_harness_whose_event_loop_hangs_is_healed_though_it_lives(home):
    with Rig(home, faults=((0.3, "hang", "ab"),)) as rig:
        rig.until("spoil-1: injecting")
        rig.killed_s = time.monotonic()
        rig.gone_within(BOUND_S)
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []
        rig.tells_of_rescue()


def test_a_harness_whose_guardian_dies_aborts_and_heals(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        rig.killed_s = time.monotonic()
        rig.guardians[0].signal(signal.SIGKILL)
        rig.until("ABORTED by guardian: the guardian died")
        assert time.monotonic() - rig.killed_s < 2  # one second, and a busy machine
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []
        record = rig.record()
        assert record.complete and not rig.folder.rescue.exists()


def test_a_guardian_that_is_stopped_is_as_good_as_dead(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        rig.guardians[0].signal(signal.SIGSTOP)
        rig.until("ABORTED by guardian: the guardian was silent")
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []


def test_a_guardian_that_is_told_to_end_heals_first(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        rig.killed_s = time.monotonic()
        rig.guardians[0].signal(signal.SIGTERM)
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []
        _, abort = rig.tells_of_rescue()
        assert "told to end" in abort.because


@pytest.mark.parametrize("first", ["guardian", "harness"])
def test_killing_harness_and_guardian_together_also_heals(home, first):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        pair = [rig.guardians[0], Process(rig.child.pid, process(rig.child.pid).started)]
        for one in pair if first == "guardian" else reversed(pair):
            one.signal(signal.SIGKILL)
        rig.killed_s = time.monotonic()
        rig.gone_within(BOUND_S)
        rig.tells_of_rescue()


def test_the_next_command_heals_when_everything_was_killed(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        for one in [*rig.guardians, process(rig.child.pid)]:
            one.signal(signal.SIGKILL)
        rig.child.wait()
        assert any("spoilt" in words for words in rig.residue())
        done = gameday("runs", env={**os.environ, "GAMEDAY_HOME": str(home)})
        assert f"{rig.folder.run}: healed spoil-1, its stack is down" in done.stderr, done
        assert "aborted" in done.stdout
        assert rig.residue() == []
        rig.tells_of_rescue()
        assert "nothing to heal" in heal(rig, rig.folder.run).stdout
        assert gameday("runs", env={**os.environ, "GAMEDAY_HOME": str(home)}).stderr == ""


def test_after_a_power_cut_the_next_command_heals_what_is_on_disk(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        for one in [*rig.guardians, process(rig.child.pid), *rig.processes()]:
            one.signal(signal.SIGKILL)
        rig.child.wait()
        (entry,) = (home / "open").glob("*.json")
        body = json.loads(entry.read_text())
        body["place"]["boot"] = "another"
        entry.write_text(json.dumps(body))
        done = heal(rig)
        assert "healed spoil-1" in done.stderr and done.returncode == 0, done
        assert rig.residue() == []
        record, _ = rig.tells_of_rescue()
        assert record.spans[0].healed_s > record.spans[0].injected_s


def test_a_run_begun_on_another_machine_is_left_alone_and_named(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        (entry,) = (home / "open").glob("*.json")
        body = json.loads(entry.read_text())
        body["place"]["host"] = "elsewhere"
        entry.write_text(json.dumps(body))
        done = heal(rig)
        assert "begun on elsewhere" in done.stderr
        assert rig.state["a"] == "spoilt" and rig.child.poll() is None


def test_a_run_that_is_alive_is_left_alone_unless_it_is_forced(home):
    with Rig(home) as rig:
        rig.until("spoil-1: in force")
        refused = heal(rig, rig.folder.run)
        assert refused.returncode == 2 and "is running" in refused.stderr
        assert "running" in gameday("runs", env={**os.environ, "GAMEDAY_HOME": str(home)}).stdout
        assert rig.state["a"] == "spoilt" and rig.child.poll() is None
        forced = heal(rig, rig.folder.run, "--force")
        assert "healed spoil-1" in forced.stderr, forced
        assert rig.ends() == 4, rig.said
        assert rig.residue() == []
        rig.tells_of_rescue()


def test_a_fault_that_lasts_too_long_is_healed_whatever_the_scenario_says(home):
    with Rig(home, max_fault_s=1.0) as rig:
        rig.until("spoil-1: in force")
        rig.killed_s = time.monotonic()
        rig.gone_within(BOUND_S)
        assert rig.ends() == 4, rig.said
        _, abort = rig.tells_of_rescue()
        assert "spoil-1 was in force for longer than 1 s" in abort.because


def test_a_guardian_goes_with_a_run_that_ends_well(home):
    with Rig(home, ends_s=1.0) as rig:
        rig.until("stack is down")
        guardians = rig.guardians
        assert rig.ends() == 3  # too short to be judged
        assert rig.residue() == [] and not any(one.alive for one in guardians)
        assert not rig.folder.rescue.exists() and rig.record().complete
        assert fence.read(rig.folder.path).epoch == 0
        assert "nothing to heal" in heal(rig, rig.folder.run).stdout


@pytest.mark.parametrize("way", ["heal_raises", "heal_hangs", "heal_blocks"])
def test_one_undo_that_fails_does_not_stop_the_others_nor_the_end(home, way):
    with Rig(home, faults=((0.3, "well", "ab"), (0.5, way, "c"))) as rig:
        rig.until("spoil-2: in force").kill()
        spare = ["c is spoilt", f"{rig.run_id}", f"{rig.folder.run}"]
        if way == "heal_blocks":  # and blocks everybody else: only the last resort is left
            spare += ["a is", "b is"]
        rig.gone_within(BOUND_S, spare)
        record = rig.record()
        if way != "heal_blocks":
            assert rig.state["a"] == "healthy"
            failed = list(record.of(ev.FaultFailed))
            assert failed and all(e.id == "spoil-2" and e.stage == "heal" for e in failed)


def test_without_its_guardian_a_killed_run_leaves_its_mess(home):
    """The control: what the others prove is the guardian's doing."""
    with Rig(home, on=False) as rig:
        rig.until("spoil-1: in force").kill()
        rig.child.wait()
        deadline_s = time.monotonic() + 3 * LEASE_S
        while time.monotonic() < deadline_s:
            assert rig.state["a"] == rig.state["b"] == "spoilt" and len(rig.processes()) == 2
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("SIGINT", "in force"),
        ("SIGTERM", "standing up"),
        ("SIGHUP", "in force"),
        ("twice", "standing up"),
        ("twice", "in force"),
        ("twice", "taking the stack down"),
    ],
)
def test_every_polite_way_of_being_stopped_heals(home, name, moment):
    quick = 1.5 if moment == "taking the stack down" else 120.0
    with Rig(home, ends_s=quick, stack={"up_s": "300ms", "down_s": "300ms"}) as rig:
        rig.until(moment)
        for _ in range(2 if name == "twice" else 1):
            rig.kill(signal.SIGINT if name == "twice" else signal.Signals[name])
        assert rig.ends() == 3, rig.said
        assert "Traceback" not in rig.said
        assert rig.residue() == []
        record = rig.record()
        assert record.complete and not rig.folder.rescue.exists()
        assert all(span.healed_s is not None for span in record.spans)


def test_a_terminal_that_is_gone_does_not_keep_a_run_from_healing(home):
    with Rig(home) as rig:
        rig.until("in force")
        rig.child.stdout.close()
        rig.kill(signal.SIGHUP)
        rig.child.wait(30)
        rig.gone_within(BOUND_S)
        assert rig.record().complete


def test_two_runs_at_once_do_not_touch_each_other(home):
    with Rig(home) as one, Rig(home) as other:
        one.until("in force")
        other.until("in force")
        one.kill()
        one.gone_within(BOUND_S)
        assert other.state["a"] == "spoilt" and len(other.processes()) == 2
        assert all(guardian.alive for guardian in other.guardians)
        other.kill()
        other.gone_within(BOUND_S)


def test_plug_ins_that_cannot_be_loaded_are_found_before_anything_is_touched(home, tmp_path):
    with Rig(home, ends_s=1.0, plugins="tests.plugins.nowhere") as rig:
        assert rig.ends() == 3
        assert "the guardian cannot watch over this run" in rig.said, rig.said
        assert "Traceback" not in rig.said and "standing up" not in rig.said
        assert list((home / "open").glob("*.json")) == []


def test_a_process_id_that_is_used_again_is_nobody_we_know():
    stranger = Process(os.getpid(), me().started + 1)
    assert not stranger.alive
    stranger.signal(signal.SIGKILL)  # and we are still here


def test_the_list_of_open_runs_survives_what_it_cannot_read(home):
    (home / "open").mkdir(parents=True)
    (home / "open" / "torn.json").write_text('{"run": "x", "fol')
    assert ward.enlisted() == []
