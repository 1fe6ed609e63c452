"""Windows of the calendar: may something be broken at this instant?

The instant is always a parameter, so this is a pure function of policy and time. The semantics are
those of Argo CD's sync windows (argo-cd.readthedocs.io, "Sync Windows"): no window, always; any
``allow``, only inside one; inside a ``deny``, never.

A window is open at ``now`` when its schedule struck in ``(now - duration, now]``: the duration is
real time, so five hours are five hours on the night the clocks change. A schedule strikes by the
wall clock of its zone, as in Debian's cron (and cronsim): a fixed time that the clock skips strikes
at the first instant after the gap, one that comes twice strikes the first time; with ``*`` as hour
or minute it strikes whenever the wall clock shows it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness import units
from harness.model.policy import CalendarWindow

FIELDS = 5


def blocked(windows: Iterable[CalendarWindow], now_s: float) -> str | None:
    """Say why nothing may be broken at ``now_s`` (Unix time), or ``None`` when something may."""
    windows = tuple(windows)
    open_now = [window for window in windows if is_open(window, now_s)]
    if denied := next((w for w in open_now if w.kind == "deny"), None):
        return f"inside the deny window {spell(denied)}"
    allows = [window for window in windows if window.kind == "allow"]
    if allows and not any(window.kind == "allow" for window in open_now):
        return f"outside every allow window: {'; '.join(map(spell, allows))}"
    return None


def is_open(window: CalendarWindow, now_s: float) -> bool:
    """Whether it is open at ``now_s``, Unix time."""
    from cronsim import CronSim

    now = datetime.fromtimestamp(now_s, UTC)
    after = now - timedelta(seconds=window.duration_s)
    for strikes in CronSim(window.schedule, after.astimezone(ZoneInfo(window.time_zone))):
        at = strikes.astimezone(UTC)
        if at > after:  # in an hour that comes twice, cronsim begins with one that has been
            return at <= now
    return False


def wrong_window(schedule: str, time_zone: str) -> str | None:
    """Say what is wrong with a schedule or a zone, and the remedy; ``None`` when nothing is."""
    from cronsim import CronSim, CronSimError

    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone {time_zone!r} here; write one like Europe/London or UTC"
    fields = schedule.split()
    if len(fields) != FIELDS or not schedule.isascii():
        return (
            f"the schedule {schedule!r} has {len(fields)} fields; cron has {FIELDS}: minute, hour, "
            "day of month, month, day of week"
        )
    try:
        strikes = next(CronSim(schedule, datetime(2026, 1, 1, tzinfo=zone)), None)
    except (CronSimError, ValueError, OverflowError, TypeError, AssertionError) as wrong:
        return f"the schedule {schedule!r} is not one of cron: {str(wrong) or 'unreadable'}"
    return None if strikes else f"the schedule {schedule!r} never strikes"


def spell(window: CalendarWindow) -> str:
    """Write one the way a person would say it."""
    hours, rest_s = divmod(window.duration_s, 3600)
    length = units.spell(window.duration_s) if rest_s or not hours else f"{hours:g}h"
    words = f"'{window.schedule}' {window.time_zone} for {length}"
    return f"{words} ({window.description})" if window.description else words
