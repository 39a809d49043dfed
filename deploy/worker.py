"""The worker process: nameko's ServiceRunner with one or more services, health doors, a clean end.

This module patches the standard library for eventlet at import, so nothing else of ours may come before it.
"""

import os
import warnings

# Its own resolver would need dnspython at every start; the system's is fine for two or three names.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated.*")

import eventlet  # noqa: E402  (the warning must be silenced first)

eventlet.monkey_patch()

import gc  # noqa: E402  (everything below must see the patched modules)
import math  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import structlog  # noqa: E402
from eventlet import tpool  # noqa: E402
from eventlet.green import socket as green_socket  # noqa: E402
from eventlet.hubs import trampoline  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402

from deploy.services import part  # noqa: E402
from deploy.settings import check_process  # noqa: E402
from shared import faults  # noqa: E402
from shared.bus.context import ServiceContext  # noqa: E402
from shared.bus.exclusion import Exclusion  # noqa: E402
from shared.bus.host import Deliveries  # noqa: E402
from shared.bus.witness import Mark, Witness  # noqa: E402
from shared.context import build_context  # noqa: E402
from shared.db.waiting import wait_by  # noqa: E402
from shared.db.writable import check_writable  # noqa: E402
from shared.errors import Unavailable  # noqa: E402
from shared.http.health import Check, Health, serve_health  # noqa: E402
from shared.log import configure  # noqa: E402
from shared.settings import Settings  # noqa: E402

_log = structlog.get_logger()

# A name server that says nothing holds up whoever asks, not the whole process with its heartbeats. eventlet's
# create_connection, which HTTP and mail use, has a name of its own for it.
socket.getaddrinfo = green_socket.getaddrinfo = partial(tpool.execute, socket.getaddrinfo)


def run(settings: Settings, services: Sequence[str], wait: Callable[[], None] = lambda: None) -> int:
    """Run the workers of these services until SIGTERM or SIGINT; the exit code. `wait` is called when
    everything is loaded, before anything begins."""
    configure(settings, service="worker" if len(services) > 1 else services[0])
    faults.plan_faults(settings.fault_plan)
    check_process(settings, services)
    exclusion = Exclusion(whole=len(services) > 1)
    contexts = {
        service: build_context(settings, service, exclusion=exclusion, guarded=True) for service in services
    }
    for context in contexts.values():
        if context.guard is not None:
            context.guard.witness = AsideWitness(context.guard.witness)
    wait_by(is_ready)
    runner = ServiceRunner({"onestop": contexts, "max_workers": 10})
    for service in services:
        runner.add_service(part(service, "worker").Worker)
    wait()
    stop = eventlet.event.Event()
    stopping: list[int] = []

    def ask_to_stop(signum: int, frame: object) -> None:
        if stopping:
            raise SystemExit(1)
        stopping.append(signum)
        eventlet.spawn_n(_send_once, stop, signum)

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    runner.start()
    server = None
    if settings.worker.health_port is not None:
        health = Health(_checks(runner, contexts), draining=lambda: bool(stopping))
        server = serve_health(health, host=settings.web.internal_host, port=settings.worker.health_port)
    _spare_the_collector()
    _log.info(
        "worker_started", services=list(services), transport="rabbitmq" if settings.broker_url else "database"
    )
    watching = eventlet.spawn(_watch, runner, stop)
    stop.wait()
    _log.info("worker_stopping", services=list(services))
    with eventlet.Timeout(settings.worker.drain_s + 3, False):
        runner.stop()
    for context in contexts.values():
        context.hints.close()
    if server is not None:
        server.server_close()
    _log.info("worker_stopped", services=list(services))
    return 1 if watching.dead and not stopping else 0


class AsideWitness:
    """A witness that is read and written in a thread of its own: an fsync a second would hold up every green
    thread of the process, and all facts on their way with them."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def read(self) -> Mark | None:
        """As `Witness` says."""
        found: Mark | None = tpool.execute(self._witness.read)
        return found

    def keep(self, mark: Mark, *, new_epoch: bool = False) -> None:
        """As `Witness` says."""
        tpool.execute(self._witness.keep, mark, new_epoch=new_epoch)

    def rewrite(self) -> None:
        """As `Witness` says."""
        tpool.execute(self._witness.rewrite)


class _Late(Exception):
    """It was not ready in time."""


def is_ready(fd: int, to_read: bool, within_s: float) -> bool:
    """Let the other green threads run until a file can be read or written, at most so long."""
    try:
        trampoline(
            fd,
            read=to_read,
            write=not to_read,
            timeout=None if within_s == math.inf else within_s,
            timeout_exc=_Late,
        )
    except _Late:
        return False
    return True


def _spare_the_collector() -> None:
    """What was imported lives as long as the process: nobody need walk through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _watch(runner: ServiceRunner, stop: Any) -> None:
    """A service that dies of a mistake of ours takes its process along, so that it is started again."""
    try:
        runner.wait()
    except Exception as error:
        _log.error("worker_died", exc_info=error)
    _send_once(stop, 0)


def _send_once(stop: Any, value: int) -> None:
    if not stop.ready():
        stop.send(value)


def _checks(runner: ServiceRunner, contexts: dict[str, ServiceContext]) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for service, context in contexts.items():
        checks[f"{service}.database"] = partial(check_writable, context.engine, service)
        checks[f"{service}.witness"] = context.ready
    for container in runner.containers:
        for entrypoint in container.entrypoints:
            if isinstance(entrypoint, Deliveries):
                checks[f"{container.service_name}.deliveries"] = partial(_deliveries, entrypoint)
    return checks


def _deliveries(entrypoint: Deliveries) -> None:
    if not entrypoint.ready():
        raise Unavailable(detail_en="not consuming")
