"""The case number (办件编号): division, day, serial and a check character. It says nothing about a person."""

import re
from datetime import date

from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_37_36

SERIALS = 1_000_000
_SHAPE = re.compile(r"[1-9][0-9]{5}[0-9]{6}[0-9]{6}[0-9A-Z]")


def compose_case_number(division: str, on: date, serial: int) -> str:
    """division6 + yyMMdd + seq6 + ISO 7064 MOD 37,36 check character.

    Raises ValueError when the division is not six digits or the serial not within 0..999,999.
    """
    if not re.fullmatch(r"[1-9][0-9]{5}", division):
        raise ValueError("a division code has six digits")
    if not 0 <= serial < SERIALS:
        raise ValueError("a serial lies within 0..999,999")
    body = f"{division}{on:%y%m%d}{serial:06d}"
    return body + mod_37_36.calc_check_digit(body)


def check_case_number(text: str) -> bool:
    """Whether this can be one of our numbers: one wrong or two swapped characters never pass."""
    if not _SHAPE.fullmatch(text):
        return False
    try:
        mod_37_36.validate(text)
    except ValidationError:
        return False
    return True
