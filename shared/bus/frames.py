"""Deliveries as bytes: a frame handler for py-amqp that decodes nothing of what a publisher wrote.

py-amqp's own decodes routing key and properties while it reads the socket. What it cannot decode costs the
connection; the broker then delivers the same message again, and nothing behind it is ever handled. This one
keeps the bytes, whatever they are; `boundary` reads them. A body above LARGEST_BYTES is hashed as it passes
by and never held.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

from amqp.exceptions import UnexpectedFrame
from amqp.method_framing import frame_handler
from amqp.transport import TCPTransport
from kombu.transport import pyamqp

LARGEST_BYTES = 1_000_000
"""The largest body that is kept; a batch holds 96 kB, a fact a few."""

Frame = tuple[int, int, bytes]
"""Frame type, channel, payload."""

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_BASIC_DELIVER = Struct(">HH").pack(60, 60)
_TAG_AND_BITS = Struct(">QB")
_BODY_SIZE = Struct(">Q")
# Class id, weight and body size come before the property flags.
_BODY_SIZE_AT, _PROPERTIES_AT = 4, 12


_READ_BYTES = 8192


class _ReadingAhead(TCPTransport):  # type: ignore[misc]
    """Takes what the socket has; py-amqp's own asks it three times a frame, nine times a delivery."""

    def _setup_transport(self) -> None:
        super()._setup_transport()
        receive = self.sock.recv
        # What is more than was asked for stays in the buffer from which the next frames are read.
        self._quick_recv = lambda count: receive(max(count, _READ_BYTES))


def _is_ahead(transport: Any) -> bool:
    """A frame, or a part of one, was received and not handled yet."""
    return bool(transport._read_buffer)


class _Connection(pyamqp.Connection):  # type: ignore[misc]
    def drain_events(self, timeout: float | None = None) -> None:
        """Handle one event and all that came with it. Raises TimeoutError when nothing comes."""
        transport = self.transport
        with transport.having_timeout(timeout):
            while not self.on_inbound_frame(transport.read_frame()) or _is_ahead(transport):
                continue

    def Transport(
        self, host: str, connect_timeout: float, ssl: Any = False, *timeouts: float | None, **options: Any
    ) -> Any:
        if ssl:
            return super().Transport(host, connect_timeout, ssl, *timeouts, **options)
        return _ReadingAhead(host, connect_timeout, *timeouts, **options)


class ReadingTransport(pyamqp.Transport):  # type: ignore[misc]
    """What kombu takes as `transport` of a connection that reads much."""

    Connection = _Connection


@dataclass(frozen=True, slots=True)
class RawDelivery:
    """One Basic.Deliver with its content.

    `properties` are the property flags and the property list; `size` is the body's in bytes. `body` is None
    where it is larger than LARGEST_BYTES; `sha256` is then the hash object that has seen it all.
    """

    tag: int
    redelivered: bool
    routing_key: bytes
    properties: bytes
    size: int
    body: bytes | None
    sha256: "hashlib._Hash | None" = None


def raw_frame_handler(
    on_delivery: Callable[[RawDelivery], None], *, on_dropped: Callable[[], None]
) -> Callable[[Any, Callable[..., None]], Callable[[Frame], bool]]:
    """What py-amqp takes as `frame_handler`: deliveries go to `on_delivery`, all other methods their usual
    way; `on_dropped` is called for each piece of a body that is too large to keep. A frame out of its place
    raises UnexpectedFrame, which costs the connection: it is the broker's mistake."""

    def make(connection: Any, callback: Callable[..., None]) -> Callable[[Frame], bool]:
        usual = frame_handler(connection, callback)
        arriving: dict[int, _Arriving] = {}

        def on_frame(frame: Frame) -> bool:
            kind, channel, payload = frame
            if kind == _METHOD and payload.startswith(_BASIC_DELIVER) and channel not in arriving:
                arriving[channel] = _Arriving(payload)
            elif kind == _HEARTBEAT or channel not in arriving:
                return bool(usual(frame))
            elif arriving[channel].take(kind, payload):
                on_delivery(arriving.pop(channel).delivery())
            elif arriving[channel].is_dropped:
                on_dropped()
            # The heartbeat counts what is received.
            connection.bytes_recv += 1
            # The reader looks up after each delivery, and in the midst of one that is large.
            return channel not in arriving or arriving[channel].is_dropped

        return on_frame

    return make


class _Arriving:
    """A delivery of which not all frames are here."""

    def __init__(self, method: bytes) -> None:
        at = 4 + 1 + method[4]
        self._tag, bits = _TAG_AND_BITS.unpack_from(method, at)
        self._redelivered = bool(bits & 1)
        at += _TAG_AND_BITS.size
        at += 1 + method[at]
        self._routing_key = method[at + 1 : at + 1 + method[at]]
        self._properties: bytes | None = None
        self._size = 0
        self._received = 0
        self._chunks: list[bytes] = []
        self._sha256: hashlib._Hash | None = None

    @property
    def is_dropped(self) -> bool:
        """Its body is hashed and not held."""
        return self._sha256 is not None

    def take(self, kind: int, payload: bytes) -> bool:
        """One more frame; True when that was the last."""
        if kind == _HEADER and self._properties is None:
            (self._size,) = _BODY_SIZE.unpack_from(payload, _BODY_SIZE_AT)
            self._properties = payload[_PROPERTIES_AT:]
            if self._size > LARGEST_BYTES:
                self._sha256 = hashlib.sha256()
        elif kind == _BODY and self._properties is not None:
            self._received += len(payload)
            if self._sha256 is not None:
                self._sha256.update(payload)
            else:
                self._chunks.append(payload)
        else:
            raise UnexpectedFrame(f"frame type {kind} in the midst of a delivery")
        return self._received >= self._size

    def delivery(self) -> RawDelivery:
        assert self._properties is not None
        body = b"".join(self._chunks) if self._sha256 is None else None
        return RawDelivery(
            self._tag,
            self._redelivered,
            self._routing_key,
            self._properties,
            self._size,
            body,
            self._sha256,
        )
