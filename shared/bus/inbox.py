"""The inbox: every fact is handled once, in order within its case, in as few transactions as possible.

A batch is one transaction: take the events, lock the gates of their cases, load once, run each command, flush
once. The rules that keep the final state independent of order and repetition stand in `gate`; what happens
when a batch fails stands here.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from shared import metrics
from shared.bus.context import ServiceContext
from shared.bus.gate import CONFLICT, Plan, plan_batch
from shared.bus.hints import inbox_hint
from shared.bus.store import InboxStore, Settled, Taken
from shared.bus.unit import Unit, said_at, unit_of
from shared.bus.wire import Undecodable, Unreadable
from shared.db.outages import DatabaseAway
from shared.describe import describe
from shared.events.fact import Event

_log = structlog.get_logger()

MAX_DEATHS = 3
"""A fact that takes its process down three times is parked; the first death may be a neighbour's."""


class NotYet(Exception):
    """Raised by a command, before it changes anything, when a fact of another speaker must come first."""


Load = Callable[[Unit, Sequence[Event]], Any]
Take = Callable[[Unit, Sequence[Event]], Taken]
"""Makes the events of a batch this transaction's own."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What a service does about one type of fact: one load for the whole batch, one command per event.

    `lingers`: nobody waits for what it does, so the fact may wait for others to be handled with.
    """

    load: Load
    command: Callable[[Unit, Event, Any], None]
    lingers: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was there to do; `more` says that there may be more at once."""

    count: int
    more: bool


class _BatchFailed(Exception):
    """A pass found events that fail; the transaction is rolled back and the rest runs without them."""


class Inbox:
    """Handles the facts that one service hears."""

    def __init__(self, context: ServiceContext, handlers: Mapping[str, Handler]) -> None:
        self._context = context
        self._handlers = handlers
        self._store = InboxStore(context.service)
        self._one_at_a_time = threading.Lock()
        self.exclusive = threading.Lock()
        """Held while a fact is handled alone, and by whatever else in this process must not die beside it:
        three deaths park the fact, and a crash loop of the relay would park one innocent after the other."""

    def is_urgent(self, fact_type: str) -> bool:
        """Somebody waits for what this fact brings about; nobody does for one that only moves a gate."""
        handler = self._handlers.get(fact_type)
        return handler is not None and not handler.lingers

    def receive(self, events: Sequence[Event]) -> None:
        """Handle first deliveries from the broker. When this returns, every one of them may be acknowledged.

        Raises DatabaseAway when nothing was decided; then none may be.
        """
        with self._one_at_a_time:
            self._handle(events, self._store.take_delivered, "inbox.batch")

    def store_suspects(self, events: Sequence[Event]) -> None:
        """Store facts that come again because somebody's process died; each will be handled alone."""
        with unit_of(self._context, "inbox.suspects") as unit:
            self._store.insert_suspects(unit, events)

    def park_unreadable(self, unreadable: Unreadable) -> None:
        """Park an event whose payload this release cannot read; it holds back its own case only."""
        with unit_of(self._context, "inbox.park") as unit:
            self._store.park_unreadable(unit, unreadable)
        metrics.MESSAGES_HANDLED.labels(self._context.service, "unreadable", "parked").inc()

    def park_undecodable(self, sha256: str, body: bytes, error: Undecodable) -> None:
        """Park bytes that are no event."""
        with unit_of(self._context, "inbox.park") as unit:
            self._store.park_undecodable(unit, sha256, body, error)
        metrics.MESSAGES_HANDLED.labels(self._context.service, "unreadable", "parked").inc()

    def run_batch(self, limit: int) -> Found:
        """Claim up to `limit` new facts from the inbox and handle them as a batch; then, if one is due that
        must go alone, that one."""
        claim = self._store.claim_new(self._context, limit)
        with self._one_at_a_time:
            if claim.events:
                self._handle(claim.events, self._retake(claim.holder), "inbox.batch")
        alone = self.run_alone() if claim.one_is_due else 0
        return Found(claim.count + alone, more=claim.count == limit or alone > 0)

    def run_alone(self) -> int:
        """Claim one fact that failed, waits for another speaker, or outlived its holder; handle it alone.

        Its attempt is committed before its own transaction begins, so that a fact that kills its process is
        counted. Returns 0 when none is due.
        """
        with self.exclusive, self._one_at_a_time:
            with unit_of(self._context, "inbox.claim") as unit:
                claim = self._store.claim_one(unit, max_deaths=MAX_DEATHS)
            if claim.events:
                self._handle(claim.events, self._retake(claim.holder), "inbox.alone", alone=True)
        return claim.count

    def _retake(self, holder: UUID) -> Take:
        return lambda unit, batch: self._store.take_claimed(unit, batch, holder)

    def _handle(self, events: Sequence[Event], take: Take, label: str, *, alone: bool = False) -> None:
        """One transaction for all of them; without those that fail; halved when the flush fails."""
        settled: dict[UUID, Settled] = {}
        while True:
            try:
                self._try_batch(events, take, settled, label, alone)
                return
            except _BatchFailed:
                continue
            except DatabaseAway:
                raise
            except Exception as error:
                first, rest = _halves(events)
                if rest:
                    self._handle(first, take, label, alone=alone)
                    events = rest
                elif not alone:
                    # Facts released behind it ran in the same transaction and may be the ones to blame.
                    alone = True
                elif events[0].id in settled:
                    raise
                else:
                    settled[events[0].id] = self._failure(events[0], error)

    def _try_batch(
        self, events: Sequence[Event], take: Take, settled: dict[UUID, Settled], label: str, alone: bool
    ) -> None:
        with unit_of(self._context, label) as unit:
            taken = take(unit, sorted(events, key=lambda e: e.id))
            if not taken.fresh:
                return
            held = taken.held
            plan = plan_batch(
                taken.fresh,
                [] if alone else held,
                taken.gates,
                excluded=settled.keys(),
                dropped=taken.dropped,
            )
            found = self._run(unit, plan)
            if found:
                settled.update(found)
                raise _BatchFailed
            changes = [
                *(settled[e.id] for e in plan.excluded),
                *(Settled.waiting(e) for e in plan.wait),
                *(Settled.parked(e, CONFLICT) for e in plan.conflict),
                *(Settled.done(e) for e in plan.released),
                *(Settled.new(e) for e in held if alone and plan.run),
            ]
            self._store.settle(unit, changes, plan.moved_gates())
        now = time.time()
        for event in plan.run:
            metrics.MESSAGES_HANDLED.labels(self._context.service, event.type, "ok").inc()
            metrics.MESSAGE_AGE_SECONDS.labels(self._context.service).observe(
                max(0.0, now - said_at(event.id))
            )
        for change in changes:
            if change.state in ("retry", "parked", "not_yet", "waiting"):
                metrics.MESSAGES_HANDLED.labels(self._context.service, change.event.type, change.state).inc()
        if alone and held and plan.run:
            self._context.hints.ring(inbox_hint(self._context.service))

    def _run(self, unit: Unit, plan: Plan) -> dict[UUID, Settled]:
        """Run the commands in order. What fails is returned, and nothing of this pass is kept then."""
        loaded: dict[Load, Any] = {}
        by_load: dict[Load, list[Event]] = {}
        for event in plan.run:
            handler = self._handlers.get(event.type)
            if handler is not None:
                by_load.setdefault(handler.load, []).append(event)
        for load, batch in by_load.items():
            loaded[load] = load(unit, batch)
        found: dict[UUID, Settled] = {}
        spoiled: set[str] = set()
        for event in plan.run:
            handler = self._handlers.get(event.type)
            if handler is None or event.case in spoiled:
                continue
            unit.cause = event
            try:
                handler.command(unit, event, loaded[handler.load])
            except NotYet:
                found[event.id] = Settled.not_yet(event)
            except (DBAPIError, DatabaseAway):
                raise
            except Exception as error:
                found[event.id] = self._failure(event, error)
            if event.id in found:
                spoiled.add(event.case)
        unit.cause = None
        return found

    def _failure(self, event: Event, error: Exception) -> Settled:
        reason = describe(error)
        _log.warning(
            "event_failed", event_id=str(event.id), type=event.type, case_no=event.case, reason=reason
        )
        return Settled.failed(event, reason)


def _halves(events: Sequence[Event]) -> tuple[Sequence[Event], Sequence[Event]]:
    """Two parts that share no case where that is possible; the second is empty for a single event."""
    cases = sorted({event.case for event in events})
    if len(cases) == 1:
        return events[:1], events[1:]
    first = set(cases[: len(cases) // 2])
    return [e for e in events if e.case in first], [e for e in events if e.case not in first]
