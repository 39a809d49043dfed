"""The citizen's view of a case, for API and page alike."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.intake import queries
from services.intake.models import Case, Consent, TimelineEntry
from services.intake.queries import GivenConsent
from services.intake.rules.asked import still_asked
from services.intake.rules.consent import (
    WAITS_FOR_CONSENT,
    ConsentState,
    consent_state,
    may_agree_again,
    may_speak,
)
from services.intake.rules.stages import Stage, Standing, stages_of
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter
from shared.catalogue.terms import Names
from shared.events.fact import fact_named
from shared.events.materials import MET
from shared.events.notify import NoticeSent
from shared.events.view import As, CaseState, Seen
from shared.http.locale import Locale
from shared.http.rendering import day, word
from shared.paging import Page, moment, page_of, plain, read_cursor, row_id

TIMELINE = 100
"""Entries that come with a case; earlier ones have pages of their own."""


def case_view(unit: Unit, case: Case, role: str | None, cursor: str | None = None) -> dict[str, Any]:
    """Everything that whoever has this role may see, except what other services own (reasons, checklist);
    no role is that of somebody who knows number and code.

    `timeline` is its newest part, or what was before the `cursor`; the oldest entry comes first.
    `notified` are the notices in it.
    """
    matter = unit.context.matters.get(case.matter, case.matter_version)
    page = timeline_page(unit, case, role, cursor, TIMELINE)
    lines = [timeline_line(entry, matter) for entry in page.lines[::-1]]
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
            for code in still_asked(case.asked, case.materials)
        ],
        "materials": [
            {
                **_told_to(role, material, matter, case.facts),
                "name_zh": matter.names_of_requirement(material["material"]).zh,
                "name_en": matter.names_of_requirement(material["material"]).en,
            }
            for material in case.materials
        ],
        "awaiting_check": _awaiting_check(case, matter),
        "stages": [stage_line(stage, matter) for stage in stages_of(matter, case.facts, _standing(case))],
        "timeline": lines,
        "timeline_is_newest": cursor is None,
        "timeline_next": page.next,
        "notified": notified(lines),
        "remedies": _remedies(matter) if case.outcome == CaseState.DENIED else None,
    }


def _told_to(
    role: str | None, material: Mapping[str, Any], matter: Matter, facts: Mapping[str, Any]
) -> Mapping[str, Any]:
    """How a material stands. By what it was met is told to its holder alone: anybody else would learn which
    certificates there are."""
    holders = {
        member.holder_role
        for requirement in matter.requirements(facts)
        if requirement.code == material["material"]
        for member in requirement.members
    }
    if material["outcome"] not in MET or role in holders:
        return material
    return {**material, "outcome": "matched", "source": None}


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


def consent_line(consent: Consent, matter: Matter) -> dict[str, Any]:
    """What a case asks of a holder: which materials would be met by their certificates."""
    materials = [
        {"material": member.code, "name_zh": member.names.zh, "name_en": member.names.en}
        for requirement in matter.requirements(consent.facts)
        for member in requirement.members
        if member.shareable and member.holder_role in consent.roles
    ]
    return {
        "number": consent.case_no,
        "matter": consent.matter,
        "matter_zh": matter.names.zh,
        "matter_en": matter.names.en,
        "materials": materials,
        "asked_at": _iso(consent.asked_at),
    }


def given_line(given: GivenConsent, matter: Matter) -> dict[str, Any]:
    """What somebody has agreed to, or who has for them, by what, and how that stands."""
    consent = given.consent
    return {
        **consent_line(consent, matter),
        "given_at": _iso(consent.given_at),
        "basis": consent.basis,
        "document": consent.document,
        "withdrawn_at": _iso(consent.withdrawn_at),
        "state": consent_state(
            given=consent.given_at is not None,
            withdrawn=consent.withdrawn_at is not None,
            replaced=given.replaced,
            waits=False,
            undecided=given.undecided,
        ),
    }


def own_consent(case: Case, consent: Consent, matter: Matter) -> dict[str, Any]:
    """The last consent of a holder in a case, given or not."""
    undecided = is_undecided(case)
    waits = consent.given_at is None and case.state in WAITS_FOR_CONSENT
    line = given_line(GivenConsent(consent, undecided, replaced=False), matter)
    return {**line, "state": ConsentState.ASKED} if waits else line


def counter_view(
    case: Case, matter: Matter, served: UUID | None, consents: Sequence[Consent]
) -> dict[str, Any]:
    """What a counter may note for whom it serves: for which holders they may agree in their place, and what
    may be taken back. Of a holder there is the role and no more."""
    waits, undecided = case.state in WAITS_FOR_CONSENT, is_undecided(case)
    states = [
        (
            one,
            consent_state(
                given=one.given_at is not None,
                withdrawn=one.withdrawn_at is not None,
                replaced=False,
                waits=waits,
                undecided=undecided,
            ),
        )
        for one in sorted(consents, key=lambda one: [*matter.holders].index(one.roles[0]))
    ]
    return {
        "number": case.number,
        "matter": case.matter,
        "matter_zh": matter.names.zh,
        "matter_en": matter.names.en,
        "holders": [
            _holder(one, matter, served)
            for one, state in states
            if one.holder != served
            and (
                state is ConsentState.ASKED
                or (
                    state is ConsentState.WITHDRAWN and may_agree_again(served, one.holder, one.withdrawn_for)
                )
            )
        ],
        "standing": [
            _holder(one, matter, served)
            for one, state in states
            if state is ConsentState.STANDS and may_speak(served, one.holder, one.proxy)
        ],
    }


def _holder(consent: Consent, matter: Matter, served: UUID | None) -> dict[str, Any]:
    names = [matter.holders[role].names for role in consent.roles]
    return {
        "role": consent.roles[0],
        "name_zh": "、".join(name.zh for name in names),
        "name_en": ", ".join(name.en for name in names),
        "served": consent.holder == served,
    }


def is_undecided(case: Case) -> bool:
    """Whether the case is still being handled."""
    return case.decided_at is None and case.closed_at is None


def timeline_page(
    unit: Unit, case: Case, role: str | None, cursor: str | None, limit: int
) -> Page[TimelineEntry]:
    """What happened in a case before the cursor, as this role sees it, the newest first. Raises
    CursorInvalid."""
    before = read_cursor(cursor, moment, plain, row_id) if cursor else None
    entries = queries.timeline(unit.session, case.number, role, before=before, limit=limit)
    return page_of(entries, limit, lambda entry: (entry.at, entry.service, entry.sequence))


def timeline_line(entry: TimelineEntry, matter: Matter) -> dict[str, Any]:
    """One fact: when, who said it, what, what may be shown of it, and how that reads in both languages.

    What may be shown is what today's fact says: more may have been noted before. Of a fact that only a newer
    release knows there is the bare name.
    """
    cls = fact_named(entry.service, entry.fact)
    seen = cls.seen if cls is not None else None
    details = {name: entry.details[name] for name in seen.shown if name in entry.details} if seen else {}
    line = seen.line_for(details) if seen else None
    return {
        "at": _iso(entry.at),
        "service": entry.service,
        "fact": entry.fact,
        "details": details,
        "title_zh": seen.title.zh if seen else entry.fact,
        "title_en": seen.title.en if seen else entry.fact,
        "text_zh": line.zh.format_map(_read(seen, details, matter, Locale.ZH)) if seen and line else None,
        "text_en": line.en.format_map(_read(seen, details, matter, Locale.EN)) if seen and line else None,
        "quiet": seen.quiet if seen else False,
    }


def _read(seen: Seen, details: Mapping[str, Any], matter: Matter, locale: Locale) -> dict[str, str]:
    """Details in words. A code that the matter does not know stands for itself: better than no page."""
    comma = "、" if locale is Locale.ZH else ", "
    return {
        name: comma.join(
            _called(seen.shown[name], str(code), matter, locale)
            for code in (value if isinstance(value, list) else [value])
        )
        for name, value in details.items()
    }


def _called(kind: As, code: str, matter: Matter, locale: Locale) -> str:
    if kind is As.DAY:
        return day(code, locale)
    if kind not in _IN_THE_MATTER:
        return word(kind, code, locale)
    try:
        return _IN_THE_MATTER[kind](matter, code).within(locale)
    except KeyError:
        return code


def _result(matter: Matter, certificate_type: str) -> Names:
    results = (matter.result,) if matter.result is not None else ()
    return {result.certificate_type: result.names for result in results}[certificate_type]


_IN_THE_MATTER: Mapping[As, Callable[[Matter, str], Names]] = {
    As.MATERIALS: lambda matter, code: matter.names_of_requirement(code),
    As.HOLDERS: lambda matter, role: matter.holders[role].names,
    As.STEP: lambda matter, code: matter.step(code).names,
    As.DEPARTMENT: lambda matter, code: matter.departments[code].names,
    As.RESULT: _result,
}


def notified(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of these lines, who was told what, by which channel, and whether it arrived."""
    return [
        {name: line["details"][name] for name in ("channel", "template", "status", "to")}
        for line in lines
        if line["fact"] == NoticeSent.called
    ]


def _awaiting_check(case: Case, matter: Matter) -> bool:
    """Whether everything that was asked for has come and only has not been looked at yet."""
    missing = still_asked(case.asked, case.materials)
    asked = [{code, *matter.uploads_for(code, case.facts)} for code in missing]
    return bool(case.asked) and all(materials.intersection(case.supplied) for materials in asked)


def _remedies(matter: Matter) -> dict[str, Any]:
    remedies = matter.remedies
    sentences = {"zh": remedies.sentence("zh-CN"), "en": remedies.sentence("en")}
    return {**remedies.model_dump(mode="json"), **sentences}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
