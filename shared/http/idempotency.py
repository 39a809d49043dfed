"""Idempotency-Key: the same request sent twice makes one thing.

Source: draft-ietf-httpapi-idempotency-key-header-07.

Here are the rules; the table that remembers keys belongs to the service, in the transaction of its command.
"""

import hashlib
import re

from shared.errors import BadRequest

FIELD = "idempotency_key"
_KEY = re.compile(r"[\x21-\x7e]{8,128}")


class KeyMissing(BadRequest):
    """This door makes something, and the request has no usable Idempotency-Key."""

    code = "idempotency.key-missing"
    title_zh = "请求缺少 Idempotency-Key"
    title_en = "The request needs an Idempotency-Key"


def require_key(sent: str | None) -> str:
    """The key as it came in the header or the hidden field. Raises KeyMissing (400)."""
    # The draft spells it as a structured-field string; most clients send it bare. Both mean the same key.
    key = (sent or "").strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise KeyMissing(
            "请提供 8 至 128 个可见 ASCII 字符的 Idempotency-Key",
            "send an Idempotency-Key of 8 to 128 visible ASCII characters, for example a UUID",
        )
    return key


def fingerprint(method: str, route: str, body: bytes) -> str:
    """What makes two requests the same: SHA-256 over method, route template and body, in hex."""
    digest = hashlib.sha256()
    for part in (method.upper().encode(), route.encode(), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
