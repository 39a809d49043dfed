"""The worker is patched by eventlet: the channel must let others run while it waits, and still time out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.standins.fault_switch import Fault, Kind
from deploy.standins.launch import SmsStandin
from tests.support.eventlet_channels import send_twenty

CHANNEL = """
from pydantic import SecretStr
from services.notify.channels.sms import SmsChannel, SmsSettings
endpoint, secret = sys.argv[1:]
channel = SmsChannel(SmsSettings(endpoint=endpoint, access_key_id="standin",
    access_key_secret=SecretStr(secret), sign_name="x", timeout_s=1.5))
def address(n):
    return f"1380000{n:04d}"
"""


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[SmsStandin]:
    running = SmsStandin(tmp_path)
    running.start()
    yield running
    running.kill()


def test_twenty_slow_calls_run_side_by_side_and_hanging_ones_time_out(standin: SmsStandin) -> None:
    standin.plan(Fault(kind=Kind.SLOW, next=15, seconds=0.8), Fault(kind=Kind.SLOW, next=5, seconds=5))
    secret = standin.settings()["access_key_secret"]
    answers, elapsed_s = send_twenty(CHANNEL, standin.url, secret)
    assert sorted(answers) == ["accepted"] * 15 + ["unknown"] * 5
    assert elapsed_s < 4


COUNTED = (
    CHANNEL
    + """
from eventlet.green import select
looks = 0
look = select.select
def counted(*arguments):
    global looks
    looks += 1
    return look(*arguments)
select.select = sys.modules["select"].select = counted
send_first = channel.send
def send(message):
    # Each thread sends ten, so that connections are there and used again.
    for _ in range(10):
        told = send_first(message)
    assert looks <= 600, looks
    return told
channel.send = send
"""
)


def test_a_call_looks_at_its_own_connection_only(standin: SmsStandin) -> None:
    """In a pool of 20 each of 200 calls would look at all of them."""
    standin.plan(Fault(kind=Kind.SLOW, next=200, seconds=0.05))
    secret = standin.settings()["access_key_secret"]
    answers, _ = send_twenty(COUNTED, standin.url, secret)
    assert answers == ["accepted"] * 20
