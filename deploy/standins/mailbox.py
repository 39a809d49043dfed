"""A stand-in for everybody's mailbox: takes every mail over SMTP and shows it on a page.

    python -m deploy.standins.mailbox --smtp-port 8620 --port 8621 --mails mails.jsonl

Doors: SMTP without log-in or TLS on this machine; GET / (the page), /__mails (JSON), /__healthz.
"""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from deploy.standins.mails import Mail, Mailbox, masked
from deploy.standins.pages import list_page, shown

_LARGEST = 1 << 20


class Receiver:
    """What aiosmtpd tells about each mail."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """A mail has come."""
        found: EmailMessage = message_from_bytes(envelope.content, policy=policy.default)
        body = found.get_body(("plain",))
        for address in envelope.rcpt_tos:
            self._mailbox.put(
                Mail(
                    at=datetime.now(UTC).isoformat(timespec="seconds"),
                    to=masked(address),
                    subject=str(found["Subject"] or ""),
                    text=body.get_content() if isinstance(body, EmailMessage) else "",
                    message_id=str(found["Message-ID"] or ""),
                )
            )
        return "250 OK"


def make_handler(mailbox: Mailbox) -> type[BaseHTTPRequestHandler]:
    """The HTTP handler of one mailbox."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mails = mailbox.newest_first()
            if self.path == "/":
                rows = ((shown(mail.at), mail.to, mail.subject, mail.text) for mail in mails)
                columns = ("时间 Time", "收件人 To", "主题 Subject", "正文 Text")
                return self._answer(list_page("演示邮箱 Demo mailbox", columns, rows), "text/html")
            if self.path == "/__mails":
                told = json.dumps({"mails": [asdict(mail) for mail in mails]}, ensure_ascii=False)
                return self._answer(told.encode(), "application/json")
            if self.path == "/__healthz":
                return self._answer(b'{"status": "ok"}', "application/json")
            return self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: request lines are of no use here."""

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="mailbox", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--smtp-port", type=int, required=True, help="port that takes mails")
    parser.add_argument("--port", type=int, required=True, help="port of the page")
    parser.add_argument("--mails", type=Path, required=True, help="file of everything taken, JSON lines")
    options = parser.parse_args(arguments)
    mailbox = Mailbox(options.mails)
    smtp = Controller(Receiver(mailbox), options.host, options.smtp_port, data_size_limit=_LARGEST)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    smtp.start()
    try:
        with ThreadingHTTPServer((options.host, options.port), make_handler(mailbox)) as server:
            server.serve_forever(poll_interval=0.05)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
    finally:
        smtp.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
