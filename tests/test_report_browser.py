"""The HTML report in a real browser, spoken to over a pipe: no port, no network, no driver.

What is asked of the page is what a reader would notice: nothing sticks out at any width, no label
covers another, every text can be read in light and dark, it prints, and it loads nothing.
"""

import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.catalog import Catalog
from tests.report_samples import SAMPLES

pytestmark = pytest.mark.stack

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
WIDTHS = (390, 1024, 1600)

TEXTS_THAT_STICK_OUT = """
[...document.querySelectorAll('svg.pic text')]
  .filter(e => e.getClientRects().length)
  .map(e => [e.textContent, e.getBoundingClientRect()])
  .filter(([, r]) => r.width && (r.left < -0.5 || r.right > innerWidth + 0.5))
  .map(([t]) => t)
"""
LABELS_THAT_TOUCH = """
[...document.querySelectorAll('svg.pic')].filter(s => s.getClientRects().length).flatMap(svg => {
  const seen = [...svg.querySelectorAll('text')]
    .map(e => [e.textContent, e.getBoundingClientRect()]).filter(([, r]) => r.width);
  const out = [];
  seen.forEach(([a, p], n) => seen.slice(n + 1).forEach(([b, q]) => {
    const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (w > 1 && h > 4) out.push(svg.getAttribute('aria-labelledby') + ': ' + a + ' | ' + b);
  }));
  return out;
})
"""
TEXTS_TOO_FAINT = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (c, under) => {
    canvas.globalCompositeOperation = 'copy'; canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.globalCompositeOperation = 'source-over'; canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((s, v, n) => s + v * [.2126, .7152, .0722][n], 0);
  const solid = c => c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent';
  const behind = e => {
    const root = getComputedStyle(document.documentElement), svg = e.closest('svg.pic');
    const own = {'on-force': '--fault', 'on-hurt': '--hurt', 'on': '--mend'};
    for (const [k, v] of Object.entries(own))
      if (svg && e.classList.contains(k)) return root.getPropertyValue(v);
    for (let x = e; x; x = x.parentElement)
      if (solid(getComputedStyle(x).backgroundColor)) return getComputedStyle(x).backgroundColor;
    return root.getPropertyValue('--bg');
  };
  const out = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || /^(title|desc|style)$/.test(e.tagName)) continue;
    const style = getComputedStyle(e), back = behind(e);
    const ink = e.closest('svg.pic') ? style.fill : style.color;
    const [a, b] = [light(rgb(ink, back)), light(rgb(back, '#fff'))].sort((p, q) => q - p);
    const ratio = (a + .05) / (b + .05);
    const name = `${e.tagName}.${e.className.baseVal ?? e.className}`;
    if (ratio < 4.5) out.push(`${ratio.toFixed(2)} ${name}`);
  }
  return [...new Set(out)];
})()
"""


class Browser:
    """A headless Chromium with one page, spoken to in its own protocol."""

    def __init__(self, path: str, profile: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # High numbers first, so that giving the child 3 and 4 overwrites neither.
        far = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in (theirs_in, theirs_out)]

        def give() -> None:
            os.dup2(far[0], 3)
            os.dup2(far[1], 4)

        self.process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=give,
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (theirs_in, theirs_out, *far):
            os.close(fd)
        self._read, self._write = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self._rest, self._count = b"", 0
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        self.ask("Page.enable")
        self.ask("Network.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                found: dict[str, Any] = answer["result"]
                return found

    def wait_for(self, method: str) -> None:
        """Read until an event comes, unless it has come."""
        while not any(e.get("method") == method for e in self.events):
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._read.read1(65536)
            assert more, "the browser went away"
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, page: Path, width: int, *, dark: bool = False, script: bool = True) -> None:
        """Show a page at a width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        self.wait_for("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """Evaluate in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def content_width(self) -> float:
        """How wide the laid-out page is, in CSS pixels."""
        width: float = self.ask("Page.getLayoutMetrics")["cssContentSize"]["width"]
        return width

    def requests(self) -> list[str]:
        """Every address the page asked for."""
        sent = (e for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [e["params"]["request"]["url"] for e in sent]

    def close(self) -> None:
        """End it and everything it started: it has a session of its own."""
        for stream in (self._write, self._read):
            with contextlib.suppress(OSError):
                stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path is None:
        pytest.skip(f"no browser on PATH: looked for {', '.join(BROWSERS)}")
    found = Browser(path, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, report = tmp_path_factory.mktemp("pages"), Catalog().report("html")
    out = {}
    for name, sample in SAMPLES.items():
        out[name] = folder / f"{name}.html"
        out[name].write_text(report(sample()), "utf-8")
    return out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_sticks_out(browser: Browser, pages: dict[str, Path], name: str, width: int):
    browser.open(pages[name], width)
    assert browser.content_width() <= width
    assert browser.value(TEXTS_THAT_STICK_OUT) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "hostile"])
def test_no_label_covers_another(browser: Browser, pages: dict[str, Path], name: str, width: int):
    browser.open(pages[name], width)
    assert browser.value(LABELS_THAT_TOUCH) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["passed", "failed", "unknown"])
def test_every_text_stands_out_enough(
    browser: Browser, pages: dict[str, Path], name: str, dark: bool
):
    browser.open(pages[name], 1024, dark=dark)
    assert browser.value(TEXTS_TOO_FAINT) == []


def test_a_dark_page_is_dark(browser: Browser, pages: dict[str, Path]):
    seen = {}
    for dark in (False, True):
        browser.open(pages["passed"], 1024, dark=dark)
        seen[dark] = browser.value("getComputedStyle(document.body).backgroundColor")
    light, dim = ([int(n) for n in re.findall(r"\d+", seen[dark])] for dark in (False, True))
    assert min(light[:3]) > 200 and max(dim[:3]) < 60


def test_it_loads_nothing_and_breaks_no_policy(browser: Browser, pages: dict[str, Path]):
    browser.ask("Log.enable")
    for name in ("passed", "hostile"):
        browser.open(pages[name], 1024)
        browser.value("0")  # one more round trip, for late events
        assert {u for u in browser.requests() if not u.startswith("data:")} == {
            pages[name].as_uri()
        }
        said = [e["params"]["entry"]["text"] for e in browser.events
                if e["method"] == "Log.entryAdded"]  # fmt: skip
        assert said == []
        assert browser.value("document.scripts.length") == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_it_reads_the_same_without_scripts(browser: Browser, pages: dict[str, Path], width: int):
    read = []
    for script in (True, False):
        browser.open(pages["passed"], width, script=script)
        assert browser.content_width() <= width
        root = browser.ask("DOM.getDocument", depth=0)["root"]["nodeId"]
        read.append(browser.ask("DOM.getOuterHTML", nodeId=root)["outerHTML"])
    assert read[0] == read[1]
    assert "TTD" in read[1]


@pytest.mark.parametrize("width", WIDTHS)
def test_one_drawing_of_each_picture_is_shown(browser: Browser, pages: dict[str, Path], width: int):
    browser.open(pages["passed"], width)
    shown = browser.value(
        "[...document.querySelectorAll('svg.pic')].filter(e => e.getClientRects().length)"
        ".map(e => e.getAttribute('aria-labelledby').split('-').slice(0, 2).join('-'))"
    )
    assert len(shown) == len(set(shown)) > 8
    assert any(key.startswith("ribbon-0") for key in shown)


def test_small_text_stays_legible_on_a_telephone(browser: Browser, pages: dict[str, Path]):
    browser.open(pages["passed"], 390)
    smallest = browser.value(
        "Math.min(...[...document.querySelectorAll('svg.pic text')]"
        ".filter(e => e.getClientRects().length).map(e => e.getBoundingClientRect().height))"
    )
    assert smallest >= 10  # the line box of a text of 9 px


def test_it_prints(browser: Browser, pages: dict[str, Path]):
    browser.open(pages["passed"], 1024)
    pdf = base64.b64decode(
        browser.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
    )
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) <= 14
