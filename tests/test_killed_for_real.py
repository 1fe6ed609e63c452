"""The command itself, killed: `gameday run` on real scenario files, gate, load, plan and all.

On the stack of tiny processes with three overlapping faults, at hundreds of random instants; on the
local stack at dozens; with what guards it, stopped and resumed, on a stack of its own and on one
that it did not start. Only the lease of the mass kills is shorter than a user's. The figures that
the README states are printed by the slow ones.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.model import events as ev
from harness.run.observe import differences
from harness.run.processes import Process
from harness.run.ward import LEASE_S as REAL_LEASE_S
from tests.conftest import CATALOG, gameday
from tests.killing import CANARY, SCENARIO, Lookout, Victim, injected_in, taken_over, written
from tests.test_security import holding

pytestmark = pytest.mark.timeout(1500)
AT_ONCE = 6
SEED = 4
HEAL_WITHIN_S = 5.0
ON_LOCAL = SCENARIO.replace("stack: processes", "stack: local")
FAULT_S = 6.5
"""From the first intent to the end of the recovery, or nearly."""


@pytest.fixture(scope="module")
def lookout():
    found = Lookout()
    yield found
    found.close()


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    return written(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def on_local(tmp_path_factory):
    return written(tmp_path_factory.mktemp("local"), ON_LOCAL)


class Figures:
    """What came of many kills, and how long it took."""

    def __init__(self, name):
        self.name = name
        self.gone_s, self.healed_s, self.words = [], [], []

    def add(self, victim, words):
        """One that is gone by now, as far as anybody can see."""
        self.words.append(words)
        self.gone_s.append(victim.gone_s)
        if (healed_s := victim.healed_after_s()) is not None:
            self.healed_s.append(healed_s)

    def tell(self, capsys):
        with capsys.disabled():
            print(f"\n{self.name}: {len(self.words)} blows")
            for what, times in (("healed", self.healed_s), ("gone", self.gone_s)):
                if times:
                    print(
                        f"  {what} after {statistics.median(times):.2f} s in the median,"
                        f" {max(times):.2f} s at most, of {len(times)}"
                    )
            for words, count in sorted(Counter(self.words).items()):
                print(f"  {count:4} {words}")


def instants(count, seed, up_s):
    """Random ones: one in six while it starts, one in four before it breaks anything, the others
    from the first intent on.
    """
    dice = random.Random(seed)
    kinds = [("started", up_s), ("StackUp", 11.0), *[("FaultIntended", FAULT_S)] * 2]
    found = []
    for n in range(count):
        what, most_s = kinds[0] if n % 6 == 0 else kinds[1 + n % 3]
        found.append((what, most_s * dice.random() ** (1.5 if what == "FaultIntended" else 1)))
    return found


def struck(victim, instant, figures, *, bound_s=10.0, number=signal.SIGKILL, **whom):
    """Strike it at an instant; all of it must be gone in time, and the record say what happened."""
    what, after_s = instant
    in_time = victim.until(lambda v: v.since(what) >= after_s)
    assert victim.told() == []
    victim.strike(number, **whom)
    victim.gone_s = victim.nothing_left(bound_s)
    record = victim.record()
    if record is None:
        words = "before its first line"
    elif record.complete:
        words = "ended by itself"
    else:
        assert in_time and taken_over(record) is not None
        healed_s = victim.healed_after_s()
        assert healed_s is None or healed_s <= HEAL_WITHIN_S, (healed_s, record.events[-30:])
        failed = [e for e in record.of(ev.FaultFailed) if e.stage == "heal"]
        assert failed == [], failed
        in_force = sum(1 for e in record.of(ev.FaultInjected))
        words = f"{injected_in(record)} intended, {in_force} came into force"
    figures.add(victim, words)
    return record


ALL_IN_FORCE = ("FaultIntended", 1.9)


def kill_at_random(chosen, lookout, scenario, parent, capsys):
    figures = Figures("killed at random instants on the tiny processes, lease 1 s")

    def kill(instant):
        with Victim(parent, lookout, words=("run", scenario, "--plain")) as victim:
            struck(victim, instant, figures)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill, chosen))
    figures.tell(capsys)
    broken = sum(words[0] in "123" for words in figures.words)
    assert broken >= len(chosen) / 6, "hardly any was killed with a fault in force"
    return figures


@pytest.mark.busy
def test_the_command_is_killed_at_random_instants_and_nothing_is_left(
    lookout, scenario, tmp_path, capsys
):
    chosen = [*instants(5, SEED, 1.5), ALL_IN_FORCE]
    kill_at_random(chosen, lookout, scenario, tmp_path, capsys)
    assert holding(tmp_path, CANARY) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_the_command_is_killed_at_two_hundred_random_instants_and_nothing_is_left(
    part, lookout, scenario, tmp_path, capsys
):
    chosen = instants(54, SEED + 1 + part, 1.5)
    kill_at_random(chosen, lookout, scenario, tmp_path, capsys)


@pytest.mark.slow
def test_the_command_is_killed_at_every_step_and_nothing_is_left(
    lookout, scenario, tmp_path, capsys
):
    words = ("run", scenario, "--plain")
    with Victim(tmp_path, lookout, words=words) as victim:
        assert not victim.until(lambda _: False)
        steps = victim.steps()
    assert steps >= 25
    figures = Figures("killed at every step on the tiny processes, lease 1 s")

    def kill(step):
        with Victim(tmp_path, lookout, words=words) as victim:
            victim.until(lambda v: v.steps() >= step)
            struck(victim, ("started", 0.0), figures)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill, range(1, steps + 1)))
    figures.tell(capsys)


@pytest.mark.slow
def test_without_the_guardian_the_command_leaves_all_of_it_behind(lookout, scenario, tmp_path):
    words = ("run", scenario, "--plain")
    with Victim(tmp_path, lookout, on=False, words=words) as victim:
        assert victim.until(lambda v: v.since("FaultIntended") >= 1.7)
        victim.strike()
        time.sleep(3)
        left = victim.residue()
        assert sum("_tiny_" in words for words in left) >= 3, left
        with pytest.raises(AssertionError):
            victim.nothing_left(bound_s=0.5)


# --- on the local stack ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_the_command_is_killed_on_the_local_stack_and_nothing_is_left(
    part, lookout, on_local, tmp_path, capsys
):
    figures = Figures("killed at random instants on the local stack")
    for instant in instants(6, SEED + part, 12.0):
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            struck(victim, instant, figures)
    figures.tell(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_the_command_is_stopped_and_resumed_on_the_local_stack(
    part, lookout, on_local, tmp_path, capsys
):
    figures = Figures("stopped and resumed on the local stack, lease 3 s")
    dice = random.Random(SEED + part)
    for instant in [("FaultIntended", dice.uniform(0, 5)) for _ in range(3)]:
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            before = struck(victim, instant, figures, number=signal.SIGSTOP)
            victim.strike(signal.SIGCONT)
            assert not victim.until(lambda _: False)
            victim.nothing_left()
            assert injected_in(victim.record()) == injected_in(before), "it went on to break"
    figures.tell(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["guardian", "both"])
def test_its_guardian_or_both_are_killed_on_the_local_stack(
    whom, lookout, on_local, tmp_path, capsys
):
    figures = Figures(f"{whom} killed on the local stack")
    dice = random.Random(SEED)
    for after_s in [dice.uniform(0, 5) for _ in range(3)]:
        words = ("run", on_local, "--plain")
        with Victim(tmp_path, lookout, words=words, lease_s=REAL_LEASE_S) as victim:
            instant = ("FaultIntended", after_s)
            if whom == "both":
                struck(victim, instant, figures, guardian=True)
                continue
            assert victim.until(lambda v, at=instant: v.since(at[0]) >= at[1])
            victim.strike(harness=False, guardian=True)
            assert not victim.until(lambda _: False)
            # A harness that was not harmed takes its time: a replica loads its model again.
            victim.gone_s = victim.nothing_left(bound_s=30)
            record = victim.record()
            assert record.complete and taken_over(record) is not None
            figures.add(victim, "the harness mended and ended")
    figures.tell(capsys)


# --- on a stack that the run did not start --------------------------------------------------------


class Standing:
    """A stack that `gameday stack up` left running, and what it is like when whole."""

    def __init__(self, name, home):
        self.name, self.home = name, home
        home.mkdir()
        self.environment = {**os.environ, "GAMEDAY_HOME": str(home)}
        assert self.gameday("stack", "up", "--name", name).returncode == 0
        self.state = home / "stacks" / name / "attach.json"
        self.whole, self.parts = self.fingerprint(), self.children().keys()

    def gameday(self, *words):
        return gameday(*words, env=self.environment)

    def fingerprint(self):
        """As another process sees it."""
        stack = CATALOG.stack(self.name).attach(json.loads(self.state.read_text("utf-8")))
        return asyncio.run(stack.fingerprint())

    def children(self):
        """Its processes that run."""
        children = json.loads(self.state.read_text("utf-8"))["children"]
        return {name: one for name, one in children.items() if Process.from_json(one).alive}

    def is_whole(self, within_s):
        """Everything serves, and is as it was: at once but for a route that the responder holds."""
        deadline_s = time.monotonic() + within_s
        while (now := self.fingerprint()) != self.whole:
            assert time.monotonic() < deadline_s, differences(self.whole, now)
            time.sleep(0.1)
        assert self.children().keys() == self.parts
        status = self.gameday("stack", "status", "--name", self.name).stdout
        assert status.count("replica_ready replica-") == 2, status


@pytest.fixture
def standing(tmp_path):
    up = []

    def stand(name):
        up.append(Standing(name, tmp_path / "standing"))
        return up[0]

    yield stand
    for one in up:
        done = one.gameday("stack", "down", "--name", one.name)
        assert done.returncode == 0, done
        assert not one.state.exists()


def left_of(victim, stack):
    """What is left of a run, its stack left out, which is to stay."""
    known = [str(stack.state.parent)]
    return [words for words in victim.residue() if not any(path in words for path in known)]


def struck_on_a_stack_that_stays(stack, lookout, scenario, after_s, figures, **whom):
    """Kill a run on it; the stack must be healed in time, and stay."""
    words = ("run", scenario, "--plain", "--attach")
    with Victim(None, lookout, words=words, home=stack.home, leave=True) as victim:
        assert victim.until(lambda v: v.since("FaultIntended") >= after_s), victim.said()
        victim.strike(**whom)
        if whom.get("standby"):  # nobody is left to finish the job but the next command
            done = stack.gameday("heal")
            assert done.returncode == 0 and "healed" in done.stderr, done
        while left := left_of(victim, stack):
            assert time.monotonic() - victim.killed_s < 10, left
        victim.gone_s = time.monotonic() - victim.killed_s
        record = victim.record()
        assert record.complete or taken_over(record) is not None
        assert not list(record.of(ev.StackDown)) and stack.state.exists()
        assert [e for e in record.of(ev.FaultFailed) if e.stage == "heal"] == []
        stack.is_whole(within_s=20)
        figures.add(victim, f"{injected_in(record)} intended; healed, and the stack stays")


def test_a_stack_that_the_run_did_not_start_is_healed_and_never_taken_down(
    lookout, scenario, tmp_path, capsys, standing
):
    stack = standing("processes")
    good = stack.gameday("run", scenario, "--attach", "--quiet")
    assert good.returncode in (0, 3), good
    stack.is_whole(within_s=1)
    figures = Figures("killed on a stack of tiny processes that is not theirs")
    struck_on_a_stack_that_stays(stack, lookout, scenario, 0.3, figures)
    everybody = {"guardian": True, "standby": True}
    struck_on_a_stack_that_stays(stack, lookout, scenario, 1.7, figures, **everybody)
    figures.tell(capsys)


def test_only_one_run_at_a_time_is_on_a_stack_and_nobody_takes_it_down_meanwhile(
    lookout, scenario, tmp_path, standing
):
    stack = standing("processes")
    words = ("run", scenario, "--plain", "--attach")
    with Victim(None, lookout, words=words, home=stack.home, leave=True) as victim:
        assert victim.until(lambda v: v.since("begun") > 0)
        second = stack.gameday("run", scenario, "--attach")
        assert second.returncode == 2 and f"has {victim.folder.run} on it" in second.stderr, second
        down = stack.gameday("stack", "down", "--name", "processes")
        assert down.returncode == 2 and "is on the stack" in down.stderr, down
        victim.strike(signal.SIGINT)
        assert not victim.until(lambda _: False)
        assert left_of(victim, stack) == []
    stack.is_whole(within_s=1)
    other = stack.gameday("run", scenario, "--attach", "--set", "replicas=3")
    assert other.returncode == 2 and "has 2" in other.stderr, other


def test_there_must_be_a_stack_to_attach_to(scenario, home):
    done = gameday("run", scenario, "--attach")
    assert done.returncode == 2 and "gameday stack up --name processes" in done.stderr, done
    assert len(done.stderr.splitlines()) == 1 and not (home / "runs").exists()


@pytest.mark.slow
def test_killed_on_a_local_stack_that_is_not_theirs_it_is_healed_and_stays(
    lookout, on_local, tmp_path, capsys, standing
):
    stack = standing("local")
    figures = Figures("killed on a local stack that is not theirs")
    dice = random.Random(SEED)
    for n in range(6):
        both = {"guardian": True} if n % 3 == 2 else {}
        after_s = dice.uniform(0, 5)
        struck_on_a_stack_that_stays(stack, lookout, on_local, after_s, figures, **both)
    figures.tell(capsys)
