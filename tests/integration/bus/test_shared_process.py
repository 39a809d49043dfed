"""Several services in one process: while one handles a fact alone, no other does what could kill it."""

import threading
from typing import Any

import pytest

from deploy.processes import wait_until
from shared.bus.exclusion import Exclusion
from shared.bus.inbox import Handler
from shared.events.intake import CaseSubmitted
from tests.support.installation import Installation


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
