"""The outbox: facts are written with the rows they speak of, and handed on after the commit.

One relay per service hands on at a time (four were no faster and reordered 762 of 2,000 cases), in id order.
A row is marked only after the other side has confirmed it, so a crash repeats and never loses.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, text

from shared import metrics
from shared.clock import read_clock
from shared.db.transaction import transaction
from shared.faults import fault_point

CLAIM = 200
"""Rows a relay hands on in one go: enough to fill a confirm pipeline, few enough to hold the lock shortly."""

BUSY = -1
"""`Relay.run_once`: another process is relaying for this service right now."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One fact to hand on; `event` is its CloudEvents JSON object."""

    id: int
    event: dict[str, Any]


class Road(Protocol):
    """How facts leave a service: over RabbitMQ, or through the subscribers' doors in the same database."""

    name: str

    def hand_on(self, connection: Connection, rows: Sequence[OutboxRow], at: datetime) -> None:
        """Return only when every row is durable on the other side; raise otherwise."""

    def after_commit(self) -> None:
        """Called when the rows are marked as sent."""


def insert_outbox(connection: Connection, schema: str, rows: list[dict[str, Any]]) -> None:
    """Write facts in one statement; each row has case_no, event, emitted_at, emitted_on."""
    connection.execute(
        text(
            f"INSERT INTO {schema}.outbox (case_no, event, emitted_at, emitted_on) "
            "SELECT case_no, event, emitted_at, emitted_on FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
            "AS r(n int, case_no text, event jsonb, emitted_at timestamptz, emitted_on date) ORDER BY n"
        ),
        {"rows": json.dumps(rows)},
    )


class Relay:
    """Hands on what one service has said."""

    def __init__(self, engine: Engine, schema: str, road: Road) -> None:
        self._engine = engine
        self._schema = schema
        self._road = road
        self._lock = text("SELECT pg_try_advisory_xact_lock(hashtext(:name))")
        self._claim = text(
            f"SELECT id, event FROM {schema}.outbox WHERE sent_at IS NULL ORDER BY id LIMIT {CLAIM}"
        )
        self._mark = text(
            f"UPDATE {schema}.outbox SET sent_at = :at WHERE id = ANY(:ids) AND sent_at IS NULL"
        )

    def run_once(self) -> int:
        """Hand on up to CLAIM rows; the number handed on, or BUSY.

        Raises whatever the road raises; then no row is marked and all of them go again.
        """
        with transaction(self._engine, "outbox.sent") as connection:
            if not connection.execute(self._lock, {"name": f"onestop.{self._schema}.relay"}).scalar_one():
                return BUSY
            rows = [OutboxRow(*row) for row in connection.execute(self._claim)]
            if not rows:
                return 0
            at = read_clock(connection).wall
            fault_point("outbox.hand_on.before")
            self._road.hand_on(connection, rows, at)
            fault_point("outbox.hand_on.after")
            connection.execute(self._mark, {"at": at, "ids": [row.id for row in rows]})
        for row in rows:
            metrics.MESSAGES_PUBLISHED.labels(self._schema, row.event["type"], "ok").inc()
        self._road.after_commit()
        return len(rows)


class DatabaseRoad:
    """Hands rows to the inboxes of the subscribers in the same database, in the relay's own transaction.

    The subscriber's `deliver(jsonb)` is the only door between schemas; who subscribes to whom stands in
    `onestop.subscriptions`, written with the migrations, as bindings are in a broker.
    """

    name = "database"

    def __init__(self, speaker: str, ring: Callable[[str], None]) -> None:
        self._speaker = speaker
        self._ring = ring
        self._told: tuple[str, ...] = ()

    def hand_on(self, connection: Connection, rows: Sequence[OutboxRow], at: datetime) -> None:
        found = connection.execute(
            text("SELECT subscriber FROM onestop.subscriptions WHERE speaker = :speaker ORDER BY subscriber"),
            {"speaker": self._speaker},
        )
        subscribers = tuple(found.scalars())
        body = json.dumps({"received_at": at.isoformat(), "events": [row.event for row in rows]})
        for subscriber in subscribers:
            if not subscriber.isidentifier():
                raise ValueError(f"onestop.subscriptions names {subscriber!r}, which is no schema")
            connection.execute(text(f"SELECT {subscriber}.deliver(CAST(:body AS jsonb))"), {"body": body})
        self._told = subscribers

    def after_commit(self) -> None:
        for subscriber in self._told:
            self._ring(subscriber)
