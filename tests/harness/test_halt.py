"""The kill switch: thrown, read, damaged; what it does to runs that listen, and that hang."""

import contextlib
import dataclasses
import json
import os
import pwd
import signal
import subprocess
import sys
import time

import pytest

from harness.catalog import Catalog
from harness.cli.arguments import main
from harness.run import chain, folder, halt, processes
from harness.run.ward import enlist, strike, ward_of

USER = pwd.getpwuid(os.getuid()).pw_name
POLITE = "import time\nprint('up', flush=True)\ntime.sleep(120)"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + POLITE


@pytest.fixture
def children():
    """Start Python programs, and end them whatever happens."""
    started = []

    def start(program):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout.readline() == b"up\n"
        return child

    yield start
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        child.stdout.close()


def open_run(name, harness, guardian=None):
    """Write a run down as the harness does."""
    made = folder.create(name)
    ward = dataclasses.replace(
        ward_of(made, "local", Catalog(), ()), harness=processes.process(harness.pid)
    )
    enlist(ward)
    if guardian is not None:
        one = processes.process(guardian.pid).to_json()
        made.write("guardian.json", json.dumps({"guardian": one, "standby": one}))
    return ward


# --- the switch -----------------------------------------------------------------------------------


def test_a_machine_on_which_nothing_was_ever_done_is_not_halted(tmp_path):
    assert halt.halted(tmp_path) is None and halt.halted(tmp_path / "no" / "where") is None
    assert halt.entries(tmp_path) == []


def test_halted_says_who_when_and_why_until_it_is_resumed(tmp_path):
    home = tmp_path / "not yet there"
    halt.throw(home, "halt", "  the  release\nis on fire ")
    said = halt.halted(home)
    assert said.startswith(f"halted by {USER} at 2") and said.endswith("Z: the release is on fire")
    halt.throw(home, "halt", "again")
    halt.throw(home, "resume", "")
    assert halt.halted(home) is None
    halt.throw(home, "halt", "")
    assert halt.halted(home) is not None
    assert [e.what for e in halt.entries(home)] == ["halt", "halt", "resume", "halt"]
    assert chain.read(home / halt.FILE).broken is None


def test_the_user_is_that_of_the_system_and_not_of_the_environment(tmp_path, monkeypatch):
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody else")
    assert halt.throw(tmp_path, "halt", "").who == USER


def test_a_reason_cannot_play_tricks_on_a_terminal_or_fill_the_disk(tmp_path):
    halt.throw(tmp_path, "halt", "\x1b[2J\u202ex" + "y" * 100_000)
    said = halt.halted(tmp_path)
    assert said.isprintable() and len(said) < 1000
    assert len((tmp_path / halt.FILE).read_bytes()) < 2000


def test_any_changed_byte_is_taken_for_a_halt(tmp_path):
    halt.throw(tmp_path, "halt", "first")
    halt.throw(tmp_path, "resume", "second")
    path = tmp_path / halt.FILE
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert halt.halted(tmp_path) is not None, at
    path.write_bytes(good)
    assert halt.halted(tmp_path) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(p.read_bytes() + b"{"),
        lambda p: p.write_bytes(b"\xff\n"),
        lambda p: (p.unlink(), p.mkdir()),
        lambda p: chain.append(p, {"what": "resumed", "at_s": 0, "who": "x", "why": ""}),
        lambda p: chain.append(p, {"what": "resume"}),
    ],
)
def test_what_cannot_be_read_is_taken_for_a_halt(tmp_path, spoil):
    halt.throw(tmp_path, "resume", "")
    spoil(tmp_path / halt.FILE)
    assert "taken for a halt" in halt.halted(tmp_path)


def test_a_switch_that_cannot_be_thrown_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(halt.HaltError, match="cannot write"):
        halt.throw(tmp_path / "file", "halt", "")
    (tmp_path / halt.FILE).write_text("nonsense\n")
    with pytest.raises(halt.HaltError, match="move it aside"):
        halt.throw(tmp_path, "resume", "")


def test_the_switch_is_cheap_to_read():
    code = "import sys, harness.run.halt; print([m for m in sys.modules if m in set(sys.argv[1:])])"
    heavy = ["numpy", "asyncio", "ruamel", "aiohttp", "argparse"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert out.stdout == "[]\n", out.stdout + out.stderr


# --- the runs -------------------------------------------------------------------------------------


def test_only_runs_that_somebody_looks_after_are_alive(home, children):
    assert halt.live_runs(home) == []
    one = children(POLITE)
    open_run("run-1", one)
    (home / "open" / "torn.json").write_text('{"run": "torn", "har')
    (home / "open" / "list.json").write_text("[]")
    (found,) = halt.live_runs(home)
    assert found.run == "run-1" and found.harness.pid == one.pid and found.harness_alive
    one.kill()
    one.wait()
    assert halt.live_runs(home) == []


def test_a_process_id_that_is_used_again_is_not_taken_for_the_run(home, children):
    stranger = children(POLITE)
    ward = open_run("run-1", stranger)
    enlist(dataclasses.replace(
        ward, harness=processes.Process(stranger.pid, ward.harness.started - 1)))  # fmt: skip
    assert halt.live_runs(home) == []
    assert halt.stop(home) == []
    assert stranger.poll() is None


def test_a_run_of_another_place_is_alive_for_all_we_know_and_never_signalled(home, children):
    stranger = children(POLITE)
    ward = open_run("run-1", stranger)
    for place, alive in (
        (dataclasses.replace(ward.place, host="elsewhere"), True),
        (dataclasses.replace(ward.place, namespace="pid:[1]"), True),
        (dataclasses.replace(ward.place, boot="another"), False),
    ):
        enlist(dataclasses.replace(ward, place=place))
        said = []
        assert bool(halt.stop(home, said.append, within_s=0.2)) is alive
        assert len(said) == alive and stranger.poll() is None


def test_a_run_that_listens_is_told_to_stop(home, children):
    one, two = children(POLITE), children(POLITE)
    open_run("run-1", one)
    open_run("run-2", two)
    said = []
    assert halt.stop(home, said.append) == []
    assert [child.wait(5) for child in (one, two)] == [-signal.SIGTERM] * 2
    assert said == [
        "run-1: told to stop", "run-2: told to stop", "run-1: stopped", "run-2: stopped"
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["deaf", "stopped"])
def test_a_run_that_hangs_is_killed_after_its_grace(home, children, how):
    one = children(DEAF if how == "deaf" else POLITE)
    if how == "stopped":
        one.send_signal(signal.SIGSTOP)
    open_run("run-1", one)
    said = []
    began = time.monotonic()
    assert halt.stop(home, said.append, grace_s=0.3) == []
    assert time.monotonic() - began < 10
    assert one.wait(5) == -signal.SIGKILL
    assert said[1] == "run-1: does not stop, so it is killed, and its guardian heals"


def test_it_waits_for_the_guardian_and_does_not_signal_it(home, children):
    harness, guardian = children(DEAF), children(POLITE)
    open_run("run-1", harness, guardian)
    said = []
    (left,) = halt.stop(home, said.append, grace_s=0.2, within_s=1.0)
    assert harness.wait(5) == -signal.SIGKILL and guardian.poll() is None
    assert left.run == "run-1" and not left.harness_alive and left.alive
    assert "run-1: stopped" not in said
    guardian.kill()
    guardian.wait()
    assert halt.stop(home, said.append) == []


def test_a_guardian_that_is_stopped_does_not_keep_its_stand_by_from_healing(home, children):
    harness, guardian = children(POLITE), children(POLITE)
    open_run("run-1", harness, guardian)
    guardian.send_signal(signal.SIGSTOP)
    harness.kill()
    harness.wait()
    said = []
    assert halt.stop(home, said.append, hung_s=0.2, within_s=5.0) == []
    assert guardian.wait(5) == -signal.SIGKILL
    assert said[1].startswith("run-1: its guardian hangs") and said[-1] == "run-1: stopped"


def test_a_run_whose_harness_is_dead_is_being_healed(home, children):
    harness, guardian = children(POLITE), children(POLITE)
    open_run("run-1", harness, guardian)
    harness.kill()
    harness.wait()
    said = []
    assert halt.stop(home, said.append, within_s=0.3)
    assert said == ["run-1: its harness is dead; its guardian heals"]


def test_a_run_that_begins_meanwhile_is_stopped_too(home, children):
    first, second = children(DEAF), children(POLITE)
    open_run("run-1", first)

    def say(text):
        if text == "run-1: told to stop":
            open_run("run-2", second)

    assert halt.stop(home, say, grace_s=0.5) == []
    assert second.wait(5) == -signal.SIGTERM
    strike("run-1")


# --- the verbs ------------------------------------------------------------------------------------


def test_halt_and_resume_as_people_type_them(home, children, capsys):
    assert main(["resume"]) == 0
    assert "nothing is halted" in capsys.readouterr().out
    one = children(POLITE)
    open_run("run-1", one)
    assert main(["halt", "--reason", "fire drill"]) == 0
    out = capsys.readouterr().out
    assert f"halted by {USER}" in out and "fire drill" in out and "run-1: told to stop" in out
    assert one.wait(5) == -signal.SIGTERM
    assert main(["halt"]) == 0
    assert "no run was alive" in capsys.readouterr().out
    assert main(["resume", "--reason", "it was a drill"]) == 0
    out = capsys.readouterr().out
    assert "it was halted by" in out and "it was a drill" in out
    assert halt.halted(home) is None
    assert [e.why for e in halt.entries(home)] == ["fire drill", "", "it was a drill"]


def test_halt_stops_what_runs_even_if_it_cannot_be_written_down(home, children, capsys):
    one = children(POLITE)
    open_run("run-1", one)
    (home / halt.FILE).mkdir()
    assert main(["halt"]) == 3
    assert "cannot write" in capsys.readouterr().err
    assert one.wait(5) == -signal.SIGTERM


def test_a_damaged_trail_is_not_resumed_over(home, capsys):
    halt.throw(home, "halt", "")
    with (home / halt.FILE).open("ab") as file:
        file.write(b"x\n")
    assert main(["resume"]) == 3
    assert "move it aside" in capsys.readouterr().err
    assert halt.halted(home) is not None
