"""Clock, subscriptions, published matters."""

from alembic import op

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE onestop.clock (
            one integer PRIMARY KEY CHECK (one = 1),
            offset_s double precision NOT NULL
        );
        INSERT INTO onestop.clock VALUES (1, 0);
        CREATE TABLE onestop.subscriptions (
            speaker varchar(40),
            subscriber varchar(40),
            urgent text[] NOT NULL,
            since timestamptz NOT NULL,
            -- How far the gates of cases that existed before are seeded; null when all are.
            seeded_to varchar(50) DEFAULT '',
            PRIMARY KEY (speaker, subscriber)
        );
        -- Foreign subscribers: each gets the facts of these services, and those of these types.
        CREATE TABLE onestop.public_subscribers (
            name varchar(40) PRIMARY KEY,
            services text[] NOT NULL,
            types text[] NOT NULL,
            since timestamptz NOT NULL
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
        -- with the speaker's rights: who may not use a door fails here. This transaction's commit wakes them:
        -- at once for whom one of the facts is urgent, a little later the others.
        CREATE FUNCTION onestop.hand_on(who text, types text[], body jsonb) RETURNS void
        LANGUAGE plpgsql AS $$
        DECLARE
            one record;
            what text;
        BEGIN
            FOR one IN
                SELECT subscriber, urgent && types AS at_once FROM onestop.subscriptions WHERE speaker = who
                ORDER BY subscriber
            LOOP
                EXECUTE format('SELECT %I.deliver($1)', one.subscriber) USING body;
                what := CASE WHEN one.at_once THEN 'inbox' ELSE 'linger' END;
                PERFORM pg_notify(format('onestop_%s_%s', one.subscriber, what), '');
            END LOOP;
        END $$;
        REVOKE ALL ON FUNCTION onestop.hand_on(text, text[], jsonb) FROM PUBLIC;
        """
    )
