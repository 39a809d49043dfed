"""While a holder's consent is of use, and by what somebody else may give it."""

from enum import StrEnum

from shared.events.view import CaseState

WAITS_FOR_CONSENT = frozenset((CaseState.SUBMITTED, CaseState.CORRECTION_REQUIRED))
"""States of a case in which somebody's certificates can still be looked at."""


class ProxyDocument(StrEnum):
    """What shows that somebody may agree for a holder."""

    GUARDIANSHIP = "guardianship"
    """监护关系证明: the household register, a birth certificate, a judgment."""
    POWER_OF_ATTORNEY = "power_of_attorney"
    """授权委托书."""
