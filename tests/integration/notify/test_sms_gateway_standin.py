"""The stand-in itself: its books outlive it, and it is as ill as it was told to be."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from deploy.standins.fault_switch import Door, Fault, FaultSwitch, Kind, Plan
from deploy.standins.launch import SmsStandin
from services.notify.channels import OutsideMessage
from services.notify.channels.sms import SmsChannel, SmsSettings
from services.notify.rules.delivery import SendResult
from shared.legal_time import legal_day

PARAMS = {"number": "330106261123000001X", "matter": "居住证申领", "date": "2026-12-01"}
Start = Callable[..., SmsStandin]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[SmsStandin] = []

    def begin(*options: str) -> SmsStandin:
        standin = SmsStandin(tmp_path, options=options)
        started.append(standin)
        standin.start()
        return standin

    yield begin
    for standin in started:
        standin.kill()


def message(key: UUID | None = None) -> OutsideMessage:
    return OutsideMessage(key or uuid4(), "13800008000", "case-accepted", PARAMS, "zh-CN")


def test_its_books_survive_kill_9_and_a_torn_line(start: Start) -> None:
    standin = start()
    channel = SmsChannel(SmsSettings.model_validate(standin.settings()))
    sent = message()
    channel.send(sent)
    standin.kill()
    assert channel.send(message()).answer is not SendResult.ACCEPTED
    with (standin.folder / "sms.jsonl").open("ab") as ledger:
        ledger.write(b'{"out_id": "torn')
    standin.start()
    assert channel.ask(sent, legal_day(datetime.now(UTC))).answer is SendResult.ACCEPTED
    again = message()
    assert channel.send(again).answer is SendResult.ACCEPTED
    assert [taken.out_id for taken in standin.taken()] == [str(sent.key), str(again.key)]
    channel.close()


@pytest.mark.parametrize(("options", "lines"), [((), 2), (("--honours-out-id",), 1)])
def test_a_repeated_key_is_taken_twice_unless_it_honours_it(
    start: Start, options: tuple[str, ...], lines: int
) -> None:
    standin = start(*options)
    channel = SmsChannel(SmsSettings.model_validate(standin.settings()))
    sent = message()
    told = [channel.send(sent).answer for _ in range(2)]
    channel.close()
    assert told == [SendResult.ACCEPTED] * 2
    assert len(standin.taken()) == lines


def test_a_receipt_waits_until_delivered(start: Start) -> None:
    standin = start("--deliver-after", "600")
    channel = SmsChannel(SmsSettings.model_validate(standin.settings()))
    sent = message()
    channel.send(sent)
    assert channel.ask(sent, legal_day(datetime.now(UTC))).answer is SendResult.ACCEPTED
    channel.close()


def test_a_request_that_is_replayed_is_turned_away(start: Start) -> None:
    standin = start()
    body = httpx.post(standin.url, data={"Action": "SendSms"}, trust_env=False)
    assert (body.status_code, body.json()["Code"]) == (400, "InvalidAccessKeyId.NotFound")
    channel = SmsChannel(SmsSettings.model_validate(standin.settings()))
    signed = channel._gateway._signed("SendSms", {"PhoneNumbers": "13800008000"})
    first, second = (httpx.post(standin.url, data=signed, trust_env=False).json()["Code"] for _ in range(2))
    channel.close()
    assert (first, second) == ("isv.INVALID_PARAMETERS", "SignatureNonceUsed")


def test_a_plan_that_cannot_be_is_refused(start: Start) -> None:
    standin = start()
    both = {"faults": [{"kind": "slow", "next": 1, "probability": 0.5}]}
    assert httpx.post(f"{standin.url}/__faults", json=both, trust_env=False).status_code == 400
    sending_lie = {"faults": [{"kind": "lie", "next": 1}]}
    assert httpx.post(f"{standin.url}/__faults", json=sending_lie, trust_env=False).status_code == 400


def test_the_same_seed_brings_the_same_faults() -> None:
    def met(seed: int) -> list[bool]:
        switch = FaultSwitch()
        switch.set(Plan(faults=[Fault(kind=Kind.LIMIT, probability=0.5)], seed=seed))
        return [switch.meet(Door.SEND) is not None for _ in range(64)]

    assert met(1) == met(1)
    assert met(1) != met(2)
    assert 16 < sum(met(1)) < 48
