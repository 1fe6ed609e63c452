"""Plain words for what crosses into JSON, apart from the events, so that they cost nothing."""

from collections.abc import Mapping
from typing import Any

Json = Any  # a value json can carry
Undo = Mapping[str, Json]  # what a fault must remember in order to heal
