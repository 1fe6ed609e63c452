"""What the terminal prints after a run: the answer, the three times, and why.

Plain text without colour codes, so that it reads the same in a log, a pipe and a mail; whatever
came from outside is cleaned, because a terminal obeys escape codes.
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from harness import Analysis, Estimate, Finding, Incident, report
from harness.model.study import Ablation, Sweep
from reports._tables import (
    BIT,
    CAVEAT,
    DASH,
    ETHICS,
    STANDING,
    defence_rows,
    extremes,
    other_monitors,
    rung_rows,
    shown_monitors,
    spell_sighting,
    spell_took,
    words_of,
)
from reports._words import (
    WORD,
    Duration,
    abort_lines,
    clean,
    durations,
    headline,
    spell_estimate,
    spell_interval,
    spell_length,
)

_WIDTH: Final = 100
_TITLES: Final = {"expectation": "Expectations", "built-in": "Checks that are always made"}


@report(suffix=".txt")
def text(analysis: Analysis) -> str:
    """Verdict first, times second, reasons last."""
    kind = "ablation of " if analysis.ablation else "sweep of " if analysis.sweep else ""
    where = f"{kind}{clean(analysis.scenario)} on {clean(analysis.stack)}, seed {analysis.seed}"
    took = spell_length(analysis.end_s) + (" of virtual time" if analysis.virtual_time else "")
    lines = [
        f"{WORD[analysis.verdict].upper()}  {where}, {took}",
        *_wrapped(headline(analysis), "      "),
    ]
    if analysis.ablation is not None:
        lines += ["", *_defences(analysis.ablation)]
    if analysis.sweep is not None:
        lines += ["", *_severities(analysis.sweep)]
    if said := abort_lines(analysis):
        lines += ["", "Stopped before its end", *(x for one in said for x in _wrapped(one, "  "))]
    for incident in analysis.incidents:
        lines += ["", *_incident(incident)]
    several = analysis.ablation is not None or analysis.sweep is not None
    for kind, title in ({"built-in": "What the table must show"} if several else _TITLES).items():
        found = [f for f in analysis.findings if f.kind == kind]
        lines += ["", *_findings(title, found)]
    lines += ["", f"{'Study' if several else 'Run'} {clean(analysis.run)}"]
    return "\n".join(lines) + "\n"


def _wrapped(said: str, indent: str) -> list[str]:
    return textwrap.wrap(
        clean(said), _WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_on_hyphens=False,
    )  # fmt: skip


def _defences(table: Ablation) -> list[str]:
    """The defence table: a line for each, and below it what fell, or who covered for it."""
    rows = defence_rows(table)
    cells = [
        (
            clean(r.name),
            r.protects,
            STANDING[r.standing],
            DASH if r.verdict is None else WORD[r.verdict],
        )
        for r in rows
    ]
    head = ("defence", "protects", "standing", "verdict without it")
    laid = _columns([head, *cells], "  ")
    out = ["Defences", laid[0]]
    for row, line in zip(rows, laid[1:], strict=True):
        out += [line, *(x for label, said in words_of(row) for x in _said(f"{label}: {said}", 6))]
    for label, run in extremes(table):
        out.append(f"  {label}: {'not run' if run is None else WORD[run.verdict]}")
    return [*out, *_said(ETHICS, 2)]


def _severities(sweep: Sweep) -> list[str]:
    """The severities, and then what each alert made of them."""
    head = ("severity", "parameters", "bit", "what came of it", "TTD", "TTM", "TTR", "verdict")
    rows: list[tuple[str, ...]] = []
    for r in rung_rows(sweep):
        number, took = str(r.severity) if r.first else "", [spell_took(t) for t in r.took]
        values = [value for value, _ in took]
        rows.append((number, clean(r.params), BIT[r.bit], r.outcome, *values, WORD[r.verdict]))
        if any(interval for _, interval in took):
            rows.append((*[""] * 4, *(interval.removesuffix(" s") for _, interval in took), ""))
    out = ["Severities", *_columns([head, *rows], "  ")]
    for r in rung_rows(sweep):
        out += _said(f"severity {r.severity} cannot tell: {r.unclear}", 6) if r.unclear else []
    levels = ("alert", "fault", *(f"at {r.severity}" for r in sweep.rungs), "smallest it saw")
    monitors = [
        (
            clean(m.alert) + ("*" if m.expected else ""),
            clean(m.fault_id),
            *map(spell_sighting, m.sightings),
            clean(m.said),
        )
        for m in shown_monitors(sweep)
    ]
    out += ["", "Smallest severity that each alert saw (* the scenario counts on it)"]
    out += _columns([levels, *monitors], "  ") if monitors else ["  none saw any"]
    for line in other_monitors(sweep):
        out += _said(line, 2)
    return [*out, *_said(CAVEAT, 2)]


def _columns(rows: Sequence[Sequence[str]], indent: str) -> list[str]:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True))).rstrip()
        for row in rows
    ]


def _said(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        clean(text), _WIDTH, break_on_hyphens=False,
        initial_indent=" " * indent, subsequent_indent=" " * (indent + 2),
    )  # fmt: skip


def _incident(incident: Incident) -> list[str]:
    hurt = f", {clean(incident.objective)} first" if incident.objective else ""
    count = f"{incident.bad_events} bad answer" + ("" if incident.bad_events == 1 else "s")
    rows = [_duration(d) for d in durations(incident)]
    wide = [max(len(row[n]) for row in rows) for n in range(6)]
    return [
        f"{clean(incident.fault)}: {incident.outcome}; {count}{hurt}",
        *(
            f"  {short}  {long:<{wide[1]}}  {value:>{wide[2]}}  {span:<{wide[3]}}  "
            f"{after:<{wide[4]}}  {after_span}".rstrip()
            for short, long, value, span, after, after_span in rows
        ),
    ]


def _duration(duration: Duration) -> tuple[str, str, str, str, str, str]:
    """Short name, long name, value and interval; then those from the impact."""
    impact = duration.from_impact
    return (
        duration.short,
        duration.long,
        duration.spell(duration.from_inject),
        _interval(duration.from_inject),
        "" if impact is None else f"from impact {spell_estimate(impact)}",
        _interval(impact),
    )


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return "(censored)" if estimate.censored else f"({spell_interval(estimate)})"


def _findings(title: str, findings: Iterable[Finding]) -> list[str]:
    out = [title]
    for finding in findings:
        word = WORD[finding.verdict]
        answer = f"  {word.upper() if finding.verdict else word:<9}"
        said = f"{clean(finding.check)}: {clean(finding.because)}"
        out += textwrap.wrap(
            said, _WIDTH, break_on_hyphens=False,
            initial_indent=answer, subsequent_indent=" " * (len(answer) + 2),
        )  # fmt: skip
    return out if len(out) > 1 else [f"{title}: none"]
