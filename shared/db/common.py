"""The schema `onestop`: the few rows that all services read and none owns."""

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.types import AwareDateTime
from shared.retention import with_the_release

metadata = MetaData(schema="onestop")

clock = Table(
    "clock",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("offset_s", Float, nullable=False),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("speaker", String(40), primary_key=True),
    Column("subscriber", String(40), primary_key=True),
    Column("urgent", ARRAY(Text), nullable=False),
    Column("since", AwareDateTime, nullable=False),
    Column("seeded_to", String(50), server_default=""),
)

public_subscribers = Table(
    "public_subscribers",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("services", ARRAY(Text), nullable=False),
    Column("types", ARRAY(Text), nullable=False),
    Column("since", AwareDateTime, nullable=False),
)

matters = Table(
    "matters",
    metadata,
    Column("code", String(100), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("body", JSONB, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("published_at", AwareDateTime, nullable=False),
)

RULES = (
    with_the_release("clock", "one row"),
    with_the_release("subscriptions", "a row a speaker and subscriber"),
    with_the_release("public_subscribers", "a row a foreign subscriber, until it is removed"),
    with_the_release(
        "matters", "a published version never changes, and a case stays on the one it came under"
    ),
    with_the_release("alembic_version", "one row"),
)
"""How long their rows stay."""
