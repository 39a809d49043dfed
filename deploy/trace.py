"""`onestop case show` and `case trace`: one case across all services, for the people who run them."""

from typing import Any

from sqlalchemy import text

from deploy.services import SERVICES
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
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

    Facts that were handed on more than 7 days ago are gone from the outbox and show what heard them only.
    """
    said: list[dict[str, Any]] = []
    heard: list[dict[str, Any]] = []
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
                "received_at, handled_at "
                f"FROM {context.service}.inbox WHERE case_no = :n ORDER BY position",
                number,
                {"consumer": context.service},
            )
    if not said and not heard:
        raise CaseUnknown
    for fact in said:
        fact["heard"] = [h for h in heard if h["id"] == fact["id"]]
    known = {fact["id"] for fact in said}
    return {
        "number": number,
        "facts": sorted(said, key=lambda fact: fact["emitted_at"]),
        "heard_only": [h for h in heard if h["id"] not in known],
    }


def _rows(unit: Any, sql: str, number: str, extra: dict[str, str]) -> list[dict[str, Any]]:
    return [{**extra, **row} for row in unit.connection.execute(text(sql), {"n": number}).mappings()]


def _contexts(settings: Settings) -> list[ServiceContext]:
    return [build_context(settings, service) for service in SERVICES]
