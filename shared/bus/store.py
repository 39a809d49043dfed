"""The SQL of inbox and gates: a fixed number of statements for any number of facts."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Boolean, Float, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.bus.boundary import Undecoded, read_stored
from shared.bus.context import ServiceContext
from shared.bus.gate import Dropped, Gate, gate_of
from shared.bus.unit import Unit
from shared.bus.wire import Unreadable, to_json
from shared.clock import moment
from shared.db.transaction import call
from shared.db.types import AwareDateTime
from shared.events.fact import Event

_log = structlog.get_logger()

LEASE = timedelta(seconds=10)
"""How long a claim lasts without a word of its holder."""

GRACE = timedelta(seconds=5)
"""How long a claim is suspected before somebody takes it over: time enough for a holder that was frozen, or
cut off together with everybody else, to renew it."""

AHEAD = 200
"""How far beyond its gate a case's waiting facts are read: a case with a hundred thousand of them costs no
more than one with two hundred."""

_SET_ASIDE_S = 2.0
_SET_ASIDE_CAP_S = 30.0


class InboxState(StrEnum):
    """Why a fact lies in the inbox."""

    RETRY = "retry"
    """It failed, was set aside or went down with its process; handled alone when it is due."""
    NOT_YET = "not_yet"
    """A fact of another speaker must come first; asked again when it is due."""
    CLAIMED = "claimed"
    """Somebody is handling it."""
    SUSPECTED = "suspected"
    """Somebody was, and has been silent for too long."""
    WAITING = "waiting"
    """An earlier fact of the same speaker and case is missing, failed or parked."""
    UNREADABLE = "unreadable"
    """This release cannot read it; one that can will claim it."""
    PARKED = "parked"
    """People must look."""
    DROPPED = "dropped"
    """People gave it up before its turn came."""


HELD = (InboxState.WAITING, InboxState.NOT_YET)
"""What may run as soon as the gate is right."""


@dataclass(slots=True)
class Claim:
    """What one process took to handle: messages, or rows of the inbox, with the facts in them."""

    holder: UUID
    messages: list[int] = field(default_factory=list)
    ids: list[UUID] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    undecodable: list[Undecoded] = field(default_factory=list)
    dead: list[Mapping[str, Any]] = field(default_factory=list)
    alone: bool = False
    lost: bool = False
    """A message whose holder died: its facts are stored, and handled among a few."""
    more: bool = False
    one_is_due: bool = False
    """There are more messages; something lies in the inbox that is due."""

    @property
    def count(self) -> int:
        """Facts in it, of whatever kind."""
        return len(self.events) + len(self.unreadable) + len(self.undecodable) + len(self.dead)


@dataclass(frozen=True, slots=True)
class Lying:
    """A row of the inbox as the batch found it."""

    id: UUID
    state: InboxState
    attempts: int = 0
    waits: int = 0
    deaths: int = 0
    holder: UUID | None = None
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch that is this transaction's own.

    `fresh`: its facts that are still to be handled; `unread`: those that this release cannot read; `first`:
    the ids of those that were never counted as seen; `gates`: the locked gates of its cases; `held`: what
    lies waiting behind them; `dropped`: what people gave up.
    """

    fresh: list[Event]
    unread: list[Unreadable]
    first: set[UUID]
    gates: dict[str, Gate]
    held: list[Event]
    dropped: dict[str, list[Dropped]]
    lying: dict[UUID, Lying]


class Usurping(Exception):
    """Some facts come under the id of another one that lies here, and must not touch it."""

    def __init__(self, facts: list[Event | Unreadable]) -> None:
        super().__init__()
        self.facts = facts


class NotMine(Exception):
    """The claim was taken over meanwhile; nothing of it may be handled here."""


class InboxStore:
    """Reads and writes the delivery tables of one service that have to do with hearing."""

    def __init__(self, schema: str) -> None:
        self._take = text(
            f"SELECT * FROM {schema}.take(:cases, CAST(:ids AS uuid[]), CAST(:held AS bigint[]), :by, "
            f"{AHEAD})"
        ).columns(wall=AwareDateTime, legal_offset_s=Float, mine=Boolean, gates=JSONB, lying=JSONB)
        self._claim_messages = text(f"SELECT * FROM {schema}.claim_messages(:most, :by, :lease)").columns(
            messages=JSONB, more=Boolean, one_is_due=Boolean
        )
        self._claim_lost = text(f"SELECT * FROM {schema}.claim_lost_message(:by, :lease, :grace)").columns(
            facts=JSONB
        )
        self._claim_due = text(f"SELECT * FROM {schema}.claim_due(:most, :by, :lease, :grace)").columns(
            facts=JSONB
        )
        self._renew = text(
            f"SELECT * FROM {schema}.renew(CAST(:held AS bigint[]), CAST(:ids AS uuid[]), :by, :lease)"
        ).columns(messages=JSONB, rows=ARRAY(Uuid))
        self._give_back = text(f"SELECT {schema}.give_back(:by)")
        self._split = text(
            f"SELECT {schema}.split_messages(CAST(:held AS bigint[]), :by, :lease, CAST(:facts AS jsonb))"
        )
        self._reopen = text(
            f"UPDATE {schema}.inbox SET state = 'retry', due_at = :at "
            "WHERE case_no = :case_no AND speaker = :speaker AND sequence = :sequence AND state = 'waiting'"
        )
        self._set_aside = text(
            f"INSERT INTO {schema}.inbox AS i (id, speaker, case_no, sequence, type, state, event, waits, "
            "due_at, reason, received_at, counted) SELECT id, speaker, case_no, sequence, type, 'retry', "
            "event, 1, :due_at, :reason, :at, false FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS "
            "r(id uuid, speaker text, case_no text, sequence int, type text, event jsonb) "
            "ON CONFLICT (id) DO UPDATE SET state = 'retry', waits = i.waits + 1, "
            "due_at = EXCLUDED.received_at + make_interval(secs => LEAST(:most_s, :first_s * 2 ^ "
            "LEAST(i.waits, 20))), "
            "reason = EXCLUDED.reason, holder = NULL WHERE i.holder = :by AND "
            "(i.speaker, i.case_no, i.sequence) = (EXCLUDED.speaker, EXCLUDED.case_no, EXCLUDED.sequence)"
        )
        self._owners = text(
            f"SELECT id::text, speaker, case_no, sequence FROM {schema}.inbox "
            "WHERE id = ANY(CAST(:ids AS uuid[]))"
        )
        self._park_dead = text(
            f"UPDATE {schema}.inbox SET state = 'parked', reason = :reason, holder = NULL, due_at = NULL "
            "WHERE id = :id AND holder = :by"
        )

    def take(
        self, unit: Unit, events: Sequence[Event], unreadable: Sequence[Unreadable], claim: Claim | None
    ) -> Taken:
        """Make facts this transaction's own and lock the gates of their cases.

        Raises NotMine when the claim's messages have been taken over, and Usurping.
        """
        facts: list[Event | Unreadable] = [*events, *unreadable]
        places = [envelope_of(one) for one in facts]
        row = unit.connection.execute(
            self._take,
            {
                "cases": sorted({place["case_no"] for place in places}),
                "ids": sorted(place["id"] for place in places),
                "held": (claim.messages or None) if claim else None,
                "by": claim.holder if claim else None,
            },
        ).one()
        if not row.mine:
            raise NotMine
        unit.begin_at(moment(row.wall, row.legal_offset_s))
        gates = {case: gate_of(heard) for case, heard in (row.gates or {}).items()}
        taken = Taken([], [], set(), gates, [], defaultdict(list), {})
        claimed = set(claim.ids) if claim else set()
        _check_owners(row.lying or (), events, unreadable)
        for lying in row.lying or ():
            self._sort_in(taken, lying, claimed)
        for event in {e.id: e for e in events}.values():
            if _is_ours(taken, event.id, claim):
                taken.fresh.append(event)
        taken.unread.extend(one for one in unreadable if _is_ours(taken, UUID(one.event["id"]), claim))
        ids = {UUID(place["id"]) for place in places}
        taken.first.update(i for i in ids if i not in taken.lying or not taken.lying[i].counted)
        return taken

    def _sort_in(self, taken: Taken, row: Mapping[str, Any], claimed: set[UUID]) -> None:
        row_id, state = UUID(row["id"]), InboxState(row["state"])
        holder = UUID(row["holder"]) if row["holder"] else None
        taken.lying[row_id] = Lying(
            row_id, state, row["attempts"], row["waits"], row["deaths"], holder, row["counted"]
        )
        if state is InboxState.DROPPED:
            taken.dropped[row["case_no"]].append(Dropped(row["speaker"], row["sequence"], row_id))
        elif state in HELD and row_id not in claimed:
            found = read_stored(row["event"])
            if isinstance(found, Event):
                taken.held.append(found)
            else:
                # Written by a newer release and rolled back: it goes on waiting, and holds back its own case.
                _log.warning("held_event_unreadable", case_no=row["case_no"], reason=found.reason)

    def reopen(self, unit: Unit, case: str, speaker: str, sequence: int) -> None:
        """Let a waiting fact that lay too far beyond the gate be looked at again."""
        unit.connection.execute(
            self._reopen, {"case_no": case, "speaker": speaker, "sequence": sequence, "at": unit.wall}
        )

    def claim_messages(self, context: ServiceContext, most: int, holder: UUID | None = None) -> Claim:
        """Free messages until they hold `most` facts, in a transaction of its own."""
        claim = Claim(holder or uuid4())
        values = {"by": claim.holder, "lease": LEASE, "most": most}
        row = call(context.engine, "inbox.claim", self._claim_messages, values)
        for message, facts in row.messages or ():
            claim.messages.append(message)
            read_into(claim, facts)
        claim.more, claim.one_is_due = row.more, row.one_is_due
        return claim

    def claim_lost_message(
        self, context: ServiceContext, *, max_deaths: int, holder: UUID | None = None
    ) -> Claim | None:
        """A message whose holder died. One that outlived too many is not read any more: its facts are in
        `undecodable`."""
        claim = Claim(holder or uuid4(), lost=True)
        values = {"by": claim.holder, "lease": LEASE, "grace": GRACE}
        row = call(context.engine, "inbox.claim", self._claim_lost, values)
        if row.id is None:
            return None
        claim.messages.append(row.id)
        if row.deaths >= max_deaths:
            reason = f"process-died: the process reading it died {row.deaths} times"
            claim.undecodable.extend(Undecoded.stored(fact, reason) for fact in row.facts)
        else:
            read_into(claim, row.facts)
        return claim

    def claim_due(
        self, context: ServiceContext, *, most: int, max_deaths: int, holder: UUID | None = None
    ) -> Claim:
        """One fact that must go alone, or a few that went down with a batch once. Those that have died too
        often are in `dead`."""
        claim = Claim(holder or uuid4(), alone=True)
        values = {"by": claim.holder, "lease": LEASE, "grace": GRACE, "most": most}
        row = call(context.engine, "inbox.claim", self._claim_due, values)
        for fact in row.facts or ():
            claim.ids.append(UUID(fact["id"]))
            if fact["deaths"] >= max_deaths:
                claim.dead.append(fact)
            else:
                read_into(claim, [fact["event"]])
        return claim

    def renew(self, context: ServiceContext, claim: Claim) -> None:
        """Go on with a claim after an outage: what is not ours any more was handled, or taken over."""
        values = {"held": claim.messages, "ids": claim.ids, "by": claim.holder, "lease": LEASE}
        row = call(context.engine, "inbox.renew", self._renew, values)
        if claim.messages and sorted(row.messages or ()) != sorted(claim.messages):
            claim.messages, claim.ids, claim.events, claim.unreadable = [], [], [], []
            claim.undecodable, claim.dead = [], []
        elif claim.ids:
            mine = set(row.rows or ())
            claim.ids = [one for one in claim.ids if one in mine]
            claim.events = [event for event in claim.events if event.id in mine]
            claim.unreadable = [one for one in claim.unreadable if UUID(one.event["id"]) in mine]

    def give_back(self, unit: Unit, holder: UUID) -> None:
        """Let go of what this holder claimed, if it did."""
        unit.connection.execute(self._give_back, {"by": holder})

    def split(self, unit: Unit, claim: Claim) -> None:
        """Turn claimed messages into claimed rows of the inbox: their facts no longer go together."""
        rows = [{**envelope_of(event), "event": to_json(event)} for event in claim.events]
        unit.connection.execute(
            self._split,
            {"held": claim.messages, "by": claim.holder, "lease": LEASE, "facts": json.dumps(rows)},
        )

    def check_owners(self, unit: Unit, unreadable: Sequence[Unreadable]) -> None:
        """Raises Usurping, without a look at any gate."""
        ids = [one.event["id"] for one in unreadable]
        rows = unit.connection.execute(self._owners, {"ids": ids}).mappings()
        _check_owners([dict(row) for row in rows], [], unreadable)

    def set_aside(self, unit: Unit, event: Event, claim: Claim | None, reason: str) -> None:
        """Keep a fact for later without a look at its gate, which may be what cannot be had."""
        unit.connection.execute(
            self._set_aside,
            {
                "rows": json.dumps([{**envelope_of(event), "event": to_json(event)}]),
                "reason": reason,
                "at": unit.wall,
                "due_at": unit.wall + timedelta(seconds=_SET_ASIDE_S),
                "first_s": _SET_ASIDE_S,
                "most_s": _SET_ASIDE_CAP_S,
                "by": claim.holder if claim else None,
            },
        )

    def park_dead(self, unit: Unit, fact: Mapping[str, Any], claim: Claim) -> None:
        """Park a fact that has taken its process down too often."""
        reason = f"process-died: the process handling it died {fact['deaths']} times"
        unit.connection.execute(
            self._park_dead, {"id": UUID(fact["id"]), "reason": reason, "by": claim.holder}
        )
        _log.error("event_parked", event_id=fact["id"], reason=reason)


def read_into(claim: Claim, facts: Iterable[str]) -> None:
    """Sort facts, in JSON text, into those that can be handled and the others."""
    for fact in facts:
        match read_stored(fact):
            case Event() as event:
                claim.events.append(event)
            case Unreadable() as unreadable:
                claim.unreadable.append(unreadable)
            case undecoded:
                claim.undecodable.append(undecoded)


def envelope_of(one: Event | Unreadable) -> dict[str, Any]:
    """The columns of a fact whose envelope is sound, whether this release can read the rest or not."""
    if isinstance(one, Event):
        return {
            "id": str(one.id),
            "speaker": one.speaker,
            "case_no": one.case,
            "sequence": one.sequence,
            "type": one.type,
        }
    stored = one.event
    return {
        "id": stored["id"],
        "speaker": stored["source"].rsplit("/", 1)[-1][:40],
        "case_no": stored["subject"],
        "sequence": int(stored["sequence"]),
        "type": stored["type"][:200],
    }


def _check_owners(
    lying: Iterable[Mapping[str, Any]], events: Iterable[Event], unreadable: Iterable[Unreadable]
) -> None:
    """Whose an id is: of the fact that lies there, or that stands first in the batch."""
    owners = {row["id"]: _place_of(row) for row in lying}
    facts: list[Event | Unreadable] = [*events, *unreadable]
    told = [(one, envelope_of(one)) for one in facts]
    usurping = [fact for fact, row in told if owners.setdefault(row["id"], _place_of(row)) != _place_of(row)]
    if usurping:
        raise Usurping(usurping)


def _place_of(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["speaker"], row["case_no"], row["sequence"]


def _is_ours(taken: Taken, fact_id: UUID, claim: Claim | None) -> bool:
    """To be handled here: never seen before, or lying there under our own claim."""
    lying = taken.lying.get(fact_id)
    if lying is None:
        # A claimed row that is gone was handled, or given up by people.
        return claim is None or not claim.ids
    return claim is not None and fact_id in claim.ids and lying.holder == claim.holder
