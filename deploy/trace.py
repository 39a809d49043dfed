"""`onestop case show` and `case trace`: one case across all services, for the people who run them."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from deploy.services import SERVICES
from shared.bus.context import ServiceContext
from shared.bus.gate import NOTHING_HEARD, Gate, gate_of
from shared.bus.unit import Unit, unit_of
from shared.context import build_context
from shared.errors import NotFound
from shared.settings import Settings


class CaseUnknown(NotFound):
    code = "case.unknown"
    title_zh = "没有这个办件"
    title_en = "No service knows this case"


def case_show(settings: Settings, number: str) -> dict[str, Any]:
    """Where a case stands in each service. No personal data. Raises CaseUnknown."""
    found: dict[str, Any] = {"number": number, "services": {}}
    for context in _contexts(settings):
        with unit_of(context, "case.show") as unit:
            row = (
                unit.connection.execute(
                    text(f"SELECT * FROM {context.service}.cases WHERE number = :n"), {"n": number}
                )
                .mappings()
                .first()
            )
            if row is not None:
                found["services"][context.service] = {
                    key: value for key, value in row.items() if not isinstance(value, memoryview | bytes)
                }
    if not found["services"]:
        raise CaseUnknown
    return found


def case_trace(settings: Settings, number: str) -> dict[str, Any]:
    """Every fact about a case: said when, handed on when, heard by whom, in which state, and why it waits.

    "handled" is read off the gates, which keep a mark of each fact for as long as the case. Facts that were
    handed on more than two weeks ago may be gone from the outbox; `gates` still counts who heard how many.
    """
    said: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
    gates: dict[str, Gate] = {}
    for context in _contexts(settings):
        with unit_of(context, "case.trace") as unit:
            said += _rows(
                unit,
                "SELECT event->>'id' AS id, event->>'type' AS type, (event->>'sequence')::int AS sequence, "
                f"emitted_at, sent_at FROM {context.service}.outbox WHERE case_no = :n ORDER BY id",
                number,
                {"speaker": context.service},
            )
            heard += _rows(
                unit,
                "SELECT id::text AS id, type, speaker, sequence, state, attempts, deaths, reason, "
                "received_at "
                f"FROM {context.service}.inbox WHERE case_no = :n ORDER BY position",
                number,
                {"consumer": context.service},
            )
            gates[context.service] = _gate(unit, number)
    if not said and not heard and not any(gates.values()):
        raise CaseUnknown
    for fact in said:
        fact["heard"] = [
            *(h for h in heard if h["id"] == fact["id"]),
            *(
                {"consumer": consumer, "state": "handled", "reason": None}
                for consumer, gate in gates.items()
                if gate.get(fact["speaker"], NOTHING_HEARD).handled(fact["sequence"], UUID(fact["id"]))
            ),
        ]
    known = {fact["id"] for fact in said}
    return {
        "number": number,
        "facts": sorted(said, key=lambda fact: fact["emitted_at"]),
        "heard_only": [h for h in heard if h["id"] not in known],
        "gates": {
            consumer: {speaker: heard.last for speaker, heard in gate.items()}
            for consumer, gate in gates.items()
        },
    }


def _gate(unit: Unit, number: str) -> Gate:
    stored = unit.connection.execute(
        text(f"SELECT heard FROM {unit.context.service}.gates WHERE case_no = :n"), {"n": number}
    ).scalar_one_or_none()
    return gate_of(stored or {})


def _rows(unit: Any, sql: str, number: str, extra: dict[str, str]) -> list[dict[str, Any]]:
    return [{**extra, **row} for row in unit.connection.execute(text(sql), {"n": number}).mappings()]


def _contexts(settings: Settings) -> list[ServiceContext]:
    return [build_context(settings, service) for service in SERVICES]
