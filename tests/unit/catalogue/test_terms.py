"""Conditions, limits and months: the small values of a matter."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue.pointers import MISSING, follow, parts_of, pointer_of
from shared.catalogue.terms import DayOff, Limit, Names, TimeUnit, holds, months_after


@pytest.mark.parametrize(
    ("condition", "facts", "expected"),
    [
        (None, {}, True),
        ({}, {"a": 1}, True),
        ({"a": ("x",)}, {"a": "x"}, True),
        ({"a": ("x", "y")}, {"a": "y"}, True),
        ({"a": ("x",)}, {"a": "y"}, False),
        ({"a": ("x",)}, {}, False),
        ({"a": ("x",)}, {"a": None}, False),
        ({"a": (True,)}, {"a": 1}, False),
        ({"a": (1,)}, {"a": True}, False),
        ({"a": (0,)}, {"a": False}, False),
        ({"a": (1,)}, {"a": 1.0}, True),
        ({"a": (False,)}, {"a": False}, True),
        ({"a": ("x",), "b": (True,)}, {"a": "x", "b": True}, True),
        ({"a": ("x",), "b": (True,)}, {"a": "x", "b": False}, False),
    ],
)
def test_holds(condition: dict[str, tuple[Any, ...]] | None, facts: dict[str, Any], expected: bool) -> None:
    assert holds(condition, facts) is expected


def limit(amount: int, unit: str, on_day_off: DayOff = DayOff.NEXT_WORKING_DAY) -> Limit:
    return Limit(amount=amount, unit=TimeUnit(unit), on_day_off=on_day_off)


@pytest.mark.parametrize(
    ("promised", "legal", "expected"),
    [
        (limit(5, "working_day"), limit(5, "working_day"), True),
        (limit(6, "working_day"), limit(5, "working_day"), False),
        (limit(5, "natural_day"), limit(5, "working_day"), True),
        # Five working days may be fifteen natural ones around a long holiday.
        (limit(5, "working_day"), limit(14, "natural_day"), False),
        (limit(0, "instant"), limit(1, "hour"), True),
        (limit(24, "hour"), limit(1, "natural_day"), True),
        (limit(25, "hour"), limit(1, "working_day"), False),
        (limit(1, "hour"), limit(0, "instant"), False),
        (limit(1, "natural_day"), limit(48, "hour"), False),
        (limit(5, "natural_day"), limit(5, "natural_day"), True),
        (limit(5, "natural_day"), limit(5, "natural_day", DayOff.THAT_DAY), False),
        (limit(5, "natural_day", DayOff.THAT_DAY), limit(5, "natural_day"), True),
    ],
)
def test_a_promise_is_compared_only_where_that_is_sure(promised: Limit, legal: Limit, expected: bool) -> None:
    assert promised.surely_within(legal) is expected


@pytest.mark.parametrize(
    ("start", "months", "expected"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2024, 1, 31), 1, date(2024, 2, 29)),
        (date(2024, 2, 29), 12, date(2025, 2, 28)),
        (date(2026, 8, 31), 6, date(2027, 2, 28)),
        (date(2026, 11, 23), 0, date(2026, 11, 23)),
        (date(2026, 12, 1), 1, date(2027, 1, 1)),
        (date(2026, 3, 31), 1, date(2026, 4, 30)),
    ],
)
def test_months_after(start: date, months: int, expected: date) -> None:
    assert months_after(start, months) == expected


@given(st.lists(st.text(), max_size=4))
def test_a_pointer_leads_back_to_its_path(path: list[str]) -> None:
    assert list(parts_of(pointer_of(path))) == path


def test_following_a_pointer_that_leads_nowhere() -> None:
    assert follow({"a": {"b": 0}}, "/a/b") == 0
    assert follow({"a": {"b": 0}}, "/a/c") is MISSING
    assert follow({"a": 1}, "/a/b") is MISSING
    assert follow({"a": [1]}, "/a/0") is MISSING


@pytest.mark.parametrize(("locale", "text"), [("zh-CN", "甲"), ("ZH", "甲"), ("en", "a"), ("fr", "a")])
def test_names_in_a_locale(locale: str, text: str) -> None:
    assert Names(zh="甲", en="a").within(locale) == text
