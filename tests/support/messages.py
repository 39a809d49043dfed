"""Messages as they stand on the wire: facts in batches, a sound fact with something changed, and the hash it
is parked by."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from shared.bus.boundary import Delivery, open_delivery
from shared.bus.frames import RawDelivery
from shared.bus.topology import user_name
from shared.bus.wire import BATCH_CONTENT_TYPE, Batch, Message, from_message, lane_of
from shared.events.ids import new_id
from tests.support.raw_amqp import ORDER, Field, property_list, short, table, text_headers

FACT: dict[str, Any] = {
    "specversion": "1.0",
    "source": "/onestop/approval",
    "type": "onestop.approval.step-passed.v1",
    "subject": "330106261123000017X",
    "time": "2026-11-23T02:00:00+00:00",
    "sequence": "1",
}
BODY = b'{"step": "verify"}'

WIDTH = dict(zip(b"tbBsuIifldTDV", (1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 5, 0), strict=True))
"""Field type -> octets, for those that have no length before them."""


def batch_message(facts: Sequence[Mapping[str, Any]]) -> Message:
    """Stored facts of one speaker and lane as a relay packs them, be it only one."""
    [speaker] = {fact["source"].removeprefix("/onestop/") for fact in facts}
    [lane] = {lane_of(fact["subject"]) for fact in facts}
    batch = Batch(speaker, lane)
    for fact in facts:
        batch.add(fact["type"], json.dumps(fact, ensure_ascii=False).encode())
    return batch.message()


def facts_in(headers: Mapping[str, str], content_type: str | None, body: bytes) -> list[dict[str, Any]]:
    """The stored facts of a message in either form."""
    if content_type == BATCH_CONTENT_TYPE:
        found: list[dict[str, Any]] = json.loads(body)
        return found
    return [from_message(headers, content_type, body)]


def delivery_of(message: Message) -> Delivery:
    """A message as its reader gets it."""
    assert message.content_type is not None
    properties = {
        "content-type": short(message.content_type.encode()),
        "headers": table(text_headers(message.headers)),
        "user-id": short(user_name(message.routing_key.split(".")[1]).encode()),
    }
    body = message.body
    return open_delivery(RawDelivery(1, False, b"key", property_list(properties), len(body), body))


def headers(**changed: str) -> dict[str, str]:
    """Those of a sound fact, under an id of its own, with some of them changed."""
    fact = FACT | {"id": str(new_id())} | changed
    return {f"ce-{name}": value for name, value in fact.items()}


def sound(*more: Field, **changed: str) -> dict[str, bytes]:
    """The properties of a sound fact, with some headers changed or added."""
    return {
        "content-type": short(b"application/json"),
        "headers": table([*text_headers(headers(**changed)), *more]),
        "delivery-mode": b"\2",
        "user-id": short(user_name("approval").encode()),
    }


def hash_of(properties: Mapping[str, bytes], body: bytes) -> str:
    """SHA-256 over the body, then name and value of each property, then the headers by name but for the
    broker's count, each part with its length before it."""
    sha256 = hashlib.sha256(body)
    prefix = {"headers": 4, "delivery-mode": 0, "priority": 0, "timestamp": 0}
    parts: list[bytes] = []
    for name in ORDER:
        if name in properties and name != "headers":
            parts += [name.encode(), properties[name][prefix.get(name, 1) :]]
    for value in [*parts, *_sorted_fields(properties.get("headers", b"\0\0\0\0")[4:])]:
        sha256.update(struct.pack(">I", len(value)) + value)
    return sha256.hexdigest()


def _sorted_fields(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        name, kind, raw = raw[1 : 1 + raw[0]], raw[1 + raw[0] : 2 + raw[0]], raw[2 + raw[0] :]
        begin, end = 0, WIDTH.get(kind[0], 0)
        if kind in b"SxFA":
            begin, end = 4, 4 + int.from_bytes(raw[:4], "big")
        if name != b"x-delivery-count":
            found.append((name, kind, raw[begin:end]))
        raw = raw[end:]
    return [part for field in sorted(found) for part in field]
