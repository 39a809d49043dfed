"""Reads of notify."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select, tuple_
from sqlalchemy.orm import Session

from services.notify.models import Case, Delivery, InboxMessage, Preference
from shared.db.locking import lock_rows


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


_WITH_MUTED = (
    select(Case, Preference.muted)
    .outerjoin(Preference, Preference.person_ref == Case.recipient)
    .where(Case.number.in_(bindparam("numbers", expanding=True)))
    .order_by(Case.number)
    .with_for_update(of=Case)
)
_MUTED = select(Preference.person_ref, Preference.muted).where(
    Preference.person_ref.in_(bindparam("people", expanding=True))
)


def lock_cases_with_muted(
    session: Session, numbers: Collection[str]
) -> tuple[dict[str, Case], dict[UUID, frozenset[str]]]:
    """The cases that exist, locked in order, and the channels that their people switched off."""
    if not numbers:
        return {}, {}
    rows = session.execute(_WITH_MUTED, {"numbers": sorted(numbers)}).all()
    return {case.number: case for case, _ in rows}, {c.recipient: frozenset(muted or ()) for c, muted in rows}


def muted_channels(session: Session, people: Collection[UUID]) -> dict[UUID, frozenset[str]]:
    """The channels that these people switched off."""
    if not people:
        return {}
    found = session.connection().execute(_MUTED, {"people": sorted(people)})
    return {row.person_ref: frozenset(row.muted) for row in found}


def lock_delivery(session: Session, delivery_id: UUID) -> tuple[Delivery, Case]:
    """A delivery with its case, both locked, the case first, as batches lock it."""
    number = session.execute(select(Delivery.case_no).where(Delivery.id == delivery_id)).scalar_one()
    case = lock_cases(session, {number})[number]
    delivery = session.scalars(select(Delivery).where(Delivery.id == delivery_id).with_for_update()).one()
    return delivery, case


def inbox_of(
    session: Session, person_ref: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[InboxMessage]:
    """The in-app inbox of a person, the newest first, a page and one."""
    messages = select(InboxMessage).where(InboxMessage.recipient == person_ref)
    if after is not None:
        messages = messages.where(tuple_(InboxMessage.sent_at, InboxMessage.id) < after)
    newest = messages.order_by(InboxMessage.sent_at.desc(), InboxMessage.id.desc())
    return list(session.scalars(newest.limit(limit + 1)))
