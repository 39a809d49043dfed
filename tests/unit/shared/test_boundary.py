"""The boundary: facts out of bytes, alone or in batches, and a reason for everything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shared.events
from shared.bus.boundary import Delivery, Undecoded, open_delivery
from shared.bus.frames import LARGEST_BYTES, Frame, RawDelivery, raw_frame_handler
from shared.bus.topology import user_name
from shared.bus.wire import (
    BATCH_CONTENT_TYPE,
    BATCH_FACTS,
    LANES,
    TYPES_HEADER,
    Unreadable,
    from_json,
    lane_of,
    to_message,
)
from tests.support.messages import batch_message, delivery_of
from tests.support.raw_amqp import Field, deliver_frames, long, property_list, short, table, text_headers

GOLDEN = Path(shared.events.__file__).parent / "golden"
SUBMITTED = json.loads((GOLDEN / "onestop.intake.case-submitted.v1.json").read_text(encoding="utf-8"))
OTHER_LANE = next(f"case-{n}" for n in range(99) if lane_of(f"case-{n}") != lane_of(SUBMITTED["subject"]))


def fact(n: int = 0, **changed: Any) -> dict[str, Any]:
    """A released fact under an id of its own."""
    return {**SUBMITTED, "id": f"018f5a2e-7c00-7000-8000-{n:012}", **changed}


INTAKE = short(user_name("intake").encode())


def raw(properties: bytes, body: bytes, *, redelivered: bool = False) -> RawDelivery:
    return RawDelivery(1, redelivered, b"key", properties, len(body), body)


def read_body(body: bytes) -> list[Any]:
    properties = property_list({"content-type": short(BATCH_CONTENT_TYPE.encode()), "user-id": INTAKE})
    return open_delivery(raw(properties, body)).facts()


def alone(stored: dict[str, Any], *more: Field, redelivered: bool = False, user: bytes = INTAKE) -> Delivery:
    message = to_message(stored)
    assert message.content_type
    headers = table([*text_headers(message.headers), *more])
    properties = {
        "content-type": short(message.content_type.encode()),
        "headers": headers,
        "user-id": user,
    }
    return open_delivery(raw(property_list(properties), message.body, redelivered=redelivered))


@given(properties=st.binary(max_size=200), body=st.binary(max_size=200), redelivered=st.booleans())
def test_nothing_raises(properties: bytes, body: bytes, redelivered: bool) -> None:
    [found] = open_delivery(raw(properties, body, redelivered=redelivered)).facts()
    assert isinstance(found, Undecoded)
    assert (found.body, found.properties, found.size) == (body, properties, len(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(attribute=st.sampled_from(sorted(SUBMITTED)), value=JSON)
def test_an_attribute_that_is_anything_raises_nothing(attribute: str, value: Any) -> None:
    elements = [fact(1, **{attribute: value}), fact(2)]
    bad, good = read_body(json.dumps(elements).encode())
    assert good == from_json(fact(2))
    if isinstance(bad, Undecoded):
        assert bad.body
        assert json.loads(bad.body) == json.loads(json.dumps(elements[0]))


def test_one_fact_alone() -> None:
    delivery = alone(fact())
    assert delivery.types == {SUBMITTED["type"]}
    assert delivery.facts() == [from_json(fact())]


def test_a_batch_keeps_its_order_and_names_its_types_unopened() -> None:
    facts = [fact(n, sequence=str(n)) for n in range(1, BATCH_FACTS + 1)]
    message = batch_message(facts)

    delivery = delivery_of(message)

    assert message.routing_key == f"onestop.intake.batch.{lane_of(SUBMITTED['subject'])}"
    assert message.content_type == "application/cloudevents-batch+json"
    assert message.headers == {TYPES_HEADER: SUBMITTED["type"]}
    assert delivery.types == {SUBMITTED["type"]}
    assert delivery.facts() == [from_json(stored) for stored in facts]


def test_the_types_of_a_mixed_batch() -> None:
    others = [json.loads(path.read_text(encoding="utf-8")) for path in GOLDEN.glob("onestop.intake.*.json")]
    facts = [{**other, "subject": SUBMITTED["subject"]} for other in others]
    assert delivery_of(batch_message(facts)).types == {other["type"] for other in others}
    assert len(others) > 1


def test_lanes_are_the_same_everywhere_and_evenly_used() -> None:
    lanes = [lane_of(f"330106261123{n:06}X") for n in range(1600)]
    assert lane_of("330106261123000017X") == 9
    assert set(lanes) == set(range(LANES))
    assert max(map(lanes.count, range(LANES))) < 200


def test_one_bad_fact_in_a_batch_is_set_aside_alone() -> None:
    elements = [
        fact(1),
        fact(2, id="urn:uuid:" + fact(2)["id"]),
        fact(3, type="onestop.intake.later.v1"),
        7,
        fact(4),
    ]
    first, no_id, unknown, number, last = read_body(json.dumps(elements).encode())
    assert (first, last) == (from_json(fact(1)), from_json(fact(4)))
    assert isinstance(unknown, Unreadable)
    assert (no_id.reason, number.reason) == ("envelope: id", "envelope: specversion")
    assert json.loads(no_id.body) == elements[1]
    assert no_id.sha256 != number.sha256


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "batch: not a list of facts"),
        (b"{}", "batch: not a list of facts"),
        (b"[" * 100_000, "batch: RecursionError"),
        (b"\xff", "batch: UnicodeDecodeError"),
        (json.dumps([{}] * (BATCH_FACTS + 1)).encode(), "batch: not a list of facts"),
    ],
)
def test_a_body_that_is_no_batch(body: bytes, reason: str) -> None:
    [found] = read_body(body)
    assert (found.reason, found.body) == (reason, body)


@pytest.mark.parametrize("broken", ['"\\ud800"', '"\\u0000"', "NaN", "1e999"])
def test_what_postgresql_cannot_keep_is_told_apart(broken: str) -> None:
    body = json.dumps([fact(1), fact(2, data={"x": "?"})]).replace('"?"', broken)
    good, bad = read_body(body.encode())
    assert good == from_json(fact(1))
    assert isinstance(bad, Undecoded)


class TestDeliveryCount:
    """How often a message was delivered before is the broker's word, and only when it delivers again."""

    def count(self, *more: Field, redelivered: bool) -> int:
        return alone(fact(), *more, redelivered=redelivered).deliveries

    def test_on_a_first_delivery_the_publisher_may_have_written_anything(self) -> None:
        assert self.count((b"x-delivery-count", b"l", b"\0" * 7 + b"\7"), redelivered=False) == 0

    def test_the_count_of_a_quorum_queue(self) -> None:
        assert self.count((b"x-delivery-count", b"l", b"\0" * 7 + b"\7"), redelivered=True) == 7
        assert self.count((b"x-delivery-count", b"I", b"\0\0\0\2"), redelivered=True) == 2

    def test_without_a_count_it_was_once(self) -> None:
        assert self.count(redelivered=True) == 1
        assert self.count((b"x-delivery-count", b"S", long(b"many")), redelivered=True) == 1
        assert open_delivery(raw(b"", b"", redelivered=True)).deliveries == 1

    def test_it_does_not_change_the_hash(self) -> None:
        bad = fact(id="none")
        [first] = alone(bad, (b"b", b"V", b""), (b"a", b"V", b"")).facts()
        again: Field = (b"x-delivery-count", b"l", b"\0" * 7 + b"\1")
        [second] = alone(bad, again, (b"b", b"V", b""), (b"a", b"V", b""), redelivered=True).facts()
        [other] = alone(bad, (b"b", b"V", b"")).facts()
        assert isinstance(first, Undecoded)
        assert isinstance(second, Undecoded)
        assert isinstance(other, Undecoded)
        assert first.sha256 == second.sha256 != other.sha256


class TestFrames:
    """Frames come in any size, and those of other channels in between."""

    def feed(self, frames: list[Frame]) -> tuple[list[RawDelivery], int, list[Any]]:
        """What was delivered, how many pieces were dropped, and what went the usual way."""

        class Connection:
            bytes_recv = 0

        found: list[RawDelivery] = []
        dropped: list[None] = []
        methods: list[Any] = []

        def usual(*method: Any) -> None:
            methods.append(method[:2])

        make = raw_frame_handler(found.append, on_dropped=lambda: dropped.append(None))
        connection = Connection()
        handle: Callable[[Frame], bool] = make(connection, usual)
        for frame in frames:
            handle(frame)
        assert connection.bytes_recv == len(frames)
        return found, len(dropped), methods

    def test_a_body_in_pieces_with_others_in_between(self) -> None:
        mine = deliver_frames(b"\0\0", b"abcdefgh", tag=7, channel=1, piece=3)
        theirs = deliver_frames(b"\0\0", b"ijkl", tag=8, channel=2, piece=1)
        woven = [frame for pair in zip(mine, theirs, strict=False) for frame in pair] + theirs[len(mine) :]
        qos_ok: Frame = (1, 3, b"\0\x3c\0\x0b")
        heartbeat: Frame = (8, 0, b"")
        found, dropped, methods = self.feed([woven[0], heartbeat, *woven[1:3], qos_ok, *woven[3:]])
        assert sorted((d.tag, d.body) for d in found) == [(7, b"abcdefgh"), (8, b"ijkl")]
        assert dropped == 0
        assert methods == [(3, (60, 11))]

    def test_no_body_at_all(self) -> None:
        [found], _, _ = self.feed(deliver_frames(b"\0\0", b"", tag=1, redelivered=True, routing_key=b"\xff"))
        assert (found.body, found.redelivered, found.routing_key) == (b"", True, b"\xff")

    def test_the_largest_body_is_kept_and_one_octet_more_is_not(self) -> None:
        kept = b"a" * LARGEST_BYTES
        large = kept + b"b"
        frames = deliver_frames(b"\0\0", kept, tag=1) + deliver_frames(b"\0\0", large, tag=2)
        [first, second], dropped, _ = self.feed(frames)
        assert (first.body, first.size) == (kept, LARGEST_BYTES)
        assert (second.body, second.size) == (None, LARGEST_BYTES + 1)
        assert dropped > 0
        [refused] = open_delivery(second).facts()
        [same] = open_delivery(RawDelivery(3, False, b"", b"\0\0", len(large), large)).facts()
        assert isinstance(refused, Undecoded)
        assert isinstance(same, Undecoded)
        assert (refused.sha256, refused.body) == (same.sha256, None)
        assert refused.reason == "message: larger than what is kept"


@pytest.mark.parametrize("user", ["onestop-approval", "onestop-migrate", "", "intake", "onestop-intake "])
def test_nobody_speaks_for_another_service(user: str) -> None:
    """The broker has compared the user-id with the log-in; whoever names another source is not heard."""
    [found] = alone(fact(1), user=short(user.encode())).facts()
    assert isinstance(found, Undecoded)
    assert found.reason == "forged: the user-id is not the speaker's"
    [found] = alone(fact(2, type="onestop.intake.unheard-of.v1"), user=short(user.encode())).facts()
    assert isinstance(found, Undecoded), "nor with what this release cannot read"


def test_a_message_without_a_user_is_nobodys() -> None:
    message = to_message(fact(1))
    properties = {"content-type": short(b"application/json"), "headers": table(text_headers(message.headers))}
    [found] = open_delivery(raw(property_list(properties), message.body)).facts()
    assert isinstance(found, Undecoded)
    assert found.reason.startswith("forged")


def test_in_a_batch_each_fact_is_looked_at() -> None:
    own, other = fact(1), {**fact(2), "source": "/onestop/approval"}
    body = json.dumps([own, other]).encode()
    good, bad = read_body(body)
    assert not isinstance(good, Undecoded)
    assert isinstance(bad, Undecoded)
    assert bad.reason.startswith("forged")
