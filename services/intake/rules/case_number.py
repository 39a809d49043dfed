"""Case numbers: division (6 digits), date (yyMMdd), serial (6 digits), check character (ISO 7064 MOD 37,36).

GB/T 39046 asks only that a number be unique and within 50 characters. Nothing personal is in it.
"""

import re
from datetime import date

from stdnum.iso7064 import mod_37_36

_DIVISION = re.compile(r"[0-9]{6}")
SERIALS = 1_000_000
"""After so many the digits begin anew; a number is told from an older one by its day."""


def compose_case_number(division: str, on: date, serial: int) -> str:
    """The number of the serial-th case of a day. Raises ValueError for what does not fit into its digits."""
    if not _DIVISION.fullmatch(division):
        raise ValueError("a division code has six digits")
    if not 0 <= serial < SERIALS:
        raise ValueError("a serial has at most six digits")
    body = f"{division}{on:%y%m%d}{serial:06d}"
    return body + str(mod_37_36.calc_check_digit(body))


def serial_of(number: str) -> int:
    """The serial in a case number."""
    return int(number[12:18])
