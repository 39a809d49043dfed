"""One file is one channel; and the signature is the one that the gateway's maker publishes."""

from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

import services.notify.channels as channels
from services.notify.channels import OutsideMessage, channel_names, open_channels
from services.notify.channels._aliyun import signature
from services.notify.channels.sms import SmsChannel
from services.notify.rules.delivery import SendResult
from shared.settings import DbSettings, Settings, SmsSettings

SMS = SmsSettings(
    endpoint="http://127.0.0.1:9",
    access_key_id="id",
    access_key_secret=SecretStr("secret"),
    sign_name="一件事",
    timeout_s=1,
    template_codes={"case-accepted": "SMS_1", "case-accepted.en": "SMS_2"},
)


def settings(tmp_path: Path, sms: SmsSettings | None) -> Settings:
    return Settings(db=DbSettings(host="/nowhere"), secrets_dir=tmp_path, sms=sms)


@pytest.mark.parametrize("name", channel_names())
def test_each_file_opens_one_channel_of_its_own_name(name: str, tmp_path: Path) -> None:
    opened = import_module(f"{channels.__name__}.{name}").open_channel(settings(tmp_path, SMS))
    assert opened.name == name
    assert opened.address
    opened.close()


def test_an_installation_without_a_gateway_has_no_sms(tmp_path: Path) -> None:
    assert open_channels(settings(tmp_path, None)) == []
    assert [channel.name for channel in open_channels(settings(tmp_path, SMS))] == ["sms"]


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
    channel = SmsChannel(SMS)
    assert (channel.send(message).answer, channel.send(message).reason) == (
        SendResult.UNKNOWN,
        "claim-too-old",
    )
    assert channel.ask(message, date(2026, 11, 23)).answer is SendResult.UNKNOWN
    channel.close()
