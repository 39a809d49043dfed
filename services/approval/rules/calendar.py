"""Working days of a region: as imported, else as the State Council published them, else a guess that says so.

The library's data end with the last published year; asked beyond it, it refuses, and other libraries answer
without the make-up days (调休). So beyond the data a day is weekday-minus-fixed-holidays and provisional.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import MappingProxyType

# 全国年节及纪念日放假办法 (国令795, since 2025): those whose date does not follow the moon or the sun.
_FIXED_HOLIDAYS = frozenset({(1, 1), (5, 1), (5, 2), (10, 1), (10, 2), (10, 3)})


@dataclass(frozen=True, slots=True)
class DayRange:
    """Days in a row, both ends included."""

    first: date
    last: date

    @classmethod
    def around(cls, ranges: Iterable["DayRange"]) -> "DayRange | None":
        """The shortest range that holds all of these; None for none."""
        found = list(ranges)
        return cls(min(r.first for r in found), max(r.last for r in found)) if found else None

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


class DayNotRead(LookupError):
    """A day is asked about that was not read: an imported holiday would be overlooked."""


@dataclass(frozen=True, slots=True)
class WorkCalendar:
    """The working days of one region."""

    overrides: Mapping[date, tuple[bool, bool]]
    """Imported days: (working, provisional)."""
    days: DayRange | None = None
    """The days for which the import was read; None when all of it is there."""

    @classmethod
    def of(cls, overrides: Mapping[date, tuple[bool, bool]], days: DayRange | None = None) -> "WorkCalendar":
        """A calendar in which the imported days win over the seed."""
        return cls(MappingProxyType(dict(overrides)), days)

    def is_working(self, day: date) -> tuple[bool, bool]:
        """(whether it is a working day, whether that is provisional). Raises DayNotRead."""
        if self.days is not None and day not in self.days:
            raise DayNotRead(f"{day} is not within {self.days.first} to {self.days.last}")
        known = self.overrides.get(day)
        return _seed(day) if known is None else known


@lru_cache(maxsize=4096)
def _seed(day: date) -> tuple[bool, bool]:
    # Imported at the first question: a process that computes no due dates need not hold the tables.
    import chinese_calendar

    try:
        return bool(chinese_calendar.is_workday(day)), False
    except NotImplementedError:
        return day.weekday() < 5 and (day.month, day.day) not in _FIXED_HOLIDAYS, True
