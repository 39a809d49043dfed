"""The delivery tables and their functions, the same in every service's schema; `schema_v1.sql` is where they
stand."""

from pathlib import Path

FUNCTIONS = (
    "open_gates(text[])",
    "take_delivered(jsonb)",
    "claim_inbox(integer, uuid, interval)",
    "take_claimed(uuid[], uuid)",
    "leave(timestamptz, jsonb, jsonb, jsonb)",
    "claim_outbox(integer)",
    "mark_outbox(bigint[], timestamptz, date, date)",
    "relay(integer)",
    "keep_outbox(date)",
)
"""What a service may call in its own schema; everybody else has `deliver` only."""

LOGS = ("parked_acts",)
"""What a service adds to and never changes."""


def schema_v1(schema: str) -> str:
    """The SQL for one schema."""
    return Path(__file__).with_name("schema_v1.sql").read_text(encoding="utf-8").replace("{schema}", schema)
