"""Runs migrations beside traffic: each in a transaction of its own, and again when somebody is in the way.

A migration that waits for a lock holds up everybody who wants the same table after it. So it waits for 5 s at
most, lets the others through, and tries again. One that says `concurrently = True`, because it makes or drops
an index, runs outside a transaction and holds up nobody.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from shared.db.outages import DatabaseAway, Outage
from shared.db.transaction import autocommit, transaction
from shared.describe import kind_of
from shared.errors import Conflict, Unavailable

_log = structlog.get_logger()

LOCK_TIMEOUT = "5s"
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Before the second try and each later one, give or take a half."""
ALONE_WITHIN_S = 300.0
_CONCURRENTLY_WITHIN = "1h"
_ASK_AGAIN_S = 0.5

T = TypeVar("T")


class TablesInUse(Unavailable):
    code = "database.tables-in-use"
    title_zh = "数据表正被占用"
    title_en = "Somebody holds a table that the migration needs"


class MigrationRuns(Conflict):
    code = "database.migration-runs"
    title_zh = "另一个迁移正在进行"
    title_en = "Another migration is under way"


class MigratedFurther(Conflict):
    code = "database.migrated-further"
    title_zh = "数据库已由更新的版本迁移"
    title_en = "A later release has migrated this database"


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema with its migrations. They run as `owner`, or as who is logged in when there is none."""

    name: str
    home: Path
    owner: str | None = None

    @property
    def head(self) -> str:
        """The migration that this release needs."""
        return self._scripts().get_current_head() or ""

    def pending(self, connection: Connection) -> list[Script]:
        """What has not run yet, in order. Raises MigratedFurther."""
        current = _current(connection, self.name)
        try:
            return list(self._scripts().iterate_revisions("head", current or "base"))[::-1]
        except (CommandError, RevisionError):
            detail = f"{self.name}:{current} is not a migration of this release: run a later one"
            raise MigratedFurther(detail_en=detail) from None

    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self.config())

    def config(self) -> Config:
        """As alembic wants it."""
        found = Config()
        found.set_main_option("script_location", str(self.home))
        return found


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Nobody else migrates this database meanwhile. Raises MigrationRuns after five minutes."""
    until = time.monotonic() + ALONE_WITHIN_S
    # Asked again and again: who waits in the database for the lock is waited for by an index in the making.
    with autocommit(engine) as connection:
        while not connection.execute(
            text("SELECT pg_try_advisory_lock(hashtext('onestop.migrate'))")
        ).scalar_one():
            if time.monotonic() > until:
                raise MigrationRuns(detail_en="wait for it to end, or end it, and run onestop migrate again")
            time.sleep(_ASK_AGAIN_S)
        yield


def upgrade(engine: Engine, schema: Schema) -> Iterator[str]:
    """Run what is missing in a schema; yields `<schema>:<revision>` after each. Raises TablesInUse."""
    with transaction(engine, "migrate.look") as connection:
        scripts = schema.pending(connection)
    for script in scripts:
        name = f"{schema.name}:{script.revision}"
        began = time.monotonic()
        again_and_again(name, partial(_run, engine, schema, script))
        _log.info("migration_ran", migration=name, took_s=round(time.monotonic() - began, 3))
        yield name


def again_and_again(what: str, step: Callable[[], T]) -> T:
    """Run a step that leaves nothing behind when it fails, until nobody is in its way. Raises TablesInUse."""
    pauses = iter(PAUSES_S)
    while True:
        try:
            return step()
        except DatabaseAway as error:
            if error.outage not in (Outage.TIMED_OUT, Outage.CONTENDED):
                raise
            pause_s = next(pauses, None)
            if pause_s is None:
                tries = f"{1 + len(PAUSES_S)} tries of {LOCK_TIMEOUT}"
                detail = f"{what}: not free in {tries}; run onestop migrate again"
                raise TablesInUse(detail_en=detail) from error
            _log.warning("migration_waits", migration=what, error=kind_of(error), again_in_s=pause_s)
            time.sleep(pause_s * (0.5 + random.random()))


def as_owner(connection: Connection, schema: Schema) -> None:
    """Until the end of the transaction."""
    if schema.owner is not None:
        connection.execute(text(f"SET LOCAL ROLE {schema.owner}"))


def wait_shortly(connection: Connection) -> None:
    """For locks, until the end of the transaction."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))


def _run(engine: Engine, schema: Schema, script: Script) -> None:
    config = schema.config()
    if getattr(script.module, "concurrently", False):
        with autocommit(engine) as connection:
            # It waits for transactions, not in front of them.
            connection.execute(text(f"SET lock_timeout = '{_CONCURRENTLY_WITHIN}'"))
            if schema.owner is not None:
                connection.execute(text(f"SET ROLE {schema.owner}"))
            config.attributes |= {"connection": connection, "transactional": False}
            command.upgrade(config, script.revision)
        return
    with transaction(engine, "migrate") as connection:
        wait_shortly(connection)
        as_owner(connection, schema)
        config.attributes |= {"connection": connection, "transactional": True}
        command.upgrade(config, script.revision)


def _current(connection: Connection, schema: str) -> str | None:
    table = f"{schema}.alembic_version"
    if connection.execute(text("SELECT to_regclass(:t)"), {"t": table}).scalar_one() is None:
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {table}")).scalar_one_or_none()
    return found
