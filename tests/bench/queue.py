"""python -m tests.bench.queue [--tasks N] [--open N] [--json]

How long the database takes for one page of the officer's queue when the table holds every task ever made.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from deploy.migrate import migrate
from deploy.postgres import PostgresServer
from deploy.secret_files import init_secrets
from services.approval import queries
from shared.db.engine import database_url, engine_for
from shared.db.roles import app_role
from shared.sections import DbSettings
from shared.settings import Settings
from tests.support.output import log_to_stderr
from tests.support.plans import plans_of

TASKS, OPEN = 2_000_000, 50_000
DEPARTMENTS = 20
PAGE = 50
_RUNS = 15
_MOST_MS = 10.0
_CASES = """
INSERT INTO approval.cases (number, sequence, matter, matter_version, region, parties, facts, state, passed,
    asked, received_at, accepted_at, legal_due_at, promised_due_at, provisional)
SELECT 'case-' || n, 3, 'residence_permit.apply', 1, '330106', '["a"]', '{"ground": "employment"}',
    'under_review', '[]', '[]', at, at, at + interval '21 days', at + interval '7 days', false
FROM (SELECT n, timestamptz '2020-01-01' + n * interval '2 minutes' AS at
      FROM generate_series(1, :cases) AS n) AS c
"""
_TASKS = """
INSERT INTO approval.tasks (id, case_no, matter, step, department, decides, state, version, due_at,
    created_at, officer, claimed_at, outcome, finished_at)
SELECT md5('task-' || n)::uuid, 'case-' || (n + 1) / 2, 'residence_permit.apply',
    CASE n % 2 WHEN 0 THEN 'decide' ELSE 'verify' END, 'department-' || abs(hashint4(n) % :departments),
    n % 2 = 0, state, 3, at + interval '7 days', at,
    CASE WHEN state <> 'open' THEN 'officer-' || abs(hashint4(n) % 500) END,
    CASE WHEN state <> 'open' THEN at END,
    CASE WHEN state = 'done' THEN 'passed' END, CASE WHEN state = 'done' THEN at END
FROM (SELECT n, CASE WHEN n % :every > 0 THEN 'done' WHEN n / :every % 10 = 0 THEN 'claimed' ELSE 'open' END
             AS state,
             timestamptz '2020-01-01' + n * interval '1 minute' AS at
      FROM generate_series(1, :tasks) AS n) AS t
"""


def fill(admin: Engine, tasks: int, open_: int) -> int:
    """Every task ever made, those that are open spread evenly; the number of these."""
    values = {
        "tasks": tasks,
        "cases": (tasks + 1) // 2,
        "every": tasks // open_,
        "departments": DEPARTMENTS,
    }
    with admin.begin() as connection:
        connection.execute(text(_CASES), values)
        connection.execute(text(_TASKS), values)
        made = connection.execute(text("SELECT count(*) FROM approval.tasks WHERE state <> 'done'"))
        found = int(made.scalar_one())
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) approval.tasks, approval.cases"))
    return found


def measure(engine: Engine) -> dict[str, dict[str, Any]]:
    """Milliseconds in the database (medians) and rows read, of a page of each kind."""
    mine = [f"department-{n}" for n in range(3)]
    everywhere = [f"department-{n}" for n in range(DEPARTMENTS)]
    middle = datetime.fromisoformat("2022-01-01T00:00:00+00:00"), UUID(int=0)
    kinds: dict[str, dict[str, Any]] = {
        "first page, 3 departments": {"departments": mine, "after": None, "mine": None},
        "later page, 3 departments": {"departments": mine, "after": middle, "mine": None},
        "first page, 20 departments": {"departments": everywhere, "after": None, "mine": None},
        "claimed by me": {"departments": everywhere, "after": None, "mine": "officer-20"},
    }
    return {kind: _measured(engine, asked) for kind, asked in kinds.items()}


def _measured(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    runs = [
        plans_of(engine, lambda connection: queries.queue(Session(connection), limit=PAGE, **asked))
        for _ in range(_RUNS)
    ]
    return {
        "planning_ms": round(median(sum(plan.planning_ms for plan in plans) for plans in runs), 2),
        "execution_ms": round(median(sum(plan.execution_ms for plan in plans) for plans in runs), 2),
        "rows_read": sum(plan.read_rows() for plan in runs[-1]),
    }


@contextmanager
def database() -> Iterator[tuple[Engine, Engine]]:
    """A PostgreSQL of its own, migrated: as the admin, and as approval."""
    with tempfile.TemporaryDirectory(prefix="onestop-queue-") as folder:
        place = Path(folder)
        place.chmod(0o711)
        init_secrets(place / "secrets")
        server = PostgresServer(place / "data", secrets_dir=place / "secrets")
        server.start()
        try:
            settings = Settings(
                environment="test",
                db=DbSettings(host=server.host, port=server.port, name="onestop"),
                secrets_dir=place / "secrets",
                log_level="WARNING",
            )
            migrate(settings)
            admin = create_engine(database_url(settings, settings.db.admin_user))
            approval = engine_for(settings, app_role("approval"))
            yield admin, approval
            admin.dispose()
            approval.dispose()
        finally:
            server.stop()


def main(arguments: Sequence[str]) -> int:
    """0 only when each page took less than 10 ms in the database."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.queue", description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS, help="tasks ever made")
    parser.add_argument("--open", type=int, default=OPEN, help="of these open")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    chosen = parser.parse_args(arguments)
    log_to_stderr()
    with database() as (admin, approval):
        open_ = fill(admin, chosen.tasks, chosen.open)
        pages = measure(approval)
    if chosen.json:
        print(json.dumps({"tasks": chosen.tasks, "open": open_, "pages": pages}))  # noqa: T201
    else:
        print(f"{chosen.tasks} tasks, {open_} of them open")  # noqa: T201
        for kind, found in pages.items():
            print(f"{kind}: {found}")  # noqa: T201
    slow = [k for k, found in pages.items() if found["planning_ms"] + found["execution_ms"] >= _MOST_MS]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
