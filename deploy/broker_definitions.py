"""Who may do what at the broker, as RabbitMQ imports it when it boots (`load_definitions`).

A service configures nothing, publishes to the exchanges of facts under its own routing keys, and reads its
own queue; a foreign subscriber reads its own queue and may do nothing else. Without a topic permission a user
may use every routing key, so each service has one; the keys that a message names in CC and BCC headers are
checked by no broker before 4.0, so consumers look at the user-id too, which the broker has always compared
with the log-in.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.bus.topology import EXCHANGE, PUBLIC_EXCHANGE, public_name, queue_name, user_name
from shared.privacy.secret_files import MIGRATE

NOTHING = "^$"
FOREIGN_LIMITS = {"max-connections": 4, "max-channels": 16}
"""Of one foreign subscriber: enough to read one queue, too few to take the broker's memory."""


def definitions(
    password_hashes: Mapping[str, str],
    services: Sequence[str],
    vhost: str = "/",
    foreign: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The definitions for one virtual host; `password_hashes` by owner: the services, and `migrate`;
    `foreign`: those of foreign subscribers."""
    foreign = foreign or {}
    admin = {"user": user_name(MIGRATE), "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": vhost}],
        "users": [
            *(_user(owner, password_hashes[owner]) for owner in (*services, MIGRATE)),
            *(
                {**_user(public_owner(name), password_hash), "limits": FOREIGN_LIMITS}
                for name, password_hash in sorted(foreign.items())
            ),
        ],
        "permissions": [
            admin,
            *(_permission(service, vhost) for service in services),
            *(_foreign_permission(name, vhost) for name in sorted(foreign)),
        ],
        "topic_permissions": [
            _topic_permission(service, exchange, vhost)
            for service in services
            for exchange in (EXCHANGE, PUBLIC_EXCHANGE)
        ],
    }


def public_owner(subscriber: str) -> str:
    """Under which name a foreign subscriber has its user."""
    return f"public-{subscriber}"


def _user(owner: str, password_hash: str) -> dict[str, Any]:
    return {
        "name": user_name(owner),
        "password_hash": password_hash,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": [],
    }


def _permission(service: str, vhost: str) -> dict[str, str]:
    return {
        "user": user_name(service),
        "vhost": vhost,
        "configure": NOTHING,
        "write": f"^({re.escape(EXCHANGE)}|{re.escape(PUBLIC_EXCHANGE)})$",
        "read": f"^{re.escape(queue_name(service))}$",
    }


def _foreign_permission(subscriber: str, vhost: str) -> dict[str, str]:
    return {
        "user": user_name(public_owner(subscriber)),
        "vhost": vhost,
        "configure": NOTHING,
        "write": NOTHING,
        "read": f"^{re.escape(public_name(subscriber))}$",
    }


def _topic_permission(service: str, exchange: str, vhost: str) -> dict[str, str]:
    own_keys = "^" + re.escape(f"onestop.{service}.")
    return {
        "user": user_name(service),
        "vhost": vhost,
        "exchange": exchange,
        "write": own_keys,
        "read": NOTHING,
    }
