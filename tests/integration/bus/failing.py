"""Commands that fail for chosen facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from deploy.services import part
from shared.bus.handlers import handlers_of
from shared.bus.inbox import Handler
from shared.bus.unit import Unit
from shared.events.fact import Event

SECRET = "330106199003073012 张三"
"""Stands in the text of the exceptions that tests raise; it must be found nowhere."""


@dataclass
class FailingCommands:
    """Commands of a service of which those for chosen facts fail at their end, so many `times`."""

    service: str
    times: dict[UUID, int] = field(default_factory=dict)
    raises: Callable[[], Exception] = lambda: RuntimeError(SECRET)

    def handlers(self) -> Mapping[str, Handler]:
        """The service's own commands, with the failure at their end."""
        found = handlers_of(part(self.service, "worker").Worker)
        return {type_: Handler(handler.load, self._with_failure(handler)) for type_, handler in found.items()}

    def _with_failure(self, handler: Handler) -> Callable[[Unit, Event, Any], None]:
        def command(unit: Unit, event: Event, loaded: Any) -> None:
            handler.command(unit, event, loaded)
            if self.times.get(event.id, 0) > 0:
                self.times[event.id] -= 1
                raise self.raises()

        return command
