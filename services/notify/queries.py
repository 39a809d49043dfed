"""Reads of notify."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from services.notify.models import Case, CodeChannel, Delivery, InboxMessage
from shared.db.locking import lock_rows


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


def lock_delivery(session: Session, delivery_id: UUID) -> tuple[Delivery, Case]:
    """A delivery with its case, both locked, the case first, as batches lock it."""
    number = session.execute(select(Delivery.case_no).where(Delivery.id == delivery_id)).scalar_one()
    case = lock_cases(session, {number})[number]
    delivery = session.scalars(select(Delivery).where(Delivery.id == delivery_id).with_for_update()).one()
    return delivery, case


def lock_deliveries(session: Session, deliveries: Collection[UUID]) -> dict[UUID, Delivery]:
    """Deliveries by id, locked in order; whoever changes their cases too has locked these before."""
    found = select(Delivery).where(Delivery.id.in_(deliveries)).order_by(Delivery.id).with_for_update()
    return {delivery.id: delivery for delivery in session.scalars(found)}


def inbox_of(
    session: Session, person_ref: UUID, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[InboxMessage]:
    """The in-app inbox of a person, the newest first, a page and one."""
    messages = select(InboxMessage).where(InboxMessage.recipient == person_ref)
    if after is not None:
        messages = messages.where(tuple_(InboxMessage.sent_at, InboxMessage.id) < after)
    newest = messages.order_by(InboxMessage.sent_at.desc(), InboxMessage.id.desc())
    return list(session.scalars(newest.limit(limit + 1)))


def messages_of(session: Session, person_ref: UUID, number: str, *, limit: int) -> list[InboxMessage]:
    """What a person was told about a case, the newest first."""
    found = (
        select(InboxMessage)
        .join(Delivery, Delivery.id == InboxMessage.id)
        .where(Delivery.case_no == number, InboxMessage.recipient == person_ref)
        .order_by(InboxMessage.sent_at.desc(), InboxMessage.id.desc())
    )
    return list(session.scalars(found.limit(limit)))


def code_channels(session: Session) -> dict[str, str]:
    """Kind of contact -> the channel that sends its one-time codes, as a worker has said."""
    rows = session.execute(select(CodeChannel.kind, CodeChannel.channel).order_by(CodeChannel.kind))
    return {row.kind: row.channel for row in rows}
