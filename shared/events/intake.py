"""What intake says: a citizen applied, or supplied what was asked for."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from pydantic import Field

from shared.events.fact import Event, Fact


class CaseSubmitted(Fact):
    """An application was received (收件). The case stays on this matter version for its whole life."""

    matter: str
    matter_version: int
    region: str
    """Six-digit division code (GB/T 2260) of the deciding region."""
    applicant: UUID
    holders: dict[str, UUID]
    """Whose certificates may be asked for: holder role -> person_ref."""
    facts: dict[str, str | int | float | bool | None]
    """The non-identifying answers that the matter declares under `facts:`."""
    consented: bool
    """The applicant agreed that certificates are fetched for this case."""
    uploads: dict[str, UUID] = Field(default_factory=dict)
    """Material code -> upload, for what the applicant attached."""
    channel: str
    locale: str = "zh-CN"
    received_at: datetime


class MaterialsSupplied(Fact):
    """The citizen sent what a correction notice (补正告知) asked for."""

    uploads: dict[str, UUID]
    supplied_at: datetime


def known_cases(events: Iterable[Event]) -> set[str]:
    """The cases of which a service may have a row already: none of them begins with its event."""
    return {event.case for event in events if not isinstance(event.fact, CaseSubmitted)}
