"""What the HTML page of an ablation or a sweep shows, worked out before the template sees it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.analysis import Analysis, Estimate, Verdict
from harness.model.study import Ablation, Monitor, Removal, Sighting, listed
from reports._tables import (
    BIT,
    STANDING,
    STANDING_VERDICT,
    DefenceRow,
    defence_rows,
    other_monitors,
    run_rows,
    rung_rows,
    shown_monitors,
    spell_sighting,
    words_of,
)
from reports._words import clean


@dataclass(frozen=True, slots=True)
class Marked:
    """A defence with the shape and the word of its standing."""

    defence: DefenceRow
    mark: Verdict
    word: str
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Level:
    """One line of the table of severities."""

    severity: int
    first: bool
    params: str
    bit_word: str
    outcome: str
    took: tuple[Estimate | None, ...]
    verdict: Verdict
    unclear: str


@dataclass(frozen=True, slots=True)
class Watcher:
    """A monitor, with a shape and a word for each severity; FAIL has no shape here: not seeing a
    fault that hurts nobody is no failure.
    """

    monitor: Monitor
    cells: tuple[tuple[Verdict, str], ...]


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Everything the template lays out."""

    analysis: Analysis
    kind: str
    columns: tuple[str, ...]
    defences: tuple[Marked, ...]
    matrix: tuple[tuple[str, tuple[Verdict, ...]], ...]
    runs: tuple[tuple[str, Verdict, str, str], ...]
    rungs: tuple[Level, ...]
    monitors: tuple[Watcher, ...]
    others: tuple[str, ...]
    links: tuple[str, ...]
    reproduce: tuple[str, ...]


def study_page(analysis: Analysis) -> StudyPage:
    """Work everything out."""
    ablation, sweep = analysis.ablation, analysis.sweep
    removals = ablation.runs if ablation else ()
    rungs = sweep.rungs if sweep else ()
    count = sum(row.standing != "off" for row in ablation.rows) if ablation else 0
    return StudyPage(
        analysis=analysis,
        kind="ablation" if ablation else "sweep",
        columns=(
            *(_column(run, count) for run in _clear(removals)),
            *(f"at {r.severity}" for r in rungs),
        ),
        defences=tuple(map(_marked, defence_rows(ablation))) if ablation else (),
        matrix=_matrix(_clear(removals)),
        runs=run_rows(ablation) if ablation else (),
        rungs=tuple(
            Level(r.severity, r.first, r.params, BIT[r.bit], r.outcome, r.took, r.verdict,
                  r.unclear)
            for r in rung_rows(sweep)
        ) if sweep else (),
        monitors=tuple(map(_watcher, shown_monitors(sweep))) if sweep else (),
        others=other_monitors(sweep) if sweep else (),
        links=(*(clean(r.run) for r in removals), *(clean(r.run) for r in rungs)),
        reproduce=_reproduce(analysis, ablation),
    )  # fmt: skip


def _marked(row: DefenceRow) -> Marked:
    word = STANDING[row.standing]
    return Marked(row, STANDING_VERDICT[row.standing], word, tuple(words_of(row)))


def _clear(runs: Sequence[Removal]) -> list[Removal]:
    """The runs that can be compared; the others say why not in their own table."""
    return [run for run in runs if not run.unclear]


def _column(run: Removal, declared: int) -> str:
    if len(run.without) == declared > 2:
        return "without all of them"
    return f"without {listed(run.without)}" if run.without else "whole"


def _matrix(runs: Sequence[Removal]) -> tuple[tuple[str, tuple[Verdict, ...]], ...]:
    """Each measure that fell anywhere, and how it stood in each run."""
    checks = dict.fromkeys(f.check for run in runs for f in run.fell)
    fell = [{f.check: f.verdict for f in run.fell} for run in runs]
    return tuple((check, tuple(each.get(check, Verdict.PASS) for each in fell)) for check in checks)


def _watcher(monitor: Monitor) -> Watcher:
    return Watcher(monitor, tuple(map(_cell, monitor.sightings)))


def _cell(sighting: Sighting) -> tuple[Verdict, str]:
    verdict = {"seen": Verdict.PASS, "unknown": Verdict.UNKNOWN}.get(sighting.seen, Verdict.FAIL)
    return verdict, spell_sighting(sighting)


def _reproduce(analysis: Analysis, ablation: Ablation | None) -> tuple[str, ...]:
    name, stack = shlex.quote(clean(analysis.scenario)), shlex.quote(clean(analysis.stack))
    levels = [r.severity for r in analysis.sweep.rungs] if analysis.sweep else []
    how = "" if ablation else f" --severity {','.join(map(str, levels)) or '1..5'}"
    verb = "ablate" if ablation else "run"
    return (
        f"gameday {verb} {name}{how} --stack {stack} --seed {analysis.seed}",
        f"gameday report {shlex.quote(clean(analysis.run))} --format html",
    )
