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
from deploy.heard import (
    count_as_said,
    give_up,
    hear_again,
    heard_of,
    jump_sequences,
    note_lost,
    subscribers_of,
)
from deploy.migrate import admin_engine
from deploy.migrations import alone
from deploy.services import SERVICES, part
from shared.bus.topology import broker_url, queue_name, read_queues
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
from shared.privacy.secret_files import MIGRATE
from shared.settings import Settings

_log = structlog.get_logger()

CAUGHT_UP_WITHIN_S = 30.0
"""How long the others are given to handle what is on its way to them."""
_EMPTY_TIMES = 4


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
            give_up(connection, service, other, case, settled)
    if not settled:
        raise NothingLostOfCase
    return len(settled)


def place_of(settings: Settings, service: str) -> Witness:
    """Where the service's witness is. Raises NoWitnessDir."""
    found = witness_of(settings, service)
    if found is None:
        raise NoWitnessDir
    return found


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
    believed = older or heard
    of_others = heard_of(connection, service)
    newly = len(of_others.unknown)
    if believed:
        note_lost(connection, service, of_others.unknown)
    found = _report(connection, service)
    found.differs = older or any(not fact.settled for fact in found.facts)
    found.apart = of_others.apart
    found.never_said = 0 if believed else newly
    if not (older or (heard and newly)):
        return found, None
    jump_sequences(connection, service)
    count_as_said(connection, service)
    hear_again(connection, service)
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
