"""The tables that delivery needs, the same in every service's schema."""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.db.types import AwareDateTime


@dataclass(frozen=True, slots=True)
class BusTables:
    """One schema's delivery tables.

    outbox: facts said, in `id` order, until `sent_at`. inbox: facts heard, kept while the case lives.
    gates: per case the last sequence handled of each speaker. jobs: calls to the world and waiting.
    undecodable: bytes that are no event, sealed. parked_acts: who replayed or dropped what.
    """

    outbox: Table
    inbox: Table
    gates: Table
    jobs: Table
    undecodable: Table
    parked_acts: Table
    data_keys: Table
    idempotency_keys: Table


def bus_tables(metadata: MetaData) -> BusTables:
    """Add the delivery tables to the metadata of one service (its schema is the metadata's)."""
    outbox_id = Sequence("outbox_id", metadata=metadata)
    outbox = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, outbox_id, server_default=outbox_id.next_value(), primary_key=True),
        Column("emitted_on", Date, primary_key=True),
        Column("case_no", String(50), nullable=False),
        Column("event", JSONB, nullable=False),
        Column("emitted_at", AwareDateTime, nullable=False),
        Column("sent_at", AwareDateTime),
        Index("outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),
        Index("outbox_case", "case_no"),
        postgresql_partition_by="RANGE (emitted_on)",
    )
    inbox = Table(
        "inbox",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("position", BigInteger, Identity(), nullable=False),
        Column("speaker", String(40), nullable=False),
        Column("case_no", String(50), nullable=False),
        Column("sequence", Integer, nullable=False),
        Column("type", String(200), nullable=False),
        Column("state", String(20), nullable=False),
        Column("event", JSONB),
        Column("sealed", LargeBinary),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("waits", Integer, nullable=False, server_default="0"),
        Column("deaths", Integer, nullable=False, server_default="0"),
        Column("due_at", AwareDateTime),
        Column("holder", Uuid),
        Column("lease_until", AwareDateTime),
        Column("reason", String(300)),
        Column("received_at", AwareDateTime, nullable=False),
        Column("handled_at", AwareDateTime),
        Index(
            "inbox_open", "position", postgresql_where=text("state IN ('new', 'claimed', 'retry', 'not_yet')")
        ),
        Index("inbox_case", "case_no", "speaker", "sequence"),
        Index("inbox_held", "case_no", postgresql_where=text("state IN ('waiting', 'not_yet', 'dropped')")),
        Index("inbox_parked", "position", postgresql_where=text("state = 'parked'")),
    )
    gates = Table(
        "gates",
        metadata,
        Column("case_no", String(50), primary_key=True),
        Column("heard", JSONB, nullable=False),
        postgresql_with={"fillfactor": 60},
    )
    jobs = Table(
        "jobs",
        metadata,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("kind", String(60), nullable=False),
        Column("key", String(200), nullable=False),
        Column("case_no", String(50)),
        Column("payload", JSONB, nullable=False),
        Column("state", String(20), nullable=False),
        Column("due_at", AwareDateTime, nullable=False),
        Column("epoch", Integer, nullable=False, server_default="0"),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("lease_until", AwareDateTime),
        Column("reason", String(300)),
        Column("created_at", AwareDateTime, nullable=False),
        Column("finished_at", AwareDateTime),
        UniqueConstraint("kind", "key"),
        Index("jobs_open", "due_at", postgresql_where=text("state IN ('due', 'claimed')")),
        Index("jobs_case", "case_no"),
    )
    undecodable = Table(
        "undecodable",
        metadata,
        Column("sha256", String(64), primary_key=True),
        Column("sealed", LargeBinary, nullable=False),
        Column("size", Integer, nullable=False),
        Column("reason", String(300), nullable=False),
        Column("state", String(20), nullable=False),
        Column("times", Integer, nullable=False),
        Column("received_at", AwareDateTime, nullable=False),
    )
    parked_acts = Table(
        "parked_acts",
        metadata,
        Column("id", BigInteger, Identity(), primary_key=True),
        Column("parked", String(64), nullable=False),
        Column("act", String(20), nullable=False),
        Column("actor", String(100), nullable=False),
        Column("acted_at", AwareDateTime, nullable=False),
    )
    data_keys = Table(
        "data_keys",
        metadata,
        Column("key_id", Integer, primary_key=True, autoincrement=False),
        Column("wrapped", LargeBinary, nullable=False),
        Column("state", String(20), nullable=False),
        Column("created_at", AwareDateTime, nullable=False),
    )
    idempotency_keys = Table(
        "idempotency_keys",
        metadata,
        Column("principal", String(100), primary_key=True),
        Column("key", String(128), primary_key=True),
        Column("fingerprint", String(64), nullable=False),
        Column("status", Integer, nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("created_at", AwareDateTime, nullable=False),
    )
    return BusTables(outbox, inbox, gates, jobs, undecodable, parked_acts, data_keys, idempotency_keys)
