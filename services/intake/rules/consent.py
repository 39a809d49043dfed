"""While a holder's consent is of use."""

WAITS_FOR_CONSENT = frozenset(("submitted", "correction_required"))
"""States of a case in which somebody's certificates can still be looked at."""
