"""Which defences matter: each is left out, and what users got is held against the expectations.

A defence is *load-bearing* when without it a measure of what users got (an indicator, the time to
mitigate or to recover) or the time to an expected alert no longer passes. That its own action was
not seen proves nothing and does not count. It is *redundant* when all of that passes without it,
and without it and some other one more falls than without that other one alone: that one covered for
it. It is *idle* when nothing falls either way. A run that cannot tell, because the fault did not
bite or the harness was late, is never held for or against a defence.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from harness.model.analysis import Analysis, Finding, Verdict
from harness.model.defence import Defence
from harness.model.scenario import Expect, ExpectMark, ExpectQuiet, Scenario
from harness.model.study import Ablation, Declared, Removal, Standing, Study, Tried, listed

MUST_HOLD: Final = (
    "every fault bit",
    "steady before injection",
    "alerting alive",
    "trial valid",
    "harness kept pace",
    "record complete",
)
"""The checks without which a run says nothing about a defence."""
ABORT: Final = "not aborted"
ENOUGH: Final = 2
"""Load-bearing defences that every fault must have."""


def removal(
    without: Sequence[str], analysis: Analysis, scenario: Scenario, deaf: str = ""
) -> Removal:
    """Read off one run what fell without these defences, or why that cannot be said.

    ``deaf``: why an alert might not have been heard under the fault. An alert that is not known to
    have come for that reason was not missed for want of a defence.
    """
    guard = [f for f in analysis.findings if f.check == ABORT and f.verdict is Verdict.FAIL]
    unclear = why_unclear(analysis)
    if not unclear and deaf and _unheard(analysis, scenario):
        unclear = deaf
    return Removal(
        run=analysis.run,
        without=tuple(without),
        verdict=analysis.verdict,
        headline=analysis.headline,
        fell=(*_fallen(analysis, scenario), *guard),
        unclear="" if guard else unclear,
    )


def _unheard(analysis: Analysis, scenario: Scenario) -> bool:
    """Whether it is not known of an expected alert that it came."""
    return any(
        isinstance(expect, ExpectMark)
        and expect.mark == "detected"
        and finding.verdict is Verdict.UNKNOWN
        for expect, finding in _answers(analysis, scenario)
    )


def _answers(analysis: Analysis, scenario: Scenario) -> Iterable[tuple[Expect, Finding]]:
    answers = [f for f in analysis.findings if f.kind == "expectation"]
    return zip(scenario.expect, answers, strict=True)


def why_unclear(analysis: Analysis) -> str:
    """Why a run does not count as a trial; nothing if it does."""
    lacks = [
        f"{f.check}: {f.because}"
        for f in analysis.findings
        if f.kind == "built-in" and f.verdict is not Verdict.PASS and f.check in (*MUST_HOLD, ABORT)
    ]
    return "; ".join(lacks)


def _fallen(analysis: Analysis, scenario: Scenario) -> Iterable[Finding]:
    absorbed = any(i.outcome == "absorbed" for i in analysis.incidents)
    for expect, finding in _answers(analysis, scenario):
        if finding.verdict is Verdict.PASS:
            continue
        match expect:
            case ExpectQuiet():
                continue  # what the stack said or did, not what users got
            case ExpectMark() if expect.mark != "detected" and finding.verdict is Verdict.UNKNOWN:
                if absorbed:
                    continue  # nobody was hurt: there was nothing to mitigate
        yield finding


def next_removal(study: Study, runs: Sequence[Removal], tries: int = 1) -> tuple[str, ...] | None:
    """Say without which defences to run next; nothing when the table is complete.

    The whole first, then each alone, then pairs for those that nobody missed, then none at all. A
    run that could not tell is made again, up to ``tries`` times.
    """
    declared = [d.defence for d in study.declared if not d.off]
    wanted = [d for d in declared if not study.only or d.name in study.only]
    for without in _plan(declared, wanted, runs, whole_too=not study.only):
        made = _made(runs, without)
        if len(made) < tries and all(run.unclear for run in made):
            return without
        if not without and (made[-1].unclear or made[-1].verdict is not Verdict.PASS):
            return None  # what does not pass whole cannot show what is missing
    return None


def _plan(
    declared: Sequence[Defence], wanted: Sequence[Defence], runs: Sequence[Removal], whole_too: bool
) -> Iterable[tuple[str, ...]]:
    yield ()
    for one in wanted:
        yield (one.name,)
    for one in wanted:
        if (alone := _of(runs, (one.name,))) is None or alone.unclear or alone.fell:
            continue
        for other in _candidates(one, declared, runs):
            yield _pair(declared, one, other)
            both = _of(runs, _pair(declared, one, other))
            if both is not None and both.fell:
                yield (other.name,)
            if _covers(runs, declared, one, other):
                break
    if whole_too:
        yield tuple(d.name for d in declared)


def _candidates(
    one: Defence, declared: Sequence[Defence], runs: Sequence[Removal]
) -> list[Defence]:
    """Who may have covered for it: first those that nobody missed either, and protect the same."""

    def unlikely(other: Defence) -> tuple[bool, bool]:
        alone = _of(runs, (other.name,))
        return alone is not None and bool(alone.fell), other.protects != one.protects

    return sorted((d for d in declared if d.name != one.name), key=unlikely)


def _pair(declared: Sequence[Defence], one: Defence, other: Defence) -> tuple[str, ...]:
    return tuple(d.name for d in declared if d.name in (one.name, other.name))


def _made(runs: Sequence[Removal], without: Sequence[str]) -> list[Removal]:
    return [run for run in runs if set(run.without) == set(without)]


def _of(runs: Sequence[Removal], without: Sequence[str]) -> Removal | None:
    """The last run without exactly these: an earlier one could not tell."""
    return next(iter(reversed(_made(runs, without))), None)


def _covers(
    runs: Sequence[Removal], declared: Sequence[Defence], one: Defence, other: Defence
) -> Removal | None:
    """The run that proves it: without both more falls than without the other alone."""
    both, alone = _of(runs, _pair(declared, one, other)), _of(runs, (other.name,))
    if both is None or alone is None or both.unclear or alone.unclear:
        return None
    missed = {f.check: f.verdict for f in alone.fell}
    worse = [f for f in both.fell if f.verdict > missed.get(f.check, Verdict.PASS)]
    return both if worse else None


def defence_table(study: Study, runs: Sequence[Removal]) -> Ablation:
    """Draw up the table from the runs that there are; what was not run is unclear."""
    declared = [d.defence for d in study.declared if not d.off]
    named = tuple(d.name for d in declared)
    rows = [
        _row(one, declared, runs)
        for one in study.declared
        if not study.only or one.defence.name in study.only
    ]
    return Ablation(tuple(rows), _of(runs, ()), _of(runs, named), tuple(runs))


def _row(one: Declared, declared: Sequence[Defence], runs: Sequence[Removal]) -> Tried:
    defence, faults = one.defence, one.faults
    if one.off:
        return Tried(defence, faults, "off", "the scenario's own settings leave it out")
    alone = _of(runs, (defence.name,))
    if alone is None:
        return Tried(defence, faults, "unclear", "no run was made without it")
    if alone.unclear:
        return Tried(defence, faults, "unclear", alone.unclear, alone)
    if alone.fell:
        return Tried(defence, faults, "load-bearing", _told(alone.fell), alone)
    others = _candidates(defence, declared, runs)
    proofs = [(d.name, p) for d in others if (p := _covers(runs, declared, defence, d))]
    if proofs:
        names, found = tuple(name for name, _ in proofs), tuple(p for _, p in proofs)
        because = f"without {' or '.join(names)} as well: {_told(found[0].fell)}"
        return Tried(defence, faults, "redundant", because, alone, names, found)
    pairs = [_of(runs, _pair(declared, defence, d)) for d in others]
    if any(pair is None or pair.unclear for pair in pairs):
        because = "nothing fell without it, and who covered for it could not be told"
        return Tried(defence, faults, "unclear", because, alone)
    because = "nothing fell without it, nor without it and any other one: it does nothing here"
    return Tried(defence, faults, "idle", because, alone)


def _told(fell: Iterable[Finding]) -> str:
    return "; ".join(f"{f.check}: {f.because}" for f in fell)


def findings(study: Study, table: Ablation) -> tuple[Finding, ...]:
    """Judge the table: two load-bearing defences or more, and a failure without all of them; where
    only some were asked about, that each of these matters.
    """
    out = [_whole(table)]
    if out[0].verdict is Verdict.PASS:  # else nothing more can be said
        asked = [_matters(row) for row in table.rows]
        out += asked if study.only else [_enough(table), _all_off(table)]
    if study.stopped:
        out.append(Finding("ablation finished", Verdict.UNKNOWN, study.stopped))
    return tuple(out)


def _whole(table: Ablation) -> Finding:
    name, whole = "passes with every defence in place", table.whole
    if whole is None:
        return Finding(name, Verdict.UNKNOWN, "it was not run")
    good = whole.verdict is Verdict.PASS and not whole.unclear
    return Finding(name, Verdict.PASS if good else Verdict.UNKNOWN, whole.headline)


def _enough(table: Ablation) -> Finding:
    name = f"{ENOUGH} defences or more are load-bearing"
    bearing = [r.defence.name for r in table.rows if r.standing == "load-bearing"]
    unclear = [r.defence.name for r in table.rows if r.standing == "unclear"]
    because = f"{len(bearing)} of {len(table.rows)}: {', '.join(bearing) or 'none'}"
    if len(bearing) >= ENOUGH:
        return Finding(name, Verdict.PASS, because)
    if len(bearing) + len(unclear) >= ENOUGH:
        because += f"; not clear: {', '.join(unclear)}"
        return Finding(name, Verdict.UNKNOWN, because)
    return Finding(name, Verdict.FAIL, because)


def _all_off(table: Ablation) -> Finding:
    name, run = "fails without all of them", table.all_off
    if run is None:
        return Finding(name, Verdict.UNKNOWN, "it was not run")
    if run.unclear:
        return Finding(name, Verdict.UNKNOWN, run.unclear)
    certain = [f for f in run.fell if f.verdict is Verdict.FAIL]
    if certain:
        return Finding(name, Verdict.PASS, _told(certain))
    if run.fell:
        return Finding(name, Verdict.UNKNOWN, _told(run.fell))
    return Finding(name, Verdict.FAIL, "all that users got, and every expected alert, was as ever")


def _matters(row: Tried) -> Finding:
    name = f"{row.defence.name} matters"
    match row.standing:
        case "load-bearing" | "redundant":
            verdict = Verdict.PASS
        case "idle":
            verdict = Verdict.FAIL
        case _:
            verdict = Verdict.UNKNOWN
    return Finding(name, verdict, f"{row.standing}: {row.because}")


def headline(study: Study, table: Ablation, verdict: Verdict) -> str:
    """The sentence that is read aloud."""
    whole = table.whole
    if whole is None or whole.unclear or whole.verdict is not Verdict.PASS:
        said = "nothing" if whole is None else whole.headline
        return (
            f"{verdict.name}: it does not pass whole, so nothing can be said of its parts: {said}"
        )
    parts = []
    for standing, (one, many) in _ORDER.items():
        names = [r.defence.name for r in table.rows if r.standing == standing]
        if names:
            parts.append(f"{listed(names)} {one if len(names) == 1 else many}")
    if not study.only and table.all_off is not None:
        parts.append(f"without any of them it is {table.all_off.verdict.name}")
    if study.stopped:
        parts.append(f"stopped early: {study.stopped}")
    return f"{verdict.name}: {'; '.join(parts)}"


_ORDER: Final[dict[Standing, tuple[str, str]]] = {
    "load-bearing": ("bears load", "bear load"),
    "redundant": ("is redundant: something else covers", "are redundant: something else covers"),
    "idle": ("does nothing here", "do nothing here"),
    "off": ("was off already", "were off already"),
    "unclear": ("could not be judged", "could not be judged"),
}
