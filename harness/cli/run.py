"""``gameday run``: stand a stack up, break it on purpose, judge what happened, write the report."""

import argparse
import asyncio
import contextlib
import importlib
import json
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from harness.catalog import Catalog
from harness.cli import permit, sources, summary
from harness.cli.attach import Target, target
from harness.cli.errors import Usage, in_words
from harness.cli.heal import heal_orphans
from harness.cli.judge import ABORTED, Judged, exit_code, judged
from harness.cli.live import Live, live_view
from harness.model.analysis import Analysis
from harness.model.events import Aborted
from harness.model.plan import Plan
from harness.model.policy import Policy
from harness.model.record import Record
from harness.protocols import Journal
from harness.run import ballast, facts, halt
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.folder import Folder
from harness.run.journal import FileJournal
from harness.run.lifeline import Guardian, Lifeline, Unguarded, marking
from harness.run.runner import Header, Run
from harness.run.safety import Safety
from harness.run.ward import ATTACHED, LEASE_S, MAX_FAULT_S, Ward, enlist, ward_of

REPORTS = ("html", "markdown", "json")
SLOW = ("aiohttp.web", "numpy", "harness.run.load.driver")
"""Loaded before the guardian listens: a loop that is busy loading does not renew its lease."""
_WORST = (0, 3, 1, 4)  # exit codes, least worrying first


@dataclass(frozen=True, slots=True)
class Deadman:
    """How a run is watched over. ``on`` is false only where a test shows what that leaves behind.

    ``lease_s``: how long the harness may be silent; ``max_fault_s``: how long a fault may last.
    """

    lease_s: float = LEASE_S
    max_fault_s: float = MAX_FAULT_S
    on: bool = True


@dataclass(frozen=True)
class Ended:
    """A run that is over, judged and reported. ``took_s``: by the clock on the wall."""

    folder: Folder
    record: Record
    judged: Judged
    code: int
    took_s: float

    @property
    def analysis(self) -> Analysis:
        """What came of it."""
        return self.judged.analysis


View = Callable[[Plan, Folder], contextlib.AbstractContextManager[Live]]


def main(args: argparse.Namespace) -> int:
    """Run each scenario in turn; the exit code is the worst of theirs."""
    heal_orphans()
    policy = permit.policy_of(args.policy)
    catalog = Catalog()
    read = [
        sources.read(path, catalog, stack=args.stack, settings=args.set)
        for path in sources.paths(args.scenario)
    ]
    if (code := refused_now(read, policy, args.seed)) is not None:
        return code
    from harness.cli import course, sweep  # which need this module whole

    if args.severity:
        return sweep.main(read, args, policy)
    if args.report:
        if len(read) > 1:
            raise Usage("--report covers one run; name one scenario, or use `gameday report`")
        course.report_for(args.report, catalog)
    ended = []
    for number, source in enumerate(read, 1):
        if len(read) > 1 and not args.quiet:
            print(f"\n[{number}/{len(read)}] {source.scenario.name}", flush=True)
        began_s = time.monotonic()
        one = run_one(source, args, policy=policy)
        ended.append(summary.Line(one.analysis, one.code, time.monotonic() - began_s))
        if one.code == ABORTED or _stopped(one.record):
            break
    if args.report:
        course.write_report(args.report, ended[0].analysis, catalog)
    if len(read) > 1:
        print("\n" + "\n".join(summary.table(ended, len(read))))
    return worst(line.code for line in ended)


def worst(codes: Iterable[int]) -> int:
    """The most worrying of several exit codes."""
    return max(codes, key=_WORST.index, default=0)


def refused_now(
    read: Sequence[sources.Source], policy: Policy, seed: int | None = None
) -> int | None:
    """Refuse all before the first is run: raises for one that is wrong, and gives the exit code
    when nothing may run now.
    """
    if (why := halt.halted(folders.home())) is not None:
        return not_now(f"nothing runs on this machine: {why}")
    for source in read:
        source.check()
        if reasons := permit.refused(source, policy, seed):
            raise Usage(f"{source.path}: {'; '.join(reasons)}")
        if (closed := permit.closed_now(source, policy)) is not None:
            skipped = policy.on_blocked == "skip"
            return not_now(f"{source.path}: {closed}", 0 if skipped else ABORTED)
    return None


def run_one(
    source: sources.Source,
    args: argparse.Namespace,
    watch: Deadman | None = None,
    policy: Policy | None = None,
) -> Ended:
    """Run one scenario, write its reports, and say what came of it."""

    def view(plan: Plan, folder: Folder) -> contextlib.AbstractContextManager[Live]:
        return live_view(plan, folder, plain=args.plain, quiet=args.quiet)

    ended = carry(source, args, view, watch, policy)
    if args.quiet:
        print(f"{source.scenario.name}: {ended.analysis.headline}", flush=True)
    else:
        sys.stdout.write("\n" + source.catalog.report("text")(ended.analysis))
        print(f"\nreport  {ended.folder.path / 'report.html'}")
        print(f"record  {ended.folder.path}", flush=True)
    return ended


def _stopped(record: Record) -> bool:
    """Whether somebody told the run to stop, by which they meant all of it."""
    return any(event.by == "signal" for event in record.of(Aborted))


def carry(
    source: sources.Source,
    args: argparse.Namespace,
    view: View,
    watch: Deadman | None = None,
    policy: Policy | None = None,
) -> Ended:
    """Run one scenario to its end, judge it and write its reports; ``view`` shows it meanwhile."""
    policy = policy or Policy()
    watch = watch or Deadman(max_fault_s=policy.max_fault_s)
    with target(source, attach=getattr(args, "attach", False)) as on:
        return _run_on(on, source, args, view, watch, policy)


def _run_on(
    on: Target,
    source: sources.Source,
    args: argparse.Namespace,
    view: View,
    watch: Deadman,
    policy: Policy,
) -> Ended:
    began_s = time.monotonic()
    stack = on.stack
    plan = source.plan(stack.topology(), args.seed)
    folder = folders.create(new_id(source.scenario.name), Path(args.out) if args.out else None)
    folder.write("scenario.yaml", source.scenario.text)
    folder.write("slo.yaml", source.slo_text)
    if on.state is not None:
        (folder.stack / ATTACHED).write_text(f"{on.state}\n", "utf-8")
    with view(plan, folder) as shown:
        error = _carry_out(source, plan_seed(args, source), on, folder, shown, watch, policy)
    record = folders.read(folder)
    found = judged(record, source.catalog)
    write_reports(found.analysis, folder.path, source.catalog)
    if error is not None:
        print(f"gameday: {error}", file=sys.stderr, flush=True)
    code = exit_code(record, found.analysis)
    return Ended(folder, record, found, code, time.monotonic() - began_s)


def new_id(name: str) -> str:
    """An id that no run has had: when, what, and a few dice."""
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{when}-{name}-{secrets.token_hex(3)}"


def write_reports(analysis: Analysis, path: Path, catalog: Catalog) -> None:
    """Write those that everybody wants into a folder."""
    for name in REPORTS:
        render = catalog.report(name)
        (path / f"report{render.suffix}").write_text(render(analysis), encoding="utf-8")


def plan_seed(args: argparse.Namespace, source: sources.Source) -> int:
    """The seed asked for, or the scenario's own."""
    return source.scenario.seed if args.seed is None else int(args.seed)


def _carry_out(
    source: sources.Source,
    seed: int,
    on: Target,
    folder: Folder,
    view: Live,
    watch: Deadman,
    policy: Policy,
) -> str | None:
    """Run it to its end; return what broke, in words, if something did."""
    stack = on.stack
    plan = source.plan(stack.topology(), seed)
    folder.write("plan.json", json.dumps(plan.summary(), indent=2) + "\n")
    names = sorted({step.fault for step in source.scenario.faults})
    catalog = source.catalog
    faults = catalog.load_faults(names)
    header = _header(source, folder, names)
    stopping = _Stopping(view)

    async def execute(journal: Journal, lifeline: Lifeline) -> None:
        run = Run(
            plan,
            stack,
            faults,
            folder,
            journal,
            header,
            watch=view.second,
            say=view.say,
            lifeline=lifeline,
            safety=Safety(plan, stack, faults, policy, folders.home()),
            owns_stack=on.state is None,
        )
        stopping.run = run
        if not stack.virtual_time and (why := halt.halted(folders.home())) is not None:
            run.stop(why, "halt")  # thrown since we asked, and before we could be seen to run
        await run.execute()

    if not stack.virtual_time:
        ballast.lay(folder.path)
    limits = {"lease_s": watch.lease_s, "max_fault_s": watch.max_fault_s}
    ward = ward_of(folder, source.scenario.stack, catalog, tuple(names), on.state, **limits)
    try:
        with (
            FileJournal(folder.events, view.event) as journal,
            asyncio.Runner(loop_factory=loop_factory(stack.virtual_time)) as runner,
        ):
            if stack.virtual_time:
                runner.run(execute(journal, Unguarded()))
            else:
                runner.run(_watched(ward, watch, stopping, lambda line: execute(journal, line)))
    except Exception as error:
        if not folder.events.exists() or not folder.events.stat().st_size:
            raise  # it never began, so there is nothing to judge
        return in_words(error)
    return None


def _header(source: sources.Source, folder: Folder, names: Iterable[str]) -> Header:
    catalog = source.catalog
    files = [catalog.faults.source(name) for name in names]
    return Header(
        folder.run,
        source.slo_text,
        facts.versions(),
        facts.machine(),
        facts.digests([*files, catalog.stacks.source(source.scenario.stack)]),
    )


async def _watched(
    ward: Ward,
    watch: Deadman,
    stopping: "_Stopping",
    execute: Callable[[Lifeline], Awaitable[None]],
) -> None:
    """Everything that outlives a dead process: with signals heeded, marked, and guarded."""
    for slow in SLOW:
        importlib.import_module(slow)
    with stopping, marking(ward):
        if not watch.on:
            await execute(Unguarded())
            return
        async with Guardian(ward, enlist(ward)) as guardian:
            await execute(guardian)


class _Stopping:
    """Treats every polite way of being told to stop alike: heal, take down, finish the record."""

    CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, view: Live) -> None:
        self._view = view
        self._asked: list[str] = []
        self._run: Run | None = None

    @property
    def run(self) -> Run | None:
        """The run to stop; one that was to stop before it began is told so at once."""
        return self._run

    @run.setter
    def run(self, run: Run) -> None:
        self._run = run
        for name in self._asked:
            run.stop(*_meant(name))

    def __enter__(self) -> Self:
        for number in self.CAUGHT:
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number.name)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.CAUGHT:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _stop(self, name: str) -> None:
        self._asked.append(name)
        if self._run is not None:
            self._run.stop(*_meant(name))
        # A terminal that hung up cannot be written to.
        with contextlib.suppress(OSError):
            again = ", please wait" if len(self._asked) > 1 else ""
            self._view.say(f"healing and taking everything down{again}")


def _meant(name: str) -> tuple[str, str]:
    """Tell a person's signal from that of the kill switch, which is thrown before it signals."""
    why = halt.halted(folders.home())
    return (f"stopped by {name}", "signal") if why is None else (why, "halt")


def not_now(why: str, code: int = ABORTED) -> int:
    """Say why nothing is run."""
    print(f"gameday: {why}", file=sys.stderr)
    return code
