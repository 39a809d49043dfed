"""Reads of notify."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.notify.models import Case, Delivery, InboxMessage, Preference
from shared.db.locking import lock_rows


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


def muted_channels(session: Session, people: Collection[UUID]) -> dict[UUID, frozenset[str]]:
    """The channels that these people switched off."""
    if not people:
        return {}
    found = session.scalars(select(Preference).where(Preference.person_ref.in_(sorted(people))))
    return {row.person_ref: frozenset(row.muted) for row in found}


def lock_delivery(session: Session, delivery_id: UUID) -> tuple[Delivery, Case]:
    """A delivery with its case, both locked, the case first, as batches lock it."""
    number = session.execute(select(Delivery.case_no).where(Delivery.id == delivery_id)).scalar_one()
    case = lock_cases(session, {number})[number]
    delivery = session.scalars(select(Delivery).where(Delivery.id == delivery_id).with_for_update()).one()
    return delivery, case


def deliveries_of(session: Session, number: str) -> list[Delivery]:
    """Everything that was or is to be told about a case."""
    return list(
        session.scalars(
            select(Delivery).where(Delivery.case_no == number).order_by(Delivery.planned_at, Delivery.id)
        )
    )


def inbox_of(session: Session, person_ref: UUID, limit: int) -> list[InboxMessage]:
    """The in-app inbox of a person, the newest first."""
    return list(
        session.scalars(
            select(InboxMessage)
            .where(InboxMessage.recipient == person_ref)
            .order_by(InboxMessage.sent_at.desc())
            .limit(limit)
        )
    )
