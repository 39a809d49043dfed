"""The citizen's view of a case, for API and page alike."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.intake import queries
from services.intake.models import Case, ConsentRequest, TimelineEntry
from services.intake.rules.stages import Stage, Standing, stages_of
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter
from shared.paging import Page, moment, page_of, read_cursor, row_id

_NEGATIVE, _IN_APP = "denied", "inbox"


TIMELINE = 100
"""Entries that come with a case; earlier ones have pages of their own."""


def case_view(unit: Unit, case: Case, role: str | None, cursor: str | None = None) -> dict[str, Any]:
    """Everything that whoever has this role may see, except what other services own (reasons, checklist);
    no role is that of somebody who knows number and code.

    `timeline` is its newest part, or what was before the `cursor`; the oldest entry comes first.
    """
    matter = unit.context.matters.get(case.matter, case.matter_version)
    page = timeline_page(unit, case, cursor, TIMELINE)
    entries = shown_to(role, page.lines[::-1])
    return {
        **case_line(case, matter),
        "accepted_at": _iso(case.accepted_at),
        "legal_due_at": _iso(case.legal_due_at),
        "promised_due_at": _iso(case.promised_due_at),
        "provisional": case.provisional,
        "visits": case.visits,
        "stage": case.stage,
        "stage_zh": matter.step(case.stage).names.zh if case.stage else None,
        "stage_en": matter.step(case.stage).names.en if case.stage else None,
        "department": case.department,
        "department_zh": matter.departments[case.department].names.zh if case.department else None,
        "department_en": matter.departments[case.department].names.en if case.department else None,
        "asked": [
            {
                "material": code,
                "name_zh": matter.names_of_requirement(code).zh,
                "name_en": matter.names_of_requirement(code).en,
                "uploads": sorted(matter.uploads_for(code, case.facts)),
            }
            for code in case.asked
        ],
        "materials": [
            {
                **material,
                "name_zh": matter.names_of_requirement(material["material"]).zh,
                "name_en": matter.names_of_requirement(material["material"]).en,
            }
            for material in case.materials
        ],
        "awaiting_check": _awaiting_check(case, matter),
        "stages": [stage_line(stage, matter) for stage in stages_of(matter, case.facts, _standing(case))],
        "timeline": [timeline_line(entry) for entry in entries],
        "timeline_is_newest": cursor is None,
        "timeline_next": page.next,
        "notified": notified(entries),
        "remedies": _remedies(matter) if case.outcome == _NEGATIVE else None,
    }


def case_line(case: Case, matter: Matter) -> dict[str, Any]:
    """One line of the list of somebody's cases."""
    return {
        "number": case.number,
        "matter": case.matter,
        "matter_version": case.matter_version,
        "matter_zh": matter.names.zh,
        "matter_en": matter.names.en,
        "channel": case.channel,
        "state": case.state,
        "outcome": case.outcome,
        "received_at": _iso(case.received_at),
        "decided_at": _iso(case.decided_at),
        "closed_at": _iso(case.closed_at),
    }


def _standing(case: Case) -> Standing:
    return Standing(
        state=case.state,
        stage=case.stage,
        outcome=case.outcome,
        received_at=case.received_at,
        accepted_at=case.accepted_at,
        decided_at=case.decided_at,
        closed_at=case.closed_at,
    )


def stage_line(stage: Stage, matter: Matter) -> dict[str, Any]:
    """A stage, with the name of its step if it is one."""
    named = matter.step(stage.step).names if stage.step else None
    return {
        "stage": stage.code,
        "step": stage.step,
        "name_zh": named.zh if named else None,
        "name_en": named.en if named else None,
        "progress": stage.progress.value,
        "at": _iso(stage.at),
    }


def consent_line(request: ConsentRequest, matter: Matter) -> dict[str, Any]:
    """What a case asks of a holder: which materials would be met by their certificates."""
    materials = [
        {"material": member.code, "name_zh": member.names.zh, "name_en": member.names.en}
        for requirement in matter.requirements(request.facts)
        for member in requirement.members
        if member.shareable and member.holder_role in request.roles
    ]
    return {
        "number": request.case_no,
        "matter": request.matter,
        "matter_zh": matter.names.zh,
        "matter_en": matter.names.en,
        "materials": materials,
        "asked_at": _iso(request.asked_at),
    }


def timeline_page(unit: Unit, case: Case, cursor: str | None, limit: int) -> Page[TimelineEntry]:
    """What happened in a case before the cursor, the newest first. Raises CursorInvalid."""
    before = read_cursor(cursor, moment, row_id) if cursor else None
    entries = queries.timeline(unit.session, case.number, before=before, limit=limit)
    return page_of(entries, limit, lambda entry: (entry.at, entry.id))


def timeline_line(entry: TimelineEntry) -> dict[str, Any]:
    """One fact: when, who said it, what."""
    return {"at": _iso(entry.at), "service": entry.service, "fact": entry.fact, "details": entry.details}


def shown_to(role: str | None, entries: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """Without how others were told outside of this hall: it would say whether they can be reached so."""
    return [
        entry
        for entry in entries
        if entry.fact != "notice-sent" or entry.details["channel"] == _IN_APP or entry.details["to"] == role
    ]


def notified(entries: list[TimelineEntry]) -> list[dict[str, Any]]:
    """Who was told what, by which channel, and whether it arrived."""
    return [
        {key: entry.details[key] for key in ("channel", "template", "status", "to")}
        for entry in entries
        if entry.fact == "notice-sent"
    ]


def _awaiting_check(case: Case, matter: Matter) -> bool:
    """Whether everything that was asked for has come and only has not been looked at yet."""
    asked = [{code, *matter.uploads_for(code, case.facts)} for code in case.asked]
    return bool(asked) and all(materials.intersection(case.supplied) for materials in asked)


def _remedies(matter: Matter) -> dict[str, Any]:
    remedies = matter.remedies
    sentences = {"zh": remedies.sentence("zh-CN"), "en": remedies.sentence("en")}
    return {**remedies.model_dump(mode="json"), **sentences}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
