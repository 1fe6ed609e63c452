"""What every report must be, and what each one promises."""

import ast
import dataclasses
import hashlib
import json as stdjson
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.catalog import Catalog
from harness.model.analysis import Estimate, Finding, Verdict
from reports import _words
from reports._svg.axis import Label, lanes
from tests import report_samples
from tests.report_samples import SAMPLES

CATALOG = Catalog()
NAMES = CATALOG.reports.names()
ROOT = Path(__file__).parent.parent
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}


def render(name: str, sample: str = "passed") -> str:
    return CATALOG.report(name)(SAMPLES[sample]())


class Outline(HTMLParser):
    """The elements of a page, checked for nesting as they come."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def test_there_are_reports_for_people_and_for_programs():
    assert set(NAMES) >= {"html", "json", "junit", "markdown", "text"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", SAMPLES)
def test_it_renders_every_ending_and_names_the_verdict(name: str, sample: str):
    analysis = SAMPLES[sample]()
    text = CATALOG.report(name)(analysis)
    assert text.endswith("\n") and text.encode("utf-8")
    assert _words.WORD[analysis.verdict] in text.lower()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_analysis_gives_the_same_bytes_in_another_process(name: str):
    code = (
        "import hashlib; from tests.test_every_report import render; "
        f"print(hashlib.sha256(render({name!r}).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert digests == {hashlib.sha256(render(name).encode()).hexdigest()}


@pytest.mark.parametrize("name", NAMES)
def test_text_from_outside_cannot_steer_a_terminal(name: str):
    text = render(name, "hostile")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ufffe\uffff]", text)


def test_importing_a_report_does_not_import_the_template_engine():
    code = "import sys, reports.html; print('jinja2' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"


def test_nothing_in_the_reports_is_read_but_the_analysis():
    forbidden = {"os", "pathlib", "time", "datetime", "socket", "subprocess", "tempfile", "shutil"}
    for path in (ROOT / "reports").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not forbidden & {a.name.split(".")[0] for a in node.names}, path


# The page.


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_is_well_formed_small_and_alone(sample: str):
    text = render("html", sample)
    outline = Outline(text)
    assert len(text.encode()) < 400_000
    for tag in ("script", "iframe", "object", "embed", "img", "base", "form"):
        assert not outline.all(tag)
    assert [link["href"] for link in outline.all("link")] == ["data:,"]
    for tag, attributes in outline.seen:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in ("href", "src"):
                assert value is not None and value.startswith(("#", "data:,"))
    css = re.search(r"<style>(.*?)</style>", text, re.S)
    assert css and "@import" not in css[1] and set(re.findall(r"url\((.)", css[1])) == {"#"}


def test_the_page_allows_its_own_style_and_nothing_else():
    text = render("html")
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    policy = Outline(text).all("meta")[1]
    assert style and policy["http-equiv"] == "Content-Security-Policy"
    digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_can_be_read_by_those_who_cannot_see_it(sample: str):
    text = render("html", sample)
    outline = Outline(text)
    assert outline.all("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in outline.seen if "id" in a]
    assert len(ids) == len(set(ids))
    pictures = [a for a in outline.all("svg") if "pic" in (a.get("class") or "")]
    assert pictures or SAMPLES[sample]().ablation or SAMPLES[sample]().sweep  # which are tables
    for picture in pictures:
        named_by = (picture["aria-labelledby"] or "").split()
        assert picture["role"] == "img" and len(named_by) == 2 and set(named_by) <= set(ids)
    levels = [int(tag[1]) for tag, _ in outline.seen if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    assert all("scope" in cell for cell in outline.all("th"))


def test_the_sections_stand_in_the_order_of_the_questions_people_ask():
    text = render("html")
    order = ["verdict", "believed", "incident", "indicators", "timeline", "checks", "method",
             "monitored", "appendix"]  # fmt: skip
    places = [text.index('class="verdict'), *(text.index(f'<section id="{s}"') for s in order[1:])]
    assert places == sorted(places)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_verdict_is_a_word_and_a_shape_and_not_a_colour_alone(sample: str):
    word = _words.WORD[SAMPLES[sample]().verdict]
    answer = re.search(r'<p class="answer">(<svg.*?</svg>)<strong>(.*?)</strong>', render(
        "html", sample), re.S)  # fmt: skip
    assert answer and answer[2] == word.upper()
    shape = {"pass": "<circle", "fail": "M6.5 6.5l7 7", "unknown": "M7.6 7.8"}[word]
    assert shape in answer[1]


def test_hostile_text_on_the_page_is_text():
    text = render("html", "hostile")
    outline = Outline(text)  # its nesting check fails if a label closed or opened anything
    assert not outline.all("script") and "alert(&#39;x&#39;)" in text
    assert [a.get("href") for a in outline.all("a") if "evil" in str(a.get("href"))] == []
    expected = Outline(render("html")).seen
    assert len(outline.seen) < len(expected) + 300


@pytest.mark.parametrize("name", ["html", "markdown", "text"])
def test_a_censored_time_is_shown_as_more_than(name: str):
    text = render(name, "censored").replace("&gt;", ">").replace("\u00a0", " ")
    assert "> 30.0 s" in text and "> 62.8 s" in text
    said = re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert not re.search(r"\binf\b|\bnan\b|\u221e", said)


@pytest.mark.parametrize("name", ["html", "markdown", "text"])
def test_times_come_with_their_intervals(name: str):
    text = render(name).replace("\u00a0", " ")
    for value, interval in (("3.34 s", "3.33 to 3.40 s"), ("3.9 s", "3.4 to 4.5 s"),
                            ("36.4 s", "35.7 to 37.5 s")):  # fmt: skip
        assert value in text and interval in text


def test_seconds_without_data_are_said_and_not_joined():
    text = render("html", "unknown")
    assert "no data" in text and 'class="gap"' in text
    assert 'class="gap"' not in render("html", "failed").split('id="monitored"')[0]


# The others.


def test_json_holds_every_field_and_no_numbers_that_json_lacks():
    for name in SAMPLES:
        analysis = SAMPLES[name]()
        found = stdjson.loads(render("json", name), parse_constant=pytest.fail)
        assert list(found) == [f.name for f in dataclasses.fields(analysis)]
        assert found["format"] == analysis.format
        assert found["verdict"] == _words.WORD[analysis.verdict]
        assert len(found["measures"]) == len(analysis.measures)
    high = stdjson.loads(render("json", "censored"))["incidents"][0]["ttm"]
    assert high["censored"] is True and high["high_s"] is None


@pytest.mark.parametrize("sample", SAMPLES)
def test_junit_has_a_case_for_each_finding_and_one_for_the_verdict(sample: str):
    analysis = SAMPLES[sample]()
    suite = ET.fromstring(render("junit", sample))[0]
    cases = suite.findall("testcase")
    answers = [analysis.verdict, *(f.verdict for f in analysis.findings)]
    assert len(cases) == len(answers) == int(suite.attrib["tests"])
    assert len({case.attrib["name"] for case in cases}) == len(cases)
    assert int(suite.attrib["failures"]) == answers.count(Verdict.FAIL)
    assert int(suite.attrib["errors"]) == answers.count(Verdict.UNKNOWN)
    for case, answer in zip(cases, answers, strict=True):
        assert case.attrib["classname"].startswith("gameday.")
        bad = [e for e in case if e.tag in ("failure", "error")]
        tags = {Verdict.PASS: [], Verdict.FAIL: ["failure"], Verdict.UNKNOWN: ["error"]}
        assert [e.tag for e in bad] == tags[answer]
        assert all(e.text and e.text == e.attrib["message"] for e in bad)


def test_junit_of_a_run_that_found_nothing_is_not_green():
    suite = ET.fromstring(render("junit", "empty"))[0]
    assert (suite.attrib["errors"], suite.attrib["tests"]) == ("1", "1")


def test_junit_gives_equal_checks_different_names():
    twice = (Finding("same", Verdict.PASS, "a"), Finding("same", Verdict.FAIL, "b"))
    analysis = dataclasses.replace(report_samples.passed(), findings=twice)
    suite = ET.fromstring(CATALOG.report("junit")(analysis))[0]
    assert [c.attrib["name"] for c in suite.findall("testcase")] == ["verdict", "same", "same (2)"]
    assert suite.attrib["name"] == "gameday.local.drop_features"


@pytest.mark.parametrize("sample", SAMPLES)
def test_markdown_tables_keep_their_columns(sample: str):
    width = 0
    for line in render("markdown", sample).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        width = width or cells
        assert cells == width, line


def test_markdown_escapes_what_would_be_markup():
    text = render("markdown", "hostile")
    assert "<script>" not in text and not re.search(r"(?<!\\)\]\(", text)
    assert len(re.findall("^#+ ", text, re.M)) == len(re.findall("^#+ ", render("markdown"), re.M))


def test_the_terminal_gets_lines_that_fit_and_the_verdict_first():
    for name in set(SAMPLES) - {"hostile"}:
        lines = render("text", name).splitlines()
        assert lines[0].startswith(_words.WORD[SAMPLES[name]().verdict].upper() + "  ")
        assert max(map(len, lines)) <= 110
    assert "TTD  time to detect" in render("text")


# The words they share.


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.9997, "ratio", "99.97 %"),
        (0.999999, "ratio", "< 100 %"),
        (1.0, "ratio", "100.0 %"),
        (0.0000001, "ratio", "> 0 %"),
        (0.0, "ratio", "0.0 %"),
        (0.8812, "ratio", "88.1 %"),
        (12.345, "ms", "12.3 ms"),
        (1234.5, "ms", "1234 ms"),
        (None, "ms", "no data"),
        (float("nan"), "ratio", "no data"),
    ],
)
def test_a_value_never_rounds_into_a_better_one(value: float | None, unit: str, said: str):
    assert _words.spell_value(value, unit) == said


@pytest.mark.parametrize(
    ("estimate", "value", "interval"),
    [
        (Estimate(3.34, 3.29, 3.395), "3.34 s", "3.29 to 3.40 s"),
        (Estimate(3.34, 3.1, 3.6), "3.3 s", "3.1 to 3.6 s"),
        (Estimate(36.4, 34.2, 38.9), "36 s", "34 to 39 s"),
        (Estimate(1.0, 1.0, 1.0), "1.00 s", "1.00 to 1.00 s"),
        (Estimate(-0.4, -0.9, 0.02), "\u22120.4 s", "\u22120.9 to 0.1 s"),
        (Estimate(30.09, 30.09, float("inf"), True), "> 30.0 s", "no upper end"),
        (Estimate(3.0, 1.0, float("inf")), "3.0 s", "1.0 to \u221e s"),
    ],
)
def test_an_estimate_has_the_digits_its_interval_supports(
    estimate: Estimate, value: str, interval: str
):
    assert _words.spell_estimate(estimate) == value
    assert _words.spell_interval(estimate) == interval


def test_labels_of_near_marks_neither_touch_nor_are_crossed():
    near = [Label(450 + 2.5 * n, f"mark {n}", 90.0) for n in range(6)]
    edge = [Label(1000.0, "late", 90.0), Label(1040.0, "later", 90.0)]
    placed = lanes([*edge, *near], 0.0, 1060.0)
    assert len(placed) == 8 and all(p.reach[0] >= 0 and p.reach[1] <= 1060 for p in placed)
    for n, one in enumerate(placed):
        for other in placed[n + 1 :]:
            (a, b), (c, d) = one.reach, other.reach
            assert one.lane != other.lane or b <= c or d <= a
            higher, (low, high) = (one, (c, d)) if one.lane > other.lane else (other, (a, b))
            assert one.lane == other.lane or not low < higher.x < high


# Ablations and sweeps.


@pytest.mark.parametrize("name", ["html", "markdown", "text"])
def test_the_defence_table_says_what_each_was_worth_and_how_that_is_known(name: str):
    text = render(name, "ablation").replace("\u00a0", " ").replace("\\_", "_")
    for words in (
        "alert FeatureMissing", "load-bearing", "redundant", "breaker", "does nothing here",
        "unknown", "off already", "not mitigated in 28.9 s", "ordinary configuration",
        "harness kept pace",
    ):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize("name", ["html", "markdown", "text", "junit"])
def test_a_sweep_names_the_smallest_severity_that_each_monitor_saw(name: str):
    text = render(name, "sweep").replace("\u00a0", " ")
    assert "severity 3, or less: 1 unknown" in text and "FeatureMissing" in text
    if name != "junit":
        assert "QualityDrop" in text and "fraction 0.2" in text and "not known" in text
        assert "Watchdog could not tell: it was firing before" in text
        assert "One trial each" in text


def test_hostile_names_in_a_table_are_text():
    text = render("html", "hostile_ablation")
    assert not Outline(text).all("script") and "alert(&#39;x&#39;)" in text
    assert "<script>" not in render("markdown", "hostile_ablation")
