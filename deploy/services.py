"""The one place that names all services and their parts."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.bus.tables import BusTables

SERVICES = ("intake", "materials", "approval", "notify")


def part(service: str, name: str) -> ModuleType:
    """One module of a service, imported when it is needed: `part("intake", "worker")`."""
    return import_module(f"services.{service}.{name}")


def tables(service: str) -> "BusTables":
    """The delivery tables of a service."""
    found: BusTables = part(service, "models").BUS
    return found


def subscriptions() -> dict[str, tuple[str, ...]]:
    """Subscriber -> speakers, read off the worker classes."""
    from shared.bus.handlers import speakers_of

    return {service: speakers_of(part(service, "worker").Worker) for service in SERVICES}
