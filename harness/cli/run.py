"""``gameday run``: stand a stack up, break it on purpose, judge what happened, write the report."""

import argparse
import asyncio
import contextlib
import secrets
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness.catalog import Catalog
from harness.cli import sources
from harness.cli.judge import ABORTED, exit_code, judge
from harness.cli.live import Live, live_view
from harness.model.analysis import Analysis
from harness.protocols import Stack
from harness.run import facts
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.folder import Folder
from harness.run.journal import FileJournal
from harness.run.runner import Header, Run

REPORTS = ("html", "markdown")
_WORST = (0, 3, 1, 4)  # exit codes, least worrying first


def main(args: argparse.Namespace) -> int:
    """Run each scenario in turn; the exit code is the worst of theirs."""
    catalog = Catalog()
    read = [
        sources.read(path, catalog, stack=args.stack, settings=args.set)
        for path in sources.paths(args.scenario)
    ]
    for source in read:  # refuse all before the first is run
        source.check()
    ended = []
    for source in read:
        code, analysis = run_one(source, args)
        ended.append((source.scenario.name, code, analysis))
        if code == ABORTED and len(read) > 1:
            break
    if len(read) > 1:
        _summary(ended, len(read))
    return max((code for _, code, _ in ended), key=_WORST.index)


def run_one(source: sources.Source, args: argparse.Namespace) -> tuple[int, Analysis]:
    """Run one scenario, write its reports, and say what came of it."""
    stack = source.stack()
    plan = source.plan(stack.topology(), args.seed)
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run_id = f"{when}-{source.scenario.name}-{secrets.token_hex(2)}"
    folder = folders.create(run_id, Path(args.out) if args.out else None)
    folder.write("scenario.yaml", source.scenario.text)
    folder.write("slo.yaml", source.slo_text)
    with live_view(plan, folder, plain=args.plain, quiet=args.quiet) as view:
        error = _carry_out(source, plan_seed(args, source), stack, folder, view)
    record = folders.read(folder)
    analysis = judge(record, source.catalog)
    for name in REPORTS:
        render = source.catalog.report(name)
        folder.write(f"report{render.suffix}", render(analysis))
    code = exit_code(record, analysis)
    if args.quiet:
        print(f"{source.scenario.name}: {analysis.headline}")
    else:
        sys.stdout.write("\n" + source.catalog.report("text")(analysis))
        print(f"\nreport  {folder.path / 'report.html'}")
        print(f"record  {folder.path}")
    if error is not None:
        print(f"gameday: {error}", file=sys.stderr)
    return code, analysis


def plan_seed(args: argparse.Namespace, source: sources.Source) -> int:
    """The seed asked for, or the scenario's own."""
    return source.scenario.seed if args.seed is None else int(args.seed)


def _carry_out(
    source: sources.Source, seed: int, stack: Stack, folder: Folder, view: Live
) -> str | None:
    """Run it to its end; return what broke, in words, if something did."""
    import json

    plan = source.plan(stack.topology(), seed)
    folder.write("plan.json", json.dumps(plan.summary(), indent=2) + "\n")
    names = {step.fault for step in source.scenario.faults}
    catalog = source.catalog
    files = [catalog.faults.source(name) for name in names]
    header = Header(
        folder.run,
        source.slo_text,
        facts.versions(),
        facts.machine(),
        facts.digests([*files, catalog.stacks.source(source.scenario.stack)]),
    )
    with FileJournal(folder.events, view.event) as journal:
        run = Run(
            plan,
            stack,
            catalog.load_faults(names),
            folder,
            journal,
            header,
            watch=view.second,
            say=view.say,
        )
        with asyncio.Runner(loop_factory=loop_factory(stack.virtual_time)) as runner:
            try:
                runner.run(_heeding_signals(run, stack, view))
            except Exception as error:
                return str(error) or type(error).__name__
    return None


async def _heeding_signals(run: Run, stack: Stack, view: Live) -> None:
    """Treat every polite way of being told to stop alike: heal, take down, finish the record."""
    if stack.virtual_time:
        await run.execute()
        return
    with _signals(run, view):
        await run.execute()


@contextlib.contextmanager
def _signals(run: Run, view: Live) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    asked = 0

    def stop(name: str) -> None:
        nonlocal asked
        asked += 1
        view.say("healing and taking everything down" + (", please wait" if asked > 1 else ""))
        run.stop(f"stopped by {name}")

    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in caught:
        loop.add_signal_handler(number, stop, number.name)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _summary(ended: list[tuple[str, int, Analysis]], count: int) -> None:
    print("\nscenario                  verdict   what happened")
    for name, code, analysis in ended:
        word = "ABORTED" if code == ABORTED else analysis.verdict.name
        print(f"{name:25} {word:9} {analysis.headline}")
    if len(ended) < count:
        print(f"{count - len(ended)} not run, because the one before was aborted for safety")
