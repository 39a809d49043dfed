"""Those who ask, without a log-in."""

from dataclasses import replace
from uuid import NAMESPACE_URL, UUID, uuid5

from services.intake.identity.attributes import Source
from shared.auth.principal import Assurance, Principal, PrincipalKind

VERIFIED = Source("test", Assurance.VERIFIED)
"""Somebody's identity was seen to."""
PROGRAM = Principal(PrincipalKind.CLIENT, "test-program", channels=("web", "app", "counter", "kiosk"))
"""Files for whomever a form names."""


def citizen(person: UUID) -> Principal:
    """Somebody in their own affairs."""
    return Principal(PrincipalKind.CITIZEN, str(person), person_ref=person)


def operator(serves: UUID | None, *channels: str) -> Principal:
    """A hall operator or hotline agent."""
    return Principal(
        PrincipalKind.OPERATOR, "operator-1", channels=channels or ("counter",), acting_for=serves
    )


def supervisor(subject: str = "supervisor-1", person: UUID | None = None) -> Principal:
    """Somebody who hands out the tasks of both departments."""
    return replace(officer(subject, person), departments=(), supervises=("xihu-community", "xihu-police"))


def unlinked(subject: str = "officer-1") -> Principal:
    """An officer of whom nobody knows which person they are."""
    return replace(officer(subject), person_ref=None)


def officer(subject: str = "officer-1", person: UUID | None = None) -> Principal:
    """An officer of both departments of the residence permit, linked to a person: a made-up one when none is
    given."""
    who = person or uuid5(NAMESPACE_URL, subject)
    return Principal(PrincipalKind.OFFICER, subject, who, ("xihu-community", "xihu-police"), subject)
