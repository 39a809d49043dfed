"""The trouble that every service can have: facts and jobs that do not go on, messages that are no facts."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text

from shared.bus.gate import NOTHING_HEARD, Gate, gate_json, gate_of
from shared.bus.trouble import (
    TOO_LONG,
    Place,
    Source,
    StillUnreadable,
    Tally,
    Trouble,
    TroubleNotFound,
    beyond,
    place_values,
    tally_of,
)
from shared.bus.unit import Unit
from shared.bus.wire import Undecodable, Unreadable, from_json

_BEHIND = 100
"""How far the facts that wait behind another one are counted."""


class Facts:
    """Facts in the inbox: parked, unreadable, or waiting for too long."""

    family = "fact"
    PARKED, UNREADABLE, WAITING = "parked", "unreadable", "waiting"
    kinds = (PARKED, UNREADABLE, WAITING)
    _WAITS = "i.state IN ('waiting', 'not_yet', 'retry')"
    _OPEN = "state IN ('parked', 'unreadable', 'waiting', 'not_yet', 'retry')"

    def page(self, unit: Unit, kind: str, after: Place | None, limit: int) -> Sequence[Trouble]:
        """See `Source`. What a waiting fact waits for is looked up in its gate."""
        schema = unit.context.service
        rows = unit.connection.execute(
            text(
                f"WITH page AS MATERIALIZED (SELECT * FROM {schema}.inbox AS i WHERE {self._of(kind)} "
                f"AND {beyond(after, 'i.received_at', 'i.id')} ORDER BY i.received_at, i.id LIMIT :most) "
                "SELECT i.id::text AS id, i.received_at AS since, i.case_no, i.type, i.speaker, i.state, "
                "i.reason, i.attempts, i.deaths, e.next, n.state AS next_state, b.behind FROM page AS i "
                f"LEFT JOIN {schema}.gates AS g ON g.case_no = i.case_no AND i.state = 'waiting' "
                "LEFT JOIN LATERAL (SELECT COALESCE((g.heard->i.speaker->>0)::int, 0) "
                "+ COALESCE(length(g.heard->i.speaker->>1), 0) / 16 + 1 AS next) AS e "
                "ON g.case_no IS NOT NULL "
                f"LEFT JOIN {schema}.inbox AS n ON n.case_no = i.case_no AND n.speaker = i.speaker "
                "AND n.sequence = e.next "
                f"CROSS JOIN LATERAL (SELECT count(*) AS behind FROM (SELECT 1 FROM {schema}.inbox AS b "
                "WHERE b.case_no = i.case_no AND b.speaker = i.speaker AND b.sequence > i.sequence "
                f"LIMIT {_BEHIND}) AS b) AS b ORDER BY i.received_at, i.id"
            ),
            {**place_values(after), "most": limit, "too_long": unit.wall - TOO_LONG},
        ).mappings()
        return [self._trouble(unit, kind, row) for row in rows]

    def tally(self, unit: Unit, kind: str) -> Tally:
        """See `Source`."""
        rows = f"FROM {unit.context.service}.inbox AS i WHERE {self._of(kind)}"
        return tally_of(unit, rows, "i.received_at", too_long=unit.wall - TOO_LONG)

    def show(self, unit: Unit, row_id: str) -> dict[str, Any]:
        """See `Source`; with the payload as it came."""
        row = self._find(unit, row_id)
        shown = (
            "state",
            "type",
            "speaker",
            "sequence",
            "reason",
            "attempts",
            "waits",
            "deaths",
            "received_at",
        )
        return {
            "id": f"{unit.context.service}.fact.{row_id}",
            "case": row["case_no"],
            **{name: row[name] for name in shown},
            "gate": {s: h.last for s, h in _gate(unit, row["case_no"]).items()},
            "event": _payload(unit, row_id, row),
        }

    def retry(self, unit: Unit, row_id: str) -> None:
        """See `Source`. Raises StillUnreadable."""
        row = self._find(unit, row_id)
        event = _payload(unit, row_id, row)
        try:
            from_json(event if isinstance(event, dict) else {})
        except (Undecodable, Unreadable) as error:
            raise StillUnreadable(detail_en=str(error)) from None
        unit.connection.execute(
            text(
                f"UPDATE {unit.context.service}.inbox SET state = 'retry', event = CAST(:event AS jsonb), "
                "sealed = NULL, attempts = 0, deaths = 0, waits = 0, reason = NULL, due_at = :at "
                "WHERE id = CAST(:id AS uuid)"
            ),
            {"id": row_id, "event": json.dumps(event), "at": unit.wall},
        )

    def drop(self, unit: Unit, row_id: str) -> None:
        """The case goes on without it: the gate steps over it when it is its turn; else it lies there as
        given up until the gate comes to it."""
        schema = unit.context.service
        # Gates before rows of the inbox, as batches lock them.
        case = self._find(unit, row_id, lock=False)["case_no"]
        gate = _lock_gate(unit, case)
        row = self._find(unit, row_id)
        heard = gate.get(row["speaker"], NOTHING_HEARD)
        if row["sequence"] > heard.last + 1:
            unit.connection.execute(
                text(
                    f"UPDATE {schema}.inbox SET state = 'dropped', due_at = NULL WHERE id = CAST(:id AS uuid)"
                ),
                {"id": row_id},
            )
            return
        unit.connection.execute(
            text(f"DELETE FROM {schema}.inbox WHERE id = CAST(:id AS uuid)"), {"id": row_id}
        )
        if row["sequence"] == heard.last + 1:
            gate[row["speaker"]] = heard.after(UUID(row_id))
            unit.connection.execute(
                text(f"UPDATE {schema}.gates SET heard = CAST(:heard AS jsonb) WHERE case_no = :case"),
                {"case": case, "heard": json.dumps(gate_json(gate))},
            )
        unit.connection.execute(
            text(f"SELECT {schema}.look_at_next(:case, :speaker, :at)"),
            {"case": case, "speaker": row["speaker"], "at": unit.wall},
        )

    def _of(self, kind: str) -> str:
        return (
            f"{self._WAITS} AND i.received_at < :too_long" if kind == self.WAITING else f"i.state = '{kind}'"
        )

    def _find(self, unit: Unit, row_id: str, *, lock: bool = True) -> RowMapping:
        if not _is_uuid(row_id):
            raise TroubleNotFound
        found = unit.connection.execute(
            text(
                f"SELECT * FROM {unit.context.service}.inbox WHERE id = CAST(:id AS uuid) AND {self._OPEN}"
                f"{' FOR UPDATE' if lock else ''}"
            ),
            {"id": row_id},
        )
        return _one(found.mappings().first())

    def _trouble(self, unit: Unit, kind: str, row: RowMapping) -> Trouble:
        return Trouble(
            id=f"{unit.context.service}.fact.{row['id']}",
            service=unit.context.service,
            kind=kind,
            since=row["since"],
            case=row["case_no"],
            about=row["type"],
            reason=row["reason"],
            waits_for=_awaited(row),
            attempts=row["attempts"],
            deaths=row["deaths"],
            behind=row["behind"],
        )


def _awaited(row: RowMapping) -> str | None:
    """What a waiting fact waits for: a fact of another service, or the next of its own speaker and what has
    become of that one."""
    if row["state"] == "not_yet":
        return str(row["reason"])
    if row["next"] is None:
        return None
    return f"{row['speaker']} {row['next']}: {row['next_state'] or 'not here'}"


class Jobs:
    """Jobs that failed, and jobs that nobody runs although they are due."""

    family = "job"
    FAILED, LATE = "failed_job", "late_job"
    kinds = (FAILED, LATE)
    _OPEN = "state IN ('failed', 'due', 'claimed')"

    def page(self, unit: Unit, kind: str, after: Place | None, limit: int) -> Sequence[Trouble]:
        """See `Source`."""
        rows, since = self._of(unit, kind)
        found = unit.connection.execute(
            text(
                f"SELECT id, kind, case_no, reason, attempts, {since} AS since {rows} "
                f"AND {beyond(after, since, 'id')} ORDER BY {since}, id LIMIT :most"
            ),
            {**place_values(after), "most": limit, "too_long": unit.wall - TOO_LONG},
        ).mappings()
        return [
            Trouble(
                id=f"{unit.context.service}.job.{row['id']}",
                service=unit.context.service,
                kind=kind,
                since=row["since"],
                case=row["case_no"],
                about=row["kind"],
                reason=row["reason"],
                attempts=row["attempts"],
            )
            for row in found
        ]

    def tally(self, unit: Unit, kind: str) -> Tally:
        """See `Source`."""
        rows, since = self._of(unit, kind)
        return tally_of(unit, rows, since, too_long=unit.wall - TOO_LONG)

    def show(self, unit: Unit, row_id: str) -> dict[str, Any]:
        """See `Source`."""
        row = self._find(unit, row_id)
        shown = (
            "kind",
            "key",
            "payload",
            "state",
            "attempts",
            "reason",
            "created_at",
            "due_at",
            "finished_at",
        )
        return {
            "id": f"{unit.context.service}.job.{row_id}",
            "case": row["case_no"],
            **{name: row[name] for name in shown},
        }

    def retry(self, unit: Unit, row_id: str) -> None:
        """See `Source`."""
        self._find(unit, row_id)
        self._set(
            unit, row_id, "state = 'due', due_at = :at, attempts = 0, reason = NULL, finished_at = NULL"
        )

    def drop(self, unit: Unit, row_id: str) -> None:
        """See `Source`. Whoever still runs it finds its claim gone."""
        self._find(unit, row_id)
        self._set(unit, row_id, "state = 'dropped', epoch = epoch + 1, finished_at = :at")

    def _of(self, unit: Unit, kind: str) -> tuple[str, str]:
        jobs = f"FROM {unit.context.service}.jobs WHERE"
        if kind == self.FAILED:
            return f"{jobs} state = 'failed'", "finished_at"
        return f"{jobs} state IN ('due', 'claimed') AND due_at < :too_long", "due_at"

    def _set(self, unit: Unit, row_id: str, what: str) -> None:
        unit.connection.execute(
            text(f"UPDATE {unit.context.service}.jobs SET {what}, lease_until = NULL WHERE id = :id"),
            {"id": int(row_id), "at": unit.wall},
        )

    def _find(self, unit: Unit, row_id: str) -> RowMapping:
        if not row_id.isdecimal() or int(row_id) >= 2**63:
            raise TroubleNotFound
        found = unit.connection.execute(
            text(f"SELECT * FROM {unit.context.service}.jobs WHERE id = :id AND {self._OPEN} FOR UPDATE"),
            {"id": int(row_id)},
        )
        return _one(found.mappings().first())


class Messages:
    """Messages that are no facts, under the hash of their bytes."""

    family = "message"
    UNDECODABLE = "undecodable"
    kinds = (UNDECODABLE,)

    def page(self, unit: Unit, kind: str, after: Place | None, limit: int) -> Sequence[Trouble]:
        """See `Source`."""
        rows = unit.connection.execute(
            text(
                f"SELECT sha256, reason, times, received_at AS since FROM {unit.context.service}.undecodable "
                f"WHERE state = 'parked' AND {beyond(after, 'received_at', 'sha256')} "
                "ORDER BY received_at, sha256 LIMIT :most"
            ),
            {**place_values(after), "most": limit},
        ).mappings()
        return [
            Trouble(
                id=f"{unit.context.service}.message.{row['sha256']}",
                service=unit.context.service,
                kind=kind,
                since=row["since"],
                case=None,
                about=None,
                reason=row["reason"],
                attempts=row["times"],
            )
            for row in rows
        ]

    def tally(self, unit: Unit, kind: str) -> Tally:
        """See `Source`."""
        return tally_of(
            unit, f"FROM {unit.context.service}.undecodable WHERE state = 'parked'", "received_at"
        )

    def show(self, unit: Unit, row_id: str) -> dict[str, Any]:
        """See `Source`; with the bytes, as far as they are text. None where nothing was kept: then the
        message is in the broker's park queue."""
        row = self._find(unit, row_id)
        return {
            "id": f"{unit.context.service}.message.{row_id}",
            **{name: row[name] for name in ("reason", "times", "size", "received_at")},
            "body": self._shown(unit, row_id, row, "sealed"),
            "properties": self._shown(unit, row_id, row, "sealed_properties"),
        }

    def _shown(self, unit: Unit, row_id: str, row: RowMapping, column: str) -> str | None:
        if row[column] is None:
            return None
        found = unit.context.vault.open_bytes(row[column], table="undecodable", row=row_id, column=column)
        return found.decode("utf-8", "backslashreplace")

    def retry(self, unit: Unit, row_id: str) -> None:
        """Raises StillUnreadable: bytes that were no fact are none today."""
        raise StillUnreadable(detail_en=str(self._find(unit, row_id)["reason"]))

    def drop(self, unit: Unit, row_id: str) -> None:
        """See `Source`."""
        self._find(unit, row_id)
        unit.connection.execute(
            text(
                f"UPDATE {unit.context.service}.undecodable SET state = 'dropped', sealed = NULL, "
                "sealed_properties = NULL WHERE sha256 = :id"
            ),
            {"id": row_id},
        )

    def _find(self, unit: Unit, row_id: str) -> RowMapping:
        found = unit.connection.execute(
            text(
                f"SELECT * FROM {unit.context.service}.undecodable WHERE sha256 = :id AND state = 'parked' "
                "FOR UPDATE"
            ),
            {"id": row_id},
        )
        return _one(found.mappings().first())


FACTS, JOBS, MESSAGES = Facts(), Jobs(), Messages()
SOURCES: tuple[Source, ...] = (FACTS, JOBS, MESSAGES)
"""What every service has."""


def _one(row: RowMapping | None) -> RowMapping:
    if row is None:
        raise TroubleNotFound
    return row


def _gate(unit: Unit, case: str) -> Gate:
    stored = unit.connection.execute(
        text(f"SELECT heard FROM {unit.context.service}.gates WHERE case_no = :case"), {"case": case}
    ).scalar_one_or_none()
    return gate_of(stored or {})


def _lock_gate(unit: Unit, case: str) -> Gate:
    stored = unit.connection.execute(
        text(
            f"INSERT INTO {unit.context.service}.gates (case_no, heard) VALUES (:case, '{{}}') "
            "ON CONFLICT (case_no) DO UPDATE SET case_no = EXCLUDED.case_no RETURNING heard"
        ),
        {"case": case},
    ).scalar_one()
    return gate_of(stored)


def _payload(unit: Unit, row_id: str, row: RowMapping) -> Any:
    if row["event"] is not None:
        return row["event"]
    return json.loads(unit.context.vault.open(row["sealed"], table="inbox", row=row_id, column="sealed"))


def _is_uuid(said: str) -> bool:
    try:
        UUID(said)
    except ValueError:
        return False
    return len(said) == 36
