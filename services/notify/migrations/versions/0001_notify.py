"""Deliveries, the in-app inbox, and the delivery tables."""

from alembic import op

from shared.bus.schema import schema_v1

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    op.execute(schema_v1("notify"))
    op.execute(
        """
        CREATE TABLE notify.cases (
            number varchar(50) PRIMARY KEY,
            sequence integer NOT NULL,
            last_fact uuid,
            matter varchar(100) NOT NULL,
            matter_version integer NOT NULL,
            people jsonb NOT NULL,
            locale varchar(10) NOT NULL
        ) WITH (fillfactor = 80);
        CREATE TABLE notify.deliveries (
            id uuid PRIMARY KEY,
            case_no varchar(50) NOT NULL,
            fact uuid NOT NULL,
            recipient uuid NOT NULL,
            role varchar(60) NOT NULL,
            channel varchar(40) NOT NULL,
            template varchar(60) NOT NULL,
            locale varchar(10) NOT NULL,
            params jsonb NOT NULL,
            state varchar(20) NOT NULL,
            asked integer NOT NULL,
            sends integer NOT NULL,
            provider_ref varchar(100),
            reason varchar(300),
            planned_at timestamptz NOT NULL,
            called_at timestamptz,
            doubted_until timestamptz,
            sent_at timestamptz,
            UNIQUE (fact, recipient, channel, template)
        );
        CREATE INDEX deliveries_case ON notify.deliveries (case_no);
        CREATE INDEX deliveries_in_doubt ON notify.deliveries (planned_at, id) WHERE state = 'in_doubt';
        CREATE TABLE notify.inbox_messages (
            id uuid PRIMARY KEY,
            recipient uuid NOT NULL,
            case_no varchar(50) NOT NULL,
            title varchar(200) NOT NULL,
            body text NOT NULL,
            sent_at timestamptz NOT NULL
        );
        CREATE INDEX inbox_messages_recipient ON notify.inbox_messages (recipient, sent_at, id);
        CREATE TABLE notify.code_channels (
            kind varchar(20) PRIMARY KEY,
            channel varchar(40) NOT NULL
        );
        """
    )
