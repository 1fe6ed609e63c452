"""For CI: one test case for each finding, and one for the verdict itself.

There is no specification, so this keeps to what Jenkins, GitLab and GitHub agree on. GitLab shows
``classname`` as the suite, ignores the ``message`` attribute and drops cases with equal names: so
the message is also in the element's text and names are made unique. Unknown is an error: not a
pass, and not a skip, which some servers paint green.
"""

from collections import Counter
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from harness import Analysis, Finding, Verdict, report
from reports._tables import STANDING, defence_rows
from reports._words import WORD, clean, durations, spell_interval


@report(suffix=".xml")
def junit(analysis: Analysis) -> str:
    """Unknown becomes an error, fail a failure. A run without findings is never an empty pass."""
    overall = Finding("verdict", analysis.verdict, analysis.headline or WORD[analysis.verdict])
    named = list(_unique((overall, *analysis.findings)))
    kind = ".ablation" if analysis.ablation else ".sweep" if analysis.sweep else ""
    name = f"gameday.{_dotless(analysis.stack)}.{_dotless(analysis.scenario)}{kind}"
    count = Counter(finding.verdict for _, finding in named)
    totals = (
        f'tests="{len(named)}" failures="{count[Verdict.FAIL]}" '
        f'errors="{count[Verdict.UNKNOWN]}" skipped="0" time="{max(analysis.end_s, 0.0):.3f}"'
    )
    suite = f"name={_quoted(name)} {totals} timestamp={_quoted(analysis.started_utc)}"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="gameday" {totals}>',
        f"  <testsuite {suite}>",
        "    <properties>",
        *(
            f"      <property name={_quoted(key)} value={_quoted(value)}/>"
            for key, value in _properties(analysis)
        ),
        "    </properties>",
        *(line for case, finding in named for line in _case(name, case, finding)),
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: object) -> str:
    return quoteattr(clean(text))


def _dotless(text: str) -> str:
    """A dot would begin another level of the class name."""
    return clean(text).replace(".", "_")


def _unique(findings: Iterable[Finding]) -> Iterable[tuple[str, Finding]]:
    seen: set[str] = set()
    for finding in findings:
        name, n = clean(finding.check), 1
        while name in seen:
            n += 1
            name = f"{clean(finding.check)} ({n})"
        seen.add(name)
        yield name, finding


def _case(suite: str, name: str, finding: Finding) -> list[str]:
    head = f'    <testcase classname={_quoted(suite)} name={_quoted(name)} time="0"'
    tag = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.UNKNOWN: "error"}[finding.verdict]
    if not tag:
        return [f"{head}><system-out>{escape(clean(finding.because))}</system-out></testcase>"]
    message, word = clean(finding.because), WORD[finding.verdict]
    inside = f"<{tag} type={quoteattr(word)} message={quoteattr(message)}>{escape(message)}</{tag}>"
    return [f"{head}>", f"      {inside}", "    </testcase>"]


def _properties(analysis: Analysis) -> Iterable[tuple[str, str]]:
    yield "run", analysis.run
    yield "stack", analysis.stack
    yield "seed", str(analysis.seed)
    yield "verdict", WORD[analysis.verdict]
    for incident in analysis.incidents:
        yield f"{incident.fault_id} outcome", incident.outcome
        for d in durations(incident):
            span = "" if d.from_inject is None else f" ({spell_interval(d.from_inject)})"
            yield f"{incident.fault_id} {d.short}", d.spell(d.from_inject) + span
    if analysis.ablation is not None:
        for row in defence_rows(analysis.ablation):
            yield f"defence {row.name}", f"{STANDING[row.standing]}: {row.because}"
    if analysis.sweep is not None:
        for monitor in analysis.sweep.monitors:
            yield f"smallest severity {monitor.alert} {monitor.fault_id}", monitor.said
