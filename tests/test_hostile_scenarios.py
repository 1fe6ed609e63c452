"""Scenario files by people who wish us ill: 10,000 of them, and nothing happens but an error.

Each is read in this process, under an audit hook of the interpreter that sees every file opened for
writing, every process started and every connection made. Time is CPU time of this thread, so that a
busy machine proves nothing and hides nothing.
"""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import parse
from harness.cli import sources
from harness.parse import ParseError
from harness.parse.document import MAX_BYTES, documents
from tests.conftest import CATALOG, ROOT

WITHIN_S = 1.0
SLO = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")
GOOD = """\
name: mine
why: To see what happens.
stack: simulated
slo: flights
load: {arrivals: poisson, rate: 120/s}
phases: {warmup: 10s, baseline: 25s, fault: 32s, recovery: 32s}
hold: 10s
faults:
  - drop_features: {severity: 5}
    where: all feed
    at: 1s
    for: 30s
expect:
  - detected: {within: 10s, by: {alertname: FeatureMissing}}
  - recovered: {within: 50s}
  - overall: {sli: latency_p99_ms, at_most: 1.5x baseline, during: fault}
"""
GOOD_TREE = documents(GOOD, "x")[0].plain()
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
EFFECTS = (
    *("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod"),
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill", "subprocess.Popen"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "shutil.rmtree", "ctypes.dlopen"),
)
seen = Counter()
effects: list[str] = []
_watching = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watching:
        return
    if event in EFFECTS:
        effects.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        effects.append(f"open {arguments!r:.200}")


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Import once what reading a scenario imports, so that no byte code is written later."""
    source = parse.scenario(GOOD, CATALOG)
    for stack in CATALOG.stacks.names():
        parse.scenario(GOOD, CATALOG, stack=stack)
    assert source.name == "mine"
    sys.addaudithook(_hook)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    global _watching
    effects.clear()
    started_s, _watching = time.thread_time(), True
    try:
        yield
    finally:
        _watching = False
        took_s = time.thread_time() - started_s
    assert not effects, effects
    assert took_s < WITHIN_S, f"took {took_s:.2f} s of CPU"


def plain(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in text)


def refused_or_read(text: str) -> bool:
    """Read it; whatever happens is a scenario or one good line. Returns whether it was read."""
    seen["all"] += 1
    with watched():
        try:
            scenario = parse.scenario(text, CATALOG, source="x.yaml")
        except ParseError as wrong:
            said = str(wrong)
        else:
            said = ""
    if said:
        assert re.match(r"x\.yaml:\d+: ", said) and plain(said) and len(said) < 800, said
        return False
    assert plain(scenario.name) and re.fullmatch(r"[\w-]{1,80}", scenario.name)
    return True


# --- what they write -----------------------------------------------------------------------------

KEYS = (
    "name why stack slo load phases expect seed hold faults where at for by severity within sli "
    "at_least at_most during allow detected mitigated recovered overall always no_alerts arrivals "
    "rate warmup baseline fault recovery local simulated drop_features features fraction absorbed "
    "abort limits budget_spent query alert nodes traffic runbooks alerts_off replicas <<"
).split()
TRICKS = (
    "../../etc/passwd", "/etc/passwd", "..", ".", "~", "$(id)", "`id`", "${HOME}", "{{7*7}}",
    "{% for x in y %}", "<script>document.title='x'</script>", "'; DROP TABLE runs; --", "%s%n",
    "\x1b[31mred\x1b[0m", "\u202egnp.exe", "\ud800", "\udfff", "\x00", "a\nb", "\u2028", "\ufeff",
    "１２s", "²", "٣ feed", "9" * 400 + "s", "1e999", "-1s", "0x" + "f" * 5000, "1" * 5000, ".inf",
    "-.inf", ".nan", "1e400", "-0", "0o777", "1_000", "12:30:45", "2001-01-01", "yes", "~", "null",
    "1e999x baseline", "nanx baseline", "x baseline", "all", "all feed", "99 feed", "one",
    "-1 feed", "9" * 5000 + " feed", "%", "100%", "101%", "inf%", "9" * 400 + "%", "0/s", "1/0",
    "9" * 400 + "/s", "!!python/object/apply:os.system [id]", "!!binary aGk=", "*x", "&x y", "|",
    "k" * 70_000, "é" * 1000, "ﬀ", "Ⅻ", "a\u0301", "\U000e0041", "\u200b", "name", "fault",
)  # fmt: skip
ATOMS = (
    *"[]{},:-?|>!&*#%@`'\"\\~<=.",
    *(
        ": ",
        "- ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        "  ",
        "\t",
        "\r\n",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
    ),
    *("--- ", "---\n", "...\n", "%YAML 1.1\n", "%YAML 9.9\n", "%TAG ! tag:x,2000:\n", "%A\n"),
    *("&a ", "*a", "<<: *a\n", "!!python/name:os.system ", "!!int ", "!!float ", "!!set ", "!t "),
    *("!!timestamp ", "!!omap ", "!!null ", "!!bool ", "|\n", ">-\n ", "|9\n", '"\\x41"', '"\\u'),
    *(
        '"\\ud800"',
        '"\\0"',
        "0x",
        "1_",
        "1e9999",
        ".nan",
        "a",
        "b: c",
        "- x\n",
        "[]",
        "{}",
        "{a: b}",
    ),
    *KEYS,
)
texts = st.sampled_from(TRICKS) | st.text(max_size=12)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | texts
    | st.integers(10**18, 10**30) | st.sampled_from(["10s", "99%", "120/s", "all feed", "flights"])
)  # fmt: skip
names = st.sampled_from(KEYS) | texts
trees = st.recursive(
    leaves,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(names, inside, max_size=6),
    max_leaves=20,
)
VALUES = sorted({m.span(1) for m in re.finditer(r"(?:: ?|- |\{|, )([\w./%]+)", GOOD)})


LEAVES = (None, True, 0, -1, 7, 0.5, 1e300, 10**25, "10s", "99%", "120/s", "all feed", "flights")


def seeded(write: Callable[[Random], str]) -> st.SearchStrategy[str]:
    """Texts written by one roll of hypothesis' dice: a hundred times cheaper than a roll each."""
    return st.integers(0, 2**64).map(lambda seed: write(Random(seed)))


def any_leaf(dice: Random) -> object:
    return dice.choice(LEAVES if dice.random() < 0.6 else TRICKS)


def any_tree(dice: Random, depth: int = 0) -> object:
    kind = dice.random()
    if depth > 4 or kind < 0.4:
        return any_leaf(dice)
    inside = [any_tree(dice, depth + 1) for _ in range(dice.randrange(5))]
    return inside if kind < 0.6 else {any_key(dice): one for one in inside}


def any_key(dice: Random) -> str:
    return dice.choice(KEYS if dice.random() < 0.9 else TRICKS)


def nearly_a_scenario(dice: Random) -> str:
    body = dict(GOOD_TREE)
    for key in dice.sample(sorted(body), dice.randrange(1, 4)):
        body[key] = any_tree(dice, 1)
    body[any_key(dice)] = any_tree(dice)
    return json.dumps(body)


def swapped(dice: Random) -> str:
    """A good scenario with values and keys swapped for what does not belong there."""
    text = GOOD
    for start, end in sorted(dice.sample(VALUES, dice.randrange(1, 3)))[::-1]:
        new = any_tree(dice, 3)
        text = text[:start] + (json.dumps(new) if dice.random() < 0.5 else str(new)) + text[end:]
    return text


def damaged(dice: Random) -> str:
    """A good scenario with pieces cut out and put in."""
    text = GOOD
    for _ in range(dice.randrange(1, 4)):
        start = dice.randrange(len(text))
        piece = dice.choice(ATOMS) if dice.random() < 0.7 else chr(dice.randrange(0x11000))
        text = text[:start] + piece + text[start + dice.randrange(30) :]
    return text


def soup(dice: Random) -> str:
    return "".join(dice.choices(ATOMS, k=dice.randrange(1, 40)))


swollen = st.builds(
    lambda head, unit, tail: head + unit * ((MAX_BYTES - len(head) - 99) // len(unit)) + tail,
    st.sampled_from(("", "a: ", "[", "{", '"', "'", "- ", "a: &a x\n", "|\n ", "? ", ":")),
    st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4).map("".join),
    st.sampled_from(("", "]", "}", '"', "\n", "@", ": x")),
)
deep = st.builds(
    lambda opens, count: opens * count,
    st.sampled_from(("[", "{a: ", "- ", "? ", "[[{", "{? ", "a:\n ", "- - ")),
    st.integers(10, 3000),
)
raw = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda text, how: text.encode(how, "replace"),
        seeded(damaged),
        st.sampled_from(["utf-16", "utf-32", "latin-1", "utf-8-sig", "cp1252", "utf-7"]),
    ),
    st.builds(
        lambda at, piece: GOOD.encode()[:at] + piece + GOOD.encode()[at:],
        st.integers(0, len(GOOD)),
        st.binary(min_size=1, max_size=8),
    ),
)
small = st.one_of(*map(seeded, (nearly_a_scenario, swapped, damaged, soup)), deep)
hostile = raw | (small | swollen).map(lambda text: text.encode("utf-8", "surrogatepass"))


def examples(count: int) -> settings:
    quick = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example,
             HealthCheck.function_scoped_fixture]  # fmt: skip
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=quick)


# --- in process ----------------------------------------------------------------------------------


@examples(400)
@given(trees.map(json.dumps))
def test_trees_of_values(text):
    refused_or_read(text)


@examples(900)
@given(seeded(nearly_a_scenario))
def test_what_is_nearly_a_scenario(text):
    refused_or_read(text)


@examples(1300)
@given(seeded(swapped))
def test_good_scenarios_with_a_value_swapped(text):
    refused_or_read(text)


@examples(2400)
@given(seeded(damaged))
def test_good_scenarios_with_damage(text):
    refused_or_read(text)


@examples(4500)
@given(seeded(soup))
def test_soups_of_yaml(text):
    refused_or_read(text)


@examples(50)
@given(deep)
def test_towers(text):
    refused_or_read(text)


@examples(30)
@given(swollen)
def test_no_file_of_the_greatest_size_takes_a_second(text):
    refused_or_read(text)


@examples(800)
@given(raw)
def test_bytes_that_are_no_text(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "x.yaml"
    path.write_bytes(content)
    seen["all"] += 1
    with watched():
        try:
            assert sources.read(path, CATALOG).scenario.name
        except ParseError as wrong:
            assert plain(str(wrong)) and str(wrong).startswith(f"{path}:")


@examples(300)
@given(
    st.builds(
        lambda start, length, piece: SLO[:start] + piece + SLO[start + length :],
        st.integers(0, len(SLO)),
        st.integers(0, 30),
        st.sampled_from(ATOMS) | texts,
    )
)
def test_slos_of_the_same_people(text):
    seen["all"] += 1
    with watched():
        try:
            assert parse.slo(text, name="x", source="x.yaml").objectives
        except ParseError as wrong:
            assert plain(str(wrong)) and re.match(r"x\.yaml:\d+: ", str(wrong))


WORST = {
    "documents": ("", "---\n", ""),
    "documents and bad ends": ("", "---\n---é\n", '@"    '),
    "directives": ("", "%A\n", "*a"),
    "tags": ("", "- !t x\n", ""),
    "dates": ("", "- 2001-01-01\n", ""),
    "anchors, again and again": ("", "- &a x\n", ""),
    "keys that cannot be": ("{", "a,", "}"),
    "keys without values": ("", "? \n", ""),
    "nested lists": ("", "[", ""),
    "nested maps": ("", "{", ""),
    "lists of lists": ("[", "[],", "]"),
    "one word of many lines": ("", "x\n", ""),
    "one word of many pieces": ('"', "x ", '"'),
    "one long number": ("", "1", ""),
    "one long number with holes": ("", "1_", ""),
    "one long hexadecimal number": ("0x", "f", ""),
    "one long base 60 number": ("1", ":59", ""),
    "one long key": ("", "k", ": x"),
    "a long key above many values": ("k" * 60_000 + ": [", "x,", "]"),
    "merges": ("a: &a {b: 1}\nb:\n  <<: [", "*a,", "]"),
}


@pytest.mark.parametrize("case", WORST)
def test_the_worst_that_was_found_takes_less_than_a_second(case):
    head, unit, tail = WORST[case]
    text = head + unit * ((MAX_BYTES - len(head) - len(tail)) // len(unit)) + tail
    assert MAX_BYTES - 200 < len(text) <= MAX_BYTES
    refused_or_read(text)


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_in_any_place_of_a_good_scenario_is_refused_or_harmless(trick):
    for start, end in VALUES:
        refused_or_read(GOOD[:start] + json.dumps(trick) + GOOD[end:])
        refused_or_read(GOOD[:start] + trick + GOOD[end:])


@pytest.mark.parametrize("number", ["1" * 400, "0x" + "f" * 9999, "1e999", ".inf", ".nan", "2e19"])
def test_a_number_that_arithmetic_stumbles_over_is_refused(number):
    with pytest.raises(ParseError, match="out of range|should be a whole number"):
        parse.scenario(GOOD + f"seed: {number}\n", CATALOG)


@pytest.mark.parametrize("bad", ["\x1b[31m", "\u202e", "\ud800", "\x9b", "\x00"])
@pytest.mark.parametrize(
    ("old", "new"),
    [("To see", "{}"), ("why:", "{}:"), ("name: mine", "name: {}"), ("FeatureMissing", "{}")],
)
def test_what_steers_a_terminal_or_is_no_character_is_refused_and_not_repeated(bad, old, new):
    text = GOOD.replace("why: To see what happens.", 'why: "To see what happens."')
    quoted = json.dumps(bad)
    if old == "To see":
        quoted = quoted.strip('"')
    assert old in text
    with pytest.raises(ParseError) as wrong:
        parse.scenario(text.replace(old, new.format(quoted)), CATALOG)
    assert plain(str(wrong.value)) and bad not in str(wrong.value)
    assert re.search(r"holds the character|should be a plain word", str(wrong.value))


def test_a_key_is_short_because_every_path_below_it_repeats_it():
    with pytest.raises(ParseError, match="at most 120 letters"):
        documents("k" * 121 + ": [a, b]", "x.yaml")
    assert documents("k" * 120 + ": [a, b]", "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['id']",
        "a: !!python/object/apply:os.system ['id']",
        "a: !!python/name:os.system ''",
        "!!python/object:x.Y {a: 1}",
        "a: !!set {b}",
        "a: !mine b",
        "%TAG ! tag:x,2000:\n---\na: !b c",
    ],
)
def test_no_tag_of_any_kind_makes_anything(text):
    with watched(), pytest.raises(ParseError, match="is not supported"):
        documents(text, "x.yaml")


def test_an_anchor_used_twice_is_no_warning_and_one_never_set_an_error():
    assert [d.plain() for d in documents("[&a 1, &a 2, *a]", "x")] == [[1, 2, 2]]
    with pytest.raises(ParseError, match="no such anchor"):
        documents("[*b]", "x")


# --- through the command -------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def check(folder: Path, files: list[bytes]) -> None:
    """Check them by the command, in a process of its own, in a folder that may not change."""
    inside = folder / "inside"
    (folder / "home").mkdir(exist_ok=True)
    inside.mkdir(exist_ok=True)
    paths = []
    for number, content in enumerate(files):
        paths.append(inside / f"{number}.yaml")
        paths[-1].write_bytes(content)
    before, used = tree(folder), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "harness", "check", *map(str, paths)],
        cwd=inside, capture_output=True, text=True, timeout=30 + 2 * len(files),
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert tree(folder) == before
    assert done.returncode in (0, 2), done
    for line in done.stdout.splitlines():
        assert re.fullmatch(r".*/\d+\.yaml: ok", line), line
    for line in done.stderr.split("\n")[:-1]:
        assert re.match(r"(gameday: )?/.*/\d+\.yaml:(\d+: | warning: )", line), line
        assert plain(line)
    good = re.findall(r"(\d+)\.yaml: ok", done.stdout)
    bad = re.findall(r"^gameday: .*?/(\d+)\.yaml:\d+: ", done.stderr, re.MULTILINE)
    assert sorted(map(int, good + bad)) == list(range(len(files))), done.stderr
    used_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    assert used_s < 1.5 + WITHIN_S * len(files)  # 1.5: an interpreter that starts, on a slow day


@examples(40)
@given(hostile)
def test_forty_files_through_the_command_one_by_one(tmp_path, content):
    check(tmp_path, [content])


@examples(4)
@given(st.lists(hostile, min_size=40, max_size=40))
def test_a_hundred_and_sixty_more_through_the_command_forty_at_a_time(tmp_path, files):
    check(tmp_path, files)


def test_there_were_ten_thousand():
    if seen["all"] > 5000:  # not when tests were picked by hand
        assert seen["all"] >= 10_000
