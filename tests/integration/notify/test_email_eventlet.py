"""In a worker sockets are green: mails to a slow server go side by side by STARTTLS, and hanging ones end."""

import subprocess
import sys
from pathlib import Path

from tests.support.smtp import HANG, PASSWORD, SLOW, USER, Mailbox, certificate, serving

PROGRAM = """
import os, sys, warnings
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated.*")
import eventlet
eventlet.monkey_patch()
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4
from services.notify.channels import OutsideMessage
from services.notify.channels.email import EmailChannel, EmailSettings

port, ca_file, user, password = sys.argv[1:]
channel = EmailChannel(EmailSettings(host="127.0.0.1", port=int(port), ca_file=ca_file, username=user,
    password=password, sender="no-reply@hall.example.org", timeout_s=3))
params = {"number": "330106261123000001X", "matter": "m", "date": "2026-12-01"}
def send(n):
    address = f"{'slow' if n < 15 else 'hang'}@example.org"
    return channel.send(OutsideMessage(uuid4(), address, "case-accepted", params, "en")).answer
started = time.monotonic()
with ThreadPoolExecutor(20) as pool:
    answers = list(pool.map(send, range(20)))
print(",".join(sorted(answers)), round(time.monotonic() - started, 2))
"""


def test_twenty_slow_mails_go_side_by_side_and_hanging_ones_end(tmp_path: Path) -> None:
    mailbox = Mailbox({"slow@example.org": SLOW, "hang@example.org": HANG})
    trusted, context = certificate(tmp_path, "localhost", "127.0.0.1")
    secured = {"tls_context": context, "require_starttls": True, "auth_required": True}
    with serving(mailbox, authenticator=mailbox.authenticate, **secured) as port:
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(port), str(trusted), USER, PASSWORD],
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
    # One after the other would take 15 times 0.8 s, and 5 times 3 s besides.
    assert float(elapsed) < 8
