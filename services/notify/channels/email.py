"""E-mail over SMTP (RFC 5321), by STARTTLS or TLS.

SMTP knows no key for a repeat and keeps no receipts. What breaks off after the text began to leave us is a
doubt: it is shown to people and never sent again by itself. `Message-ID` follows from our key, so that two of
one message can be told to be one.
"""

import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from services.notify.channels import OutsideMessage, Told
from services.notify.rules.delivery import SendResult
from services.notify.templates import render_notice
from shared.faults import fault_point
from shared.sections import Section

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_TO_MEND_S = 600.0
"""Before the next attempt where somebody has to mend something at our account."""
_BUSY_S = 60.0
_BROKEN = (OSError, smtplib.SMTPException, ValueError)
"""How a conversation ends before its time; a TLS socket that was cut raises ValueError."""


class EmailSettings(Section):
    """A server that takes our mail on."""

    host: str = Field(description="host name of the SMTP server", examples=["smtp.example.org"])
    port: int = Field(default=587, ge=1, le=65535, description="port number")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls, or none for a server on this machine"
    )
    ca_file: Path | None = Field(
        default=None, description="certificates to trust instead of those of the system"
    )
    username: str | None = Field(default=None, min_length=1, description="user to log in as")
    password: SecretStr | None = Field(default=None, description="password, given as ..._FILE")
    sender: str = Field(description="address that mails come from", examples=["no-reply@example.org"])
    sender_name: str = Field(default="", max_length=100, description="name that mails come from")
    timeout_s: float = Field(default=10.0, gt=0, le=12, description="seconds for one whole conversation")

    @field_validator("sender")
    @classmethod
    def _is_address(cls, sender: str) -> str:
        if not _ADDRESS.fullmatch(sender):
            raise ValueError("this is no e-mail address")
        return sender

    @field_validator("sender_name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("a name is one line of text")
        return name

    @model_validator(mode="after")
    def _nothing_in_the_clear(self) -> "EmailSettings":
        if (self.username is None) != (self.password is None):
            raise ValueError("give both username and password, or neither")
        if self.security == "none" and self.host not in _LOOPBACK:
            raise ValueError("security none is for a server on this machine: mails hold what concerns people")
        return self


SETTINGS = EmailSettings
ADDRESS = "email"


class EmailChannel:
    """One account at one server; a connection a message. Safe to call from several threads."""

    name = "email"
    address = ADDRESS
    has_receipts = False
    at_once = 20

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._context = ssl.create_default_context(cafile=settings.ca_file)

    def send(self, message: OutsideMessage) -> Told:
        """Send one mail. Only a refusal, or an end before the text began to leave us, counts as not taken."""
        if not _ADDRESS.fullmatch(message.address):
            return Told(SendResult.REFUSED, "address-malformed")
        until = time.monotonic() + self._settings.timeout_s
        if message.deadline is not None:
            until = min(until, message.deadline)
        written = self._written(message)
        fault_point("email.send.before")
        told = self._deliver(message.address, written, until)
        fault_point("email.send.after")
        return told

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """Nobody can be asked."""
        return Told(SendResult.UNKNOWN, "no-receipts")

    def close(self) -> None:
        """Nothing stays open."""

    def _written(self, message: OutsideMessage) -> bytes:
        title, body = render_notice(message.template, message.locale, message.params, message.stop)
        mail = EmailMessage(policy=SMTP)
        mail["From"] = _header_of(self._settings.sender, self._settings.sender_name)
        mail["To"] = _header_of(message.address)
        mail["Subject"] = title
        mail["Date"] = localtime()
        mail["Message-ID"] = f"<{message.key}@{_domain_of(self._settings.sender)}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(body, cte="base64")
        mail["Content-Language"] = message.locale
        return mail.as_bytes()

    def _deliver(self, address: str, written: bytes, until: float) -> Told:
        try:
            with self._conversation(until) as server:
                return self._hand_over(server, address, written)
        except smtplib.SMTPAuthenticationError as error:
            return Told(SendResult.NOT_SENT, f"login-{error.smtp_code}", retry_after_s=_TO_MEND_S)
        except smtplib.SMTPResponseException as error:
            return Told(SendResult.NOT_SENT, f"greeting-{error.smtp_code}", retry_after_s=_BUSY_S)
        except (ssl.SSLError, smtplib.SMTPNotSupportedError) as error:
            wrong = "tls-failed" if isinstance(error, ssl.SSLError) else "not-supported"
            return Told(SendResult.NOT_SENT, wrong, retry_after_s=_TO_MEND_S)
        except _BROKEN:
            # What breaks once the text leaves us is answered in `_hand_over`.
            return Told(SendResult.NOT_SENT, "not-connected")

    @contextmanager
    def _conversation(self, until: float) -> Iterator[smtplib.SMTP]:
        """A server that has greeted us and knows who we are, until that moment on the monotonic clock."""
        server = self._connected(_left(until))
        # Each read has the time-out for itself, so drop by drop a server could keep us for ever.
        guard = threading.Timer(_left(until), _cut, [server])
        guard.daemon = True
        guard.start()
        try:
            if self._settings.security == "starttls":
                server.starttls(context=self._context)
            if self._settings.username is not None and self._settings.password is not None:
                server.login(self._settings.username, self._settings.password.get_secret_value())
            yield server
        finally:
            guard.cancel()
            server.close()

    def _connected(self, timeout_s: float) -> smtplib.SMTP:
        mine = self._settings
        # Our name is given, else it is looked up, and nothing bounds how long that takes.
        ours = _domain_of(mine.sender)
        if mine.security == "tls":
            return smtplib.SMTP_SSL(mine.host, mine.port, ours, timeout=timeout_s, context=self._context)
        return smtplib.SMTP(mine.host, mine.port, ours, timeout=timeout_s)

    def _hand_over(self, server: smtplib.SMTP, address: str, written: bytes) -> Told:
        server.ehlo_or_helo_if_needed()
        code, _ = server.mail(self._settings.sender)
        if code != 250:
            wait = _TO_MEND_S if _is_final(code) else _BUSY_S
            return Told(SendResult.NOT_SENT, f"sender-{code}", retry_after_s=wait)
        code, _ = server.rcpt(address)
        if code not in (250, 251):
            return _refused("recipient", code)
        code, _ = server.docmd("DATA")
        if code != 354:
            return _refused("data", code)
        try:
            server.send(re.sub(rb"(?m)^\.", b"..", written) + b".\r\n")
            code, _ = server.getreply()
        except _BROKEN:
            return Told(SendResult.UNKNOWN, "broke-off")
        if not 200 <= code < 600:
            return Told(SendResult.UNKNOWN, "unreadable-answer")
        if code >= 300:
            return _refused("text", code)
        with suppress(*_BROKEN):
            server.quit()
        return Told(SendResult.ACCEPTED)


def open_channel(settings: EmailSettings) -> EmailChannel:
    """E-mail through this server."""
    return EmailChannel(settings)


def _refused(what: str, code: int) -> Told:
    if _is_final(code):
        return Told(SendResult.REFUSED, f"{what}-{code}")
    return Told(SendResult.NOT_SENT, f"{what}-{code}", retry_after_s=_BUSY_S)


def _is_final(code: int) -> bool:
    """4yz is for now, 5yz for good (RFC 5321 section 4.2.1)."""
    return 500 <= code < 600


def _header_of(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2]


def _left(until: float) -> float:
    """Raises TimeoutError when no time is left: afterwards somebody else may hold the claim."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _cut(server: smtplib.SMTP) -> None:
    sock = server.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
