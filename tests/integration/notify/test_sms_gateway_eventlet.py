"""The worker is patched by eventlet: the channel must let others run while it waits, and still time out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.standins.fault_switch import Fault, Kind
from deploy.standins.launch import SmsStandin

PROGRAM = """
import warnings
warnings.filterwarnings("ignore")
import eventlet
eventlet.monkey_patch()
import sys, time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4
from pydantic import SecretStr
from services.notify.channels import OutsideMessage
from services.notify.channels.sms import SmsChannel, SmsSettings

endpoint, secret = sys.argv[1:]
channel = SmsChannel(SmsSettings(endpoint=endpoint, access_key_id="standin",
    access_key_secret=SecretStr(secret), sign_name="x", timeout_s=1.5))
params = {"number": "330106261123000001X", "matter": "m", "date": "2026-12-01"}
def send(n):
    return channel.send(OutsideMessage(uuid4(), f"1380000{n:04d}", "case-accepted", params, "en")).answer
started = time.monotonic()
with ThreadPoolExecutor(20) as pool:
    answers = list(pool.map(send, range(20)))
print(",".join(sorted(answers)), round(time.monotonic() - started, 2))
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
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, standin.url, secret],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers, elapsed = run.stdout.split()
    assert answers.split(",").count("accepted") == 15
    assert answers.split(",").count("unknown") == 5
    assert float(elapsed) < 4
