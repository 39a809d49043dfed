"""What the stand-ins took is shown in the time of the law, as on every page, whatever they wrote down."""

import os
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

from deploy.standins.fault_switch import FaultSwitch
from deploy.standins.ledger import Ledger
from deploy.standins.mailbox import make_handler
from deploy.standins.mails import Mail, Mailbox
from deploy.standins.sms_core import Account, SmsGateway
from deploy.standins.sms_http import _Handler

AT = datetime(2026, 11, 28, 16, 30, tzinfo=UTC)
SHOWN = "2026-11-29 00:30:00"


def test_mails(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mails.jsonl")
    mailbox.put(Mail(AT.isoformat(), "x***@example.org", "subject", "text", "id"))
    with ThreadingHTTPServer(("127.0.0.1", 0), make_handler(mailbox)) as server:
        Thread(target=server.handle_request).start()
        with urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
            page = answer.read().decode()
    mailbox._file.close()
    assert f"<td>{SHOWN}</td>" in page


def test_text_messages(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sms.jsonl", key="key")
    ledger.take(out_id="1", phone="13800000000", template="T", params={"a": "b"}, at=AT)
    handler = object.__new__(_Handler)
    handler.gateway = SmsGateway(Account("id", "secret"), ledger, FaultSwitch())
    page = handler._page().decode()
    os.close(ledger._file)
    assert f"<td>{SHOWN}</td>" in page
