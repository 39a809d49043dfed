"""Who may see and touch a case. Whoever may not gets the same answer as for a case that is not there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.intake import queries, unasked, view
from services.intake.errors import (
    CaseNotFound,
    ConsentNotNeeded,
    NotAtACounter,
    NotVerified,
    TooManyLookups,
)
from services.intake.identity.contacts import has_value, note_reading, value_of
from services.intake.identity.persons import name_of, verified_name
from services.intake.models import Case, CaseContact, Consent, ContactPoint, LookupMiss
from services.intake.queries import GivenConsent
from services.intake.rules.consent import may_speak
from services.intake.rules.contacts import MOST, ContactKind
from services.intake.rules.names import same_name
from services.intake.rules.query_code import query_digest
from services.intake.rules.submission import APPLICANT, named_people
from services.intake.unasked import Ask, Leave
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import Unit
from shared.errors import BadRequest
from shared.paging import moment, page_of, plain, read_cursor
from shared.typed import clean_code

WINDOW = timedelta(minutes=10)
COUNTER = "counter"
"""The channel of operators who see papers."""
MISSES = 20
"""Look-ups of one asker that may find nothing within the window."""


def own_case(unit: Unit, number: str, party: Principal) -> Case:
    """A case of this person, as applicant or agent. Raises CaseNotFound.

    An operator looks at the affairs of whom they serve: that is noted with both identities.
    """
    case = _if_own(queries.case(unit.session, number), party)
    _note_operator(unit, number, "case", party)
    return case


def lock_own_case(unit: Unit, number: str, party: Principal) -> Case:
    """The same, locked for a command."""
    case = _if_own(queries.lock_cases(unit.session, {number}).get(number), party)
    _note_operator(unit, number, "case", party)
    return case


def role_of(unit: Unit, case: Case, party: Principal) -> str:
    """What somebody whose case it is is called in it."""
    policy = unit.context.matters.get(case.matter, case.matter_version).agent
    return APPLICANT if policy is None or party.party == case.applicant else policy.role


def own_cases(unit: Unit, party: Principal, *, cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of somebody's cases, the newest first, and the cursor of the next. Raises CursorInvalid."""
    assert party.party is not None
    after = read_cursor(cursor, moment, plain) if cursor else None
    found = queries.cases_of(unit.session, party.party, after=after, limit=limit)
    page = page_of(found, limit, lambda case: (case.received_at, case.number))
    _note_operator(unit, None, "cases", party)
    matters = unit.context.matters.get_all({(case.matter, case.matter_version) for case in page.lines})
    lines = [view.case_line(case, matters[case.matter, case.matter_version]) for case in page.lines]
    return {"cases": lines, "next": page.next}


def own_consent(unit: Unit, number: str, citizen: Principal) -> tuple[Case, Consent]:
    """A case and the last consent that it asked of this holder or was given, for reading.

    Raises CaseNotFound where it asks nothing of them.
    """
    case = queries.case(unit.session, number)
    for consent in queries.consents_in(unit.session, number):
        if case is not None and consent.holder == citizen.person_ref:
            return case, consent
    raise CaseNotFound


def lock_own_consent(unit: Unit, number: str, citizen: Principal) -> tuple[Case, Consent]:
    """The same, both locked. Raises NotVerified, and CaseNotFound where it asks nothing of them."""
    assert citizen.person_ref is not None
    if not citizen.assurance.covers(Assurance.VERIFIED):
        raise NotVerified
    # Whoever waits for somebody's case learns that it is there.
    if not queries.asks_consent(unit.session, number, citizen.person_ref):
        raise CaseNotFound
    return _lock_consent(unit, number, citizen.person_ref)


def lock_for_proxy(unit: Unit, number: str, role: str, operator: Principal) -> tuple[Case, Consent]:
    """A case of whom an operator serves, and the last consent of the holder of this role, both locked.

    Raises NotAtACounter, CaseNotFound for cases of others, and ConsentNotNeeded where nothing is asked.
    """
    check_counter(operator)
    lock_own_case(unit, number, operator)
    for consent in queries.consents_in(unit.session, number):
        if role in consent.roles:
            return _lock_consent(unit, number, consent.holder)
    raise ConsentNotNeeded


def lock_for_withdrawal(unit: Unit, number: str, role: str, operator: Principal) -> tuple[Case, Consent]:
    """A case and the last consent of the holder of this role, both locked, for an operator who serves that
    holder or whoever agreed in their place; noted with both identities.

    Raises NotAtACounter, and CaseNotFound for everybody else, whether there is such a case or not.
    """
    check_counter(operator)
    for consent in queries.consents_in(unit.session, number):
        if role in consent.roles and may_speak(operator.acting_for, consent.holder, consent.proxy):
            _note_operator(unit, number, "consent", operator)
            case, last = _lock_consent(unit, number, consent.holder)
            if may_speak(operator.acting_for, last.holder, last.proxy):
                return case, last
    raise CaseNotFound


def at_the_counter(unit: Unit, number: str, operator: Principal) -> dict[str, Any]:
    """For whom a counter may note a consent or a withdrawal in a case, by holder role. Nothing here tells
    what anybody holds. Raises NotAtACounter, and CaseNotFound for whoever has no say in it."""
    check_counter(operator)
    case = queries.case(unit.session, number)
    found = queries.consents_in(unit.session, number)
    speaks = [one for one in found if may_speak(operator.acting_for, one.holder, one.proxy)]
    if case is None or not (speaks or operator.party in (case.applicant, case.agent)):
        raise CaseNotFound
    _note_operator(unit, number, "consent", operator)
    own = operator.party in (case.applicant, case.agent)
    matter = unit.context.matters.get(case.matter, case.matter_version)
    shown = view.counter_view(case, matter, operator.acting_for, found if own else speaks)
    served = name_of(unit, operator.acting_for) if operator.acting_for is not None else None
    return {**shown, "served": served[0] if served is not None else None}


def check_counter(operator: Principal) -> None:
    """Raises NotAtACounter for operators of other channels only."""
    if COUNTER not in operator.channels:
        raise NotAtACounter


def _lock_consent(unit: Unit, number: str, holder: UUID) -> tuple[Case, Consent]:
    case = queries.lock_cases(unit.session, {number}).get(number)
    consent = queries.lock_consent(unit.session, number, holder)
    if case is None or consent is None:
        raise CaseNotFound
    return case, consent


def given_consents(unit: Unit, citizen: Principal, *, cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of what this holder, or somebody for them, has agreed to. Raises CursorInvalid."""
    assert citizen.person_ref is not None
    before = read_cursor(cursor, moment, plain) if cursor else None
    found = queries.given_consents(unit.session, citizen.person_ref, before=before, limit=limit)
    page = page_of(found, limit, _given_place)
    matters = unit.context.matters.get_all(
        {(line.consent.matter, line.consent.matter_version) for line in page.lines}
    )
    lines = [
        view.given_line(line, matters[line.consent.matter, line.consent.matter_version])
        for line in page.lines
    ]
    return {"consents": lines, "next": page.next}


def _given_place(line: GivenConsent) -> tuple[datetime, str]:
    assert line.consent.given_at is not None
    return line.consent.given_at, line.consent.case_no


def open_consents(unit: Unit, citizen: Principal, *, cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of what waits for this holder's consent, and the cursor of the next. Raises CursorInvalid."""
    assert citizen.person_ref is not None
    after = read_cursor(cursor, moment, plain) if cursor else None
    found = queries.open_consents(unit.session, citizen.person_ref, after=after, limit=limit)
    page = page_of(found, limit, lambda consent: (consent.asked_at, consent.case_no))
    matters = unit.context.matters.get_all({(line.matter, line.matter_version) for line in page.lines})
    lines = [view.consent_line(line, matters[line.matter, line.matter_version]) for line in page.lines]
    return {"consents": lines, "next": page.next}


def look_up(unit: Unit, number: str, query_code: str, asker: str) -> Case | None:
    """The case with this number and query code, as pasted or typed; a miss is remembered and answers None.

    Whoever has the right code is never refused: nobody finds it by trying, and others' misses are not theirs.
    Raises TooManyLookups after MISSES misses of one asker within WINDOW.
    """
    found = queries.case_by_digest(
        unit.session, query_digest(clean_code(number).upper(), clean_code(query_code).lower())
    )
    if found is not None:
        return found
    _miss(unit, asker)
    return None


def stop_notices(unit: Unit, code: str, asker: str, *, everything: bool) -> bool:
    """Stop what the number that got this code is told; a code that is none is a miss like any other.

    Raises TooManyLookups.
    """
    stopped = unasked.stop_notices(unit, code, everything=everything)
    if not stopped:
        _miss(unit, asker)
    return stopped


def _miss(unit: Unit, asker: str) -> None:
    by = unit.context.vault.lookups(asker, kind="asker")
    if queries.recent_misses(unit.session, by, unit.wall - WINDOW, MISSES) >= MISSES:
        raise TooManyLookups(retry_after_s=int(WINDOW.total_seconds()))
    unit.session.add(LookupMiss(asker=by[-1], missed_at=unit.wall))


@dataclass(frozen=True, slots=True)
class Reach:
    """How to reach a person about a case: where, and what a message there must say; or why none may go."""

    contact: str | None
    stop: str | None = None
    """The code by which whoever gets it stops such messages."""
    withheld: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent: to whom, which delivery of notify, by which kind of contact, about which case, and
    why.

    `sent` is true of one that may have gone already: it is asked after, and stopping comes too late for it.
    """

    person: UUID
    delivery: UUID
    kind: str
    number: str
    purpose: str
    sent: bool = False
    only_verified: bool = False
    """What somebody else wrote into the form is no place for it."""


def read_contacts(unit: Unit, messages: Sequence[Message], reader: str) -> list[Reach]:
    """Where people are reached by messages about cases, in their order.

    A person's own word in the form comes first, then what is verified of them, then what somebody else wrote
    into the form. Whoever did nothing in the case is told so much a day and can stop it (`unasked`). The
    readings of what is given out are noted in the same transaction. Raises BadRequest for another kind.
    """
    if not {message.kind for message in messages} <= set(ContactKind):
        raise BadRequest(detail_en=f"contacts are {', '.join(ContactKind)}")
    by_form = {(m.number, m.person, m.kind) for m in messages if not m.only_verified}
    claimed = queries.case_contacts(unit.session, by_form)
    verified = queries.verified_points(unit.session, {(m.person, m.kind) for m in messages}, limit=2 * MOST)
    known = [verified.get((m.person, m.kind), []) for m in messages]
    contacts = [
        _contact(unit, None if m.only_verified else claimed.get((m.number, m.person, m.kind)), points)
        for m, points in zip(messages, known, strict=True)
    ]
    # What nobody knows how to reach, or what may have gone already, counts for nothing.
    asks = [
        None
        if contact is None or m.sent
        else Ask(m.number, m.person, contact, has_value(unit, points, contact), m.delivery)
        for m, contact, points in zip(messages, contacts, known, strict=True)
    ]
    leaves = unasked.leaves_for(unit, [ask for ask in asks if ask is not None])
    return [
        _reach(unit, m, contact, leaves[ask] if ask is not None else Leave(), reader)
        for m, contact, ask in zip(messages, contacts, asks, strict=True)
    ]


def _reach(unit: Unit, message: Message, contact: str | None, leave: Leave, reader: str) -> Reach:
    if contact is None or leave.withheld is not None:
        return Reach(None, withheld=leave.withheld)
    note_reading(unit, message.person, message.number, message.kind, reader, message.purpose)
    return Reach(contact, leave.stop)


def _contact(unit: Unit, claimed: CaseContact | None, verified: Sequence[ContactPoint]) -> str | None:
    if verified and not (claimed and claimed.own):
        return value_of(unit, verified[0])
    if claimed is None:
        return None
    return unit.context.vault.open(
        claimed.sealed_value,
        table="case_contacts",
        row=f"{claimed.case_no}/{claimed.person_ref}/{claimed.kind}",
        column="sealed_value",
    )


def read_application(unit: Unit, number: str, reader: str, purpose: str) -> dict[str, Any]:
    """The filled form of a case, for whoever handles it, and where it calls people otherwise than they were
    verified; noted. Raises CaseNotFound."""
    case = queries.case(unit.session, number)
    if case is None:
        raise CaseNotFound
    note_reading(unit, case.applicant, number, "application", reader, purpose)
    form = json.loads(
        unit.context.vault.open(case.sealed_form, table="cases", row=number, column="sealed_form")
    )
    matter = unit.context.matters.get(case.matter, case.matter_version)
    names = []
    for role, who in named_people(matter, form).items():
        verified = verified_name(unit, who.id_number)
        if verified is not None and not same_name(who.name, verified[1]):
            note_reading(unit, verified[0], number, "name", reader, purpose)
            names.append({"pointer": f"{matter.holders[role].person}/name", "verified": verified[1]})
    return {
        "form": form,
        "names_as_written": names,
        "channel": case.channel,
        "received_at": case.received_at.isoformat(),
    }


def _note_operator(unit: Unit, number: str | None, what: str, party: Principal) -> None:
    if party.kind is PrincipalKind.OPERATOR and party.acting_for is not None:
        note_reading(unit, party.acting_for, number, what, party.subject, "acting for the person")


def _if_own(case: Case | None, party: Principal) -> Case:
    if case is None or party.party is None or party.party not in (case.applicant, case.agent):
        raise CaseNotFound
    return case
