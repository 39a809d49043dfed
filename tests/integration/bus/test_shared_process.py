"""Several services in one process: while one handles a fact alone, no other does what could kill it."""

import threading
from functools import partial
from typing import Any

import pytest

from deploy.processes import wait_until
from deploy.services import SERVICES
from shared.bus.exclusion import Exclusion
from shared.bus.inbox import MAX_DEATHS, Handler
from shared.events.intake import CaseSubmitted
from tests.support.installation import Installation, Worker, wait_for


@pytest.fixture
def made(db_installation: Installation) -> Installation:
    """Two services of one process."""
    exclusion = Exclusion(whole=True)
    for service in ("notify", "approval"):
        db_installation.context(service).exclusion = exclusion
    return db_installation


def test_a_fact_that_is_handled_alone_has_the_process_to_itself(made: Installation) -> None:
    alone, leave = threading.Event(), threading.Event()
    tries: list[str] = []

    def command(*_: Any) -> None:
        tries.append("once more" if tries else "at first")
        if len(tries) == 1:
            raise ZeroDivisionError
        alone.set()
        assert leave.wait(10)

    fails_at_first = {CaseSubmitted.type: Handler(lambda unit, events: None, command)}
    notify, approval = made.inbox("notify", fails_at_first), made.inbox("approval")
    made.submit(made.citizen())
    made.relay("intake").run_once()
    notify.run_batch(10)
    assert made.make_due("notify") == 1
    running = threading.Thread(target=notify.run_alone)
    running.start()
    assert alone.wait(10)

    began, found = threading.Event(), []

    def work() -> None:
        began.set()
        found.append(approval.run_batch(10).count)

    other = threading.Thread(target=work)
    other.start()
    assert began.wait(10)
    assert not wait_until(lambda: bool(found), 0.3)
    assert made.value("SELECT count(*) FROM approval.cases") == 0
    leave.set()
    for thread in (running, other):
        thread.join(10)
    assert found == [1]
    assert made.value("SELECT count(*) FROM approval.cases") == 1


@pytest.mark.slow
def test_a_fact_that_kills_the_process_of_all_services_is_the_only_one_blamed(
    db_installation: Installation,
) -> None:
    made = db_installation
    numbers = [made.submit(made.citizen()).number for _ in range(3)]
    made.pump("materials", "approval")
    accepted = "approval.outbox WHERE case_no = :n AND event->>'type' LIKE '%accepted%'"
    poison = made.value(f"SELECT event->>'id' FROM {accepted}", n=numbers[1])

    deaths = 0
    while True:
        worker = made.worker(*SERVICES, poison=poison)
        dead_or_settled = partial(_has_ended_or_settled, made, worker)
        wait_for(dead_or_settled, f"{deaths} deaths, and this one neither dies nor finishes", 90, of=made)
        if worker.process.poll() is None:
            break
        deaths += 1
        assert deaths <= MAX_DEATHS
        for service in SERVICES:
            made.make_due(service)

    assert deaths == MAX_DEATHS
    [parked] = made.rows("SELECT id, deaths FROM notify.inbox WHERE state = 'parked'")
    assert (str(parked.id), parked.deaths) == (poison, MAX_DEATHS)
    lying = " UNION ALL ".join(f"SELECT case_no FROM {service}.inbox" for service in SERVICES)
    assert {row.case_no for row in made.rows(lying)} == {numbers[1]}
    assert [made.value("SELECT state FROM intake.cases WHERE number = :n", n=n) for n in numbers] == [
        "under_review"
    ] * 3
    assert [_notices(made, number) for number in numbers] == [2, 1, 2]


def _has_ended_or_settled(made: Installation, worker: Worker) -> bool:
    if worker.process.poll() is not None:
        return True
    parked = made.value("SELECT count(*) FROM notify.inbox WHERE state = 'parked'")
    under_way = sum(
        made.value(
            f"SELECT (SELECT count(*) FROM {service}.outbox WHERE sent_at IS NULL)"
            f" + (SELECT count(*) FROM {service}.messages)"
            # What comes after the parked fact of a case waits behind it.
            f" + (SELECT count(*) FROM {service}.inbox WHERE state NOT IN ('parked', 'waiting'))"
        )
        for service in SERVICES
    )
    return bool(parked == 1 and under_way == 0)


def _notices(made: Installation, number: str) -> Any:
    return made.value("SELECT count(*) FROM notify.inbox_messages WHERE case_no = :n", n=number)
