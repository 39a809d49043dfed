"""Messages as no client library would send them: properties are written to the socket byte by byte."""

from collections.abc import Iterable, Mapping, Sequence
from struct import pack
from typing import Any

import amqp
import kombu

Field = tuple[bytes, bytes, bytes]
"""A header: name, field type, and the value as it stands on the wire, with its length where it has one."""

ORDER = (
    "content-type",
    "content-encoding",
    "headers",
    "delivery-mode",
    "priority",
    "correlation-id",
    "reply-to",
    "expiration",
    "message-id",
    "timestamp",
    "type",
    "user-id",
    "app-id",
    "cluster-id",
)
"""All properties of AMQP 0-9-1, in the order of their flags."""

_PIECE = 100_000


def short(value: bytes) -> bytes:
    """A short string."""
    return bytes((len(value),)) + value


def long(value: bytes) -> bytes:
    """A long string."""
    return pack(">I", len(value)) + value


def table(fields: Sequence[Field]) -> bytes:
    """A field table."""
    return long(b"".join(short(name) + kind + value for name, kind, value in fields))


def array(items: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A field array of (field type, value)."""
    return long(b"".join(kind + value for kind, value in items))


def text_headers(headers: Mapping[str, str]) -> list[Field]:
    """Headers as a CloudEvent has them."""
    return [(name.encode(), b"S", long(value.encode())) for name, value in headers.items()]


def property_list(parts: Mapping[str, bytes]) -> bytes:
    """Property flags and property list; each part as it stands on the wire."""
    flags = sum(1 << (15 - n) for n, name in enumerate(ORDER) if name in parts)
    return pack(">H", flags) + b"".join(parts[name] for name in ORDER if name in parts)


def deliver_frames(
    properties: bytes,
    body: bytes,
    *,
    tag: int,
    channel: int = 1,
    redelivered: bool = False,
    routing_key: bytes = b"key",
    piece: int = _PIECE,
) -> list[tuple[int, int, bytes]]:
    """The frames of a Basic.Deliver: frame type, channel, payload."""
    arguments = short(b"consumer") + pack(">QB", tag, redelivered) + short(b"exchange") + short(routing_key)
    method = pack(">HH", 60, 60) + arguments
    return [(kind, channel, payload) for kind, payload in _frames(method, properties, body, piece)]


def _frames(method: bytes, properties: bytes, body: bytes, piece: int) -> list[tuple[int, bytes]]:
    header = pack(">HHQ", 60, 0, len(body)) + properties
    return [(1, method), (2, header), *((3, body[n : n + piece]) for n in range(0, len(body), piece))]


class RawPublisher:
    """One connection to a broker, opened again when the broker refused something and closed it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._channel: Any = None
        self._next_tag = 1
        self._open: set[int] = set()
        self._refused = False

    def publish(
        self, messages: Iterable[tuple[bytes, bytes]], routing_key: bytes, exchange: str = ""
    ) -> bool:
        """Publish (property list, body) each, and wait for the confirms; False when the broker does not carry
        such messages."""
        self._refused = False
        try:
            channel = self._connect()
            for properties, body in messages:
                self._open.add(self._next_tag)
                self._next_tag += 1
                self._write(channel.channel_id, exchange.encode(), routing_key, properties, body)
            while self._open and not self._refused:
                self._connection.drain_events(timeout=30)
        except (OSError, amqp.AMQPError):
            self._refused = True
        if self._refused:
            self.close()
        return not self._refused

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()

    def _connect(self) -> Any:
        if self._connection is None:
            self._connection = kombu.Connection(self._url)
            self._channel = self._connection.default_channel
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._next_tag = 1
            self._open.clear()
        return self._channel

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._open = {
            tag for tag in self._open if tag > delivery_tag or (tag < delivery_tag and not multiple)
        }

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._refused = True

    def _write(self, channel: int, exchange: bytes, key: bytes, properties: bytes, body: bytes) -> None:
        write = self._connection.connection.transport.write
        method = pack(">HHH", 60, 40, 0) + short(exchange) + short(key) + b"\0"
        for kind, payload in _frames(method, properties, body, _PIECE):
            write(pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")
