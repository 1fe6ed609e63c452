"""``gameday ablate``: a scenario without each of its defences, to learn which of them matter."""

import argparse
from collections.abc import Sequence

from harness.analyze.ablation import next_removal
from harness.capabilities import Ablatable
from harness.catalog import Catalog
from harness.cli import permit, sources
from harness.cli.course import Course, report_for
from harness.cli.errors import Usage
from harness.cli.heal import heal_orphans
from harness.cli.run import new_id, refused_now
from harness.cli.sources import Source
from harness.model.analysis import Verdict
from harness.model.study import Declared, Member, Removal, Study, listed

TRIES = 2
"""How often a real run is made that cannot tell, say because the machine was busy."""


def main(args: argparse.Namespace) -> int:
    """Run it whole, and then without; print the table, and judge it."""
    heal_orphans()
    policy, catalog = permit.policy_of(args.policy), Catalog()
    (path,) = sources.paths([args.scenario])
    source = sources.read(path, catalog, stack=args.stack, settings=args.set)
    report_for(args.report, catalog)
    stack = ablatable(source)
    study = study_of(source, stack, args.only)
    if (code := refused_now([source], policy, args.seed)) is not None:
        return code
    course = Course(study, args, policy, catalog)
    runs, tries = course.several.removals, 1 if source.stack().virtual_time else TRIES
    course.say(f"ablation of {source.scenario.name} on {source.scenario.stack}: {_asked(study)}")
    with course.interruptible():
        while (without := next_removal(study, runs, tries)) is not None:
            lacking = source.with_settings(stack.without(without)) if without else source
            if course.run(lacking, Member("", without), _words(without)) is None:
                break
            course.say(f"    {_came_to(runs[-1])}")
    return course.finish()


def ablatable(source: Source) -> Ablatable:
    """The scenario's stack, if it can be without its defences. Raises ``Usage``."""
    stack = source.stack()
    if not source.scenario.faults:
        raise Usage(f"{source.path}: it has no fault, so there is nothing to defend against")
    if not isinstance(stack, Ablatable):
        fit = [s for s in source.catalog.stacks.names()
               if issubclass(source.catalog.stack(s), Ablatable)]  # fmt: skip
        raise Usage(
            f"the stack {source.scenario.stack!r} cannot be without its defences; use --stack "
            f"with {' or '.join(fit)}"
        )
    return stack


def study_of(source: Source, stack: Ablatable, only: Sequence[str]) -> Study:
    """What is to be asked. Raises ``Usage`` for an ``only`` that no fault here declares."""
    declared = _declared(source, stack)
    known = [d.defence.name for d in declared]
    for name in only:
        if name not in known:
            raise Usage(f"--only {name!r}: no such defence here; there is {', '.join(known)}")
        if next(d for d in declared if d.defence.name == name).off:
            raise Usage(f"--only {name!r}: the stack's settings leave it out already")
    return Study(
        id=new_id(f"{source.scenario.name}-ablation"),
        kind="ablation",
        scenario=source.scenario.name,
        declared=declared,
        only=tuple(dict.fromkeys(only)),
    )


def _declared(source: Source, stack: Ablatable) -> tuple[Declared, ...]:
    """Every defence that a fault of the scenario declares, once, in that order."""
    found: dict[str, Declared] = {}
    for name in dict.fromkeys(step.fault for step in source.scenario.faults):
        for defence in source.catalog.fault(name).defences:
            faults = (*(found[defence.name].faults if defence.name in found else ()), name)
            first = found[defence.name].defence if defence.name in found else defence
            off = not stack.without([defence.name])
            found[defence.name] = Declared(first, faults, off)
    return tuple(found.values())


def _asked(study: Study) -> str:
    names = study.only or tuple(d.defence.name for d in study.declared if not d.off)
    return f"without {', '.join(names) or 'nothing: every defence is off already'}"


def _words(without: Sequence[str]) -> str:
    return f"without {listed(without)}" if without else "whole, with every defence in place"


def _came_to(run: Removal) -> str:
    word = run.verdict.name
    if run.unclear:
        return f"{word}: it cannot tell: {run.unclear}"
    if not run.without:
        return word if run.verdict is Verdict.PASS else run.headline
    if not run.fell:
        return f"{word}: nothing fell"
    return f"{word}; fell: {', '.join(f.check for f in run.fell)}"
