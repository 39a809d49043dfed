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
        -- Facts of one service through the doors of its subscribers, in the speaker's own transaction. Runs
        -- with the speaker's rights: who may not use a door fails here.
        CREATE FUNCTION onestop.hand_on(who text, body jsonb) RETURNS text[]
        LANGUAGE plpgsql AS $$
        DECLARE
            subscribers text[];
            door text;
        BEGIN
            SELECT array_agg(subscriber ORDER BY subscriber) INTO subscribers
            FROM onestop.subscriptions WHERE speaker = who;
            FOREACH door IN ARRAY coalesce(subscribers, '{}') LOOP
                EXECUTE format('SELECT %I.deliver($1)', door) USING body;
            END LOOP;
            RETURN subscribers;
        END $$;
        REVOKE ALL ON FUNCTION onestop.hand_on(text, jsonb) FROM PUBLIC;
        """
    )
