"""Due dates (行政许可法 art. 82, 民法典 art. 201, 203): the first day does not count, the last counts whole,
and natural days do not end on a day off.

Days end at 24:00 in Beijing; we say 23:59:59 of the day, so that the date reads right in every list.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from services.approval.rules.calendar import DayRange, WorkCalendar
from shared.catalogue.terms import Limit, TimeUnit
from shared.legal_time import LEGAL_ZONE, legal_day

GREEN, YELLOW, RED = "green", "yellow", "red"
_DAY = timedelta(days=1)
_DAYS_A_WORKING_DAY = 3
_LONGEST_BREAK = 60
"""Two days of three free, and two months besides: no calendar of a state that works is as idle as that."""


class Due(NamedTuple):
    """The moment by which something must be done; provisional while it rests on days not yet announced."""

    at: datetime
    provisional: bool


def due_at(start: datetime, limit: Limit, calendar: WorkCalendar) -> Due:
    """When a limit that starts at an aware moment runs out, in UTC."""
    _check_aware(start)
    if limit.unit is TimeUnit.HOUR:
        return Due(start.astimezone(UTC) + timedelta(hours=limit.amount), False)
    return _days_after(legal_day(start), limit, calendar)


def days_counted(start: datetime, limit: Limit) -> DayRange:
    """The days at which counting a limit may have to look, wherever its end falls."""
    _check_aware(start)
    day = legal_day(start)
    return DayRange(day, day + _DAY * (limit.amount * _DAYS_A_WORKING_DAY + _LONGEST_BREAK))


def days_of_light(due: datetime, at: datetime) -> DayRange:
    """The days at which `light` may have to look."""
    return DayRange(legal_day(at), max(legal_day(due), legal_day(at)))


def light(due: datetime, at: datetime, calendar: WorkCalendar | None = None) -> str:
    """Red when overdue, yellow from one working day before the due date, else green.

    Without a calendar the day before counts, whatever day it is.
    """
    if at > due:
        return RED
    warn_on = legal_day(due) - _DAY
    today = legal_day(at)
    while calendar is not None and warn_on > today and not calendar.is_working(warn_on)[0]:
        warn_on -= _DAY
    return YELLOW if today >= warn_on else GREEN


def _days_after(day: date, limit: Limit, calendar: WorkCalendar) -> Due:
    """The end of the last day that is counted; what is due at once (即办) is due that day."""
    provisional, left = False, limit.amount
    # A day that is guessed to be free moves the due date just as one that is guessed to be worked.
    while left > 0:
        day += _DAY
        working, guessed = calendar.is_working(day) if limit.unit is TimeUnit.WORKING_DAY else (True, False)
        provisional = provisional or guessed
        left -= working
    while limit.moves:
        working, guessed = calendar.is_working(day)
        provisional = provisional or guessed
        if working:
            break
        day += _DAY
    return Due(datetime.combine(day, time(23, 59, 59), LEGAL_ZONE).astimezone(UTC), provisional)


def _check_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone has no legal day")
