"""Whether the certificate that a case ends with may be issued; its identifier and its validity."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from stdnum.iso7064 import mod_37_36

from shared.catalogue.matter import Matter, ResultCertificate
from shared.catalogue.terms import months_after
from shared.events.approval import Decision

_ROOT = "1.2.156.3005.2"
_FIRST_VERSION = "001"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a case stands in approval: its matter, its decision if there is one, and the type of certificate
    that it ends with if that was granted."""

    matter: str
    matter_version: int
    outcome: str | None
    result: str | None
    decided_on: date | None
    """The legal day of the decision: its certificate is of that day, however late it is issued."""


class Refusal(StrEnum):
    """Why nothing is issued although a decision was heard; stable codes."""

    UNKNOWN_CASE = "issue.unknown-case"
    NOT_DECIDED = "issue.not-decided"
    DENIED = "issue.denied"
    OTHER_RESULT = "issue.other-result"
    """Granted, but for another matter, version or certificate than this service knows of the case."""


class IssueRefused(Exception):
    """Approval does not stand by the decision that was heard."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def check_standing(matter: Matter, standing: Standing | None) -> date:
    """The day of the decision.

    Raises IssueRefused unless approval granted the result of exactly this matter.
    """
    if standing is None:
        raise IssueRefused(Refusal.UNKNOWN_CASE)
    if standing.outcome is None:
        raise IssueRefused(Refusal.NOT_DECIDED)
    if standing.outcome != Decision.APPROVED:
        raise IssueRefused(Refusal.DENIED)
    ours = (matter.code, matter.version, matter.result.certificate_type if matter.result else None)
    if ours[2] is None or ours != (standing.matter, standing.matter_version, standing.result):
        raise IssueRefused(Refusal.OTHER_RESULT)
    if standing.decided_on is None:
        raise IssueRefused(Refusal.NOT_DECIDED)
    return standing.decided_on


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
