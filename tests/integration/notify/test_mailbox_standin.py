"""The mailbox of the demo takes what the channel sends and shows it; so does the stand-in for SMS."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from deploy.standins.launch import MailStandin, SmsStandin, Standin
from services.notify.channels import OutsideMessage, open_channels
from services.notify.rules.delivery import SendResult
from services.notify.templates import render_notice
from shared.settings import Settings

PARAMS = {"number": "330106261123000001X", "matter": "居住证申领", "date": "2026-12-01"}


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailStandin]:
    running = MailStandin(tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def sms(tmp_path: Path) -> Iterator[SmsStandin]:
    running = SmsStandin(tmp_path)
    running.start()
    yield running
    running.kill()


def send(standin: Standin, tmp_path: Path, variables: dict[str, str], address: str) -> OutsideMessage:
    """By the channel as the environment sets it up."""
    texts: dict[str, dict[str, SecretStr]] = {}
    for variable, text in variables.items():
        _, channel, setting = variable.removesuffix("_FILE").lower().split("__")
        value = Path(text).read_text(encoding="utf-8") if variable.endswith("_FILE") else text
        texts.setdefault(channel, {})[setting] = SecretStr(value)
    settings = Settings(environment="test", db={"host": "/nowhere"}, secrets_dir=tmp_path, channels=texts)
    (channel_,) = open_channels(settings)
    message = OutsideMessage(uuid4(), address, "case-accepted", PARAMS, "zh-CN")
    told = channel_.send(message)
    channel_.close()
    assert told.answer is SendResult.ACCEPTED
    return message


def test_a_mail_is_on_the_page_and_stays_there(mail: MailStandin, tmp_path: Path) -> None:
    message = send(mail, tmp_path, mail.environment(), "xiaoman@mail.example.org")
    title, body = render_notice("case-accepted", "zh-CN", message.params)
    for _ in range(2):
        page = httpx.get(f"{mail.url}/", trust_env=False).text
        assert title in page
        assert body.strip() in page
        assert "x***@mail.example.org" in page
        assert "xiaoman" not in page
        (taken,) = mail.taken()
        assert str(message.key) in taken.message_id
        mail.kill()
        mail.start()


def test_a_text_message_is_on_the_page(sms: SmsStandin, tmp_path: Path) -> None:
    send(sms, tmp_path, sms.environment(), "13800138000")
    page = httpx.get(f"{sms.url}/", trust_env=False).text
    assert "case-accepted" in page
    assert PARAMS["number"] in page
    assert "13800138000" not in page
