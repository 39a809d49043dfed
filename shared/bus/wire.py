"""An event on the wire: CloudEvents 1.0 as one JSON object, alone in the binary mode of the AMQP 0-9-1
binding, or with others in a JSON batch."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from operator import itemgetter
from typing import Any
from uuid import UUID

from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary, to_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import TypeAdapter, ValidationError

from shared.events.fact import Event, UnknownFactType, fact_class

BATCH_CONTENT_TYPE = "application/cloudevents-batch+json"
TYPES_HEADER = "onestop-types"
"""Stands beside a batch and names the types in it, so that a consumer knows unopened whether it is urgent."""
BATCH_FACTS = 100
BATCH_BYTES = 96_000
LANES = 16

_FORMAT = JSONFormat()
_SOURCE = "/onestop/"
_NO_OBJECT = "body: not a JSON object"
_LARGEST_SEQUENCE = 2**31 - 1
_DEEPEST = 100
"""How deep a fact may be nested: what runs out of stack depends on who reads it, and how far down."""

# What becomes a key, a column or a word in a log line is written in one way only, so that nothing is read
# here that PostgreSQL refuses and no fact goes by two names.
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEQUENCE = re.compile(r"[1-9][0-9]{0,9}")
_SPEAKER = re.compile(r"/onestop/[a-z][a-z-]{0,39}")
_TYPE = re.compile(r"[a-z][a-z0-9.-]{0,199}")
_CASE = re.compile(r"[!-~]{1,50}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TIME = re.compile(r"[0-9T:.Z+-]{1,40}")
_OTHERS = {"causationid": _ID, "correlationid": _ID, "traceparent": _TRACEPARENT, "follows": _ID}
FORMS = {
    "specversion": re.compile(r"1\.0"),
    "id": _ID,
    "source": _SPEAKER,
    "type": _TYPE,
    "subject": _CASE,
    "time": _TIME,
    "sequence": _SEQUENCE,
}
"""How each required word of an envelope is written; PostgreSQL reads these patterns too."""
_READ = ("id", "source", "type", "subject", "sequence", "time")
_ENVELOPE = re.compile(
    "\n".join(
        [*(FORMS[name].pattern for name in _READ), *(f"(?:{form.pattern})?" for form in _OTHERS.values())]
    )
)
"""All that is read of an envelope, a line each; none of its words holds an end of line."""

_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""In JSON text: the character zero, or half of a surrogate pair, alone or not."""

_read_of = itemgetter(*_READ)
_uuid = TypeAdapter(UUID).validator.validate_python


class Undecodable(ValueError):
    """Bytes that are no event of ours. The text names what is wrong and never what stood there."""


class Unreadable(ValueError):
    """An event whose envelope is sound and whose payload this release cannot read.

    `event` holds the envelope as JSON object, `reason` a code: `unknown-type` or `schema-invalid:…`.
    """

    def __init__(self, event: dict[str, Any], reason: str) -> None:
        super().__init__(reason)
        self.event = event
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Message:
    """An AMQP message with one fact or many of one speaker, and the routing key it goes by; `id` is the
    message-id of one."""

    routing_key: str
    headers: dict[str, str]
    content_type: str | None
    body: bytes
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A fact that is to go out, as the outbox holds it: case and type of it, and all of it as JSON text."""

    case: str
    type: str
    event: str


def to_json(event: Event) -> dict[str, Any]:
    """The event as a CloudEvents JSON object (structured mode), as outbox and inbox store it."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": _SOURCE + event.speaker,
        "type": event.type,
        "subject": event.case,
        "time": event.time.isoformat(),
        "sequence": str(event.sequence),
        "datacontenttype": "application/json",
    }
    for name, value in zip(
        _OTHERS, (event.causation, event.correlation, event.traceparent, event.follows), strict=True
    ):
        if value is not None:
            attributes[name] = str(value)
    attributes["data"] = event.fact.model_dump(mode="json")
    return attributes


def speaker_of(stored: dict[str, Any]) -> str:
    """Who says it, by its source. Raises Undecodable."""
    return _attribute(stored, "source", _SPEAKER).removeprefix(_SOURCE)


def from_json(stored: dict[str, Any]) -> Event:
    """Read a stored JSON object. Raises Undecodable or Unreadable."""
    _check_envelope(stored)
    speaker, type_ = stored["source"].removeprefix(_SOURCE), stored["type"]
    causation, correlation, traceparent, follows = map(stored.get, _OTHERS)
    sequence, time = _sequence(stored["sequence"]), _time(stored["time"])
    try:
        cls = fact_class(type_)
        if cls.speaker != speaker:
            raise Unreadable(stored, "schema-invalid: source and type name different services")
        fact = cls.model_validate(stored.get("data"))
    except UnknownFactType:
        raise Unreadable(stored, "unknown-type") from None
    except ValidationError as error:
        # Only which of our fields and what kind: pydantic's text repeats the input, its places the keys.
        places = dict.fromkeys(f"/{e['loc'][0] if e['loc'] else ''} {e['type']}" for e in error.errors())
        where = ", ".join(list(places)[:3])
        raise Unreadable(stored, f"schema-invalid: {where}"[:300]) from None
    return Event(
        id=_uuid(stored["id"]),
        speaker=speaker,
        type=type_,
        case=stored["subject"],
        sequence=sequence,
        time=time,
        fact=fact,
        causation=causation and _uuid(causation),
        correlation=correlation and _uuid(correlation),
        traceparent=traceparent,
        follows=follows and _uuid(follows),
    )


def to_message(stored: dict[str, Any]) -> Message:
    """One stored event alone: in binary mode, with headers `ce-*`."""
    attributes = {k: v for k, v in stored.items() if k != "data"}
    attributes["time"] = datetime.fromisoformat(stored["time"])
    made = to_binary(CloudEvent(attributes, stored["data"]), _FORMAT)
    return Message(stored["type"], made.headers, made.content_type, made.body, stored["id"])


def from_message(headers: Mapping[str, str], content_type: str | None, body: bytes) -> dict[str, Any]:
    """The stored form of an AMQP message in binary mode. Raises Undecodable when it is no CloudEvent with a
    JSON object; what is read can be stored."""
    # The library makes up an id and a time where there is none, and of a flood it would read all for nothing.
    for name, pattern in FORMS.items():
        if not pattern.fullmatch(headers.get(f"ce-{name}", "")):
            raise Undecodable(f"envelope: {name}")
    if not body.lstrip().startswith(b"{"):
        raise Undecodable(_NO_OBJECT)
    try:
        event = from_binary(RabbitMQMessage(dict(headers), content_type, body), _FORMAT)
        attributes = dict(event.get_attributes())
        attributes["time"] = attributes["time"].isoformat()
    except (BaseCloudEventException, ValueError, OverflowError, RecursionError) as error:
        raise Undecodable(f"message: {type(error).__name__}") from None
    return _storable({**attributes, "data": event.get_data()})


def lane_of(case: str) -> int:
    """The lane of a case; facts of one case go by one lane, in order."""
    return zlib.crc32(case.encode()) % LANES


def to_messages(speaker: str, facts: Sequence[Said]) -> Iterator[Message]:
    """The messages by which facts of a speaker go out, those of a case in the order given.

    A fact that is the only one goes alone, so that it costs its readers nothing to open; several go in
    batches, lane by lane. One that is too large for a batch goes alone too.
    """
    if len(facts) == 1:
        yield to_message(json.loads(facts[0].event))
        return
    open_: dict[int, Batch] = {}
    for fact in facts:
        lane, element = lane_of(fact.case), fact.event.encode()
        batch = open_.get(lane)
        if batch is not None and not batch.takes(element):
            yield open_.pop(lane).message()
            batch = None
        if len(element) + len(b"[]") > BATCH_BYTES:
            yield to_message(json.loads(fact.event))
            continue
        if batch is None:
            batch = open_[lane] = Batch(speaker, lane)
        batch.add(fact.type, element)
    for batch in open_.values():
        yield batch.message()


@dataclass(slots=True)
class Batch:
    """A batch message in the making; its elements, each a fact as JSON, are put together as they stand."""

    speaker: str
    lane: int
    elements: list[bytes] = field(default_factory=list)
    types: set[str] = field(default_factory=set)
    size: int = len(b"[]")

    def takes(self, element: bytes) -> bool:
        """Whether there is room for one more."""
        return len(self.elements) < BATCH_FACTS and self.size + len(b",") + len(element) <= BATCH_BYTES

    def add(self, type_: str, element: bytes) -> None:
        """Put one more at the end."""
        self.size += len(element) + (len(b",") if self.elements else 0)
        self.elements.append(element)
        self.types.add(type_)

    def message(self) -> Message:
        """What was put together."""
        body = b"[" + b",".join(self.elements) + b"]"
        headers = {TYPES_HEADER: ",".join(sorted(self.types))}
        key = f"onestop.{self.speaker}.batch.{self.lane}"
        return Message(key, headers, BATCH_CONTENT_TYPE, body)


def from_batch_body(body: bytes) -> tuple[list[Any], bool]:
    """The elements of a JSON batch, of which each is still to be read by `from_element`, and what `read_text`
    says of them. Raises Undecodable when there are none, or more than BATCH_FACTS."""
    try:
        found, is_plain = read_text(body.decode())
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"batch: {type(error).__name__}") from None
    if not isinstance(found, list) or not 1 <= len(found) <= BATCH_FACTS:
        raise Undecodable("batch: not a list of facts")
    return found, is_plain


def read_text(text: str) -> tuple[Any, bool]:
    """What a JSON text holds, and whether it is plain: nothing in it can be what PostgreSQL's jsonb refuses,
    so that no element need be looked at for that. Raises ValueError and RecursionError."""
    try:
        found = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except _NotFinite:
        return json.loads(text), False
    return found, _SUSPECT.search(text) is None


def from_element(element: Any, *, is_plain: bool = False) -> dict[str, Any]:
    """The stored form of one element of a batch. Raises Undecodable when it is no CloudEvent with a JSON
    object; what is read can be stored."""
    if not isinstance(element, dict) or element.get("specversion") != "1.0":
        raise Undecodable("envelope: specversion")
    return _with_data(element) if is_plain else _storable(element)


def _storable(stored: dict[str, Any]) -> dict[str, Any]:
    """Raises Undecodable for what JSON allows and PostgreSQL's jsonb refuses: NaN, half a surrogate pair,
    the character zero."""
    _with_data(stored)
    try:
        text = json.dumps(stored, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"body: {type(error).__name__}") from None
    if "\\u0000" in text.replace("\\\\", ""):
        raise Undecodable("body: holds the character zero")
    return stored


def _with_data(stored: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(stored.get("data"), dict):
        raise Undecodable(_NO_OBJECT)
    if _is_deeper(stored, _DEEPEST):
        raise Undecodable("body: nested too deep")
    return stored


def _is_deeper(value: Any, levels: int) -> bool:
    if levels == 0:
        return True
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list) and _is_deeper(inner, levels - 1):
            return True
    return False


def _finite(number: str) -> float:
    found = float(number)
    if not isfinite(found):
        raise _NotFinite
    return found


class _NotFinite(Exception):
    """No number that JSON knows, or one that is too large to be one here."""


def _check_envelope(stored: Mapping[str, Any]) -> None:
    """Raises Undecodable for the first word of it that is not written as it must be."""
    others = [stored.get(name) for name in _OTHERS]
    # All at once: asked one by one this took half of the reading of a fact.
    with suppress(KeyError, TypeError):
        lines = "\n".join([*_read_of(stored), *("" if one is None else one for one in others)])
        if _ENVELOPE.fullmatch(lines) and "" not in others:
            return
    for name in _READ:
        _attribute(stored, name, FORMS[name])
    for (name, form), found in zip(_OTHERS.items(), others, strict=True):
        if found is not None:
            _attribute(stored, name, form)


def _attribute(stored: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    found = stored.get(name)
    if not isinstance(found, str) or not pattern.fullmatch(found):
        raise Undecodable(f"envelope: {name}")
    return found


def _sequence(text: str) -> int:
    found = int(text)
    if found > _LARGEST_SEQUENCE:
        raise Undecodable("envelope: sequence")
    return found


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        # At the ends of the calendar a moment may have no name in UTC.
        found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Undecodable("envelope: time") from None
    if found.tzinfo is None:
        raise Undecodable("envelope: time")
    return found
