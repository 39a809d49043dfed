"""Foreign subscribers: who outside gets single facts over the broker, each from a queue of its own.

They stand in the database, where every service's relay sees them in the statement that it makes anyway. The
broker knows each by a user that reads its own queue and may do nothing else.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from deploy.broker_definitions import public_owner
from deploy.errors import PlaceUnusable, SubscriberExists, SubscriberUnknown
from deploy.password_hashes import broker_hash
from deploy.secret_files import keep_foreign_hash
from shared.bus.topology import declare_public_queue, delete_public_queue, routing_pattern, user_name
from shared.db.transaction import transaction
from shared.durable import make_private_file


@dataclass(frozen=True, slots=True)
class PublicSubscriber:
    """Who gets every fact of these services, and those of these types, from `since` on."""

    name: str
    services: Sequence[str]
    types: Sequence[str]
    since: datetime

    @property
    def user(self) -> str:
        """As whom it logs in at the broker."""
        return broker_user(self.name)


def broker_user(subscriber: str) -> str:
    """As whom a foreign subscriber logs in at the broker."""
    return user_name(public_owner(subscriber))


def public_subscribers(engine: Engine) -> list[PublicSubscriber]:
    """All that are registered, by name."""
    with transaction(engine, "subscribers.look") as connection:
        rows = connection.execute(
            text("SELECT name, services, types, since FROM onestop.public_subscribers ORDER BY name")
        )
        return [PublicSubscriber(*row) for row in rows]


def public_bindings(engine: Engine) -> dict[str, list[str]]:
    """Foreign subscriber -> the binding keys of its queue."""
    return {one.name: binding_keys(one.services, one.types) for one in public_subscribers(engine)}


def binding_keys(services: Sequence[str], types: Sequence[str]) -> list[str]:
    """AMQP binding keys; the routing key of a fact is its type."""
    return [*map(routing_pattern, services), *types]


def add_subscriber(
    engine: Engine,
    url: str,
    secrets_dir: Path,
    password_file: Path,
    name: str,
    services: Sequence[str],
    types: Sequence[str],
) -> None:
    """Register, declare the queue, and make a user whose password stands in a new 0600 file and nowhere else.

    What is said after this is published for it. Killed in the middle nobody is registered: give the command
    again, with another file. Raises SubscriberExists, PlaceUnusable and BrokerUnavailable.
    """
    with transaction(engine, "subscribers.add") as connection:
        # First, so that of two at once one waits here for the other.
        _insert(connection, name, services, types)
        declare_public_queue(url, name, binding_keys(services, types))
        password = secrets.token_urlsafe(32)
        if not make_private_file(password_file, lambda: password + "\n"):
            raise PlaceUnusable(
                f"{password_file} 已存在", f"{password_file} is there already: choose another --password-file"
            )
        keep_foreign_hash(secrets_dir, name, broker_hash(password))


def remove_subscriber(engine: Engine, url: str, secrets_dir: Path, name: str) -> None:
    """End the registration and take the queue away, with all in it. The broker forgets the user when it is
    told. Raises SubscriberUnknown and BrokerUnavailable."""
    with transaction(engine, "subscribers.remove") as connection:
        known = connection.execute(
            text("DELETE FROM onestop.public_subscribers WHERE name = :name RETURNING 1"), {"name": name}
        ).first()
        if known is None:
            raise SubscriberUnknown(detail_en=f"{name}: `onestop subscribers list` shows those that are")
        delete_public_queue(url, name)
        keep_foreign_hash(secrets_dir, name, None)


def _insert(connection: Connection, name: str, services: Sequence[str], types: Sequence[str]) -> None:
    inserted = connection.execute(
        text(
            "INSERT INTO onestop.public_subscribers (name, services, types, since) "
            "VALUES (:name, :services, :types, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING 1"
        ),
        {"name": name, "services": list(services), "types": list(types)},
    ).first()
    if inserted is None:
        raise SubscriberExists(detail_en=f"{name}: remove it first, or choose another name")
