"""The tables of an ablation and of a sweep, worked out once for every format.

Cells are plain text; a format lays them out and escapes them. A row of the defence table is told in
words rather than squeezed into columns where a format is narrow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harness.model.analysis import Estimate, Finding, Verdict
from harness.model.study import Ablation, Monitor, Removal, Rung, Sighting, Standing, Sweep, Tried
from reports._words import spell_estimate, spell_interval

DASH: Final = "\u2013"
BIT: Final = {Verdict.PASS: "yes", Verdict.UNKNOWN: "not known", Verdict.FAIL: "no"}
STANDING: Final[dict[Standing, str]] = {
    "load-bearing": "load-bearing",
    "redundant": "redundant",
    "idle": "does nothing here",
    "off": "off already",
    "unclear": "unknown",
}
STANDING_VERDICT: Final[dict[Standing, Verdict]] = {
    "load-bearing": Verdict.PASS,
    "redundant": Verdict.PASS,
    "idle": Verdict.FAIL,
    "off": Verdict.UNKNOWN,
    "unclear": Verdict.UNKNOWN,
}
ETHICS: Final = (
    "Nothing was switched off by a hook, or while it ran: each time the stack was stood up with "
    "other settings of its ordinary configuration."
)
CAVEAT: Final = (
    "One trial each: an alert that saw a severity once need not see it again, and one that missed "
    "it may yet see it."
)
SEEN: Final = {"seen": "seen", "not seen": "not seen", "unknown": "unknown"}


@dataclass(frozen=True, slots=True)
class DefenceRow:
    """One line of the defence table. ``fell``: check and value of each measure that fell."""

    name: str
    protects: str
    why: str
    standing: Standing
    verdict: Verdict | None
    fell: tuple[tuple[str, str], ...]
    because: str
    covered_by: tuple[str, ...]
    runs: tuple[str, ...]


def defence_rows(table: Ablation) -> tuple[DefenceRow, ...]:
    """A line for each defence."""
    return tuple(_defence(row) for row in table.rows)


def _defence(row: Tried) -> DefenceRow:
    alone = row.without
    shown = row.proof[0].fell if row.proof else alone.fell if alone else ()
    runs = (*((alone.run,) if alone else ()), *(p.run for p in row.proof))
    return DefenceRow(
        name=row.defence.name,
        protects=row.defence.protects,
        why=row.defence.why,
        standing=row.standing,
        verdict=alone.verdict if alone else None,
        fell=tuple((f.check, _value(f)) for f in shown),
        because=row.because,
        covered_by=row.covered_by,
        runs=runs,
    )


def _value(finding: Finding) -> str:
    unsure = "unknown: " if finding.verdict is Verdict.UNKNOWN else ""
    return unsure + finding.because


def words_of(row: DefenceRow) -> Iterable[tuple[str, str]]:
    """What is said of a line: who covered for it, and each measure that fell with its value."""
    if row.covered_by:
        yield "covered by", f"{' or '.join(row.covered_by)}; without both:"
    if not row.fell:
        yield "because", row.because
    yield from row.fell


def extremes(table: Ablation) -> Iterable[tuple[str, Removal | None]]:
    """The run with all of them, and the one without any, if it was to be made."""
    yield "with all of them", table.whole
    if len(table.rows) > 1 or table.all_off is not None:
        yield "without any of them", table.all_off


def run_rows(table: Ablation) -> tuple[tuple[str, Verdict, str, str], ...]:
    """Every run: without what, its verdict, what fell (or why it cannot tell), and its id."""
    return tuple(
        (
            ", ".join(run.without) or "nothing: whole",
            run.verdict,
            run.unclear or fell_in_words(run.fell) or "nothing",
            run.run,
        )
        for run in table.runs
    )


def fell_in_words(fell: Iterable[Finding]) -> str:
    """Measures that fell, with their values."""
    return "; ".join(f"{f.check}: {f.because}" for f in fell)


@dataclass(frozen=True, slots=True)
class RungRow:
    """One line for each fault of each severity; ``first``: the run stands in this one."""

    severity: int
    params: str
    bit: Verdict
    outcome: str
    took: tuple[Estimate | None, ...]
    verdict: Verdict
    run: str
    first: bool
    unclear: str


def rung_rows(sweep: Sweep) -> tuple[RungRow, ...]:
    """A line for each severity and fault."""
    return tuple(row for rung in sweep.rungs for row in _rung(rung))


def _rung(rung: Rung) -> Iterable[RungRow]:
    for n, took in enumerate(rung.took):
        params = rung.params.get(took.fault_id, {})
        words = ", ".join(f"{key} {value}" for key, value in params.items())
        who = f"{took.fault_id}: " if len(rung.took) > 1 else ""
        yield RungRow(
            rung.severity, who + words, rung.bit, took.outcome, (took.ttd, took.ttm, took.ttr),
            rung.verdict, rung.run, n == 0, rung.unclear,
        )  # fmt: skip
    if not rung.took:
        yield RungRow(
            rung.severity, DASH, rung.bit, "no fault was injected", (None, None, None),
            rung.verdict, rung.run, True, rung.unclear,
        )  # fmt: skip


def shown_monitors(sweep: Sweep) -> tuple[Monitor, ...]:
    """Those that are expected to see it, or saw it: the rest is told in a line each."""
    return tuple(m for m in sweep.monitors if m.expected or m.smallest is not None)


def other_monitors(sweep: Sweep) -> tuple[str, ...]:
    """The alerts that saw nothing and need not have, and those of which that is not known."""
    rest = [m for m in sweep.monitors if not m.expected and m.smallest is None]
    blind = dict.fromkeys(m.alert for m in rest if m.said == "saw none")
    said: dict[str, list[str]] = {}
    for m in rest:
        if m.alert not in blind:
            said.setdefault(m.said, []).append(m.alert)
    lines = [f"{', '.join(dict.fromkeys(alerts))} {words}" for words, alerts in said.items()]
    return (*([f"saw none: {', '.join(blind)}"] if blind else []), *lines)


def spell_sighting(sighting: Sighting) -> str:
    """How fast it was seen, or that it was not."""
    if sighting.seen == "seen" and sighting.ttd is not None:
        return spell_estimate(sighting.ttd)
    return SEEN[sighting.seen]


def spell_took(took: Estimate | None) -> tuple[str, str]:
    """A time, or a dash, and the interval that stands under it."""
    if took is None:
        return DASH, ""
    return spell_estimate(took), "" if took.censored else spell_interval(took)
