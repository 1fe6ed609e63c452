"""``gameday plan``: the dry run."""

import argparse
import json
import sys

from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.errors import USAGE


def main(args: argparse.Namespace) -> int:
    """Print every moment of a run, as JSON."""
    (path,) = sources.paths([args.scenario])
    source = sources.read(path, Catalog(), stack=args.stack, settings=args.set)
    policy = permit.policy_of(args.policy)
    print(json.dumps(source.plan(source.stack().topology(), args.seed).summary(), indent=2))
    refusals = permit.refused(source, policy, args.seed)
    for refusal in refusals:
        print(f"gameday: {path}: refused: {refusal}", file=sys.stderr)
    if (closed := permit.closed_now(source, policy)) is not None:
        print(f"{path}: warning: it would be refused now: {closed}", file=sys.stderr)
    return USAGE if refusals else 0
