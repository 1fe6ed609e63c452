"""``gameday run``: stand a stack up, break it on purpose, judge what happened, write the report."""

import argparse
import asyncio
import contextlib
import importlib
import json
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.attach import Target, target
from harness.cli.errors import Usage
from harness.cli.heal import heal_orphans
from harness.cli.judge import ABORTED, exit_code, judge
from harness.cli.live import Live, live_view
from harness.model.analysis import Analysis
from harness.model.policy import Policy
from harness.protocols import Journal
from harness.run import facts, halt
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


def main(args: argparse.Namespace) -> int:
    """Run each scenario in turn; the exit code is the worst of theirs."""
    heal_orphans()
    if (why := halt.halted(folders.home())) is not None:
        return _not_now(f"nothing runs on this machine: {why}")
    policy = permit.policy_of(args.policy)
    catalog = Catalog()
    read = [
        sources.read(path, catalog, stack=args.stack, settings=args.set)
        for path in sources.paths(args.scenario)
    ]
    for source in read:  # refuse all before the first is run
        source.check()
        if reasons := permit.refused(source, policy, args.seed):
            raise Usage(f"{source.path}: {'; '.join(reasons)}")
        if (closed := permit.closed_now(source, policy)) is not None:
            skipped = policy.on_blocked == "skip"
            return _not_now(f"{source.path}: {closed}", 0 if skipped else ABORTED)
    ended = []
    for source in read:
        code, analysis = run_one(source, args, policy=policy)
        ended.append((source.scenario.name, code, analysis))
        if code == ABORTED and len(read) > 1:
            break
    if len(read) > 1:
        _summary(ended, len(read))
    return max((code for _, code, _ in ended), key=_WORST.index)


def run_one(
    source: sources.Source,
    args: argparse.Namespace,
    watch: Deadman | None = None,
    policy: Policy | None = None,
) -> tuple[int, Analysis]:
    """Run one scenario, write its reports, and say what came of it."""
    policy = policy or Policy()
    watch = watch or Deadman(max_fault_s=policy.max_fault_s)
    with target(source, attach=getattr(args, "attach", False)) as on:
        return _run_on(on, source, args, watch, policy)


def _run_on(
    on: Target, source: sources.Source, args: argparse.Namespace, watch: Deadman, policy: Policy
) -> tuple[int, Analysis]:
    stack = on.stack
    plan = source.plan(stack.topology(), args.seed)
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    run_id = f"{when}-{source.scenario.name}-{secrets.token_hex(3)}"
    folder = folders.create(run_id, Path(args.out) if args.out else None)
    folder.write("scenario.yaml", source.scenario.text)
    folder.write("slo.yaml", source.slo_text)
    if on.state is not None:
        (folder.stack / ATTACHED).write_text(f"{on.state}\n", "utf-8")
    with live_view(plan, folder, plain=args.plain, quiet=args.quiet) as view:
        seed = plan_seed(args, source)
        error = _carry_out(source, seed, on, folder, view, watch, policy)
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
        return str(error) or type(error).__name__
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


def _not_now(why: str, code: int = ABORTED) -> int:
    print(f"gameday: {why}", file=sys.stderr)
    return code


def _summary(ended: list[tuple[str, int, Analysis]], count: int) -> None:
    print("\nscenario                  verdict   what happened")
    for name, code, analysis in ended:
        word = "ABORTED" if code == ABORTED else analysis.verdict.name
        print(f"{name:25} {word:9} {analysis.headline}")
    if len(ended) < count:
        print(f"{count - len(ended)} not run, because the one before was aborted for safety")
