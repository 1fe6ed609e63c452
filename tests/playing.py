"""The whole line in one process, on virtual time: text to analysis."""

import asyncio
import dataclasses

from harness import parse, schema
from harness.cli.judge import judge
from harness.plan import plan
from harness.run import folder as folders
from harness.run.clocks import loop_factory
from harness.run.journal import FileJournal
from harness.run.runner import Header, Run
from tests.conftest import CATALOG, ROOT, read_scenario

SLOS = ROOT / "scenarios" / "slos"
SLO_TEXT = (SLOS / "flights.yaml").read_text("utf-8")


def play(path, parent, *, seed=None, run="run", change=None, **settings):
    """Run a scenario file on the simulated stack; return its folder and its record."""
    scenario = read_scenario(path, "simulated")
    settings = {**scenario.stack_params, **settings}
    scenario = dataclasses.replace(scenario, stack_params=settings)
    if change is not None:
        scenario = change(scenario)
    stack = schema.build(CATALOG.stack("simulated"), settings)
    slo_text = (SLOS / f"{scenario.slo}.yaml").read_text("utf-8")
    slo = parse.slo(slo_text, name=scenario.slo)
    planned = plan(scenario, slo, stack.topology(), seed=seed)
    folder = folders.create(run, parent)
    faults = CATALOG.load_faults({step.fault for step in scenario.faults})
    header = Header(run, slo_text, {"python": "3"}, {"cores": 2}, {"a": "b"})
    with (
        FileJournal(folder.events) as journal,
        asyncio.Runner(loop_factory=loop_factory(True)) as runner,
    ):
        runner.run(Run(planned, stack, faults, folder, journal, header).execute())
    return folder, folders.read(folder)


def judged(path, parent, **more):
    """Run and judge it."""
    return judge(play(path, parent, **more)[1], CATALOG)
