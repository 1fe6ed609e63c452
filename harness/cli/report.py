"""``gameday report``: judge a run again, from its record alone, and tell people."""

import argparse
import sys
from pathlib import Path

from harness.catalog import Catalog
from harness.cli.errors import Usage
from harness.cli.judge import exit_code, judge
from harness.run import folder as folders


def main(args: argparse.Namespace) -> int:
    """Print or write one report. The exit code is the verdict's."""
    catalog = Catalog()
    render = catalog.report(args.format)
    record = folders.read(folders.find(args.run))
    analysis = judge(record, catalog)
    text = render(analysis)
    if args.out:
        try:
            Path(args.out).write_text(text, encoding="utf-8")
        except OSError as error:
            raise Usage(f"--out {args.out}: {error.strerror}") from None
    else:
        sys.stdout.write(text)
    return exit_code(record, analysis)
