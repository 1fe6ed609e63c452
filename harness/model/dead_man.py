"""The dead-man's alert: one that always fires, so that its silence says that the alerting is dead.

It is told by its label ``severity: none``, as the Prometheus operator's ``Watchdog`` has it: an
alert that asks nobody for anything. So it is no detection, never unexpected, and not in the way of
a steady state; what it is for is to be heard. An alert that is silent at times must not bear the
label.
"""

from collections.abc import Mapping
from typing import Final

LABEL: Final = ("severity", "none")
HEARD_EVERY_S: Final = 10.0
"""The longest it may be silent: alerting that was not heard for longer may have been dead, and what
it did not say then means nothing. Alertmanager's ``repeat_interval`` must be well below."""


def is_dead_man(labels: Mapping[str, str]) -> bool:
    """Say whether an alert is a dead-man's."""
    name, value = LABEL
    return labels.get(name) == value
