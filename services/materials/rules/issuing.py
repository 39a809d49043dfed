"""The identifier and the validity of a certificate that a case ends with."""

from datetime import date

from stdnum.iso7064 import mod_37_36

from shared.catalogue.matter import Matter, ResultCertificate
from shared.catalogue.terms import months_after

_ROOT = "1.2.156.3005.2"
_FIRST_VERSION = "001"


def certificate_identifier(matter: Matter, on: date, serial: int) -> str:
    """电子证照标识 (GB/T 36904): root, type (21), issuer (18), serial, version (3), ISO 7064 MOD 37,36 check.

    Raises ValueError for a matter without a result and a negative serial.
    """
    if matter.result is None:
        raise ValueError(f"matter {matter.code} issues nothing")
    if serial < 0:
        raise ValueError("a serial is not negative")
    parts = (
        matter.result.directory_code,
        matter.departments[matter.department].credit_code,
        f"{on:%Y%m%d}{serial:06d}",
        _FIRST_VERSION,
    )
    return ".".join((_ROOT, *parts, str(mod_37_36.calc_check_digit("".join(parts)))))


def validity(result: ResultCertificate, on: date) -> tuple[date, date | None]:
    """First and last day of validity; no last day for what is valid without end.

    Months end on the day of the same number, or the last day of a shorter month (民法典 art. 201 and 202).
    """
    months = result.validity.months
    return on, None if months is None else months_after(on, months)
