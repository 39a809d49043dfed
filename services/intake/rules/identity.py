"""Citizen identity numbers (GB 11643), checked here because the libraries at hand each get a part wrong.

Besides mainland numbers this takes residence permits of Hong Kong, Macao and Taiwan residents (81, 82, 83;
国办发〔2018〕81号 art. 3) and the foreigners' permanent residence card of 2023 (leading 9).
"""

import re
from datetime import date
from enum import StrEnum

from shared.typed import clean_code

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_PROVINCES = frozenset(
    str(code)
    # GB/T 2260; 71 Taiwan, 81 Hong Kong, 82 Macao; 83 is for residents of Taiwan on the mainland.
    for block in ((11, 15), (21, 23), (31, 37), (41, 46), (50, 54), (61, 65), (71, 71), (81, 83))
    for code in range(block[0], block[1] + 1)
)
_SHAPE = re.compile(r"[0-9]{17}[0-9X]")
_OLD_SHAPE = re.compile(r"[0-9]{15}")
# Nobody alive was born earlier; a smaller year is a slip of the pen that the check digit missed.
_EARLIEST_BIRTH = date(1900, 1, 1)


class IdNumberProblem(StrEnum):
    """Why an identity number is refused; the value is the tail of the field error's code."""

    MALFORMED = "malformed"
    FIFTEEN_DIGITS = "fifteen-digits"
    REGION = "region"
    BIRTH_DATE = "birth-date"
    BIRTH_IN_FUTURE = "birth-in-future"
    CHECK_DIGIT = "check-digit"


def normalise_id_number(text: str) -> str:
    """One spelling for one number: made plain, without what does not show, X in upper case."""
    return clean_code(text).upper()


def check_id_number(text: str, on: date) -> IdNumberProblem | None:
    """What is wrong with an identity number on a day, or None when nothing is."""
    number = normalise_id_number(text)
    if not _SHAPE.fullmatch(number):
        return IdNumberProblem.FIFTEEN_DIGITS if _OLD_SHAPE.fullmatch(number) else IdNumberProblem.MALFORMED
    if check_character(number[:17]) != number[17]:
        return IdNumberProblem.CHECK_DIGIT
    # A foreigners' card has the place of issue one digit later: 9, place (2), nationality (3).
    if (number[1:3] if number[0] == "9" else number[:2]) not in _PROVINCES:
        return IdNumberProblem.REGION
    return _birth_problem(number, on)


def birth_on(id_number: str) -> date:
    """The date of birth in a number. Raises ValueError unless there is a real date in it."""
    number = normalise_id_number(id_number)
    if not _SHAPE.fullmatch(number):
        raise ValueError("not an identity number of 18 characters")
    return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))


def check_character(first_17: str) -> str:
    """The 18th character for the first 17 digits (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, first_17, strict=True))
    return _CHECK_CHARACTERS[total % 11]


def age_on(birth: date, on: date) -> int:
    """Full years of age (周岁) on a day; somebody born on 29 February ages on 1 March in common years."""
    return on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day))


def _birth_problem(number: str, on: date) -> IdNumberProblem | None:
    try:
        birth = birth_on(number)
    except ValueError:
        return IdNumberProblem.BIRTH_DATE
    if birth < _EARLIEST_BIRTH:
        return IdNumberProblem.BIRTH_DATE
    return IdNumberProblem.BIRTH_IN_FUTURE if birth > on else None
