"""What the terminal prints after a run: the answer, the three times, and why.

Plain text without colour codes, so that it reads the same in a log, a pipe and a mail; whatever
came from outside is cleaned, because a terminal obeys escape codes.
"""

import textwrap
from collections.abc import Iterable
from typing import Final

from harness import Analysis, Estimate, Finding, Incident, report
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
    where = f"{clean(analysis.scenario)} on {clean(analysis.stack)}, seed {analysis.seed}"
    took = spell_length(analysis.end_s) + (" of virtual time" if analysis.virtual_time else "")
    lines = [
        f"{WORD[analysis.verdict].upper()}  {where}, {took}",
        *_wrapped(headline(analysis), "      "),
    ]
    if said := abort_lines(analysis):
        lines += ["", "Stopped before its end", *(x for one in said for x in _wrapped(one, "  "))]
    for incident in analysis.incidents:
        lines += ["", *_incident(incident)]
    for kind, title in _TITLES.items():
        found = [f for f in analysis.findings if f.kind == kind]
        lines += ["", *_findings(title, found)]
    lines += ["", f"Run {clean(analysis.run)}"]
    return "\n".join(lines) + "\n"


def _wrapped(said: str, indent: str) -> list[str]:
    return textwrap.wrap(
        clean(said), _WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_on_hyphens=False,
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
