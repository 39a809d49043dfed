"""The work of a peer: the same load and command and the same rows, one message one transaction, no inbox."""

from typing import Any

from deploy.services import SERVICES, part
from shared import faults
from shared.bus.handlers import handlers_of
from shared.bus.hints import Hints
from shared.bus.unit import Cause, unit_of
from shared.bus.wire import from_json, to_json
from shared.context import build_context
from shared.db.engine import engine_for
from shared.db.roles import app_role
from shared.faults import fault_point
from shared.settings import Settings

CRASH_POINT = "bench.publish.before"
EXCHANGE = "bench"
QUORUM = {"x-queue-type": "quorum"}
Stored = dict[str, Any]


def queue_of(service: str) -> str:
    """The queue of a peer's service."""
    return f"bench.{service}"


def hearers() -> dict[str, list[str]]:
    """Type of fact -> the services that have a handler for it."""
    found: dict[str, list[str]] = {}
    for service in SERVICES:
        for type_ in handlers_of(part(service, "worker").Worker):
            found.setdefault(type_, []).append(service)
    return found


class _NoHints(Hints):
    """Nobody relays here, so nobody is told."""

    def ring(self, channel: str) -> None:
        """Nothing."""


class Peer:
    """One service of a peer in one process. `connections`: how many messages it handles at a time."""

    def __init__(self, settings: Settings, service: str, connections: int) -> None:
        faults.plan_faults(settings.fault_plan)
        self._context = build_context(settings, service)
        self._context.engine = engine_for(settings, app_role(service), pool_size=connections)
        self._context.hints = _NoHints(self._context.engine)
        self._handlers = handlers_of(part(service, "worker").Worker)

    def handle(self, stored: Stored) -> list[Stored]:
        """Load, command, commit; what was said, to be published now. Raises NotYet."""
        event = from_json(stored)
        handler = self._handlers[event.type]
        with unit_of(self._context, "bench.peer") as unit:
            unit.cause = Cause(event.id, event.correlation or event.id, event.traceparent)
            handler.command(unit, event, handler.load(unit, [event]))
        fault_point(CRASH_POINT)
        return [to_json(said) for said in unit._said]
