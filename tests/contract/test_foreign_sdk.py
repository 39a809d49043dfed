"""A CloudEvents SDK that is not ours reads every released fact, alone and in a batch, as we do."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from shared.bus.wire import lane_of, to_message
from shared.events.fact import fact_classes
from tests.contract.test_events import golden
from tests.support.foreign import ToolFailed, run_node
from tests.support.messages import batch_message

pytestmark = pytest.mark.usefixtures("foreign_tools")

FOLLOWS = "0197a5c0-0000-7000-8000-000000000902"
FACTS = [golden(cls.type) | {"follows": FOLLOWS} for cls in fact_classes()]


def read_by_sdk(messages: list[dict[str, Any]], scratch: Path) -> list[list[dict[str, Any]]]:
    """The events that the SDK finds in each of the messages."""
    path = scratch / "messages.json"
    path.write_text(json.dumps(messages), encoding="utf-8")
    found: list[list[dict[str, Any]]] = json.loads(run_node("cloudevents.mjs", path))
    return found


def check_equal(read: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
    """The same attributes with the same values; a moment may be written in another way."""
    assert len(read) == len(ours)
    for theirs, fact in zip(read, ours, strict=True):
        times = {"time": datetime.fromisoformat(theirs["time"])}
        assert theirs | times == fact | {"time": datetime.fromisoformat(fact["time"])}


def test_a_fact_alone_in_binary_mode(tmp_path: Path) -> None:
    messages = [to_message(fact) for fact in FACTS]
    read = read_by_sdk(
        [
            {"headers": {**found.headers, "content-type": found.content_type}, "body": found.body.decode()}
            for found in messages
        ],
        tmp_path,
    )
    assert all(len(events) == 1 for events in read)
    check_equal([event for events in read for event in events], FACTS)


def test_a_fact_alone_in_structured_mode(tmp_path: Path) -> None:
    content_type = {"content-type": "application/cloudevents+json"}
    read = read_by_sdk([{"headers": content_type, "body": json.dumps(fact)} for fact in FACTS], tmp_path)
    check_equal([event for events in read for event in events], FACTS)


def test_many_facts_in_a_batch(tmp_path: Path) -> None:
    assert len({lane_of(fact["subject"]) for fact in FACTS}) == 1
    speakers = sorted({fact["source"] for fact in FACTS})
    by_speaker = [[fact for fact in FACTS if fact["source"] == speaker] for speaker in speakers]
    batches = [batch_message(facts) for facts in by_speaker]
    messages = [
        {"headers": {**batch.headers, "content-type": batch.content_type}, "body": batch.body.decode()}
        for batch in batches
    ]
    for read, ours in zip(read_by_sdk(messages, tmp_path), by_speaker, strict=True):
        check_equal(read, ours)


def test_it_would_refuse_what_is_no_cloudevent(tmp_path: Path) -> None:
    fact = {name: value for name, value in FACTS[0].items() if name != "source"}
    content_type = {"content-type": "application/cloudevents+json"}
    with pytest.raises(ToolFailed, match="source"):
        read_by_sdk([{"headers": content_type, "body": json.dumps(fact)}], tmp_path)
