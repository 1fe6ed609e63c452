"""What users were promised: objectives, and how fast their alerts look.

Read from OpenSLO v1 files, with one document kind of ours (``AlertProfile``) for what OpenSLO
cannot say: several windows, and windows under a minute.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objective:
    """At least ``target`` (0 to 1) of valid events are good, by the oracle SLI ``sli``."""

    name: str
    title: str
    sli: str
    target: float

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return 1.0 - self.target


@dataclass(frozen=True, slots=True)
class AlertTier:
    """One multi-window burn-rate alert: fires when both windows burn ``burn`` times too fast."""

    severity: str
    burn: float
    long_s: float
    short_s: float


@dataclass(frozen=True, slots=True)
class Slo:
    """The objectives of one service. ``late_after_s``: an answer later than this is a bad one."""

    name: str
    service: str
    objectives: tuple[Objective, ...]
    tiers: tuple[AlertTier, ...]
    late_after_s: float

    @property
    def short_window_s(self) -> float:
        """The short window of the fastest tier: the grain of mitigation and recovery."""
        return min(tier.short_s for tier in self.tiers)
