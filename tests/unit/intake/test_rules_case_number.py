"""Case numbers: division, day, serial and a check character that tells slips of the pen."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.iso7064 import mod_37_36

from services.intake.rules.case_number import compose_case_number


def test_known_number() -> None:
    assert compose_case_number("330106", date(2026, 11, 22), 1) == "3301062611220000017"


@given(st.integers(100000, 999999), st.dates(date(2020, 1, 1), date(2068, 12, 31)), st.integers(0, 999_999))
def test_what_is_composed_is_a_case_number(division: int, on: date, serial: int) -> None:
    number = compose_case_number(str(division), on, serial)
    assert len(number) == 19
    assert mod_37_36.is_valid(number)
    assert number[6:12] == f"{on:%y%m%d}"


@pytest.mark.parametrize(
    ("division", "serial"), [("33010", 1), ("33010a", 1), ("330106", -1), ("330106", 1_000_000)]
)
def test_what_does_not_fit_is_refused(division: str, serial: int) -> None:
    with pytest.raises(ValueError, match="digits"):
        compose_case_number(division, date(2026, 11, 22), serial)
