"""Remembers the answer of every request that made something, in the transaction that made it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text

from shared.bus.unit import Answer, Unit
from shared.clock import moment
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
    schema, row = unit.context.service, f"{principal}/{key}"
    found = unit.connection.execute(
        _begin(schema), {"name": f"{schema}/{row}", "principal": principal, "key": key}
    ).one()
    unit.begin_at(moment(found.wall, found.offset_s))
    if not found.got:
        raise StillRunning
    if found.fingerprint is not None:
        if found.fingerprint != fingerprint:
            raise KeyReused
        stored = unit.context.vault.open(found.sealed, table="idempotency_keys", row=row, column="sealed")
        return StoredResponse(found.status, json.loads(stored))
    status, body = make()
    sealed = unit.context.vault.seal(
        json.dumps(body, ensure_ascii=False), table="idempotency_keys", row=row, column="sealed"
    )
    unit.remember(Answer(principal, key, fingerprint, status, sealed))
    return StoredResponse(status, body)


@cache
def _begin(schema: str) -> TextClause:
    """The lock of the key, what is stored under it, and both clocks, in one trip. They are two statements:
    the second must see what whoever had the lock before has committed since the first one began."""
    return text(
        "SELECT set_config('onestop.has_key', "
        "CAST(pg_try_advisory_xact_lock(hashtextextended(:name, 0)) AS text), true); "
        "SELECT current_setting('onestop.has_key') = 'true' AS got, clock_timestamp() AS wall, c.offset_s, "
        "k.fingerprint, k.status, k.sealed FROM onestop.clock AS c "
        f"LEFT JOIN {schema}.idempotency_keys AS k ON k.principal = :principal AND k.key = :key"
    )
