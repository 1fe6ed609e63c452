"""What a run may reach: its plan held against the limits of the scenario and of the policy.

Pure: the instant, the addresses and the policy are parameters. It is asked before anything is stood
up, again when the addresses are known, and again before each injection. What a fault does not say
about itself counts as the worst: without a ``traffic_share`` it hits every request, and without
``tenants`` every tenant.
"""

import ipaddress
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from harness import schema, units
from harness.model.plan import Enter, Heal, Inject, Step, Topology
from harness.model.policy import Policy
from harness.model.scenario import Limits, Scenario
from harness.protocols import Fault, Served, Stack
from harness.run.windows import blocked

Faults = Mapping[str, type[Fault[Any]]]
SCENARIO = "the scenario"


def refusals(
    policy: Policy,
    scenario: Scenario,
    steps: Sequence[Step],
    topology: Topology,
    addresses: Mapping[str, str],
    now_s: float | None,
    *,
    faults: Faults,
) -> list[str]:
    """List why this run must not be; empty when it may.

    ``steps``: those of the plan. ``addresses``: the parts of the stack and where requests go, by
    name (``addresses_of``); empty before it is up. ``now_s``: Unix time; ``None`` leaves the
    windows out, as for virtual time. ``faults``: classes by name, to ask them how far they reach.
    """
    out = [*_too_long(policy, scenario), *_targets(policy, scenario.stack, addresses)]
    for limits, owner in ((policy.limits, policy.source), (scenario.limits, SCENARIO)):
        out += _tenants(limits, owner, steps, faults)
        for reason in _reach(limits, owner, steps, topology, faults):
            if reason not in out:
                out.append(reason)
    closed = None if now_s is None else blocked(policy.windows, now_s)
    if closed is not None:
        out.append(f"{closed}, by {policy.source}")
    return out


def addresses_of(stack: Stack) -> Mapping[str, str]:
    """Every address of a stack that is up, and where requests go."""
    if not isinstance(stack, Served):
        return {}
    endpoint = stack.endpoint()
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return {**stack.addresses(), "where requests go": f"{host}:{endpoint.port}"}


def is_loopback(address: str) -> bool:
    """Whether an address (``host:port``, a URL, or the path of a socket) is of this machine alone.

    Names other than ``localhost`` are not looked up: what a name means today it may not mean when
    the fault strikes.
    """
    host = _host(address)
    if host is None:
        return True
    return host == "localhost" or ((ip := _ip(host)) is not None and ip.is_loopback)


def _too_long(policy: Policy, scenario: Scenario) -> Iterator[str]:
    for step in scenario.faults:
        if step.for_s > policy.max_fault_s:
            yield (
                f"{step.fault} would last {units.spell(step.for_s)}; a fault may last "
                f"{units.spell(policy.max_fault_s)}, by {policy.source}"
            )


def _targets(policy: Policy, stack: str, addresses: Mapping[str, str]) -> Iterator[str]:
    if policy.stacks is not None and stack not in policy.stacks:
        named = ", ".join(policy.stacks) or "none"
        yield f"the stack {stack!r} is no target; these are: {named}, by {policy.source}"
    for name, address in sorted(addresses.items()):
        if not is_loopback(address) and not _named(_host(address) or "", policy.hosts):
            yield (
                f"{name} is at {address}, which is not this machine's loopback; name its host "
                f"under targets.hosts in the policy to allow it ({policy.source} does not)"
            )


def _tenants(limits: Limits, owner: str, steps: Sequence[Step], faults: Faults) -> Iterator[str]:
    if not limits.tenants_never:
        return
    for step in (s for s in steps if isinstance(s, Inject)):
        touched = getattr(_built(step, faults), "tenants", ()) or ()
        bad = [name for name in limits.tenants_never if not touched or name in touched]
        if bad:
            every = "" if touched else "every tenant, so also "
            yield f"{step.id} touches {every}{', '.join(bad)}, never to be touched, by {owner}"


def _reach(
    limits: Limits, owner: str, steps: Sequence[Step], topology: Topology, faults: Faults
) -> Iterator[str]:
    for step, in_force in _together(steps):
        names = " and ".join(fault.id for fault in in_force)
        most = limits.faults_at_once
        if most is not None and len(in_force) > most:
            yield f"{names} would be in force together; at most {most} may, by {owner}"
        hit = {node for fault in in_force for node in fault.nodes}
        for role, nodes in topology.items():
            some = [node for node in nodes if node in hit]
            # Only the roles that this step adds to: the others were judged before.
            if set(some) & set(step.nodes) and len(some) > limits.nodes * len(nodes) + 1e-9:
                yield (
                    f"{names} would hit {len(some)} of {len(nodes)} nodes with the role {role!r}; "
                    f"at most {limits.nodes:.0%} may be hit, by {owner}"
                )
        share = min(1.0, sum(_traffic(_built(fault, faults)) for fault in in_force))
        if share > limits.traffic + 1e-9:
            yield (
                f"{names} may hit {share:.0%} of the traffic; at most {limits.traffic:.0%} may be "
                f"hit, by {owner}"
            )


def _together(steps: Sequence[Step]) -> Iterator[tuple[Inject, tuple[Inject, ...]]]:
    """Each injection with all that is in force once it is, itself last."""
    open_faults: dict[str, Inject] = {}
    for step in steps:
        match step:
            case Inject():
                open_faults[step.id] = step
                yield step, tuple(open_faults.values())
            case Heal():
                open_faults.pop(step.id, None)
            case Enter():
                pass


def _built(step: Inject, faults: Faults) -> object:
    return schema.build(faults[step.fault], step.params) if step.fault in faults else None


def _traffic(fault: object) -> float:
    share = getattr(fault, "traffic_share", 1.0)
    good = isinstance(share, int | float) and math.isfinite(share)
    return min(1.0, max(0.0, float(share))) if good else 1.0


def _host(address: str) -> str | None:
    """The host, in lower case; ``None`` for the path of a socket; empty when there is none."""
    if address.startswith(("/", "unix:")) and not address.startswith("//"):
        return None
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError:
        return ""
    return (host or "").lower()


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _named(host: str, patterns: Iterable[str]) -> bool:
    ip = _ip(host)
    for pattern in patterns:
        try:
            network = ipaddress.ip_network(pattern)
        except ValueError:
            if ip is None and host and fnmatchcase(host, pattern):
                return True
            continue
        if ip is not None and ip.version == network.version and ip in network:
            return True
    return False
