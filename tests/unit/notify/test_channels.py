"""One file is one channel; and the signature is the one that the gateway's maker publishes."""

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import services.notify.channels as channels
from services.notify.channels import OutsideMessage, channel_names, open_channels, set_up_channels
from services.notify.channels._aliyun import signature
from services.notify.channels.sms import SmsChannel, SmsSettings
from services.notify.rules.delivery import SendResult
from services.notify.rules.notices import plan_notices
from shared.catalogue.matter import Notice
from shared.settings import Settings, SettingsError

SMS = {
    "endpoint": "http://127.0.0.1:9",
    "access_key_id": "id",
    "access_key_secret": "secret",
    "sign_name": "一件事",
    "timeout_s": "1",
    "template_codes": '{"case-accepted": "SMS_1", "case-accepted.en": "SMS_2"}',
}
EMAIL = {"host": "smtp.example.org", "sender": "no-reply@example.org"}
CHANNELS = {"sms": SMS, "email": EMAIL}
"""Each channel as the environment would set it up."""
PIGEON = """
from services.notify.channels import Told
from services.notify.rules.delivery import SendResult
from shared.sections import Section


class PigeonSettings(Section):
    loft: str
    birds: int = 1


SETTINGS = PigeonSettings


class Pigeon:
    name, address, has_receipts, at_once = "pigeon", "phone", False, 1

    def __init__(self, settings):
        self.settings = settings

    def send(self, message):
        return Told(SendResult.ACCEPTED)

    def ask(self, message, sent_on):
        return Told(SendResult.UNKNOWN)

    def close(self):
        pass


open_channel = Pigeon
"""


def settings(tmp_path: Path, **chosen: dict[str, str]) -> Settings:
    return Settings.model_validate(
        {"db": {"host": "/nowhere"}, "secrets_dir": tmp_path, "channels": chosen, "environment": "test"}
    )


@pytest.fixture
def pigeon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file that lies among the channels for a while."""
    (tmp_path / "pigeon.py").write_text(PIGEON, encoding="utf-8")
    monkeypatch.setattr(channels, "__path__", [*channels.__path__, str(tmp_path)])
    yield
    sys.modules.pop(f"{channels.__name__}.pigeon", None)


def test_there_are_settings_here_for_every_channel_that_there_is_a_file_for() -> None:
    assert set(CHANNELS) == set(channel_names())


@pytest.mark.parametrize("name", channel_names())
def test_each_file_opens_one_channel_of_its_own_name(name: str, tmp_path: Path) -> None:
    given = settings(tmp_path, **{name: CHANNELS[name]})
    assert set_up_channels(given) == (name,)
    (opened,) = open_channels(given)
    assert opened.name == name
    assert opened.address
    opened.close()


@pytest.mark.usefixtures("pigeon")
def test_a_channel_is_one_file(tmp_path: Path) -> None:
    given = settings(tmp_path, sms=SMS, pigeon={"loft": "roof", "birds": "3"})
    assert set_up_channels(given) == ("pigeon", "sms")
    opened: dict[str, Any] = {channel.name: channel for channel in open_channels(given)}
    assert set(opened) == {"pigeon", "sms"}
    assert opened["pigeon"].settings.model_dump() == {"loft": "roof", "birds": 3}
    notice = Notice(fact="approval.case-accepted", template="case-accepted")
    plans = plan_notices(notice, {"applicant": str(uuid4())}, set_up_channels(given))
    assert "pigeon" in {plan.channel for plan in plans}


@pytest.mark.usefixtures("pigeon")
def test_every_broken_setting_of_every_channel_is_named_at_once(tmp_path: Path) -> None:
    given = settings(
        tmp_path, sms={**SMS, "timeout_s": "soon", "sign_nam": "x"}, pigeon={"birds": "two hundred"}
    )
    with pytest.raises(SettingsError) as caught:
        open_channels(given)
    told = caught.value.detail_en
    for line in (
        "ONESTOP_CHANNELS__SMS__TIMEOUT_S: should be a valid number",
        "for example ONESTOP_CHANNELS__SMS__TIMEOUT_S=3.0",
        "ONESTOP_CHANNELS__SMS__SIGN_NAM: there is no such setting; known here: endpoint, access_key_id",
        "ONESTOP_CHANNELS__PIGEON__LOFT: it is not set",
        "ONESTOP_CHANNELS__PIGEON__BIRDS: should be a valid integer",
    ):
        assert line in told
    assert "two hundred" not in told
    assert "secret" not in told.replace("access_key_secret", "")


def test_a_channel_that_there_is_no_file_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ONESTOP_CHANNELS__SNS: there is no such section; known here: "):
        open_channels(settings(tmp_path, sns=SMS))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"username": "onestop"}, "ONESTOP_CHANNELS__EMAIL__*: give both username and password, or neither"),
        ({"security": "none"}, "ONESTOP_CHANNELS__EMAIL__*: security none is for a server on this machine"),
        ({"sender": "onestop"}, "ONESTOP_CHANNELS__EMAIL__SENDER: value error, this is no e-mail address"),
        ({"sender": "a@b.c\r\nBcc: x@y.z"}, "ONESTOP_CHANNELS__EMAIL__SENDER: value error"),
        ({"sender_name": "x\nBcc: x@y.z"}, "ONESTOP_CHANNELS__EMAIL__SENDER_NAME: value error"),
        ({"timeout_s": "60"}, "ONESTOP_CHANNELS__EMAIL__TIMEOUT_S: should be less than or equal to 12"),
    ],
)
def test_mail_is_not_set_up_so_that_it_could_leak_or_outlive_a_claim(
    tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        open_channels(settings(tmp_path, email=EMAIL | wrong))
    assert told in caught.value.detail_en
    assert "Bcc" not in caught.value.detail_en


def test_what_is_not_set_up_is_not_opened(tmp_path: Path) -> None:
    assert open_channels(settings(tmp_path)) == []
    assert set_up_channels(settings(tmp_path)) == ()


PUBLISHED: list[tuple[dict[str, Any], str, str]] = [
    (
        {
            "AccessKeyId": "testId",
            "Action": "SendSms",
            "Format": "XML",
            "OutId": "123",
            "PhoneNumbers": "15300000001",
            "RegionId": "cn-hangzhou",
            "SignName": "阿里云短信测试专用",
            "SignatureMethod": "HMAC-SHA1",
            "SignatureNonce": "45e25e9b-0a6f-4070-8c85-2956eda1b466",
            "SignatureVersion": "1.0",
            "TemplateCode": "SMS_71390007",
            "TemplateParam": '{"customer":"test"}',
            "Timestamp": "2017-07-12T02:42:19Z",
            "Version": "2017-05-25",
        },
        "testSecret",
        "zJDF+Lrzhj/ThnlvIToysFRq6t4=",
    ),
    (
        {
            "Timestamp": "2016-02-23T12:46:24Z",
            "Format": "XML",
            "AccessKeyId": "testid",
            "Action": "DescribeRegions",
            "SignatureMethod": "HMAC-SHA1",
            "SignatureNonce": "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf",
            "Version": "2014-05-26",
            "SignatureVersion": "1.0",
        },
        "testsecret",
        "OLeaidS1JvxuMvnyHOwuJ+uX5qY=",
    ),
]


@pytest.mark.parametrize(("params", "secret", "expected"), PUBLISHED)
def test_the_signature_is_the_published_one(params: dict[str, str], secret: str, expected: str) -> None:
    assert signature(params, secret, "GET") == expected


def test_nothing_is_sent_when_the_claim_may_be_somebody_elses() -> None:
    params = {"number": "330106261123000001X", "matter": "居住证申领", "date": "2026-12-01"}
    message = OutsideMessage(uuid4(), "13800008000", "case-accepted", params, "zh-CN", deadline=0.0)
    channel = SmsChannel(SmsSettings.model_validate(SMS))
    assert (channel.send(message).answer, channel.send(message).reason) == (
        SendResult.UNKNOWN,
        "claim-too-old",
    )
    assert channel.ask(message, date(2026, 11, 23)).answer is SendResult.UNKNOWN
    channel.close()
