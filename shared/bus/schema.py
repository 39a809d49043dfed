"""The delivery tables and their functions, the same in every service's schema; `schema_v1.sql` is where they
stand."""

from pathlib import Path

from shared.db.sealing import guard_v1

FUNCTIONS = (
    "key_of(bytea)",
    "is_closed(bytea)",
    "begin_key(integer, bytea, text)",
    "retire_key(integer)",
    "outbox_slot(timestamptz)",
    "tail_of(text)",
    "minute_of(text)",
    "take(text[], uuid[], bigint[], uuid, integer)",
    "forget(text, integer)",
    "leave(timestamptz, jsonb, jsonb, uuid[], jsonb, jsonb, jsonb)",
    "keep_undecodable(text[], text[], integer[], bytea[], bytea[], jsonb, integer, bigint)",
    "claim_messages(integer, uuid, interval)",
    "claim_lost_message(uuid, interval, interval)",
    "claim_due(integer, uuid, interval, interval)",
    "renew(bigint[], uuid[], uuid, interval)",
    "split_messages(bigint[], uuid, interval, jsonb)",
    "give_back(uuid)",
    "look_at_next(text, text, timestamptz)",
    "claim_outbox(integer)",
    "mark_outbox(bigint[], timestamptz, smallint[])",
    "mark_published(bigint[], timestamptz, smallint[])",
    "claim_public(integer)",
    "relay(integer)",
    "turn_outbox(timestamptz)",
    "fold_tallies(timestamptz)",
    "stand()",
)
"""What a service may call in its own schema; everybody else has `deliver` only."""

LOGS = ("trouble_acts", "said_tally", "heard_tally")
"""What a service adds to and never changes."""


def schema_v1(schema: str) -> str:
    """The SQL for one schema."""
    tables = Path(__file__).with_name("schema_v1.sql").read_text(encoding="utf-8").replace("{schema}", schema)
    return tables + "".join(
        guard_v1(schema, table, row, columns)
        for table, row, columns in (
            ("inbox", ("id",), ("sealed",)),
            ("undecodable", ("sha256",), ("sealed", "sealed_properties")),
            ("idempotency_keys", ("principal", "key"), ("sealed",)),
            ("held_forms", ("id",), ("sealed",)),
        )
    )
