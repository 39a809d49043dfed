"""`onestop restored`: after a service's database was brought back from an older copy, make it safe to go on.

It reads, as the administrator, what the other services heard of this one: their schemas are there also while
none of them answers, and all are of one moment. Then, in one transaction: serials jump past everything that
was given out, sequences past everything that was heard, what is lost is noted, and a new epoch begins. The
witness is told last. Killed anywhere, the next run does the same again and comes to the same end.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, text

from deploy.errors import NoWitnessDir
from deploy.migrate import admin_engine
from deploy.migrations import alone
from deploy.services import SERVICES, part, subscriptions
from shared.bus.lost import UNHEARD
from shared.bus.topology import broker_url, queue_name, read_queues
from shared.bus.wire import FORMS
from shared.bus.witness import (
    BLOCK,
    Mark,
    Stand,
    Witness,
    WitnessUnusable,
    finding_of,
    read_mark,
    read_stand,
    stand_of,
)
from shared.context import witness_of
from shared.db.transaction import transaction
from shared.errors import NotFound
from shared.events.ids import new_id
from shared.events.intake import CaseSubmitted
from shared.privacy.secret_files import MIGRATE
from shared.settings import Settings

_log = structlog.get_logger()

CAUGHT_UP_WITHIN_S = 30.0
"""How long the others are given to handle what is on its way to them."""
_EMPTY_TIMES = 4
_MOST_APART = 100
_FORMS = {f"{name}_form": f"^(?:{FORMS[name].pattern})$" for name in ("id", "sequence", "subject", "type")}


class NothingLostOfCase(NotFound):
    """No act on this case was lost."""

    code = "case.nothing-lost"
    title_zh = "该办件没有丢失的记录"
    title_en = "Nothing was lost of this case"


@dataclass(frozen=True, slots=True)
class Lost:
    """One fact that others have heard and the service does not know any more; `fact` names it where somebody
    knows. `settled`: it was said again as it was, or somebody has looked."""

    case: str
    sequence: int
    fact: str | None
    settled: bool


@dataclass(slots=True)
class Restored:
    """What was found and done. `differs`: there was something to do.

    `serials`: name -> the first number that may have been given out after the copy, and the last that may.
    `cases`: those that others have heard of and this service does not know. `done`: what the service did
    besides, by kind. `on_the_way`: messages that the others had not handled yet. `apart`: case -> facts that
    lie with others and follow nothing that was heard; they do not count as heard. `never_said`: facts that
    others heard and this service never said, though its database is what its witness saw.
    """

    service: str
    differs: bool
    serials: dict[str, tuple[int, int]] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)
    facts: list[Lost] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    on_the_way: int = 0
    apart: dict[str, int] = field(default_factory=dict)
    never_said: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For output."""
        counts = {"cases": len(self.cases), "facts": len(self.facts), **self.done}
        return {**asdict(self), "counts": counts}


def restored(settings: Settings, service: str, *, heard: bool = False) -> Restored:
    """Make it safe to go on with this service's database, whatever became of it.

    Where its witness sees no older copy, what others heard and it never said may be somebody else's word:
    then it is counted only, unless `heard` says that people have looked.

    Raises NoWitnessDir, WitnessUnusable.
    """
    witness = place_of(settings, service)
    admin = admin_engine(settings)
    with alone(admin):
        seen = witness.read()
        on_the_way = 0
        if _differs(admin, service, seen):
            on_the_way = _wait_for_others(settings, service)
        with transaction(admin, "restored") as connection:
            # Nobody marks meanwhile, and everything that follows is of one moment.
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(text(f"LOCK TABLE {service}.witness, {service}.cases IN EXCLUSIVE MODE"))
            found, mark = _bring_up(connection, service, seen, heard=heard)
        if mark is not None:
            witness.keep(mark, new_epoch=True)
            _log.warning("restored", service=service, cases=len(found.cases), facts=len(found.facts))
    found.on_the_way = on_the_way
    return found


def findings(settings: Settings) -> dict[str, str]:
    """Service -> what is wrong with its database as its witness sees it, where something is: the code of
    NotAsWitnessed or one of its kinds."""
    admin = admin_engine(settings)
    wrong: dict[str, str] = {}
    for service in SERVICES:
        try:
            witness = place_of(settings, service)
            seen = witness.read()
            witness.rewrite()
            with transaction(admin, "restored.look") as connection:
                finding = finding_of(_stand(connection, service), seen)
            if finding is not None:
                wrong[service] = finding.code
        except WitnessUnusable as error:
            wrong[service] = error.code
    return wrong


def settle(settings: Settings, service: str, case: str) -> int:
    """Somebody has looked at what was lost of a case: it may go on, also with those who had not heard it
    either; how many facts that were.

    Raises NothingLostOfCase.
    """
    with transaction(admin_engine(settings), "restored.settle") as connection:
        settled = [
            row.sequence
            for row in connection.execute(
                text(
                    f"UPDATE {service}.lost_facts SET settled = true WHERE case_no = :case AND NOT settled "
                    "RETURNING sequence"
                ),
                {"case": case},
            )
        ]
        for other in subscribers_of(service):
            _give_up(connection, service, other, case, settled)
    if not settled:
        raise NothingLostOfCase
    return len(settled)


def _give_up(connection: Connection, service: str, other: str, case: str, sequences: list[int]) -> None:
    """What nobody can say again does not hold back a subscriber that has not heard it."""
    values = {"case": case, "speaker": service, "sequences": sequences}
    connection.execute(
        text(
            f"INSERT INTO {other}.inbox (id, speaker, case_no, sequence, type, state, received_at) "
            # It ends as the lost one did, whom the next one follows.
            "SELECT CAST(substr(md5(l.case_no || '/' || l.sequence), 1, 16) || l.tail AS uuid), :speaker, "
            "l.case_no, l.sequence, 'onestop.' || :speaker || '.' || COALESCE(l.fact, 'unknown') || '.v1', "
            f"'dropped', clock_timestamp() FROM {service}.lost_facts AS l "
            f"LEFT JOIN {other}.gates AS g ON g.case_no = l.case_no "
            "WHERE l.case_no = :case AND l.sequence = ANY(:sequences) AND l.sequence > COALESCE("
            "(g.heard->:speaker->>0)::int + length(g.heard->:speaker->>1) / 16, 0) "
            "ON CONFLICT (id) DO NOTHING"
        ),
        values,
    )
    connection.execute(
        text(
            f"UPDATE {other}.inbox SET state = 'retry', due_at = clock_timestamp() WHERE state = 'waiting' "
            f"AND case_no = :case AND speaker = :speaker AND sequence = (SELECT min(sequence) FROM "
            f"{other}.inbox WHERE state = 'waiting' AND case_no = :case AND speaker = :speaker)"
        ),
        values,
    )


def place_of(settings: Settings, service: str) -> Witness:
    """Where the service's witness is. Raises NoWitnessDir."""
    found = witness_of(settings, service)
    if found is None:
        raise NoWitnessDir
    return found


def subscribers_of(service: str) -> list[str]:
    """Who hears this service."""
    return sorted(name for name, speakers in subscriptions().items() if service in speakers)


def _differs(admin: Engine, service: str, seen: Mark | None) -> bool:
    with transaction(admin, "restored.look") as connection:
        return finding_of(_stand(connection, service), seen) is not None


def _stand(connection: Connection, service: str) -> Stand:
    return read_stand(connection.execute(stand_of(service)).one())


def _bring_up(
    connection: Connection, service: str, seen: Mark | None, *, heard: bool
) -> tuple[Restored, Mark | None]:
    stand = _stand(connection, service)
    older = finding_of(stand, seen) is not None
    apart = _apart(connection, service)
    believed = older or heard
    newly = _unknown(connection, service)
    if believed:
        _note_lost(connection, service)
    found = _report(connection, service)
    found.differs = older or any(not fact.settled for fact in found.facts)
    found.apart = apart
    found.never_said = 0 if believed else newly
    if not (older or (heard and newly)):
        return found, None
    _jump_sequences(connection, service)
    _count_as_said(connection, service)
    _hear_again(connection, service)
    at = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    found.done = dict(part(service, "worker").Worker.restored(connection, at, found.cases))
    return found, _begin_epoch(connection, found, stand, seen, at)


def _begin_epoch(
    connection: Connection, found: Restored, stand: Stand, seen: Mark | None, at: datetime
) -> Mark:
    service = found.service
    reserved = {}
    for name in stand.serials:
        given = connection.execute(
            text(f"SELECT COALESCE(pg_sequence_last_value('{service}.{name}'), 0)")
        ).scalar_one()
        before = stand.given.get(name) or 0
        # Without a witness nobody knows how far they were: as far as a block would have let them go.
        most = seen.reserved.get(name, 0) if seen is not None else before + BLOCK
        jumped = max(given, stand.serials[name], most)
        connection.execute(text(f"SELECT setval('{service}.{name}', :to)"), {"to": max(1, jumped)})
        reserved[name] = jumped + BLOCK
        if jumped > before:
            found.serials[name] = (before + 1, jumped)
    return read_mark(
        connection.execute(
            text(
                f"UPDATE {service}.witness SET epoch = :epoch, mark = GREATEST(mark, :mark) + 1, "
                "reserved = CAST(:reserved AS jsonb), marked_at = :at, restored_at = :at "
                "RETURNING epoch, mark, reserved"
            ),
            {
                "epoch": new_id(),
                "mark": seen.number if seen is not None else 0,
                "reserved": json.dumps(reserved),
                "at": at,
            },
        ).one()
    )


def _unknown(connection: Connection, service: str) -> int:
    """How many facts others heard that the service does not know, nor to be lost."""
    found = connection.execute(
        text(
            f"{_heard(service)} SELECT count(*) {_beyond(service)} WHERE NOT EXISTS (SELECT 1 "
            f"FROM {service}.lost_facts AS l WHERE l.case_no = t.case_no AND l.sequence = n)"
        ),
        {"speaker": service, **_FORMS},
    )
    return int(found.scalar_one())


def _note_lost(connection: Connection, service: str) -> None:
    """What others heard beyond what the service knows to have said, fact by fact: what their gates passed and
    what follows it without a gap. Anybody may have put there what lies farther off."""
    connection.execute(
        text(
            f"{_heard(service)} "
            f"INSERT INTO {service}.lost_facts (case_no, sequence, tail, fact, found_at) "
            "SELECT t.case_no, n, COALESCE(b.tail, :unknown), NULLIF(b.fact, ''), transaction_timestamp() "
            f"{_beyond(service)} LEFT JOIN best AS b ON b.case_no = t.case_no AND b.sequence = n "
            "ON CONFLICT (case_no, sequence) DO NOTHING"
        ),
        {"speaker": service, "unknown": UNHEARD, **_FORMS},
    )
    _name(connection, service)


def _beyond(service: str) -> str:
    """SQL: each sequence `n` of a case of `tops` that was heard beyond what the service knows."""
    return (
        f"FROM tops AS t LEFT JOIN {service}.cases AS c ON c.number = t.case_no "
        "CROSS JOIN LATERAL generate_series(COALESCE(c.sequence, 0) + 1, t.top) AS n"
    )


def _apart(connection: Connection, service: str) -> dict[str, int]:
    """Case -> facts in its name that lie with others and follow nothing that was heard, of a few cases."""
    rows = connection.execute(
        text(
            f"{_heard(service)} SELECT case_no, count(*) AS facts FROM above WHERE NOT follows "
            "GROUP BY case_no ORDER BY case_no LIMIT :most"
        ),
        {"speaker": service, "most": _MOST_APART, **_FORMS},
    )
    return {row.case_no: row.facts for row in rows}


def _heard(service: str) -> str:
    """SQL: `best`, each fact that others know and the service does not; `above`, those of them that no gate
    has passed, and whether they follow what was heard without a gap; `tops`, how far each case was heard."""
    others = subscribers_of(service)
    gates = " UNION ALL ".join(
        "SELECT case_no, (heard->:speaker->>0)::int AS start, heard->:speaker->>1 AS tails "
        f"FROM {other}.gates WHERE jsonb_exists(heard, :speaker)"
        for other in others
    )
    lying = " UNION ALL ".join(
        part_
        for other in others
        for part_ in (
            "SELECT case_no, sequence::bigint, right(replace(id::text, '-', ''), 16) AS tail, type "
            f"FROM {other}.inbox WHERE speaker = :speaker",
            # Nobody has looked at these yet: cast is only what a fact of ours can hold.
            "SELECT e->>'subject', CASE WHEN e->>'sequence' ~ :sequence_form "
            "THEN (e->>'sequence')::bigint END, right(replace(e->>'id', '-', ''), 16), "
            "CASE WHEN e->>'type' ~ :type_form THEN e->>'type' END "
            f"FROM {other}.messages AS m CROSS JOIN jsonb_array_elements(m.facts) AS e "
            "WHERE m.speaker = :speaker AND e->>'subject' ~ :subject_form AND e->>'id' ~ :id_form",
        )
    )
    return (
        f"WITH passed AS MATERIALIZED ({gates}), "
        "gates AS (SELECT case_no, max(start + length(tails) / 16) AS last FROM passed GROUP BY case_no), "
        "heard AS (SELECT b.case_no, (b.start + n)::bigint AS sequence, substr(b.tails, n * 16 - 15, 16) "
        "AS tail, NULL::text AS type FROM (SELECT p.*, COALESCE(c.sequence, 0) AS known FROM passed AS p "
        f"LEFT JOIN {service}.cases AS c ON c.number = p.case_no) AS b, "
        "generate_series(GREATEST(1, b.known - b.start + 1), length(b.tails) / 16) AS n "
        f"UNION ALL SELECT l.* FROM ({lying}) AS l (case_no, sequence, tail, type) "
        f"LEFT JOIN {service}.cases AS c ON c.number = l.case_no "
        "WHERE l.sequence > COALESCE(c.sequence, 0) AND l.sequence <= 2147483647), "
        "best AS (SELECT case_no, sequence::int AS sequence, max(tail) AS tail, "
        "split_part(max(type), '.', 3) AS fact FROM heard GROUP BY case_no, sequence), "
        "above AS (SELECT f.case_no, f.sequence, f.sequence - row_number() OVER (PARTITION BY f.case_no "
        "ORDER BY f.sequence) = f.known AS follows FROM (SELECT b.case_no, b.sequence, "
        "GREATEST(COALESCE(c.sequence, 0), COALESCE(g.last, 0)) AS known FROM best AS b "
        f"LEFT JOIN {service}.cases AS c ON c.number = b.case_no LEFT JOIN gates AS g USING (case_no)) AS f "
        "WHERE f.sequence > f.known), "
        "tops AS (SELECT case_no, max(last) AS top FROM (SELECT case_no, last FROM gates UNION ALL "
        "SELECT case_no, sequence FROM above WHERE follows) AS ends GROUP BY case_no)"
    )


def _name(connection: Connection, service: str) -> None:
    """What the lost facts were, as far as somebody shows it: the citizen's timeline."""
    if service == CaseSubmitted.speaker:
        connection.execute(
            text(
                # What it said later nobody shows in a place of its own: that stays unknown.
                f"UPDATE {service}.lost_facts SET fact = :first WHERE fact IS NULL AND sequence = 1"
            ),
            {"first": CaseSubmitted.called},
        )
        return
    front = CaseSubmitted.speaker
    connection.execute(
        text(
            f"UPDATE {service}.lost_facts AS l SET fact = t.fact FROM {front}.timeline AS t "
            "WHERE l.fact IS NULL AND t.case_no = l.case_no AND t.service = :service "
            "AND t.sequence = l.sequence"
        ),
        {"service": service},
    )


def _jump_sequences(connection: Connection, service: str) -> None:
    """The next fact about a case is numbered after all that was heard, and follows the last of them."""
    connection.execute(
        text(
            f"UPDATE {service}.cases AS c SET sequence = l.sequence, last_fact = CAST("
            "'00000000-0000-7000-' || substr(l.tail, 1, 4) || '-' || substr(l.tail, 5) AS uuid) "
            f"FROM (SELECT DISTINCT ON (case_no) case_no, sequence, tail FROM {service}.lost_facts "
            "ORDER BY case_no, sequence DESC) AS l WHERE c.number = l.case_no AND c.sequence < l.sequence"
        )
    )


def _count_as_said(connection: Connection, service: str) -> None:
    """What was heard was said: it counts so, and is not counted again where it is handed on once more."""
    others = subscribers_of(service)
    gates = " UNION ALL ".join(
        "SELECT case_no, (heard->:speaker->>0)::int + length(heard->:speaker->>1) / 16 AS last "
        f"FROM {other}.gates WHERE jsonb_exists(heard, :speaker)"
        for other in others
    )
    tallies = " UNION ALL ".join(
        f"SELECT minute, sum(facts) AS facts, bit_xor(tails) AS tails FROM {other}.heard_tally "
        "WHERE speaker = :speaker GROUP BY minute"
        for other in others
    )
    values = {"speaker": service}
    connection.execute(
        text(
            f"UPDATE {service}.outbox AS o SET again = true FROM ({gates}) AS g WHERE o.sent_at IS NULL "
            "AND o.case_no = g.case_no AND (o.event->>'sequence')::int <= g.last"
        ),
        values,
    )
    connection.execute(
        text(
            f"INSERT INTO {service}.said_tally SELECT h.minute, h.facts - COALESCE(s.facts, 0), "
            "h.tails # COALESCE(s.tails, 0), clock_timestamp() FROM (SELECT DISTINCT ON (minute) * "
            f"FROM ({tallies}) AS all_of_them ORDER BY minute, facts DESC) AS h LEFT JOIN (SELECT minute, "
            f"sum(facts) AS facts, bit_xor(tails) AS tails FROM {service}.said_tally GROUP BY minute) AS s "
            "USING (minute) WHERE h.facts > COALESCE(s.facts, 0)"
        ),
        values,
    )


def _hear_again(connection: Connection, service: str) -> None:
    """Speakers keep what this service has to hear once more; the comparison finds out what that is."""
    for speaker in subscriptions()[service]:
        connection.execute(
            text(
                f"UPDATE {speaker}.confirmations SET through = LEAST(through, COALESCE((SELECT compared_to "
                f"FROM {service}.comparisons WHERE speaker = :speaker), '-infinity')) "
                "WHERE subscriber = :service"
            ),
            {"speaker": speaker, "service": service},
        )


def _report(connection: Connection, service: str) -> Restored:
    rows = connection.execute(
        text(
            f"SELECT l.case_no, l.sequence, l.fact, l.settled, c.number IS NULL AS gone "
            f"FROM {service}.lost_facts AS l LEFT JOIN {service}.cases AS c ON c.number = l.case_no "
            "ORDER BY l.case_no, l.sequence"
        )
    ).all()
    return Restored(
        service,
        differs=False,
        cases=[case for case, some in groupby(rows, key=lambda row: row.case_no) if next(some).gone],
        facts=[Lost(row.case_no, row.sequence, row.fact, row.settled) for row in rows],
    )


def _wait_for_others(settings: Settings, service: str) -> int:
    """Until the others have handled what is on its way to them, if they do; how many messages are left."""
    url = broker_url(settings, MIGRATE)
    if not url:
        return 0
    names = {queue_name(other) for other in subscribers_of(service)}
    until = time.monotonic() + CAUGHT_UP_WITHIN_S
    empty = 0
    while True:
        waiting = sum(queue.messages for queue in read_queues(url, SERVICES) if queue.name in names)
        empty = 0 if waiting else empty + 1
        # What a consumer has at hand is not counted; it is done with soon.
        if empty == _EMPTY_TIMES or time.monotonic() > until:
            return waiting
        time.sleep(0.5)
