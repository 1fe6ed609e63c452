"""What the command line says, and which module carries it out."""

import argparse
import importlib

EXIT_CODES = """exit codes:
  0  pass
  1  fail
  2  the scenario or the call is wrong
  3  unknown: the run could not tell, which is never a pass
  4  aborted for safety
"""

ABLATE = """\
The scenario is run whole, which it must pass; then once without each defence that its faults
declare, once without pairs of those that nobody missed, and once without any of them. Nothing is
switched off by a hook or while it runs: each time the stack is stood up with other settings of its
ordinary configuration, which `gameday run --set` can choose as well.

  load-bearing  an indicator, the time to mitigate or recover, or the time to an expected alert no
                longer passes without it
  redundant     nothing falls without it, but without it and the one that covers for it
  idle          nothing falls either way

Each run is kept, with a report of its own. Ctrl-C heals, and says what was found so far.

exit codes:
  0  two or more are load-bearing, and without all of them it fails (with --only: each one named is
     load-bearing, or redundant with proof)
  1  that is not so
  2  the scenario or the call is wrong
  3  unknown: it does not pass whole, or a run could not tell
  4  aborted for safety
"""
SEVERITY = """\
With --severity the exit code is that of the sweep: 0 when every severity bit, every trial counts
and each expected alert saw one of them at least; 1 when an expected alert saw none; 3 when a run
could not tell. What the scenario expects is meant for its own severity: it is shown for each, and
decides nothing.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.verb is None:
        parser.print_help()
        return 2
    from harness.cli.errors import explained

    module = importlib.import_module(f"harness.cli.{args.module}")
    code: int = explained(module.main, args)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gameday",
        description="Game days for ML serving: break a real stack on purpose, and measure how long "
        "it takes to detect, mitigate and recover.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    _run_verbs(verbs)
    _look_verbs(verbs)
    _stack_verb(verbs)
    return parser


def _add(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    verb: str,
    words: str,
    module: str | None = None,
) -> argparse.ArgumentParser:
    sub = verbs.add_parser(verb, help=words, description=words)
    sub.set_defaults(module=module or verb)
    return sub


def _run_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = _add(verbs, "run", "run scenarios and judge them")
    plan = _add(verbs, "plan", "print what a run would do, and do nothing")
    check = _add(
        verbs, "check", "validate scenarios: syntax, names, and phases long enough to judge"
    )
    ablate = _add(
        verbs, "ablate", "run a scenario without each of its defences, and say which matter"
    )
    for sub in (run, plan, check, ablate):
        many = sub in (run, check)
        sub.add_argument(
            "scenario",
            nargs="+" if many else None,
            metavar="SCENARIO",
            help="a scenario file" + (", or a folder of them" if many else ""),
        )
        sub.add_argument("--stack", metavar="NAME", help="play it on another stack")
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="an ordinary setting of the stack, as in the scenario's `stack:`; a list is "
            "written a,b and an empty one none",
        )
        sub.add_argument(
            "--policy",
            metavar="FILE",
            help="what may be broken here; else policy.yaml where runs are kept, else "
            "/etc/gameday/policy.yaml; `gameday docs policy` prints one to edit",
        )
    plan.add_argument("--json", action="store_true", help="for machines, arrivals as a digest")
    for sub in (run, plan, ablate):
        sub.add_argument("--seed", type=int, help="roll the dice from this seed instead")
    run.add_argument(
        "--attach",
        action="store_true",
        help="play on the stack that `gameday stack up` left running; it is healed, and never "
        "taken down",
    )
    for sub in (run, ablate):
        sub.add_argument("--out", metavar="FOLDER", help="where to make the folder of each run")
        sub.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
        sub.add_argument("--quiet", action="store_true", help="only the verdict")
        sub.add_argument(
            "--report",
            metavar="FILE",
            help="also write the table there; the suffix says how: .html, .md, .json, .xml "
            "(JUnit), .txt",
        )
    _study_options(run, ablate)


def _study_options(run: argparse.ArgumentParser, ablate: argparse.ArgumentParser) -> None:
    for sub, epilog in ((run, SEVERITY), (ablate, ABLATE)):
        sub.epilog, sub.formatter_class = epilog, argparse.RawDescriptionHelpFormatter
    run.add_argument(
        "--severity",
        type=_severities,
        default=(),
        metavar="N..M",
        help="a sweep: run it once at each of these severities (1..5, or 2,4, or 3) instead of its "
        "own, and say for each alert the smallest that it can see",
    )
    ablate.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="DEFENCE",
        help="leave out only this one, as `gameday faults NAME` calls it ('alert FeatureMissing'); "
        "may be given again",
    )


def _severities(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        edges = [first, last] if dots else [first]
        if not all(edge.strip() in "12345" and edge.strip() for edge in edges):
            raise argparse.ArgumentTypeError(f"{text!r} should be like 1..5, 2,4 or 3")
        found |= set(range(int(edges[0]), int(edges[-1]) + 1))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no severity; write the smaller one first")
    return tuple(sorted(found))


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number of 1 or more")
    return int(text)


def _look_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    faults = _add(verbs, "faults", "list the faults, or describe one")
    faults.add_argument("name", nargs="?", metavar="NAME")
    report = _add(verbs, "report", "judge a run again from its record alone, and report it")
    report.add_argument(
        "run", metavar="RUN", help="the id or folder of a run, an ablation or a sweep, or 'last'"
    )
    report.add_argument(
        "--format",
        default="text",
        metavar="NAME",
        help="text (default), html, markdown, json, junit",
    )
    report.add_argument("--out", metavar="FILE", help="write it there instead of to the terminal")
    runs = _add(verbs, "runs", "list the runs on this machine, newest first")
    runs.add_argument("--last", type=_count, default=20, metavar="N", help="at most N (default 20)")
    heal = _add(verbs, "heal", "finish the job of a dead run: heal its faults, take its stack down")
    heal.add_argument("run", nargs="?", metavar="RUN", help="only this run (default: every one)")
    heal.add_argument(
        "--force", action="store_true", help="even if it is running: it is fenced off first"
    )
    verify = _add(verbs, "verify", "check that no line of an audit trail was changed")
    verify.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="a run's id or folder, 'last', or the file of a trail (default: of halt and resume)",
    )
    new = _add(verbs, "new", "write a scenario to edit")
    new.add_argument("name", metavar="NAME", help="its name; the file is NAME.yaml")
    new.add_argument("--fault", default="drop_features", metavar="FAULT", help="which fault to use")
    halt = _add(verbs, "halt", "stop every run on this machine; none begins until `gameday resume`")
    resume = _add(verbs, "resume", "let runs begin again after `gameday halt`")
    for sub in (halt, resume):
        sub.add_argument("--reason", default="", metavar="TEXT", help="for the audit trail")
    docs = _add(
        verbs, "docs", "print the fault catalogue, the JSON Schema of scenarios, or a policy file"
    )
    docs.add_argument("what", choices=("faults", "schema", "policy"))


def _stack_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    stack = _add(verbs, "stack", "stand up a stack and leave it running, look at it, take it down")
    actions = stack.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, words in (
        ("up", "stand one up, print its addresses, leave it running"),
        ("status", "say what runs"),
        ("down", "take it down"),
        ("do", "have its control plane do something, by hand; without ACTION: say what there is"),
        ("tickets", "list what it wants people to look into, show one ticket, or close it"),
    ):
        sub = actions.add_parser(action, help=words, description=words)
        sub.add_argument("--name", default="local", metavar="NAME", help="which stack (local)")
        if action in ("do", "tickets"):
            _operate_options(sub, action)
        if action == "up":
            sub.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help="an ordinary setting of the stack",
            )


def _operate_options(sub: argparse.ArgumentParser, action: str) -> None:
    sub.add_argument(
        "--run", metavar="RUN", help="the stack of a run that runs: its id or folder, or 'last'"
    )
    sub.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit trail")
    if action == "do":
        sub.add_argument("what", nargs="?", metavar="ACTION", help="what to do")
        sub.add_argument("--target", default="", metavar="NAME", help="what to do it to")
        sub.add_argument("--undo", action="store_true", help="take it back instead")
    else:
        sub.add_argument("ticket", nargs="?", metavar="TICKET", help="show all of this one")
        sub.add_argument("--close", metavar="TICKET", help="close this one; needs --reason")
