"""What waits together travels together: which facts go into which message."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.bus.wire import (
    BATCH_BYTES,
    BATCH_CONTENT_TYPE,
    BATCH_FACTS,
    TYPES_HEADER,
    Message,
    Said,
    lane_of,
    to_messages,
)
from shared.events.ids import new_id
from tests.support.messages import facts_in

TYPES = ("onestop.approval.case-routed.v1", "onestop.approval.case-accepted.v1")
Fact = dict[str, Any]


def fact(case: str, sequence: int = 1, padding: int = 0) -> Fact:
    """One of a case; `padding` characters of three bytes make it larger."""
    return {
        "specversion": "1.0",
        "id": str(new_id()),
        "source": "/onestop/approval",
        "type": TYPES[sequence % 2],
        "subject": case,
        "time": "2026-11-23T02:00:00+00:00",
        "datacontenttype": "application/json",
        "sequence": str(sequence),
        "follows": str(new_id()),
        "causationid": str(new_id()),
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "data": {"padding": "重" * padding},
    }


def packed(facts: Sequence[Fact]) -> list[Message]:
    """As a relay packs what it found waiting."""
    said = [Said(one["subject"], one["type"], json.dumps(one, ensure_ascii=False)) for one in facts]
    return list(to_messages("approval", said))


def read(message: Message) -> list[Fact]:
    return facts_in(message.headers, message.content_type, message.body)


def by_case(facts: Sequence[Fact]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = defaultdict(list)
    for one in facts:
        found[one["subject"]].append(one)
    return found


def is_batch(message: Message) -> bool:
    return message.content_type == BATCH_CONTENT_TYPE


CASES = st.sampled_from([f"330106261123{n:06}X" for n in range(40)])
SIZES = st.sampled_from([0, 0, 0, 10_000, 31_900, 40_000])
WAITING = st.lists(st.tuples(CASES, SIZES), min_size=1, max_size=30)
ONE_LANE = [("330106261123000001X", 0)] * (2 * BATCH_FACTS + 1)


@settings(deadline=None)
@given(waiting=WAITING)
@example(waiting=ONE_LANE)
def test_every_fact_goes_once_and_those_of_a_case_in_their_order(waiting: list[tuple[str, int]]) -> None:
    facts = [fact(case, n, padding) for n, (case, padding) in enumerate(waiting, 1)]

    messages = packed(facts)

    assert by_case([one for message in messages for one in read(message)]) == by_case(facts)
    for message in filter(is_batch, messages):
        inside = read(message)
        assert len(inside) <= BATCH_FACTS
        assert len(message.body) <= BATCH_BYTES
        [lane] = {lane_of(one["subject"]) for one in inside}
        assert message.routing_key == f"onestop.approval.batch.{lane}"
        assert message.headers == {TYPES_HEADER: ",".join(sorted({one["type"] for one in inside}))}


@settings(deadline=None)
@given(waiting=st.lists(CASES, min_size=2, max_size=60))
def test_there_are_no_more_messages_than_lanes_while_they_fit(waiting: list[str]) -> None:
    messages = packed([fact(case, n) for n, case in enumerate(waiting, 1)])
    assert all(map(is_batch, messages))
    assert len(messages) == len({lane_of(case) for case in waiting})


def test_full_messages_leave_first() -> None:
    messages = packed([fact(case, n) for n, (case, _) in enumerate(ONE_LANE, 1)])
    assert [len(read(message)) for message in messages] == [BATCH_FACTS, BATCH_FACTS, 1]


def test_the_only_one_that_waits_goes_alone() -> None:
    only = fact("330106261123000001X")
    [message] = packed([only])
    assert (message.routing_key, message.id) == (only["type"], only["id"])
    assert not is_batch(message)
    assert read(message) == [only]


def test_one_that_is_too_large_for_a_batch_goes_alone_in_its_place() -> None:
    facts = [fact("330106261123000001X", n, 40_000 if n == 2 else 0) for n in (1, 2, 3)]
    messages = packed(facts)
    assert [is_batch(message) for message in messages] == [True, False, True]
    assert [one for message in messages for one in read(message)] == facts
