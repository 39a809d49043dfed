"""What is parked: seen, replayed and dropped by people, each act noted with who did it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text

from shared.bus.context import ServiceContext
from shared.bus.gate import NOTHING_HEARD, Gate, gate_json, gate_of
from shared.bus.hints import inbox_hint
from shared.bus.unit import Unit, unit_of
from shared.bus.wire import Undecodable, Unreadable, from_json
from shared.errors import Conflict, NotFound


class ParkedNotFound(NotFound):
    code = "parked.not-found"
    title_zh = "没有找到该搁置消息"
    title_en = "Nothing is parked under this id"


class StillUnreadable(Conflict):
    code = "parked.still-unreadable"
    title_zh = "当前版本仍无法读取该消息"
    title_en = "This release still cannot read it; upgrade first, or drop it"


@dataclass(frozen=True, slots=True)
class Parked:
    """One parked fact or message. `waiting_behind` counts the facts of its case that wait for it."""

    id: str
    service: str
    type: str | None
    case: str | None
    speaker: str | None
    sequence: int | None
    attempts: int
    deaths: int
    reason: str
    received_at: datetime
    waiting_behind: int


def list_parked(context: ServiceContext) -> list[Parked]:
    """Everything parked in one service, the oldest first."""
    schema = context.service
    with unit_of(context, "parked.list") as unit:
        rows = unit.connection.execute(
            text(
                "SELECT id::text AS id, type, case_no, speaker, sequence, attempts, deaths, reason, "
                "received_at, "
                f"(SELECT count(*) FROM {schema}.inbox w WHERE w.case_no = i.case_no AND w.state = "
                "'waiting') AS behind "
                f"FROM {schema}.inbox i WHERE state IN ('parked', 'unreadable') "
                "UNION ALL SELECT sha256, NULL, NULL, NULL, NULL, times, 0, reason, received_at, 0 "
                f"FROM {schema}.undecodable WHERE state = 'parked' ORDER BY received_at"
            )
        ).mappings()
        return [_parked(schema, row) for row in rows]


def show_parked(context: ServiceContext, parked_id: str) -> dict[str, Any]:
    """One parked fact with its payload, for people who mend. Raises ParkedNotFound."""
    with unit_of(context, "parked.show") as unit:
        row = _find(unit, parked_id)
        return {
            "id": parked_id,
            "service": context.service,
            "case": row["case_no"],
            "type": row["type"],
            "reason": row["reason"],
            "attempts": row["attempts"],
            "deaths": row["deaths"],
            "received_at": row["received_at"].isoformat(),
            "event": _payload(unit, parked_id, row),
        }


def replay_parked(context: ServiceContext, parked_id: str, actor: str) -> None:
    """Put it back to be handled, as new. Raises ParkedNotFound and StillUnreadable."""
    schema = context.service
    with unit_of(context, "parked.replay") as unit:
        row = _find(unit, parked_id)
        event = _payload(unit, parked_id, row)
        try:
            from_json(event if isinstance(event, dict) else {})
        except (Undecodable, Unreadable) as error:
            raise StillUnreadable(detail_en=str(error)) from None
        unit.connection.execute(
            text(
                f"UPDATE {schema}.inbox SET state = 'retry', event = CAST(:event AS jsonb), sealed = "
                "NULL, attempts = 0, "
                "deaths = 0, waits = 0, reason = NULL, due_at = :at WHERE id = CAST(:id AS uuid)"
            ),
            {"id": parked_id, "event": json.dumps(event), "at": unit.wall},
        )
        _note(unit, parked_id, "replayed", actor)
    context.hints.ring(inbox_hint(schema))


def drop_parked(context: ServiceContext, parked_id: str, actor: str) -> None:
    """Give it up: the case goes on without it, and what waited behind it is looked at again."""
    schema = context.service
    with unit_of(context, "parked.drop") as unit:
        row = _find(unit, parked_id)
        if row["case_no"] is None:
            unit.connection.execute(
                text(
                    f"UPDATE {schema}.undecodable SET state = 'dropped', sealed = NULL, "
                    "sealed_properties = NULL WHERE sha256 = :id"
                ),
                {"id": parked_id},
            )
        else:
            _drop_fact(unit, parked_id, row)
        _note(unit, parked_id, "dropped", actor)
    context.hints.ring(inbox_hint(schema))


def _drop_fact(unit: Unit, parked_id: str, row: RowMapping) -> None:
    """Step over it when it is its turn; else it lies there as given up until the gate comes to it."""
    place = {"case": row["case_no"], "speaker": row["speaker"]}
    schema = unit.context.service
    gate = _lock_gate(unit, row["case_no"])
    heard = gate.get(row["speaker"], NOTHING_HEARD)
    if row["sequence"] > heard.last + 1:
        unit.connection.execute(
            text(f"UPDATE {schema}.inbox SET state = 'dropped' WHERE id = CAST(:id AS uuid)"),
            {"id": parked_id},
        )
        return
    unit.connection.execute(
        text(f"DELETE FROM {schema}.inbox WHERE id = CAST(:id AS uuid)"), {"id": parked_id}
    )
    if row["sequence"] == heard.last + 1:
        gate[row["speaker"]] = heard.after(UUID(parked_id))
        unit.connection.execute(
            text(f"UPDATE {schema}.gates SET heard = CAST(:heard AS jsonb) WHERE case_no = :case"),
            {"case": row["case_no"], "heard": json.dumps(gate_json(gate))},
        )
    # Whatever stands next is looked at alone, and frees what waits behind it.
    unit.connection.execute(
        text(
            f"UPDATE {schema}.inbox SET state = 'retry', due_at = :at WHERE case_no = :case "
            "AND speaker = :speaker AND state = 'waiting' AND sequence = (SELECT min(sequence) FROM "
            f"{schema}.inbox WHERE case_no = :case AND speaker = :speaker AND state = 'waiting')"
        ),
        {**place, "at": unit.wall},
    )


def _lock_gate(unit: Unit, case: str) -> Gate:
    stored = unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.gates (case_no, heard) VALUES (:case, '{{}}') "
            "ON CONFLICT (case_no) DO UPDATE SET case_no = EXCLUDED.case_no RETURNING heard"
        ),
        {"case": case},
    ).scalar_one()
    return gate_of(stored)


def _find(unit: Unit, parked_id: str) -> RowMapping:
    schema = unit.context.service
    if _is_uuid(parked_id):
        statement = (
            f"SELECT * FROM {schema}.inbox WHERE id = CAST(:id AS uuid) "
            "AND state IN ('parked', 'unreadable') FOR UPDATE"
        )
    else:
        statement = (
            "SELECT NULL AS case_no, NULL AS type, reason, times AS attempts, 0 AS deaths, "
            "received_at, sealed, sealed_properties, "
            f"NULL AS event FROM {schema}.undecodable WHERE sha256 = :id AND state = 'parked' FOR UPDATE"
        )
    row = unit.connection.execute(text(statement), {"id": parked_id}).mappings().first()
    if row is None:
        raise ParkedNotFound
    return row


def _payload(unit: Unit, parked_id: str, row: RowMapping) -> Any:
    if row["event"] is not None:
        return row["event"]
    if row["case_no"] is not None:
        return json.loads(
            unit.context.vault.open(row["sealed"], table="inbox", row=parked_id, column="sealed")
        )
    return {
        name: _bytes_shown(unit, parked_id, row[column], column)
        for name, column in (("body", "sealed"), ("properties", "sealed_properties"))
    }


def _bytes_shown(unit: Unit, parked_id: str, sealed: Any, column: str) -> str | None:
    """None where nothing was kept: the message is in the broker's park queue."""
    if sealed is None:
        return None
    found = unit.context.vault.open_bytes(sealed, table="undecodable", row=parked_id, column=column)
    return found.decode("utf-8", "backslashreplace")


def _note(unit: Unit, parked_id: str, act: str, actor: str) -> None:
    unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.parked_acts (parked, act, actor, acted_at) "
            "VALUES (:parked, :act, :actor, :acted_at)"
        ),
        {"parked": parked_id, "act": act, "actor": actor[:100], "acted_at": unit.wall},
    )


def _parked(service: str, row: RowMapping) -> Parked:
    return Parked(
        id=row["id"],
        service=service,
        type=row["type"],
        case=row["case_no"],
        speaker=row["speaker"],
        sequence=row["sequence"],
        attempts=row["attempts"],
        deaths=row["deaths"],
        reason=row["reason"],
        received_at=row["received_at"],
        waiting_behind=row["behind"],
    )


def _is_uuid(text_: str) -> bool:
    try:
        UUID(text_)
    except ValueError:
        return False
    return len(text_) == 36
