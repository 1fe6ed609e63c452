"""``gameday check``: say whether scenarios are right, before anything breaks."""

import argparse
import sys

from harness.capabilities import Ablatable
from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.errors import USAGE
from harness.model.dead_man import is_dead_man
from harness.model.scenario import (
    AbortAlert,
    AbortUnexpected,
    ExpectMark,
    ExpectQuiet,
    Scenario,
)
from harness.parse.document import ParseError
from harness.plan import PHASE_SPREAD_S
from harness.run.gate import LOOK_BACK
from harness.units import spell


def main(args: argparse.Namespace) -> int:
    """Check each; report every wrong one, not only the first."""
    catalog, wrong = Catalog(), 0
    policy = permit.policy_of(args.policy)
    for path in sources.paths(args.scenario):
        try:
            source = sources.read(path, catalog, stack=args.stack, settings=args.set)
            source.check()
        except ParseError as error:
            print(f"gameday: {error}", file=sys.stderr)
            wrong += 1
            continue
        if refusals := permit.refused(source, policy):
            for refusal in refusals:
                print(f"gameday: {path}: refused: {refusal}", file=sys.stderr)
            wrong += 1
            continue
        closed = permit.closed_now(source, policy)
        warnings = [f"it would be refused now: {closed}"] if closed else []
        for warning in (*_lint(source), *warnings):
            print(f"{path}: warning: {warning}", file=sys.stderr)
        print(f"{path}: ok")
    return USAGE if wrong else 0


def _lint(source: sources.Source) -> list[str]:
    scenario, warnings = source.scenario, _unknown_alerts(source)
    marks = [e for e in scenario.expect if isinstance(e, ExpectMark)]
    for mark in marks:
        if mark.mark == "detected" and not mark.by:
            warnings.append("'detected' without 'by': any alert at all would count as detection")
        if is_dead_man(mark.by):
            warnings.append("'severity: none' is a dead-man's alert, which is never a detection")
        if scenario.placebo:
            warnings.append(f"'{mark.mark}' in a scenario without faults can never be met")
    if not scenario.placebo and not marks:
        warnings.append("breaks something, but does not expect it detected, mitigated or recovered")
    return [*warnings, *_hurried(scenario, source.spread_s())]


def _unknown_alerts(source: sources.Source) -> list[str]:
    """Alerts that the scenario names and its stack does not have: nothing would ever match."""
    stack, scenario = source.stack(), source.scenario
    if not isinstance(stack, Ablatable):
        return []
    alert = "alert "
    known = [name.removeprefix(alert) for name in stack.switches() if name.startswith(alert)]
    named = [e.by.get("alertname") for e in scenario.expect if isinstance(e, ExpectMark)]
    for allowing in (*scenario.expect, *scenario.abort):
        if isinstance(allowing, AbortUnexpected) or (
            isinstance(allowing, ExpectQuiet) and allowing.what == "alerts"
        ):
            named += allowing.allow
        if isinstance(allowing, AbortAlert):
            named.append(allowing.labels.get("alertname"))
    return [
        f"the stack {scenario.stack} has no alert {name!r} that tells of a fault; there is "
        + ", ".join(known)
        for name in dict.fromkeys(named)
        if name is not None and name not in known
    ]


def _hurried(scenario: Scenario, spread_s: float = PHASE_SPREAD_S) -> list[str]:
    """Faults that begin so soon after another that the gate sees what the other did."""
    ends, warnings = 0.0, []
    for step in sorted(scenario.faults, key=lambda s: s.at_s):
        gap_s = step.at_s - ends
        # Each moves by up to the spread, so it is the dice that say whether these overlap.
        if ends and -spread_s < gap_s < LOOK_BACK + spread_s:
            warnings.append(
                f"{step.fault} at {spell(step.at_s)} begins within {LOOK_BACK + spread_s:g}s "
                "of the end of another fault, on which the steady-state gate looks back; leave "
                "more time between them, or overlap them on purpose"
            )
        ends = max(ends, step.at_s + step.for_s)
    return warnings
