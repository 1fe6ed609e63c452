"""What a ticket says, and how long it stays open."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from fixtures.serving.tickets import NoSuchTicket, Tickets, read_figures

NAN = float("nan")


def drift(status: str = "firing", feature: str = "visib", **more: Any) -> dict[str, Any]:
    labels = {"alertname": "DriftSuspected", "severity": "ticket", "feature": feature}
    annotations = {"summary": f"Feature {feature} has drifted from training: PSI 0.4"}
    given = {"labels": labels, "annotations": annotations, "fingerprint": feature}
    return {"alerts": [given | {"status": status} | more]}


def figures(**changed: float) -> dict[tuple[str, str], float]:
    """The monitor's metrics, read back from what it would expose."""
    registry = CollectorRegistry()
    by_feature = {
        "feature_drift_psi": {
            "visib": 0.4,
            "precip": 0.3,
            "month": 0.01,
            "sched_hour": float("nan"),
        },
        "feature_drift_psi_reference": {"visib": 0.1, "precip": 0.1, "month": 0.1},
        "feature_skew_ratio": {"visib": changed.get("skew", 0.0), "precip": 0.0},
    }
    for name, values in by_feature.items():
        gauge = Gauge(name, name, ["feature"], registry=registry)
        for feature, value in values.items():
            gauge.labels(feature).set(value)
    for name, value in {
        "prediction_drift_psi": 0.05,
        "released_label_accuracy_ratio": changed.get("accuracy", 0.9),
        "released_label_accuracy_reference": 0.85,
        "released_label_observations": 600.0,
    }.items():
        Gauge(name, name, registry=registry).set(value)
    return read_figures(generate_latest(registry).decode())


def test_it_names_the_cohorts_the_impact_and_the_steps(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path / "t")
    assert tickets.notice(drift(), figures()) == ["ticket-0001"]
    (ticket,) = tickets.all()
    assert ticket["title"] == "Feature visib has drifted from training: PSI 0.4"
    cohorts = [(row.get("feature", "scores"), row["psi"]) for row in ticket["cohorts"]]
    assert cohorts == [("visib", 0.4), ("precip", 0.3), ("scores", 0.05), ("month", 0.01)]
    assert [row["named_by_the_alert"] for row in ticket["cohorts"]] == [True, False, False, False]
    assert ticket["impact"] == {
        "accuracy": 0.9,
        "accuracy_of_the_rule": 0.85,
        "labels": 600.0,
        "accuracy_over_the_rule": 0.05,
    }
    steps = " ".join(ticket["steps"])
    assert "mistake upstream of visib, precip" in steps and "5.0% better than the business" in steps
    assert ticket["closed"] is None


def test_the_steps_follow_what_is_wrong(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path / "t")
    tickets.notice(drift(), figures(skew=0.5, accuracy=0.8))
    steps = tickets.all()[0]["steps"]
    assert steps[0].startswith("Mend the pipeline first: visib ")
    assert "5.0% worse than the business rule" in steps[1]
    tickets.notice(drift(feature="month"), None)
    ticket = tickets.all()[1]
    assert (ticket["cohorts"], ticket["impact"]) == ([], {})
    assert "could not be asked" in ticket["known"] and "too few yet" in ticket["steps"][1]


def test_one_alert_has_one_open_ticket_until_a_person_closes_it(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path / "t")
    for status in ("firing", "firing", "resolved", "firing"):
        tickets.notice(drift(status), None)
    assert not tickets.wanted(drift()) and not tickets.wanted(drift("resolved"))
    (ticket,) = tickets.all()
    assert ticket["closed"] is None and ticket["alert_ended_at_s"] is not None
    with pytest.raises(NoSuchTicket, match="open are: ticket-0001"):
        tickets.close("ticket-7", "ann", "x")
    tickets.close("ticket-0001", "ann", "the winter")
    with pytest.raises(NoSuchTicket, match="open are: none"):
        tickets.close("ticket-0001", "ann", "again")
    assert tickets.notice(drift(), None) == ["ticket-0002"]
    assert tickets.notice(drift(feature="month"), None) == ["ticket-0003"]


def test_only_alerts_of_their_severity_open_tickets(tmp_path: Path) -> None:
    tickets = Tickets(tmp_path / "t")
    page = drift(labels={"alertname": "FeatureMissing", "severity": "page"})
    assert not tickets.wanted(page) and tickets.notice(page, None) == []


def test_a_restart_forgets_no_ticket(tmp_path: Path) -> None:
    before = Tickets(tmp_path / "t")
    before.notice(drift(), figures())
    before.notice(drift(feature="month"), None)
    before.close("ticket-0001", "ann", "the winter")
    after = Tickets(tmp_path / "t")
    assert after.all() == before.all()
    assert after.all()[0]["closed"]["why"] == "the winter"
    assert after.notice(drift(feature="month"), None) == []
    assert after.notice(drift(), None) == ["ticket-0003"]
    (tmp_path / "t" / "ticket-0009.json").write_text("{")
    with pytest.raises(ValueError, match="ticket-0009.json is no ticket"):
        Tickets(tmp_path / "t")
