"""An event on the wire: CloudEvents 1.0, binary mode of the AMQP 0-9-1 binding, and the same as one JSON
object."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary, to_binary
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from shared.events.fact import Event, UnknownFactType, fact_class

_FORMAT = JSONFormat()
_SOURCE = "/onestop/"
_LARGEST_SEQUENCE = 2**31 - 1
_EXTENSIONS = ("causationid", "correlationid", "traceparent", "follows")
_NO_EVENT = (BaseCloudEventException, KeyError, TypeError, ValueError, AttributeError, RecursionError)


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
        _EXTENSIONS, (event.causation, event.correlation, event.traceparent, event.follows), strict=True
    ):
        if value is not None:
            attributes[name] = str(value)
    attributes["data"] = event.fact.model_dump(mode="json")
    return attributes


def from_json(stored: dict[str, Any]) -> Event:
    """Read a stored JSON object. Raises Undecodable or Unreadable."""
    try:
        speaker = stored["source"].removeprefix(_SOURCE)
        envelope = {
            "id": UUID(stored["id"]),
            "speaker": speaker,
            "type": stored["type"],
            "case": stored["subject"],
            "sequence": int(stored["sequence"]),
            "time": datetime.fromisoformat(stored["time"]),
            "causation": _uuid(stored.get("causationid")),
            "correlation": _uuid(stored.get("correlationid")),
            "traceparent": stored.get("traceparent"),
            "follows": _uuid(stored.get("follows")),
        }
        known = 1 <= envelope["sequence"] <= _LARGEST_SEQUENCE and envelope["time"].tzinfo is not None
        known = known and stored["source"].startswith(_SOURCE) and 0 < len(envelope["case"]) <= 50
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Undecodable(f"envelope: {type(error).__name__}") from None
    if not known:
        raise Undecodable("envelope: an attribute is outside its range")
    try:
        cls = fact_class(stored["type"])
        if cls.speaker != speaker:
            raise Unreadable(stored, "schema-invalid: source and type name different services")
        return Event(fact=cls.model_validate(stored.get("data")), **envelope)
    except UnknownFactType:
        raise Unreadable(stored, "unknown-type") from None
    except ValidationError as error:
        # Only which of our fields and what kind: pydantic's text repeats the input, its places the keys.
        places = dict.fromkeys(f"/{e['loc'][0] if e['loc'] else ''} {e['type']}" for e in error.errors())
        where = ", ".join(list(places)[:3])
        raise Unreadable(stored, f"schema-invalid: {where}"[:300]) from None


def to_message(stored: dict[str, Any]) -> RabbitMQMessage:
    """The AMQP message (headers `ce-*`, content type, body) of a stored event."""
    attributes = {k: v for k, v in stored.items() if k != "data"}
    attributes["time"] = datetime.fromisoformat(stored["time"])
    return to_binary(CloudEvent(attributes, stored["data"]), _FORMAT)


def from_message(headers: dict[str, Any], content_type: str | None, body: bytes) -> dict[str, Any]:
    """The stored form of an AMQP message. Raises Undecodable when it is no CloudEvent with JSON data."""
    try:
        event = from_binary(RabbitMQMessage(headers, content_type, body), _FORMAT)
        attributes = dict(event.get_attributes())
        data = event.get_data()
        attributes["time"] = attributes["time"].isoformat()
        if not isinstance(data, dict):
            raise Undecodable("body: not a JSON object")
        return _storable({**attributes, "data": data})
    except (
        BaseCloudEventException,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        if isinstance(error, Undecodable):
            raise
        raise Undecodable(f"message: {type(error).__name__}") from None


def _storable(stored: dict[str, Any]) -> dict[str, Any]:
    """Round-trip through JSON, so that nothing is stored that could not be handed on. Raises ValueError for
    what JSON allows and PostgreSQL's jsonb refuses: NaN, half a surrogate pair, the character zero."""
    text = json.dumps(stored, ensure_ascii=False, allow_nan=False)
    text.encode()
    if "\\u0000" in text.replace("\\\\", ""):
        raise Undecodable("body: holds the character zero")
    found: dict[str, Any] = json.loads(text)
    return found


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
