"""What a process hands to a service: its settings, database, keys, matters, and the way to ask the others."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, Engine, Uuid, text

from shared.ask import Asker
from shared.bus.exclusion import Exclusion
from shared.bus.guard import Guard
from shared.bus.hints import Hints
from shared.catalogue.published import Published
from shared.privacy.vault import Vault
from shared.settings import Settings


@dataclass(slots=True)
class ServiceContext:
    """What one service needs to work in one process. Built once (`shared.context`) and passed down."""

    service: str
    settings: Settings
    engine: Engine
    hints: Hints
    vault: Vault
    matters: Published
    asker: Asker
    exclusion: Exclusion = field(default_factory=Exclusion)
    """The process's, where it holds several services."""
    guard: Guard | None = None
    """In a process that does the service's work: whether its database is what its witness saw."""

    _id_secret: UUID | None = None

    def id_secret(self, connection: Connection) -> UUID:
        """What the ids of facts are derived under that this service says because of a fact."""
        if self._id_secret is None:
            asked = text(f"SELECT secret FROM {self.service}.id_secret").columns(secret=Uuid)
            self._id_secret = connection.execute(asked).scalar_one()
        return self._id_secret

    def ready(self) -> None:
        """Raises NotAsWitnessed while nothing may be done with the database."""
        if self.guard is not None:
            self.guard.ready()
