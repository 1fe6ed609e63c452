"""``gameday report``: judge a run, or a study, again from the records alone, and tell people."""

import argparse
import sys
from pathlib import Path

from harness.catalog import Catalog
from harness.cli.errors import Usage
from harness.cli.judge import exit_code, judge, judge_study
from harness.run import folder as folders
from harness.run.studies import find_study


def main(args: argparse.Namespace) -> int:
    """Print or write one report. The exit code is the verdict's."""
    catalog = Catalog()
    render = catalog.report(args.format)
    if (study := find_study(args.run)) is not None:
        code, analysis = judge_study(study, catalog)
    else:
        record = folders.read(folders.find(args.run))
        analysis = judge(record, catalog)
        code = exit_code(record, analysis)
    text = render(analysis)
    if args.out:
        try:
            Path(args.out).write_text(text, encoding="utf-8")
        except OSError as error:
            raise Usage(f"--out {args.out}: {error.strerror}") from None
    else:
        sys.stdout.write(text)
    return code
