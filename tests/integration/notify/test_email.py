"""E-mail at a real SMTP server that is slow, refuses, breaks off, or is not what it should be."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.processes import free_port
from services.notify.channels import OutsideMessage, Told
from services.notify.channels.email import EmailChannel, EmailSettings
from services.notify.rules.delivery import SendResult
from services.notify.templates import render_notice
from tests.support.smtp import DROP, HANG, PASSWORD, USER, Mailbox, bare, certificate, serving

PARAMS = {"number": "330106261123000001X", "matter": "居住证申领", "date": "2026-12-01"}
TIMEOUT_S = 1.0


def message(address: str = "xiaoman@mail.example.org", locale: str = "zh-CN") -> OutsideMessage:
    return OutsideMessage(uuid4(), address, "case-accepted", PARAMS, locale)


def channel(port: int, **more: Any) -> EmailChannel:
    plain = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "no-reply@hall.example.org",
        "sender_name": "一件事服务大厅",
        "timeout_s": TIMEOUT_S,
    }
    return EmailChannel(EmailSettings.model_validate(plain | more))


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def port(mailbox: Mailbox) -> Iterator[int]:
    with serving(mailbox) as found:
        yield found


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_a_mail_says_what_the_notice_says(mailbox: Mailbox, port: int, locale: str) -> None:
    sent = message(locale=locale)
    assert channel(port).send(sent) == Told(SendResult.ACCEPTED)
    (mail,) = mailbox.mails
    title, body = render_notice("case-accepted", locale, PARAMS)
    assert mail["Subject"] == title
    assert mail.get_content().strip() == body.strip()
    assert mail["Content-Language"] == locale
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "一件事服务大厅 <no-reply@hall.example.org>"
    assert mail["To"] == sent.address
    assert mailbox.recipients == [sent.address]


def test_a_repeat_can_be_told_by_its_id(mailbox: Mailbox, port: int) -> None:
    sent = message()
    for _ in range(2):
        channel(port).send(sent)
    channel(port).send(message())
    ids = [mail["Message-ID"] for mail in mailbox.mails]
    assert ids[0] == ids[1] == f"<{sent.key}@hall.example.org>"
    assert ids[2] != ids[0]


ANSWERS = [
    ({"mail": "451 later"}, SendResult.NOT_SENT, "sender-451"),
    ({"mail": "550 who are you"}, SendResult.NOT_SENT, "sender-550"),
    ({"mail": DROP}, SendResult.NOT_SENT, "not-connected"),
    ({"mail": HANG}, SendResult.NOT_SENT, "not-connected"),
    ({"rcpt": "450 greylisted"}, SendResult.NOT_SENT, "recipient-450"),
    ({"rcpt": "421 going down"}, SendResult.NOT_SENT, "recipient-421"),
    ({"rcpt": "550 no such user"}, SendResult.REFUSED, "recipient-550"),
    ({"rcpt": DROP}, SendResult.NOT_SENT, "not-connected"),
    ({"rcpt": HANG}, SendResult.NOT_SENT, "not-connected"),
    ({"text": "452 full"}, SendResult.NOT_SENT, "text-452"),
    ({"text": "554 spam"}, SendResult.REFUSED, "text-554"),
    ({"text": DROP}, SendResult.UNKNOWN, "broke-off"),
    ({"text": HANG}, SendResult.UNKNOWN, "broke-off"),
    ({"text": "what"}, SendResult.UNKNOWN, "unreadable-answer"),
]


@pytest.mark.parametrize(("says", "result", "reason"), ANSWERS, ids=[str(case[0]) for case in ANSWERS])
def test_what_the_server_says_is_what_we_know(
    mailbox: Mailbox, port: int, says: dict[str, str], result: SendResult, reason: str
) -> None:
    mailbox.says = says
    began = time.monotonic()
    told = channel(port).send(message())
    assert (told.answer, told.reason) == (result, reason)
    assert time.monotonic() - began < 3 * TIMEOUT_S
    # What counts as not sent must not be in the box, and what broke off after the text may be.
    assert len(mailbox.mails) == (result is SendResult.UNKNOWN)
    mailbox.says = {}
    assert channel(port).send(message()).answer is SendResult.ACCEPTED


def test_a_doubt_is_never_cleared_up_by_asking(port: int) -> None:
    told = channel(port).ask(message(), date(2026, 11, 23))
    assert (told.answer, told.reason) == (SendResult.UNKNOWN, "no-receipts")


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def turned_away(connection: socket.socket) -> None:
    connection.sendall(b"554 not for you\r\n")


def dripping(connection: socket.socket) -> None:
    """Greets, then answers a byte at a time, so that no single read waits long."""
    connection.sendall(b"220 here\r\n")
    pause = threading.Event()
    while not pause.wait(TIMEOUT_S / 4):
        connection.sendall(b"2")


@pytest.mark.parametrize(
    ("talk", "reason"),
    [(silent, "not-connected"), (turned_away, "greeting-554"), (dripping, "not-connected")],
)
def test_a_server_that_never_gets_to_the_point_takes_nothing(talk: Any, reason: str) -> None:
    began = time.monotonic()
    with bare(talk) as port:
        told = channel(port).send(message())
    assert (told.answer, told.reason) == (SendResult.NOT_SENT, reason)
    assert time.monotonic() - began < 3 * TIMEOUT_S


def test_nobody_listening_means_not_sent() -> None:
    told = channel(free_port()).send(message())
    assert (told.answer, told.reason) == (SendResult.NOT_SENT, "not-connected")


def test_after_the_claim_nothing_leaves_us(mailbox: Mailbox, port: int) -> None:
    late = OutsideMessage(uuid4(), "a@example.org", "case-accepted", PARAMS, "en", deadline=time.monotonic())
    assert channel(port).send(late).answer is SendResult.NOT_SENT
    assert mailbox.mails == []


def test_by_starttls_and_with_a_password(mailbox: Mailbox, tmp_path: Path) -> None:
    trusted, context = certificate(tmp_path, "localhost", "127.0.0.1")
    secured = {"tls_context": context, "require_starttls": True, "auth_required": True}
    with serving(mailbox, authenticator=mailbox.authenticate, **secured) as port:
        good = {"security": "starttls", "ca_file": trusted, "username": USER, "password": PASSWORD}
        assert channel(port, **good).send(message()) == Told(SendResult.ACCEPTED)
        told = channel(port, **good | {"password": "wrong"}).send(message())
        assert (told.answer, told.reason) == (SendResult.NOT_SENT, "login-535")
        assert told.retry_after_s >= 60
        # A certificate of somebody whom we do not trust ends it before any password leaves us.
        log_ins = mailbox.log_ins
        told = channel(port, **good | {"ca_file": None}).send(message())
        assert (told.answer, told.reason) == (SendResult.NOT_SENT, "tls-failed")
        told = channel(port, **good | {"host": "127.0.0.2"}).send(message())
        assert told.answer is SendResult.NOT_SENT
        assert mailbox.log_ins == log_ins
    assert len(mailbox.mails) == 1


def test_by_tls_from_the_first_byte(mailbox: Mailbox, tmp_path: Path) -> None:
    trusted, context = certificate(tmp_path, "localhost", "127.0.0.1")
    with serving(mailbox, ssl_context=context) as port:
        assert channel(port, security="tls", ca_file=trusted).send(message()) == Told(SendResult.ACCEPTED)
        told = channel(port, security="tls").send(message())
        assert (told.answer, told.reason) == (SendResult.NOT_SENT, "tls-failed")
        mailbox.says = {"text": HANG}
        told = channel(port, security="tls", ca_file=trusted).send(message())
        assert (told.answer, told.reason) == (SendResult.UNKNOWN, "broke-off")


def test_a_server_without_starttls_gets_neither_text_nor_password(mailbox: Mailbox, port: int) -> None:
    told = channel(port, security="starttls", username=USER, password=PASSWORD).send(message())
    assert (told.answer, told.reason) == (SendResult.NOT_SENT, "not-supported")
    assert (mailbox.mails, mailbox.log_ins) == ([], 0)


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org\r\nBcc: b@example.org",
        "a@example.org\nX: y",
        "a@example.org, b@example.org",
        "a@example.org> RCPT TO:<b@example.org",
        "<a@example.org>",
        "a b@example.org",
        "a@exa mple.org",
        "甲@example.org",
        "a@例子.中国",
        "a\x00@example.org",
        "@example.org",
        "a@",
        "a",
        "",
    ],
)
def test_an_address_that_is_none_or_more_than_one_goes_nowhere(
    mailbox: Mailbox, port: int, address: str
) -> None:
    told = channel(port).send(message(address))
    assert (told.answer, told.reason) == (SendResult.REFUSED, "address-malformed")
    assert mailbox.mails == []


def test_whatever_the_address_one_mail_goes_to_it_or_none_at_all() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as port:
        mine = channel(port)

        @settings(max_examples=60, deadline=None)
        @given(st.from_regex(r"[!-~]{1,20}@[!-~]{1,20}", fullmatch=True) | st.emails() | st.text(max_size=30))
        def one_or_none(address: str) -> None:
            before = len(mailbox.recipients)
            told = mine.send(message(address))
            new = mailbox.recipients[before:]
            assert new == ([address] if told.answer is SendResult.ACCEPTED else [])
            if new:
                assert len(mailbox.mails[-1].get_all("To", [])) == 1
                assert mailbox.mails[-1]["Bcc"] is None

        one_or_none()
