"""One signed call in Aliyun's RPC style: what leaves us, what comes back, and how sure we may be of it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import SecretStr

_LONGEST_ANSWER = 64 * 1024
_VERSION = "2017-05-25"


@dataclass(frozen=True, slots=True)
class Account:
    """Who calls, and where. `timeout_s` is for a whole call."""

    endpoint: str
    access_key_id: str
    access_key_secret: SecretStr
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A JSON object that the gateway answered within the time and size that we allow."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The gateway cannot have acted: no connection, or turned away before it looked. `reason` is a code."""

    reason: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """The gateway may have acted, or not. `reason` is a code."""

    reason: str


class AliyunRpc:
    """One account at one gateway. Safe to call from several threads."""

    def __init__(self, account: Account, now: Callable[[], datetime]) -> None:
        self._account = account
        self._now = now
        self._tls = httpx.create_ssl_context(trust_env=False)
        # A connection a client: httpcore's pool looks at each of its connections at each request, and looking
        # is waiting in a process that eventlet has patched. With 50 in one pool a call cost 20 times the CPU.
        self._idle: list[httpx.Client] = []

    def call(self, action: str, params: dict[str, str]) -> Answered | NotTaken | Doubt:
        """Call once. Never raises for what the network or the gateway does."""
        client = self._taken()
        try:
            return self._call(client, action, params)
        finally:
            self._idle.append(client)

    def _call(self, client: httpx.Client, action: str, params: dict[str, str]) -> Answered | NotTaken | Doubt:
        deadline = time.monotonic() + self._account.timeout_s
        request = client.build_request("POST", self._account.endpoint, data=self._signed(action, params))
        try:
            response = client.send(request, stream=True)
            try:
                return _read(response, deadline)
            finally:
                response.close()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            return NotTaken("not-connected")
        except httpx.HTTPError as error:
            # From here on bytes may have left us.
            return Doubt(_code_of(error))

    def close(self) -> None:
        """Close the connections to the gateway."""
        while self._idle:
            self._idle.pop().close()

    def _taken(self) -> httpx.Client:
        """The one that was used last, so that no more stay open than are needed."""
        try:
            return self._idle.pop()
        except IndexError:
            return httpx.Client(
                timeout=self._account.timeout_s, trust_env=False, follow_redirects=False, verify=self._tls
            )

    def _signed(self, action: str, params: dict[str, str]) -> dict[str, str]:
        every = {
            **params,
            "Action": action,
            "Version": _VERSION,
            "Format": "JSON",
            "AccessKeyId": self._account.access_key_id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": str(uuid4()),
            "Timestamp": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        secret = self._account.access_key_secret.get_secret_value()
        return {**every, "Signature": signature(every, secret)}


def signature(params: dict[str, str], secret: str, method: str = "POST") -> str:
    """HMAC-SHA1 over the sorted, percent-encoded parameters, in base64."""
    line = "&".join(f"{_encode(name)}={_encode(params[name])}" for name in sorted(params))
    text = f"{method}&{_encode('/')}&{_encode(line)}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _read(response: httpx.Response, deadline: float) -> Answered | NotTaken | Doubt:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return NotTaken("http-429", _seconds(response.headers.get("retry-after", "")))
    received, late = bytearray(), False
    for chunk in response.iter_bytes():
        if late:
            # httpx times each read by itself; drop by drop would keep us for ever.
            return Doubt("answer-too-slow")
        received += chunk
        if len(received) > _LONGEST_ANSWER:
            return Doubt("answer-too-long")
        late = time.monotonic() > deadline
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Doubt(f"http-{status}")
    try:
        body = json.loads(received)
    except (ValueError, RecursionError):
        return Doubt(f"http-{status}-no-json")
    return Answered(status, body) if isinstance(body, dict) else Doubt(f"http-{status}-no-object")


def _seconds(header: str) -> float:
    return float(header) if header.isdecimal() and len(header) < 7 else 0.0


def _code_of(error: httpx.HTTPError) -> str:
    """`ReadTimeout` as `read-timeout`; the message of the error may quote what we sent."""
    name = type(error).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).removeprefix("-")
