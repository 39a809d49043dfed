"""Claiming costs the same whatever lies behind it, counted in the pages that the database looks at."""

import json
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.support.installation import Installation

BACKLOG = 200_000
MORE = 60
"""Pages that a deeper index may cost."""

CLAIMS = {
    "messages": "SELECT * FROM notify.claim_messages(100, '{}', interval '10 s')",
    "a lost message": "SELECT * FROM notify.claim_lost_message('{}', interval '10 s', interval '5 s')",
    "what is due": "SELECT * FROM notify.claim_due(10, '{}', interval '10 s', interval '5 s')",
}
_FACT = {"id": "01a21ff7-be91-71f4-b55a-b5959dcb48b4", "subject": "x"}


def pages(made: Installation, statement: str) -> int:
    with made.admin.connect() as connection:
        answer = connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")).scalar_one()
        connection.rollback()
    plan = answer[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def fill(made: Installation) -> None:
    """Waiting facts and not-yets far in the future, and messages by the thousand."""
    made.change(
        "INSERT INTO notify.inbox (id, speaker, case_no, sequence, type, state, due_at, received_at) "
        "SELECT gen_random_uuid(), 'intake', 'c' || n % 1000, n, 't', "
        "CASE n % 3 WHEN 0 THEN 'waiting' WHEN 1 THEN 'not_yet' ELSE 'claimed' END, "
        "clock_timestamp() + interval '1 day', clock_timestamp() FROM generate_series(1, :n) AS n",
        n=BACKLOG,
    )
    made.change(
        "INSERT INTO notify.messages (speaker, facts, received_at) SELECT 'intake', "
        "CAST(:facts AS jsonb), clock_timestamp() FROM generate_series(1, :n) AS n",
        facts=json.dumps([_FACT] * 20),
        n=BACKLOG // 20,
    )
    with made.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE notify.inbox, notify.messages"))


def one_each(made: Installation) -> None:
    """One of everything that can be claimed now."""
    made.change(
        "INSERT INTO notify.inbox (id, speaker, case_no, sequence, type, state, due_at, received_at, event) "
        "VALUES (gen_random_uuid(), 'intake', 'due', 1, 't', 'retry', clock_timestamp() - interval '1 day', "
        "clock_timestamp(), '{}')"
    )
    made.change(
        "INSERT INTO notify.messages (speaker, facts, received_at, holder, due_at, suspected) VALUES "
        "('intake', CAST(:facts AS jsonb), clock_timestamp(), gen_random_uuid(), clock_timestamp(), true)",
        facts=json.dumps([_FACT]),
    )
    for _ in range(5):
        made.change(
            "INSERT INTO notify.messages (speaker, facts, received_at) VALUES "
            "('intake', CAST(:facts AS jsonb), clock_timestamp())",
            facts=json.dumps([_FACT] * 20),
        )


@pytest.mark.slow
def test_a_claim_costs_the_same_with_a_backlog(db_installation: Installation) -> None:
    one_each(db_installation)
    by = uuid4()
    before = {what: pages(db_installation, claim.format(by)) for what, claim in CLAIMS.items()}
    fill(db_installation)
    after = {what: pages(db_installation, claim.format(by)) for what, claim in CLAIMS.items()}

    assert {what: after[what] - before[what] for what in CLAIMS if after[what] - before[what] > MORE} == {}
