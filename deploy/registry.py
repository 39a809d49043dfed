"""What runs in an installation of many machines: the one source of docker-compose.yml and what comes later.

Names of services come from `deploy.services`; here stands what only running them needs: which public paths a
service answers, ports, probes, secrets and how long a stop may take.
"""

import json
from dataclasses import dataclass
from typing import Literal

from deploy.services import SERVICES

WEB_PORT = 8600
INTERNAL_PORT = 8601
"""/internal, /readyz and /metrics, of web processes and workers alike; the gateway leads nobody there."""
KEEP_ALIVE_S = 5
"""How long a connection waits for its next request."""
STOP_GRACE_S = 40
"""Longer than `worker.drain_s` (25), so that nothing in flight is cut off."""
FRONT = "intake"
"""Has all pages, and every path that no other service claims."""

_PATHS = {
    "intake": ("/",),
    "materials": ("/api/v1/uploads",),
    "approval": ("/api/v1/tasks", "/desk"),
    "notify": ("/api/v1/messages",),
}

SECRETS = "/run/secrets"
"""Where a container finds the folders of its services."""

WITNESS = "/var/lib/onestop/witness"
"""Where a container finds the volumes of its services' witnesses."""

Kind = Literal["web", "worker"]


@dataclass(frozen=True, slots=True)
class Process:
    """One kind of process of one service; as many as the load needs."""

    service: str
    kind: Kind

    @property
    def name(self) -> str:
        """Its host name among the processes."""
        return f"{self.service}-{self.kind}"

    @property
    def command(self) -> list[str]:
        """Arguments of `onestop`."""
        return ["run", self.kind, "--service", self.service]

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens."""
        return (WEB_PORT, INTERNAL_PORT) if self.kind == "web" else (INTERNAL_PORT,)

    @property
    def paths(self) -> tuple[str, ...]:
        """Public paths that begin so belong to it."""
        return _PATHS[self.service] if self.kind == "web" else ()

    @property
    def needs_broker(self) -> bool:
        """Web processes write the outbox only, and accept cases while the broker is away."""
        return self.kind == "worker"


def processes() -> list[Process]:
    """Every process of the installation."""
    return [Process(service, kind) for service in SERVICES for kind in ("web", "worker")]


def common_settings() -> dict[str, str]:
    """ONESTOP_ variables that all processes share and that are no secrets."""
    peers = {service: f"http://{Process(service, 'web').name}:{INTERNAL_PORT}" for service in SERVICES}
    return {
        "ONESTOP_ENVIRONMENT": "production",
        "ONESTOP_DB__HOST": "postgres",
        "ONESTOP_DB__NAME": "onestop",
        "ONESTOP_PEERS": json.dumps(peers),
        "ONESTOP_WEB__HOST": "0.0.0.0",
        "ONESTOP_WEB__PORT": str(WEB_PORT),
        "ONESTOP_WEB__INTERNAL_HOST": "0.0.0.0",
        "ONESTOP_WEB__INTERNAL_PORT": str(INTERNAL_PORT),
        "ONESTOP_WORKER__HEALTH_PORT": str(INTERNAL_PORT),
        "ONESTOP_SECRETS_DIR": SECRETS,
        "ONESTOP_WITNESS_DIR": WITNESS,
    }
