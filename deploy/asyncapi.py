"""The AsyncAPI 3 document: what each service says, who hears it, and what each consumer does about it."""

from collections.abc import Callable
from typing import Any

from deploy.services import SERVICES, part, subscriptions
from shared.bus.handlers import handlers_of
from shared.bus.topology import (
    EXCHANGE,
    PUBLIC_BYTES,
    PUBLIC_EXCHANGE,
    PUBLIC_FACTS,
    queue_arguments,
    queue_name,
    routing_pattern,
)
from shared.bus.wire import BATCH_CONTENT_TYPE, BATCH_FACTS, LANES, TYPES_HEADER
from shared.events import Fact, fact_classes

_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0, binary mode of the AMQP 0-9-1 binding",
    "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "ce-sequence"],
    "properties": {
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "format": "uuid", "description": "UUIDv7; the same over repetitions"},
        "ce-source": {"type": "string", "description": "/onestop/<service>"},
        "ce-type": {"type": "string", "description": "also the routing key"},
        "ce-subject": {"type": "string", "maxLength": 50, "description": "case number"},
        "ce-time": {"type": "string", "format": "date-time", "description": "on the legal clock"},
        "ce-sequence": {
            "type": "string",
            "pattern": "^[1-9][0-9]*$",
            "description": "counts the facts of one service about one case, without gaps",
        },
        "ce-causationid": {
            "type": "string",
            "format": "uuid",
            "description": "the fact that led here",
        },
        "ce-correlationid": {
            "type": "string",
            "format": "uuid",
            "description": "the first of the chain",
        },
        "ce-traceparent": {"type": "string", "description": "W3C trace context"},
        "ce-follows": {
            "type": "string",
            "format": "uuid",
            "description": "the fact that the service said before it about the case",
        },
    },
}

_PUBLIC = "public-queue"
_BATCH = "onestop.batch"
_BATCH_MESSAGE = {
    "name": _BATCH,
    "title": "Batch",
    "summary": "Many facts of one service in one message, in order; facts of one case go by one lane.",
    "contentType": BATCH_CONTENT_TYPE,
    "headers": {
        "type": "object",
        "properties": {
            TYPES_HEADER: {"type": "string", "description": "the types in it, joined by commas"},
        },
    },
    "payload": {
        "type": "array",
        "minItems": 1,
        "maxItems": BATCH_FACTS,
        "items": {
            "type": "object",
            "description": "CloudEvents 1.0, JSON format: the attributes of a fact alone, without `ce-`",
            "required": [*(name.removeprefix("ce-") for name in _HEADERS["required"]), "data"],
        },
    },
}


def asyncapi_document() -> dict[str, Any]:
    """The document as a JSON object. The same code gives the same document."""
    facts = fact_classes()
    operations: dict[str, Any] = {}
    for service in SERVICES:
        operations |= _operations(service, [fact for fact in facts if fact.speaker == service])
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "onestop events",
            "version": "1",
            "description": "No name, ID number, phone, address or free text stands in any event.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            **{_said(service): _exchange_channel(service, facts) for service in SERVICES},
            **{_heard(service): _queue_channel(service, facts) for service in SERVICES},
            _PUBLIC: _public_channel(facts),
        },
        "operations": {**operations, "public.says": _public_operation(facts)},
        "components": {
            "messages": {**{fact.type: _message(fact) for fact in facts}, _BATCH: _BATCH_MESSAGE},
            "schemas": {name: schema for fact in facts for name, schema in sorted(_parts(fact).items())},
            "messageTraits": {"cloudEvent": {"headers": _HEADERS}},
        },
    }


def _operations(service: str, said: list[type[Fact]]) -> dict[str, Any]:
    heard = _heard(service)
    return {
        f"{service}.says": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{_said(service)}"},
            "messages": [_in_channel(_said(service), fact.type) for fact in said],
        },
        **{
            f"{service}.{command.__name__}": {
                "action": "receive",
                "summary": _in_one_line(command.__doc__),
                "channel": {"$ref": f"#/channels/{heard}"},
                "messages": [_in_channel(heard, type_) for type_ in types],
            }
            for command, types in _by_command(service)
        },
    }


def _by_command(service: str) -> list[tuple[Callable[..., None], list[str]]]:
    """What a worker does, each with the types of facts for which it does it."""
    found: dict[str, tuple[Callable[..., None], list[str]]] = {}
    for type_, handler in sorted(handlers_of(part(service, "worker").Worker).items()):
        found.setdefault(handler.command.__name__, (handler.command, []))[1].append(type_)
    return list(found.values())


def _exchange_channel(service: str, facts: list[type[Fact]]) -> dict[str, Any]:
    return {
        "address": routing_pattern(service),
        "description": f"Every fact that {service} says.",
        "messages": _messages(fact for fact in facts if fact.speaker == service),
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "bindingVersion": "0.3.0",
                "exchange": {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False},
            }
        },
    }


def _queue_channel(service: str, facts: list[type[Fact]]) -> dict[str, Any]:
    speakers = subscriptions()[service]
    arguments = ", ".join(f"{name}={value}" for name, value in queue_arguments().items())
    return {
        "address": queue_name(service),
        "description": (
            f"All facts of {', '.join(speakers)}, one by one or in batches with the key "
            f"onestop.<service>.batch.<lane> (lanes 0 to {LANES - 1}). Facts without a handler only move the "
            f"gate on. {arguments}"
        ),
        "messages": {
            **_messages(fact for fact in facts if fact.speaker in speakers),
            _BATCH: {"$ref": f"#/components/messages/{_BATCH}"},
        },
        "bindings": {
            "amqp": {
                "is": "queue",
                "bindingVersion": "0.3.0",
                "queue": {
                    "name": queue_name(service),
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                },
            }
        },
    }


def _public_operation(facts: list[type[Fact]]) -> dict[str, Any]:
    return {
        "action": "send",
        "summary": "Single facts for foreign subscribers, each at least once.",
        "channel": {"$ref": f"#/channels/{_PUBLIC}"},
        "messages": [_in_channel(_PUBLIC, fact.type) for fact in facts],
    }


def _public_channel(facts: list[type[Fact]]) -> dict[str, Any]:
    return {
        "address": f"{PUBLIC_EXCHANGE}.{{subscriber}}",
        "parameters": {"subscriber": {"description": "as `onestop subscribers add` was told"}},
        "description": (
            "The queue of a foreign subscriber: from its registration on single facts in binary mode, of the "
            "services and types that it is registered for, at least once, those of a service about a case in "
            "order. What comes twice bears the same id and source. A queue that is not read holds up nobody: "
            f"at {PUBLIC_FACTS:,} facts or {PUBLIC_BYTES // 1024**2} MiB the oldest are dropped, which shows "
            "as a gap in ce-sequence. Log in as onestop-public-<subscriber>, declare nothing, consume this "
            "queue and acknowledge."
        ),
        "messages": _messages(facts),
        "bindings": {
            "amqp": {
                "is": "queue",
                "bindingVersion": "0.3.0",
                "queue": {
                    "name": f"{PUBLIC_EXCHANGE}.{{subscriber}}",
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                },
            }
        },
    }


def _messages(facts: Any) -> dict[str, Any]:
    return {fact.type: {"$ref": f"#/components/messages/{fact.type}"} for fact in facts}


def _schema(fact: type[Fact]) -> dict[str, Any]:
    return fact.model_json_schema(ref_template="#/components/schemas/{model}")


def _parts(fact: type[Fact]) -> dict[str, Any]:
    """What a payload is made of and refers to, by name."""
    found: dict[str, Any] = _schema(fact).get("$defs", {})
    return found


def _message(fact: type[Fact]) -> dict[str, Any]:
    schema = _schema(fact)
    schema.pop("$defs", None)
    return {
        "name": fact.type,
        "title": fact.__name__,
        "summary": _in_one_line(fact.__doc__),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {key: value for key, value in schema.items() if key not in ("title", "description")},
    }


def _in_channel(channel: str, type_: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{type_}"}


def _said(service: str) -> str:
    return f"{service}-facts"


def _heard(service: str) -> str:
    return f"{service}-queue"


def _in_one_line(docstring: str | None) -> str:
    """Python 3.13 takes the indentation out of docstrings, earlier ones leave it in."""
    return " ".join((docstring or "").split())
