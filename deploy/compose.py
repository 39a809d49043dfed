"""docker-compose.yml from the registry. `onestop export compose` prints it; a test keeps the file equal."""

from typing import Any

import yaml

from deploy.postgres import ADMIN, OPTIONS
from deploy.registry import (
    FRONT,
    INTERNAL_PORT,
    KEEP_ALIVE_S,
    SECRETS,
    STOP_GRACE_S,
    WEB_PORT,
    WITNESS,
    Process,
    common_settings,
    processes,
)
from deploy.secret_files import BROKER, DEFINITIONS
from deploy.services import SERVICES
from shared.privacy.secret_files import ADMIN_PASSWORD, MIGRATE

_HEAD = """\
# Generated from deploy/registry.py by `make docs`; change it there. Every service scales alone:
#     docker compose up --detach --scale approval-worker=3
# Before the first start:
#     onestop secrets init secrets   (keep each master.key: without it nothing sealed can be read)
#     export ONESTOP_SECRETS=$PWD/secrets ONESTOP_USER=$(id -u):$(id -g) ONESTOP_HOST=hall.example.org
# Only the gateway is reachable from outside, on this machine; put TLS in front of it.
"""
_USER = "${ONESTOP_USER:?the uid:gid that owns the files in ONESTOP_SECRETS}"
_SECRETS = "${ONESTOP_SECRETS:?the folder that `onestop secrets init` made}"
_GATEWAY_PORT = "${ONESTOP_GATEWAY:-127.0.0.1:8600}:8080"
_ENTRY = "${ONESTOP_ENTRY_SUBNET:-172.30.86.0/24}"
_ENTRY_SETTINGS = {
    "ONESTOP_WEB__TRUSTED_PROXIES": f'["{_ENTRY}"]',
    "ONESTOP_WEB__HOSTS": '["${ONESTOP_HOST:-localhost}"]',
}
_WAITS = ("client_header_timeout", "client_body_timeout", "send_timeout")
_PATIENCE_S = 10
_BROKER_URL = {"ONESTOP_BROKER_URL": "amqp://rabbitmq:5672/"}
_BROKER_IMAGE = "rabbitmq:4.3.5"
"""Only features that 3.10, which the tests run on, and 4.x share are used. 4.x counts deliveries otherwise
and limits them by itself; our queues name their limit, and attempts are counted in the inbox."""
_DEFINITIONS = f"{SECRETS}/{DEFINITIONS}"
_DONE, _HEALTHY = "service_completed_successfully", "service_healthy"
_DATABASE_SETTINGS = ("max_connections", "log_min_error_statement", "log_error_verbosity")


def compose_text() -> str:
    """The whole file."""
    return _HEAD + yaml.safe_dump(compose_document(), sort_keys=False, allow_unicode=True, width=110)


def compose_document() -> dict[str, Any]:
    """The file as data."""
    return {
        "name": "onestop",
        "services": {
            "postgres": _postgres(),
            "rabbitmq": _rabbitmq(),
            "migrate": _migrate(),
            **{process.name: _process(process) for process in processes()},
            "gateway": _gateway(),
        },
        # The broker is reached by those who speak and hear, and by no web process.
        # Web processes believe whoever is in `entry` about who sent a request: the gateway, and nobody else.
        "networks": {
            "default": {},
            "facts": {},
            "entry": {"ipam": {"config": [{"subnet": _ENTRY}]}},
        },
        # A witness is never brought back together with the database.
        "volumes": {"postgres": {}, "rabbitmq": {}, **{f"witness-{service}": {} for service in SERVICES}},
        "configs": {
            "gateway": {"content": _gateway_config()},
            "rabbitmq": {"content": f"load_definitions = {_DEFINITIONS}\n"},
        },
    }


def _ours() -> dict[str, Any]:
    return {
        "image": "onestop",
        "build": {"context": ".", "dockerfile": "deploy/Dockerfile"},
        "user": _USER,
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _process(process: Process) -> dict[str, Any]:
    needs = {"migrate": {"condition": _DONE}, "postgres": {"condition": _HEALTHY}}
    if process.needs_broker:
        needs["rabbitmq"] = {"condition": _HEALTHY}
    return {
        **_ours(),
        "command": process.command,
        "environment": common_settings() | (_BROKER_URL if process.needs_broker else _ENTRY_SETTINGS),
        "networks": ["default", "facts"] if process.needs_broker else ["default", "entry"],
        "volumes": [_secrets_of(process.service), _witness_of(process.service)],
        "expose": [str(port) for port in process.ports],
        "depends_on": needs,
        "healthcheck": _health(["CMD", "python", "-m", "deploy.probe", str(INTERNAL_PORT)]),
        "stop_grace_period": f"{STOP_GRACE_S}s",
        "restart": "unless-stopped",
    }


def _migrate() -> dict[str, Any]:
    return {
        **_ours(),
        "command": ["migrate"],
        "environment": common_settings() | _BROKER_URL | {"ONESTOP_DB__ADMIN_USER": ADMIN},
        "networks": ["default", "facts"],
        # `docker compose run --rm migrate restored --service S` begins a new epoch.
        "volumes": [_secrets_of(MIGRATE), *map(_witness_of, SERVICES)],
        "depends_on": {"postgres": {"condition": _HEALTHY}, "rabbitmq": {"condition": _HEALTHY}},
        "restart": "no",
    }


def _postgres() -> dict[str, Any]:
    settings = [f"{name}={OPTIONS[name]}" for name in _DATABASE_SETTINGS]
    return {
        "image": "postgres:18",
        "command": ["postgres", *(part for setting in settings for part in ("-c", setting))],
        "environment": {
            "POSTGRES_USER": ADMIN,
            "POSTGRES_DB": "onestop",
            "POSTGRES_PASSWORD_FILE": f"{SECRETS}/{ADMIN_PASSWORD}",
            "POSTGRES_INITDB_ARGS": "--data-checksums --encoding=UTF8 --locale=C",
        },
        "volumes": ["postgres:/var/lib/postgresql", _bound(f"{MIGRATE}/{ADMIN_PASSWORD}", ADMIN_PASSWORD)],
        "expose": ["5432"],
        "shm_size": "256mb",
        "healthcheck": _health(["CMD", "pg_isready", "-U", ADMIN, "-d", "onestop", "-h", "127.0.0.1"]),
        # SIGINT is its fast shutdown; SIGTERM would wait for every client to leave.
        "stop_signal": "SIGINT",
        "stop_grace_period": "60s",
        "restart": "unless-stopped",
    }


def _rabbitmq() -> dict[str, Any]:
    return {
        "image": _BROKER_IMAGE,
        # The node's data belong to its host name.
        "hostname": "rabbitmq",
        "configs": [{"source": "rabbitmq", "target": "/etc/rabbitmq/conf.d/20-onestop.conf"}],
        "networks": ["facts"],
        "volumes": ["rabbitmq:/var/lib/rabbitmq", _bound(f"{BROKER}/{DEFINITIONS}", DEFINITIONS)],
        "expose": ["5672"],
        "healthcheck": _health(["CMD", "rabbitmq-diagnostics", "-q", "check_port_connectivity"]),
        "stop_grace_period": "60s",
        "restart": "unless-stopped",
    }


def _gateway() -> dict[str, Any]:
    webs = [process.name for process in processes() if process.kind == "web"]
    return {
        "image": "nginx:stable",
        "configs": [{"source": "gateway", "target": "/etc/nginx/conf.d/default.conf"}],
        "ports": [_GATEWAY_PORT],
        "networks": ["entry"],
        "depends_on": {name: {"condition": _HEALTHY} for name in webs},
        "healthcheck": _health(["CMD", "curl", "-fsS", "http://127.0.0.1:8080/healthz"]),
        "stop_grace_period": f"{STOP_GRACE_S}s",
        "restart": "unless-stopped",
    }


def _gateway_config() -> str:
    """nginx: each path to its service, names asked anew every 2 s so that new replicas get work."""
    lines = [
        "server {",
        "    listen 8080;",
        "    client_max_body_size 12m;",
        "    resolver 127.0.0.11 valid=2s;",
        *(f"    {what} {_PATIENCE_S}s;" for what in _WAITS),
        f"    keepalive_timeout {KEEP_ALIVE_S}s;",
        "    proxy_set_header Host $http_host;",
        "    proxy_set_header X-Forwarded-Proto $scheme;",
        "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    ]
    for process in sorted(processes(), key=lambda process: process.service == FRONT):
        for path in process.paths:
            lines += [
                f"    location {path} {{",
                f"        set $upstream {process.name};",
                f"        proxy_pass http://$upstream:{WEB_PORT};",
                "    }",
            ]
    # Compose would take $name for a variable of its own.
    return "\n".join([*lines, "}"]).replace("$", "$$") + "\n"


def _health(test: list[str]) -> dict[str, Any]:
    return {"test": test, "interval": "5s", "timeout": "3s", "retries": 12, "start_period": "30s"}


def _secrets_of(owner: str) -> dict[str, Any]:
    """The folder of one owner and no other. Not its files one by one: in a container that runs while a key is
    changed, those would stay the old ones."""
    return _bound(owner, owner)


def _witness_of(service: str) -> str:
    return f"witness-{service}:{WITNESS}/{service}"


def _bound(source: str, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": f"{_SECRETS}/{source}",
        "target": f"{SECRETS}/{target}",
        "read_only": True,
        "bind": {"create_host_path": False},
    }
