"""`onestop migrate`: roles, schemas, migrations, grants, subscriptions; safe to run again.

Each service has an owner (runs migrations; nobody logs in as one) and an app role (no DDL, own schema only,
logs only grow). The `deliver` function is the only thing that others may call in a schema, and only those may
whom the service hears.
"""

from collections.abc import Iterable
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg2.errorcodes import LOCK_NOT_AVAILABLE
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

import shared.db
from deploy.retention import rules_of
from deploy.secret_files import role_verifiers
from deploy.services import SERVICES, metadata, part, subscriptions
from deploy.subscribing import subscribe, subscribed
from shared.bus import schema as delivery
from shared.bus.topology import apply_topology
from shared.db.engine import database_url
from shared.db.outages import DatabaseAway
from shared.db.roles import app_role, owner_role
from shared.db.transaction import transaction
from shared.errors import Unavailable
from shared.retention import forget_function
from shared.settings import Settings

_log = structlog.get_logger()

COMMON = "onestop"
_LIMITS = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "15s",
}


class DatabaseTooOld(Unavailable):
    code = "database.too-old"
    title_zh = "数据库版本过低"
    title_en = "The database is older than PostgreSQL 15"


class TablesInUse(Unavailable):
    code = "database.tables-in-use"
    title_zh = "数据表正被占用"
    title_en = "Somebody holds a table that the migration needs"


def migrate(settings: Settings) -> list[str]:
    """Bring database and broker to what this release needs; the names of the migrations that ran.

    Raises DatabaseTooOld and TablesInUse; then nothing was changed. It waits for a lock only as long as
    everybody who wants the same table may wait behind it.
    """
    try:
        ran = _migrate_database(settings)
    except DatabaseAway as error:
        if error.sqlstate != LOCK_NOT_AVAILABLE:
            raise
        detail = f"not free within {_LIMITS['lock_timeout']}; nothing was changed: run onestop migrate again"
        raise TablesInUse(detail_en=detail) from error
    admin = admin_engine(settings)
    if settings.broker_url:
        apply_topology(settings.broker_url, SERVICES, subscribed(admin))
    subscribe(admin, settings.broker_url)
    _log.info("migrated", migrations=ran)
    return ran


def _migrate_database(settings: Settings) -> list[str]:
    ran: list[str] = []
    with transaction(admin_engine(settings), "migrate") as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('onestop.migrate'))"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LIMITS['lock_timeout']}'"))
        if connection.dialect.server_version_info < (15,):  # type: ignore[operator]
            raise DatabaseTooOld(detail_en="onestop needs PostgreSQL 15 or later")
        _make_roles(connection, settings)
        # Temporary tables stand in front of the system's own, also in what runs with an owner's rights.
        database = connection.dialect.identifier_preparer.quote(settings.db.name)
        connection.exec_driver_sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC".replace("%", "%%"))
        for schema in (COMMON, *SERVICES):
            ran += _upgrade(connection, schema)
        for service in SERVICES:
            _make_forget(connection, service)
            _grant(connection, service)
    return ran


def admin_engine(settings: Settings) -> Engine:
    """As the role that creates schemas and roles."""
    return create_engine(
        database_url(settings, settings.db.admin_user), poolclass=NullPool, hide_parameters=True
    )


def heads() -> dict[str, str]:
    """Schema -> the migration that this release needs."""
    return {
        schema: ScriptDirectory.from_config(_config(schema)).get_current_head() or ""
        for schema in (COMMON, *SERVICES)
    }


def _make_roles(connection: Connection, settings: Settings) -> None:
    verifiers = role_verifiers(settings)
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {COMMON}"))
    for service in SERVICES:
        for role, login in ((owner_role(service), "NOLOGIN"), (app_role(service), "LOGIN")):
            exists = connection.execute(
                text("SELECT 1 FROM pg_roles WHERE rolname = :r"), {"r": role}
            ).first()
            if exists is None:
                connection.execute(text(f"CREATE ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE"))
            connection.execute(text(f"ALTER ROLE {role} {login}"))
            if login == "LOGIN":
                connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD '{verifiers[role]}'")
            for limit, value in _LIMITS.items():
                connection.execute(text(f"ALTER ROLE {role} SET {limit} = '{value}'"))
        connection.execute(text(f"GRANT {owner_role(service)} TO CURRENT_USER"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {owner_role(service)}"))


def _upgrade(connection: Connection, schema: str) -> list[str]:
    ran: list[str] = []
    config = _config(schema)
    config.attributes["connection"] = connection
    config.attributes["ran"] = ran
    if schema != COMMON:
        connection.execute(text(f"SET LOCAL ROLE {owner_role(schema)}"))
    before = _current(connection, schema)
    command.upgrade(config, "head")
    if schema != COMMON:
        connection.execute(text("RESET ROLE"))
    after = _current(connection, schema)
    return [f"{schema}:{after}"] if after != before else []


def _current(connection: Connection, schema: str) -> str | None:
    if (
        connection.execute(text("SELECT to_regclass(:t)"), {"t": f"{schema}.alembic_version"}).scalar_one()
        is None
    ):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {schema}.alembic_version")).scalar_one_or_none()
    return found


def _config(schema: str) -> Config:
    home = shared.db if schema == COMMON else part(schema, "models")
    assert home.__file__ is not None
    config = Config()
    config.set_main_option("script_location", str(Path(home.__file__).parent / "migrations"))
    return config


def _make_forget(connection: Connection, service: str) -> None:
    """The owner's function that lets old rows go, as this release's rules say."""
    connection.execute(text(f"SET LOCAL ROLE {owner_role(service)}"))
    connection.exec_driver_sql(forget_function(service, rules_of(service)).replace("%", "%%"))
    connection.execute(text("RESET ROLE"))


def _grant(connection: Connection, service: str) -> None:
    app = app_role(service)
    others = [app_role(other) for other in SERVICES if other != service]
    speakers = [app_role(speaker) for speaker in subscriptions()[service]]
    statements: Iterable[str] = (
        f"GRANT USAGE ON SCHEMA {service} TO {app}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {service} TO {app}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {service} TO {app}",
        f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {service} FROM PUBLIC",
        *(f"GRANT EXECUTE ON FUNCTION {service}.{function} TO {app}" for function in delivery.FUNCTIONS),
        f"REVOKE INSERT, UPDATE, DELETE ON {service}.alembic_version FROM {app}",
        f"REVOKE INSERT, DELETE ON {service}.locks FROM {app}",
        *(f"REVOKE UPDATE, DELETE ON {service}.{log} FROM {app}" for log in _logs(service)),
        # Whom the service does not hear any more loses the door.
        *(f"REVOKE ALL ON SCHEMA {service} FROM {other}" for other in others),
        *(f"REVOKE ALL ON FUNCTION {service}.deliver(jsonb) FROM {other}" for other in others),
        *(f"GRANT USAGE ON SCHEMA {service} TO {speaker}" for speaker in speakers),
        *(f"GRANT EXECUTE ON FUNCTION {service}.deliver(jsonb) TO {speaker}" for speaker in speakers),
        f"GRANT USAGE ON SCHEMA {COMMON} TO {app}, {owner_role(service)}",
        f"GRANT SELECT ON {COMMON}.subscriptions TO {owner_role(service)}",
        f"GRANT SELECT ON {COMMON}.clock, {COMMON}.subscriptions, {COMMON}.matters TO {app}",
        f"GRANT EXECUTE ON FUNCTION {COMMON}.hand_on(text, text[], jsonb) TO {app}",
    )
    for statement in statements:
        connection.execute(text(statement))


def _logs(service: str) -> list[str]:
    said = [table.name for table in metadata(service).sorted_tables if table.info.get("append_only")]
    return [*said, *delivery.LOGS]
