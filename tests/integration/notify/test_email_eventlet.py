"""In a worker sockets are green: mails to a slow server go side by side by STARTTLS, and hanging ones end."""

from pathlib import Path

from tests.support.eventlet_channels import send_twenty
from tests.support.smtp import HANG, PASSWORD, SLOW, USER, Mailbox, certificate, serving

CHANNEL = """
from services.notify.channels.email import EmailChannel, EmailSettings
port, ca_file, user, password = sys.argv[1:]
channel = EmailChannel(EmailSettings(host="127.0.0.1", port=int(port), ca_file=ca_file, username=user,
    password=password, sender="no-reply@hall.example.org", timeout_s=3))
def address(n):
    return f"{'slow' if n < 15 else 'hang'}@example.org"
"""


def test_twenty_slow_mails_go_side_by_side_and_hanging_ones_end(tmp_path: Path) -> None:
    mailbox = Mailbox({"slow@example.org": SLOW, "hang@example.org": HANG})
    trusted, context = certificate(tmp_path, "localhost", "127.0.0.1")
    secured = {"tls_context": context, "require_starttls": True, "auth_required": True}
    with serving(mailbox, authenticator=mailbox.authenticate, **secured) as port:
        answers, elapsed_s = send_twenty(CHANNEL, str(port), str(trusted), USER, PASSWORD)
    assert answers == ["accepted"] * 15 + ["unknown"] * 5
    # One after the other would take 15 times 0.8 s, and 5 times 3 s besides.
    assert elapsed_s < 8
