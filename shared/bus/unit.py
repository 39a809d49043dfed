"""The unit of work: one transaction in which a command loads, decides, saves and says."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Connection, Uuid, text
from sqlalchemy.orm import DeclarativeBase, Session

from shared.bus.context import ServiceContext
from shared.bus.gate import Gate, gate_json, tail_of
from shared.bus.hints import jobs_hint, outbox_hint
from shared.bus.lost import LostFacts, lost_facts, settle, stand_in
from shared.bus.wire import to_json
from shared.clock import Moment, read_clock
from shared.db.transaction import transaction
from shared.db.types import CaseRow
from shared.db.writing import Writes
from shared.events.fact import Event, Fact
from shared.events.ids import derived_id, new_id
from shared.tracing import current_traceparent


@dataclass(frozen=True, slots=True)
class LeftJob:
    """A job to be left; `key` makes it one job per thing to do."""

    kind: str
    key: str
    payload: dict[str, Any]
    case: str | None
    cause: "Cause | None"
    due_at: datetime

    def to_json(self) -> dict[str, Any]:
        """As `leave` of the delivery tables takes it."""
        return {
            "kind": self.kind,
            "key": self.key,
            "payload": self.payload,
            "case_no": self.case,
            "cause": str(self.cause.id) if self.cause else None,
            "correlation": str(self.cause.correlation) if self.cause else None,
            "traceparent": self.cause.traceparent if self.cause else None,
            "due_at": self.due_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Cause:
    """What brought about that something is said: the fact being handled, or the one that left a job.

    `what` tells facts of one cause apart that are said in different transactions.
    """

    id: UUID
    correlation: UUID
    traceparent: str | None = None
    what: str = ""
    unheard: int = 0
    """For a fact being handled: how many facts of its speaker about the case were said before this service
    began to hear that speaker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered, sealed, to be found again under its key; see `shared.bus.idempotency`."""

    principal: str
    key: str
    fingerprint: str
    status: int
    sealed: bytes


@dataclass(slots=True)
class InboxChanges:
    """What a batch leaves behind in the delivery tables; see `leave` in `schema_v1.sql`."""

    gates: dict[str, Gate] = field(default_factory=dict)
    put: list[dict[str, Any]] = field(default_factory=list)
    gone: list[UUID] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.gates or self.put or self.gone or self.seen)


@dataclass(slots=True)
class Unit:
    """One transaction of one service.

    `wall` and `legal` are the two clocks when they are first asked for; they stand still until the end.
    `cause` is what is being handled, if anything; it becomes the causation of everything said. Nothing is
    visible to others before the block ends.
    """

    context: ServiceContext
    connection: Connection
    session: Session
    cause: Cause | None = None
    traceparent: str | None = None
    _moment: Moment | None = None
    _said: list[Event] = field(default_factory=list)
    _jobs: list[LeftJob] = field(default_factory=list)
    _inbox: InboxChanges = field(default_factory=InboxChanges)
    _derived: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    _rows: dict[type[DeclarativeBase], list[dict[str, Any]]] = field(default_factory=dict)
    _lost: dict[str, LostFacts | None] = field(default_factory=dict)
    _committed: list[Callable[[], None]] = field(default_factory=list)
    _answer: Answer | None = None
    _saved: tuple[int, int] = (0, 0)
    """How much of what was said and left is written."""

    @property
    def moment(self) -> Moment:
        """Both clocks."""
        if self._moment is None:
            self._moment = read_clock(self.connection)
        return self._moment

    def begin_at(self, moment: Moment) -> None:
        """Take a reading that came along with something else instead of making one; the first one stands."""
        self._moment = self._moment or moment

    @property
    def wall(self) -> datetime:
        """Now, for leases, retries and latency."""
        return self.moment.wall

    @property
    def legal(self) -> datetime:
        """Now, for everything the law counts from."""
        return self.moment.legal

    def emit(self, case: CaseRow, fact: Fact) -> Event:
        """Say a fact about a case, and give it back on its way. The caller holds the lock of the case row,
        which orders the facts."""
        cause = self.cause
        event_id = self._fact_id(fact)
        sequence, follows = self._place(case, event_id)
        event = Event(
            id=event_id,
            speaker=self.context.service,
            type=fact.type,
            case=case.number,
            sequence=sequence,
            time=self.legal,
            fact=fact,
            causation=cause.id if cause else None,
            correlation=cause.correlation if cause else event_id,
            traceparent=cause.traceparent if cause else self.traceparent,
            follows=follows,
        )
        self._said.append(event)
        return event

    def serials(self, sequence: str, count: int) -> list[int]:
        """Numbers that nobody was ever given, of a sequence whose reserves the witness knows.

        Raises NotAsWitnessed.
        """
        if not count:
            return []
        schema = self.context.service
        rows = self.connection.execute(
            text(
                f"SELECT nextval('{schema}.{sequence}') AS serial, w.epoch, w.mark "
                f"FROM {schema}.witness AS w, generate_series(1, :count)"
            ).columns(serial=BigInteger, epoch=Uuid, mark=BigInteger),
            {"count": count},
        ).all()
        guard = self.context.guard
        return guard.take_serials(rows, sequence) if guard is not None else [row.serial for row in rows]

    def _place(self, case: CaseRow, event_id: UUID) -> tuple[int, UUID | None]:
        """The number of a fact among those about its case, and the fact before it."""
        lost = self._lost_facts(case.number)
        if lost is not None:
            if (case.sequence or 0) < lost.last.sequence:
                case.sequence, case.last_fact = lost.last.sequence, stand_in(lost.last.tail)
            again = lost.again(event_id) or (lost.gap() if self.cause is not None else None)
            if again is not None:
                again.settled, again.tail = True, tail_of(event_id)
                settle(self.connection, self.context.service, case.number, again.sequence)
                return again.sequence, lost.before(again)
            if self.cause is None:
                lost.check_act()
        follows, case.last_fact = case.last_fact, event_id
        case.sequence = (case.sequence or 0) + 1
        return case.sequence, follows

    def _lost_facts(self, number: str) -> LostFacts | None:
        guard = self.context.guard
        if guard is None or not guard.has_lost(number):
            return None
        if number not in self._lost:
            self._lost[number] = lost_facts(self.connection, self.context.service, number)
        return self._lost[number]

    def _fact_id(self, fact: Fact) -> UUID:
        """Derived from the cause, so that whoever handles the same again says the same again."""
        if self.cause is None:
            return new_id()
        what = f"{fact.type}{self.cause.what}"
        self._derived[self.cause.id, what] += 1
        number = self._derived[self.cause.id, what]
        return derived_id(self.cause.id, what, number, self.context.id_secret(self.connection))

    def later(
        self,
        kind: str,
        key: str,
        payload: dict[str, Any],
        *,
        case: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Leave a job: a call to the world or a wait. The same (kind, key) is one job, however often left."""
        self._jobs.append(LeftJob(kind, key, payload, case, self.cause, due_at or self.wall))

    def append(self, kind: type[DeclarativeBase], /, **columns: Any) -> None:
        """Add a row that this transaction does not look at again. All of a kind are written at the end in one
        statement, the kinds in the order of their first row, without the session's book-keeping.

        Rows of one kind name the same columns.
        """
        self._rows.setdefault(kind, []).append(columns)

    def remember(self, answer: Answer) -> None:
        """Keep what a request is answered. Once a unit."""
        self._answer = answer

    def change_inbox(self, changes: InboxChanges) -> None:
        """Leave gates and inbox as the batch made them. Once a unit."""
        self._inbox = changes

    def save(self) -> None:
        """Write everything since the last time: rows, the answer, gates, jobs and facts in one statement. The
        commit is the block's, which saves at its end."""
        writes = Writes(self.session)
        for kind, rows in self._rows.items():
            writes.insert(kind, rows)
        changes, self._inbox, self._rows = self._inbox, InboxChanges(), {}
        said, jobs = self._said[self._saved[0] :], self._jobs[self._saved[1] :]
        self._saved = len(self._said), len(self._jobs)
        answer, self._answer = self._answer, None
        if changes or jobs or said or answer:
            writes.run(
                self.connection,
                _leave(self.context.service),
                {
                    "at": self.wall,
                    "moved": _json(
                        [{"case_no": c, "heard": gate_json(gate)} for c, gate in changes.gates.items()]
                    ),
                    "put": _json(changes.put),
                    "gone": [str(one) for one in changes.gone] or None,
                    "seen": _json(changes.seen),
                    "jobs": _json([job.to_json() for job in sorted(jobs, key=lambda j: (j.kind, j.key))]),
                    "said": _json([to_json(event) for event in said]),
                    **(asdict(answer) if answer else {}),
                },
                also=_keep_answer(self.context.service) if answer else "",
            )
        else:
            writes.run(self.connection)

    def after_commit(self, then: Callable[[], None]) -> None:
        """Call this when all is committed: counters count what happened, not what was tried."""
        self._committed.append(then)

    def told(self) -> None:
        """After the commit: do what was left for then, and tell whoever hands on and works off."""
        for then in self._committed:
            then()
        if self._said:
            self.context.hints.ring(outbox_hint(self.context.service))
        if self._jobs:
            self.context.hints.ring(jobs_hint(self.context.service))


@contextmanager
def unit_of(context: ServiceContext, label: str) -> Iterator[Unit]:
    """One unit of work, saved and committed when the block ends without an exception.

    `label` names its crash points, so every command and every batch has its own. Raises NotAsWitnessed while
    the database is an older copy of itself.
    """
    context.ready()
    with transaction(context.engine, label) as connection:
        session = Session(bind=connection, autoflush=False, expire_on_commit=False)
        unit = Unit(context, connection, session, traceparent=current_traceparent())
        yield unit
        unit.save()
    unit.told()


def _leave(service: str) -> str:
    return (
        f"{service}.leave(:at, CAST(:moved AS jsonb), CAST(:put AS jsonb), CAST(:gone AS uuid[]), "
        "CAST(:seen AS jsonb), CAST(:jobs AS jsonb), CAST(:said AS jsonb))"
    )


def _keep_answer(service: str) -> str:
    return (
        f"INSERT INTO {service}.idempotency_keys "
        "VALUES (:principal, :key, :fingerprint, :status, :sealed, :at)"
    )


def _json(rows: list[dict[str, Any]]) -> str | None:
    return json.dumps(rows) if rows else None
