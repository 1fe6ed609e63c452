"""The one sentence that is read aloud: the verdict, and what came of it, as an SRE would say it."""

from collections.abc import Sequence

from harness.model.analysis import Estimate, Finding, Incident, Verdict


def headline(
    verdict: Verdict, incidents: Sequence[Incident], findings: Sequence[Finding], placebo: bool
) -> str:
    """Write the sentence. What decided the verdict is named unless the story already says it."""
    quiet = any(f.check.startswith("no alerts") and f.verdict is Verdict.PASS for f in findings)
    story = _story(incidents, placebo, quiet)
    worst = [f for f in findings if f.verdict is verdict]
    worst.sort(key=lambda f: f.check != "not aborted")  # it explains the others
    if verdict is Verdict.PASS or not worst:
        return f"{verdict.name}: {story}"
    told = verdict is Verdict.FAIL and any(_told(f, incidents) for f in worst)
    if told:
        return f"{verdict.name}: {story}"
    reason = f"{worst[0].check}: {worst[0].because}"
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    return f"{verdict.name}: {story}; {reason}{more}"


def _story(incidents: Sequence[Incident], placebo: bool, quiet: bool) -> str:
    if not incidents:
        if placebo:
            return f"nothing was broken{', and no alert fired' if quiet else ''}"
        return "no fault was injected"
    if len(incidents) == 1:
        return _told_of(incidents[0])
    return "; ".join(f"{i.fault_id} {_told_of(i)}" for i in incidents)


def _told_of(incident: Incident) -> str:
    match incident.outcome:
        case "invalid":
            return "the trial does not count"
        case "absorbed":
            seen = _took(incident.ttd, "detected")
            return f"absorbed without harm to users, {seen}"
        case "aborted":
            return f"aborted, {_took(incident.ttd, 'detected')}"
        case _:
            pass
    detected, recovered = _took(incident.ttd, "detected"), _took(incident.ttr, "recovered")
    return f"{detected}, {_mitigated(incident)}, {recovered}"


def _took(took: Estimate | None, what: str) -> str:
    if took is None:
        return f"not known to be {what}"
    if took.censored:
        return f"not {what} in the {took.value_s:.0f} s watched"
    return f"{what} in {took.value_s:.1f} s"


def _mitigated(incident: Incident) -> str:
    if incident.ttm is not None and incident.ttm.censored:
        return "never mitigated while the fault was in force"
    return _took(incident.ttm, "mitigated")


def _told(finding: Finding, incidents: Sequence[Incident]) -> bool:
    """A broken bound on a mark that never came is already in the story."""
    words = {"detected": "ttd", "mitigated": "ttm", "recovered": "ttr"}
    field = words.get(finding.check.split(" ")[0])
    if field is None or finding.kind != "expectation":
        return False
    found = [getattr(i, field) for i in incidents]
    return any(e is not None and e.censored for e in found)
