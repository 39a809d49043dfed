"""What the database lets a service do: its own rows and nothing else, whatever its code might try.

Every statement runs for real under the role that a running service logs in with, and is rolled back.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from uuid import UUID

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from deploy.migrate import migrate
from deploy.services import SERVICES, subscriptions
from shared.bus.schema import FUNCTIONS
from shared.db.engine import database_url
from shared.db.roles import app_role, owner_role
from shared.settings import Settings
from tests.support.installation import secrets_dir, template_settings

__all__ = ["secrets_dir", "template_settings"]

PAIRS = tuple(permutations(SERVICES, 2))
LIMITS = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "15s",
}
LOGS = {
    "intake": ("person_reads", "timeline", "trouble_acts"),
    "materials": ("match_outcomes", "use_grants", "use_records", "upload_reads", "trouble_acts"),
    "approval": ("trouble_acts",),
    "notify": ("trouble_acts",),
}
"""Who read what, what happened, who did what: whoever breaks into a service may add to it, not change it."""


@dataclass(slots=True)
class RoleProbe:
    """A migrated database of its own, and who knocks at its doors."""

    settings: Settings
    engines: dict[str, Engine] = field(default_factory=dict)

    def login(self, role: str) -> Engine:
        """New sessions of a role, as a starting process has them."""
        if role not in self.engines:
            self.engines[role] = create_engine(database_url(self.settings, role), poolclass=NullPool)
        return self.engines[role]

    def names(self, service: str, query: str) -> list[str]:
        """What the admin finds in the catalogue of a schema, qualified."""
        with self.login(self.settings.db.admin_user).connect() as connection:
            found = connection.execute(text(query), {"schema": service}).scalars()
            return [f"{service}.{name}" for name in found]

    def tables(self, service: str) -> list[str]:
        """Every table, the partitions of the outbox included."""
        return self.names(service, "SELECT tablename FROM pg_tables WHERE schemaname = :schema")

    def sequences(self, service: str) -> list[str]:
        """Every sequence."""
        return self.names(service, "SELECT sequencename FROM pg_sequences WHERE schemaname = :schema")

    def callable_by(self, role: str) -> set[str]:
        """Every function of ours that a role may call and whose schema it may enter, with its arguments."""
        query = (
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname = ANY(:schemas) AND has_function_privilege(:role, p.oid, 'EXECUTE') "
            "AND has_schema_privilege(:role, n.oid, 'USAGE')"
        )
        with self.login(self.settings.db.admin_user).connect() as connection:
            found = connection.execute(text(query), {"role": role, "schemas": [*SERVICES, "onestop"]})
            return {_short(name) for name in found.scalars()}

    def may(self, role: str, statements: Iterable[str]) -> list[str]:
        """Those of the statements that this role is allowed; every other must fail for want of a right."""
        allowed = []
        with self.login(role).connect() as connection:
            for statement in statements:
                if _is_allowed(connection, statement):
                    allowed.append(statement)
        return allowed


def _short(function: str) -> str:
    return function.replace("timestamp with time zone", "timestamptz").replace(" ", "")


def _is_allowed(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        return False
    finally:
        connection.rollback()
    return True


@pytest.fixture(scope="module")
def roles(template_settings: Settings) -> Iterator[RoleProbe]:
    found = RoleProbe(template_settings)
    with found.login(template_settings.db.admin_user).begin() as connection:
        for service, other in PAIRS:
            # So a release before this one left the doors; what an upgrade makes of them counts.
            connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {service} TO {app_role(other)}")
            connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {service}.deliver TO {app_role(other)}")
    migrate(template_settings)
    yield found
    for engine in found.engines.values():
        engine.dispose()


def touching(roles: RoleProbe, service: str) -> Iterator[str]:
    """Every way to see or to change anything of a service."""
    for table in roles.tables(service):
        yield f"SELECT 1 FROM {table} LIMIT 0"
        yield f"INSERT INTO {table} DEFAULT VALUES"
        yield f"DELETE FROM {table}"
        yield f"TRUNCATE {table}"
        yield f"LOCK TABLE {table} IN ACCESS SHARE MODE"
        yield f"COPY {table} TO STDOUT"
    for sequence in roles.sequences(service):
        yield f"SELECT nextval('{sequence}')"
        yield f"SELECT last_value FROM {sequence}"


def changing_the_schema(roles: RoleProbe, service: str) -> Iterator[str]:
    """Every kind of DDL in a service's own schema, on each of its tables."""
    yield f"CREATE TABLE {service}.another (id int)"
    yield f"CREATE VIEW {service}.another AS SELECT 1"
    yield f"CREATE FUNCTION {service}.another() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    yield f"CREATE SEQUENCE {service}.another"
    yield f"DROP SCHEMA {service} CASCADE"
    yield f"ALTER FUNCTION {service}.deliver(jsonb) SECURITY INVOKER"
    yield f"DROP FUNCTION {service}.deliver(jsonb)"
    for table in roles.tables(service):
        yield f"ALTER TABLE {table} ADD COLUMN another int"
        yield f"CREATE INDEX ON {table} ((1))"
        yield f"CREATE RULE another AS ON DELETE TO {table} DO INSTEAD NOTHING"
        yield f"ALTER TABLE {table} DISABLE TRIGGER ALL"
        yield f"COMMENT ON TABLE {table} IS ''"
        yield f"TRUNCATE {table}"
        yield f"DROP TABLE {table}"


ANYWHERE_ELSE = (
    "CREATE SCHEMA another",
    "CREATE TABLE public.another (id int)",
    "CREATE TABLE onestop.another (id int)",
    # A temporary table may bear the name of a system table and stand in its place in the owner's functions.
    "CREATE TEMPORARY TABLE pg_class (relname text)",
    "UPDATE onestop.clock SET offset_s = 86400",
    "INSERT INTO onestop.subscriptions VALUES ('notify', 'notify')",
    "DELETE FROM onestop.subscriptions",
    "UPDATE onestop.matters SET body = '{}'",
)


@pytest.mark.parametrize(("service", "other"), PAIRS)
def test_no_service_sees_or_changes_anything_of_another_one(
    roles: RoleProbe, service: str, other: str
) -> None:
    statements = list(touching(roles, other))
    assert len(statements) > 80, "the catalogue was not read"
    assert roles.may(app_role(service), statements) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_works_in_its_own_schema(roles: RoleProbe, service: str) -> None:
    tables = [name for name in roles.tables(service) if not name.startswith(f"{service}.outbox_")]
    reads = [f"SELECT 1 FROM {table} LIMIT 0" for table in tables]
    assert roles.may(app_role(service), reads) == reads
    calls = [f"SELECT {service}.claim_outbox(1)", f"SELECT nextval('{service}.outbox_id')"]
    assert roles.may(app_role(service), calls) == calls


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_change_what_its_schema_is_made_of(roles: RoleProbe, service: str) -> None:
    statements = [*changing_the_schema(roles, service), *ANYWHERE_ELSE]
    assert roles.may(app_role(service), statements) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_log_can_only_grow(roles: RoleProbe, service: str) -> None:
    for name in LOGS[service]:
        table = f"{service}.{name}"
        [column, *_] = roles.names(
            service,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = :schema "
            f"AND table_name = '{name}' ORDER BY ordinal_position",
        )
        same = column.partition(".")[2]
        changes = [f"UPDATE {table} SET {same} = {same}", f"DELETE FROM {table}", f"TRUNCATE {table}"]
        assert roles.may(app_role(service), changes) == []
        with roles.login(app_role(service)).connect() as connection:
            grows = connection.execute(
                text("SELECT has_table_privilege(:t, 'SELECT') AND has_table_privilege(:t, 'INSERT')"),
                {"t": table},
            )
            assert grows.scalar_one()


@pytest.mark.parametrize("service", SERVICES)
def test_every_session_has_limits(roles: RoleProbe, service: str) -> None:
    with roles.login(app_role(service)).connect() as connection:
        found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in LIMITS}
    assert found == LIMITS


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_cannot_become_somebody_else(roles: RoleProbe, service: str) -> None:
    me, admin = app_role(service), roles.settings.db.admin_user
    others = [owner_role(s) for s in SERVICES] + [app_role(s) for s in SERVICES if s != service]
    statements = [
        *(f"SET ROLE {role}" for role in (admin, *others)),
        *(f"SET SESSION AUTHORIZATION {role}" for role in (admin, *others)),
        *(f"GRANT {role} TO {me}" for role in (admin, *others)),
        *(f"ALTER ROLE {me} {right}" for right in ("SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS")),
        *(f"ALTER ROLE {role} PASSWORD 'mine'" for role in (admin, *others)),
        "CREATE ROLE another LOGIN",
        f"ALTER DATABASE {roles.settings.db.name} SET statement_timeout = 0",
        f"ALTER SCHEMA {service} OWNER TO {me}",
        "CREATE EXTENSION pg_trgm",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT rolpassword FROM pg_authid",
    ]
    assert roles.may(me, statements) == []
    with roles.login(me).connect() as connection:
        rights = connection.exec_driver_sql(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, "
            "(SELECT count(*) FROM pg_auth_members WHERE member = r.oid) "
            "FROM pg_roles r WHERE rolname = current_user"
        ).one()
    assert tuple(rights) == (False, False, False, False, False, 0)


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_logs_in_as_an_owner(roles: RoleProbe, service: str) -> None:
    # Owners may do everything in their schemas, and many installations give all roles one password.
    with roles.login(roles.settings.db.admin_user).connect() as connection:
        found = connection.execute(
            text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :r"), {"r": owner_role(service)}
        )
        assert found.scalar_one() is False


@pytest.mark.parametrize(("speaker", "subscriber"), PAIRS)
def test_the_doors_are_open_to_those_who_are_heard(roles: RoleProbe, speaker: str, subscriber: str) -> None:
    knock = f"""SELECT {subscriber}.deliver('{{"events": []}}')"""
    heard = speaker in subscriptions()[subscriber]
    assert roles.may(app_role(speaker), [knock]) == ([knock] if heard else [])


def knock_as(source: str, subscriber: str) -> str:
    """One fact of that source at the door of that service."""
    fact = {"id": str(UUID(int=1)), "source": source, "subject": "1", "sequence": "1", "type": "a"}
    body = json.dumps({"received_at": "2026-11-23T00:00:00Z", "events": [fact]})
    return f"SELECT {subscriber}.deliver('{body}')"


@pytest.mark.parametrize(("speaker", "subscriber"), PAIRS)
def test_a_service_speaks_for_itself_only(roles: RoleProbe, speaker: str, subscriber: str) -> None:
    """Who breaks into one service cannot let another one say that a case is decided."""
    heard = speaker in subscriptions()[subscriber]
    own = knock_as(f"/onestop/{speaker}", subscriber)
    others = [knock_as(f"/onestop/{service}", subscriber) for service in SERVICES if service != speaker]
    assert roles.may(app_role(speaker), [own, *others]) == ([own] if heard else [])


def test_somebody_is_not_heard(roles: RoleProbe) -> None:
    """Else the test above would say nothing about closed doors."""
    assert {speaker for speaker, subscriber in PAIRS if speaker not in subscriptions()[subscriber]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_calls_its_own_functions_and_the_doors(roles: RoleProbe, service: str) -> None:
    doors = {f"{s}.deliver(jsonb)" for s, speakers in subscriptions().items() if service in speakers}
    own = {_short(f"{service}.{name}") for name in FUNCTIONS}
    assert roles.callable_by(app_role(service)) == own | doors | {"onestop.hand_on(text,text[],jsonb)"}


KEPT = {
    "data_keys": ("INSERT", "UPDATE", "DELETE"),
    "alembic_version": ("INSERT", "UPDATE", "DELETE"),
    "locks": ("INSERT", "DELETE"),
    "id_secret": ("INSERT", "UPDATE", "DELETE"),
}
"""What the owner alone writes: keys through its functions, versions through migrations."""


@pytest.mark.parametrize("service", SERVICES)
def test_what_only_the_owner_writes(roles: RoleProbe, service: str) -> None:
    with roles.login(app_role(service)).connect() as connection:
        for table, rights in KEPT.items():
            for right in rights:
                asked = {"t": f"{service}.{table}", "r": right}
                held = connection.execute(text("SELECT has_table_privilege(:t, :r)"), asked).scalar_one()
                assert held is False, asked
