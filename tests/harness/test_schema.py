from dataclasses import dataclass
from typing import Literal

import pytest

from harness import schema
from harness.schema import ParamError, param


@dataclass(frozen=True)
class Knobs:
    """Everything a plug-in may be set by."""

    delay_s: float = param(0.2, "how long", ge=0.001, le=60)
    count: int = param(2, "how many", ge=1)
    loss_ratio: float = param(0.1, "how much is lost")
    names: tuple[str, ...] = param(("a",), "which")
    mode: Literal["null", "absent"] = param("null", "how")
    on: bool = param(True, "whether")
    note: str | None = param(None, "a remark")


def test_values_are_read_with_their_units():
    built = schema.build(
        Knobs, {"delay_s": "400ms", "loss_ratio": "5%", "names": ["b", "c"], "note": "x"}
    )
    assert built == Knobs(delay_s=0.4, loss_ratio=0.05, names=("b", "c"), note="x")


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({"delai": "1s"}, "delai", "it takes delay_s, count"),
        ({"delay_s": 5}, "delay_s", "write it with a unit"),
        ({"delay_s": "2h"}, "delay_s", "above its maximum of 60"),
        ({"count": 0}, "count", "below its minimum of 1"),
        ({"count": "two"}, "count", "whole number"),
        ({"count": True}, "count", "whole number"),
        ({"mode": "nil"}, "mode", "one of null, absent"),
        ({"names": [1]}, "names", "text"),
        ({"on": "yes"}, "on", "true or false"),
        ({"loss_ratio": 3}, "loss_ratio", "between 0 and 1"),
    ],
)
def test_a_wrong_value_is_named_with_the_remedy(given, key, words):
    with pytest.raises(ParamError, match=words) as wrong:
        schema.build(Knobs, given)
    assert wrong.value.key == key


def test_the_json_schema_knows_every_parameter_and_its_bounds():
    drawn = schema.json_schema(Knobs)
    assert set(drawn["properties"]) == {name for name, _, _ in schema.rows(Knobs)}
    assert drawn["properties"]["count"]["minimum"] == 1
    assert drawn["properties"]["mode"]["enum"] == ["null", "absent"]
    assert drawn["properties"]["delay_s"]["type"] == "string"
