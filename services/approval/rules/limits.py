"""Due dates (行政许可法 art. 82, 民法典 art. 201): the day of the start is not counted, the last day counts whole.

Days end at 24:00 in Beijing; we say 23:59:59 of the day, so that the date reads right in every list.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from services.approval.rules.calendar import WorkCalendar
from shared.catalogue.matter import Limit
from shared.legal_time import LEGAL_ZONE, legal_day

WORKING_DAYS, NATURAL_DAYS, HOURS = "working_days", "natural_days", "hours"
GREEN, YELLOW, RED = "green", "yellow", "red"
_DAY = timedelta(days=1)


class Due(NamedTuple):
    """The moment by which something must be done; provisional while it rests on days not yet announced."""

    at: datetime
    provisional: bool


class Remaining(NamedTuple):
    """What is left of a limit when its clock stops: days, or seconds for limits in hours."""

    days: int
    seconds: float
    overdue_since: datetime | None
    """Set when the limit had already passed: stopping the clock does not mend that."""


def due_at(start: datetime, limit: Limit, calendar: WorkCalendar) -> Due:
    """When a limit that starts at an aware moment runs out, in UTC."""
    _check_aware(start)
    unit, count = _measure(limit)
    if unit == HOURS:
        return Due((start + timedelta(hours=count)).astimezone(UTC), False)
    return _days_after(legal_day(start), count, unit, calendar)


def remaining(due: Due, at: datetime, limit: Limit, calendar: WorkCalendar) -> Remaining:
    """What is left when the clock stops at a moment. The day of the stop is not counted as used."""
    _check_aware(at)
    unit, _ = _measure(limit)
    if at > due.at:
        return Remaining(0, 0.0, due.at)
    if unit == HOURS:
        return Remaining(0, (due.at - at).total_seconds(), None)
    day, last, days = legal_day(at), legal_day(due.at), 0
    while day < last:
        day += _DAY
        days += unit == NATURAL_DAYS or calendar.is_working(day)[0]
    return Remaining(days, 0.0, None)


def resume(left: Remaining, at: datetime, limit: Limit, calendar: WorkCalendar) -> Due:
    """The new due moment when the clock goes on at a moment; that day is not counted."""
    _check_aware(at)
    unit, _ = _measure(limit)
    if left.overdue_since is not None:
        return Due(left.overdue_since, False)
    if unit == HOURS:
        return Due((at + timedelta(seconds=left.seconds)).astimezone(UTC), False)
    return _days_after(legal_day(at), left.days, unit, calendar)


def light(due: datetime, at: datetime, calendar: WorkCalendar | None = None) -> str:
    """Red when overdue, yellow from one working day before the due date, else green.

    Without a calendar the day before counts, whatever day it is.
    """
    if at > due:
        return RED
    warn_on = legal_day(due) - _DAY
    while calendar is not None and not calendar.is_working(warn_on)[0]:
        warn_on -= _DAY
    return YELLOW if legal_day(at) >= warn_on else GREEN


def _days_after(day: date, count: int, unit: str, calendar: WorkCalendar) -> Due:
    provisional = False
    while count > 0:
        day += _DAY
        working, guessed = calendar.is_working(day) if unit == WORKING_DAYS else (True, False)
        # A day that is guessed to be free moves the due date just as one that is guessed to be worked.
        provisional = provisional or guessed
        count -= working
    return Due(datetime.combine(day, time(23, 59, 59), LEGAL_ZONE).astimezone(UTC), provisional)


def _measure(limit: Limit) -> tuple[str, int]:
    if limit.hours is not None:
        return HOURS, limit.hours
    if limit.days is None:
        raise ValueError("a limit has days or hours")
    return (WORKING_DAYS if limit.unit == "working" else NATURAL_DAYS), limit.days


def _check_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone has no legal day")
