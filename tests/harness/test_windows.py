"""Windows of the calendar, held against a slow reference that looks at every minute there was."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.model.policy import CalendarWindow
from harness.run.windows import blocked, is_open, spell, wrong_window

LONDON, NEW_YORK = "Europe/London", "America/New_York"
CHANGES = {  # the instants at which the clocks change in 2026, Unix time
    LONDON: (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    NEW_YORK: (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Australia/Lord_Howe": (
        datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    ),
    "UTC": (datetime(2026, 2, 28, 23, tzinfo=UTC),),
}  # fmt: skip


def window(schedule, duration_s, zone="UTC", kind="allow"):
    return CalendarWindow(kind, schedule, float(duration_s), zone)


def unix(*parts, zone=UTC, fold=0):
    return datetime(*parts, tzinfo=ZoneInfo(zone) if isinstance(zone, str) else zone,
                    fold=fold).timestamp()  # fmt: skip


# --- the reference: nothing but wall clocks, minute by minute ---------------------------------


def field(text, low, high):
    out = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, last = (low, high) if span == "*" else (span.split("-") * 2)[:2]
        out |= set(range(int(first), int(last) + 1, int(step or 1)))
    return out


@lru_cache(maxsize=4096)
def fields(schedule):
    minute, hour, day, month, weekday = schedule.split()
    return (
        field(minute, 0, 59), field(hour, 0, 23), field(day, 1, 31), field(month, 1, 12),
        {d % 7 for d in field(weekday, 0, 7)}, day.startswith("*") or weekday.startswith("*"),
        not minute.startswith("*") and not hour.startswith("*"),
    )  # fmt: skip


def shows(schedule, wall):
    minutes, hours, days, months, weekdays, both, _ = fields(schedule)
    day, weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
    return (
        wall.minute in minutes and wall.hour in hours and wall.month in months
        and (day and weekday if both else day or weekday)
    )  # fmt: skip


def strikes(schedule, zone, instant):
    """Whether a schedule strikes at this instant, a whole minute: by the rules of Debian's cron."""
    tz = ZoneInfo(zone)
    wall = instant.astimezone(tz)
    fixed = fields(schedule)[6]
    if not fixed:
        return shows(schedule, wall)
    if wall.fold == 0 and shows(schedule, wall):
        return True
    # The first instant after a gap: what the clock skipped strikes now.
    before = (instant - timedelta(minutes=1)).astimezone(tz).replace(tzinfo=None, fold=0)
    skipped = before + timedelta(minutes=1)
    while skipped < wall.replace(tzinfo=None, fold=0):
        if shows(schedule, skipped):
            return True
        skipped += timedelta(minutes=1)
    return False


def slowly_open(one, now_s):
    now = datetime.fromtimestamp(now_s, UTC)
    minute = now.replace(second=0, microsecond=0)
    while minute > now - timedelta(seconds=one.duration_s):
        if strikes(one.schedule, one.time_zone, minute):
            return True
        minute -= timedelta(minutes=1)
    return False


def one_field(low, high):
    number = st.integers(low, high)
    pairs = st.tuples(number, number).map(lambda p: f"{min(p)}-{max(p)}")
    some = st.lists(number, min_size=1, max_size=3, unique=True).map(
        lambda n: ",".join(map(str, n))
    )
    return st.one_of(
        st.just("*"), number.map(str), pairs, some,
        st.integers(1, max(2, high // 2)).map(lambda n: f"*/{n}"),
    )  # fmt: skip


schedules = st.tuples(
    one_field(0, 59),
    st.sampled_from(["*", "*/2"]) | one_field(0, 4) | one_field(0, 23),
    st.sampled_from(["*", "*", "*", "8", "29", "25-31", "1,8"]),
    st.sampled_from(["*", "*", "3,10,11", "10"]),
    st.sampled_from(["*", "*", "0", "7", "6-7", "1-5"]),
).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(
    schedules,
    st.sampled_from(sorted(CHANGES)),
    st.integers(0, 1),
    st.integers(-36 * 3600, 36 * 3600),
    st.sampled_from([1, 59, 60, 61, 600, 1800, 3600, 7200, 5 * 3600, 26 * 3600])
    | st.integers(1, 30 * 3600),
)
@example("30 1 * * *", LONDON, 0, 0, 60)  # in the gap: strikes at its end
@example("30 1 * * *", LONDON, 1, 1800 + 30, 60)  # the second half past one: it has struck
@example("30 1 * * *", LONDON, 1, 5400, 3600)
@example("*/15 1 * * *", NEW_YORK, 1, 1800, 60)
@example("0 2 * * *", NEW_YORK, 0, 30, 60)
def test_open_is_what_every_minute_of_the_past_says(schedule, zone, which, away_s, duration_s):
    change = CHANGES[zone][which % len(CHANGES[zone])]
    now_s = change.timestamp() + away_s
    one = window(schedule, duration_s, zone)
    assert is_open(one, now_s) == slowly_open(one, now_s)


def test_the_reference_itself_knows_the_rules_of_the_clock():
    gap, again = CHANGES[LONDON]
    assert strikes("30 1 * * *", LONDON, gap)
    assert not strikes("30 1 * * *", LONDON, gap - timedelta(minutes=30))
    assert strikes("30 1 * * *", LONDON, again - timedelta(minutes=30))
    assert not strikes("30 1 * * *", LONDON, again + timedelta(minutes=30))
    assert strikes("30 * * * *", LONDON, again + timedelta(minutes=30))


# --- what people rely on ----------------------------------------------------------------------


def test_a_window_is_open_from_the_second_it_strikes_until_the_last_before_its_end():
    one = window("0 10 * * *", 3600)
    at = unix(2026, 6, 1, 10)
    assert [is_open(one, at + t) for t in (-0.001, 0, 3599.999, 3600)] == [False, True, True, False]


def test_office_hours_follow_the_wall_clock_through_the_year():
    one = window("0 10 * * mon-thu", 5 * 3600, LONDON)
    assert is_open(one, unix(2026, 7, 1, 9, 30))  # half past ten in British summer
    assert not is_open(one, unix(2026, 1, 7, 9, 30))
    assert is_open(one, unix(2026, 1, 7, 10, 30))
    assert not is_open(one, unix(2026, 7, 3, 10))  # a Friday


def test_hours_are_real_hours_on_the_night_the_clocks_change():
    one = window("0 22 * * *", 5 * 3600, NEW_YORK)
    short, long = unix(2026, 3, 7, 22, zone=NEW_YORK), unix(2026, 10, 31, 22, zone=NEW_YORK)
    for start_s, ends in ((short, 4), (long, 2)):
        assert is_open(one, start_s + 5 * 3600 - 1) and not is_open(one, start_s + 5 * 3600)
        assert datetime.fromtimestamp(start_s + 5 * 3600, ZoneInfo(NEW_YORK)).hour == ends


def test_a_freeze_over_new_year_is_one_window():
    one = window("0 0 24 12 *", 240 * 3600, kind="deny")
    assert is_open(one, unix(2026, 1, 2, 23, 59)) and not is_open(one, unix(2026, 1, 3))
    assert not is_open(one, unix(2025, 12, 23, 23, 59)) and is_open(one, unix(2025, 12, 24))


ALLOW, DENY = window("0 10 * * *", 3600), window("30 10 * * *", 600, kind="deny")


@pytest.mark.parametrize(
    ("windows", "hour", "minute", "words"),
    [
        ((), 3, 0, None),
        ((ALLOW,), 10, 0, None),
        ((ALLOW,), 11, 0, "outside every allow window"),
        ((DENY,), 3, 0, None),
        ((DENY,), 10, 35, "inside the deny window"),
        ((ALLOW, DENY), 10, 35, "inside the deny window"),  # deny wins
        ((DENY, ALLOW), 10, 45, None),
        ((ALLOW, DENY), 11, 5, "outside every allow window"),
        ((ALLOW, window("0 11 * * *", 600)), 11, 5, None),
    ],
)
def test_argo_s_rules(windows, hour, minute, words):
    found = blocked(windows, unix(2026, 6, 1, hour, minute))
    assert (found is None) if words is None else words in found


def test_a_window_is_said_as_it_was_written():
    said = spell(CalendarWindow("deny", "0 0 * * *", 18000.0, LONDON, "freeze"))
    assert said == "'0 0 * * *' Europe/London for 5h (freeze)"
    assert spell(window("0 0 * * *", 90)).endswith("for 90s")


@pytest.mark.parametrize(
    ("schedule", "zone", "words"),
    [
        ("0 10 * *", "UTC", "has 4 fields"),
        ("0 0 10 * * *", "UTC", "has 6 fields"),
        ("@daily", "UTC", "has 1 fields"),
        ("61 10 * * *", "UTC", "Bad minute"),
        ("0 10 * * xyz", "UTC", "Bad day-of-week"),
        ("0 10 31 2 *", "UTC", "Bad day-of-month"),
        ("*/0 * * * *", "UTC", "Bad minute"),
        ("0 10 * * *", "Europe/Londn", "no time zone 'Europe/Londn'"),
        ("0 10 * * *", "../../etc/passwd", "no time zone"),
        ("0 10 * * *", "", "no time zone"),
        ("\u0661 10 * * *", "UTC", "fields"),
    ],
)
def test_a_schedule_that_is_none_is_refused_in_words(schedule, zone, words):
    assert words in wrong_window(schedule, zone)


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789*,-/#LW monMON", max_size=20), st.sampled_from([LONDON, "x", "UTC"]))
def test_no_schedule_crashes_the_check(schedule, zone):
    wrong = wrong_window(schedule, zone)
    if wrong is None:
        is_open(window(schedule, 3600, zone), unix(2026, 6, 1))
