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
from shared.ask import Asker
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
    answers = {
        "intake": {"contact": lambda params: {"contact": None, "stop": None, "withheld": None, **contacts}}
    }
    asker = Asker(db_installation.settings, "notify", answers, MAY_ASK)
    handler = SendNotice(channel, asker)
    runner = JobRunner(db_installation.context("notify"), {f"{SEND_JOB}.sms": handler})
    made = Sending(db_installation, channel, handler, runner, contacts)
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
