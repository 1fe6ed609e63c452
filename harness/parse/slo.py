"""OpenSLO text to Slo.

A subset of OpenSLO v1, untouched, plus ``AlertProfile``: documents of kind ``SLO`` with one
``target`` each, whose annotation ``gameday/sli`` names the oracle SLI it is held to. The
specification: github.com/OpenSLO/OpenSLO.
"""

from harness import units
from harness.model.slis import RATIO_SLI_NAMES
from harness.model.slo import AlertTier, Objective, Slo
from harness.parse.document import Item, ParseError, documents, shown

LATE_AFTER_S = 1.0


def slo(text: str, *, name: str, source: str = "slo") -> Slo:
    """Read one SLO file. Raises ``ParseError`` with file, line, value and remedy."""
    objectives: list[Objective] = []
    tiers: list[AlertTier] = []
    services: set[str] = set()
    late_after_s = LATE_AFTER_S
    for document in documents(text, source):
        body = document.mapping(("apiVersion", "kind", "metadata", "spec"), ())
        match body["kind"].value:
            case "SLO":
                objective, service, late_s = _objective(body)
                objectives.append(objective)
                services.add(service)
                late_after_s = late_s or late_after_s
            case "AlertProfile":
                spec = body["spec"].mapping(("tiers",), ())
                tiers += [_tier(item) for item in spec["tiers"].items()]
            case other:
                raise body["kind"].wrong(f"{shown(other)} is not SLO or AlertProfile")
    if not objectives or not tiers:
        raise ParseError(source, 1, "needs at least one SLO document and one AlertProfile document")
    return Slo(name, ", ".join(sorted(services)), tuple(objectives), tuple(tiers), late_after_s)


def _objective(body: dict[str, Item]) -> tuple[Objective, str, float | None]:
    metadata = body["metadata"].mapping(("name", "annotations"))
    notes = metadata["annotations"].mapping(("gameday/sli",))
    sli = notes["gameday/sli"].one_of(RATIO_SLI_NAMES)
    spec = body["spec"].mapping(("service", "objectives"))
    targets = spec["objectives"].items()
    if len(targets) != 1:
        raise spec["objectives"].wrong(f"holds {len(targets)} objectives; one per SLO is supported")
    objective = targets[0].mapping(("target",), ("displayName",))
    try:
        target = units.ratio(objective["target"].value)
        late = notes.get("gameday/late-after")
        late_s = None if late is None else units.seconds(late.value)
    except ValueError as wrong:
        raise targets[0].wrong(str(wrong)) from None
    if not 0 < target < 1:
        raise objective["target"].wrong(f"{target:g} leaves no error budget; write less than 1")
    title = objective["displayName"].text() if "displayName" in objective else sli
    name = metadata["name"].text()
    return Objective(name, title, sli, target), spec["service"].text(), late_s


def _tier(item: Item) -> AlertTier:
    body = item.mapping(("severity", "burn", "long", "short"), ())
    burn = body["burn"].value
    if isinstance(burn, bool) or not isinstance(burn, int | float) or burn <= 0:
        raise body["burn"].wrong(f"{shown(burn)} should be a positive number, like 14.4")
    try:
        long_s, short_s = units.seconds(body["long"].value), units.seconds(body["short"].value)
    except ValueError as wrong:
        raise item.wrong(str(wrong)) from None
    if not 0 < short_s <= long_s:
        raise item.wrong("the short window should be positive and no longer than the long one")
    return AlertTier(body["severity"].text(), float(burn), long_s, short_s)
