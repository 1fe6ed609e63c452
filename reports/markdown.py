"""For the incident channel, the pull request and the postmortem: the sections of the HTML page,
without the pictures, and empty places at the end for what only people know.

Text from outside is escaped: a label with a pipe must not end a table's cell, and one with markup
must not become markup.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from harness import Analysis, Estimate, Finding, Incident, Measure, Verdict, report
from harness.model.scenario import PHASES
from harness.model.study import Ablation, Sweep
from reports._tables import (
    BIT,
    CAVEAT,
    DASH,
    ETHICS,
    STANDING,
    defence_rows,
    extremes,
    fell_in_words,
    other_monitors,
    run_rows,
    rung_rows,
    shown_monitors,
    spell_sighting,
    spell_took,
    words_of,
)
from reports._words import (
    MARK_WORD,
    NO_DATA,
    WORD,
    Clock,
    abort_lines,
    clean,
    clock,
    durations,
    headline,
    marks_in_order,
    plain_number,
    spell_estimate,
    spell_interval,
    spell_length,
    spell_value,
)

_ICON: Final = {Verdict.PASS: "\u2713", Verdict.UNKNOWN: "?", Verdict.FAIL: "\u2717"}
_SPECIAL: Final = re.compile(r"([\\`*\[\]|~$])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


@report(suffix=".md")
def markdown(analysis: Analysis) -> str:
    """Verdict first, reasons second, numbers after, people last."""
    blocks = _several(analysis) if analysis.ablation or analysis.sweep else _one(analysis)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _one(analysis: Analysis) -> Iterable[str]:
    """The sections of one run."""
    return [
        *_head(analysis),
        *_stopped(analysis),
        "## What we believed and what happened",
        f"> {_paragraph(analysis.why)}" if analysis.why else "",
        _findings(f for f in analysis.findings if f.kind == "expectation"),
        "## Incident",
        *([b for i in analysis.incidents for b in _incident(i, clock(analysis))] or ["None."]),
        "## Indicators",
        _measures(analysis),
        "## Timeline",
        _timeline(analysis),
        "## Checks that are always made",
        _findings(f for f in analysis.findings if f.kind == "built-in"),
        "## How each number was obtained",
        _table(
            ("number", "how", "uncertainty"),
            [(m.number, m.how, m.uncertainty) for m in analysis.method],
        ),
        "## Appendix",
        _table(("fact", "value"), list(analysis.facts.items())),
        *_PEOPLE,
    ]


def _several(analysis: Analysis) -> Iterable[str]:
    """The sections of an ablation or a sweep: its tables in the place of one incident."""
    return [
        *_head(analysis),
        f"> {_paragraph(analysis.why)}" if analysis.why else "",
        *(_ablation(analysis.ablation) if analysis.ablation else ()),
        *(_sweep(analysis.sweep) if analysis.sweep else ()),
        "## What the table must show",
        _findings(analysis.findings),
        "## How each answer was obtained",
        _table(
            ("answer", "how", "uncertainty"),
            [(m.number, m.how, m.uncertainty) for m in analysis.method],
        ),
        "## Appendix",
        _table(("fact", "value"), list(analysis.facts.items())),
        *_PEOPLE,
    ]


def _ablation(table: Ablation) -> Iterable[str]:
    yield "## Defences"
    rows = [
        (
            f"`{_safe(r.name)}`",
            r.protects,
            f"**{STANDING[r.standing]}**",
            DASH if r.verdict is None else f"{_ICON[r.verdict]} {WORD[r.verdict]}",
            "<br>".join(f"{_safe(label)}: {_safe(said)}" for label, said in words_of(r)),
        )
        for r in defence_rows(table)
    ]
    head = ("defence", "protects", "standing", "verdict without it", "what fell without it")
    yield _table(head, rows, raw=True)
    yield "\n".join(
        f"- {label}: {'not run' if run is None else WORD[run.verdict]}"
        f"{'; ' + _safe(fell_in_words(run.fell)) if run and run.without and run.fell else ''}"
        for label, run in extremes(table)
    )
    yield ETHICS
    yield "## Runs"
    yield _table(
        ("without", "verdict", "what fell", "run"),
        [(without, WORD[verdict], fell, run) for without, verdict, fell, run in run_rows(table)],
    )


def _sweep(sweep: Sweep) -> Iterable[str]:
    yield "## Severities"
    head = ("severity", "parameters", "bit", "what came of it", "TTD", "TTM", "TTR", "verdict",
            "run")  # fmt: skip
    rows = [
        (
            str(r.severity) if r.first else "",
            r.params,
            BIT[r.bit],
            r.outcome,
            *(", ".join(filter(None, spell_took(took))) for took in r.took),
            ": ".join(filter(None, (WORD[r.verdict], r.unclear))),
            r.run,
        )
        for r in rung_rows(sweep)
    ]
    yield _table(head, rows)
    yield "## Smallest severity that each alert saw"
    seen = [
        (m.alert, m.fault_id, "yes" if m.expected else "", *map(spell_sighting, m.sightings),
         m.said)
        for m in shown_monitors(sweep)
    ]  # fmt: skip
    levels = tuple(f"at {r.severity}" for r in sweep.rungs)
    yield _table(("alert", "fault", "expected", *levels, "smallest it saw"), seen)
    yield "\n".join(f"- {_safe(line)}" for line in other_monitors(sweep))
    yield CAVEAT


_PEOPLE: Final = (
    "## For people to finish",
    "What went well:\n\nWhat went badly:\n\nWhere we were lucky:",
    "| action | owner | due | detect, mitigate or prevent |\n|---|---|---|---|\n|  |  |  |  |",
)


def _safe(text: object) -> str:
    """Escape what Markdown, or the HTML inside Markdown, would take for markup within a line."""
    plain = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: "\\" + found[0], plain)


def _paragraph(text: object) -> str:
    """Escape also what is markup at the start of a line only: headings, lists, rules."""
    safe = re.sub(r"^(?=[#+\-=])", r"\\", _safe(text))
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", safe)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], raw: bool = False) -> str:
    """Lay out a table; ``raw`` cells are Markdown already."""
    if not rows:
        return "No data."
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    cells = ([str(c) if raw else _safe(c) for c in row] for row in rows)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in cells)])


def _head(analysis: Analysis) -> Iterable[str]:
    word = WORD[analysis.verdict].upper()
    took = spell_length(analysis.end_s) + (" of virtual time" if analysis.virtual_time else "")
    kind = "ablation of " if analysis.ablation else "sweep of " if analysis.sweep else ""
    yield f"# {_ICON[analysis.verdict]} {word}: {kind}{_safe(analysis.scenario)}"
    yield _paragraph(headline(analysis))
    what = "Ablation" if analysis.ablation else "Sweep" if analysis.sweep else "Run"
    yield (
        f"{what} {_safe(analysis.run)}, stack {_safe(analysis.stack)}, seed {analysis.seed}, "
        f"started {_safe(analysis.started_utc)}, {took}"
        f"{', placebo: nothing was broken' if analysis.placebo else ''}."
    )


def _stopped(analysis: Analysis) -> Iterable[str]:
    if said := abort_lines(analysis):
        yield "## Stopped before its end"
        yield "\n".join(f"- {_paragraph(line)}" for line in said)


def _findings(findings: Iterable[Finding]) -> str:
    rows = [
        (f"{_ICON[f.verdict]} {WORD[f.verdict]}", _safe(f.check), _safe(f.because))
        for f in findings
    ]
    return _table(("answer", "check", "because"), rows, raw=True)


def _incident(incident: Incident, when: Clock) -> Iterable[str]:
    hurt = f"hurt first: {_safe(incident.objective)}; " if incident.objective else ""
    note = f"; {_safe(incident.budget_note)}" if incident.budget_note else ""
    yield (
        f"### {_safe(incident.fault)}: {incident.outcome}\n\n"
        f"{hurt}{incident.bad_events} bad answers{note}."
    )
    rows = [
        (
            f"**{d.short}** {d.long}",
            d.spell(d.from_inject),
            _interval(d.from_inject),
            "none" if d.from_impact is None else spell_estimate(d.from_impact),
            _interval(d.from_impact),
        )
        for d in durations(incident)
    ]
    head = ("time", "from injection", "95 % interval", "from impact", "95 % interval")
    yield _table(head, rows, raw=True)
    marks = [
        (
            MARK_WORD[m.id],
            "none" if m.at is None else spell_estimate(_since(m.at, when)),
            "" if m.at is None else spell_interval(_since(m.at, when)),
            "" if m.at is None else plain_number(m.at.value_s, 1),
            m.how,
        )
        for m in marks_in_order(incident)
    ]
    yield _table(("mark", f"s from {when.event}", "95 % interval", "run clock", "read from"), marks)


def _since(at: Estimate, when: Clock) -> Estimate:
    return at.minus(Estimate(when.zero_s, when.zero_s, when.zero_s))


def _interval(estimate: Estimate | None) -> str:
    return "" if estimate is None else spell_interval(estimate)


def _measures(analysis: Analysis) -> str:
    phases = [p for p in PHASES if p in analysis.phases]
    head = ("indicator", *phases, "target")
    return _table(head, [_row(m, phases) for m in analysis.measures])


def _row(measure: Measure, phases: Sequence[str]) -> tuple[str, ...]:
    values: dict[str, float | None] = {str(p): v for p, v in measure.by_phase.items()}
    target = "" if measure.target is None else spell_value(measure.target, measure.unit)
    return (measure.sli, *(spell_value(values.get(p), measure.unit) for p in phases), target)


def _timeline(analysis: Analysis) -> str:
    when = clock(analysis)
    rows = [
        (when.spell(m.t), plain_number(m.t, 1), m.kind, m.what, m.source) for m in analysis.timeline
    ]
    if not rows:
        return f"Nothing on record: {NO_DATA}."
    return _table((f"s from {when.event}", "run clock", "kind", "what", "source"), rows)
