"""Where bytes become facts. Whatever a broker can carry, nothing here raises: what cannot be read is told as
`Undecoded`, under its hash and with a reason that holds nothing of it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from amqp.serialization import decode_properties_basic

from shared.bus import wire
from shared.bus.frames import RawDelivery
from shared.bus.properties import take_apart
from shared.bus.topology import user_name
from shared.bus.wire import Undecodable, Unreadable
from shared.events.fact import Event

_DELIVERY_COUNT = "x-delivery-count"
_CE = "ce-"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Undecoded:
    """Bytes that are no fact of ours.

    `size` is the body's in bytes; `body` is None where it was too large to be kept.
    """

    reason: str
    size: int
    body: bytes | None
    properties: bytes
    _digest: Callable[[], str] = field(repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """In hexadecimal digits: of a whole message over its body and then its properties, without the
        broker's own delivery count, so that it is the same over repetitions; of one element of a batch over
        that element. It costs more than the reading, and of a flood only a sample is asked for it."""
        return self._digest()

    @classmethod
    def message(cls, raw: RawDelivery, reason: str) -> "Undecoded":
        """A whole one."""
        return cls(reason, raw.size, raw.body, raw.properties, partial(_message_digest, raw))

    @classmethod
    def element(cls, element: object, reason: str, properties: bytes = b"") -> "Undecoded":
        """One that stood among others."""
        body = json.dumps(element, sort_keys=True).encode()
        return cls(reason, len(body), body, properties, lambda: hashlib.sha256(body).hexdigest())

    @classmethod
    def stored(cls, element: str, reason: str) -> "Undecoded":
        """One that lay in a table, as JSON text that nothing here can take apart."""
        body = element.encode()
        return cls(reason, len(body), body, b"", lambda: hashlib.sha256(body).hexdigest())


Read = Event | Unreadable | Undecoded
"""What one fact of a message turned out to be."""


@dataclass(slots=True)
class Delivery:
    """One message: what can be said of it unopened, and, once asked for, the facts in it.

    `types` are those that it names itself, which need not be true of what it holds; `deliveries` is how often
    it was delivered before.
    """

    raw: RawDelivery
    types: frozenset[str]
    deliveries: int
    _properties: dict[str, Any] | None = field(default=None, repr=False)
    _found: list[Read] | None = field(default=None, repr=False)

    def facts(self) -> list[Read]:
        """The facts in the order in which they stand there; at least one entry."""
        if self._found is None:
            found = _guarded(lambda: _read(self.raw, self._properties))
            self._found = (
                [Undecoded.message(self.raw, str(found))] if isinstance(found, Undecodable) else found
            )
        return self._found


def open_delivery(raw: RawDelivery) -> Delivery:
    """A delivery with what its properties say; one whose properties say nothing is a fact of no type."""
    found = _guarded(lambda: _from_properties(raw))
    if isinstance(found, Undecodable):
        lost = Undecoded.message(raw, str(found))
        return Delivery(raw, frozenset(), deliveries=int(raw.redelivered), _found=[lost])
    return found


def read_stored(element: str) -> Read:
    """One fact as a table of ours holds it, in JSON text: who wrote it there was never asked what it is."""
    found = _guarded(lambda: _read_json(_from_text(element)))
    if not isinstance(found, Undecodable):
        return found
    told = _guarded(lambda: Undecoded.element(json.loads(element), str(found)))
    return Undecoded.stored(element, str(found)) if isinstance(told, Undecodable) else told


def _from_text(element: str) -> dict[str, Any]:
    found, is_plain = wire.read_text(element)
    return wire.from_element(found, is_plain=is_plain)


def _guarded(read: Callable[[], _T]) -> _T | Undecodable:
    try:
        return read()
    except Undecodable as error:
        return error
    except Exception as error:
        # The one place that takes everything: a mistake in reading costs one message instead of the service.
        return Undecodable(f"message: {type(error).__name__}")


def _from_properties(raw: RawDelivery) -> Delivery:
    properties = _decoded(raw)
    headers = properties.get("application_headers", {})
    name = wire.TYPES_HEADER if properties.get("content_type") == wire.BATCH_CONTENT_TYPE else "ce-type"
    types = str(headers.get(name, ""))
    return Delivery(raw, frozenset(types.split(",")), _delivered_before(raw, headers), properties)


def _decoded(raw: RawDelivery) -> dict[str, Any]:
    """What a common client cannot decode was not sent by one of ours."""
    properties, _ = decode_properties_basic(raw.properties, 0)
    raw.routing_key.decode()
    found: dict[str, Any] = properties
    return found


def _delivered_before(raw: RawDelivery, headers: dict[Any, Any]) -> int:
    """The broker's count. On a first delivery whoever published may have written anything there."""
    if not raw.redelivered:
        return 0
    count = headers.get(_DELIVERY_COUNT)
    return max(1, count) if isinstance(count, int) else 1


def _read(raw: RawDelivery, decoded: dict[str, Any] | None) -> list[Read]:
    if raw.body is None:
        raise Undecodable("message: larger than what is kept")
    properties = _decoded(raw) if decoded is None else decoded
    if properties.get("content_encoding", "utf-8").lower() != "utf-8":
        raise Undecodable("properties: content-encoding")
    content_type, user = properties.get("content_type"), properties.get("user_id")
    if content_type == wire.BATCH_CONTENT_TYPE:
        elements, is_plain = wire.from_batch_body(raw.body)
        return [_read_element(raw, user, element, is_plain) for element in elements]
    headers = properties.get("application_headers", {})
    return [_event(wire.from_message(_ce_headers(headers), content_type, raw.body), user)]


def _ce_headers(headers: dict[Any, Any]) -> dict[str, str]:
    found = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not name.lower().startswith(_CE):
            continue
        if not isinstance(value, str):
            raise Undecodable("headers: not a text")
        found[name.lower()] = value
    return found


def _read_element(raw: RawDelivery, user: str | None, element: object, is_plain: bool) -> Read:
    found = _guarded(lambda: _event(wire.from_element(element, is_plain=is_plain), user))
    if not isinstance(found, Undecodable):
        return found
    return Undecoded.element(element, str(found), raw.properties)


def _event(stored: dict[str, Any], user: str | None) -> Event | Unreadable:
    """`user` is the user-id, which the broker has compared with the log-in: a service speaks for itself."""
    if user != user_name(wire.speaker_of(stored)):
        raise Undecodable("forged: the user-id is not the speaker's")
    return _read_json(stored)


def _read_json(stored: dict[str, Any]) -> Event | Unreadable:
    try:
        return wire.from_json(stored)
    except Unreadable as unreadable:
        return unreadable


def _message_digest(raw: RawDelivery) -> str:
    sha256 = hashlib.sha256(raw.body) if raw.body is not None else raw.sha256
    assert sha256 is not None
    sha256 = sha256.copy()
    for part in _lasting(raw.properties):
        sha256.update(len(part).to_bytes(4, "big") + part)
    return sha256.hexdigest()


def _lasting(raw: bytes) -> list[bytes]:
    """The properties in parts that are the same at each delivery: the broker counts in a header, and sorts
    the table when it does."""
    found = _guarded(lambda: take_apart(raw))
    if isinstance(found, Undecodable):
        return [raw]
    plain = [(name.encode(), value) for name, value in found.values.items() if name != "headers"]
    headers = sorted(h for h in found.headers if h.name != _DELIVERY_COUNT.encode())
    parts = [*plain, *((h.name, bytes((h.kind,)), h.value) for h in headers)]
    return [value for part in parts for value in part]
