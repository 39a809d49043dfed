"""While a holder's consent is of use."""

from shared.events.view import CaseState

WAITS_FOR_CONSENT = frozenset((CaseState.SUBMITTED, CaseState.CORRECTION_REQUIRED))
"""States of a case in which somebody's certificates can still be looked at."""
