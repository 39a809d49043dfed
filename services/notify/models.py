"""Tables of notify."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, Integer, MetaData, String, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db.types import AwareDateTime, CaseRow


class Base(DeclarativeBase):
    """All tables of the schema `notify`."""

    metadata = MetaData(schema="notify")


class Case(CaseRow, Base):
    """Whom to tell about a case, and in which language."""

    __tablename__ = "cases"

    matter: Mapped[str] = mapped_column(String(100))
    matter_version: Mapped[int] = mapped_column(Integer)
    people: Mapped[dict[str, str]] = mapped_column(JSONB)
    """Holder role -> person_ref."""
    locale: Mapped[str] = mapped_column(String(10))


class Delivery(Base):
    """The intent to tell one person one fact by one channel with one template: made once, sent once.

    The id is the idempotency key given to the outside world, and never changes.
    """

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    case_no: Mapped[str] = mapped_column(String(50))
    fact: Mapped[UUID] = mapped_column(Uuid)
    recipient: Mapped[UUID] = mapped_column(Uuid)
    role: Mapped[str] = mapped_column(String(60))
    """In the case."""
    channel: Mapped[str] = mapped_column(String(40))
    template: Mapped[str] = mapped_column(String(60))
    locale: Mapped[str] = mapped_column(String(10))
    params: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(20))
    asked: Mapped[int] = mapped_column(Integer)
    """Asks since the last send."""
    sends: Mapped[int] = mapped_column(Integer)
    """Calls that may have sent it."""
    provider_ref: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(String(300))
    planned_at: Mapped[datetime] = mapped_column(AwareDateTime)
    called_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    doubted_until: Mapped[datetime | None] = mapped_column(AwareDateTime)
    """It may have been sent until then by a life of the database of which only a copy is left."""
    sent_at: Mapped[datetime | None] = mapped_column(AwareDateTime)

    __table_args__ = (
        UniqueConstraint("fact", "recipient", "channel", "template"),
        Index("deliveries_case", "case_no"),
        Index("deliveries_in_doubt", "planned_at", "id", postgresql_where=text("state = 'in_doubt'")),
    )


class InboxMessage(Base):
    """A message in the citizen's in-app inbox; the text holds no personal data."""

    __tablename__ = "inbox_messages"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    recipient: Mapped[UUID] = mapped_column(Uuid)
    case_no: Mapped[str] = mapped_column(String(50))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    sent_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("inbox_messages_recipient", "recipient", "sent_at", "id"),)


class CodeChannel(Base):
    """A kind of contact to which one-time codes can be sent, and the channel that does: what the worker has
    set up, for those who do not know the settings of channels."""

    __tablename__ = "code_channels"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    channel: Mapped[str] = mapped_column(String(40))
