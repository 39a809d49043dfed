"""What a service that somebody took over may put among the facts: each must be set aside under its hash, and
none be believed or in the way."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pika
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from deploy.services import SERVICES, subscriptions
from shared.bus.frames import LARGEST_BYTES
from shared.bus.topology import EXCHANGE, PARK_QUEUE, broker_url, user_name
from shared.bus.wire import BATCH_CONTENT_TYPE, TYPES_HEADER
from shared.db.engine import database_url, engine_for
from shared.db.roles import app_role
from shared.settings import Settings
from tests.support.messages import FACT, hash_of, sound
from tests.support.raw_amqp import RawPublisher, long, property_list, short, table, text_headers

Parts = dict[str, bytes]
_NOT_UTF8 = b"caf\xe9"
_YEAR_10000 = (253_402_300_800).to_bytes(8, "big")
_URN = "urn:uuid:018f5a2e-7c00-7000-8000-000000000001"
_DECISION = "onestop.approval.case-decided.v1"

_SPOILT: Mapping[str, Callable[..., Parts]] = {
    "no object": sound,
    "a header of the year 10000": partial(sound, (b"at", b"T", _YEAR_10000)),
    "the same, nested": partial(sound, (b"a", b"F", table([(b"at", b"T", _YEAR_10000)]))),
    "a header that is no text": partial(sound, (b"ce-trace", b"x", long(_NOT_UTF8))),
    "an id as URN": partial(sound, id=_URN),
    "an unknown type under such an id": partial(sound, id=_URN, type="onestop.approval.unheard-of.v1"),
    "a message id that is not UTF-8": lambda **its: sound(**its) | {"message-id": short(_NOT_UTF8)},
    "a content type that is not UTF-8": lambda **its: sound(**its) | {"content-type": short(_NOT_UTF8)},
    "half a surrogate": lambda **its: sound(**its) | {"content-encoding": short(b"unicode_escape")},
    "no properties": lambda **_: {},
    "a batch that is none": lambda **_: {"content-type": short(BATCH_CONTENT_TYPE.encode())},
}
"""Properties, given the source; under a body that is no JSON and like no other."""


@dataclass(slots=True)
class Hostile:
    """Sends them, and knows by hash and service what must be found there. The large ones end in the park
    queue besides."""

    attempted: set[tuple[str, str]] = field(default_factory=set)
    """The broker may have taken one without saying so."""
    confirmed: set[tuple[str, str]] = field(default_factory=set)
    large: set[bytes] = field(default_factory=set)

    def send(self, settings: Settings, chance: random.Random) -> None:
        """One of each kind, in the name of one service, to all who hear it."""
        speaker = chance.choice(SERVICES)
        hearing = [service for service, heard in subscriptions().items() if speaker in heard]
        url = broker_url(settings, speaker)
        if url is None:
            self._deliver(settings, speaker, hearing, chance)
        else:
            self._publish(settings, speaker, hearing, chance, url)

    def _publish(
        self, settings: Settings, speaker: str, hearing: Sequence[str], chance: random.Random, url: str
    ) -> None:
        publisher = RawPublisher(url)
        try:
            for parts, body, hashes in self._messages(settings, speaker, chance):
                found = {(sha256, service) for sha256 in hashes for service in hearing}
                self.attempted |= found
                key = f"onestop.{speaker}.hostile.v1".encode()
                if publisher.publish([(property_list(parts), body)], key, EXCHANGE):
                    self.confirmed |= found
        finally:
            publisher.close()

    def _deliver(
        self, settings: Settings, speaker: str, hearing: Sequence[str], chance: random.Random
    ) -> None:
        """Through the door in the database, which lets a service speak for itself only."""
        bad = _elements(speaker, chance)
        facts = [*_some_facts(settings, speaker), *bad]
        chance.shuffle(facts)
        engine = engine_for(settings, app_role(speaker), pool_size=0)
        for service in hearing:
            found = {(_hash_of_element(one), service) for one in bad}
            self.attempted |= found
            with engine.begin() as connection:
                connection.execute(
                    text(f"SELECT {service}.deliver(CAST(:body AS jsonb))"),
                    {"body": json.dumps({"received_at": "2026-11-23T00:00:00Z", "events": facts})},
                )
            self.confirmed |= found

    def forget(self, service: str) -> None:
        """What was not yet taken out of its queue is gone with it."""
        self.confirmed = {found for found in self.confirmed if found[1] != service}

    def collect(self, url: str) -> None:
        """Take what is ours out of the park queue; what is not stays and is found there."""
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            channel = connection.channel()
            while (found := channel.basic_get(PARK_QUEUE))[0] is not None:
                if hashlib.sha256(found[2]).digest() in self.large:
                    channel.basic_ack(found[0].delivery_tag)
        finally:
            connection.close()

    def _messages(
        self, settings: Settings, speaker: str, chance: random.Random
    ) -> list[tuple[Parts, bytes, Sequence[str]]]:
        """Properties, body, and the hashes under which they are set aside."""
        source = f"/onestop/{speaker}"
        user = {"user-id": short(user_name(speaker).encode())}

        def junk() -> bytes:
            return b"{%d" % chance.getrandbits(64)

        alone = [(parts(source=source) | user, junk()) for parts in _SPOILT.values()]
        other = chance.choice([service for service in SERVICES if service != speaker])
        decided = sound(source="/onestop/approval", type=_DECISION, subject=_some_case(settings))
        if speaker != "approval":
            alone.append((decided | user, b'{"outcome": "approved", "n": %d}' % chance.getrandbits(64)))
        alone.append((sound(source=f"/onestop/{other}") | user, b'{"n": %d}' % chance.getrandbits(64)))
        nameless = sound(source=source)
        del nameless["user-id"]
        alone.append((nameless, b'{"n": %d}' % chance.getrandbits(64)))
        large = junk().ljust(LARGEST_BYTES + chance.randrange(1, 1_000_000))
        self.large.add(hashlib.sha256(large).digest())
        alone.append((sound(source=source) | user, large))
        found: list[tuple[Parts, bytes, Sequence[str]]] = [
            (parts, body, [hash_of(parts, body)]) for parts, body in alone
        ]
        return [*found, _batch(settings, speaker, user, chance)]


def _batch(
    settings: Settings, speaker: str, user: Parts, chance: random.Random
) -> tuple[Parts, bytes, Sequence[str]]:
    """Facts that were said before, and among them what is none: another's, and no object at all."""
    other = chance.choice([service for service in SERVICES if service != speaker])
    forged = FACT | {
        "source": f"/onestop/{other}",
        "id": _URN.rpartition(":")[2],
        "data": {"n": chance.random()},
    }
    bad: list[Any] = [forged, [chance.random()], {"specversion": "1.0", "n": chance.random()}]
    again = _some_facts(settings, speaker)
    elements = [*again[:2], *bad, *again[2:]]
    types = ",".join(sorted({fact["type"] for fact in again}))
    parts = user | {
        "content-type": short(BATCH_CONTENT_TYPE.encode()),
        "headers": table(text_headers({TYPES_HEADER: types})),
    }
    return parts, json.dumps(elements).encode(), [_hash_of_element(one) for one in bad]


def _elements(speaker: str, chance: random.Random) -> list[dict[str, Any]]:
    """What its own speaker spoilt, one thing each."""
    whole = FACT | {"source": f"/onestop/{speaker}", "id": _URN.rpartition(":")[2], "data": {}}
    spoilt: list[dict[str, Any]] = [
        {"id": _URN},
        {"id": None},
        {"sequence": "１"},
        {"sequence": 1},
        {"time": "yesterday"},
        {"time": "9999-12-31T23:59:59-14:00"},
        {"type": ["no", "text"]},
        {"subject": "张三"},
        {"traceparent": "somebody's name"},
    ]
    return [whole | one | {"n": chance.getrandbits(50)} for one in spoilt]


def _hash_of_element(element: object) -> str:
    return hashlib.sha256(json.dumps(element, sort_keys=True).encode()).hexdigest()


def _some_facts(settings: Settings, speaker: str) -> list[dict[str, Any]]:
    return _read(settings, f"SELECT event FROM {speaker}.outbox ORDER BY random() LIMIT 4")


def _some_case(settings: Settings) -> str:
    found = _read(settings, "SELECT number FROM intake.cases ORDER BY random() LIMIT 1")
    return str(found[0]) if found else str(FACT["subject"])


def _read(settings: Settings, question: str) -> list[Any]:
    engine = create_engine(database_url(settings, settings.db.admin_user), poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.execute(text(question)).scalars())
