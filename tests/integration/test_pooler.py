"""PgBouncer before the database, a session for each transaction: everything works; with PostgreSQL's own
address beside it also fast; without it `onestop doctor` says what is slow and what to do."""

import json
import os
import pwd
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.commands.app import run
from deploy.migrate import migrate
from deploy.postgres import PostgresServer
from deploy.processes import Identity, free_port, kill_session, port_is_free, spawn
from deploy.services import SERVICES, sealed_tables
from shared.bus.hints import Hints, try_hints
from shared.bus.rotation import begin_rotation, finish_rotation
from shared.context import build_context
from shared.db.engine import engine_for
from shared.db.roles import app_role
from shared.privacy.secret_files import ADMIN_PASSWORD, DB_PASSWORD, MIGRATE, load_password
from shared.settings import Settings
from tests.support.giving import give_commands_to
from tests.support.installation import (
    Installation,
    db_installation,
    secrets_dir,
    template_settings,
    wait_for,
)
from tests.support.servers import scratch_folder

__all__ = ["db_installation", "secrets_dir", "template_settings"]

PGBOUNCER = Path("/usr/sbin/pgbouncer")
CONFIG = """
[databases]
* = host=127.0.0.1 port={database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 5
"""

pytestmark = pytest.mark.skipif(not PGBOUNCER.exists(), reason="Debian's package pgbouncer is not installed")


@contextmanager
def pgbouncer(settings: Settings, database: int) -> Iterator[int]:
    """The port of a pooler that knows the services' roles and the admin's."""
    port = free_port()
    nobody = pwd.getpwnam("nobody")
    who = Identity(nobody.pw_uid, nobody.pw_gid) if os.geteuid() == 0 else None
    with scratch_folder() as folder:
        passwords = {app_role(service): load_password(settings, service, DB_PASSWORD) for service in SERVICES}
        passwords[settings.db.admin_user] = load_password(settings, MIGRATE, ADMIN_PASSWORD)
        (folder / "users").write_text(
            "".join(f'"{role}" "{password}"\n' for role, password in passwords.items()), encoding="ascii"
        )
        (folder / "ini").write_text(
            CONFIG.format(database=database, port=port, folder=folder), encoding="ascii"
        )
        if who is not None:
            who.own_tree(folder)
        with (folder / "log").open("wb") as log:
            process = spawn([PGBOUNCER, folder / "ini"], output=log.fileno(), run_as=who, cwd=folder)
        try:
            wait_for(lambda: not port_is_free(port), "PgBouncer listens")
            yield port
        finally:
            kill_session(process)
            process.wait(10)


@dataclass(frozen=True, slots=True)
class Pooled:
    """One installation over the pooler alone, and with PostgreSQL's own address beside it."""

    alone: Installation
    with_direct: Installation


@pytest.fixture
def pooled(postgres: PostgresServer, db_installation: Installation) -> Iterator[Pooled]:
    settings = db_installation.settings
    with pgbouncer(settings, postgres.tcp_port or 0) as port:
        over = {"host": "127.0.0.1", "port": port}
        direct = {"direct_host": settings.db.host, "direct_port": settings.db.port}
        made = []
        for changed in (over, over | direct):
            db = settings.db.model_copy(update=changed)
            made.append(
                replace(
                    db_installation,
                    settings=settings.model_copy(update={"db": db}),
                    contexts={},
                    workers=[],
                    publishers=[],
                )
            )
        yield Pooled(*made)
        for installation in made:
            for worker in installation.workers:
                worker.kill()
            for context in installation.contexts.values():
                context.engine.dispose()
                context.hints.engine.dispose()


def hints_of(
    made: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """What doctor finds about hints."""
    give_commands_to(made, monkeypatch)
    assert run(["doctor", "--json"]) == 0
    [found] = [check for check in json.loads(capsys.readouterr().out)["checks"] if check["check"] == "hints"]
    return {name: str(value) for name, value in found.items()}


def test_doctor_says_that_hints_are_lost_and_what_to_set(
    pooled: Pooled,
    db_installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for made in (db_installation, pooled.with_direct):
        assert hints_of(made, monkeypatch, capsys)["level"] == "ok"
        for name in ("HOST", "PORT"):
            monkeypatch.delenv(f"ONESTOP_DB__DIRECT_{name}", raising=False)
    lost = hints_of(pooled.alone, monkeypatch, capsys)
    assert lost["level"] == "warn"
    assert "shares sessions by transaction" in lost["found"]
    assert "ONESTOP_DB__DIRECT_HOST" in lost["fix"]


def test_a_hint_is_lost_in_a_pooler_by_transaction(pooled: Pooled, db_installation: Installation) -> None:
    role = app_role("notify")
    found = [
        try_hints(engine_for(made.settings, role, pool_size=0, direct=True))
        for made in (db_installation, pooled.alone, pooled.with_direct)
    ]
    assert [(hearing.heard, hearing.pooled) for hearing in found] == [
        (True, False),
        (False, True),
        (True, False),
    ]


def told_after_s(made: Installation) -> float:
    """Seconds from the commit of a case to its notice of acceptance."""
    who = made.citizen()
    began = time.monotonic()
    number = made.submit(who).number
    told = "SELECT count(*) FROM notify.inbox_messages WHERE case_no = :n"
    wait_for(lambda: bool(made.value(told, n=number) == 2), f"{number} is told", of=made)
    return time.monotonic() - began


@pytest.mark.slow
def test_with_a_direct_address_a_case_is_as_fast_as_without_a_pooler(pooled: Pooled) -> None:
    made = pooled.with_direct
    context = made.context("intake")
    context.hints = Hints(context.hints.engine)
    made.worker("intake", "materials")
    made.worker("approval", "notify")
    told_after_s(made)
    # Without hints each of its four ways waits for half a second on average.
    assert statistics.median(told_after_s(made) for _ in range(7)) < 1.0
    context.hints.close()


@pytest.mark.slow
def test_without_one_everything_works_over_the_pooler(pooled: Pooled) -> None:
    made = pooled.alone
    workers = [made.worker("intake", "materials"), made.worker("approval", "notify")]
    numbers = [made.submit(made.citizen()).number for _ in range(3)]
    wait_for(lambda: all(map(made.has_heard_all, numbers)), "all is heard", 60, of=made)
    # What is counted by the day keeps an old key until the day is over.
    made.change("DELETE FROM intake.day_counts")
    context = build_context(made.settings, "intake")
    begin_rotation(context, "tester")
    assert finish_rotation(context, sealed_tables("intake")).retired == [1]
    context.engine.dispose()
    assert all(worker.lines("listens_through_a_pooler") for worker in workers)


def test_migrations_run_past_the_pooler(pooled: Pooled) -> None:
    assert migrate(pooled.with_direct.settings) == []
