"""The property list of AMQP 0-9-1 in its parts, as bytes: where each property and header begins and ends.

Nothing is decoded, so nothing can be undecodable; what cannot be taken apart raises ValueError.
"""

from dataclasses import dataclass
from struct import Struct

_FLAGS = Struct(">H")
_LENGTH = Struct(">I")

# In the order of their flags, from the highest bit; how long each is: a length octet before it (0), a table
# with its length before it (None), or so many octets.
_PROPERTIES: tuple[tuple[str, int | None], ...] = (
    ("content-type", 0),
    ("content-encoding", 0),
    ("headers", None),
    ("delivery-mode", 1),
    ("priority", 1),
    ("correlation-id", 0),
    ("reply-to", 0),
    ("expiration", 0),
    ("message-id", 0),
    ("timestamp", 8),
    ("type", 0),
    ("user-id", 0),
    ("app-id", 0),
    ("cluster-id", 0),
)
_UNUSED_FLAGS = 0b11

# https://www.rabbitmq.com/amqp-0-9-1-errata#section_3; None: a length of four octets comes before it.
_FIELD_BYTES: dict[int, int | None] = {
    **dict.fromkeys(b"V", 0),
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"sUu", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"D", 5),
    **dict.fromkeys(b"lLdT", 8),
    **dict.fromkeys(b"SxFA", None),
}


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """One header: name, field type, and the value without its type and length."""

    name: bytes
    kind: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Properties:
    """`values` holds what is present, by the names that AMQP 0-9-1 gives, `headers` the fields of the table
    in their order, names twice where they stand twice."""

    values: dict[str, bytes]
    headers: list[Field]


def take_apart(raw: bytes) -> Properties:
    """The parts of property flags and property list. Raises ValueError when they do not fit together."""
    rest = _Rest(raw)
    (flags,) = _FLAGS.unpack(rest.take(_FLAGS.size))
    if flags & _UNUSED_FLAGS:
        raise ValueError("flags that AMQP 0-9-1 does not use")
    found = Properties({}, [])
    for n, (name, length) in enumerate(_PROPERTIES):
        if not flags & 1 << (15 - n):
            continue
        if length is None:
            value = rest.take_long()
            found.headers.extend(_fields(value))
        else:
            value = rest.take(length) if length else rest.take_short()
        found.values[name] = value
    if rest.left:
        raise ValueError("more than the flags announce")
    return found


def _fields(table: bytes) -> list[Field]:
    """The fields of a table; what is nested in one stays as it is."""
    rest = _Rest(table)
    found = []
    while rest.left:
        name = rest.take_short()
        (kind,) = rest.take(1)
        if kind not in _FIELD_BYTES:
            raise ValueError("a field type that AMQP 0-9-1 does not have")
        length = _FIELD_BYTES[kind]
        found.append(Field(name, kind, rest.take_long() if length is None else rest.take(length)))
    return found


class _Rest:
    """Bytes that are taken from the front."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._raw) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("cut short")
        self._at += count
        return self._raw[self._at - count : self._at]

    def take_short(self) -> bytes:
        (length,) = self.take(1)
        return self.take(length)

    def take_long(self) -> bytes:
        (length,) = _LENGTH.unpack(self.take(_LENGTH.size))
        return self.take(length)
