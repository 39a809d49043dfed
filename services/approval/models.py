"""Tables of approval."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Date,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db.types import AwareDateTime, CaseRow


class Base(DeclarativeBase):
    """All tables of the schema `approval`."""

    metadata = MetaData(schema="approval")


class Case(CaseRow, Base):
    """The one truth about the state of a case and its clock."""

    __tablename__ = "cases"

    matter: Mapped[str] = mapped_column(String(100))
    matter_version: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(6))
    parties: Mapped[list[str]] = mapped_column(JSONB)
    """Everybody whom the application speaks of, as person_ref: none of them may handle it."""
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(String(40))
    passed: Mapped[list[str]] = mapped_column(JSONB)
    asked: Mapped[list[str]] = mapped_column(JSONB)
    """What the citizen is to bring and is missing."""
    materials_round: Mapped[int | None] = mapped_column(Integer)
    """The look at the materials that was heard of last, up to the decision."""
    received_at: Mapped[datetime] = mapped_column(AwareDateTime)
    accepted_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    legal_due_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    promised_due_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    provisional: Mapped[bool] = mapped_column(Boolean)
    closed_at: Mapped[datetime | None] = mapped_column(AwareDateTime)


class Task(Base):
    """One step of one case in the queue of one department. `version` is its ETag."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    case_no: Mapped[str] = mapped_column(String(50))
    matter: Mapped[str] = mapped_column(String(100))
    step: Mapped[str] = mapped_column(String(60))
    department: Mapped[str] = mapped_column(String(60))
    decides: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(String(20))
    version: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    created_at: Mapped[datetime] = mapped_column(AwareDateTime)
    officer: Mapped[str | None] = mapped_column(String(100))
    claimed_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    outcome: Mapped[str | None] = mapped_column(String(40))
    sealed_reason: Mapped[bytes | None] = mapped_column(LargeBinary)
    finished_at: Mapped[datetime | None] = mapped_column(AwareDateTime)

    __table_args__ = (Index("tasks_case_step", "case_no", "step", unique=True),)


class TaskAct(Base):
    """What a supervisor did with somebody's task: from whom, to whom (the queue, when nobody), and why."""

    __tablename__ = "task_acts"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    task: Mapped[UUID] = mapped_column(Uuid)
    case_no: Mapped[str] = mapped_column(String(50))
    supervisor: Mapped[str] = mapped_column(String(100))
    taken_from: Mapped[str | None] = mapped_column(String(100))
    given_to: Mapped[str | None] = mapped_column(String(100))
    sealed_reason: Mapped[bytes] = mapped_column(LargeBinary)
    done_at: Mapped[datetime] = mapped_column(AwareDateTime)

    # Not append-only: a rotation of keys seals the reasons again.
    __table_args__ = (Index("task_acts_case", "case_no"),)


QUEUE_DUE = func.coalesce(Task.due_at, func.to_timestamp(literal_column("0")))
"""What the queue is ordered by: a task without a due date comes first, so that nobody overlooks it."""
TASK_OPEN = Task.state != literal_column("'done'")
"""In the words of the indexes, so that the planner knows them again."""
Index("tasks_open", Task.department, QUEUE_DUE, Task.id, postgresql_where=TASK_OPEN)
Index("tasks_mine", Task.officer, QUEUE_DUE, Task.id, postgresql_where=TASK_OPEN)


class WorkDay(Base):
    """Whether one day is worked in one region; `provisional` until the official notice is imported."""

    __tablename__ = "work_calendar"

    region: Mapped[str] = mapped_column(String(6), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    working: Mapped[bool] = mapped_column(Boolean)
    provisional: Mapped[bool] = mapped_column(Boolean)
    source: Mapped[str] = mapped_column(String(60))
