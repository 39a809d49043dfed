"""SMS over an HTTP gateway shaped like Aliyun SendSms (API version 2017-05-25).

SendSms is not idempotent: after any doubt the receipt is asked for by our OutId before anything is sent again.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from services.notify.channels import OutsideMessage, Told
from services.notify.rules.delivery import Answer
from services.notify.templates import sms_params
from shared.faults import fault_point
from shared.settings import SmsSettings

_LONGEST_ANSWER = 64 * 1024
_TRY_LATER = ("isv.BUSINESS_LIMIT_CONTROL", "isp.SYSTEM_ERROR", "Throttling", "Throttling.User")
_WAITING, _FAILED, _DELIVERED = 1, 2, 3


class SmsChannel:
    """One gateway account. Safe to call from several threads."""

    name = "sms"
    address = "phone"

    def __init__(
        self, settings: SmsSettings, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._now = now
        self._client = httpx.Client(timeout=settings.timeout_s, trust_env=False, follow_redirects=False)

    def send(self, message: OutsideMessage) -> Told:
        """Send one SMS. Only an answer that can be read as "taken" or "not taken" counts as one."""
        body = self._call(
            "SendSms",
            {
                "PhoneNumbers": message.address,
                "SignName": self._settings.sign_name,
                "TemplateCode": self._settings.template_codes.get(message.template, message.template),
                "TemplateParam": json.dumps(sms_params(message.template, message.params), ensure_ascii=False),
                "OutId": str(message.key),
            },
        )
        if isinstance(body, Told):
            return body
        code = body.get("Code")
        if code == "OK" and body.get("BizId"):
            return Told(Answer.ACCEPTED, provider_ref=str(body["BizId"])[:100])
        if not isinstance(code, str) or code == "OK":
            return Told(Answer.UNKNOWN, "unreadable-answer")
        return Told(Answer.NOT_SENT if code in _TRY_LATER else Answer.REFUSED, code[:100])

    def ask(self, message: OutsideMessage, sent_on: date) -> Told:
        """What became of our OutId. A failed receipt is final: the provider had it."""
        body = self._call(
            "QuerySendDetails",
            {
                "PhoneNumber": message.address,
                "SendDate": sent_on.strftime("%Y%m%d"),
                "PageSize": "50",
                "CurrentPage": "1",
                "OutId": str(message.key),
            },
        )
        if isinstance(body, Told):
            return Told(Answer.UNKNOWN, body.reason)
        details = body.get("SmsSendDetailDTOs", {})
        found = details.get("SmsSendDetailDTO") if isinstance(details, dict) else None
        if body.get("Code") != "OK" or not isinstance(found, list):
            return Told(Answer.UNKNOWN, "unreadable-receipt")
        ours = [d for d in found if isinstance(d, dict) and d.get("OutId") == str(message.key)]
        if not ours:
            return Told(Answer.NEVER_TAKEN, "no-receipt")
        status = ours[0].get("SendStatus")
        if status in (_WAITING, _DELIVERED):
            return Told(Answer.ACCEPTED, provider_ref=str(ours[0].get("BizId", ""))[:100] or None)
        if status == _FAILED:
            return Told(Answer.REFUSED, f"receipt-failed:{str(ours[0].get('ErrCode', ''))[:60]}")
        return Told(Answer.UNKNOWN, "unreadable-receipt")

    def close(self) -> None:
        """Close the connections to the gateway."""
        self._client.close()

    def _call(self, action: str, params: dict[str, str]) -> dict[str, Any] | Told:
        try:
            fault_point(f"sms.{action}.before")
            response = self._client.post(self._settings.endpoint, data=self._signed(action, params))
            fault_point(f"sms.{action}.after")
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return Told(Answer.NOT_SENT, "not-connected")
        except httpx.HTTPError as error:
            # From here on bytes may have left us, so the gateway may have taken them.
            return Told(Answer.UNKNOWN, type(error).__name__)
        if response.status_code == 429:
            return Told(Answer.NOT_SENT, "http-429")
        if len(response.content) > _LONGEST_ANSWER:
            return Told(Answer.UNKNOWN, "answer-too-long")
        try:
            body = response.json()
        except ValueError:
            return Told(Answer.UNKNOWN, f"http-{response.status_code}-no-json")
        if response.status_code >= 500 or not isinstance(body, dict):
            return Told(Answer.UNKNOWN, f"http-{response.status_code}")
        return body

    def _signed(self, action: str, params: dict[str, str]) -> dict[str, str]:
        """RPC-style signature: HMAC-SHA1 over the sorted, percent-encoded parameters."""
        every = {
            **params,
            "Action": action,
            "Version": "2017-05-25",
            "Format": "JSON",
            "AccessKeyId": self._settings.access_key_id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": str(uuid4()),
            "Timestamp": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        secret = self._settings.access_key_secret.get_secret_value()
        return {**every, "Signature": signature(every, secret)}


def signature(params: dict[str, str], secret: str) -> str:
    """The signature of a request, as both sides compute it."""
    line = "&".join(f"{_encode(name)}={_encode(params[name])}" for name in sorted(params))
    text = f"POST&{_encode('/')}&{_encode(line)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
