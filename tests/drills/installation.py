"""The installation under drill: servers and processes of its own, each of which may be killed and started
again."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.catalogue import publish_matters
from deploy.installation import free_ports
from deploy.migrate import migrate
from deploy.postgres import PostgresServer
from deploy.probe import is_ready
from deploy.processes import end, spawn, wait_until
from deploy.rabbitmq import RabbitNode
from deploy.secret_files import init_secrets
from deploy.services import SERVICES
from deploy.standins.launch import SmsStandin
from shared.catalogue.loader import BUILT_IN
from shared.sections import LimitSettings
from shared.settings import Settings
from tests.drills.hostile import Hostile

Delivery = Literal["database", "rabbitmq"]

ROOT = Path(__file__).parents[2]
WORKERS = {"intake": 1, "materials": 1, "approval": 2, "notify": 1}
_READY_S = 90.0


@dataclass(slots=True)
class Process:
    """A web or worker process."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    port: int
    log: Path
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; the caller is the main thread, to which the kernel ties it."""
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "deploy.cli", "run", *self.arguments]
            self.child = spawn(command, output=output.fileno(), environment=self.environment, cwd=ROOT)

    def kill(self) -> None:
        """`kill -9`."""
        assert self.child is not None
        end(self.child, signal.SIGKILL, 10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.child is not None
        return end(self.child, signal.SIGTERM, 40)

    def is_up(self) -> bool:
        """It answers that it is ready."""
        try:
            return is_ready(self.port)
        except OSError:
            return False


@dataclass(slots=True)
class Installation:
    """All of it."""

    folder: Path
    postgres: PostgresServer
    rabbitmq: RabbitNode | None
    """None: facts are handed on inside the database."""
    sms: SmsStandin
    settings: Settings
    url: str
    processes: dict[str, Process] = field(default_factory=dict)
    ended: dict[str, list[int]] = field(default_factory=dict)
    """Exit codes of those that ended although nobody killed them."""
    hostile: Hostile = field(default_factory=Hostile)
    brought_back: set[str] = field(default_factory=set)
    """Services whose database was brought back from an older copy."""
    hollow: list[str] = field(default_factory=list)
    """Queues of which the broker's death left only the name."""

    def keep_up(self) -> None:
        """Start again what ended by itself, as a supervisor does."""
        for process in self.processes.values():
            code = process.child.poll() if process.child is not None else None
            if code is not None:
                self.ended.setdefault(process.name, []).append(code)
                process.start()

    def deadlocks(self) -> int:
        """How often a process was told of one: sorted locks leave none."""
        logs = (process.log.read_bytes() for process in self.processes.values())
        return sum(log.count(b"DeadlockDetected") for log in logs)


@contextmanager
def installation(delivery: Delivery) -> Iterator[Installation]:
    """An installation in a scratch folder; nothing of it is left at the end."""
    with tempfile.TemporaryDirectory(prefix="onestop-drill-") as scratch, ExitStack() as running:
        folder = Path(scratch)
        folder.chmod(0o711)
        init_secrets(folder / "secrets")
        postgres = PostgresServer(folder / "postgres" / "data", secrets_dir=folder / "secrets")
        postgres.data_dir.parent.mkdir(parents=True, mode=0o711)
        running.callback(postgres.stop)
        postgres.start()
        rabbitmq = None
        if delivery == "rabbitmq":
            rabbitmq = RabbitNode(folder / "rabbitmq", folder / "secrets")
            running.callback(rabbitmq.stop)
            rabbitmq.start()
        sms = SmsStandin(folder / "sms")
        running.callback(sms.stop)
        sms.start()
        yield _settle_in(folder, postgres, rabbitmq, sms)


def _settle_in(
    folder: Path, postgres: PostgresServer, rabbitmq: RabbitNode | None, sms: SmsStandin
) -> Installation:
    names = [f"{service}.{n}" for service, count in WORKERS.items() for n in range(1, count + 1)]
    web_port, internal_port, *ports = free_ports(2 + len(names), set())
    url = f"http://127.0.0.1:{web_port}"
    variables = {
        "ONESTOP_ENVIRONMENT": "test",
        "ONESTOP_DB__HOST": postgres.host,
        "ONESTOP_DB__PORT": str(postgres.port),
        "ONESTOP_SECRETS_DIR": str(folder / "secrets"),
        "ONESTOP_WITNESS_DIR": str(folder / "witness"),
        "ONESTOP_WEB__PORT": str(web_port),
        "ONESTOP_WEB__COOKIE_SECURE": "false",
        "ONESTOP_WEB__INTERNAL_PORT": str(internal_port),
        "ONESTOP_PEERS": json.dumps(dict.fromkeys(SERVICES, f"http://127.0.0.1:{internal_port}")),
        "ONESTOP_DEV_IDENTITY": "true",
        # A few hundred people apply as a city does.
        **{f"ONESTOP_LIMITS__{name.upper()}": "1000000" for name in LimitSettings.model_fields},
        "ONESTOP_LOG_LEVEL": "WARNING",
        **sms.environment(),
    }
    if rabbitmq is not None:
        variables["ONESTOP_BROKER_URL"] = rabbitmq.url
    outer = {name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")}
    os.environ.clear()
    os.environ.update({**outer, **variables})
    settings = Settings()
    migrate(settings)
    publish_matters(settings, sorted(BUILT_IN.glob("*.yaml")))
    found = Installation(folder, postgres, rabbitmq, sms, settings, url)
    environment = dict(os.environ)
    found.processes["web"] = Process("web", ["web"], environment, internal_port, folder / "web.log")
    for name, port in zip(names, ports, strict=True):
        service = name.partition(".")[0]
        found.processes[name] = Process(
            name,
            ["worker", "--service", service],
            {**environment, "ONESTOP_WORKER__HEALTH_PORT": str(port)},
            port,
            folder / f"{name}.log",
        )
    for process in found.processes.values():
        process.start()
    if not wait_until(lambda: all(p.is_up() for p in found.processes.values()), _READY_S, every_s=0.2):
        raise RuntimeError("the installation did not come up")
    return found
