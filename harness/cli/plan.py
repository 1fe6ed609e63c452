"""``gameday plan``: the dry run."""

import argparse
import json

from harness.catalog import Catalog
from harness.cli import sources


def main(args: argparse.Namespace) -> int:
    """Print every moment of a run, as JSON."""
    (path,) = sources.paths([args.scenario])
    source = sources.read(path, Catalog(), stack=args.stack, settings=args.set)
    print(json.dumps(source.plan(source.stack().topology(), args.seed).summary(), indent=2))
    return 0
