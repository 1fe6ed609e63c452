"""YAML text to Scenario, checking every name and number against the catalogue."""

import re
from collections.abc import Mapping
from typing import Any

from harness import schema, units
from harness.catalog import Catalog, CatalogError, capability
from harness.model.scenario import (
    PHASES,
    Bound,
    Expect,
    ExpectMark,
    ExpectQuiet,
    ExpectSli,
    FaultStep,
    Limits,
    LoadShape,
    MarkName,
    Mode,
    Phase,
    Scenario,
)
from harness.parse import abort
from harness.parse import limits as limit
from harness.parse.document import Item, document, shown
from harness.parse.quantities import duration as _duration
from harness.parse.quantities import read as _read

REQUIRED = ("name", "why", "stack", "slo", "load", "phases", "expect")
OPTIONAL = ("seed", "hold", "faults", "absorbed", "abort", "limits")
HOLD_S = 30.0
MARKS: Mapping[str, MarkName] = {
    "detected": "detected",
    "mitigated": "mitigated",
    "recovered": "recovered",
}
STEP_KEYS = ("where", "at", "for")
MAX_RATE_PER_S = 20_000
PROMETHEUS = "prometheus"  # the node of a stack that answers queries
MAX_PHASE_S = 24 * 3600


def scenario(
    text: str, catalog: Catalog, *, source: str = "scenario", stack: str | None = None
) -> Scenario:
    """Read one scenario. ``stack`` plays it on another stack, with that stack's own settings.

    Raises ``ParseError`` with file, line, value and remedy.
    """
    top = document(text, source)
    body = top.mapping(REQUIRED, OPTIONAL)
    stack_name, stack_params = _stack(body["stack"], catalog, stack)
    name = body["name"].text()
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", name) is None:
        raise body["name"].wrong(f"{shown(name)} should be letters, digits, '_' and '-' alone")
    faults = body["faults"].items() if "faults" in body and body["faults"].value else []
    expect = body["expect"].items()
    if not expect:
        raise body["expect"].wrong("is empty: a scenario that expects nothing cannot pass")
    return Scenario(
        name=name,
        why=" ".join(body["why"].text().split()),
        stack=stack_name,
        stack_params=stack_params,
        slo=body["slo"].text(),
        seed=_seed(body["seed"]) if "seed" in body else 0,
        load=_load(body["load"]),
        phases_s=_phases(body["phases"]),
        hold_s=_duration(body["hold"]) if "hold" in body else HOLD_S,
        faults=_faults(faults, stack_name, catalog),
        expect=tuple(_expect(item) for item in expect),
        absorbed_ok="absorbed" in body and body["absorbed"].one_of(("ok", "unknown")) == "ok",
        abort=abort.aborts(body["abort"], can_ask=_can_ask(catalog.stack(stack_name)))
        if "abort" in body
        else (),
        limits=limit.limits(body["limits"]) if "limits" in body else Limits(),
        text=text,
    )


def _stack(item: Item, catalog: Catalog, other: str | None) -> tuple[str, Mapping[str, object]]:
    params: Item | None = None
    if isinstance(item.value, dict):
        name, params = item.single()
    else:
        name = item.text()
    given = params.mapping() if params is not None and params.value is not None else {}
    try:
        if other is not None and other != name:
            name = other  # which may have some of the settings too: the question stays the same
            common = {row[0] for row in schema.rows(catalog.stack(name))}
            given = {key: value for key, value in given.items() if key in common}
        schema.build(catalog.stack(name), {k: v.plain() for k, v in given.items()})
    except CatalogError as wrong:
        raise item.wrong(str(wrong)) from None
    except schema.ParamError as wrong:
        raise given.get(wrong.key, item).wrong(f"stack {name!r}: {wrong}") from None
    return name, {k: v.plain() for k, v in given.items()}


def _can_ask(stack: Any) -> bool:
    """Whether it has a Prometheus that answers queries; on virtual time there is but a model."""
    nodes = (node for nodes in stack().topology().values() for node in nodes)
    return not stack.virtual_time and PROMETHEUS in nodes


def _load(item: Item) -> LoadShape:
    body = item.mapping(("arrivals", "rate"), ())
    arrivals = body["arrivals"].one_of(("constant", "poisson"))
    rate = _read(body["rate"], units.per_second)
    if not 0 < rate <= MAX_RATE_PER_S:
        raise body["rate"].wrong(f"{rate:g}/s should be above 0/s and at most {MAX_RATE_PER_S}/s")
    return LoadShape("constant" if arrivals == "constant" else "poisson", rate)


def _phases(item: Item) -> Mapping[Phase, float]:
    body = item.mapping(PHASES, ())
    phases = {phase: _duration(body[phase]) for phase in PHASES}
    for phase in PHASES:
        if not 0 < phases[phase] <= MAX_PHASE_S:
            raise body[phase].wrong("a phase lasts more than 0s and at most 24h")
    return phases


def _seed(item: Item) -> int:
    if item.whole() < 0:
        raise item.wrong(f"{item.value} should be 0 or more")
    return item.whole()


def _faults(items: list[Item], stack: str, catalog: Catalog) -> tuple[FaultStep, ...]:
    """Read them all. Two that use the same hold on the same role at once are refused: the second
    would take the place of the first, which would be in force on record only.
    """
    steps = [_fault(item, stack, catalog) for item in items]
    for n, (item, late) in enumerate(zip(items, steps, strict=True)):
        for early in steps[:n]:
            apart = late.at_s >= early.at_s + early.for_s or early.at_s >= late.at_s + late.for_s
            holds = (capability(catalog.fault(step.fault)) for step in (early, late))
            if not apart and early.role == late.role and len(set(holds)) == 1:
                raise item.wrong(
                    f"{late.fault} overlaps with {early.fault} on the same role; begin it "
                    f"{units.spell(early.at_s + early.for_s)} into the phase, or later"
                )
    return tuple(steps)


def _fault(item: Item, stack: str, catalog: Catalog) -> FaultStep:
    body = item.mapping()
    names = [key for key in body if key not in STEP_KEYS]
    if len(names) != 1:
        raise item.wrong(
            f"names {len(names)} faults ({', '.join(names) or 'none'}); it should name one, beside "
            + ", ".join(STEP_KEYS)
        )
    (name,) = names
    for key in STEP_KEYS:
        if key not in body:
            raise item.wrong(f"the key {key!r} is missing beside {name!r}")
    try:
        cls = catalog.fault(name)
    except CatalogError as wrong:
        raise body[name].wrong(str(wrong)) from None
    if not catalog.fits(name, stack):
        raise body[name].wrong(
            f"the stack {stack!r} cannot host the fault {name!r}: it does not offer what the fault "
            f"needs; `gameday faults {name}` lists the stacks that do"
        )
    params = _params(name, cls, body[name], catalog.stack(stack)())
    role, pick = _where(body["where"], catalog.stack(stack))
    if role not in cls.roles:
        raise body["where"].wrong(f"{name} strikes nodes of the role {' or '.join(cls.roles)}")
    return FaultStep(name, params, role, pick, _duration(body["at"]), _duration(body["for"]))


def _params(name: str, cls: Any, item: Item, target: object) -> Mapping[str, object]:
    given = item.mapping() if item.value is not None else {}
    params = {key: value.plain() for key, value in given.items() if key != "severity"}
    if "severity" in given:
        severity = given["severity"].whole()
        if not 1 <= severity <= len(cls.severities):
            raise given["severity"].wrong(
                f"severity is {severity}; it goes from 1 (mildest) to {len(cls.severities)}"
            )
        params = {**cls.severities[severity - 1], **params}
    try:
        built = schema.build(cls, params)
    except schema.ParamError as wrong:
        raise given.get(wrong.key, item).wrong(f"fault {name!r}: {wrong}") from None
    if (refuse := getattr(built, "refuse", None)) and (why := refuse(target)) is not None:
        raise item.wrong(f"fault {name!r}: {why}")
    return params


def _where(item: Item, stack: Any) -> tuple[str, int | Any]:
    words = item.text().split()
    topology: Mapping[str, tuple[str, ...]] = stack().topology()
    roles = ", ".join(topology)
    if len(words) != 2 or words[1] not in topology:
        raise item.wrong(
            f"{shown(item.value)} should be 'all ROLE', 'one ROLE' or 'N ROLE'; roles: {roles}"
        )
    pick, role = words
    if pick == "all":
        return role, "all"
    count = 1 if pick == "one" else int(pick) if re.fullmatch("[0-9]{1,4}", pick) else 0
    if not 1 <= count <= len(topology[role]):
        raise item.wrong(f"{shown(pick)} of {len(topology[role])} nodes with the role {role!r}")
    return role, count


def _expect(item: Item) -> Expect:
    key, value = item.single()
    if key in MARKS:
        return _expect_mark(MARKS[key], value)
    if key in ("no_alerts", "no_actions"):
        body = value.mapping((), ("allow",)) if value.value is not None else {}
        allow = tuple(i.text() for i in body["allow"].items()) if "allow" in body else ()
        return ExpectQuiet("alerts" if key == "no_alerts" else "actions", allow)
    if key in set(Mode):
        return _expect_sli(Mode(key), value)
    known = ", ".join((*MARKS, "no_alerts", "no_actions", *Mode))
    raise value.wrong(f"unknown expectation {shown(key)}; there is {known}")


def _expect_mark(mark: MarkName, item: Item) -> ExpectMark:
    body = item.mapping(("within",), ("by",) if mark == "detected" else ())
    by: dict[str, str] = {}
    if "by" in body:
        by = {label: value.text() for label, value in body["by"].mapping().items()}
    return ExpectMark(mark, _duration(body["within"]), by)


def _expect_sli(mode: Mode, item: Item) -> ExpectSli:
    from harness.model.slis import SLI_NAMES

    body = item.mapping(("sli",), ("at_least", "at_most", "during"))
    sides = [key for key in ("at_least", "at_most") if key in body]
    if len(sides) != 1:
        raise item.wrong("takes exactly one of at_least and at_most")
    sli = body["sli"].one_of(SLI_NAMES)
    during = body["during"].one_of(PHASES) if "during" in body else "fault"
    phase: Phase = next(p for p in PHASES if p == during)
    side, limit = sides[0], body[sides[0]]
    text = limit.value if isinstance(limit.value, str) else ""
    relative = text.endswith("x baseline")
    value = _limit(limit, sli, side, text.removesuffix("x baseline") if relative else None)
    return ExpectSli(
        mode, sli, Bound("at_least" if side == "at_least" else "at_most", value, relative), phase
    )


def _limit(item: Item, sli: str, side: str, factor: str | None) -> float:
    if factor is not None:
        try:
            value = float(factor)
        except ValueError:
            value = -1.0
        if not 0 < value < 1e6:
            raise item.wrong(f"{shown(item.value)} should be like '1.5x baseline'")
        return value
    if sli.endswith("_ms"):
        return _read(item, units.seconds) * 1e3
    if sli.endswith("_per_s"):
        return _read(item, units.per_second)
    share = _read(item, units.ratio)
    if (side, share) in (("at_least", 0.0), ("at_most", 1.0)):
        raise item.wrong(f"{side} {shown(item.value)} is always met; a check must be able to fail")
    return share
