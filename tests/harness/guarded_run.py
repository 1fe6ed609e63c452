"""``python -m tests.harness.guarded_run '{...}'``: a run as the command makes it, on a tiny stack.

Only what takes long is replaced: the plan is made by hand, with no phases to wait for, and the
gate lets everything pass.
"""

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path

import numpy as np

from harness import parse
from harness.catalog import Catalog, Folder
from harness.cli import run, sources
from harness.cli.errors import explained
from harness.cli.run import Deadman, run_one
from harness.model.plan import Enter, Heal, Inject, Plan
from harness.run import play
from tests.conftest import ROOT

CATALOG = Catalog(
    faults=Folder("tests.plugins.faults", "fault"), stacks=Folder("tests.plugins.stacks", "stack")
)
SCENARIO = """\
name: tiny
why: To see what is left.
stack: filed
slo: flights
seed: 1
load: {arrivals: constant, rate: 100/s}
phases: {warmup: 10s, baseline: 25s, fault: 32s, recovery: 32s}
hold: 10s
faults:
  - spoil: {severity: 1}
    where: all part
    at: 1s
    for: 30s
expect:
  - no_alerts: {}
"""
SLO = (ROOT / "scenarios" / "slos" / "flights.yaml").read_text("utf-8")


class Handmade(sources.Source):
    """A source whose plan is written by hand."""

    def plan(self, topology, seed=None):
        asked = json.loads(sys.argv[1])
        steps = [Enter(0.0, "warmup")]
        for number, (at_s, way, nodes) in enumerate(asked["faults"], 1):
            steps.append(Inject(at_s, f"spoil-{number}", "spoil", {"way": way}, tuple(nodes)))
            steps.append(Heal(asked["ends_s"] - 0.1, f"spoil-{number}"))
        steps.sort(key=lambda step: step.at_s)
        due_ns = (np.arange(int(asked["ends_s"] * 50)) * 2e7).astype(np.int64)
        return Plan(self.scenario, self.slo, 1, due_ns, tuple(steps), asked["ends_s"], 10.0)


def elsewhere(ward_of, package, *given, **more):
    return dataclasses.replace(ward_of(*given, **more), plugins=(package, package))


def main():
    asked = json.loads(sys.argv[1])
    play.LOAD_READY_S = 0.1
    play.steady = lambda *_, **__: (True, "nobody looked")
    text = SCENARIO.replace("stack: filed", f"stack: {{filed: {json.dumps(asked['stack'])}}}")
    scenario = parse.scenario(text, CATALOG, source="tiny.yaml")
    slo = parse.slo(SLO, name="flights")
    source = Handmade(Path("tiny.yaml"), scenario, slo, SLO, CATALOG)
    args = argparse.Namespace(seed=1, out=asked["out"], plain=True, quiet=False)
    if "plugins" in asked:  # what the guardian will not find
        run.ward_of = functools.partial(elsewhere, run.ward_of, asked["plugins"])
    watch = Deadman(asked["lease_s"], asked["max_fault_s"], asked["on"])
    return explained(lambda _: run_one(source, args, watch).code, args)


if __name__ == "__main__":
    sys.exit(main())
