"""Working days, due dates, the stopped clock and the lights."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.approval.rules.calendar import DayNotRead, DayRange, WorkCalendar
from services.approval.rules.limits import days_counted, days_of_light, due_at, light
from shared.catalogue.terms import DayOff, Limit, TimeUnit
from shared.legal_time import LEGAL_ZONE, legal_day

SEED = WorkCalendar.of({})
moments = st.integers(0, 670 * 24 * 60).map(
    lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
RUNNING = [TimeUnit.WORKING_DAY, TimeUnit.NATURAL_DAY, TimeUnit.HOUR]


def beijing(year: int, month: int, day: int, hour: int = 10, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=LEGAL_ZONE)


def limit(amount: int, unit: TimeUnit = TimeUnit.WORKING_DAY) -> Limit:
    return Limit(amount=amount, unit=unit)


@pytest.mark.parametrize(
    ("day", "working", "provisional"),
    [
        (date(2026, 11, 23), True, False),
        (date(2026, 11, 22), False, False),
        (date(2026, 2, 14), True, False),  # a Saturday worked for the Spring Festival
        (date(2026, 2, 17), False, False),
        (date(2026, 10, 10), True, False),  # a Saturday worked for the National Day
        (date(2027, 1, 1), False, True),
        (date(2027, 1, 4), True, True),
        (date(2027, 1, 9), False, True),
        (date(2027, 10, 1), False, True),
        (date(2031, 5, 2), False, True),
    ],
)
def test_seeded_days(day: date, working: bool, provisional: bool) -> None:
    assert SEED.is_working(day) == (working, provisional)


def test_imported_days_win_and_cannot_be_changed_from_outside() -> None:
    imported = {date(2026, 11, 24): (False, False), date(2027, 1, 4): (True, False)}
    calendar = WorkCalendar.of(imported)
    imported.clear()
    assert calendar.is_working(date(2026, 11, 24)) == (False, False)
    assert calendar.is_working(date(2027, 1, 4)) == (True, False)
    assert calendar.is_working(date(2026, 11, 25)) == (True, False)


@pytest.mark.parametrize(
    ("start", "amount", "unit", "due", "provisional"),
    [
        (beijing(2026, 11, 23), 1, TimeUnit.WORKING_DAY, date(2026, 11, 24), False),
        (beijing(2026, 11, 20, 23, 59), 1, TimeUnit.WORKING_DAY, date(2026, 11, 23), False),
        (beijing(2026, 11, 21, 0, 1), 1, TimeUnit.WORKING_DAY, date(2026, 11, 23), False),
        (beijing(2026, 9, 30), 3, TimeUnit.WORKING_DAY, date(2026, 10, 10), False),
        (beijing(2026, 12, 30), 2, TimeUnit.WORKING_DAY, date(2027, 1, 4), True),
        (beijing(2026, 12, 30), 1, TimeUnit.WORKING_DAY, date(2026, 12, 31), False),
        (beijing(2026, 11, 23), 3, TimeUnit.NATURAL_DAY, date(2026, 11, 26), False),
        # The last day is a Sunday, within a long holiday, a Saturday that is worked, a day nobody announced.
        (beijing(2026, 11, 20), 2, TimeUnit.NATURAL_DAY, date(2026, 11, 23), False),
        (beijing(2026, 9, 21), 10, TimeUnit.NATURAL_DAY, date(2026, 10, 8), False),
        (beijing(2026, 10, 1), 9, TimeUnit.NATURAL_DAY, date(2026, 10, 10), False),
        (beijing(2026, 12, 29), 3, TimeUnit.NATURAL_DAY, date(2027, 1, 4), True),
        (beijing(2026, 11, 23), 0, TimeUnit.INSTANT, date(2026, 11, 23), False),
    ],
)
def test_due_at_the_end_of_the_last_day(
    start: datetime, amount: int, unit: TimeUnit, due: date, provisional: bool
) -> None:
    found = due_at(start, limit(amount, unit), SEED)
    assert found == (beijing(due.year, due.month, due.day, 23, 59, 59), provisional)
    assert found.at.tzinfo is UTC


def test_a_rule_of_its_own_lets_natural_days_end_on_a_day_off() -> None:
    there = Limit(amount=2, unit=TimeUnit.NATURAL_DAY, on_day_off=DayOff.THAT_DAY)
    assert legal_day(due_at(beijing(2026, 11, 20), there, SEED).at) == date(2026, 11, 22)


def test_the_day_of_the_start_is_that_of_beijing() -> None:
    # 16:30 UTC on Monday is Tuesday in Beijing.
    found = due_at(datetime(2026, 11, 23, 16, 30, tzinfo=UTC), limit(1), SEED)
    assert legal_day(found.at) == date(2026, 11, 25)


def test_hours_run_on() -> None:
    start = beijing(2026, 11, 21, 20)
    assert due_at(start, limit(3, TimeUnit.HOUR), SEED) == (start + timedelta(hours=3), False)


def test_naive_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        due_at(datetime(2026, 11, 23), limit(1), SEED)  # noqa: DTZ001 - that is the point


@given(moments, st.integers(1, 30))
def test_working_days_between_start_and_due_are_the_limit(start: datetime, amount: int) -> None:
    due = legal_day(due_at(start, limit(amount), SEED).at)
    day, worked = legal_day(start), 0
    while day < due:
        day += timedelta(days=1)
        worked += SEED.is_working(day)[0]
    assert worked == amount
    assert SEED.is_working(due)[0]


@pytest.mark.parametrize(
    ("at", "colour"),
    [
        (beijing(2026, 11, 19, 23, 59), "green"),
        (beijing(2026, 11, 20, 0, 0), "yellow"),
        (beijing(2026, 11, 22), "yellow"),
        (beijing(2026, 11, 23, 23, 59, 59), "yellow"),
        (beijing(2026, 11, 24, 0, 0), "red"),
    ],
)
def test_lights_warn_one_working_day_before(at: datetime, colour: str) -> None:
    due = beijing(2026, 11, 23, 23, 59, 59)
    assert light(due, at, SEED) == colour


def test_lights_without_a_calendar_warn_the_day_before() -> None:
    due = beijing(2026, 11, 23, 23, 59, 59)
    assert light(due, beijing(2026, 11, 21)) == "green"
    assert light(due, beijing(2026, 11, 22)) == "yellow"


@given(moments, st.integers(1, 60), st.sampled_from(RUNNING), st.integers(0, 6))
def test_the_days_that_were_read_are_all_that_counting_looks_at(
    start: datetime, amount: int, unit: TimeUnit, days_before: int
) -> None:
    counted = limit(amount, unit)
    due = due_at(start, counted, WorkCalendar.of({}, days_counted(start, counted)))
    assert due == due_at(start, counted, SEED)
    at = due.at - timedelta(days=days_before)
    assert light(due.at, at, WorkCalendar.of({}, days_of_light(due.at, at))) == light(due.at, at, SEED)


def test_a_day_that_was_not_read_is_no_working_day_by_guess() -> None:
    day = date(2026, 11, 24)
    calendar = WorkCalendar.of({day: (False, False)}, DayRange(day, day))
    assert calendar.is_working(day) == (False, False)
    with pytest.raises(DayNotRead):
        calendar.is_working(date(2026, 11, 25))


def test_ranges_of_days_go_together() -> None:
    first, second = (DayRange(date(2026, 11, n), date(2026, 11, n + 3)) for n in (1, 8))
    assert DayRange.around([second, first]) == DayRange(date(2026, 11, 1), date(2026, 11, 11))
    assert DayRange.around([]) is None
