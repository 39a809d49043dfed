"""What the SMS stand-in knows and does, without HTTP: who may send, what was taken, what became of it."""

import base64
import hashlib
import hmac
import json
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from deploy.standins.fault_switch import Door, FaultSwitch, Lie
from deploy.standins.ledger import BEIJING, Ledger, Taken

_PHONE = re.compile(r"(?:\+?86)?(1[3-9]\d{9}|(?!86)[1-9]\d{6,14})")
"""Of the mainland with or without its prefix, others as country and number."""
_CLOCK_TOLERANCE = timedelta(minutes=15)
_WAITING, _FAILED, _DELIVERED = 1, 2, 3
_STATUS_OF_LIE = {Lie.FAILED: _FAILED, Lie.WAITING: _WAITING}


@dataclass(frozen=True, slots=True)
class Account:
    """Who may send, and how this gateway treats them."""

    access_key_id: str
    secret: str
    honours_out_id: bool = False
    deliver_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer with a JSON object."""

    status: int
    body: dict[str, Any]


class SmsGateway:
    """What the gateway knows and does, without HTTP."""

    def __init__(self, account: Account, ledger: Ledger, switch: FaultSwitch) -> None:
        self.ledger = ledger
        self.switch = switch
        self._account = account
        self._lock = threading.Lock()
        self._nonces: set[str] = set()

    def door_of(self, params: dict[str, str], now: datetime) -> Door | Reply:
        """Which door was knocked at, or why it stays shut."""
        reason = self._refusal(params, now)
        if reason is not None:
            return Reply(400, _says(reason))
        try:
            return Door(params.get("Action", ""))
        except ValueError:
            return Reply(404, _says("InvalidAction.NotFound"))

    def act(self, door: Door, params: dict[str, str], now: datetime, lie: Lie | None = None) -> Reply:
        """Do what was asked for."""
        if door is Door.SEND:
            return self._send(params, now)
        return self._receipts(params, now, lie)

    def _refusal(self, params: dict[str, str], now: datetime) -> str | None:
        if params.get("AccessKeyId") != self._account.access_key_id:
            return "InvalidAccessKeyId.NotFound"
        try:
            at = datetime.strptime(params.get("Timestamp", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return "InvalidTimeStamp.Format"
        if abs(now - at) > _CLOCK_TOLERANCE:
            return "InvalidTimeStamp.Expired"
        signed = {name: value for name, value in params.items() if name != "Signature"}
        expected = signature_of(signed, self._account.secret)
        if not hmac.compare_digest(expected.encode(), params.get("Signature", "").encode()):
            return "SignatureDoesNotMatch"
        with self._lock:
            nonce = params.get("SignatureNonce", "")
            if not nonce or nonce in self._nonces:
                return "SignatureNonceUsed"
            self._nonces.add(nonce)
        return None

    def _send(self, params: dict[str, str], now: datetime) -> Reply:
        phone = _PHONE.fullmatch(params.get("PhoneNumbers", ""))
        if phone is None:
            return Reply(200, _says("isv.MOBILE_NUMBER_ILLEGAL"))
        if not params.get("SignName") or not params.get("TemplateCode"):
            return Reply(200, _says("isv.INVALID_PARAMETERS"))
        values = _template_params(params.get("TemplateParam", "{}"))
        if values is None:
            return Reply(200, _says("isv.INVALID_JSON_PARAM"))
        out_id = params.get("OutId", "")
        taken = self.ledger.of_key(out_id) if self._account.honours_out_id and out_id else None
        if taken is None:
            taken = self.ledger.take(
                out_id=out_id, phone=phone[1], template=params["TemplateCode"], params=values, at=now
            )
        return Reply(200, _says("OK") | {"BizId": taken.biz_id})

    def _receipts(self, params: dict[str, str], now: datetime, lie: Lie | None) -> Reply:
        phone = _PHONE.fullmatch(params.get("PhoneNumber", ""))
        size, page = params.get("PageSize", ""), params.get("CurrentPage", "")
        if phone is None or not (size.isdecimal() and 1 <= int(size) <= 50) or not page.isdecimal():
            return Reply(200, _says("isv.INVALID_PARAMETERS"))
        wanted = self.ledger.phone_hash(phone[1])
        found = [
            taken
            for taken in self.ledger.all()
            if taken.phone_hash == wanted
            and taken.day.strftime("%Y%m%d") == params.get("SendDate")
            and params.get("OutId") in (None, "", taken.out_id)
            and params.get("BizId") in (None, "", taken.biz_id)
        ]
        if lie is Lie.MISSING:
            found = []
        start = (max(int(page), 1) - 1) * int(size)
        details = [self._detail(taken, phone[1], now, lie) for taken in found[start : start + int(size)]]
        body = {"TotalCount": str(len(found)), "SmsSendDetailDTOs": {"SmsSendDetailDTO": details}}
        return Reply(200, _says("OK") | body)

    def _detail(self, taken: Taken, phone: str, now: datetime, lie: Lie | None) -> dict[str, Any]:
        at = datetime.fromisoformat(taken.at)
        delivered = now - at >= timedelta(seconds=self._account.deliver_after_s)
        truth = _DELIVERED if delivered else _WAITING
        status = _STATUS_OF_LIE.get(lie, truth) if lie else truth
        return {
            "PhoneNum": phone,
            "OutId": taken.out_id,
            "TemplateCode": taken.template,
            "SendStatus": status,
            "ErrCode": {_DELIVERED: "DELIVERED", _FAILED: "MOBILE_SEND_LIMIT"}.get(status, ""),
            "SendDate": f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
        }


def signature_of(params: dict[str, str], secret: str) -> str:
    """As published for Aliyun's RPC style; written apart from the client's, so that each checks the other."""
    pairs = [quote(name, safe="~") + "=" + quote(value, safe="~") for name, value in params.items()]
    query = "&".join(sorted(pairs))
    to_sign = "POST&%2F&" + quote(query, safe="~")
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), to_sign.encode(), hashlib.sha1)).decode()


def _says(code: str) -> dict[str, Any]:
    return {"Code": code, "Message": code, "RequestId": str(uuid4()).upper()}


def _template_params(text: str) -> dict[str, str] | None:
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        return None
    return values
