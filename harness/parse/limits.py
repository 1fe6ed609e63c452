"""The limits of a scenario or of a policy: the same words in both."""

from harness.model.scenario import Limits
from harness.parse.document import Item
from harness.parse.quantities import share

KEYS = ("nodes", "traffic", "faults_at_once", "tenants_never")


def limits(item: Item) -> Limits:
    """Read limits. Raises ``ParseError``."""
    return given(item.mapping((), KEYS))


def given(body: dict[str, Item]) -> Limits:
    """Read those that a mapping holds, whatever else it holds."""
    usual = Limits()
    at_once = body.get("faults_at_once")
    if at_once is not None and at_once.whole() < 1:
        raise at_once.wrong(f"{at_once.whole()} should be 1 or more; a run with no fault needs 0")
    return Limits(
        share(body["nodes"]) if "nodes" in body else usual.nodes,
        share(body["traffic"]) if "traffic" in body else usual.traffic,
        None if at_once is None else at_once.whole(),
        tuple(i.text() for i in body["tenants_never"].items()) if "tenants_never" in body else (),
    )
