"""The installation on one machine, for `onestop up` and the demo: what to start, in which order, and how.

PostgreSQL is our own unless ONESTOP_DB__HOST names one; the broker is none, a private node, or the one named.
"""

import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deploy import users
from deploy.errors import AlreadyRunning, PlaceUnusable, PortTaken
from deploy.kept_data import check_kept, note_made_by
from deploy.places import make_passable, make_private
from deploy.postgres import PostgresServer
from deploy.probe import is_ready
from deploy.processes import (
    WHEN_TOLD,
    Identity,
    claim_port,
    free_port,
    listen,
    port_is_free,
    try_claim,
)
from deploy.services import SERVICES
from deploy.supervisor import ProcessSpec, Server, Supervisor
from deploy.supervisor_state import is_held
from deploy.users import code_users
from shared.privacy.secret_files import MIGRATE

if TYPE_CHECKING:
    from deploy.rabbitmq import RabbitNode

DEFAULT_PORT = 8600
WEB = "web"
ENVIRONMENT_FILE = "environment.json"
SENDER = "notify"
"""The one service that has channels to the outside, and their secrets."""
_CHANNELS = "ONESTOP_CHANNELS__"
_WORKER_GRACE_S = 32.0
_SESSIONS, _SESSIONS_OF_A_WEB = 200, 70


@dataclass(frozen=True, slots=True)
class InstallationOptions:
    """What may be chosen.

    `broker`: None delivers inside the database, "local" starts a private RabbitMQ node, else an amqp:// URL.
    `apart`: a worker process for each service instead of one for all. `scale`: worker processes by service,
    and web processes under `web`, 1 where it says nothing; when it names a service they are apart. `web_port`
    None: 8600, or a free one when that is taken. `settings`: further ONESTOP_ variables for every
    process. `may_stay_root`: root's web and workers stay root where nobody else can read our code.
    """

    data_dir: Path
    environment: Literal["production", "demo", "test"] = "production"
    broker: str | None = None
    apart: bool = False
    scale: Mapping[str, int] = field(default_factory=dict)
    web_port: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    may_stay_root: bool = False


class Installation:
    """One installation that is about to run: where it will be found, and what it is made of."""

    def __init__(self, options: InstallationOptions) -> None:
        self.options = options
        self.data_dir = options.data_dir.absolute()
        if is_held(self.data_dir):
            raise AlreadyRunning(
                f"{self.data_dir} 正在使用中；onestop ps 可查看，onestop down 可停止",
                f"{self.data_dir} is in use: `onestop ps` shows by whom, `onestop down` ends it",
            )
        self._outer = {name: value for name, value in os.environ.items() if name.startswith("ONESTOP_")}
        if keeps_database():
            check_kept(self.data_dir)
        self._services_user, self._migrate_user = code_users(
            users.SERVICES, users.DATABASE, may_stay_root=options.may_stay_root
        )
        # Those must be able to walk to their own folders.
        make_passable(self.data_dir) if os.geteuid() == 0 else make_private(self.data_dir)
        self.secrets_dir = self._make_secrets()
        self.witness_dir = self._make_witnesses()
        self.postgres = self._private_postgres() if keeps_database() else None
        self.rabbitmq = self._private_node() if options.broker == "local" else None
        self._sockets: list[socket.socket] = []
        self.web_port = self._choose_port()
        self.internal_port = claim_port()
        self.url = f"http://127.0.0.1:{self.web_port}"
        self.internal_url = f"http://127.0.0.1:{self.internal_port}"

    def settings(self) -> dict[str, str]:
        """The ONESTOP_ variables of every process, also for commands that are given beside."""
        found = {
            **self._outer,
            "ONESTOP_ENVIRONMENT": self.options.environment,
            "ONESTOP_WEB__HOST": "127.0.0.1",
            "ONESTOP_WEB__PORT": str(self.web_port),
            "ONESTOP_WEB__INTERNAL_HOST": "127.0.0.1",
            "ONESTOP_WEB__INTERNAL_PORT": str(self.internal_port),
            # On one machine all of them are one user's anyway: one web process has all the pages, and one
            # worker does the work of all services.
            "ONESTOP_SERVICES_SHARE_PROCESS": "true",
            "ONESTOP_PEERS": json.dumps(dict.fromkeys(SERVICES, self.internal_url)),
        }
        found["ONESTOP_SECRETS_DIR"] = str(self.secrets_dir)
        found["ONESTOP_WITNESS_DIR"] = str(self.witness_dir)
        if self.postgres is not None:
            found["ONESTOP_DB__HOST"] = self.postgres.host
            found["ONESTOP_DB__PORT"] = str(self.postgres.port)
        broker = self.rabbitmq.url if self.rabbitmq is not None else self.options.broker
        if broker:
            found["ONESTOP_BROKER_URL"] = broker
        if not self._has("LOG_FORMAT") and sys.stderr.isatty():
            found["ONESTOP_LOG_FORMAT"] = "console"
        return {**found, **self.options.settings}

    def supervisor(
        self,
        main: Callable[[], Awaitable[int | None]] | None = None,
        say: Callable[[str, str], None] | None = None,
    ) -> Supervisor:
        """A supervisor for all of it, ready to `run()`."""
        settings = self.settings()
        remember_settings(self.data_dir, settings)
        if self.postgres is not None:
            note_made_by(self.data_dir)
        return Supervisor(self._specs(settings), self.data_dir, main=main, say=say)

    def _specs(self, settings: Mapping[str, str]) -> list[ProcessSpec | Server]:
        servers: list[ProcessSpec | Server] = [
            server for server in (self.postgres, self.rabbitmq) if server is not None
        ]
        migrate = ProcessSpec(
            "migrate",
            _command("migrate", WHEN_TOLD),
            _environment(settings, self._migrate_user),
            once=True,
            group="migrate",
            run_as=self._migrate_user,
            early=True,
        )
        # Web processes write the outbox only: they need no broker, and are told of none.
        without_broker = {name: value for name, value in settings.items() if name != "ONESTOP_BROKER_URL"}
        return [*servers, migrate, *self._webs(without_broker), *self._workers(settings)]

    def _webs(self, settings: Mapping[str, str]) -> Sequence[ProcessSpec]:
        """One, or several at one address. Those take connections from one queue, which is ours: whichever is
        free takes the next one, and when one dies what waits there is the others'."""
        count = self.options.scale.get(WEB, 1)
        if count == 1:
            return [self._web(WEB, settings, self.internal_port)]
        ports = (self.web_port, self.internal_port)
        self._sockets = [listen("127.0.0.1", port) for port in ports]
        shared = [one.fileno() for one in self._sockets]
        return [
            self._web(
                f"{WEB}.{number}",
                {
                    **settings,
                    "ONESTOP_WEB__SOCKETS": json.dumps(shared),
                    "ONESTOP_WEB__INTERNAL_PORT": str(port),
                },
                port,
                shared,
            )
            for number in range(1, count + 1)
            for port in [claim_port()]
        ]

    def _web(
        self, name: str, settings: Mapping[str, str], port: int, sockets: Sequence[int] = ()
    ) -> ProcessSpec:
        return ProcessSpec(
            name,
            _command("run", "web", WHEN_TOLD),
            _environment(settings, self._services_user),
            ready=partial(is_ready, port),
            group="web",
            run_as=self._services_user,
            health_port=port,
            sockets=sockets,
            early=True,
        )

    def _workers(self, settings: Mapping[str, str]) -> Iterator[ProcessSpec]:
        for name, services in self._divided():
            port = claim_port()
            yield ProcessSpec(
                name,
                _command("run", "worker", WHEN_TOLD, *_each("--service", services)),
                _environment(
                    {**settings, "ONESTOP_WORKER__HEALTH_PORT": str(port)},
                    self._services_user,
                    sends=SENDER in services,
                ),
                ready=partial(is_ready, port),
                group="worker",
                grace_s=_WORKER_GRACE_S,
                run_as=self._services_user,
                health_port=port,
                early=True,
            )

    def _divided(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Which services each worker process does the work of, with the name of the process."""
        scale = self.options.scale
        if not (self.options.apart or scale.keys() & set(SERVICES)):
            yield "worker", SERVICES
            return
        for service in SERVICES:
            count = scale.get(service, 1)
            for number in range(1, count + 1):
                yield f"worker.{service}.{number}" if count > 1 else f"worker.{service}", (service,)

    def _has(self, name: str) -> bool:
        return bool({f"ONESTOP_{name}", f"ONESTOP_{name}_FILE"} & set(self._outer))

    def _choose_port(self) -> int:
        wanted = self.options.web_port
        if wanted is None:
            return claim_port(int(self._outer.get("ONESTOP_WEB__PORT", DEFAULT_PORT)))
        if wanted and not (port_is_free(wanted) and try_claim(wanted)):
            raise PortTaken(
                f"端口 {wanted} 已被占用；请用 --port 另选一个",
                f"something else listens on port {wanted}, or is about to; choose another with --port",
            )
        return wanted or claim_port()

    def _private_node(self) -> "RabbitNode":
        from deploy.rabbitmq import RabbitNode

        node = RabbitNode(self.data_dir / "rabbitmq", self.secrets_dir)
        # The processes are told its address before it is launched.
        node.settle_ports()
        return node

    def _make_secrets(self) -> Path:
        """Those given, or our own, made at the first start."""
        from deploy.secret_files import init_secrets

        given = self._outer.get("ONESTOP_SECRETS_DIR")
        if given is not None:
            self._check_given(Path(given))
            return Path(given)
        root = self.data_dir / "secrets"
        init_secrets(root)
        if self._migrate_user is not None and self._services_user is not None:
            make_passable(root)
            self._migrate_user.own_tree(root / MIGRATE)
            for service in SERVICES:
                self._services_user.own_tree(root / service)
        return root

    def _make_witnesses(self) -> Path:
        """The folder given, or our own, with one of its own for each service."""
        given = self._outer.get("ONESTOP_WITNESS_DIR")
        if given is not None:
            return Path(given)
        root = make_passable(self.data_dir / "witness")
        for service in SERVICES:
            make_private(root / service, self._services_user)
        return root

    def _check_given(self, root: Path) -> None:
        owners = dict.fromkeys(SERVICES, self._services_user) | {MIGRATE: self._migrate_user}
        for name, who in owners.items():
            folder = root / name
            if who is not None and folder.is_dir() and folder.stat().st_uid != who.uid:
                raise PlaceUnusable(
                    f"{folder} 应属于运行它的用户：chown -R {who.uid}:{who.gid} {folder}",
                    f"{folder} must belong to the user whose processes read it: "
                    f"chown -R {who.uid}:{who.gid} {folder}",
                )

    def _private_postgres(self) -> PostgresServer:
        folder = self.data_dir / "postgres"
        folder.mkdir(parents=True, exist_ok=True)
        # Each web process may have all its sessions open at once; workers have few.
        more = {"max_connections": str(_SESSIONS + _SESSIONS_OF_A_WEB * (self.options.scale.get(WEB, 1) - 1))}
        return PostgresServer(
            folder / "data", secrets_dir=self.secrets_dir, clients=self._services_user, options=more
        )


def keeps_database() -> bool:
    """The database is our own, in the data directory: nobody named another."""
    return not {"ONESTOP_DB__HOST", "ONESTOP_DB__HOST_FILE"} & set(os.environ)


def free_ports(count: int, taken: set[int]) -> list[int]:
    """Distinct free ports."""
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        if port not in taken:
            taken.add(port)
            found.append(port)
    return found


def remember_settings(data_dir: Path, settings: Mapping[str, str]) -> None:
    """Keep the settings for commands that are given meanwhile (0600: a broker URL is a secret)."""
    descriptor = os.open(data_dir / ENVIRONMENT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dict(settings), file, indent=1)


def remembered_settings(data_dir: Path) -> dict[str, str]:
    """What the last installation on this directory ran with; empty when there was none."""
    try:
        found: dict[str, str] = json.loads((data_dir / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _each(option: str, values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from (option, value)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", *arguments]


def _environment(
    settings: Mapping[str, str], run_as: Identity | None, *, sends: bool = False
) -> dict[str, str]:
    """`sends`: this process speaks to the outside, and only then it is told how."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")}
    # libpq would look for certificates in root's home, and fail where it may not.
    home = {"HOME": "/nonexistent"} if run_as else {}
    told = {name: value for name, value in settings.items() if sends or not name.startswith(_CHANNELS)}
    return {**ours, **home, "PYTHONUNBUFFERED": "1", **told}
