"""The inbox: every fact is handled once, in order within its case, in as few transactions as possible.

A batch is one transaction: take the events, lock the gates of their cases, load once, run each command, flush
once. The rules that keep the final state independent of order and repetition stand in `gate`; what happens
when a batch fails stands here.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import DBAPIError

from shared import metrics
from shared.bus.boundary import Undecoded
from shared.bus.changes import Changes
from shared.bus.context import ServiceContext
from shared.bus.gate import CONFLICT, FORK, NOTHING_HEARD, Gate, Plan, plan_batch
from shared.bus.hints import inbox_hint
from shared.bus.readable import release, speakers_in
from shared.bus.store import AHEAD, Claim, InboxStore, NotMine, Taken, Usurping, envelope_of
from shared.bus.undecodable import Undecodables
from shared.bus.unit import Cause, Unit, unit_of
from shared.bus.wire import Unreadable, to_json
from shared.db.outages import DatabaseAway, Outage
from shared.db.writable import check_writable
from shared.describe import describe
from shared.events.fact import Event, Fact
from shared.events.ids import said_at

_log = structlog.get_logger()

MAX_DEATHS = 3
"""A fact that takes its process down three times is parked; the first death may be a neighbour's."""

GROUP = 10
"""Facts that went down with a batch once are handled so many at a time; who goes down twice goes alone."""

MAX_TIMEOUTS = 3
"""Time-outs that the same facts may meet in a row before they are halved down to the one that meets them."""


class NotYet(Exception):
    """Raised by a command, before it changes anything, when a fact of another speaker must come first."""

    def __init__(self, awaited: type[Fact]) -> None:
        super().__init__(awaited.type)
        self.awaited = awaited


ID_CONFLICT = "id-conflict: another fact lies here under this id"

Load = Callable[[Unit, Sequence[Event]], Any]
C = TypeVar("C", bound=Claim | None)


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
        self._speakers = speakers_in(handlers)
        self._store = InboxStore(context.service)
        self.undecodables = Undecodables(context)
        self._one_at_a_time = threading.Lock()
        self._unfinished: list[Claim] = []
        self._doubtful: list[UUID] = []
        self._timed_out: tuple[frozenset[UUID], int] = (frozenset(), 0)
        self._exclusion = context.exclusion

    def is_urgent(self, fact_type: str) -> bool:
        """Somebody waits for what this fact brings about; nobody does for one that only moves a gate."""
        handler = self._handlers.get(fact_type)
        return handler is not None and not handler.lingers

    def receive(self, events: Sequence[Event], unreadable: Sequence[Unreadable] = ()) -> None:
        """Handle first deliveries from the broker. When this returns, every one of them may be acknowledged.

        Raises DatabaseAway when nothing was decided; then none may be.
        """
        with self._exclusion.together(), self._one_at_a_time:
            self._handle(self._batch(events, unreadable), "inbox.batch")

    def store_suspects(self, events: Sequence[Event], unreadable: Sequence[Unreadable] = ()) -> None:
        """Store facts that come again because somebody's process died, each to be handled among a few, then
        alone; those that were handled before the death are only told apart."""
        with self._exclusion.together(), self._one_at_a_time:
            self._suspect(self._batch(events, unreadable))

    def park_undecodable(self, found: Sequence[Undecoded]) -> frozenset[str]:
        """Count bytes that are no facts, and keep what there is room for; the hashes of what is kept. What is
        not must stay at the broker."""
        return self.undecodables.park(found)

    def run_batch(self, limit: int) -> Found:
        """Claim messages with up to `limit` facts and handle them as a batch; then, if something is due that
        must go alone, that.

        An outage leaves the claim with us: the next run goes on with it before anything else.
        """
        self._context.ready()
        self._give_back_doubtful()
        finished = self._finish_claims()
        with self._exclusion.together():
            claim = self._claimed(lambda me: self._store.claim_messages(self._context, limit, me))
            count = claim.count
            self._work_off(claim)
        alone = self.run_alone() if claim.one_is_due else 0
        return Found(finished + count + alone, more=claim.more or alone > 0)

    def run_alone(self) -> int:
        """Handle what is due in the inbox: one fact that failed, waits for another speaker or outlived its
        holder twice, or a few that outlived one once; and split a message that outlived its holder.

        The attempt is committed before its own transaction begins, so that a fact that kills its process is
        counted. Returns 0 when nothing is due.
        """
        with self._exclusion.alone():
            lost = self._claimed(
                lambda me: self._store.claim_lost_message(self._context, max_deaths=MAX_DEATHS, holder=me)
            )
            if lost is not None:
                self._work_off(lost)
            claim = self._claimed(
                lambda me: self._store.claim_due(self._context, most=GROUP, max_deaths=MAX_DEATHS, holder=me)
            )
            count = claim.count
            self._work_off(claim)
        return count + (1 if lost is not None else 0)

    def give_back(self) -> None:
        """Let others handle what an outage kept this process from finishing; the process ends."""
        self._doubtful += [claim.holder for claim in self._unfinished]
        self._unfinished.clear()
        self._give_back_doubtful()

    def _claimed(self, claim: Callable[[UUID], C]) -> C:
        """Claim under a new name. Whether a claim came about that an outage interrupted is open."""
        holder = uuid4()
        try:
            return claim(holder)
        except DatabaseAway:
            self._doubtful.append(holder)
            raise

    def _give_back_doubtful(self) -> None:
        while self._doubtful:
            with unit_of(self._context, "inbox.give_back") as unit:
                self._store.give_back(unit, self._doubtful[-1])
            self._doubtful.pop()

    def _finish_claims(self) -> int:
        """Go on with what an outage interrupted."""
        count = 0
        for claim in list(self._unfinished):
            self._store.renew(self._context, claim)
            self._unfinished.remove(claim)
            count += claim.count
            with self._exclusion.alone() if claim.alone else self._exclusion.together():
                self._work_off(claim)
        return count

    def _work_off(self, claim: Claim) -> None:
        """Handle a claim; an outage leaves it among the unfinished ones."""
        if claim.count == 0:
            return
        self._unfinished.append(claim)
        with self._one_at_a_time:
            if claim.undecodable or claim.dead:
                self._park(claim)
            batch = self._batch(claim.events, claim.unreadable, claim)
            if claim.lost:
                self._suspect(batch)
            elif batch.events or batch.unreadable or claim.messages:
                label = "inbox.alone" if claim.alone else "inbox.batch"
                self._handle(batch, label, alone=claim.alone)
        self._unfinished.remove(claim)

    def _batch(
        self, events: Sequence[Event], unreadable: Sequence[Unreadable], claim: Claim | None = None
    ) -> "Batch":
        """A fact of somebody whom only a newer release hears is kept for that release."""
        heard = [event for event in events if event.speaker in self._speakers]
        others = [event for event in events if event.speaker not in self._speakers]
        if others:
            unreadable = [*unreadable, *(Unreadable(to_json(one), "unheard-speaker") for one in others)]
        return Batch(heard, list(unreadable), claim)

    def _park(self, claim: Claim) -> None:
        """Park what is no event at all, and what has died too often."""
        if claim.undecodable:
            self.undecodables.park(claim.undecodable)
        if claim.dead:
            with unit_of(self._context, "inbox.park") as unit:
                for fact in claim.dead:
                    self._store.park_dead(unit, fact, claim)
        for _ in claim.dead:
            metrics.MESSAGES_HANDLED.labels(self._context.service, "unreadable", "parked").inc()
        claim.undecodable, claim.dead = [], []

    def _suspect(self, batch: "Batch") -> None:
        """Store what came again after a death, as far as it was not handled before it."""
        while True:
            try:
                self._try_suspect(batch)
                return
            except NotMine:
                # Taken over while we were away: whoever did it tells them apart.
                return
            except Usurping as found:
                self._refuse(batch, found)

    def _try_suspect(self, batch: "Batch") -> None:
        with unit_of(self._context, "inbox.suspects") as unit:
            taken = self._store.take(unit, batch.events, batch.unreadable, batch.claim)
            plan = plan_batch(taken.fresh, [], taken.gates, dropped=taken.dropped)
            changes = Changes(unit, taken.lying)
            known = {event.id for event in plan.known}
            for event in taken.fresh:
                if event.id not in known:
                    changes.suspect(event)
            self._leave(unit, taken, plan, changes, {})
        _log.warning("delivered_again", service=self._context.service, facts=len(changes.told))
        self._context.hints.ring(inbox_hint(self._context.service))

    def _handle(self, batch: "Batch", label: str, *, alone: bool = False, hurried: bool = False) -> None:
        """One transaction for all of them; without those that fail; halved when the flush fails, or when the
        same facts have met a time-out three times (`hurried`: their halves meet none twice)."""
        settled: dict[UUID, _Failed] = {}
        while True:
            try:
                self._try_batch(batch, settled, label, alone)
                return
            except _BatchFailed:
                continue
            except Usurping as found:
                self._refuse(batch, found)
            except NotMine:
                # Taken over while we were away: whoever did it handles it.
                return
            except DatabaseAway as error:
                if not self._is_their_fault(batch, error, hurried):
                    raise
                hurried = True
                if len(batch.events) == 1:
                    self._set_aside(batch, error)
                    return
            except Exception as error:
                if len(batch.events) <= 1:
                    alone = self._blame(batch, settled, error, alone)
                    continue
            batch = self._handle_half(batch, label, alone=alone, hurried=hurried)

    def _refuse(self, batch: "Batch", found: Usurping) -> None:
        """Set aside what came under the id of another fact, and go on without it."""
        stored = [to_json(one) if isinstance(one, Event) else one.event for one in found.facts]
        self.undecodables.park([Undecoded.element(one, ID_CONFLICT) for one in stored])
        for place in (batch, batch.claim):
            if place is not None:
                place.events = [one for one in place.events if one not in found.facts]
                place.unreadable = [one for one in place.unreadable if one not in found.facts]

    def _blame(self, batch: "Batch", settled: dict[UUID, "_Failed"], error: Exception, alone: bool) -> bool:
        """A single fact whose flush fails: it runs without what it released, then it is to blame."""
        if not alone:
            # Facts released behind it ran in the same transaction and may be the ones to blame.
            return True
        if not batch.events or batch.events[0].id in settled:
            raise error
        settled[batch.events[0].id] = self._failure(batch.events[0], error)
        return True

    def _handle_half(self, batch: "Batch", label: str, *, alone: bool, hurried: bool) -> "Batch":
        """Handle one half, and give back the other. A message is split for it: its facts part ways."""
        if batch.claim is not None and batch.claim.messages:
            self._split(batch)
        first, rest = _halves(batch.events)
        self._handle(Batch(list(first), batch.unreadable, batch.claim), label, alone=alone, hurried=hurried)
        return Batch(list(rest), [], batch.claim)

    def _split(self, batch: "Batch") -> None:
        claim = batch.claim
        assert claim is not None
        try:
            with unit_of(self._context, "inbox.split") as unit:
                self._store.check_owners(unit, claim.unreadable)
        except Usurping as found:
            self._refuse(batch, found)
        with unit_of(self._context, "inbox.split") as unit:
            self._store.split(unit, claim)
            changes = Changes(unit, {})
            for one in claim.unreadable:
                changes.unreadable(one, release(self._speakers))
            unit.change_inbox(changes.result)
        claim.messages, claim.ids = [], [event.id for event in claim.events]
        claim.unreadable, batch.unreadable = [], []

    def _is_their_fault(self, batch: "Batch", error: DatabaseAway, hurried: bool) -> bool:
        """The database answers, but not about these facts: the third time-out of the same ones in a row."""
        if error.outage is not Outage.TIMED_OUT:
            return False
        ids = frozenset(event.id for event in batch.events)
        before, times = self._timed_out
        times = times + 1 if ids == before else 1
        self._timed_out = (ids, times)
        return bool(ids) and (hurried or times >= MAX_TIMEOUTS) and self._others_are_answered()

    def _others_are_answered(self) -> bool:
        try:
            check_writable(self._context.engine, self._context.service)
        except DatabaseAway:
            return False
        return True

    def _set_aside(self, batch: "Batch", error: DatabaseAway) -> None:
        """Keep one fact for later, uncounted: it meets time-outs that others do not."""
        claim = batch.claim
        if claim is not None and claim.messages:
            self._split(batch)
        for event in batch.events:
            reason = f"set aside: it timed out {MAX_TIMEOUTS} times ({error.sqlstate or error.outage})"
            with unit_of(self._context, "inbox.set_aside") as unit:
                self._store.set_aside(unit, event, claim, reason)
            _log.warning("event_set_aside", event_id=str(event.id), case_no=event.case, reason=reason)
            metrics.MESSAGES_HANDLED.labels(self._context.service, event.type, "set_aside").inc()

    def _try_batch(self, batch: "Batch", settled: dict[UUID, "_Failed"], label: str, alone: bool) -> None:
        began = time.monotonic()
        with unit_of(self._context, label) as unit:
            taken = self._store.take(unit, batch.events, batch.unreadable, batch.claim)
            plan = plan_batch(
                taken.fresh,
                [] if alone else taken.held,
                taken.gates,
                excluded=settled.keys(),
                dropped=taken.dropped,
            )
            self._run(unit, plan, taken, settled)
            changes = Changes(unit, taken.lying)
            for event in plan.excluded:
                settled[event.id].put(changes, event)
            for event in plan.wait:
                changes.waiting(event)
            for event in plan.conflict:
                changes.parked(event, CONFLICT)
            for event in plan.fork:
                changes.parked(event, FORK)
            moved = plan.moved_gates()
            if alone:
                reopened = [event for event in taken.held if _is_next(event, moved)]
                for event in reopened:
                    changes.open_again(event)
            changes.gone(event.id for event in (*plan.run, *plan.known))
            changes.gone(plan.passed)
            self._open_far_ones(unit, taken, moved)
            self._leave(unit, taken, plan, changes, moved)
        metrics.HANDLER_SECONDS.labels(self._context.service).observe(time.monotonic() - began)
        self._count(plan, changes)
        if alone and reopened:
            self._context.hints.ring(inbox_hint(self._context.service))

    def _leave(
        self, unit: Unit, taken: Taken, plan: Plan, changes: Changes, moved: Mapping[str, Gate]
    ) -> None:
        """What every transaction that took facts leaves behind."""
        for one in taken.unread:
            changes.unreadable(one, release(self._speakers))
        known = {event.id for event in plan.known}
        first = [event for event in taken.fresh if event.id in taken.first and event.id not in known]
        changes.seen((event.speaker, event.id) for event in first)
        places = [envelope_of(one) for one in taken.unread]
        changes.seen((place["speaker"], UUID(place["id"])) for place in places)
        changes.result.gates.update(moved)
        unit.change_inbox(changes.result)

    def _open_far_ones(self, unit: Unit, taken: Taken, moved: Mapping[str, Gate]) -> None:
        """Facts that lay beyond what was read have come within reach."""
        for case, gate in moved.items():
            for speaker, heard in gate.items():
                before = taken.gates[case].get(speaker, NOTHING_HEARD).last
                if heard.last >= before + AHEAD:
                    self._store.reopen(unit, case, speaker, heard.last + 1)

    def _count(self, plan: Plan, changes: Changes) -> None:
        now = time.time()
        service = self._context.service
        for event in plan.run:
            metrics.MESSAGES_HANDLED.labels(service, event.type, "ok").inc()
            metrics.MESSAGE_AGE_SECONDS.labels(service).observe(max(0.0, now - said_at(event.id)))
        for event in plan.known:
            metrics.MESSAGES_HANDLED.labels(service, event.type, "duplicate").inc()
        for type_, state, _ in changes.told:
            metrics.MESSAGES_HANDLED.labels(service, type_, state).inc()

    def _run(self, unit: Unit, plan: Plan, taken: Taken, settled: dict[UUID, "_Failed"]) -> None:
        """Run the commands in order. Raises _BatchFailed with what failed noted in `settled`; nothing of this
        pass is kept then."""
        heard = [(event, self._handlers[event.type]) for event in plan.run if event.type in self._handlers]
        by_load: dict[Load, list[Event]] = {}
        for event, handler in heard:
            by_load.setdefault(handler.load, []).append(event)
        loaded = {load: load(unit, events) for load, events in by_load.items()}
        found: dict[UUID, _Failed] = {}
        spoiled: set[str] = set()
        for event, handler in heard:
            if event.case in spoiled:
                continue
            unheard = taken.gates[event.case].get(event.speaker, NOTHING_HEARD).start
            unit.cause = Cause(event.id, event.correlation or event.id, event.traceparent, unheard=unheard)
            failed = self._run_one(unit, handler, event, loaded[handler.load])
            if failed is not None:
                found[event.id] = failed
                spoiled.add(event.case)
        unit.cause = None
        if found:
            settled.update(found)
            raise _BatchFailed

    def _run_one(self, unit: Unit, handler: Handler, event: Event, loaded: Any) -> "_Failed | None":
        try:
            handler.command(unit, event, loaded)
        except NotYet as early:
            return _Failed(None, early.awaited.type)
        except (DBAPIError, DatabaseAway):
            raise
        except Exception as error:
            return self._failure(event, error)
        return None

    def _failure(self, event: Event, error: Exception) -> "_Failed":
        reason = describe(error)
        _log.warning(
            "event_failed", event_id=str(event.id), type=event.type, case_no=event.case, reason=reason
        )
        return _Failed(reason)


@dataclass(slots=True)
class Batch:
    """Facts to be handled in one transaction, and the claim they belong to, if any."""

    events: list[Event]
    unreadable: list[Unreadable]
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why an event does not run in this batch: its command raised, or (no reason) a fact of the type
    `awaited` must come first."""

    reason: str | None
    awaited: str = ""

    def put(self, changes: Changes, event: Event) -> None:
        if self.reason is None:
            changes.not_yet(event, self.awaited)
        else:
            changes.failed(event, self.reason)


def _is_next(event: Event, moved: Mapping[str, Gate]) -> bool:
    heard = moved.get(event.case, {}).get(event.speaker)
    return heard is not None and event.sequence == heard.last + 1


def _halves(events: Sequence[Event]) -> tuple[Sequence[Event], Sequence[Event]]:
    """Two parts that share no case where that is possible; the second is empty for a single event."""
    cases = sorted({event.case for event in events})
    if len(cases) == 1:
        return events[:1], events[1:]
    first = set(cases[: len(cases) // 2])
    return [e for e in events if e.case in first], [e for e in events if e.case not in first]
