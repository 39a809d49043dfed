"""SMS over an HTTP gateway shaped like Aliyun SendSms (API version 2017-05-25).

SendSms is not idempotent: after any doubt the receipt is asked for by our OutId before anything is sent
again.
"""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import Field, SecretStr, field_validator

from services.notify.channels import OutsideMessage, Told
from services.notify.channels._aliyun import Account, AliyunRpc, Answered, Doubt
from services.notify.rules.delivery import SendResult
from services.notify.templates import sms_params
from shared.faults import fault_point
from shared.legal_time import legal_day
from shared.privacy.masks import mask_text
from shared.sections import Section

_WAITING, _FAILED, _DELIVERED = 1, 2, 3
_RECEIPTS_A_PAGE = 50
# Codes that say "not now": limits, and what somebody has to mend at our account.
_NOT_NOW: tuple[tuple[str, float], ...] = (
    ("isv.BUSINESS_LIMIT", 60.0),
    ("BUSINESS_LIMIT", 60.0),
    ("isv.DAY_LIMIT", 3600.0),
    ("isv.MONTH_LIMIT", 3600.0),
    ("Throttling", 5.0),
    ("isv.OUT_OF_SERVICE", 600.0),
    ("isv.AMOUNT_NOT_ENOUGH", 600.0),
    ("isv.ACCOUNT_", 600.0),
    ("isv.PRODUCT_UN", 600.0),
    ("isp.RAM_PERMISSION_DENY", 600.0),
    ("SignatureDoesNotMatch", 600.0),
    ("SignatureNonceUsed", 1.0),
    ("InvalidTimeStamp", 60.0),
    ("InvalidAccessKeyId", 600.0),
)
# Codes of a gateway that stumbled; they do not say before or after it took the message.
_STUMBLED = ("isp.", "InternalError", "ServiceUnavailable", "UnknownError")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,79}")
_MAINLAND = re.compile(r"1[3-9][0-9]{9}")
_REFERENCE = re.compile(r"[A-Za-z0-9^_-]{1,100}")


class SmsSettings(Section):
    """A gateway shaped like Aliyun SendSms."""

    endpoint: str = Field(description="base URL", examples=["https://dysmsapi.aliyuncs.com"])
    access_key_id: str = Field(min_length=1, description="access key id")
    access_key_secret: SecretStr = Field(description="access key secret, given as ..._FILE")
    sign_name: str = Field(min_length=1, description="registered signature of the sender")
    timeout_s: float = Field(default=3.0, gt=0, le=30, description="seconds to wait for an answer")
    template_codes: dict[str, str] = Field(
        default={},
        description="gateway template code by our template name, each also as `<name>.unasked` with the way "
        "to stop such messages",
        examples=['{"case-accepted":"SMS_1"}'],
    )

    @field_validator("template_codes", mode="before")
    @classmethod
    def _from_json(cls, given: object) -> object:
        return json.loads(given) if isinstance(given, str) else given


SETTINGS = SmsSettings
ADDRESS = "phone"


class SmsChannel:
    """One gateway account. Safe to call from several threads."""

    name = "sms"
    address = ADDRESS
    has_receipts = True
    at_once = 50

    def __init__(
        self, settings: SmsSettings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._now = now
        account = Account(
            settings.endpoint, settings.access_key_id, settings.access_key_secret, settings.timeout_s
        )
        self._gateway = AliyunRpc(account, now)

    def send(self, message: OutsideMessage) -> Told:
        """Send one SMS. Only an answer that can be read as "taken" or "not taken" counts as one."""
        number = _number(message.address)
        if number is None:
            return Told(SendResult.REFUSED, "number-ambiguous")
        params = {
            "PhoneNumbers": number,
            "SignName": self._settings.sign_name,
            "TemplateCode": self._template_code(message),
            "TemplateParam": json.dumps(
                sms_params(message.template, message.params, message.stop), ensure_ascii=False
            ),
            "OutId": str(message.key),
        }
        if message.deadline is not None and time.monotonic() > message.deadline:
            return Told(SendResult.UNKNOWN, "claim-too-old")
        fault_point("sms.send.before")
        got = self._gateway.call("SendSms", params)
        fault_point("sms.send.after")
        if isinstance(got, Answered):
            return _sent(got)
        if isinstance(got, Doubt):
            return Told(SendResult.UNKNOWN, got.reason)
        return Told(SendResult.NOT_SENT, got.reason, retry_after_s=got.retry_after_s)

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """What became of our OutId. A failed receipt is final: the provider had it."""
        # What left us just before midnight may stand in the gateway's next day.
        days = {sent_on, min(sent_on + timedelta(days=1), max(sent_on, legal_day(self._now())))}
        fault_point("sms.ask.before")
        told = Told(SendResult.UNKNOWN, "not-asked")
        for day in sorted(days):
            told = self._ask_day(message, day)
            if told.answer is not SendResult.NEVER_TAKEN:
                break
        fault_point("sms.ask.after")
        return told

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._gateway.close()

    def _ask_day(self, message: OutsideMessage, day: date) -> Told:
        got = self._gateway.call(
            "QuerySendDetails",
            {
                "PhoneNumber": _number(message.address) or "",
                "SendDate": day.strftime("%Y%m%d"),
                "PageSize": str(_RECEIPTS_A_PAGE),
                "CurrentPage": "1",
                "OutId": str(message.key),
            },
        )
        if isinstance(got, Answered):
            return _receipt(got, str(message.key))
        return Told(SendResult.UNKNOWN, got.reason)

    def _template_code(self, message: OutsideMessage) -> str:
        """The code for this language, else for both; gateways that let us choose codes know our own name."""
        codes = self._settings.template_codes
        # Never the plain text in place of the one that says how to stop it.
        name = message.template if message.stop is None else f"{message.template}.unasked"
        return codes.get(f"{name}.{message.locale}", codes.get(name, name))


def open_channel(settings: SmsSettings) -> SmsChannel:
    """SMS over this gateway."""
    return SmsChannel(settings)


def _number(address: str) -> str | None:
    """As the gateway documents numbers: eleven digits for the mainland, country and number without a + for
    others. Some of +1 would then be read as somebody's on the mainland: these have no spelling there."""
    number = address.removeprefix("+")
    return None if number != address and _MAINLAND.fullmatch(number) else number


def _sent(got: Answered) -> Told:
    code = got.body.get("Code")
    if code == "OK":
        reference = _reference(got.body.get("BizId"))
        if got.status == 200 and reference:
            return Told(SendResult.ACCEPTED, provider_ref=reference)
        return Told(SendResult.UNKNOWN, "unreadable-answer")
    reason = _code(code)
    if reason is None:
        return Told(SendResult.UNKNOWN, "unreadable-answer")
    if reason.startswith(_STUMBLED):
        return Told(SendResult.UNKNOWN, reason)
    for start, wait in _NOT_NOW:
        if reason.startswith(start):
            return Told(SendResult.NOT_SENT, reason, retry_after_s=wait)
    return Told(SendResult.REFUSED, reason)


def _receipt(got: Answered, key: str) -> Told:
    details = got.body.get("SmsSendDetailDTOs")
    found = details.get("SmsSendDetailDTO") if isinstance(details, dict) else None
    if got.status != 200 or got.body.get("Code") != "OK" or not isinstance(found, list):
        return Told(SendResult.UNKNOWN, _code(got.body.get("Code")) or "unreadable-receipt")
    ours = [detail for detail in found if isinstance(detail, dict) and detail.get("OutId") == key]
    if ours:
        return _best([_told_by(detail) for detail in ours])
    total = got.body.get("TotalCount")
    if not isinstance(total, int | str) or str(total) != str(len(found)):
        # Ours may stand on a page that we did not see.
        return Told(SendResult.UNKNOWN, "receipts-incomplete")
    return Told(SendResult.NEVER_TAKEN, "no-receipt")


def _told_by(detail: dict[str, Any]) -> Told:
    status = detail.get("SendStatus")
    if status in (_WAITING, _DELIVERED):
        return Told(SendResult.ACCEPTED, provider_ref=_reference(detail.get("BizId")))
    if status == _FAILED:
        return Told(SendResult.REFUSED, f"receipt-failed:{_code(detail.get('ErrCode')) or 'no-code'}")
    return Told(SendResult.UNKNOWN, "unreadable-receipt")


def _best(told: list[Told]) -> Told:
    """Of several receipts for one key the one that says most: it reached somebody."""
    order = (SendResult.ACCEPTED, SendResult.UNKNOWN, SendResult.REFUSED)
    return min(told, key=lambda one: order.index(one.answer))


def _code(value: object) -> str | None:
    """A code of the gateway if it looks like one: it goes into reasons and logs, a phone must not."""
    if isinstance(value, str) and _CODE.fullmatch(value) and mask_text(value) == value:
        return value
    return None


def _reference(value: object) -> str | None:
    return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else None
