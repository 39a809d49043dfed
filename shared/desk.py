"""Builds the desk of one service in one process: engine, vault, hints, published matters."""

from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from shared.bus.hints import Hints
from shared.bus.tables import BusTables
from shared.catalogue.published import Published
from shared.clock import read_clock
from shared.db.engine import engine_for
from shared.db.transaction import transaction
from shared.db.unit import Desk
from shared.privacy.keys import KeyState, WrappedKey
from shared.privacy.secret_files import MASTER_KEY, load_secret
from shared.privacy.vault import Vault
from shared.settings import Settings


def app_role(service: str) -> str:
    """The role that a running service uses: its own schema, no DDL."""
    return f"onestop_{service}_app"


def owner_role(service: str) -> str:
    """The role that owns a service's schema and runs its migrations."""
    return f"onestop_{service}_owner"


@dataclass(frozen=True, slots=True)
class DataKeyTable:
    """The wrapped data keys of a service, in its own schema."""

    engine: Engine
    tables: BusTables

    def load(self, service: str) -> list[WrappedKey]:
        """All keys, oldest first."""
        table = self.tables.data_keys
        with transaction(self.engine, "keys.load") as connection:
            rows = connection.execute(
                select(table.c.key_id, table.c.wrapped, table.c.state).order_by(table.c.key_id)
            )
            return [WrappedKey(row.key_id, bytes(row.wrapped), KeyState(row.state)) for row in rows]

    def add(self, service: str, key: WrappedKey) -> None:
        """Keep a new key."""
        with transaction(self.engine, "keys.add") as connection:
            connection.execute(
                insert(self.tables.data_keys).values(
                    key_id=key.key_id,
                    wrapped=key.wrapped,
                    state=key.state,
                    created_at=read_clock(connection).wall,
                )
            )


def build_desk(settings: Settings, service: str, tables: BusTables, *, people_wait: bool = False) -> Desk:
    """The desk of `service`. Nothing connects before the first use.

    `people_wait` is for processes that answer requests: dead pooled connections are replaced beforehand.
    """
    role = app_role(service)
    engine = engine_for(settings, role, pre_ping=people_wait)
    # Listening and hinting each hold a connection for good; they must not take it from the work.
    hints = Hints(engine_for(settings, role, pool_size=2))
    vault = Vault(service, load_secret(settings, MASTER_KEY), DataKeyTable(engine, tables))
    return Desk(service, engine, tables, hints, vault, Published(engine))
