"""Builds what a process hands to a service: engine, vault, hints, published matters."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from shared.ask import Asker
from shared.bus.context import ServiceContext
from shared.bus.exclusion import Exclusion
from shared.bus.hints import Hints
from shared.catalogue.published import Published
from shared.clock import read_clock
from shared.db.engine import engine_for
from shared.db.roles import app_role
from shared.db.transaction import transaction
from shared.privacy.keys import KeyState, WrappedKey
from shared.privacy.secret_files import MASTER_KEY, load_secret
from shared.privacy.vault import Vault
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class DataKeyTable:
    """The wrapped data keys of a service, in its own schema."""

    engine: Engine

    def load(self, service: str) -> list[WrappedKey]:
        """All keys, oldest first."""
        with transaction(self.engine, "keys.load") as connection:
            rows = connection.execute(
                text(f"SELECT key_id, wrapped, state FROM {service}.data_keys ORDER BY key_id")
            )
            return [WrappedKey(row.key_id, bytes(row.wrapped), KeyState(row.state)) for row in rows]

    def add(self, service: str, key: WrappedKey) -> None:
        """Keep a new key, unless there is one with its id."""
        with transaction(self.engine, "keys.add") as connection:
            connection.execute(
                text(
                    f"INSERT INTO {service}.data_keys VALUES (:key_id, :wrapped, :state, :created_at) "
                    "ON CONFLICT (key_id) DO NOTHING"
                ),
                {
                    "key_id": key.key_id,
                    "wrapped": key.wrapped,
                    "state": key.state,
                    "created_at": read_clock(connection).wall,
                },
            )


def build_context(
    settings: Settings,
    service: str,
    asker: Asker | None = None,
    *,
    exclusion: Exclusion | None = None,
    people_wait: bool = False,
) -> ServiceContext:
    """The context of `service` in this process. Nothing connects before the first use.

    `asker` asks in the service's name; the default one asks over HTTP only. `exclusion` is the process's,
    where it holds several services. `people_wait` is for processes that answer requests: dead pooled
    connections are replaced beforehand.
    """
    role = app_role(service)
    engine = engine_for(settings, role, people_wait=people_wait)
    return ServiceContext(
        service=service,
        settings=settings,
        engine=engine,
        # Listening and hinting each hold a connection for good; they must not take it from the work.
        hints=Hints(engine_for(settings, role, pool_size=2)),
        vault=Vault(service, load_secret(settings, service, MASTER_KEY), DataKeyTable(engine)),
        matters=Published(engine),
        asker=asker or Asker(settings, service, {}, {}),
        exclusion=exclusion or Exclusion(),
    )
