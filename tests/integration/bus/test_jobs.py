"""Jobs: claimed in a committed transaction, taken over when the holder is gone, never sent blindly again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from deploy.asks import MAY_ASK
from services.notify.channels import OutsideMessage, Told
from services.notify.commands import SEND_JOB
from services.notify.rules.delivery import BELIEVED_AFTER, SendResult
from services.notify.sending import SendNotice
from shared import faults
from shared.ask import Asker
from shared.bus.jobs import Again, Done, GiveUp, Job, JobRunner, Verdict
from shared.bus.unit import Unit, unit_of
from shared.faults import InjectedFault
from tests.support.installation import Installation

KIND = "test.call"


@dataclass
class Scripted:
    """A kind of job whose calls and verdicts a test writes down."""

    verdicts: list[Verdict] = field(default_factory=list)
    prepared: list[Job] = field(default_factory=list)
    finished: list[Any] = field(default_factory=list)
    during: Any = None

    def prepare(self, unit: Unit, job: Job) -> Any:
        self.prepared.append(job)
        return job.payload

    def call(self, prepared: Any) -> Any:
        return self.during() if self.during else prepared["n"]

    def finish(self, unit: Unit, job: Job, answer: Any) -> Verdict:
        self.finished.append(answer)
        return self.verdicts.pop(0) if self.verdicts else Done()


@dataclass
class FakeSms:
    """A channel with a script; it remembers what it was asked to do."""

    answers: list[Told | Exception]
    name: str = "sms"
    address: str = "phone"
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


def leave(db_installation: Installation, *keys: str) -> None:
    with unit_of(db_installation.context("notify"), "test.leave") as unit:
        for n, key in enumerate(keys):
            unit.later(KIND, key, {"n": n})


@pytest.fixture
def runner(db_installation: Installation) -> Iterator[tuple[JobRunner, Scripted]]:
    handler = Scripted()
    made = JobRunner(db_installation.context("notify"), {KIND: handler})
    yield made, handler
    made.close()


def row(db_installation: Installation) -> Any:
    return db_installation.rows("SELECT state, epoch, attempts, reason, lease_until FROM notify.jobs")[0]


def test_the_same_job_is_left_once_and_done_once(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    leave(db_installation, "a", "b")
    leave(db_installation, "b", "c")

    assert runner[0].run_once() == 3
    assert runner[0].run_once() == 0
    assert db_installation.rows("SELECT DISTINCT state FROM notify.jobs") == [("done",)]


def test_again_and_giving_up(db_installation: Installation, runner: tuple[JobRunner, Scripted]) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")
    later = db_installation.value("SELECT clock_timestamp()") + timedelta(hours=1)
    handler.verdicts = [Again(later, "busy"), GiveUp("no-contact")]

    assert jobs_.run_once() == 1
    assert (row(db_installation).state, row(db_installation).reason) == ("due", "busy")
    assert jobs_.run_once() == 0, "not before its time"
    db_installation.change("UPDATE notify.jobs SET due_at = due_at - interval '2 hours'")
    assert jobs_.run_once() == 1

    assert (row(db_installation).state, row(db_installation).reason, row(db_installation).attempts) == (
        "failed",
        "no-contact",
        2,
    )
    assert jobs_.run_once() == 0


def test_a_claim_whose_holder_died_is_taken_over_under_a_new_epoch(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")
    faults.plan_faults("jobs.claim.commit.after:1:raise")
    with pytest.raises(InjectedFault):
        jobs_.run_once()
    assert (row(db_installation).state, row(db_installation).epoch) == ("claimed", 1)
    assert jobs_.run_once() == 0, "the lease of a live holder is respected"

    db_installation.change("UPDATE notify.jobs SET lease_until = lease_until - interval '1 hour'")
    assert jobs_.run_once() == 1

    assert [(job.epoch, job.attempts, job.taken_over) for job in handler.prepared] == [
        (1, 1, False),
        (2, 2, True),
    ]
    assert row(db_installation).state == "done"


def test_the_result_of_a_holder_that_comes_back_late_is_dropped(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    slow, handler = runner
    heir_handler = Scripted(verdicts=[GiveUp("heir")])
    heir = JobRunner(db_installation.context("notify"), {KIND: heir_handler})
    leave(db_installation, "a")

    def overtaken() -> str:
        db_installation.change("UPDATE notify.jobs SET lease_until = lease_until - interval '1 hour'")
        heir.run_once()
        return "too late"

    handler.during = overtaken
    assert slow.run_once() == 1
    heir.close()

    assert handler.finished == []
    assert heir_handler.finished == [0]
    assert (row(db_installation).state, row(db_installation).reason) == ("failed", "heir")


def test_an_exception_of_the_call_is_its_answer(
    db_installation: Installation, runner: tuple[JobRunner, Scripted]
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a")

    def fail() -> None:
        raise ConnectionResetError

    handler.during = fail
    assert jobs_.run_once() == 1
    assert [type(answer) for answer in handler.finished] == [ConnectionResetError]


@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_a_job_whose_own_code_fails_does_not_stop_its_neighbours(
    db_installation: Installation,
    runner: tuple[JobRunner, Scripted],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs_, handler = runner
    leave(db_installation, "a", "b", "c")
    good = getattr(handler, where)

    def broken(unit: Unit, job: Job, *rest: Any) -> Any:
        if job.key == "b":
            raise LookupError("a row that is gone")
        return good(unit, job, *rest)

    monkeypatch.setattr(handler, where, broken)
    jobs_.run_once()
    assert db_installation.value("SELECT count(*) FROM notify.jobs WHERE state = 'done'") == 2


@dataclass
class SmsDelivery:
    """One SMS about one case, its channel scripted."""

    installation: Installation
    channel: FakeSms
    runner: JobRunner

    def step(self) -> None:
        """Let the job be due, and run it."""
        self.installation.change(
            "UPDATE notify.jobs SET due_at = due_at - interval '1 day', "
            "lease_until = lease_until - interval '1 day'"
        )
        assert self.runner.run_once() == 1

    def delivery(self) -> Any:
        return self.installation.rows("SELECT * FROM notify.deliveries WHERE channel = 'sms'")[0]

    def told(self) -> list[str]:
        """What was said about the SMS."""
        rows = self.installation.rows("SELECT event->'data' AS data FROM notify.outbox ORDER BY id")
        return [row.data["status"] for row in rows if row.data["channel"] == "sms"]


@pytest.fixture
def sms(db_installation: Installation) -> Iterator[SmsDelivery]:
    db_installation.set_up_channels("sms")
    db_installation.submit(db_installation.citizen())
    db_installation.relay("intake").run_once()
    db_installation.inbox("notify").run_batch(10)
    channel = FakeSms([])
    answers = {"intake": {"contact": lambda params: {"phone": "13900000001"}}}
    asker = Asker(db_installation.settings, "notify", answers, MAY_ASK)
    runner = JobRunner(db_installation.context("notify"), {f"{SEND_JOB}.sms": SendNotice(channel, asker)})
    yield SmsDelivery(db_installation, channel, runner)
    runner.close()
    asker.close()


def test_an_sms_that_is_taken_is_sent_once_and_said_once(sms: SmsDelivery) -> None:
    sms.channel.answers = [Told(SendResult.ACCEPTED, provider_ref="ref-1")]
    sms.step()

    assert (sms.delivery().state, sms.delivery().provider_ref) == ("sent", "ref-1")
    assert sms.told() == ["sent"]
    assert [message.key for message in sms.channel.sent] == [sms.delivery().id]


@pytest.mark.parametrize("doubt", [Told(SendResult.UNKNOWN, "timeout"), ConnectionResetError()])
def test_an_sms_in_doubt_is_asked_for_and_never_sent_again_blindly(
    sms: SmsDelivery, doubt: Told | Exception
) -> None:
    sms.channel.answers = [doubt, Told(SendResult.UNKNOWN, "timeout"), Told(SendResult.ACCEPTED)]
    sms.step()
    assert sms.delivery().state == "in_doubt"
    assert sms.told() == []
    sms.step()
    sms.step()

    assert (len(sms.channel.sent), len(sms.channel.asked)) == (1, 2)
    assert len({message.key for message in (*sms.channel.sent, *sms.channel.asked)}) == 1
    assert sms.delivery().state == "sent"
    assert sms.told() == ["sent"]


def test_a_death_after_the_call_is_a_doubt(sms: SmsDelivery) -> None:
    sms.channel.answers = [Told(SendResult.ACCEPTED), Told(SendResult.ACCEPTED)]
    faults.plan_faults("job.notify.send.sms.result.commit.before:1:raise")
    with pytest.raises(InjectedFault):
        sms.step()
    assert sms.delivery().state == "claimed"

    sms.step()

    assert (len(sms.channel.sent), len(sms.channel.asked)) == (1, 1)
    assert sms.delivery().state == "sent"


def test_what_did_not_leave_us_is_sent_again(sms: SmsDelivery) -> None:
    sms.channel.answers = [Told(SendResult.NOT_SENT, "refused-connection"), Told(SendResult.ACCEPTED)]
    sms.step()
    assert sms.delivery().state == "planned"
    sms.step()

    assert (len(sms.channel.sent), len(sms.channel.asked)) == (2, 0)
    assert sms.told() == ["sent"]


def test_what_was_never_taken_goes_again_soon(sms: SmsDelivery) -> None:
    sms.channel.answers = [
        Told(SendResult.UNKNOWN, "timeout"),
        *[Told(SendResult.NEVER_TAKEN, "no-receipt")] * (BELIEVED_AFTER - 1),
        Told(SendResult.ACCEPTED),
    ]
    for _ in range(BELIEVED_AFTER):
        sms.step()
    assert sms.delivery().state == "planned"
    # All the asking is no reason to wait: it is the first send that failed.
    wait = "SELECT extract(epoch FROM due_at - now()) FROM notify.jobs WHERE kind = 'notify.send.sms'"
    assert sms.installation.value(wait) < 5
    sms.step()

    assert (len(sms.channel.sent), sms.delivery().sends, sms.delivery().state) == (2, 2, "sent")


def test_a_refusal_is_final_and_said(sms: SmsDelivery) -> None:
    sms.channel.answers = [Told(SendResult.REFUSED, "blocked")]
    sms.step()

    assert (sms.delivery().state, sms.delivery().reason) == ("failed", "blocked")
    assert sms.told() == ["failed"]
    assert sms.runner.run_once() == 0
