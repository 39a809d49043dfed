"""A batch takes at most 15 statements, however many facts are in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from deploy.services import SERVICES
from tests.integration.bus.history import History, Stage, events, kind, make_stage
from tests.support.installation import Installation

MOST = 15


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """The statements that go to the database meanwhile."""
    seen: list[str] = []

    def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", before)


def warm_up(stage: Stage) -> None:
    """Matters and keys are read once a process."""
    _, facts = stage.new_case()
    stage.installation.inbox(stage.service).receive(events(facts[:1]))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("count", [10, 100])
def test_a_batch_of_one_kind_of_fact(
    db_installation: Installation, history: History, service: str, count: int
) -> None:
    stage = make_stage(db_installation, service, history)
    warm_up(stage)
    cases = [stage.new_case()[1] for _ in range(count)]
    inbox = db_installation.inbox(service)
    early = [fact for fact in cases[0] if kind(fact) != "certificate-issued"]
    for place in range(len(early)):
        batch = events(sorted((facts[place] for facts in cases), key=lambda fact: str(fact["id"])))
        with counted(db_installation.context(service).engine) as seen:
            inbox.receive(batch)
        assert len(seen) <= MOST, f"{kind(early[place])}: {seen}"
    assert db_installation.unfinished(service) == 0


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("count", [10, 100])
def test_a_batch_of_all_kinds_of_facts(
    db_installation: Installation, history: History, service: str, count: int
) -> None:
    stage = make_stage(db_installation, service, history)
    warm_up(stage)
    inbox = db_installation.inbox(service)
    cases = [stage.new_case()[1] for _ in range(count)]
    # Each case is at another place of its history, so that the rows of one batch change in different ways.
    batch = []
    for n, facts in enumerate(cases):
        usable = [fact for fact in facts if kind(fact) != "certificate-issued"]
        place = n % len(usable)
        inbox.receive(events(usable[:place]))
        batch.append(usable[place])
    ready = events(batch)

    with counted(db_installation.context(service).engine) as seen:
        inbox.receive(ready)

    assert len(seen) <= MOST, seen
    assert db_installation.unfinished(service) == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_batch_that_releases_what_waited(
    db_installation: Installation, history: History, service: str
) -> None:
    stage = make_stage(db_installation, service, history)
    warm_up(stage)
    inbox = db_installation.inbox(service)
    batch = []
    for _ in range(30):
        _, facts = stage.new_case()
        first, *others = [fact for fact in facts if kind(fact) != "certificate-issued"]
        batch.append(first)
        inbox.receive(events(others))
    ready = events(batch)

    with counted(db_installation.context(service).engine) as seen:
        inbox.receive(ready)

    assert len(seen) <= MOST, seen
