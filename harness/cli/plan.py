"""``gameday plan``: the dry run."""

import argparse
import json
import sys
from collections.abc import Iterator

from harness import units
from harness.analyze.expectations import spell_expect
from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.errors import USAGE
from harness.model.plan import Enter, Heal, Inject, Plan


def main(args: argparse.Namespace) -> int:
    """Print every moment of a run: in lines for people, or as JSON."""
    (path,) = sources.paths([args.scenario])
    source = sources.read(path, Catalog(), stack=args.stack, settings=args.set)
    policy = permit.policy_of(args.policy)
    plan = source.plan(source.stack().topology(), args.seed)
    print(json.dumps(plan.summary(), indent=2) if args.json else "\n".join(lines(plan)))
    refusals = permit.refused(source, policy, args.seed)
    for refusal in refusals:
        print(f"gameday: {path}: refused: {refusal}", file=sys.stderr)
    if (closed := permit.closed_now(source, policy)) is not None:
        print(f"{path}: warning: it would be refused now: {closed}", file=sys.stderr)
    return USAGE if refusals else 0


def lines(plan: Plan) -> Iterator[str]:
    """Write a plan as a person reads it."""
    scenario = plan.scenario
    yield (
        f"{scenario.name} on {scenario.stack}, seed {plan.seed}: {len(plan.due_ns)} requests over "
        f"{units.spell(plan.ends_s)}; a state must last {units.spell(plan.hold_s)} to be believed"
    )
    yield ""
    for step in plan.steps:
        match step:
            case Enter():
                what = f"phase {step.phase}"
            case Inject():
                params = ", ".join(f"{k} {v}" for k, v in step.params.items())
                what = f"inject {step.id} into {', '.join(step.nodes)} ({params or 'as it is'})"
            case Heal():
                what = f"heal {step.id}"
        yield f"{step.at_s:8.1f}s  {what}"
    yield f"{plan.ends_s:8.1f}s  the end"
    yield ""
    for expect in scenario.expect:
        yield f"   expect  {spell_expect(expect)}"
