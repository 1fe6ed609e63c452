"""What a run may reach: the policy file, the limits, and each way in which a run is refused."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import param
from harness.cli import docs
from harness.cli import permit as policies
from harness.model.plan import Enter, Heal, Inject
from harness.model.policy import CalendarWindow, Policy
from harness.model.scenario import FaultStep, Limits
from harness.parse import ParseError
from harness.parse.policy import policy as parse_policy
from harness.run.blast_radius import addresses_of, is_loopback, refusals
from harness.run.gate import overlaps
from harness.run.windows import wrong_window
from tests.conftest import ROOT, gameday, read_scenario

TOPOLOGY = {"feed": ("feed",), "replica": ("r-0", "r-1", "r-2", "r-3"), "store": ("s-0", "s-1")}
SCENARIO = read_scenario(ROOT / "scenarios" / "core" / "drop_features.yaml", "simulated")
LOOPBACK = {"gateway": "127.0.0.1:8000", "redis": "[::1]:6379", "front": "http://localhost:9090/x"}
ALWAYS_DENY = CalendarWindow("deny", "* * * * *", 3600.0, "UTC", "freeze")


@dataclass(frozen=True)
class Some:
    """A fault that says how far it reaches."""

    severities: ClassVar = ({},) * 5
    share: float = param(1.0, "of the traffic")
    tenants: tuple[str, ...] = param((), "only these")

    @property
    def traffic_share(self):
        return self.share


@dataclass(frozen=True)
class Silent:
    """A fault that says nothing about itself."""

    severities: ClassVar = ({},) * 5


FAULTS = {"some": Some, "silent": Silent}


def spans(*given):
    """(id, start, end, nodes, params) to steps in order, as the plan makes them."""
    steps = [Enter(0.0, "fault")]
    for id, start, end, nodes, params in given:
        name = id.split("-")[0]
        steps += [Inject(start, id, name, params, nodes), Heal(end, id)]
    return tuple(sorted(steps, key=lambda s: s.at_s))


ONE = spans(("some-1", 0, 10, ("r-0",), {}))


def asked(policy=None, *, steps=ONE, limits=None, addresses=None, now_s=None, scenario=SCENARIO):
    return refusals(
        policy or Policy(source="p.yaml"), dataclasses.replace(scenario, limits=limits or Limits()),
        steps, TOPOLOGY, LOOPBACK if addresses is None else addresses, now_s, faults=FAULTS,
    )  # fmt: skip


def test_the_built_in_policy_lets_a_run_on_loopback_be():
    assert asked(Policy()) == []


# --- nodes, traffic, faults at once, tenants -----------------------------------------------------


@pytest.mark.parametrize(
    ("share", "nodes", "refused"),
    [
        (0.5, ("r-0", "r-1"), False),
        (0.5, ("r-0", "r-1", "r-2"), True),
        (0.49, ("r-0", "r-1"), True),
        (0.75, ("r-0", "r-1", "r-2"), False),
        (0.5, ("feed",), True),  # the only one is all of them
        (1.0, ("feed", *TOPOLOGY["replica"]), False),
        (0.0, ("r-0",), True),
    ],
)
def test_the_share_of_nodes_is_counted_within_a_role(share, nodes, refused):
    found = asked(steps=spans(("some-1", 0, 10, nodes, {})), limits=Limits(nodes=share))
    assert bool(found) is refused
    if refused:
        assert "with the role" in found[0] and found[0].endswith("by the scenario")


def test_faults_in_force_together_are_counted_together_and_others_are_not():
    apart = spans(("some-1", 0, 10, ("r-0", "r-1"), {}), ("some-2", 10, 20, ("r-2",), {}))
    over = spans(("some-1", 0, 11, ("r-0", "r-1"), {}), ("some-2", 10, 20, ("r-2",), {}))
    same = spans(("some-1", 0, 11, ("r-0", "r-1"), {}), ("some-2", 10, 20, ("r-1",), {}))
    half = Limits(nodes=0.5)
    assert asked(steps=apart, limits=half) == asked(steps=same, limits=half) == []
    (words,) = asked(steps=over, limits=half)
    assert words.startswith("some-1 and some-2 would hit 3 of 4 nodes with the role 'replica'")
    more = spans(("some-1", 0, 9, ("r-0", "r-1", "r-2"), {}), ("some-2", 1, 9, ("s-0",), {}))
    assert len(asked(steps=more, limits=half)) == 1  # said once, of the fault that reaches too far
    assert asked(steps=apart, limits=Limits(faults_at_once=1)) == []
    assert "in force together; at most 1" in asked(steps=over, limits=Limits(faults_at_once=1))[0]
    assert asked(steps=over, limits=Limits(faults_at_once=2)) == []


@pytest.mark.parametrize(
    ("given", "limit", "refused"),
    [
        ([("some-1", {"share": 0.3})], 0.3, False),
        ([("some-1", {"share": 0.31})], 0.3, True),
        ([("some-1", {"share": 0.2}), ("some-2", {"share": 0.2})], 0.3, True),  # they add up
        ([("some-1", {"share": 0.2}), ("some-2", {"share": 0.1})], 0.3, False),
        ([("silent-1", {})], 0.99, True),  # what says nothing counts as all
        ([("silent-1", {})], 1.0, False),
        ([("some-1", {}), ("silent-2", {})], 1.0, False),
        ([("some-1", {"share": float("nan")})], 0.9, True),
        ([("some-1", {"share": -5.0}), ("some-2", {"share": 0.4})], 0.3, True),
        ([("unknown-1", {})], 0.9, True),
    ],
)
def test_the_share_of_traffic_adds_up_and_silence_counts_as_all(given, limit, refused):
    steps = spans(*((id, n, 20 + n, ("r-0",), params) for n, (id, params) in enumerate(given)))
    found = asked(steps=steps, limits=Limits(traffic=limit))
    assert bool(found) is refused
    assert not refused or "of the traffic" in found[0]


@pytest.mark.parametrize(
    ("id", "params", "refused"),
    [
        ("some-1", {"tenants": ["web"]}, False),
        ("some-1", {"tenants": ["web", "vip"]}, True),
        ("some-1", {}, True),
        ("silent-1", {}, True),
    ],
)
def test_a_tenant_that_must_never_be_touched_is_not_even_by_a_fault_that_cannot_say(
    id, params, refused
):
    steps = spans((id, 0, 10, ("r-0",), params))
    found = asked(steps=steps, limits=Limits(tenants_never=("vip",)))
    assert bool(found) is refused
    assert not refused or "vip, never to be touched" in found[0]


@pytest.mark.parametrize("policy_is_stricter", [True, False])
def test_the_stricter_of_policy_and_scenario_holds(policy_is_stricter):
    strict, loose = Limits(nodes=0.1, faults_at_once=1), Limits(nodes=1.0, faults_at_once=9)
    two = spans(("some-1", 0, 9, ("r-0",), {}), ("some-2", 1, 9, ("r-1",), {}))
    policy = Policy(source="p.yaml", limits=strict if policy_is_stricter else loose)
    found = asked(policy, steps=two, limits=loose if policy_is_stricter else strict)
    assert len(found) == 3  # 1 of 4, then 2 together, then 2 of 4
    assert all(w.endswith("by p.yaml" if policy_is_stricter else "by the scenario") for w in found)


# --- length, targets, windows --------------------------------------------------------------------


def test_a_fault_lasts_no_longer_than_the_policy_says():
    long = FaultStep("some", {}, "replica", 1, 0.0, 601.0)
    scenario = dataclasses.replace(SCENARIO, faults=(long,))
    (words,) = asked(Policy(max_fault_s=600.0), scenario=scenario)
    assert "some would last 601s; a fault may last 600s" in words
    assert asked(Policy(max_fault_s=601.0), scenario=scenario) == []
    assert asked(Policy(), scenario=scenario) == []  # a quarter of an hour unless said otherwise
    assert asked(scenario=dataclasses.replace(
        SCENARIO, faults=(dataclasses.replace(long, for_s=901.0),)))  # fmt: skip


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:80", True),
        ("127.9.9.9", True),
        ("localhost:80", True),
        ("LOCALHOST", True),
        ("http://127.0.0.1:9090/graph?x=y", True),
        ("redis://user:word@127.0.0.1:6379/0", True),
        ("[::1]:80", True),
        ("/run/redis.sock", True),
        ("unix:/run/redis.sock", True),
        ("//10.0.0.1/x", False),
        ("10.0.0.1:80", False),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("[fe80::1]:80", False),
        ("localhost.example.org:80", False),
        ("127.0.0.1.nip.io:80", False),
        ("http://127.0.0.1@10.0.0.1/", False),
        ("http://10.0.0.1/127.0.0.1", False),
        ("2130706433:80", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_what_is_loopback(address, local):
    assert is_loopback(address) is local


@pytest.mark.parametrize(
    ("address", "hosts", "refused"),
    [
        ("10.1.2.3:80", (), True),
        ("10.1.2.3:80", ("10.1.0.0/16",), False),
        ("10.2.2.3:80", ("10.1.0.0/16",), True),
        ("10.1.2.3:80", ("10.1.2.3/32",), False),
        ("[2001:db8::1]:80", ("2001:db8::/32",), False),
        ("[2001:db8::1]:80", ("10.0.0.0/8",), True),
        ("a.staging.example.org:80", ("*.staging.example.org",), False),
        ("A.Staging.Example.org:80", ("*.staging.example.org",), False),
        ("staging.example.org.evil.net:80", ("*.staging.example.org", "staging.example.org"), True),
        ("[fe80::1]:80", ("fe80*",), True),  # names are names, and addresses are addresses
        ("10.1.evil.net:80", ("10.1.0.0/16",), True),
        ("10.1.2.3:80", ("*.example.org",), True),
        ("", ("*.example.org",), True),
    ],
)
def test_targets_beyond_loopback_are_refused_unless_they_are_named(address, hosts, refused):
    found = asked(Policy(hosts=hosts), addresses={**LOOPBACK, "gateway": address})
    assert bool(found) is refused
    assert not refused or "not this machine's loopback" in found[0]


def test_only_the_named_stacks_are_targets():
    assert asked(Policy(stacks=("simulated",))) == []
    assert "'simulated' is no target; these are: local" in asked(Policy(stacks=("local",)))[0]
    assert asked(Policy(stacks=()))


def test_where_requests_go_is_an_address_too():
    class Stack:
        def addresses(self):
            return {"redis": "127.0.0.1:1"}

        def endpoint(self):
            from harness import Endpoint

            return Endpoint("2001:db8::1", 443, "/", {})

        def state(self): ...
        @classmethod
        def attach(cls, state): ...

    found = asked(addresses=addresses_of(Stack()))
    assert len(found) == 1 and found[0].startswith("where requests go is at [2001:db8::1]:443")
    assert addresses_of(object()) == {}


def test_windows_count_only_at_an_instant():
    policy = Policy(source="p.yaml", windows=(ALWAYS_DENY,))
    assert asked(policy) == []
    (words,) = asked(policy, now_s=1.8e9)
    assert words.startswith("inside the deny window") and words.endswith("by p.yaml")


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ([], set()),
        ([("a-1", 0, 10)], {"a-1"}),
        ([("a-1", 0, 10), ("b-2", 20, 30)], {"a-1", "b-2"}),
        ([("a-1", 0, 10), ("b-2", 10, 30)], {"a-1", "b-2"}),
        ([("a-1", 0, 10), ("b-2", 9, 30)], {"a-1"}),  # on purpose
        ([("a-1", 0, 10), ("b-2", 9, 30), ("c-3", 20, 25)], {"a-1"}),
        ([("a-1", 0, 10), ("b-2", 9, 12), ("c-3", 20, 25)], {"a-1", "c-3"}),
        ([("b-1", 5, 9), ("a-2", 0, 3)], {"b-1", "a-2"}),
    ],
)
def test_the_gate_stands_before_each_fault_that_is_not_meant_to_overlap(given, needed):
    steps = spans(*((*span, ("r-0",), {}) for span in given))

    class Plan:
        pass

    Plan.steps = steps
    assert {id for id, beside in overlaps(Plan).items() if not beside} == needed


# --- the file -------------------------------------------------------------------------------------

FULL = """\
limits: {nodes: 50%, traffic: 0.25, faults_at_once: 2, tenants_never: [vip], max_fault: 10m}
targets: {stacks: [local], hosts: ["*.Staging.example.org", 10.1.0.0/16, db-1]}
windows:
  - {kind: allow, schedule: "0 10 * * mon-thu", duration: 5h, time_zone: Europe/London}
  - {kind: deny, schedule: "0 0 24 12 *", duration: 240h, description: freeze}
on_blocked: skip
"""


def read(text):
    return parse_policy(text, source="p.yaml", wrong_window=wrong_window)


def test_a_policy_is_read_as_it_is_written():
    assert read(FULL) == Policy(
        "p.yaml", Limits(0.5, 0.25, 2, ("vip",)), 600.0, ("local",),
        ("*.staging.example.org", "10.1.0.0/16", "db-1"),
        (
            CalendarWindow("allow", "0 10 * * mon-thu", 18000.0, "Europe/London"),
            CalendarWindow("deny", "0 0 24 12 *", 864000.0, "UTC", "freeze"),
        ),
        "skip",
    )  # fmt: skip
    assert read("{}") == Policy("p.yaml")


def test_the_policy_that_is_printed_to_be_edited_is_one():
    policy = read(docs.POLICY)
    assert policy.on_blocked == "fail" and policy.limits.faults_at_once == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("nodes: 50%", "nodes: 150%", 1, "between 0 and 1"),
        ("nodes: 50%", "node: 50%", 1, "unknown key 'node'; it takes nodes"),
        ("faults_at_once: 2", "faults_at_once: 0", 1, "1 or more"),
        ("faults_at_once: 2", "faults_at_once: two", 1, "whole number"),
        ("max_fault: 10m", "max_fault: 600", 1, "write it with a unit"),
        ("max_fault: 10m", "max_fault: 0s", 1, "within 24h"),
        ("max_fault: 10m", "max_fault: 25h", 1, "within 24h"),
        ("db-1", "'*'", 2, "would be any host"),
        ("db-1", "'10.*'", 2, "would be any host; write a network"),
        ("10.1.0.0/16", "10.1.2.0/16", 2, "whose address ends where its prefix does"),
        ("db-1", "'http://x'", 2, "should be a host name"),
        ("db-1", "''", 2, "should be a text"),
        ("[local]", "local", 2, "should be a list"),
        ("kind: deny", "kind: dent", 5, "not one of allow, deny"),
        ("Europe/London", "Europe/Lndn", 4, "no time zone"),
        ('"0 0 24 12 *"', '"0 0 24 13 *"', 5, "Bad month"),
        ("duration: 240h", "duration: 0s", 5, "within 366 days"),
        ("duration: 240h, ", "", 5, "'duration' is missing"),
        ("on_blocked: skip", "on_blocked: wait", 6, "not one of fail, skip"),
        ("on_blocked: skip", "on_block: skip", 6, "unknown key"),
    ],
)
def test_a_mistake_in_a_policy_is_named_with_its_line_and_the_remedy(old, new, line, words):
    text = FULL.replace(old, new, 1)
    assert text != FULL
    with pytest.raises(ParseError) as wrong:
        read(text)
    assert words in str(wrong.value) and wrong.value.line == line


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_policy_with_random_damage_is_read_or_refused_never_a_crash(data):
    start = data.draw(st.integers(0, len(FULL) - 1))
    length = data.draw(st.integers(0, 40))
    text = FULL[:start] + data.draw(st.text(max_size=10)) + FULL[start + length :]
    try:
        assert read(text).source == "p.yaml"
    except ParseError as wrong:
        assert "\n" not in str(wrong)


def test_the_first_policy_that_is_there_counts_whole(tmp_path):
    home, machine, given = tmp_path / "home", tmp_path / "etc.yaml", tmp_path / "given.yaml"
    home.mkdir()
    assert policies.read(home, machine=machine) == Policy()
    machine.write_text("limits: {faults_at_once: 3}")
    assert policies.read(home, machine=machine).limits.faults_at_once == 3
    (home / "policy.yaml").write_text("limits: {nodes: 20%}")
    found = policies.read(home, machine=machine)
    assert found.limits == Limits(nodes=0.2) and found.source == str(home / "policy.yaml")
    given.write_text("on_blocked: skip")
    assert policies.read(home, str(given), machine).on_blocked == "skip"


def test_a_policy_that_cannot_be_read_is_never_skipped(tmp_path):
    machine = tmp_path / "etc.yaml"
    with pytest.raises(ParseError, match="cannot be read"):
        policies.read(tmp_path, str(tmp_path / "missing.yaml"), machine)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ParseError, match="cannot be read"):
        policies.read(loop, machine=machine)
    path = tmp_path / "policy.yaml"
    for spoil in (
        path.mkdir, path.rmdir,
        lambda: path.symlink_to(tmp_path / "gone"), path.unlink,
        lambda: path.write_bytes(b"\xff\xfe\x00"), lambda: path.write_text("limits: ["),
        lambda: path.write_text("x" * 200_000),
    ):  # fmt: skip
        spoil()
        if path.is_symlink() or path.exists():
            with pytest.raises(ParseError):
                policies.read(tmp_path, machine=machine)


# --- the command line -----------------------------------------------------------------------------

TWO = """\
name: two
why: to be refused
stack: simulated
slo: flights
load: {arrivals: poisson, rate: 120/s}
phases: {warmup: 10s, baseline: 25s, fault: 32s, recovery: 32s}
hold: 10s
limits: {LIMITS}
faults:
  - drop_features: {severity: 5}
    where: all feed
    at: 1s
    for: 25s
expect:
  - detected: {within: 10s, by: {alertname: FeatureMissing}}
"""


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_check_and_plan_show_what_is_refused(tmp_path, home, verb):
    path, policy = tmp_path / "two.yaml", tmp_path / "p.yaml"
    path.write_text(TWO.replace("LIMITS", "nodes: 100%"))
    done = gameday(verb, path)
    assert done.returncode == 0 and "refused" not in done.stderr
    path.write_text(TWO.replace("LIMITS", "nodes: 50%"))
    done = gameday(verb, path)
    assert done.returncode == 2
    assert "refused: drop_features-1 would hit 1 of 1 nodes with the role 'feed'" in done.stderr
    path.write_text(TWO.replace("LIMITS", ""))
    policy.write_text("limits: {max_fault: 20s}\n")
    done = gameday(verb, path, "--policy", policy)
    assert done.returncode == 2 and f"a fault may last 20s, by {policy}" in done.stderr


def test_a_window_is_a_warning_in_check_and_only_where_something_real_would_break(tmp_path, home):
    path = tmp_path / "two.yaml"
    path.write_text(TWO.replace("LIMITS", "").replace("simulated", "local"))
    home.mkdir()
    (home / "policy.yaml").write_text(
        'windows: [{kind: deny, schedule: "* * * * *", duration: 1h, description: freeze}]\n'
    )
    done = gameday("check", path)
    assert done.returncode == 0
    assert "warning: it would be refused now: inside the deny window" in done.stderr
    path.write_text(TWO.replace("LIMITS", ""))
    assert "refused" not in gameday("check", path).stderr


def test_a_broken_policy_stops_every_check(tmp_path, home):
    path = tmp_path / "two.yaml"
    path.write_text(TWO.replace("LIMITS", ""))
    home.mkdir()
    (home / "policy.yaml").write_text("limit: {}\n")
    done = gameday("check", path)
    assert done.returncode == 2 and "policy.yaml:1: limit: unknown key 'limit'" in done.stderr
    assert "ok" not in done.stdout
