"""Clock, subscriptions, published matters."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE onestop.clock (
            one integer PRIMARY KEY CHECK (one = 1),
            offset_s double precision NOT NULL
        );
        INSERT INTO onestop.clock VALUES (1, 0);
        CREATE TABLE onestop.subscriptions (
            speaker varchar(40), subscriber varchar(40), PRIMARY KEY (speaker, subscriber)
        );
        CREATE TABLE onestop.matters (
            code varchar(100),
            version integer,
            body jsonb NOT NULL,
            fingerprint varchar(64) NOT NULL,
            published_at timestamptz NOT NULL,
            PRIMARY KEY (code, version)
        );
        """
    )
