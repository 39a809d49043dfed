"""Column types, and the row that every service keeps for a case."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Dialect, Integer, String, TypeDecorator, Uuid
from sqlalchemy.orm import Mapped, mapped_column

APPEND_ONLY = {"append_only": True}
"""`info` of a table that only grows: the service's role has no right to change or to remove its rows."""


class AwareDateTime(TypeDecorator[datetime]):
    """An aware moment. A naive one is refused, because the database would guess its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        return value


class CaseRow:
    """Mixin: a service's own row for a case. Its lock orders all that the service does for the case.

    `sequence` counts the facts this service has said about the case, `last_fact` is the id of the last one;
    see `Unit.emit`.
    """

    number: Mapped[str] = mapped_column(String(50), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, default=0)
    last_fact: Mapped[UUID | None] = mapped_column(Uuid)
