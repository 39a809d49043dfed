"""Remembers the answer of every request that made something, in the transaction that made it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from shared.bus.unit import Unit
from shared.errors import Conflict, Invalid


class KeyReused(Invalid):
    """The key was used for another request."""

    code = "idempotency.key-reused"
    title_zh = "Idempotency-Key 已用于另一个请求"
    title_en = "This Idempotency-Key was used for another request"


class StillRunning(Conflict):
    """The first request with this key has not been answered yet."""

    code = "idempotency.still-running"
    title_zh = "相同的请求正在处理，请稍后查询"
    title_en = "The same request is still being handled; ask again in a moment"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What was answered, now or to an earlier request under the same key."""

    status: int
    body: dict[str, Any]


def answer_once(
    unit: Unit, principal: str, key: str, fingerprint: str, make: Callable[[], tuple[int, dict[str, Any]]]
) -> StoredResponse:
    """Run `make` for the first request with this key of this principal; later ones get its answer.

    Raises StillRunning (409) while the first is under way and KeyReused (422) for another request under the
    same key. The stored answer is sealed: it can hold a query code.
    """
    schema = unit.context.service
    got = unit.connection.execute(
        text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"{schema}/{principal}/{key}"},
    ).scalar_one()
    if not got:
        raise StillRunning
    row = f"{principal}/{key}"
    found = unit.connection.execute(
        text(
            f"SELECT fingerprint, status, sealed FROM {schema}.idempotency_keys "
            "WHERE principal = :principal AND key = :key"
        ),
        {"principal": principal, "key": key},
    ).first()
    if found is not None:
        if found.fingerprint != fingerprint:
            raise KeyReused
        stored = unit.context.vault.open(found.sealed, table="idempotency_keys", row=row, column="sealed")
        return StoredResponse(found.status, json.loads(stored))
    status, body = make()
    unit.connection.execute(
        text(
            f"INSERT INTO {schema}.idempotency_keys VALUES "
            "(:principal, :key, :fingerprint, :status, :sealed, :created_at)"
        ),
        {
            "principal": principal,
            "key": key,
            "fingerprint": fingerprint,
            "status": status,
            "sealed": unit.context.vault.seal(
                json.dumps(body, ensure_ascii=False), table="idempotency_keys", row=row, column="sealed"
            ),
            "created_at": unit.wall,
        },
    )
    return StoredResponse(status, body)
