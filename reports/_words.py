"""The words and numbers that every report spells alike.

A number is printed with the digits that its interval supports and no more, and a bound never
rounds into a better answer: 99.97 % does not become 100 %, and an interval rounds outwards. Text
that came from outside (labels, errors, names) is cleaned here once, because a terminal obeys escape
codes and XML refuses them.
"""

import math
from dataclasses import dataclass
from typing import Final

from harness.model.analysis import Analysis, Estimate, Incident, Mark, MarkId, Verdict

WORD: Final = {Verdict.PASS: "pass", Verdict.UNKNOWN: "unknown", Verdict.FAIL: "fail"}
NO_DATA: Final = "no data"
MINUS: Final = "\u2212"
MARK_WORD: Final[dict[MarkId, str]] = {
    "t_inject": "inject",
    "t_impact": "impact",
    "t_detect": "detect",
    "t_act": "act",
    "t_mitigate": "mitigate",
    "t_heal": "heal",
    "t_recover": "recover",
    "t_observable": "observable",
}
MARK_MEANS: Final[dict[MarkId, str]] = {
    "t_inject": "The fault is in force: its check first held. The interval reaches back to the "
    "last check that did not.",
    "t_impact": "Users are hurt: the change point of a one-sided sequential likelihood-ratio test "
    "of the bad ratio against the objective\u2019s budget, dated back to where the bad answers "
    "began. None means that the stack absorbed the fault.",
    "t_detect": "The stack noticed: the first alert with the expected labels reached the "
    "harness\u2019s webhook.",
    "t_act": "The first mitigating action in the control plane\u2019s audit trail.",
    "t_mitigate": "Users are served again although the fault is still in force: the change point "
    "after the last short window that missed the objective, if every short window of the hold "
    "time after it met the objective.",
    "t_heal": "The harness began to mend the fault. It ends what mitigation can prove.",
    "t_recover": "Back to normal: from here on, for the whole hold time, every short window is in "
    "the baseline band, redundancy and normal mode are restored, and no backlog is left.",
    "t_observable": "The earliest instant at which an ideal monitor, seeing only the labels "
    "released by then, could have known.",
}


def clean(text: object) -> str:
    """Make text safe to print: controls, bidirectional overrides and lone surrogates are shown as
    escapes; tabs and line ends become one space.
    """
    flat = " ".join(str(text).split())
    return "".join(c if _plain(c) else f"\\u{ord(c):04x}" for c in flat)


def _plain(char: str) -> bool:
    code = ord(char)
    return not (
        code < 0x20
        or 0x7F <= code < 0xA0
        or 0x200B <= code <= 0x200F
        or 0x2028 <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xD800 <= code <= 0xDFFF
        or code in (0xFEFF, 0xFFFE, 0xFFFF)
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """The report's clock: ``zero_s`` in run time, and what happened then."""

    zero_s: float
    event: str

    def at(self, run_s: float) -> float:
        """Turn run time into seconds since the zero."""
        return run_s - self.zero_s

    def spell(self, run_s: float, digits: int = 1) -> str:
        """Write an instant with its sign: ``+3.3`` or ``−12.0``."""
        return signed(self.at(run_s), digits)


def clock(analysis: Analysis) -> Clock:
    """Zero is the first injection; without one, the first request."""
    found = (i.mark("t_inject") for i in analysis.incidents)
    at = [m.at.value_s for m in found if m is not None and m.at is not None and not m.at.censored]
    if at:
        return Clock(min(at), "the injection")
    spans = [s.injected_s for s in analysis.spans if s.injected_s is not None]
    if spans:
        return Clock(min(spans), "the injection")
    return Clock(analysis.load_start_s, "the first request")


def abort_lines(analysis: Analysis) -> tuple[str, ...]:
    """Why the run stopped before its end, and what became of what was in force; else nothing."""
    aborts = [moment for moment in analysis.timeline if moment.kind == "abort"]
    if not aborts:
        return ()
    zero = clock(analysis)
    lines = [f"At {zero.spell(m.t)} s from {zero.event}: {m.what}." for m in aborts]
    at = aborts[0].t
    touched = [s for s in analysis.spans if s.intended_s <= at]
    open_then = [s for s in touched if s.healing_s is None or s.healing_s >= at]
    for span in open_then:
        if span.healed_s is None:
            lines.append(f"{span.id} was in force and is not known to be healed.")
        else:
            after = plain_number(max(0.0, span.healed_s - at), 1)
            lines.append(f"{span.id} was in force and was healed {after} s after.")
    return (*lines, *(() if open_then else ("No fault was in force.",)))


def signed(value: float, digits: int = 1) -> str:
    """Write a number with its sign; what rounds to zero has none."""
    if not math.isfinite(value):
        return NO_DATA
    text = f"{abs(value):.{digits}f}"
    return text if not float(text) else ("+" if value > 0 else MINUS) + text


def plain_number(value: float, digits: int) -> str:
    """Write a number, with a real minus sign; never a negative zero."""
    if not math.isfinite(value):
        return NO_DATA if math.isnan(value) else ("\u221e" if value > 0 else MINUS + "\u221e")
    text = f"{abs(value):.{digits}f}"
    return (MINUS if value < 0 and float(text) else "") + text


def digits_of(estimate: Estimate) -> int:
    """How many decimals the interval supports: the first uncertain digit is the last one shown."""
    half = (estimate.high_s - estimate.low_s) / 2
    if estimate.censored or not math.isfinite(half):
        return 1
    if half <= 0.005:
        return 2
    return max(0, min(2, -math.floor(math.log10(half))))


def spell_estimate(estimate: Estimate) -> str:
    """Write the value: ``3.3 s``; censored, ``> 28.4 s``, rounded down."""
    digits = digits_of(estimate)
    if estimate.censored:
        return f"> {plain_number(_outward(estimate.value_s, digits), digits)} s"
    return f"{plain_number(estimate.value_s, digits)} s"


def spell_interval(estimate: Estimate) -> str:
    """Write the interval, rounded outwards: ``3.1 to 3.6 s``. Censored: there is no upper end."""
    if estimate.censored:
        return "no upper end"
    digits = digits_of(estimate)
    low = plain_number(_outward(estimate.low_s, digits), digits)
    high = plain_number(_outward(estimate.high_s, digits, up=True), digits)
    return f"{low} to {high} s"


def _outward(value: float, digits: int, up: bool = False) -> float:
    """Round down, or up; a hair's breadth of float error does not count as a digit."""
    if not math.isfinite(value):
        return value
    scale = 10.0**digits
    return (math.ceil(value * scale - 1e-7) if up else math.floor(value * scale + 1e-7)) / scale


def spell_value(value: float | None, unit: str) -> str:
    """Write an indicator in its unit. ``None`` and NaN are ``no data``."""
    if value is None or math.isnan(value):
        return NO_DATA
    match unit:
        case "ratio":
            return f"{_percent(value)} %"
        case "":
            return _short(value)
        case _:
            return f"{_short(value)} {clean(unit)}"


def _percent(value: float) -> str:
    """One decimal; more only where fewer would claim that all (or none) were good."""
    share = value * 100
    for digits in (1, 2, 3):
        text = plain_number(share, digits)
        if not (0 < share < 100 and float(f"{share:.{digits}f}") in (0.0, 100.0)):
            return text
    return "< 100" if share > 50 else "> 0"


def _short(value: float) -> str:
    size = abs(value)
    if not math.isfinite(size) or (size < 1e6 and size == int(size)):
        return plain_number(value, 0)
    return plain_number(value, 0 if size >= 100 else 1 if size >= 10 else 2)


def headline(analysis: Analysis) -> str:
    """The headline without the verdict's name, which every report says in its own way."""
    said = clean(analysis.headline).removeprefix(f"{analysis.verdict.name}: ")
    return said[:1].upper() + said[1:]


def spell_length(length_s: float) -> str:
    """Write how long something took: ``48 s`` or ``1 min 52 s``."""
    whole = round(length_s)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


@dataclass(frozen=True, slots=True)
class Duration:
    """One of TTD, TTM and TTR, from the injection and from the impact.

    ``missing``: why a value is absent, in a few words.
    """

    short: str
    long: str
    means: str
    from_inject: Estimate | None
    from_impact: Estimate | None
    missing: str

    def spell(self, estimate: Estimate | None) -> str:
        """Write the value or why there is none."""
        return self.missing if estimate is None else spell_estimate(estimate)


def durations(incident: Incident) -> tuple[Duration, ...]:
    """TTD, TTM and TTR of one incident, in that order."""
    undetected = incident.outcome.startswith("undetected")
    unmitigated = incident.outcome.endswith("unmitigated")
    gone = f"none: {incident.outcome}"
    never = incident.outcome in ("absorbed", "aborted", "invalid")
    return (
        Duration(
            "TTD",
            "time to detect",
            "until the first matching alert arrived",
            incident.ttd,
            incident.ttd_from_impact,
            "not detected" if undetected else "none measured",
        ),
        Duration(
            "TTM",
            "time to mitigate",
            "until users were served within the objectives again, the fault still in force",
            incident.ttm,
            incident.ttm_from_impact,
            gone if never else "not mitigated" if unmitigated else "none measured",
        ),
        Duration(
            "TTR",
            "time to recover",
            "until everything was as before, nothing left to catch up",
            incident.ttr,
            incident.ttr_from_impact,
            gone if never else "none measured",
        ),
    )


def marks_in_order(incident: Incident) -> tuple[Mark, ...]:
    """The marks in the order of an incident's life, whatever order they were found in."""
    order = list(MARK_WORD)
    return tuple(sorted(incident.marks, key=lambda mark: order.index(mark.id)))
