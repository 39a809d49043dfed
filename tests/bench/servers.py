"""The servers of the bench, and what a contender gets fresh: a database, a virtual host, worker processes."""

import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, Literal

from sqlalchemy import Engine, create_engine, text

from deploy.broker_definitions import definitions
from deploy.postgres import PostgresServer
from deploy.processes import end, spawn, wait_until
from deploy.rabbitmq import RabbitNode
from deploy.secret_files import init_secrets
from deploy.services import SERVICES
from shared.bus.topology import broker_url
from shared.db.engine import database_url
from shared.privacy.secret_files import MIGRATE
from shared.sections import DbSettings
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
TEMPLATE = "bench_template"
"""With cases that are held back."""
PEOPLE = "bench_people"
"""With people who have not applied yet."""
Delivery = Literal["rabbitmq", "database"]
DELIVERIES: tuple[Delivery, ...] = ("rabbitmq", "database")
_READY_S = 60.0
_TICK = os.sysconf("SC_CLK_TCK")
_DELIVERED = (
    "lists:sum([maps:get(messages_delivered_total, C, 0) || "
    "{_, C} <- maps:to_list(rabbit_global_counters:overview())])."
)


def tell(line: str) -> None:
    """To people; standard output is kept for the result."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Servers:
    """One PostgreSQL and one RabbitMQ node, in a scratch folder."""

    folder: Path
    postgres: PostgresServer
    rabbitmq: RabbitNode

    @contextmanager
    def place(
        self, name: str, delivery: Delivery = "rabbitmq", template: str = TEMPLATE
    ) -> "Iterator[Place]":
        """A fresh copy of the template and a fresh virtual host, gone afterwards."""
        database = f"bench_{name}"
        self.postgres.psql(f"CREATE DATABASE {database} TEMPLATE {template}")
        # Else the copy would be taken for one of an older day.
        shutil.copytree(self._witness(template), self._witness(database))
        address = None
        if delivery == "rabbitmq":
            self._add_vhost(database)
            address = self.rabbitmq.url + database
        place = Place(self, database, address)
        # What making the database left behind must not be written out while the clock runs.
        self.postgres.psql("CHECKPOINT")
        try:
            yield place
        finally:
            place.close()
            self.postgres.psql(f"DROP DATABASE {database} WITH (FORCE)")
            shutil.rmtree(self._witness(database))
            if address:
                self.rabbitmq.ctl("delete_vhost", database)

    def _add_vhost(self, name: str) -> None:
        """The same users may do the same there as everywhere; each is a call of the tool."""
        self.rabbitmq.ctl("add_vhost", name)
        found = definitions(dict.fromkeys((*SERVICES, MIGRATE), ""), SERVICES, name)
        for may in found["permissions"]:
            rights = (may["configure"], may["write"], may["read"])
            self.rabbitmq.ctl("set_permissions", "-p", name, may["user"], *rights)
        for may in found["topic_permissions"]:
            rights = (may["exchange"], may["write"], may["read"])
            self.rabbitmq.ctl("set_topic_permissions", "-p", name, may["user"], *rights)

    def variables(self, database: str, broker: str | None) -> dict[str, str]:
        """The settings of a process, as environment."""
        found = {
            "ONESTOP_ENVIRONMENT": "test",
            "ONESTOP_DB__HOST": self.postgres.host,
            "ONESTOP_DB__PORT": str(self.postgres.port),
            "ONESTOP_DB__NAME": database,
            "ONESTOP_SECRETS_DIR": str(self.folder / "secrets"),
            "ONESTOP_WITNESS_DIR": str(self._witness(database)),
            "ONESTOP_LOG_LEVEL": "WARNING",
        }
        return {**found, "ONESTOP_BROKER_URL": broker} if broker else found

    def settings(self, database: str, broker: str | None = None) -> Settings:
        """The same for this process."""
        db = DbSettings(host=self.postgres.host, port=self.postgres.port, name=database)
        return Settings(
            environment="test",
            db=db,
            broker_url=broker,
            secrets_dir=self.folder / "secrets",
            witness_dir=self._witness(database),
            fault_plan="",
        )

    def _witness(self, database: str) -> Path:
        return self.folder / "witness" / database


@dataclass(slots=True)
class Place:
    """Where one contender runs once."""

    servers: Servers
    database: str
    address: str | None
    own_commits: int = 0
    _children: list[Popen[bytes]] = field(default_factory=list)
    _engine: Engine | None = None

    @property
    def settings(self) -> Settings:
        """The settings of this process here."""
        return self.servers.settings(self.database, self.address)

    @property
    def broker(self) -> str | None:
        """The broker with the log-in of who may do everything here."""
        return broker_url(self.settings, MIGRATE)

    def start(self, arguments: Sequence[str], more: Mapping[str, str] | None = None) -> Popen[bytes]:
        """A Python process of this place; what it prints goes into the scratch folder."""
        # With PYTHONDONTWRITEBYTECODE every start would compile everything again.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ONESTOP_") and name != "PYTHONDONTWRITEBYTECODE"
        }
        ours = self.servers.variables(self.database, self.address)
        with (self.servers.folder / f"{self.database}.log").open("ab") as output:
            child = spawn(
                [sys.executable, *arguments],
                output=output.fileno(),
                environment={**kept, **ours, **(more or {})},
                cwd=ROOT,
            )
        self._children.append(child)
        return child

    def await_ready(self, ready: Sequence[Callable[[], bool]]) -> None:
        """Wait for all of them; with the last lines of the log when a child died or took too long."""
        died = [False]

        def all_ready() -> bool:
            died[0] = any(child.poll() is not None for child in self._children)
            return died[0] or all(probe() for probe in ready)

        if not wait_until(all_ready, _READY_S, every_s=0.1) or died[0]:
            raise RuntimeError(f"{self.database} is not ready: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what the processes of this place printed."""
        log = self.servers.folder / f"{self.database}.log"
        return log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End every process of this place."""
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            end(child, signal.SIGTERM, 20)
        self._children.clear()

    def forget(self, child: Popen[bytes]) -> None:
        """One that is expected to be dead."""
        self._children.remove(child)

    def close(self) -> None:
        """Leave nothing running here."""
        self.stop()
        if self._engine is not None:
            self._engine.dispose()

    def ask(self, statement: str, **values: Any) -> Any:
        """One statement of the bench itself, as the admin, in a transaction of its own; the first row."""
        found = self.rows(statement, **values)
        return found[0] if found else None

    def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        """The same; all rows."""
        if self._engine is None:
            url = database_url(self.settings, self.servers.postgres.admin_user)
            self._engine = create_engine(url, isolation_level="AUTOCOMMIT")
        self.own_commits += 1
        with self._engine.connect() as connection:
            found = connection.execute(text(statement), values)
            return found.all() if found.returns_rows else ()

    def commits(self) -> int:
        """Commits in this database without the bench's own. Exact once the workers have ended."""
        found = self.ask("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(found[0]) - self.own_commits

    def forget_statements(self) -> None:
        """Begin counting statements."""
        self.ask("SELECT pg_stat_statements_reset()")

    def statements(self) -> int:
        """Statements of the services since then."""
        found = self.ask(
            "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            "WHERE d.datname = current_database() AND s.userid <> current_user::regrole"
        )
        return int(found[0] or 0)

    def deliveries(self) -> int:
        """Messages that the broker has handed to consumers since it started."""
        return int(self.servers.rabbitmq.ctl("eval", _DELIVERED))


def cpu_seconds(children: Sequence[Popen[bytes]]) -> float:
    """User and system time of these processes so far."""
    ticks = 0
    for child in children:
        status = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8")
        # The name stands in brackets and may hold blanks; utime and stime are fields 14 and 15.
        fields = status.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK


@contextmanager
def installation() -> Iterator[Servers]:
    """Both servers, started; ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-bench-"))
    folder.chmod(0o711)
    options = {"shared_preload_libraries": "pg_stat_statements", "track_commit_timestamp": "on"}
    init_secrets(folder / "secrets")
    postgres = PostgresServer(folder / "data", secrets_dir=folder / "secrets", options=options)
    servers = Servers(folder, postgres, RabbitNode(folder / "rabbitmq", folder / "secrets"))
    try:
        servers.postgres.start()
        servers.rabbitmq.start()
        yield servers
    finally:
        servers.rabbitmq.stop()
        servers.postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def machine(servers: Servers) -> str:
    """What was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    broker = servers.rabbitmq.ctl("version").strip()
    return (
        f"{os.cpu_count()} cores ({_model()}), {memory:.0f} GB, {platform.platform()}, Python "
        f"{platform.python_version()}, PostgreSQL {servers.postgres.major} ({servers.postgres.kind}), "
        f"RabbitMQ {broker}; load before {os.getloadavg()[0]:.2f}"
    )


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
