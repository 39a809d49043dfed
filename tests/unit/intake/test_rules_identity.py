"""Identity numbers: what GB 11643 allows passes, every single slip is refused."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.rules.identity import (
    IdNumberProblem,
    age_on,
    birth_on,
    check_character,
    check_id_number,
    normalise_id_number,
)

TODAY = date(2026, 11, 23)


def number(region: str, birth: str, serial: str = "851") -> str:
    return (body := f"{region}{birth}{serial}") + check_character(body)


def test_published_sample_of_the_standard() -> None:
    assert check_id_number("11010519491231002X", TODAY) is None
    assert check_id_number("440524188001010014", TODAY) is IdNumberProblem.BIRTH_DATE


@pytest.mark.parametrize(
    "region", ["110105", "330102", "710000", "810000", "820000", "830000", "911124", "931156"]
)
def test_regions_and_cards_that_pass(region: str) -> None:
    assert check_id_number(number(region, "19900307"), TODAY) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", IdNumberProblem.MALFORMED),
        ("33010219900307851", IdNumberProblem.MALFORMED),
        ("3301021990030785155", IdNumberProblem.MALFORMED),
        ("X30102199003078515", IdNumberProblem.MALFORMED),
        ("٣٣٠١٠٢١٩٩٠٠٣٠٧٨٥١٥", IdNumberProblem.MALFORMED),
        ("110105491231002", IdNumberProblem.FIFTEEN_DIGITS),
        ("330102199003078516", IdNumberProblem.CHECK_DIGIT),
        (number("990102", "19900307"), IdNumberProblem.REGION),
        (number("100102", "19900307"), IdNumberProblem.REGION),
        (number("840102", "19900307"), IdNumberProblem.REGION),
        (number("330102", "19900229"), IdNumberProblem.BIRTH_DATE),
        (number("330102", "19901301"), IdNumberProblem.BIRTH_DATE),
        (number("330102", "18991231"), IdNumberProblem.BIRTH_DATE),
        (number("330102", "00000101"), IdNumberProblem.BIRTH_DATE),
        (number("330102", "20261124"), IdNumberProblem.BIRTH_IN_FUTURE),
        (number("330102", "20290101"), IdNumberProblem.BIRTH_IN_FUTURE),
    ],
)
def test_refused_with_its_own_reason(text: str, problem: IdNumberProblem) -> None:
    assert check_id_number(text, TODAY) is problem


def test_a_child_born_today_has_a_number() -> None:
    assert check_id_number(number("330102", "20261123"), TODAY) is None


def test_one_spelling() -> None:
    assert check_id_number("11010519491231002x", TODAY) is None
    assert normalise_id_number(" 110105 19491231 002x ") == "11010519491231002X"
    assert normalise_id_number("１１０１０５１９４９１２３１００２Ｘ") == "11010519491231002X"


@given(
    st.sampled_from(["110105", "810000", "911124"]),
    st.dates(date(1900, 1, 1), TODAY),
    st.integers(0, 999),
    st.integers(0, 17),
    st.integers(1, 9),
)
def test_every_single_wrong_digit_is_caught(
    region: str, birth: date, serial: int, at: int, shift: int
) -> None:
    right = number(region, f"{birth:%Y%m%d}", f"{serial:03d}")
    assert check_id_number(right, TODAY) is None
    assert birth_on(right) == birth
    digit = 10 if right[at] == "X" else int(right[at])
    wrong = right[:at] + str((digit + shift) % 10) + right[at + 1 :]
    assert wrong == right or check_id_number(wrong, TODAY) is not None


@given(st.text(max_size=24))
def test_any_text_gets_an_answer(text: str) -> None:
    assert check_id_number(text, TODAY) in {None, *IdNumberProblem}


@given(st.dates(date(1900, 1, 1), date(2020, 1, 1)), st.integers(0, 40_000))
def test_age_never_falls_and_grows_by_one(birth: date, days: int) -> None:
    on = min(birth + timedelta(days=days), date(2100, 1, 1))
    assert age_on(birth, on + timedelta(days=1)) - age_on(birth, on) in (0, 1)


def test_age_at_the_edges() -> None:
    assert age_on(date(2010, 11, 24), TODAY) == 15
    assert age_on(date(2010, 11, 23), TODAY) == 16
    assert age_on(date(2012, 2, 29), date(2027, 2, 28)) == 14
    assert age_on(date(2012, 2, 29), date(2027, 3, 1)) == 15
