"""`onestop migrate`: roles, schemas, migrations, grants, subscriptions; safe to run again.

A service at a time, in small steps (`deploy.migrations`): what ran before a step that fails stays, and the
next run goes on from there. Each service has an owner (runs migrations; nobody logs in as one) and an app
role (no DDL, own schema only, logs only grow). The `deliver` function is the only thing that others may call
in a schema, and only those may whom the service hears.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType

import structlog
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

import shared.db
from deploy.migrations import (
    LOCK_TIMEOUT,
    Schema,
    TablesInUse,
    again_and_again,
    alone,
    as_owner,
    upgrade,
    wait_shortly,
)
from deploy.public_subscribers import public_bindings
from deploy.retention import rules_of
from deploy.secret_files import role_verifiers
from deploy.services import SERVICES, metadata, part, sealed_tables, subscriptions
from deploy.subscribing import subscribe, subscribed
from shared.bus import schema as delivery
from shared.bus.topology import apply_topology, broker_url
from shared.db.engine import database_url
from shared.db.roles import app_role, owner_role
from shared.db.transaction import transaction
from shared.errors import Unavailable
from shared.privacy.sealed import retire_function
from shared.privacy.secret_files import MIGRATE
from shared.retention import forget_function
from shared.settings import Settings

_log = structlog.get_logger()

COMMON = "onestop"
_LIMITS = {
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "15s",
}


class DatabaseTooOld(Unavailable):
    code = "database.too-old"
    title_zh = "数据库版本过低"
    title_en = "The database is older than PostgreSQL 15"


def migrate(settings: Settings) -> list[str]:
    """Bring database and broker to what this release needs; the names of the migrations that ran.

    Raises DatabaseTooOld, MigrationRuns, and TablesInUse, which says what ran before.
    """
    admin = admin_engine(settings)
    url = broker_url(settings, MIGRATE)
    ran: list[str] = []
    with alone(admin):
        try:
            _migrate_database(settings, admin, ran)
            if url:
                apply_topology(url, SERVICES, subscribed(admin), public_bindings(admin))
            again_and_again("subscriptions", lambda: subscribe(admin, url))
        except TablesInUse as error:
            done = f"ran before it: {', '.join(ran) or 'nothing'}"
            raise TablesInUse(detail_en=f"{error.detail_en} ({done})") from error
    _log.info("migrated", migrations=ran)
    return ran


def _migrate_database(settings: Settings, admin: Engine, ran: list[str]) -> None:
    again_and_again("roles", lambda: _prepare(settings, admin))
    ran.extend(upgrade(admin, COMMON_SCHEMA))
    for service in SERVICES:
        schema = schema_of(service)
        ran.extend(upgrade(admin, schema))
        again_and_again(f"{service}: grants", partial(_settle, admin, schema))


def _prepare(settings: Settings, admin: Engine) -> None:
    with transaction(admin, "migrate") as connection:
        if connection.dialect.server_version_info < (15,):  # type: ignore[operator]
            raise DatabaseTooOld(detail_en="onestop needs PostgreSQL 15 or later")
        wait_shortly(connection)
        _make_roles(connection, settings)
        # Temporary tables stand in front of the system's own, also in what runs with an owner's rights.
        database = connection.dialect.identifier_preparer.quote(settings.db.name)
        connection.exec_driver_sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC".replace("%", "%%"))


def _settle(admin: Engine, schema: Schema) -> None:
    """What a release says anew each time: how long rows stay, and who may do what."""
    with transaction(admin, "migrate") as connection:
        wait_shortly(connection)
        as_owner(connection, schema)
        _make_forget(connection, schema.name)
        _make_retire(connection, schema.name)
        connection.execute(text("RESET ROLE"))
        _grant(connection, schema.name)


def schema_of(service: str) -> Schema:
    """The schema of a service."""
    return Schema(service, _home(part(service, "models")), owner_role(service))


def _home(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__).parent / "migrations"


COMMON_SCHEMA = Schema(COMMON, _home(shared.db))


def admin_engine(settings: Settings) -> Engine:
    """As the role that creates schemas and roles."""
    return create_engine(
        database_url(settings, settings.db.admin_user), poolclass=NullPool, hide_parameters=True
    )


def heads() -> dict[str, str]:
    """Schema -> the migration that this release needs."""
    return {schema.name: schema.head for schema in (COMMON_SCHEMA, *map(schema_of, SERVICES))}


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


def _make_forget(connection: Connection, service: str) -> None:
    """The owner's function that lets old rows go, as this release's rules say."""
    connection.exec_driver_sql(forget_function(service, rules_of(service)).replace("%", "%%"))


def _make_retire(connection: Connection, service: str) -> None:
    """The owner's function that destroys keys under which nothing stands, in any column of this release."""
    connection.exec_driver_sql(retire_function(service, sealed_tables(service)))


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
        f"REVOKE INSERT, UPDATE, DELETE ON {service}.data_keys FROM {app}",
        f"REVOKE INSERT, UPDATE, DELETE ON {service}.id_secret FROM {app}",
        *(f"REVOKE UPDATE, DELETE ON {service}.{log} FROM {app}" for log in _logs(service)),
        # Whom the service does not hear any more loses the door.
        *(f"REVOKE ALL ON SCHEMA {service} FROM {other}" for other in others),
        *(f"REVOKE ALL ON FUNCTION {service}.deliver(jsonb) FROM {other}" for other in others),
        *(f"GRANT USAGE ON SCHEMA {service} TO {speaker}" for speaker in speakers),
        *(f"GRANT EXECUTE ON FUNCTION {service}.deliver(jsonb) TO {speaker}" for speaker in speakers),
        f"GRANT USAGE ON SCHEMA {COMMON} TO {app}, {owner_role(service)}",
        f"GRANT SELECT ON {COMMON}.subscriptions TO {owner_role(service)}",
        f"GRANT SELECT ON {COMMON}.clock, {COMMON}.subscriptions, {COMMON}.matters, "
        f"{COMMON}.public_subscribers TO {app}",
        f"GRANT EXECUTE ON FUNCTION {COMMON}.hand_on(text, text[], jsonb) TO {app}",
    )
    for statement in statements:
        connection.execute(text(statement))


def _logs(service: str) -> list[str]:
    said = [table.name for table in metadata(service).sorted_tables if table.info.get("append_only")]
    return [*said, *delivery.LOGS]
