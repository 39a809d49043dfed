"""How a system goes through an outage of the database, whatever kind it is."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import uuid4

import httpx

from deploy.processes import wait_until
from tests.support.installation import wait_for
from tests.support.system import System

FULL_LENGTH = os.environ.get("ONESTOP_WALK") == "all"
"""`make drill` has the outages at their full length."""
UNREADY_S = 10.0
READY_S = 10.0
BACK_S = 10.0
COMPLETE_S = 20.0


def go_through(
    system: System,
    outage: AbstractContextManager[object],
    *,
    answer_s: float,
    lasts_s: float = 1.0,
    refuses_all: bool = True,
    noticed: Callable[[], bool] | None = None,
) -> None:
    """One application before, some during, all of them after it, and one more.

    During the outage everybody is unready and says 503 with Retry-After within `answer_s` seconds, or, unless
    it `refuses_all`, takes the application. Afterwards the same processes are ready and take what was refused
    within seconds; nothing is lost, told twice or parked.
    """
    before, during = str(uuid4()), [str(uuid4()) for _ in range(5)]
    pids = system.pids()
    assert len(pids) == 1 + len(system.workers), "an earlier outage left somebody dead"
    first = system.apply(before)
    assert first.status_code == 201, first.text
    answers: list[httpx.Response] = []

    def knock() -> bool:
        assert system.all_alive()
        answers.append(system.apply(during[len(answers) % len(during)]))
        return False

    with outage:
        system.slowest_s = 0.0
        wait_for(noticed or system.all_unready, f"all unready: {system.readiness()}", UNREADY_S)
        wait_until(knock, lasts_s, every_s=0.1)
        slowest_s = system.slowest_s
        looks = [system.look(accept) for accept in ("text/html", "application/json")]

    wait_for(system.all_ready, f"all ready again: {system.readiness()}", READY_S)
    check_answers(answers, refuses_all)
    check_looks(looks)
    assert slowest_s < answer_s
    for key in (before, *during, str(uuid4())):
        system.apply_until_taken(key, BACK_S)
    assert system.apply(before).json()["number"] == first.json()["number"]
    system.wait_until_complete(COMPLETE_S)
    assert system.pids() == pids, "a process died of the outage"
    for process in (system.web, *system.workers):
        assert "Traceback" not in process.output(), "an outage is told in one line"


def check_answers(answers: list[httpx.Response], refuses_all: bool) -> None:
    """What people get during an outage."""
    assert answers
    statuses = {answer.status_code for answer in answers}
    assert statuses == {503} if refuses_all else statuses <= {201, 503}, statuses
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["code"] == "service.unavailable"


def check_looks(looks: list[httpx.Response]) -> None:
    """What is only read may be there still; if not, it is said in the way that was asked for."""
    for kind, answer in zip(("text/html", "application/"), looks, strict=True):
        assert answer.status_code in (200, 503), answer.text
        assert answer.headers["content-type"].startswith(kind)
        assert (answer.status_code == 503) == ("retry-after" in answer.headers)
