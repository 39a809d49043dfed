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


class Relay:
    """Hands on what one service has said."""

    def __init__(self, engine: Engine, schema: str, road: Road) -> None:
        self._engine = engine
        self._schema = schema
        self._road = road
        self._claim = text(f"SELECT * FROM {schema}.claim_outbox({CLAIM})")
        self._mark = text(f"SELECT {schema}.mark_outbox(CAST(:ids AS bigint[]), :at, :first_on, :last_on)")

    def run_once(self) -> int:
        """Hand on up to CLAIM rows; the number handed on, or BUSY.

        Raises whatever the road raises; then no row is marked and all of them go again.
        """
        with transaction(self._engine, "outbox.sent") as connection:
            claim = connection.execute(self._claim).one()
            if not claim.ours:
                return BUSY
            if claim.facts is None:
                return 0
            rows = [OutboxRow(*fact) for fact in claim.facts]
            fault_point("outbox.hand_on.before")
            self._road.hand_on(connection, rows, claim.at)
            fault_point("outbox.hand_on.after")
            ids = [row.id for row in rows]
            days = {"first_on": claim.first_on, "last_on": claim.last_on}
            connection.execute(self._mark, {"at": claim.at, "ids": ids, **days})
        for row in rows:
            metrics.MESSAGES_PUBLISHED.labels(self._schema, row.event["type"], "ok").inc()
        self._road.after_commit()
        return len(rows)


_HAND_ON = text("SELECT onestop.hand_on(:speaker, CAST(:body AS jsonb))")


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
        body = json.dumps({"received_at": at.isoformat(), "events": [row.event for row in rows]})
        told = connection.execute(
            _HAND_ON,
            {"speaker": self._speaker, "body": body},
        ).scalar_one()
        self._told = tuple(told or ())

    def after_commit(self) -> None:
        for subscriber in self._told:
            self._ring(subscriber)
