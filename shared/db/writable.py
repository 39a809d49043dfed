"""Can this service write now? /readyz asks, so that it is not found out by the next application only."""

from sqlalchemy import Engine, text

from shared.db.transaction import transaction
from shared.db.waiting import answering_within

WITHIN_S = 0.9
"""Below the second that /readyz takes at most."""
_LOCK_S = 0.5


def check_writable(engine: Engine, schema: str) -> None:
    """A durable commit that leaves nothing behind. Raises DatabaseAway, or what else a command would meet.

    It names the outbox, which every command writes, so a lock on it and a read-only server are noticed; it
    spills some 300 kB, so a full disk is; and it writes to the log of the server, so a commit that waits for
    a disk or a standby is.
    """
    probe = (
        f"SET LOCAL lock_timeout = '{_LOCK_S}s'; SET LOCAL work_mem = '64kB';"
        f"INSERT INTO {schema}.outbox (case_no) SELECT case_no FROM {schema}.outbox WHERE false;"
        "SELECT count(*), pg_logical_emit_message(true, 'onestop.ready', '') FROM generate_series(1, 20000)"
    )
    with transaction(engine, "ready") as connection, answering_within(connection, WITHIN_S):
        connection.execute(text(probe))
