"""What should notice a fault, contain it or undo it.

A fault declares its defences, and a stack knows how to be without one by its ordinary settings: a
defence that cannot be removed cannot be shown to matter.
"""

from dataclasses import dataclass
from typing import Literal

Protects = Literal["detection", "mitigation", "recovery", "correctness", "availability"]


@dataclass(frozen=True, slots=True)
class Defence:
    """One defence: ``name`` as the stack knows it, what it ``protects``, and ``why`` it is needed.

    ``alert X`` is a rule of the stack's alerting and ``runbook X`` what its responder may do alone;
    any other name is a setting: a switch that can be off, a number that can be at its least, or a
    way of doing something that can be done with less care.
    """

    name: str
    protects: Protects
    why: str
