"""For programs: the whole analysis as one JSON document; every other report is derived from less.

Field names are those of ``harness.model.analysis``, and ``format`` says which version of them.
Verdicts are words. JSON has no infinity and no NaN: both become ``null``, which also stands for
"no data"; an interval whose ``high_s`` is ``null`` has no upper end. Numbers keep all their digits,
since rounding is for people; their intervals say how many of them mean anything.
"""

import dataclasses
import math
from collections.abc import Mapping
from json import dumps
from typing import Any

from harness import Analysis, Verdict, report
from reports._words import WORD


@report(suffix=".json")
def json(analysis: Analysis) -> str:
    """Write every field; the order of the keys is that of the fields."""
    return dumps(_plain(analysis), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Turn a value into what JSON has."""
    match value:
        case Verdict():
            return WORD[value]
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _ if dataclasses.is_dataclass(value):
            return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _:
            raise TypeError(f"{value!r} has no JSON; teach reports/json.py its type")
