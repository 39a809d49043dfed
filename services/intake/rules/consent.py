"""While a holder's consent is of use, who may give it and take it back, and by what it is proven."""

from enum import StrEnum
from uuid import UUID

from shared.events.view import CaseState

WAITS_FOR_CONSENT = frozenset((CaseState.SUBMITTED, CaseState.CORRECTION_REQUIRED))
"""States of a case in which somebody's certificates can still be looked at."""


class ProxyDocument(StrEnum):
    """What shows that somebody may agree for a holder."""

    GUARDIANSHIP = "guardianship"
    """监护关系证明: the household register, a birth certificate, a judgment."""
    POWER_OF_ATTORNEY = "power_of_attorney"
    """授权委托书."""


class ConsentState(StrEnum):
    """How a consent stands, and with that what its holder can do."""

    ASKED = "asked"
    STANDS = "stands"
    WITHDRAWN = "withdrawn"
    REPLACED = "replaced"
    """Withdrawn, and given again since."""
    OVER = "over"
    """The case went on without, or is decided: nothing is read any more."""


def consent_state(
    *, given: bool, withdrawn: bool, replaced: bool, waits: bool, undecided: bool
) -> ConsentState:
    """How a consent stands in a case that `waits` for consents or at least is `undecided`."""
    if replaced:
        return ConsentState.REPLACED
    if not given:
        return ConsentState.ASKED if waits else ConsentState.OVER
    if not undecided:
        return ConsentState.OVER
    return ConsentState.WITHDRAWN if withdrawn else ConsentState.STANDS


def may_speak(person: UUID | None, holder: UUID, proxy: UUID | None) -> bool:
    """Whether somebody may take a consent back: whose it is, or who agreed in their place."""
    return person is not None and person in (holder, proxy)


def may_agree_again(person: UUID | None, holder: UUID, withdrawn_for: UUID | None) -> bool:
    """Whether somebody may give a consent that was withdrawn: the holder, always; somebody in their place
    only if they had withdrawn it, for nobody agrees over the holder's own word."""
    return person is not None and person in (holder, withdrawn_for)
