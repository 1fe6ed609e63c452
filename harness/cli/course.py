"""The course of a study: its runs one after the other, written down as they end.

However it ends (its own end, Ctrl-C, the kill switch, a run that broke), what was found so far is
judged, told and kept.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.catalog import Catalog
from harness.cli import permit
from harness.cli.errors import Usage
from harness.cli.judge import ABORTED, CODES, Several
from harness.cli.live import Live, brief_view, live_view
from harness.cli.run import Ended, carry, write_reports
from harness.cli.sources import Source
from harness.model.analysis import Analysis
from harness.model.events import Aborted
from harness.model.plan import Plan
from harness.model.policy import Policy
from harness.model.record import Record
from harness.model.study import Member, Study
from harness.protocols import Report
from harness.run import studies
from harness.run.folder import Folder

BY_US = ("signal", "halt", "guardian", "policy")
"""Who ends a study with the run: somebody meant it, or it is not safe to go on."""


class Course:
    """One study under way."""

    def __init__(
        self, study: Study, args: argparse.Namespace, policy: Policy, catalog: Catalog
    ) -> None:
        self.study, self.several = study, Several()
        self._catalog = catalog
        self._args, self._policy = args, policy
        self._code = 0
        self.path = studies.create(study, Path(args.out) if args.out else None)

    def run(self, source: Source, member: Member, words: str) -> Ended | None:
        """Run the next member of the study; nothing when the study ends here."""
        if (closed := permit.closed_now(source, self._policy)) is not None:
            self._end(closed, ABORTED)
            return None
        self.say(f"[{len(self.study.members) + 1}] {words}")
        ended = carry(source, self._args, self._view, policy=self._policy)
        members = (*self.study.members, replace(member, run=ended.folder.run))
        self.study = replace(self.study, members=members)
        studies.save(self.study, self.path)
        self.several.add(self.study, ended.judged)
        if (stop := _stop(ended.record)) is not None:
            self._end(*stop)
            return None
        return ended

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the study, not the program: what was found is still told."""
        try:
            yield
        except KeyboardInterrupt:
            self._end("stopped by Ctrl-C", 3)

    def say(self, line: str) -> None:
        """Tell progress, unless nobody wants it."""
        if not self._args.quiet:
            print(line, flush=True)

    def finish(self) -> int:
        """Judge it, write and print its reports, and give its exit code."""
        studies.save(self.study, self.path)
        analysis = self.several.judge(self.study)
        if analysis is None:
            print(f"gameday: {self.study.stopped or 'nothing was run'}", file=sys.stderr)
            return self._code or 3
        write_reports(analysis, self.path, self._catalog)
        if self._args.quiet:
            print(f"{self.study.scenario}: {analysis.headline}")
        else:
            sys.stdout.write("\n" + self._catalog.report("text")(analysis))
            print(f"\nreport  {self.path / 'report.html'}")
            print(f"study   {self.path}", flush=True)
        if self._args.report:
            write_report(self._args.report, analysis, self._catalog)
        return self._code or CODES[analysis.verdict]

    def _end(self, why: str, code: int) -> None:
        self._code = code
        self.study = replace(self.study, stopped=why)

    def _view(self, plan: Plan, folder: Folder) -> contextlib.AbstractContextManager[Live]:
        real = not self._catalog.stack(plan.scenario.stack).virtual_time
        if real and sys.stdout.isatty() and not self._args.plain and not self._args.quiet:
            return live_view(plan, folder, plain=False, quiet=False)
        return brief_view(quiet=self._args.quiet or not real)


def _stop(record: Record) -> tuple[str, int] | None:
    for event in record.of(Aborted):
        if event.by in BY_US:
            return event.because, 3 if event.by == "signal" else ABORTED
    return None


def report_for(file: str | None, catalog: Catalog) -> Report | None:
    """The report that a file's suffix asks for. Raises ``Usage`` for one that there is none of."""
    if not file:
        return None
    made = {(found := catalog.report(name)).suffix: found for name in catalog.reports.names()}
    report = made.get(Path(file).suffix)
    if report is None:
        raise Usage(f"--report {file}: the suffix should be one of {', '.join(sorted(made))}")
    if not Path(file).parent.is_dir():
        raise Usage(f"--report {file}: there is no folder {Path(file).parent}")
    return report


def write_report(file: str, analysis: Analysis, catalog: Catalog) -> None:
    """Write one report where somebody wants it. Raises ``Usage``."""
    render = report_for(file, catalog)
    assert render is not None
    try:
        Path(file).write_text(render(analysis), encoding="utf-8")
    except OSError as error:
        raise Usage(f"--report {file}: {error.strerror}") from None
