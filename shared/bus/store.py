"""The SQL of inbox and gates: a fixed number of statements for any number of facts."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Boolean, Executable, Float, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.bus.context import ServiceContext
from shared.bus.gate import Gate
from shared.bus.unit import Unit, unit_of
from shared.bus.wire import Undecodable, Unreadable, from_json, to_json
from shared.clock import moment
from shared.db.transaction import call
from shared.db.types import AwareDateTime
from shared.events.fact import Event

_log = structlog.get_logger()

MAX_ATTEMPTS = 5
"""A consumer does database work only, so what fails five times is a bug and waits for people, not for
time."""

LEASE = timedelta(seconds=15)
"""How long a claim outlives its holder. A holder that comes back later is fenced off by its holder id."""

_RETRY_BASE_S = 0.25
_RETRY_CAP_S = 30.0
_NOT_YET_CAP_S = 10.0

_ENVELOPE = "id uuid, speaker text, case_no text, sequence int, type text"


@dataclass(frozen=True, slots=True)
class Settled:
    """How one event leaves a batch when it did not simply run: its inbox state and why."""

    event: Event
    state: str
    reason: str | None = None

    @classmethod
    def done(cls, event: Event) -> "Settled":
        """Lay waiting, and ran now."""
        return cls(event, "done")

    @classmethod
    def new(cls, event: Event) -> "Settled":
        """Lay waiting, and is to be looked at again."""
        return cls(event, "new")

    @classmethod
    def waiting(cls, event: Event) -> "Settled":
        """An earlier fact of the same speaker and case is missing, failed or parked."""
        return cls(event, "waiting", "an earlier fact of this speaker about the case is not handled yet")

    @classmethod
    def not_yet(cls, event: Event) -> "Settled":
        """A fact of another speaker must come first."""
        return cls(event, "not_yet", "a fact of another service must come first")

    @classmethod
    def failed(cls, event: Event, reason: str) -> "Settled":
        """Its command raised; tried again until MAX_ATTEMPTS, then parked."""
        return cls(event, "retry", reason)

    @classmethod
    def parked(cls, event: Event, reason: str) -> "Settled":
        """People must look."""
        return cls(event, "parked", reason)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one process took from the inbox. `count` includes what was parked on the way; `one_is_due` says
    that something else waits to be handled alone."""

    events: list[Event]
    holder: UUID
    count: int
    one_is_due: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The events of a batch that were not handled before, and per case: its gate, now locked, what lies
    waiting behind it, and what people gave up."""

    fresh: list[Event]
    gates: dict[str, Gate]
    held: list[Event]
    dropped: dict[str, list[tuple[str, int]]]


class InboxStore:
    """Reads and writes the inbox and the gates of one service."""

    def __init__(self, schema: str) -> None:
        self._insert_suspects = text(
            f"INSERT INTO {schema}.inbox (id, speaker, case_no, sequence, type, state, event, deaths, "
            "due_at, received_at) SELECT id, speaker, case_no, sequence, type, 'retry', event, 1, "
            "statement_timestamp(), statement_timestamp() FROM "
            f"jsonb_to_recordset(CAST(:rows AS jsonb)) AS r({_ENVELOPE}, event jsonb) ORDER BY id "
            "ON CONFLICT (id) DO NOTHING"
        )
        taken = {
            "wall": AwareDateTime,
            "legal_offset_s": Float,
            "fresh": JSONB,
            "gates": JSONB,
            "held": JSONB,
        }
        self._take_delivered = text(f"SELECT * FROM {schema}.take_delivered(CAST(:facts AS jsonb))").columns(
            **taken
        )
        self._take_claimed = text(f"SELECT * FROM {schema}.take_claimed(CAST(:ids AS uuid[]), :by)").columns(
            **taken
        )
        self._settle = text(
            f"UPDATE {schema}.inbox i SET "
            "state = CASE WHEN v.state = 'retry' AND i.attempts + 1 >= :max_attempts THEN 'parked' "
            "ELSE v.state END, "
            "attempts = i.attempts + (v.state = 'retry')::int, waits = i.waits + (v.state = 'not_yet')::int, "
            "event = CASE WHEN v.state = 'done' THEN NULL ELSE COALESCE(i.event, v.event) END, "
            "due_at = CAST(:at AS timestamptz) + CASE v.state "
            "WHEN 'retry' THEN make_interval(secs => v.jitter * LEAST(:retry_cap, :retry_base * 2 ^ "
            "LEAST(i.attempts, 20))) "
            "WHEN 'not_yet' THEN make_interval(secs => LEAST(:not_yet_cap, 0.05 * 2 ^ LEAST(i.waits, "
            "20))) END, "
            "reason = v.reason, holder = NULL, lease_until = NULL, "
            "handled_at = CASE WHEN v.state = 'done' THEN CAST(:at AS timestamptz) END "
            "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
            "AS v(id uuid, state text, event jsonb, reason text, jitter float) WHERE i.id = v.id"
        )
        self._claim_new = text(f"SELECT * FROM {schema}.claim_inbox(:limit, :holder, :lease)").columns(
            facts=JSONB, one_is_due=Boolean
        )
        self._claim_one = text(
            f"UPDATE {schema}.inbox i SET state = 'claimed', holder = :holder, "
            "lease_until = clock_timestamp() + :lease, deaths = i.deaths + (c.before = 'claimed')::int "
            f"FROM (SELECT id, state AS before FROM {schema}.inbox WHERE "
            "(state IN ('retry', 'not_yet') AND due_at <= statement_timestamp()) "
            "OR (state = 'claimed' AND lease_until <= statement_timestamp()) "
            "ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED) AS c WHERE i.id = c.id "
            "RETURNING i.id, i.event, i.deaths"
        )
        self._park_unreadable = text(
            f"INSERT INTO {schema}.inbox (id, speaker, case_no, sequence, type, state, sealed, "
            "reason, received_at) "
            "VALUES (:id, :speaker, :case_no, :sequence, :type, 'parked', :sealed, :reason, :at) "
            "ON CONFLICT (id) DO UPDATE SET state = 'parked', sealed = EXCLUDED.sealed, event = NULL, "
            "reason = EXCLUDED.reason, holder = NULL, lease_until = NULL WHERE inbox.state = 'claimed'"
        )
        self._park_dead = text(
            f"UPDATE {schema}.inbox SET state = 'parked', reason = :reason, holder = NULL, "
            "lease_until = NULL "
            "WHERE id = :id"
        )
        self._seal_row = text(
            f"UPDATE {schema}.inbox SET state = 'parked', sealed = :sealed, event = NULL, reason = :reason, "
            "holder = NULL, lease_until = NULL WHERE id = :id"
        )
        self._undecodable = text(
            f"INSERT INTO {schema}.undecodable (sha256, sealed, size, reason, state, times, received_at) "
            "VALUES (:sha256, :sealed, :size, :reason, 'parked', 1, :at) "
            "ON CONFLICT (sha256) DO UPDATE SET times = undecodable.times + 1, state = 'parked'"
        )

    def insert_suspects(self, unit: Unit, events: Sequence[Event]) -> None:
        """Store deliveries that came again after a death; each is to be handled alone."""
        rows = [{**_envelope(e), "event": to_json(e)} for e in events]
        unit.connection.execute(self._insert_suspects, {"rows": json.dumps(rows)})

    def take_delivered(self, unit: Unit, events: Sequence[Event]) -> Taken:
        """Note first deliveries as handled in this transaction, and lock the gates of their cases."""
        facts = json.dumps([_envelope(e) for e in events])
        return self._taken(unit, events, self._take_delivered, {"facts": facts})

    def take_claimed(self, unit: Unit, events: Sequence[Event], holder: UUID) -> Taken:
        """Note claimed facts that are still this holder's as handled in this transaction, and lock the gates
        of their cases."""
        ids = [str(e.id) for e in events]
        return self._taken(unit, events, self._take_claimed, {"ids": ids, "by": holder})

    def _taken(
        self, unit: Unit, events: Sequence[Event], statement: Executable, values: dict[str, Any]
    ) -> Taken:
        row = unit.connection.execute(statement, values).one()
        unit.begin_at(moment(row.wall, row.legal_offset_s))
        fresh = set(row.fresh or ())
        # The same fact can stand twice in one batch; it runs once.
        taken = Taken(list({e.id: e for e in events if str(e.id) in fresh}.values()), row.gates or {}, [], {})
        for lying in row.held or ():
            if lying["state"] == "dropped":
                place = (lying["speaker"], lying["sequence"])
                taken.dropped.setdefault(lying["case_no"], []).append(place)
                continue
            try:
                taken.held.append(from_json(lying["event"]))
            except (Unreadable, Undecodable) as error:
                # Written by a newer release and rolled back: it goes on waiting and holds back its own case.
                _log.warning("held_event_unreadable", case_no=lying["case_no"], reason=str(error))
        return taken

    def settle(self, unit: Unit, changes: Iterable[Settled], gates: dict[str, Gate]) -> None:
        """Write what did not simply run, and move the gates on."""
        rows = [
            {
                "id": str(change.event.id),
                "state": change.state,
                "event": to_json(change.event),
                "reason": change.reason,
                "jitter": 0.5 + random.random(),
            }
            for change in sorted(changes, key=lambda c: c.event.id)
        ]
        if rows:
            unit.connection.execute(
                self._settle,
                {
                    "rows": json.dumps(rows),
                    "at": unit.wall,
                    "max_attempts": MAX_ATTEMPTS,
                    "retry_cap": _RETRY_CAP_S,
                    "retry_base": _RETRY_BASE_S,
                    "not_yet_cap": _NOT_YET_CAP_S,
                },
            )
        unit.move_gates(gates)

    def claim_new(self, context: ServiceContext, limit: int) -> Claim:
        """Claim new facts in the order of their arrival, in a transaction of its own."""
        holder = uuid4()
        values = {"holder": holder, "lease": LEASE, "limit": limit}
        row = call(context.engine, "inbox.claim", self._claim_new, values)
        events, unusable = _read(row.facts or ())
        if unusable:
            with unit_of(context, "inbox.park") as unit:
                self._park(unit, unusable)
        return Claim(events, holder, len(row.facts or ()), row.one_is_due)

    def claim_one(self, unit: Unit, *, max_deaths: int) -> Claim:
        """Claim one fact that must go alone; one that has died too often is parked instead."""
        holder = uuid4()
        found = unit.connection.execute(self._claim_one, {"holder": holder, "lease": LEASE}).mappings()
        rows = [dict(row) for row in found]
        for row in rows:
            if row["deaths"] >= max_deaths:
                reason = f"process-died: the process handling it died {row['deaths']} times"
                unit.connection.execute(self._park_dead, {"id": row["id"], "reason": reason})
                _log.error("event_parked", event_id=str(row["id"]), reason=reason)
        events, unusable = _read([row for row in rows if row["deaths"] < max_deaths])
        self._park(unit, unusable)
        return Claim(events, holder, len(rows))

    def _park(
        self, unit: Unit, unusable: Sequence[tuple[Mapping[str, Any], Unreadable | Undecodable]]
    ) -> None:
        """Park what this release cannot read and what is no event at all."""
        for row, error in unusable:
            if isinstance(error, Unreadable):
                self.park_unreadable(unit, error)
            else:
                self._park_undecodable_row(unit, UUID(str(row["id"])), row["event"], str(error))

    def _park_undecodable_row(self, unit: Unit, row_id: UUID, stored: Any, reason: str) -> None:
        """Park what came through the door and is no event; its columns keep their place in its case."""
        sealed = unit.context.vault.seal(json.dumps(stored), table="inbox", row=row_id, column="sealed")
        unit.connection.execute(
            self._seal_row, {"id": row_id, "sealed": sealed, "reason": f"undecodable: {reason}"[:300]}
        )
        _log.error("event_parked", event_id=str(row_id), reason=f"undecodable: {reason}")

    def park_unreadable(self, unit: Unit, unreadable: Unreadable) -> None:
        """Park an event whose payload this release cannot read; the payload is kept sealed."""
        stored = unreadable.event
        unit.connection.execute(
            self._park_unreadable,
            {
                "id": stored["id"],
                "speaker": stored["source"].rsplit("/", 1)[-1][:40],
                "case_no": stored["subject"],
                "sequence": int(stored["sequence"]),
                "type": stored["type"][:200],
                "sealed": unit.context.vault.seal(
                    json.dumps(stored), table="inbox", row=stored["id"], column="sealed"
                ),
                "reason": unreadable.reason[:300],
                "at": unit.wall,
            },
        )
        _log.error("event_parked", event_id=stored["id"], reason=unreadable.reason)

    def park_undecodable(self, unit: Unit, sha256: str, body: bytes, error: Undecodable) -> None:
        """Park bytes that are no event, sealed, under their hash."""
        unit.connection.execute(
            self._undecodable,
            {
                "sha256": sha256,
                "sealed": unit.context.vault.seal(body, table="undecodable", row=sha256, column="sealed"),
                "size": len(body),
                "reason": str(error)[:300],
                "at": unit.wall,
            },
        )
        _log.error("message_parked", sha256=sha256, reason=str(error))


_Unusable = tuple[Mapping[str, Any], Unreadable | Undecodable]
"""A row, and what is wrong with it."""


def _read(rows: Iterable[Mapping[str, Any]]) -> tuple[list[Event], list[_Unusable]]:
    """The events of these rows, and the rows that are none."""
    events: list[Event] = []
    unusable: list[_Unusable] = []
    for row in rows:
        try:
            events.append(from_json(row["event"]))
        except (Unreadable, Undecodable) as error:
            unusable.append((row, error))
    return events, unusable


def _envelope(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "speaker": event.speaker,
        "case_no": event.case,
        "sequence": event.sequence,
        "type": event.type,
    }
