"""Reads of intake."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from services.intake.models import CASE_SERIAL, Case, Contact, LookupMiss, Person, TimelineEntry
from shared.db.locking import lock_rows


def person_by_lookup(session: Session, lookup: bytes) -> UUID | None:
    """The person with this keyed HMAC of an ID number."""
    return session.execute(select(Person.person_ref).where(Person.id_lookup == lookup)).scalar_one_or_none()


def next_serial(session: Session) -> int:
    """The next serial of a case number; it cycles within a day's reach, and the number is unique besides."""
    return int(session.execute(select(CASE_SERIAL.next_value())).scalar_one())


def contact(session: Session, person_ref: UUID) -> Contact | None:
    """How to reach a person; whoever reads it notes why."""
    return session.get(Contact, person_ref)


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


def case(session: Session, number: str) -> Case | None:
    """One case, for reading."""
    return session.get(Case, number)


def cases_of(session: Session, person_ref: UUID, limit: int) -> list[Case]:
    """The cases of a person, as applicant or agent, the newest first."""
    mine = or_(Case.applicant == person_ref, Case.agent == person_ref)
    return list(session.scalars(select(Case).where(mine).order_by(Case.received_at.desc()).limit(limit)))


def timeline(session: Session, number: str) -> list[TimelineEntry]:
    """Everything that happened in a case, in the order of its moments."""
    return list(
        session.scalars(
            select(TimelineEntry)
            .where(TimelineEntry.case_no == number)
            .order_by(TimelineEntry.at, TimelineEntry.id)
        )
    )


def supplied(session: Session, number: str) -> set[str]:
    """The materials that the citizen has supplied to a case so far."""
    found = session.scalars(
        select(TimelineEntry.details).where(
            TimelineEntry.case_no == number, TimelineEntry.fact == "materials-supplied"
        )
    )
    return {code for details in found for code in details["materials"]}


def recent_misses(session: Session, asker: bytes, target: bytes, at: datetime, window: timedelta) -> int:
    """Look-ups that found nothing within the window: of this asker or at this target, whichever is more."""
    since = at - window
    by_asker = select(func.count()).where(LookupMiss.asker == asker, LookupMiss.missed_at > since)
    by_target = select(func.count()).where(LookupMiss.target == target, LookupMiss.missed_at > since)
    counts = session.execute(select(by_asker.scalar_subquery(), by_target.scalar_subquery())).one()
    return int(max(counts))
