"""``gameday check``: say whether scenarios are right, before anything breaks."""

import argparse
import sys

from harness.catalog import Catalog
from harness.cli import sources
from harness.cli.errors import USAGE
from harness.model.scenario import ExpectMark
from harness.parse.document import ParseError


def main(args: argparse.Namespace) -> int:
    """Check each; report every wrong one, not only the first."""
    catalog, wrong = Catalog(), 0
    for path in sources.paths(args.scenario):
        try:
            source = sources.read(path, catalog, stack=args.stack, settings=args.set)
            source.check()
        except ParseError as error:
            print(f"gameday: {error}", file=sys.stderr)
            wrong += 1
            continue
        for warning in _lint(source):
            print(f"{path}: warning: {warning}", file=sys.stderr)
        print(f"{path}: ok")
    return USAGE if wrong else 0


def _lint(source: sources.Source) -> list[str]:
    scenario, warnings = source.scenario, []
    marks = [e for e in scenario.expect if isinstance(e, ExpectMark)]
    for mark in marks:
        if mark.mark == "detected" and not mark.by:
            warnings.append("'detected' without 'by': any alert at all would count as detection")
        if scenario.placebo:
            warnings.append(f"'{mark.mark}' in a scenario without faults can never be met")
    if not scenario.placebo and not marks:
        warnings.append("breaks something, but does not expect it detected, mitigated or recovered")
    return warnings
