"""The outbox: facts are written with the rows they speak of, and handed on after the commit.

One relay per service hands on at a time (four were no faster and reordered 762 of 2,000 cases), in id order.
A row is marked only after the other side has confirmed it, so a crash repeats and never loses.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sqlalchemy import Boolean, Engine, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared import metrics
from shared.bus.wire import Message, Said, to_message, to_messages
from shared.db.transaction import call, transaction
from shared.db.types import AwareDateTime
from shared.faults import fault_point

CLAIM = 200
"""Rows a relay hands on in one go: enough to fill a confirm pipeline, few enough to hold the lock shortly."""

BUSY = -1
"""What a relay answers while another process relays for this service."""


class Relay(Protocol):
    """Hands on what one service has said."""

    def run_once(self) -> int:
        """Hand on up to CLAIM rows; the number handed on, or BUSY.

        Raises when the other side does not take them; then no row is marked and all of them go again.
        """

    def close(self) -> None:
        """Let go of whatever is held open."""


class Publisher(Protocol):
    """The way to a broker."""

    def publish(self, messages: Iterable[Message]) -> None:
        """Return only when every message is durable on the other side; raise otherwise."""

    def close(self) -> None:
        """Drop the connection without asking."""


class BrokerRelay:
    """Over a broker: claim, publish, mark, in one transaction. Facts that wait together travel together.
    `keeps_public` is called when a fact was kept for foreign subscribers."""

    def __init__(
        self,
        engine: Engine,
        schema: str,
        publisher: Publisher,
        keeps_public: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._schema = schema
        self._publisher = publisher
        # As text: a fact that travels with others is taken apart by nobody on its way.
        self._claim = text(
            "SELECT ours, at, slots, ids, cases, types, CAST(events AS text[]) AS events "
            f"FROM {schema}.claim_outbox({CLAIM})"
        ).columns(at=AwareDateTime)
        self._mark = text(
            f"SELECT {schema}.mark_published(CAST(:ids AS bigint[]), :at, CAST(:slots AS smallint[]))"
        )
        self._keeps_public = keeps_public

    def run_once(self) -> int:
        """As `Relay` says; raises whatever the publisher raises."""
        with transaction(self._engine, "outbox.sent") as connection:
            claim = connection.execute(self._claim).one()
            if not claim.ours:
                return BUSY
            if claim.ids is None:
                return 0
            facts = list(map(Said, claim.cases, claim.types, claim.events))
            fault_point("outbox.hand_on.before")
            self._publisher.publish(to_messages(self._schema, facts))
            fault_point("outbox.hand_on.after")
            mark = connection.execute(self._mark, {"at": claim.at, "ids": claim.ids, "slots": claim.slots})
            has_kept = mark.scalar_one()
        if has_kept:
            self._keeps_public()
        _count(self._schema, claim.types)
        return len(facts)

    def close(self) -> None:
        """Drop the connection to the broker."""
        self._publisher.close()


class PublicRelay:
    """Publishes for foreign subscribers what our own services were handed: one by one, at least once.

    It has a transaction, a lock and a connection of its own, so that nothing on that side holds ours up.
    """

    def __init__(self, engine: Engine, schema: str, publisher: Publisher) -> None:
        self._engine = engine
        self._publisher = publisher
        self._claim = text(f"SELECT * FROM {schema}.claim_public({CLAIM})").columns(ours=Boolean, facts=JSONB)
        self._forget = text(f"DELETE FROM {schema}.public_outbox WHERE id = ANY(:ids)")

    def run_once(self) -> int:
        """As `Relay` says; raises whatever the publisher raises."""
        with transaction(self._engine, "public.sent") as connection:
            claim = connection.execute(self._claim).one()
            if not claim.ours:
                return BUSY
            if claim.facts is None:
                return 0
            self._publisher.publish([to_message(event) for _, event in claim.facts])
            connection.execute(self._forget, {"ids": [row for row, _ in claim.facts]})
        return len(claim.facts)

    def close(self) -> None:
        """Drop the connection to the broker."""
        self._publisher.close()


class DatabaseRelay:
    """Inside the database: one statement hands rows to the subscribers' doors, marks them and wakes whoever
    acts on them.

    The subscriber's `deliver(jsonb)` is the only door between schemas; who subscribes to whom stands in
    `onestop.subscriptions`, written with the migrations, as bindings are in a broker.
    """

    def __init__(self, engine: Engine, schema: str) -> None:
        self._engine = engine
        self._schema = schema
        self._relay = text(f"SELECT * FROM {schema}.relay({CLAIM})").columns(ours=Boolean, types=ARRAY(Text))

    def run_once(self) -> int:
        """As `Relay` says."""
        found = call(self._engine, "outbox.sent", self._relay, {})
        if not found.ours:
            return BUSY
        _count(self._schema, found.types or ())
        return len(found.types or ())

    def close(self) -> None:
        """Nothing is held open."""


def _count(service: str, types: Sequence[str]) -> None:
    for type_ in types:
        metrics.MESSAGES_PUBLISHED.labels(service, type_).inc()
