"""Resident ID numbers (公民身份号码, GB 11643): our own check.

The libraries that were tried refuse the residence permits for people from Hong Kong, Macao and Taiwan (81, 82, 83),
or accept birth dates in the future. Nothing here says the number back: messages travel into pages and logs.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_CHARACTERS = "10X98765432"

PROVINCES = frozenset(
    ["11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37", "41", "42", "43", "44", "45", "46", "50", "51", "52", "53", "54", "61", "62", "63", "64", "65", "71", "81", "82", "83"]
)
"""First two digits by GB/T 2260; 81, 82 and 83 as in 国办发〔2018〕81号 art. 3."""

FOREIGNER = "9"
"""First digit on the foreigners' permanent residence card of 2023; what follows is not a division code."""

_SHAPE = re.compile(r"[0-9]{17}[0-9X]")
_OLD_SHAPE = re.compile(r"[0-9]{15}")


class Sex(StrEnum):
    """As the number states it (GB/T 2261.1)."""

    MALE = "male"
    FEMALE = "female"


@dataclass(frozen=True, slots=True)
class IdNumberProblem:
    """Why a text is not an ID number, and what to do."""

    code: str
    message_zh: str
    message_en: str


FIFTEEN_DIGITS = IdNumberProblem(
    "id-number.fifteen-digits",
    "这是15位旧号码，请填写18位公民身份号码。",
    "This is an old number of 15 digits; give the number of 18 characters.",
)
WRONG_SHAPE = IdNumberProblem(
    "id-number.wrong-shape",
    "公民身份号码应为18位：17位数字加1位数字或X。",
    "An ID number has 18 characters: 17 digits, then a digit or X.",
)
WRONG_PLACE = IdNumberProblem(
    "id-number.wrong-place",
    "公民身份号码前两位不是有效的地区代码，请核对。",
    "The first two digits of the ID number are not a place; check them.",
)
WRONG_BIRTH_DATE = IdNumberProblem(
    "id-number.wrong-birth-date",
    "公民身份号码中的出生日期不存在或晚于今天，请核对。",
    "The birth date in the ID number does not exist or lies in the future; check it.",
)
WRONG_CHECK = IdNumberProblem(
    "id-number.wrong-check",
    "公民身份号码校验不通过，请核对每一位。",
    "The ID number contains a typing error; check every digit.",
)


def normalise_id_number(text: str) -> str:
    """The number as it is stored and compared: no surrounding blanks, a capital X."""
    return text.strip().upper()


def check_id_number(text: str, on: date) -> IdNumberProblem | None:
    """What is wrong with an ID number on the day `on`; None when nothing is."""
    number = normalise_id_number(text)
    if _OLD_SHAPE.fullmatch(number):
        return FIFTEEN_DIGITS
    if not _SHAPE.fullmatch(number):
        return WRONG_SHAPE
    if number[:2] not in PROVINCES and number[0] != FOREIGNER:
        return WRONG_PLACE
    born_on = _date_in(number)
    if born_on is None or born_on > on:
        return WRONG_BIRTH_DATE
    if _check_character(number) != number[17]:
        return WRONG_CHECK
    return None


def birth_date_of(id_number: str) -> date:
    """The birth date in a number that passed the check. Raises ValueError for others."""
    born_on = _date_in(normalise_id_number(id_number))
    if born_on is None:
        raise ValueError("not an ID number")
    return born_on


def sex_of(id_number: str) -> Sex:
    """The sex in a number that passed the check: an odd 17th digit is male."""
    return Sex.MALE if int(normalise_id_number(id_number)[16]) % 2 else Sex.FEMALE


def _date_in(number: str) -> date | None:
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None


def _check_character(number: str) -> str:
    total = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, number[:17], strict=True))
    return CHECK_CHARACTERS[total % 11]
