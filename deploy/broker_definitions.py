"""Who may do what at the broker, as RabbitMQ imports it when it boots (`load_definitions`).

A service configures nothing, publishes to the exchange of facts under its own routing keys, and reads its own
queue. Without a topic permission a user may use every routing key, so each service has one; the keys that a
message names in CC and BCC headers are checked by no broker before 4.0, so consumers look at the user-id too,
which the broker has always compared with the log-in.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.bus.topology import EXCHANGE, queue_name, user_name
from shared.privacy.secret_files import MIGRATE

NOTHING = "^$"


def definitions(
    password_hashes: Mapping[str, str], services: Sequence[str], vhost: str = "/"
) -> dict[str, Any]:
    """The definitions for one virtual host; `password_hashes` by owner: the services, and `migrate`."""
    admin = {"user": user_name(MIGRATE), "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(owner, password_hashes[owner]) for owner in (*services, MIGRATE)],
        "permissions": [admin, *(_permission(service, vhost) for service in services)],
        "topic_permissions": [_topic_permission(service, vhost) for service in services],
    }


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
        "write": f"^{re.escape(EXCHANGE)}$",
        "read": f"^{re.escape(queue_name(service))}$",
    }


def _topic_permission(service: str, vhost: str) -> dict[str, str]:
    own_keys = "^" + re.escape(f"onestop.{service}.")
    return {
        "user": user_name(service),
        "vhost": vhost,
        "exchange": EXCHANGE,
        "write": own_keys,
        "read": NOTHING,
    }
