"""The identifier and the validity of a certificate that a case ends with."""

import calendar
import hashlib
from datetime import date, timedelta

from stdnum.cn import uscc
from stdnum.iso7064 import mod_37_36

from shared.catalogue.matter import Matter, Result

_ROOT = "1.2.156.3005.2"
_NATIONAL = "100000"
_FIRST_VERSION = "001"
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


def certificate_identifier(matter: Matter, on: date, serial: int) -> str:
    """电子证照标识 (GB/T 36904): root, type (21), issuer (18), serial, version (3), ISO 7064 MOD 37,36 check.

    Type and issuer are codes of the right form that follow from the matter's own codes; they stand in until the
    matter file carries registered ones. Raises ValueError for a matter without a result and a negative serial.
    """
    if matter.result is None:
        raise ValueError(f"matter {matter.code} issues nothing")
    if serial < 0:
        raise ValueError("a serial is not negative")
    kind = matter.result.certificate_type
    parts = (
        _authority(_NATIONAL, kind) + f"{_digest(kind) % 1000:03d}",
        _authority(matter.region, matter.department),
        f"{on:%Y%m%d}{serial:06d}",
        _FIRST_VERSION,
    )
    return ".".join((_ROOT, *parts, str(mod_37_36.calc_check_digit("".join(parts)))))


def is_certificate_identifier(text: str) -> bool:
    """Whether a text has the form and the check character of a certificate identifier."""
    if not text.startswith(_ROOT + "."):
        return False
    parts = text[len(_ROOT) + 1 :].split(".")
    lengths = [len(part) for part in parts]
    return len(parts) == 5 and lengths[:2] == [21, 18] and lengths[3:] == [3, 1] and mod_37_36.is_valid("".join(parts))


def validity(result: Result, on: date) -> tuple[date, date | None]:
    """First and last day of validity; no last day when the result names no period.

    Months end on the day of the same number, or the last day of a shorter month (民法典 art. 201 and 202).
    """
    if result.valid_months is not None:
        return on, _months_after(on, result.valid_months)
    if result.valid_days is not None:
        return on, on + timedelta(days=result.valid_days)
    return on, None


def _months_after(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _authority(division: str, code: str) -> str:
    """A unified social credit code (GB 32100) of a government body, following from a division and a name."""
    organisation = f"{_digest(code) % 10**8:08d}"
    total = sum(weight * int(digit) for weight, digit in zip(_ORGANISATION_WEIGHTS, organisation, strict=True))
    check = "0123456789X"[(11 - total % 11) % 11]
    number = f"11{division}{organisation}{check}"
    return number + str(uscc.calc_check_digit(number))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
