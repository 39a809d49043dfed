"""Whatever bytes a broker can carry: what is no fact is set aside, and what stands behind it is handled."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from deploy.postgres import PostgresServer
from deploy.rabbitmq import RabbitNode
from shared.bus.topology import EXCHANGE, queue_name
from shared.settings import Settings
from tests.integration.bus.history import (
    BrokerLine,
    History,
    Listening,
    Stage,
    listening,
    make_stage,
    open_line,
)
from tests.support.installation import make_installation
from tests.support.messages import BODY, FACT, WIDTH, hash_of, headers, sound
from tests.support.raw_amqp import (
    ORDER,
    RawPublisher,
    array,
    long,
    property_list,
    short,
    table,
    text_headers,
)
from tests.support.trouble import drop, show, trouble_of


@dataclass(slots=True)
class Hostile:
    """A service that listens, and a publisher who writes what it likes."""

    stage: Stage
    publisher: RawPublisher
    line: BrokerLine
    inbox: Listening

    def send(self, properties: Mapping[str, bytes], body: bytes, routing_key: bytes | None = None) -> bool:
        """One message; False when the broker does not carry it. With a routing key, by the exchange."""
        key, exchange = (routing_key, EXCHANGE) if routing_key else (queue_name("notify").encode(), "")
        carried = self.publisher.publish([(property_list(properties), body)], key, exchange)
        self.line.sent += carried
        return carried

    def check_that_a_sound_fact_is_handled(self) -> None:
        """A first fact about a case of its own, sent now."""
        number, facts = self.stage.new_case()
        self.line.send(facts[:1])
        self.line.take()
        assert self.stage.outcome(number)

    def set_aside(self, sha256: str) -> bool:
        """Whether something is parked under this hash."""
        found = "SELECT count(*) FROM notify.undecodable WHERE sha256 = :hash AND state = 'parked'"
        return bool(self.stage.installation.value(found, hash=sha256) == 1)


@pytest.fixture(scope="module")
def hostile(
    postgres: PostgresServer,
    rabbitmq: RabbitNode,
    template_settings: Settings,
    history: History,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hostile]:
    """One notify that lives through all of it."""
    folder = tmp_path_factory.mktemp("hostile")
    with make_installation(postgres, template_settings, folder, rabbitmq.url) as made:
        stage = make_stage(made, "notify", history)
        publisher = RawPublisher(rabbitmq.admin_url)
        inbox = listening(made, "notify")
        with open_line(made, "notify", inbox) as line:
            assert isinstance(line, BrokerLine)
            yield Hostile(stage, publisher, line, inbox)
        publisher.close()


NOT_UTF8 = b"caf\xe9"
TEXTUAL = [
    name
    for name in ORDER
    # These are no text, or the broker itself looks at them.
    if name not in ("headers", "delivery-mode", "priority", "timestamp", "expiration", "user-id")
]
YEAR_10000 = struct.pack(">Q", 253_402_300_800)

CARRIED: dict[str, tuple[dict[str, bytes], bytes]] = {
    "no JSON": (sound(), b"\xff\xfe no JSON at all"),
    "no object": (sound(), b"[1, 2]"),
    "nothing": (sound(), b""),
    "too deep": (sound(), b'{"a":' * 50_000),
    "not a number": (sound(), b'{"facts": NaN}'),
    "infinite": (sound(), b'{"facts": 1e999}'),
    "half a character": (sound(), b'{"step": "\\ud800"}'),
    "a zero byte": (sound(), b'{"step": "a\\u0000b"}'),
    "a sequence out of range": (sound(sequence="99999999999"), BODY),
    "a sequence in words": (sound(sequence="two"), BODY),
    "a sequence in full width": (sound(sequence="１"), BODY),
    "a sequence with a sign": (sound(sequence="+1"), BODY),
    "no id": (sound(id="not a UUID"), BODY),
    "an id as URN": (sound(id="urn:uuid:018f5a2e-7c00-7000-8000-000000000001"), BODY),
    "an id in full width": (sound(id="０18f5a2e-7c00-7000-8000-000000000001"), BODY),
    "an id in capitals": (sound(id="018F5A2E-7C00-7000-8000-000000000001"), BODY),
    "an id in braces": (sound(id="{018f5a2e-7c00-7000-8000-000000000001}"), BODY),
    "an unknown type under an id as URN": (
        sound(type="onestop.approval.unheard-of.v1", id="urn:uuid:018f5a2e-7c00-7000-8000-000000000001"),
        BODY,
    ),
    "an unknown type under an id in full width": (
        sound(type="onestop.approval.unheard-of.v1", id="０18f5a2e-7c00-7000-8000-000000000001"),
        BODY,
    ),
    "an unknown type with a sequence in full width": (
        sound(type="onestop.approval.unheard-of.v1", sequence="１"),
        BODY,
    ),
    "a type of many lines": (sound(type="onestop.approval.x\ny.v1"), BODY),
    "a cause that is no id": (sound(causationid="urn:uuid:018f5a2e-7c00-7000-8000-000000000001"), BODY),
    "a trace that is none": (sound(traceparent="somebody's name"), BODY),
    "a zero byte in the case": (sound(subject="a\x00b"), BODY),
    "a name in the case": (sound(subject="张三"), BODY),
    "no time": (sound(time="yesterday"), BODY),
    "a time without a zone": (sound(time="2026-11-23T02:00:00"), BODY),
    "a time at the end of the calendar": (sound(time="9999-12-31T23:59:59-14:00"), BODY),
    "somebody else's": (sound(source="https://example.org"), BODY),
    "without headers": ({"content-type": short(b"application/json")}, BODY),
    "without properties": ({}, BODY),
    "without an id": (
        sound() | {"headers": table(text_headers({n: v for n, v in headers().items() if n != "ce-id"}))},
        BODY,
    ),
    "a header that is no text": (sound((b"ce-sequence", b"I", b"\0\0\0\1")), BODY),
    "a header of the year 10000": (sound((b"at", b"T", YEAR_10000)), BODY),
    "a header of 2^63 seconds": (sound((b"at", b"T", struct.pack(">Q", 2**63))), BODY),
    "the year 10000 in a table": (sound((b"a", b"F", table([(b"b", b"T", YEAR_10000)]))), BODY),
    "the year 10000 in an array": (sound((b"a", b"A", array([(b"T", YEAR_10000)]))), BODY),
    **{f"a {name} that is not UTF-8": (sound() | {name: short(NOT_UTF8)}, BODY) for name in TEXTUAL},
    "half a surrogate": (
        sound() | {"content-encoding": short(b"unicode_escape")},
        b'{"step": "\\ud800"}',
    ),
    "another encoding": (sound() | {"content-encoding": short(b"gzip")}, BODY),
    "no batch": (sound() | {"content-type": short(b"application/cloudevents-batch+json")}, BODY),
    "an empty batch": (sound() | {"content-type": short(b"application/cloudevents-batch+json")}, b"[]"),
}


@pytest.mark.parametrize("what", CARRIED)
def test_it_is_parked_under_its_hash_and_what_stands_behind_it_is_handled(
    hostile: Hostile, what: str
) -> None:
    properties, body = CARRIED[what]
    context = hostile.stage.installation.context("notify")

    sha256 = hash_of(properties, body)
    counted = "SELECT sum(count) FROM notify.undecodable_counts"
    before = hostile.stage.installation.value(counted) or 0

    assert hostile.send(properties, body)
    assert hostile.send(properties, body)
    hostile.check_that_a_sound_fact_is_handled()

    [row] = hostile.stage.installation.rows(
        "SELECT * FROM notify.undecodable WHERE sha256 = :hash", hash=sha256
    )
    assert hostile.stage.installation.value(counted) == before + 2
    assert (row.size, row.times, row.state) == (len(body), 2, "parked")
    assert not body or body not in bytes(row.sealed)
    opened = {
        column: context.vault.open_bytes(blob, table="undecodable", row=row.sha256, column=column)
        for column, blob in (("sealed", row.sealed), ("sealed_properties", row.sealed_properties))
    }
    assert opened == {"sealed": body, "sealed_properties": property_list(properties)}
    assert {"body", "properties"} <= show(context, f"notify.message.{row.sha256}").keys()
    drop(context, f"notify.message.{row.sha256}")
    assert trouble_of(context) == []


def test_a_routing_key_that_is_not_utf8(hostile: Hostile) -> None:
    properties = sound()
    assert hostile.send(properties, BODY, b"onestop.approval." + NOT_UTF8)
    hostile.check_that_a_sound_fact_is_handled()
    assert hostile.set_aside(hash_of(properties, BODY))


def sized(least: int, most: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=least, max_size=most)


# Every field type that RabbitMQ knows; it makes "l" of "L".
OCTETS = {kind: sized(width, width) for kind, width in WIDTH.items()} | {
    # What the broker would not carry, or not as it was written.
    ord("t"): st.sampled_from([b"\0", b"\1"]),
    ord("f"): st.floats(width=32, allow_nan=False, allow_infinity=False).map(struct.Struct(">f").pack),
    ord("d"): st.floats(allow_nan=False, allow_infinity=False).map(struct.Struct(">d").pack),
}
PLAIN = [st.tuples(st.just(bytes((kind,))), octets) for kind, octets in OCTETS.items()]
LONG = [
    st.tuples(st.just(b"S"), (sized(0, 40) | st.text(max_size=20).map(str.encode)).map(long)),
    st.tuples(st.just(b"x"), sized(0, 40).map(long)),
]
NAMES = sized(0, 20) | st.sampled_from([f"ce-{name}".encode() for name in FACT] + [b"x-delivery-count"])


def nested(values: SearchStrategy[tuple[bytes, bytes]]) -> SearchStrategy[tuple[bytes, bytes]]:
    fields = st.lists(st.tuples(NAMES, values).map(lambda field: (field[0], *field[1])), max_size=4)
    return st.one_of(
        st.tuples(st.just(b"F"), fields.map(table)),
        st.tuples(st.just(b"A"), st.lists(values, max_size=4).map(array)),
    )


VALUES = st.recursive(st.one_of(*PLAIN, *LONG), nested, max_leaves=8)
FIELDS = st.lists(st.tuples(NAMES, VALUES).map(lambda field: (field[0], *field[1])), max_size=6)
TEXTS = sized(0, 40) | st.sampled_from(
    [b"", NOT_UTF8, b"application/json", b"utf-8", b"unicode_escape", b"\0"]
)
PARTS: dict[str, SearchStrategy[bytes]] = dict.fromkeys(ORDER, TEXTS.map(short)) | {
    "headers": FIELDS.map(table),
    "priority": sized(1, 1),
    "timestamp": sized(8, 8),
    # What the broker itself looks at.
    "delivery-mode": st.sampled_from([b"\1", b"\2"]),
    "expiration": st.integers(10**6, 10**9).map(lambda ms: short(str(ms).encode())),
    "user-id": st.just(short(b"onestop")),
}
BODIES = st.one_of(
    st.just(BODY),
    sized(0, 300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=10,
    ).map(lambda found: json.dumps(found).encode()),
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[dict[str, bytes], bytes]:
    """A sound fact of which some properties are anything, or anything from the start."""
    properties = sound(*draw(st.lists(st.nothing()) | FIELDS)) if draw(st.booleans()) else {}
    for name in draw(st.lists(st.sampled_from(ORDER), max_size=5, unique=True)):
        properties[name] = draw(PARTS[name])
    return properties, draw(BODIES)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(message=messages())
def test_anything_a_broker_carries_is_handled_or_parked_and_never_in_the_way(
    hostile: Hostile, message: tuple[dict[str, bytes], bytes]
) -> None:
    properties, body = message
    hostile.inbox.forget()

    assert hostile.send(properties, body)
    hostile.check_that_a_sound_fact_is_handled()

    read = len(hostile.inbox.read) - 1
    assert read + hostile.set_aside(hash_of(properties, body)) == 1
    event(f"read: {read}")
