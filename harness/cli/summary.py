"""One table over several runs: what each one came to, how long things took, and why if not well."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.cli.judge import ABORTED
from harness.model.analysis import Analysis, Estimate, Verdict

WIDTH = 108
HEAD = ("scenario", "verdict", "what came of it", "TTD", "TTM", "TTR", "took")


@dataclass(frozen=True, slots=True)
class Line:
    """One run. ``took_s``: by the clock on the wall."""

    analysis: Analysis
    code: int
    took_s: float


def table(ended: Sequence[Line], planned: int) -> list[str]:
    """Lay the table out; a run that did not pass says why under its row."""
    rows = [(line, cells) for line in ended for cells in _rows(line)]
    wide = [max(len(r[n]) for r in (HEAD, *(cells for _, cells in rows))) for n in range(len(HEAD))]
    out = [_laid(HEAD, wide), _laid(tuple("-" * w for w in wide), wide)]
    for n, (line, cells) in enumerate(rows):
        out.append(_laid(cells, wide))
        last = n + 1 == len(rows) or rows[n + 1][0] is not line
        if last and line.analysis.verdict is not Verdict.PASS:
            out += _why(line.analysis)
    return [*out, "", *_total(ended, planned)]


def _why(analysis: Analysis) -> list[str]:
    said = analysis.headline.removeprefix(f"{analysis.verdict.name}: ")
    return textwrap.wrap(
        said, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


def _rows(line: Line) -> Iterable[tuple[str, ...]]:
    """One row for each incident; the run stands in the first."""
    analysis = line.analysis
    word = "ABORTED" if line.code == ABORTED else analysis.verdict.name
    head, took = (analysis.scenario, word), f"{line.took_s:.0f} s"
    if not analysis.incidents:
        said = "nothing was broken" if analysis.placebo else "no fault was injected"
        yield (*head, said, "", "", "", took)
    for n, incident in enumerate(analysis.incidents):
        times = (incident.ttd, incident.ttm, incident.ttr)
        first = n == 0
        said = incident.outcome if len(analysis.incidents) == 1 else (
            f"{incident.fault_id} {incident.outcome}"
        )  # fmt: skip
        yield (
            *(head if first else ("", "")), said, *map(spell, times), took if first else "",
        )  # fmt: skip


def spell(took: Estimate | None) -> str:
    """A time to one decimal, ``>`` for one that had not ended, and a dash for none."""
    if took is None:
        return "-"
    return f"{'> ' if took.censored else ''}{took.value_s:.1f} s"


def _total(ended: Sequence[Line], planned: int) -> Iterable[str]:
    passed = sum(line.analysis.verdict is Verdict.PASS for line in ended)
    took_s = sum(line.took_s for line in ended)
    yield f"{passed} of {planned} passed, in {took_s // 60:.0f} min {took_s % 60:02.0f} s"
    if len(ended) < planned:
        why = "aborted for safety" if ended[-1].code == ABORTED else "stopped"
        yield f"{planned - len(ended)} not run, because the one before was {why}"


def _laid(cells: Sequence[str], wide: Sequence[int]) -> str:
    last = len(cells) - 4  # numbers stand right
    laid = [cell.ljust(w) for cell, w in zip(cells[:last], wide, strict=False)]
    laid += [cell.rjust(w) for cell, w in zip(cells[last:], wide[last:], strict=True)]
    return "  ".join(laid).rstrip()
