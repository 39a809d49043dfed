"""Who hears whom, from when on: `onestop migrate` writes it, and seeds what exists already.

A service that begins to hear a speaker has missed what the speaker said before about the cases that exist.
Its gate for each of them starts after the last fact that was handed on before it was bound; without that it
would wait for the first one for ever. Facts about cases whose turn has not come wait meanwhile. Killed in the
middle, the next `migrate` goes on where this one stopped.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from sqlalchemy import Engine, TextClause, text

from deploy.migrations import again_and_again, wait_shortly
from deploy.services import part, subscriptions
from shared.bus.handlers import urgent_types
from shared.bus.topology import bind
from shared.db.transaction import transaction

_log = structlog.get_logger()

BITE = 1000
"""Cases seeded in one transaction."""


@dataclass(frozen=True, slots=True)
class Seeding:
    """A subscription whose cases are not all seeded yet."""

    speaker: str
    subscriber: str
    since: datetime
    seeded_to: str


def subscribe(engine: Engine, broker_url: str | None) -> None:
    """Bring subscriptions, and with a broker its bindings, to what the worker classes hear. `engine` is the
    admin's. Raises TablesInUse when somebody is in the way for long, as a relay that hangs."""
    wanted = {
        (speaker, subscriber) for subscriber, speakers in subscriptions().items() for speaker in speakers
    }
    for speaker, subscriber in sorted(wanted):
        what = f"{subscriber} hears {speaker}"
        again_and_again(what, partial(_begin, engine, speaker, subscriber, broker_url))
    again_and_again("who hears whom", partial(_end_others, engine, wanted))
    for seeding in _unseeded(engine):
        _seed(engine, seeding)


def subscribed(engine: Engine) -> dict[str, list[str]]:
    """Subscriber -> speakers, as it stands in the database."""
    found: dict[str, list[str]] = {}
    with transaction(engine, "subscribe.look") as connection:
        rows = connection.execute(text("SELECT speaker, subscriber FROM onestop.subscriptions ORDER BY 1"))
        for row in rows:
            found.setdefault(row.subscriber, []).append(row.speaker)
    return found


def _begin(engine: Engine, speaker: str, subscriber: str, broker_url: str | None) -> None:
    """Subscribe while the speaker's relay stands still, so that each of its facts was handed on either before
    or after."""
    urgent = list(urgent_types(part(subscriber, "worker").Worker))
    values = {"speaker": speaker, "subscriber": subscriber, "urgent": urgent}
    with transaction(engine, "subscribe.begin") as connection:
        wait_shortly(connection)
        known = connection.execute(
            text(
                "UPDATE onestop.subscriptions SET urgent = :urgent "
                "WHERE speaker = :speaker AND subscriber = :subscriber RETURNING 1"
            ),
            values,
        ).first()
        if known is not None:
            return
        connection.execute(text(f"SELECT 1 FROM {speaker}.locks WHERE name = 'relay' FOR UPDATE"))
        connection.execute(
            text(
                "INSERT INTO onestop.subscriptions (speaker, subscriber, urgent, since) "
                "VALUES (:speaker, :subscriber, :urgent, clock_timestamp())"
            ),
            values,
        )
        if broker_url:
            bind(broker_url, subscriber, speaker)
    _log.info("subscribed", speaker=speaker, subscriber=subscriber)


def _end_others(engine: Engine, wanted: set[tuple[str, str]]) -> None:
    """What no service hears any more is handed on to it no more. A broker's bindings are ended by
    `topology apply`, which knows them."""
    with transaction(engine, "subscribe.end") as connection:
        wait_shortly(connection)
        for row in connection.execute(text("SELECT speaker, subscriber FROM onestop.subscriptions")).all():
            if (row.speaker, row.subscriber) not in wanted:
                connection.execute(
                    text("DELETE FROM onestop.subscriptions WHERE speaker = :s AND subscriber = :by"),
                    {"s": row.speaker, "by": row.subscriber},
                )


def _unseeded(engine: Engine) -> list[Seeding]:
    with transaction(engine, "subscribe.look") as connection:
        rows = connection.execute(
            text(
                "SELECT speaker, subscriber, since, seeded_to FROM onestop.subscriptions "
                "WHERE seeded_to IS NOT NULL ORDER BY speaker, subscriber"
            )
        )
        return [Seeding(*row) for row in rows]


def _seed(engine: Engine, seeding: Seeding) -> None:
    """Let the gates of existing cases start, in small bites; one that the subscriber moved itself stays."""
    at: str | None = seeding.seeded_to
    bites = 0
    while at is not None:
        at = again_and_again(f"gates of {seeding.subscriber}", partial(_seed_some, engine, seeding, at))
        bites += 1
    _log.info("seeded", speaker=seeding.speaker, subscriber=seeding.subscriber, bites=bites)


def _seed_some(engine: Engine, seeding: Seeding, after: str) -> str | None:
    """One bite; where the next one begins."""
    with transaction(engine, "subscribe.seed") as connection:
        wait_shortly(connection)
        at: str | None = connection.execute(
            _bite(seeding.speaker, seeding.subscriber),
            {"after": after, "since": seeding.since, "bite": BITE, "speaker": seeding.speaker},
        ).scalar_one()
        connection.execute(
            text(
                "UPDATE onestop.subscriptions SET seeded_to = :at "
                "WHERE speaker = :speaker AND subscriber = :subscriber"
            ),
            {"at": at, "speaker": seeding.speaker, "subscriber": seeding.subscriber},
        )
    return at


def _bite(speaker: str, subscriber: str) -> TextClause:
    """One statement, so that a case's count and its outbox are of one moment. Answers where the next bite
    begins, null after the last."""
    return text(
        f"""
        WITH bite AS (
            SELECT number, sequence FROM {speaker}.cases WHERE number > :after ORDER BY number LIMIT :bite
        ), starts AS (
            SELECT b.number, COALESCE((
                SELECT min((o.event->>'sequence')::int) - 1 FROM {speaker}.outbox AS o
                WHERE o.case_no = b.number AND (o.sent_at IS NULL OR o.sent_at >= :since)
            ), b.sequence) AS start FROM bite AS b
        ), seeded AS (
            INSERT INTO {subscriber}.gates AS g (case_no, heard)
            SELECT number, jsonb_build_object(CAST(:speaker AS text), jsonb_build_array(start, ''))
            FROM starts WHERE start > 0 ORDER BY number
            ON CONFLICT (case_no) DO UPDATE SET heard = g.heard || EXCLUDED.heard
            WHERE NOT g.heard ? CAST(:speaker AS text)
            RETURNING case_no
        ), freed AS (
            UPDATE {subscriber}.inbox AS i SET state = 'retry', due_at = clock_timestamp()
            FROM starts WHERE i.case_no = starts.number AND i.speaker = :speaker AND i.state = 'waiting'
            AND i.sequence = starts.start + 1
        )
        SELECT CASE WHEN count(*) = :bite THEN max(number) END FROM bite
        """
    )
