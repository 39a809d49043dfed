"""Twenty messages at once through a channel, in a process that eventlet has patched as it patches workers."""

import subprocess
import sys

from tests.support.installation import ROOT

_PROGRAM = """
import os, sys, warnings
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated.*")
import eventlet
eventlet.monkey_patch()
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4
from services.notify.channels import OutsideMessage

%s
params = {"number": "330106261123000001X", "matter": "m", "date": "2026-12-01"}
def send(n):
    return channel.send(OutsideMessage(uuid4(), address(n), "case-accepted", params, "en")).answer
started = time.monotonic()
with ThreadPoolExecutor(20) as pool:
    answers = list(pool.map(send, range(20)))
print(",".join(answers), round(time.monotonic() - started, 2))
"""


def send_twenty(channel: str, *arguments: str) -> tuple[list[str], float]:
    """What became of each, and how many seconds all of them took.

    `channel`: the lines that make `channel` and `address(n)`, the n-th receiver, of `arguments`, which are in
    `sys.argv`.
    """
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM % channel, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers, elapsed = run.stdout.split()
    return answers.split(","), float(elapsed)
