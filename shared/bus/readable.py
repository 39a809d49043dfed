"""What a release of a service can read, and what an older one could not: a newer one tries that again."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256

import structlog
from sqlalchemy import text

from shared.bus.context import ServiceContext
from shared.bus.hints import inbox_hint
from shared.bus.unit import unit_of
from shared.bus.wire import Undecodable, Unreadable, from_json
from shared.db.outages import DatabaseAway
from shared.describe import kind_of
from shared.events.fact import fact_classes

_log = structlog.get_logger()


def speakers_in(handlers: Iterable[str]) -> frozenset[str]:
    """The services that say facts of these types."""
    return frozenset(type_.split(".")[1] for type_ in handlers)


@cache
def release(speakers: frozenset[str]) -> str:
    """What this release of a service can read, as one short word: it changes with the class of any fact, and
    with whom the service hears."""
    schemas = [[cls.type, cls.model_json_schema()] for cls in fact_classes()]
    return sha256(json.dumps([sorted(speakers), schemas], sort_keys=True).encode()).hexdigest()[:16]


def read_again(context: ServiceContext, handlers: Iterable[str]) -> None:
    """Let facts be handled that an older release could not read, or did not hear, and this one can."""
    speakers = speakers_in(handlers)
    types = [cls.type for cls in fact_classes() if cls.speaker in speakers]
    try:
        if types and try_unreadable(context, types, release(speakers)):
            context.hints.ring(inbox_hint(context.service))
    except DatabaseAway as error:
        _log.warning("reading_again_repeats", service=context.service, error=kind_of(error))


def try_unreadable(context: ServiceContext, types: Sequence[str], me: str, most: int = 100) -> int:
    """Let those unreadable facts of these types be handled that this release can read; how many were tried.

    `me` tells releases apart, so that each tries a fact once.
    """
    inbox = f"{context.service}.inbox"
    unreadable = text(
        f"SELECT id, sealed FROM {inbox} WHERE state = 'unreadable' AND type = ANY(:types) "
        "AND NOT read_by @> ARRAY[:me] ORDER BY received_at, id LIMIT :most FOR UPDATE SKIP LOCKED"
    )
    readable = text(
        f"UPDATE {inbox} SET state = 'retry', event = CAST(:event AS jsonb), sealed = NULL, "
        "reason = NULL, due_at = :at WHERE id = :id"
    )
    still_unreadable = text(f"UPDATE {inbox} SET read_by = read_by || CAST(:me AS text) WHERE id = :id")
    with unit_of(context, "inbox.read_again") as unit:
        found = unit.connection.execute(unreadable, {"types": list(types), "me": me, "most": most}).all()
        for row in found:
            stored = json.loads(context.vault.open(row.sealed, table="inbox", row=row.id, column="sealed"))
            try:
                from_json(stored)
            except (Unreadable, Undecodable):
                unit.connection.execute(still_unreadable, {"id": row.id, "me": me})
            else:
                values = {"id": row.id, "event": json.dumps(stored), "at": unit.wall}
                unit.connection.execute(readable, values)
    return len(found)
