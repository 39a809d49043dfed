"""The SMS channel against our stand-in gateway, a real process, with every fault that it can have."""

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from deploy.processes import free_port
from deploy.standins.fault_switch import Door, Fault, Garbage, Kind, Lie
from deploy.standins.launch import SmsStandin
from services.notify.channels import OutsideMessage
from services.notify.channels.sms import SmsChannel, SmsSettings
from services.notify.rules.delivery import DeliveryState, SendResult, after_answer, must_ask
from shared.legal_time import legal_day

PHONE = "13800008000"
TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmsStandin]:
    running = SmsStandin(tmp_path_factory.mktemp("sms"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def channel(standin: SmsStandin) -> Iterator[SmsChannel]:
    opened = SmsChannel(SmsSettings.model_validate(standin.settings(timeout_s=TIMEOUT_S)))
    yield opened
    opened.close()
    standin.plan()


def message(key: UUID | None = None, phone: str = PHONE) -> OutsideMessage:
    params = {"number": "330106261123000001X", "matter": "居住证申领", "date": "2026-12-01"}
    return OutsideMessage(key or uuid4(), phone, "case-accepted", params, "zh-CN")


def today() -> date:
    return legal_day(datetime.now(UTC))


def times_taken(standin: SmsStandin, sent: OutsideMessage) -> int:
    return sum(taken.out_id == str(sent.key) for taken in standin.taken())


def test_a_message_is_taken_once_and_its_receipt_says_so(standin: SmsStandin, channel: SmsChannel) -> None:
    sent = message()
    told = channel.send(sent)
    assert told.answer is SendResult.ACCEPTED
    assert told.provider_ref
    assert times_taken(standin, sent) == 1
    assert channel.ask(sent, today()).answer is SendResult.ACCEPTED


def test_the_ledger_holds_no_phone_and_only_the_allowed_parameters(
    standin: SmsStandin, channel: SmsChannel
) -> None:
    sent = message()
    channel.send(sent)
    assert PHONE not in (standin.folder / "sms.jsonl").read_text()
    taken = next(t for t in standin.taken() if t.out_id == str(sent.key))
    assert taken.template == "case-accepted"
    assert taken.params == sent.params


def test_a_wrong_phone_is_refused_for_good(standin: SmsStandin, channel: SmsChannel) -> None:
    sent = message(phone="12345")
    told = channel.send(sent)
    assert (told.answer, told.reason) == (SendResult.REFUSED, "isv.MOBILE_NUMBER_ILLEGAL")
    assert times_taken(standin, sent) == 0


def test_an_overseas_number_goes_as_the_gateway_documents_it(
    standin: SmsStandin, channel: SmsChannel
) -> None:
    sent = message(phone="+85251234567")
    assert channel.send(sent).answer is SendResult.ACCEPTED
    assert channel.ask(sent, today()).answer is SendResult.ACCEPTED
    assert times_taken(standin, sent) == 1


def test_a_number_that_would_reach_somebody_else_is_not_sent(
    standin: SmsStandin, channel: SmsChannel
) -> None:
    # In Maryland, and without its + on the mainland.
    sent = message(phone="+13015550123")
    told = channel.send(sent)
    assert (told.answer, told.reason) == (SendResult.REFUSED, "number-ambiguous")
    assert times_taken(standin, sent) == 0


def test_a_wrong_secret_is_ours_to_mend_and_costs_nobody_a_message(standin: SmsStandin) -> None:
    wrong = standin.settings() | {"access_key_secret": "not the secret"}
    channel = SmsChannel(SmsSettings.model_validate(wrong))
    sent = message()
    told = channel.send(sent)
    channel.close()
    assert (told.answer, told.reason) == (SendResult.NOT_SENT, "SignatureDoesNotMatch")
    assert times_taken(standin, sent) == 0


def test_nobody_listening_means_not_sent(standin: SmsStandin) -> None:
    elsewhere = standin.settings() | {"endpoint": f"http://127.0.0.1:{free_port()}"}
    channel = SmsChannel(SmsSettings.model_validate(elsewhere))
    told = channel.send(message())
    assert (told.answer, told.reason) == (SendResult.NOT_SENT, "not-connected")
    assert channel.ask(message(), today()).answer is SendResult.UNKNOWN
    channel.close()


DOUBTS = [
    (Fault(kind=Kind.SLOW, next=1, seconds=1.0), 1),
    (Fault(kind=Kind.ERROR_BEFORE, next=1), 0),
    (Fault(kind=Kind.ERROR_AFTER, next=1), 1),
    (Fault(kind=Kind.RESET_BEFORE, next=1), 0),
    (Fault(kind=Kind.RESET_AFTER, next=1), 1),
    *((Fault(kind=Kind.GARBAGE_AFTER, next=1, garbage=shape, seconds=1.5), 1) for shape in Garbage),
    (Fault(kind=Kind.GARBAGE_BEFORE, next=1, garbage=Garbage.HTML), 0),
]


@pytest.mark.parametrize(
    ("fault", "taken"), DOUBTS, ids=lambda x: f"{x.kind}-{x.garbage}" if isinstance(x, Fault) else ""
)
def test_what_may_have_been_taken_is_a_doubt_and_the_receipt_tells(
    standin: SmsStandin, channel: SmsChannel, fault: Fault, taken: int
) -> None:
    standin.plan(fault)
    sent = message()
    started = time.monotonic()
    told = channel.send(sent)
    assert told.answer is SendResult.UNKNOWN
    assert time.monotonic() - started < 2 * TIMEOUT_S + 0.5
    deadline = time.monotonic() + 5
    while times_taken(standin, sent) < taken and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert times_taken(standin, sent) == taken
    asked = channel.ask(sent, today())
    assert asked.answer is (SendResult.ACCEPTED if taken else SendResult.NEVER_TAKEN)


@pytest.mark.parametrize(
    ("fault", "reason", "wait_s"),
    [
        (Fault(kind=Kind.LIMIT, next=1), "isv.BUSINESS_LIMIT_CONTROL", 60.0),
        (Fault(kind=Kind.THROTTLE, next=1, seconds=7), "http-429", 7.0),
    ],
)
def test_too_often_is_not_sent_and_says_when_to_come_back(
    standin: SmsStandin, channel: SmsChannel, fault: Fault, reason: str, wait_s: float
) -> None:
    standin.plan(fault)
    sent = message()
    told = channel.send(sent)
    assert (told.answer, told.reason, told.retry_after_s) == (SendResult.NOT_SENT, reason, wait_s)
    assert times_taken(standin, sent) == 0


def test_a_gateway_that_stops_listening_is_not_sent_to_and_comes_back(
    standin: SmsStandin, channel: SmsChannel
) -> None:
    standin.plan(Fault(kind=Kind.REFUSE, next=1, seconds=1.5))
    first, second = message(), message()
    assert channel.send(first).answer is SendResult.UNKNOWN
    assert channel.send(second).answer in (SendResult.NOT_SENT, SendResult.UNKNOWN)
    deadline = time.monotonic() + 10
    while (told := channel.send(second)).answer is not SendResult.ACCEPTED and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert told.answer is SendResult.ACCEPTED
    assert (times_taken(standin, first), times_taken(standin, second)) == (0, 1)


@pytest.mark.parametrize(
    ("lie", "answer", "reason"),
    [
        (Lie.FAILED, SendResult.REFUSED, "receipt-failed:MOBILE_SEND_LIMIT"),
        (Lie.MISSING, SendResult.NEVER_TAKEN, "no-receipt"),
        (Lie.WAITING, SendResult.ACCEPTED, None),
    ],
)
def test_a_lying_receipt_is_told_as_it_is(
    standin: SmsStandin, channel: SmsChannel, lie: Lie, answer: SendResult, reason: str | None
) -> None:
    sent = message()
    channel.send(sent)
    standin.plan(Fault(kind=Kind.LIE, door=Door.RECEIPT, next=1, says=lie))
    told = channel.ask(sent, today())
    assert (told.answer, told.reason) == (answer, reason)


@pytest.mark.parametrize(
    "kind", [Kind.SLOW, Kind.ERROR_AFTER, Kind.RESET_AFTER, Kind.GARBAGE_AFTER, Kind.THROTTLE]
)
def test_an_ill_receipt_door_leaves_the_doubt(standin: SmsStandin, channel: SmsChannel, kind: Kind) -> None:
    standin.plan(Fault(kind=kind, door=Door.RECEIPT, next=1, seconds=1.0))
    assert channel.ask(message(), today()).answer is SendResult.UNKNOWN


def test_what_was_sent_before_midnight_is_found_in_the_next_day(standin: SmsStandin) -> None:
    channel = SmsChannel(SmsSettings.model_validate(standin.settings()))
    sent = message()
    channel.send(sent)
    assert channel.ask(sent, today() - timedelta(days=1)).answer is SendResult.ACCEPTED
    assert channel.ask(sent, today() - timedelta(days=2)).answer is SendResult.NEVER_TAKEN
    channel.close()


def deliver(channel: SmsChannel, sent: OutsideMessage) -> DeliveryState:
    """Follow the rules to the end without waiting, as the job does."""
    state, sends, asks = DeliveryState.PLANNED, 0, 0
    while True:
        asking = must_ask(state)
        sends += not asking
        told = channel.ask(sent, today()) if asking else channel.send(sent)
        asks += told.answer in (SendResult.UNKNOWN, SendResult.NEVER_TAKEN)
        then = after_answer(told.answer, sends=sends, asks=asks, reason=told.reason, jitter=0.5)
        state = then.state
        asks = 0 if state is DeliveryState.PLANNED else asks
        if then.after is None:
            return state


def test_receipts_that_deny_for_a_while_bring_no_second_message(
    standin: SmsStandin, channel: SmsChannel
) -> None:
    standin.plan(
        Fault(kind=Kind.RESET_AFTER, next=1),
        Fault(kind=Kind.LIE, door=Door.RECEIPT, next=3, says=Lie.MISSING),
    )
    sent = message()
    assert deliver(channel, sent) is DeliveryState.SENT
    assert times_taken(standin, sent) == 1


def test_a_bad_day_of_the_gateway_tells_nobody_twice(standin: SmsStandin, channel: SmsChannel) -> None:
    chances = [
        *(
            Fault(kind=kind, probability=0.15)
            for kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER, Kind.RESET_AFTER)
        ),
        Fault(kind=Kind.GARBAGE_AFTER, probability=0.15, garbage=Garbage.NO_REFERENCE),
        Fault(kind=Kind.RESET_BEFORE, probability=0.1),
        Fault(kind=Kind.LIMIT, probability=0.1),
        Fault(kind=Kind.RESET_AFTER, door=Door.RECEIPT, probability=0.2),
    ]
    standin.plan(*chances, seed=7)
    all_sent = [message(phone=f"138{random.randrange(10**8):08d}") for _ in range(100)]
    ends = [deliver(channel, sent) for sent in all_sent]
    assert set(ends) <= {DeliveryState.SENT, DeliveryState.IN_DOUBT, DeliveryState.FAILED}
    assert ends.count(DeliveryState.SENT) >= 95
    counts = [times_taken(standin, sent) for sent in all_sent]
    assert max(counts) == 1
    assert all(count == 1 for count, end in zip(counts, ends, strict=True) if end is DeliveryState.SENT)
    assert {Kind.ERROR_BEFORE, Kind.ERROR_AFTER, Kind.RESET_AFTER} <= set(standin.faults_met())
