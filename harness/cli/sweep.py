"""``gameday run --severity 1..5``: each severity once, to learn how small a fault can be seen."""

import argparse
import io
from collections.abc import Mapping, Sequence
from typing import Any

from harness.capabilities import Ablatable
from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.course import Course, report_for
from harness.cli.errors import Usage
from harness.cli.run import new_id, worst
from harness.cli.sources import Source
from harness.model.policy import Policy
from harness.model.study import Member, Rung, Study

ALERT = "alert "


def main(read: Sequence[Source], args: argparse.Namespace, policy: Policy) -> int:
    """Sweep each scenario that breaks something; the exit code is the worst of the sweeps'."""
    swept = [source for source in read if source.scenario.faults]
    if not swept:
        raise Usage("--severity: there is no fault in it, so there is nothing to be more or less")
    if args.report and len(swept) > 1:
        raise Usage("--report covers one sweep; name one scenario")
    catalog = swept[0].catalog
    report_for(args.report, catalog)
    codes = []
    for source in swept:
        codes.append(sweep(source, args, policy, catalog))
        if codes[-1] == 4:
            break
    for source in read:
        if not source.scenario.faults and not args.quiet:
            print(f"{source.scenario.name}: not swept, for it has no fault")
    return worst(codes)


def sweep(source: Source, args: argparse.Namespace, policy: Policy, catalog: Catalog) -> int:
    """Run one scenario at each severity; print the table, and judge it."""
    name = source.scenario.name
    rungs = [(n, at_severity(source, n, args)) for n in args.severity]
    for severity, harder in rungs:  # refuse before the first
        if reasons := permit.refused(harder, policy, args.seed):
            raise Usage(f"{source.path}, severity {severity}: {'; '.join(reasons)}")
    course = Course(_study(source, args.severity), args, policy, catalog)
    course.say(f"sweep of {name} on {source.scenario.stack}: severities {_list(args.severity)}")
    with course.interruptible():
        for severity, harder in rungs:
            ended = course.run(harder, Member("", severity=severity), f"severity {severity}")
            if ended is None:
                break
            course.say(f"    {_came_to(course.several.rungs[-1])}")
    return course.finish()


def _study(source: Source, severities: Sequence[int]) -> Study:
    stack = source.stack()
    known = stack.switches() if isinstance(stack, Ablatable) else ()
    return Study(
        id=new_id(f"{source.scenario.name}-sweep"),
        kind="sweep",
        scenario=source.scenario.name,
        severities=tuple(severities),
        monitors=tuple(n.removeprefix(ALERT) for n in known if n.startswith(ALERT)),
    )


def at_severity(source: Source, severity: int, args: argparse.Namespace) -> Source:
    """The same scenario with each of its faults at this severity."""
    text = with_severity(source.scenario.text, severity, source.catalog)
    changed = sources.read(
        source.path, source.catalog, stack=args.stack, settings=args.set, text=text
    )
    changed.check()
    return changed


def with_severity(text: str, severity: int, catalog: Catalog) -> str:
    """Write a severity into each fault of a scenario, in the place of what a severity sets; the
    rest of the text, comments too, stays, so that the record says what was run.
    """
    from ruamel.yaml import YAML

    # Keeps comments and constructs no objects; the text has passed the bounded parser already.
    round_trip = YAML(typ="rt", pure=True)
    round_trip.width = 10_000
    document: Any = round_trip.load(text)
    for step in document["faults"]:
        for name in set(step) - {"where", "at", "for"}:
            step[name] = _params(step[name], severity, catalog.fault(name).severities)
    out = io.StringIO()
    round_trip.dump(document, out)
    return out.getvalue()


def _params(
    given: Mapping[str, object] | None, severity: int, severities: Sequence[Mapping[str, object]]
) -> dict[str, object]:
    set_by_it = {key for params in severities for key in params}
    kept = {k: v for k, v in (given or {}).items() if k != "severity" and k not in set_by_it}
    return {"severity": severity, **kept}


def _came_to(rung: Rung) -> str:
    bit = "it bit" if rung.bit.name == "PASS" else f"not known to have bitten: {rung.because}"
    return f"{rung.verdict.name}; {bit}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
