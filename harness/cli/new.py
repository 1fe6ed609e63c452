"""``gameday new``: a scenario that runs as it is, with every key explained, for people to edit."""

import argparse
import re
from pathlib import Path

from harness.catalog import Catalog
from harness.cli.errors import Usage

NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
TEMPLATE = """\
# What question does this ask? Run it with `gameday run {name}.yaml`; check it with `gameday check`.
name: {name}
why: Say here what you fear, and what good would look like.
stack: local            # or `simulated`: the same scenario on virtual time, in about two seconds
slo: flights            # a file slos/flights.yaml beside this one, or the one that is shipped
seed: 1                 # every die of the run is rolled from it
load: {{arrivals: poisson, rate: 120/s}}
phases: {{warmup: 10s, baseline: 25s, fault: 32s, recovery: 32s}}
hold: 10s               # how long a state must last to be believed
faults:
  - {fault}: {{severity: 5}}   # 1 (mildest) to 5; `gameday faults {fault}` says what each means
    where: {where}
    at: 1s              # after the fault phase begins
    for: 30s
expect:                 # every line is a check; no data is never a pass
  - detected: {{within: 10s, by: {{alertname: FeatureMissing}}}}
  - mitigated: {{within: 20s}}
  - recovered: {{within: 50s}}
  - overall: {{sli: success_ratio, at_least: 99%, during: fault}}
"""


def main(args: argparse.Namespace) -> int:
    """Write it; never over an existing file."""
    catalog = Catalog()
    catalog.fault(args.fault)
    name = args.name.removesuffix(".yaml")
    if not NAME.fullmatch(name):
        raise Usage(f"{name!r} should be letters, digits, '_' and '-' alone; it is written here")
    path = Path(f"{name}.yaml")
    text = TEMPLATE.format(name=path.stem, fault=args.fault, where="all feed")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Usage(f"{path} is there already; choose another name") from None
    print(f"{path}: edit it, then `gameday check {path}` and `gameday run {path}`")
    return 0
