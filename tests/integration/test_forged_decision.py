"""A decision that nobody took is said in approval's name. No certificate comes of it, and nobody is told of
one.

Other services' users cannot say it at all (test_taken_over). Here somebody has approval's own log-in at the
transport, its user at the broker or its role before the doors of the database, but does not write its tables.
They can read what approval hears; who knows how ids are derived may even know which fact theirs must follow.
"""

from contextlib import closing
from typing import Any
from uuid import UUID

import pika
import pytest

from services.approval.commands import StepResult
from shared.bus.gate import CONFLICT, FORK
from shared.bus.topology import EXCHANGE, broker_url, user_name
from shared.bus.wire import to_message
from shared.events.ids import new_id
from tests.integration.bus.history import Stored, open_line
from tests.support.installation import (
    Installation,
    delivery,
    installation,
    secrets_dir,
    template_settings,
)
from tests.support.trouble import trouble_of

__all__ = ["delivery", "installation", "secrets_dir", "template_settings"]

HEARERS = ("intake", "materials", "notify")


def before_its_decision(made: Installation) -> str:
    """A case at its deciding step, at which nobody has looked yet."""
    number = made.submit(made.citizen()).number
    made.pump()
    made.work_task(number)
    made.pump()
    return number


def forged(made: Installation, number: str, follows: UUID | None = None) -> Stored:
    """The approval that would come next; without `follows` by somebody who does not know what came before."""
    case = made.rows("SELECT sequence FROM approval.cases WHERE number = :n", n=number)[0]
    return {
        "specversion": "1.0",
        "id": str(new_id()),
        "source": "/onestop/approval",
        "type": "onestop.approval.case-decided.v1",
        "subject": number,
        "sequence": str(case.sequence + 1),
        "time": "2026-11-23T02:00:00+00:00",
        "follows": str(follows or new_id()),
        "data": {"outcome": "approved", "decided_at": "2026-11-23T02:00:00+00:00"},
    }


def say(made: Installation, fact: Stored) -> None:
    """Say it as approval, and let everybody who hears approval handle it."""
    url = broker_url(made.settings, "approval")
    if url is not None:
        publish(url, fact)
    for service in HEARERS:
        with open_line(made, service, made.inbox(service)) as line:
            if url is None:
                line.send([fact])
            else:
                line.sent = 1  # type: ignore[attr-defined]
            line.take()


def publish(url: str, fact: Stored) -> None:
    message = to_message(fact)
    properties = pika.BasicProperties(
        message.content_type,
        headers=dict(message.headers),
        delivery_mode=2,
        user_id=user_name("approval"),
    )
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(EXCHANGE, fact["type"], message.body, properties, mandatory=True)


def told(made: Installation, number: str) -> list[str]:
    """What the citizen was told, in order."""
    rows = made.rows(
        "SELECT template FROM notify.deliveries WHERE case_no = :n ORDER BY planned_at", n=number
    )
    return [row.template for row in rows]


def issued(made: Installation, number: str) -> int:
    """Certificates of a case, and the facts that say so."""
    return sum(
        made.value(f"SELECT count(*) FROM {where}", n=number)
        for where in (
            "materials.certificates WHERE case_no = :n",
            "materials.outbox WHERE case_no = :n AND event->>'type' LIKE '%certificate%'",
            "intake.timeline WHERE case_no = :n AND fact LIKE 'certificate%'",
        )
    )


def state_of(made: Installation, service: str, number: str) -> Any:
    return made.value(f"SELECT state FROM {service}.cases WHERE number = :n", n=number)


def parked(made: Installation, number: str) -> set[tuple[str, str | None, str | None]]:
    """Service, type and reason of each parked fact of a case."""
    found = [trouble for service in HEARERS for trouble in trouble_of(made.context(service), "parked")]
    return {(trouble.service, trouble.about, trouble.reason) for trouble in found if trouble.case == number}


def test_without_what_came_before_it_nobody_believes_it(installation: Installation) -> None:
    made = installation
    number = before_its_decision(made)
    fact = forged(made, number)
    say(made, fact)
    made.pump()

    forks = {(service, fact["type"], FORK) for service in HEARERS}
    assert parked(made, number) == forks
    assert issued(made, number) == 0
    assert told(made, number) == ["case-submitted", "case-accepted"]
    assert made.value("SELECT count(*) FROM materials.jobs") == 0

    made.decide(number, StepResult.DENIED)
    made.pump()
    assert told(made, number) == ["case-submitted", "case-accepted", "case-denied"]
    assert (state_of(made, "approval", number), state_of(made, "intake", number)) == ("closed", "denied")
    assert issued(made, number) == 0
    assert parked(made, number) == {(service, fact["type"], FORK) for service in HEARERS}, (
        "for people to drop"
    )


@pytest.mark.parametrize("in_time", [True, False], ids=["asked before the denial", "asked after it"])
def test_with_it_no_certificate_is_issued_or_told_of(installation: Installation, in_time: bool) -> None:
    made = installation
    number = before_its_decision(made)
    last = made.value("SELECT last_fact FROM approval.cases WHERE number = :n", n=number)
    fact = forged(made, number, last)
    say(made, fact)
    assert made.value("SELECT state FROM materials.jobs WHERE case_no = :n", n=number) == "due"
    if in_time:
        made.pump()
    made.decide(number, StepResult.DENIED)
    made.pump()

    assert issued(made, number) == 0
    assert "certificate-issued" not in told(made, number)
    (job,) = trouble_of(made.context("materials"), "failed_job")
    assert (job.case, job.about) == (number, "materials.issue")
    assert job.reason == ("issue.not-decided" if in_time else "issue.denied")
    assert state_of(made, "approval", number) == "closed"
    outcome = "SELECT outcome FROM approval.tasks WHERE case_no = :n AND decides"
    assert made.value(outcome, n=number) == "denied"
    taken = "onestop.approval.task-claimed.v1", CONFLICT
    assert {(service, *taken) for service in HEARERS} <= parked(made, number), "people see it everywhere"


def test_of_a_case_that_nobody_knows_it_waits(installation: Installation) -> None:
    made = installation
    say(made, forged_of_nowhere())
    assert [list(made.states(service).values()) for service in HEARERS] == [["not_yet"]] * 3
    assert made.value("SELECT count(*) FROM materials.jobs") == 0
    assert made.value("SELECT count(*) FROM notify.deliveries") == 0


def forged_of_nowhere() -> Stored:
    return {
        "specversion": "1.0",
        "id": str(new_id()),
        "source": "/onestop/approval",
        "type": "onestop.approval.case-decided.v1",
        "subject": "330106261123999999X",
        "sequence": "1",
        "time": "2026-11-23T02:00:00+00:00",
        "data": {"outcome": "approved", "decided_at": "2026-11-23T02:00:00+00:00"},
    }
