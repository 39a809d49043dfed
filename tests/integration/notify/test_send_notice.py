"""The job that sends one notice: once, asked for in doubt, shown when nobody can be asked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from deploy.asks import MAY_ASK
from services.notify.channels import OutsideMessage, Told
from services.notify.commands import SEND_JOB
from services.notify.rules.delivery import BELIEVED_AFTER, SendResult
from services.notify.sending import SendNotice
from shared import faults
from shared.ask import Asker, Params, PeerFailed, PeerUnavailable, QuestionHandler
from shared.bus.jobs import JobRunner
from shared.faults import InjectedFault
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings

__all__ = ["db_installation", "secrets_dir", "template_settings"]


@dataclass
class FakeChannel:
    """A channel with a script; it remembers what it was asked to do."""

    answers: list[Told | Exception]
    name: str = "sms"
    address: str = "phone"
    has_receipts: bool = True
    at_once: int = 50
    sent: list[OutsideMessage] = field(default_factory=list)
    asked: list[OutsideMessage] = field(default_factory=list)

    def send(self, message: OutsideMessage) -> Told:
        self.sent.append(message)
        return self._next()

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        self.asked.append(message)
        return self._next()

    def close(self) -> None:
        return

    def _next(self) -> Told:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Sending:
    """One SMS about one case, its channel scripted."""

    installation: Installation
    channel: FakeChannel
    handler: SendNotice
    runner: JobRunner
    contacts: dict[str, str | None]
    """What intake answers."""
    intake: dict[str, QuestionHandler]
    """The questions that intake knows."""

    def step(self) -> None:
        """Let the job be due, and run it."""
        self.installation.change(
            "UPDATE notify.jobs SET due_at = due_at - interval '1 day', "
            "lease_until = lease_until - interval '1 day'"
        )
        assert self.runner.run_once() == 1

    def die(self) -> None:
        """Let another process go on: what this one knew and had not written is gone."""
        self.runner.close()
        self.runner = JobRunner(self.installation.context("notify"), {f"{SEND_JOB}.sms": self.handler})

    def delivery(self) -> Any:
        return self.installation.rows("SELECT * FROM notify.deliveries WHERE channel = 'sms'")[0]

    def told(self) -> list[str]:
        """What was said about the SMS."""
        rows = self.installation.rows("SELECT event->'data' AS data FROM notify.outbox ORDER BY id")
        return [row.data["status"] for row in rows if row.data["channel"] == "sms"]


@pytest.fixture
def sending(db_installation: Installation) -> Iterator[Sending]:
    db_installation.set_up_channels("sms")
    db_installation.submit(db_installation.citizen())
    db_installation.relay("intake").run_once()
    db_installation.inbox("notify").run_batch(10)
    channel = FakeChannel([])
    contacts: dict[str, str | None] = {"contact": "13900000001"}
    intake: dict[str, QuestionHandler] = {
        "contact": lambda params: {"contact": None, "stop": None, "withheld": None, **contacts}
    }
    asker = Asker(db_installation.settings, "notify", {"intake": intake}, MAY_ASK)
    handler = SendNotice(channel, asker)
    runner = JobRunner(db_installation.context("notify"), {f"{SEND_JOB}.sms": handler})
    made = Sending(db_installation, channel, handler, runner, contacts, intake)
    yield made
    made.runner.close()
    asker.close()


def test_an_sms_that_is_taken_is_sent_once_and_said_once(sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.ACCEPTED, provider_ref="ref-1")]
    sending.step()

    assert (sending.delivery().state, sending.delivery().provider_ref) == ("sent", "ref-1")
    assert sending.told() == ["sent"]
    assert [message.key for message in sending.channel.sent] == [sending.delivery().id]


@pytest.mark.parametrize("doubt", [Told(SendResult.UNKNOWN, "timeout"), ConnectionResetError()])
def test_an_sms_in_doubt_is_asked_for_and_never_sent_again_blindly(
    sending: Sending, doubt: Told | Exception
) -> None:
    sending.channel.answers = [doubt, Told(SendResult.UNKNOWN, "timeout"), Told(SendResult.ACCEPTED)]
    sending.step()
    assert sending.delivery().state == "in_doubt"
    assert sending.told() == []
    sending.step()
    sending.step()

    assert (len(sending.channel.sent), len(sending.channel.asked)) == (1, 2)
    assert len({message.key for message in (*sending.channel.sent, *sending.channel.asked)}) == 1
    assert sending.delivery().state == "sent"
    assert sending.told() == ["sent"]


def test_a_death_after_the_call_is_a_doubt(sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.ACCEPTED), Told(SendResult.ACCEPTED)]
    faults.plan_faults("job.notify.send.sms.result.commit.before:1:raise")
    with pytest.raises(InjectedFault):
        sending.step()
    assert sending.delivery().state == "claimed"

    sending.die()
    sending.step()

    assert (len(sending.channel.sent), len(sending.channel.asked)) == (1, 1)
    assert sending.delivery().state == "sent"


def test_what_did_not_leave_us_is_sent_again(sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.NOT_SENT, "refused-connection"), Told(SendResult.ACCEPTED)]
    sending.step()
    assert sending.delivery().state == "planned"
    sending.step()

    assert (len(sending.channel.sent), len(sending.channel.asked)) == (2, 0)
    assert sending.told() == ["sent"]


def test_what_was_never_taken_goes_again_soon(sending: Sending) -> None:
    sending.channel.answers = [
        Told(SendResult.UNKNOWN, "timeout"),
        *[Told(SendResult.NEVER_TAKEN, "no-receipt")] * (BELIEVED_AFTER - 1),
        Told(SendResult.ACCEPTED),
    ]
    for _ in range(BELIEVED_AFTER):
        sending.step()
    assert sending.delivery().state == "planned"
    # All the asking is no reason to wait: it is the first send that failed.
    wait = "SELECT extract(epoch FROM due_at - now()) FROM notify.jobs WHERE kind = 'notify.send.sms'"
    assert sending.installation.value(wait) < 5
    sending.step()

    assert (len(sending.channel.sent), sending.delivery().sends, sending.delivery().state) == (2, 2, "sent")


def test_a_refusal_is_final_and_said(sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.REFUSED, "blocked")]
    sending.step()

    assert (sending.delivery().state, sending.delivery().reason) == ("failed", "blocked")
    assert sending.told() == ["failed"]
    assert sending.runner.run_once() == 0


def test_somebody_without_a_contact_is_not_told_so_and_nothing_is_wrong(sending: Sending) -> None:
    sending.contacts.clear()
    sending.step()

    assert sending.channel.sent == []
    assert (sending.delivery().state, sending.delivery().sent_at) == ("no_contact", None)
    assert sending.told() == []
    assert sending.installation.rows("SELECT state FROM notify.jobs") == [("done",)]


def test_a_doubt_stays_one_while_the_contact_is_gone(sending: Sending) -> None:
    sending.channel.answers = [Told(SendResult.UNKNOWN, "timeout")]
    sending.step()
    sending.contacts.clear()
    sending.step()

    assert (sending.delivery().state, sending.delivery().reason) == ("in_doubt", "no-contact")


@pytest.mark.parametrize("doubt", [Told(SendResult.UNKNOWN, "broke-off"), ConnectionResetError()])
def test_without_receipts_a_doubt_is_shown_at_once_and_nobody_is_asked(
    sending: Sending, doubt: Told | Exception
) -> None:
    sending.channel.has_receipts = False
    sending.channel.answers = [doubt]
    sending.step()

    assert sending.delivery().state == "in_doubt"
    # The job has done all it can; the doubt is the delivery's, and stands in the list of trouble.
    assert sending.installation.rows("SELECT state FROM notify.jobs") == [("done",)]
    assert (len(sending.channel.sent), sending.channel.asked, sending.told()) == (1, [], [])
    assert sending.runner.run_once() == 0


def test_without_receipts_a_death_after_the_call_is_shown_and_reads_no_contact(sending: Sending) -> None:
    sending.channel.has_receipts = False
    sending.channel.answers = [Told(SendResult.ACCEPTED)]
    faults.plan_faults("job.notify.send.sms.result.commit.before:1:raise")
    with pytest.raises(InjectedFault):
        sending.step()
    sending.contacts["contact"] = None
    sending.die()
    sending.step()

    assert (sending.delivery().state, sending.delivery().reason) == ("in_doubt", "died-while-sending")
    assert (len(sending.channel.sent), sending.channel.asked) == (1, [])


class Intake:
    """Answers where people are reached by deliveries: each at a number of its own. It remembers how many were
    asked about at a time, and fails on what a test says."""

    def __init__(self, sending: Sending) -> None:
        self.asked: list[int] = []
        self.fails_on: set[str] = set()
        self.error: type[PeerUnavailable] = PeerFailed
        sending.intake.update(contacts=self.contacts, contact=self.contact)

    def contacts(self, params: Params) -> Params:
        self.asked.append(len(params["messages"]))
        return {"contacts": [self._answer(message) for message in params["messages"]]}

    def contact(self, params: Params) -> Params:
        self.asked.append(1)
        return self._answer(params)

    def _answer(self, message: Params) -> Params:
        if message["delivery"] in self.fails_on:
            raise self.error
        return {"contact": f"number of {message['delivery']}", "stop": None, "withheld": None}


@pytest.fixture
def five(sending: Sending) -> list[str]:
    """The deliveries of five notices that are to be sent."""
    made = sending.installation
    for _ in range(4):
        made.submit(made.citizen())
    made.relay("intake").run_once()
    made.inbox("notify").run_batch(10)
    sending.channel.answers = [Told(SendResult.ACCEPTED)] * 5
    return [
        str(row.id)
        for row in made.rows("SELECT id FROM notify.deliveries WHERE channel = 'sms' ORDER BY planned_at, id")
    ]


def test_the_contacts_of_many_are_asked_for_in_one_question(sending: Sending, five: list[str]) -> None:
    intake = Intake(sending)
    assert sending.runner.run_once() == 5
    assert intake.asked == [5]
    assert {message.address for message in sending.channel.sent} == {f"number of {one}" for one in five}
    assert all(message.address == f"number of {message.key}" for message in sending.channel.sent)
    assert sending.told() == ["sent"] * 5


def test_an_intake_that_knows_only_the_question_for_one_is_asked_for_each(
    sending: Sending, five: list[str]
) -> None:
    """It is of the release before."""
    intake = Intake(sending)
    del sending.intake["contacts"]
    assert sending.runner.run_once() == 5
    assert intake.asked == [1] * 5
    assert {message.address for message in sending.channel.sent} == {f"number of {one}" for one in five}


def test_one_contact_on_which_intake_fails_keeps_nobody_waiting(sending: Sending, five: list[str]) -> None:
    intake = Intake(sending)
    intake.fails_on = {five[2]}
    assert sending.runner.run_once() == 5
    assert {str(message.key) for message in sending.channel.sent} == {*five} - {five[2]}
    states = sending.installation.rows(
        "SELECT d.state, d.sends, j.state AS job, j.reason FROM notify.deliveries d "
        "JOIN notify.jobs j ON j.key = d.id::text WHERE d.id::text = :id",
        id=five[2],
    )
    assert states == [("planned", 0, "due", "peer.unavailable")]


def test_an_intake_that_is_away_is_asked_once(sending: Sending, five: list[str]) -> None:
    intake = Intake(sending)
    intake.fails_on, intake.error = {five[0]}, PeerUnavailable
    assert sending.runner.run_once() == 5
    assert intake.asked == [5]
    assert sending.channel.sent == []
    found = sending.installation.rows(
        "SELECT DISTINCT state, sends FROM notify.deliveries WHERE channel = 'sms'"
    )
    assert found == [("planned", 0)]
