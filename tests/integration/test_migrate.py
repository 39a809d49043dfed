"""Migrations run beside traffic: they let others through, and an index is made while everybody writes."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from deploy import migrate as migrating
from deploy import migrations
from deploy.migrate import admin_engine, migrate, schema_of
from deploy.migrations import MigratedFurther, MigrationRuns, Schema, TablesInUse, alone, upgrade
from shared.db.engine import engine_for
from shared.db.roles import app_role
from shared.db.transaction import transaction
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings, wait_for

__all__ = ["db_installation", "secrets_dir", "template_settings"]

ADD_COLUMN = """
phase = "expand"

def upgrade():
    op.execute("ALTER TABLE notify.cases ADD COLUMN note varchar(10)")
"""
ADD_TABLE = """
phase = "expand"

def upgrade():
    op.execute("CREATE TABLE notify.early (n integer)")
"""
ADD_INDEX = """
from shared.db.concurrently import create_index

phase = "expand"
concurrently = True

def upgrade():
    create_index("cases_matter", "notify.cases (matter)", unique={unique})
"""
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('notify.cases_matter')"


@pytest.fixture
def admin(db_installation: Installation) -> Iterator[Engine]:
    engine = admin_engine(db_installation.settings)
    yield engine
    engine.dispose()


@pytest.fixture
def later(tmp_path: Path) -> Callable[[str], Schema]:
    """A later release of notify, with one more migration."""
    made: list[str] = []

    def release(body: str) -> Schema:
        today = schema_of("notify")
        home = tmp_path / "migrations"
        if not made:
            shutil.copytree(today.home, home, ignore=shutil.ignore_patterns("__pycache__"))
        before = today.head if not made else made[-1]
        made.append(f"{int(before) + 1:04d}")
        head = f'from alembic import op\n\nrevision = "{made[-1]}"\ndown_revision = "{before}"\n'
        (home / "versions" / f"{made[-1]}_test.py").write_text(head + body, "utf-8")
        return Schema("notify", home, today.owner)

    return release


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is shorter by a factor of 50."""
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrations, "PAUSES_S", (0.02, 0.04, 0.08))


@contextmanager
def held(db_installation: Installation, statement: str) -> Iterator[Connection]:
    """Somebody's transaction is open."""
    with transaction(db_installation.admin, "test") as somebody:
        somebody.execute(text(statement))
        yield somebody


def add_case(connection: Connection, number: str, matter: str = "m") -> None:
    columns = connection.execute(
        text(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'notify' "
            "AND table_name = 'cases' AND is_nullable = 'NO' AND column_default IS NULL"
        )
    ).all()
    values: dict[str, Any] = {"character varying": "'x'", "uuid": "gen_random_uuid()", "integer": "0"}
    values |= {"jsonb": "'{}'", "boolean": "false", "timestamp with time zone": "clock_timestamp()"}
    chosen = {name: values[kind] for name, kind in columns} | {
        "number": f"'{number}'",
        "matter": f"'{matter}'",
    }
    connection.execute(
        text(f"INSERT INTO notify.cases ({', '.join(chosen)}) VALUES ({', '.join(chosen.values())})")
    )


@pytest.mark.usefixtures("impatient")
def test_a_migration_lets_others_through_and_tries_again(
    db_installation: Installation, admin: Engine, later: Callable[[str], Schema]
) -> None:
    schema = later(ADD_COLUMN)
    ran: list[str] = []
    migrating_ = threading.Thread(target=lambda: ran.extend(upgrade(admin, schema)))
    with capture_logs() as lines:
        with held(db_installation, "SELECT 1 FROM notify.cases"):
            migrating_.start()
            wait_for(
                lambda: any(line["event"] == "migration_waits" for line in lines), "it has waited once", 10
            )
        migrating_.join(20)
    assert ran == ["notify:0002"]
    assert db_installation.value("SELECT count(note) FROM notify.cases") == 0
    waits = [line for line in lines if line["event"] == "migration_waits"]
    assert {(line["migration"], line["error"]) for line in waits} == {("notify:0002", "LockNotAvailable")}
    assert [line["migration"] for line in lines if line["event"] == "migration_ran"] == ["notify:0002"]


@pytest.mark.usefixtures("impatient")
def test_a_table_that_never_gets_free_is_named_and_what_ran_before_stays(
    db_installation: Installation, later: Callable[[str], Schema], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = later(
        'phase = "expand"\n\ndef upgrade():\n    op.execute("CREATE TABLE notify.early (n int)")\n'
    )
    later(ADD_COLUMN)
    monkeypatch.setattr(migrating, "schema_of", lambda name: schema if name == "notify" else schema_of(name))
    settings = db_installation.settings
    with (
        held(db_installation, "SELECT 1 FROM notify.cases"),
        pytest.raises(
            TablesInUse, match=r"notify:0003: not free .*migrate again \(ran before it: notify:0002\)"
        ),
    ):
        migrate(settings)
    assert db_installation.value("SELECT count(*) FROM notify.early") == 0
    assert db_installation.value("SELECT version_num FROM notify.alembic_version") == "0002"

    assert migrate(settings) == ["notify:0003"]
    assert migrate(settings) == []


def test_an_index_is_made_while_everybody_writes(
    db_installation: Installation, admin: Engine, later: Callable[[str], Schema]
) -> None:
    schema = later(ADD_INDEX.format(unique=False))
    ran: list[str] = []
    making = threading.Thread(target=lambda: ran.extend(upgrade(admin, schema)))
    writer = engine_for(db_installation.settings, app_role("notify"))
    with held(db_installation, "SELECT 1") as slow:
        add_case(slow, "slow")
        making.start()
        wait_for(
            lambda: db_installation.value(INDEX + " UNION ALL SELECT NULL LIMIT 1") is False, "it waits", 10
        )
        for n in range(20):
            with transaction(writer, "test") as connection:
                add_case(connection, f"meanwhile-{n}")
        assert making.is_alive(), "it waits for the slow one"
    making.join(20)
    writer.dispose()
    assert ran == ["notify:0002"]
    assert db_installation.value(INDEX) is True
    assert db_installation.value("SELECT count(*) FROM notify.cases") == 21


def test_an_index_whose_making_failed_is_dropped_and_made_again(
    db_installation: Installation, admin: Engine, later: Callable[[str], Schema]
) -> None:
    schema = later(ADD_INDEX.format(unique=True))
    with transaction(db_installation.admin, "test") as connection:
        add_case(connection, "1", "twice")
        add_case(connection, "2", "twice")
    with pytest.raises(IntegrityError):
        list(upgrade(admin, schema))
    assert db_installation.value(INDEX) is False, "PostgreSQL leaves it, and writers keep it up to date"
    assert db_installation.value("SELECT version_num FROM notify.alembic_version") == "0001"

    db_installation.change("DELETE FROM notify.cases WHERE number = '2'")
    assert list(upgrade(admin, schema)) == ["notify:0002"]
    assert db_installation.value(INDEX) is True
    owner = "SELECT tableowner FROM pg_tables WHERE schemaname = 'notify' AND tablename = 'cases'"
    assert db_installation.value(owner) == schema.owner


def test_one_migration_at_a_time(
    db_installation: Installation, admin: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "ALONE_WITHIN_S", 0.0)
    with alone(admin), pytest.raises(MigrationRuns):
        migrate(db_installation.settings)
    assert migrate(db_installation.settings) == []


def test_an_older_release_says_so(
    db_installation: Installation, admin: Engine, later: Callable[[str], Schema]
) -> None:
    list(upgrade(admin, later(ADD_COLUMN)))
    with pytest.raises(MigratedFurther, match="notify:0002"):
        migrate(db_installation.settings)
