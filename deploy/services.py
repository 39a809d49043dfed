"""The one place that names all services and their parts."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from shared.privacy.sealed import SealedTable

SERVICES = ("intake", "materials", "approval", "notify")


def part(service: str, name: str) -> ModuleType:
    """One module of a service, imported when it is needed: `part("intake", "worker")`."""
    return import_module(f"services.{service}.{name}")


def metadata(service: str) -> "MetaData":
    """A service's own tables; the delivery tables stand in `shared/bus/schema_v1.sql`."""
    found: MetaData = part(service, "models").Base.metadata
    return found


def sealed_tables(service: str) -> "tuple[SealedTable, ...]":
    """Every table of a service with sealed columns or look-ups, the delivery tables first."""
    from shared.bus.sealed import SEALED

    own: Sequence[SealedTable] = part(service, "sealed").SEALED
    return (*SEALED, *own)


def subscriptions() -> dict[str, tuple[str, ...]]:
    """Subscriber -> speakers, read off the worker classes."""
    from shared.bus.handlers import speakers_of

    return {service: speakers_of(part(service, "worker").Worker) for service in SERVICES}
