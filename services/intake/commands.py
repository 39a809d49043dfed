"""Use cases of intake: take an application, a consent, what was asked for. Who is who is `identity`'s; what
is shown of a case is `hearing`'s."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import ceil
from typing import Any
from uuid import UUID

from sqlalchemy import text

from services.intake import queries
from services.intake.errors import (
    ConsentNotGiven,
    ConsentNotNeeded,
    ConsentOver,
    ConsentWithdrawnBefore,
    IdenticalApplicationOpen,
    NameDiffers,
    NotAskedFor,
    NothingAsked,
    NotYourApplication,
    TooManyApplications,
)
from services.intake.hearing import show
from services.intake.identity.persons import meet_named, name_of
from services.intake.models import (
    CASE_SERIAL,
    Case,
    CaseContact,
    Consent,
)
from services.intake.rules.asked import still_asked
from services.intake.rules.case_number import SERIALS, compose_case_number
from services.intake.rules.consent import WAITS_FOR_CONSENT, ProxyDocument, may_agree_again
from services.intake.rules.contacts import ContactKind
from services.intake.rules.filing import may_file
from services.intake.rules.limits import counts_of
from services.intake.rules.names import same_name
from services.intake.rules.query_code import new_query_code, query_digest
from services.intake.rules.submission import APPLICANT, NamedPerson, check_submission, named_people
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter
from shared.catalogue.terms import AnotherWhileOpen
from shared.errors import FieldError, Invalid
from shared.events.fact import Fact
from shared.events.intake import (
    CaseSubmitted,
    ConsentBasis,
    ConsentGiven,
    ConsentWithdrawn,
    MaterialsSupplied,
    WithdrawnBy,
)
from shared.events.view import CaseState
from shared.legal_time import legal_day, until_next_day
from shared.sections import LimitSettings

_WHO_IT_IS_FOR = (
    "申请表中的申请人和代办人都不是登录人。为本人申请的，请核对身份证件号码；为他人申请的，请把自己填为代办人。",
    "Whoever has logged in is neither the applicant nor the agent in this form. If you apply for yourself, "
    "check the ID number; if for somebody else, name yourself as the agent.",
)


@dataclass(frozen=True, slots=True)
class Submission:
    """One application as it came in."""

    matter: Matter
    form: Mapping[str, Any]
    uploads: Mapping[str, UUID]
    channel: str
    client: str
    locale: str
    submitter: Principal
    """Who sends it in: a citizen, an operator for whom they serve, or a client program."""
    another: bool = False
    """They know of an open application like this one, and mean a second."""
    name_as_written: bool = False
    """They know that the form calls them otherwise than their log-in does, and mean it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the citizen gets at once, before anything else has run (收件凭证)."""

    number: str
    query_code: str
    received_at: str


def _consenting(submitter: Principal) -> UUID | None:
    """Whose own consent a submission can bring: a citizen's whose identity was verified. A one-time code
    proves a phone, and an operator or a program is somebody else."""
    own = submitter.kind is PrincipalKind.CITIZEN and submitter.assurance.covers(Assurance.VERIFIED)
    return submitter.person_ref if own else None


def submit_case(unit: Unit, submission: Submission) -> Receipt:
    """Take an application: number, query code and receipt at once; everything after is events.

    Raises Invalid with every field that is wrong, NotYourApplication, NameDiffers, AgentNotAllowed,
    TooManyApplications, IdenticalApplicationOpen.
    """
    matter, form = submission.matter, submission.matter.cleaned(submission.form)
    fields = [
        *matter.validate_form(form),
        *_unknown_uploads(matter, submission.uploads),
        *_unknown_channel(matter, submission.channel),
    ]
    if fields:
        raise Invalid(fields=fields)
    today = legal_day(unit.legal)
    check_submission(matter, form, today)
    people = named_people(matter, form)
    refs = meet_named(unit, people)
    agent = refs.get(matter.agent.role) if matter.agent is not None else None
    if not may_file(submission.submitter, submission.channel, refs["applicant"], agent):
        raise NotYourApplication(*_WHO_IT_IS_FOR, fields=_named_otherwise(submission, refs))
    _check_name(unit, submission, people, refs)
    counts = counts_of(
        _limits_of(unit, submission.submitter), submission.submitter, matter.code, people, refs
    )
    if not count_for_day(unit, counts):
        # The same answer whichever it was.
        raise TooManyApplications(retry_after_s=ceil(until_next_day(unit.legal).total_seconds()))
    _refuse_identical(unit, submission, refs["applicant"])
    facts = matter.facts_of(form)
    agreed = matter.consented(form)
    holder = _consenting(submission.submitter)
    consents = {role: ConsentBasis.OWN for role, ref in refs.items() if agreed and ref == holder}
    [serial] = unit.serials(CASE_SERIAL.name, 1)
    number = compose_case_number(matter.region, today, serial % SERIALS)
    query_code = new_query_code()
    case = Case(
        number=number,
        sequence=0,
        matter=matter.code,
        matter_version=matter.version,
        region=matter.region,
        applicant=refs["applicant"],
        agent=agent,
        filed_by_kind=submission.submitter.kind,
        filed_by=submission.submitter.subject,
        channel=submission.channel,
        client=submission.client,
        sealed_form=unit.context.vault.seal(
            json.dumps(form, ensure_ascii=False), table="cases", row=number, column="sealed_form"
        ),
        query_digest=query_digest(number, query_code),
        facts=facts,
        consents={role: basis.value for role, basis in consents.items()},
        state=CaseState.SUBMITTED,
        asked=[],
        supplied=[],
        materials=[],
        visits=0,
        provisional=False,
        acted=[str(ref) for ref in {*refs.values()} if ref == submission.submitter.party],
        received_at=unit.legal,
    )
    unit.session.add(case)
    _keep_contacts(unit, case, people, refs, submission.submitter)
    fact = CaseSubmitted(
        matter=matter.code,
        matter_version=matter.version,
        region=matter.region,
        applicant=refs["applicant"],
        holders={role: ref for role, ref in refs.items() if role in matter.holders},
        facts=case.facts,
        consents=consents,
        uploads=dict(submission.uploads),
        channel=submission.channel,
        locale=matter.language_of(form) or submission.locale,
        received_at=unit.legal,
    )
    _keep_consents(unit, case, matter, refs, submission.submitter)
    _say(unit, case, fact)
    return Receipt(number, query_code, unit.legal.isoformat())


def _limits_of(unit: Unit, submitter: Principal) -> LimitSettings:
    """The general ones; a client program may have one of its own."""
    limits = unit.context.settings.limits
    if submitter.kind is not PrincipalKind.CLIENT:
        return limits
    account = queries.account(unit.session, submitter.kind, submitter.subject)
    if account is None or account.filings_a_day is None:
        return limits
    return limits.model_copy(update={"filings_by_program": account.filings_a_day})


def _keep_contacts(
    unit: Unit,
    case: Case,
    people: Mapping[str, NamedPerson],
    refs: Mapping[str, UUID],
    submitter: Principal,
) -> None:
    """How the form says that its people are reached belongs to the case: a form can name anybody, and nobody
    is reached elsewhere because of it. Who has two roles is reached as the first one says."""
    said: dict[tuple[UUID, ContactKind], str] = {}
    for role, who in people.items():
        for kind, value in ((ContactKind.PHONE, who.phone), (ContactKind.EMAIL, who.email)):
            if value:
                said.setdefault((refs[role], kind), value)
    for (person, kind), value in said.items():
        row = f"{case.number}/{person}/{kind}"
        unit.append(
            CaseContact,
            case_no=case.number,
            person_ref=person,
            kind=kind,
            sealed_value=unit.context.vault.seal(
                value, table="case_contacts", row=row, column="sealed_value"
            ),
            own=submitter.party == person,
        )


def _named_otherwise(submission: Submission, refs: Mapping[str, UUID]) -> list[FieldError]:
    """Where the form names people who are not the one that sends it."""
    if submission.submitter.party is None:
        return []
    matter = submission.matter
    roles = [APPLICANT, *([matter.agent.role] if matter.agent is not None else [])]
    return [
        FieldError(
            f"{matter.holders[role].person}/id_number",
            "id-number.not-yours",
            "这不是登录人的身份证件号码。",
            "This is not the ID number of whoever has logged in.",
        )
        for role in roles
        if role in refs
    ]


def _check_name(
    unit: Unit, submission: Submission, people: Mapping[str, NamedPerson], refs: Mapping[str, UUID]
) -> None:
    """Raises NameDiffers where the form calls its sender otherwise than they were verified, unless they mean
    it. What others were verified as is told to nobody."""
    verified = "" if submission.name_as_written else _verified_name(unit, submission.submitter)
    differing = [
        FieldError(
            f"{submission.matter.holders[role].person}/name",
            "name.differs-from-log-in",
            "与登录时核验的姓名不一致，请核对。",
            "This is not the name that was verified at your log-in; please check it.",
        )
        for role, who in people.items()
        if verified and refs[role] == submission.submitter.party and not same_name(who.name, verified)
    ]
    if differing:
        raise NameDiffers(
            "请改为核验过的姓名；确实以表中的姓名申请的，请注明按所填姓名（name_as_written）。",
            "Use the name that was verified; if you do mean the one in the form, say so (`name_as_written`).",
            fields=differing,
        )


def _verified_name(unit: Unit, submitter: Principal) -> str:
    """What whoever sends an application, or whom an operator serves, was verified as; "" when nobody was."""
    if submitter.kind is PrincipalKind.CITIZEN:
        return submitter.name if submitter.assurance.covers(Assurance.VERIFIED) else ""
    known = name_of(unit, submitter.party) if submitter.party is not None else None
    return known[0] if known is not None and known[1].covers(Assurance.VERIFIED) else ""


def count_for_day(unit: Unit, counts: Mapping[str, int]) -> bool:
    """Count once more for each of these limits; whether the legal day still takes it, for all of them."""
    today = legal_day(unit.legal)
    keys = {what: unit.context.vault.lookups(what, kind="day-count") for what in counts}
    now = _one_more(unit, today, [found[-1] for found in keys.values()])
    # While keys are rotated, what was counted before stands under the older one.
    older = [key for found in keys.values() for key in found[:-1]]
    before = queries.counted_today(unit.session, today, older) if older else {}
    return all(
        now[keys[what][-1]] + sum(before.get(key, 0) for key in keys[what][:-1]) <= most
        for what, most in counts.items()
    )


def _one_more(unit: Unit, day: date, keys: Iterable[bytes]) -> dict[bytes, int]:
    """Count one more for each; how many there are now. Whoever counts for one of them at the same time waits
    until this transaction ends."""
    # In one order for everybody.
    counted = unit.connection.execute(_COUNT, {"keys": sorted(keys), "day": day, "at": unit.wall})
    return {bytes(row.who): row.times for row in counted}


_COUNT = text(
    "INSERT INTO intake.day_counts AS counted (who, day, times, counted_at) "
    "SELECT who, :day, 1, :at FROM unnest(CAST(:keys AS bytea[])) WITH ORDINALITY AS k (who, n) ORDER BY n "
    "ON CONFLICT (who, day) DO UPDATE SET times = counted.times + 1, counted_at = EXCLUDED.counted_at "
    "RETURNING who, times"
)


def _refuse_identical(unit: Unit, submission: Submission, applicant: UUID) -> None:
    """Raises IdenticalApplicationOpen for an application that its sender has made before, as far as they may
    know: of a case of others nobody is told that it exists, so theirs is taken."""
    matter, sender = submission.matter, submission.submitter
    by_choice = matter.another_while_open is AnotherWhileOpen.BY_CHOICE
    if submission.another and by_choice:
        return
    # Whoever counted for the same sender is done by now, so their case is seen.
    number = queries.undecided_of(
        unit.session, applicant, matter.code, sender.party, (sender.kind, sender.subject)
    )
    if number is None:
        return
    zh = f"办件编号 {number}，可在“我的办件”中查看进度。"
    en = f"It is case {number}; see how it goes on under My cases."
    if by_choice:
        zh += "确需再次申请的，请注明另行申请（another）。"
        en += " If you do mean a second one, say so (`another`)."
    raise IdenticalApplicationOpen(zh, en, members={"case": number})


def _keep_consents(
    unit: Unit, case: Case, matter: Matter, refs: Mapping[str, UUID], submitter: Principal
) -> None:
    """Remember whose certificates the case looks for: who of them has agreed with it, and whom it asks.

    Nothing here depends on whether they are known, can be reached or hold anything.
    """
    roles_of: dict[UUID, list[str]] = {}
    for role in sorted(matter.roles_read(case.facts)):
        if role in refs:
            roles_of.setdefault(refs[role], []).append(role)
    for holder, roles in sorted(roles_of.items()):
        given = case.consents.keys() >= set(roles)
        unit.append(
            Consent,
            case_no=case.number,
            holder=holder,
            nth=1,
            roles=roles,
            matter=case.matter,
            matter_version=case.matter_version,
            facts=case.facts,
            asked_at=unit.legal,
            given_at=unit.legal if given else None,
            basis=ConsentBasis.OWN.value if given else None,
            recorded_by=submitter.subject if given else None,
        )


def give_consent(unit: Unit, case: Case, consent: Consent, holder: Principal) -> Consent:
    """A holder agrees that their certificates are read for this case. Agreeing again changes nothing.

    Case and consent are locked. Raises ConsentNotNeeded once the case goes on without, and
    ConsentWithdrawnBefore.
    """
    if consent.withdrawn_at is not None:
        raise ConsentWithdrawnBefore(
            "需要再次同意的，请在“证照授权”中选择再次同意。",
            "If you do mean to agree again, say so under Consents.",
        )
    if consent.given_at is None:
        _check_waits(case)
        _give(unit, case, consent, ConsentBasis.OWN, holder.subject)
    return consent


def renew_consent(unit: Unit, case: Case, consent: Consent, holder: Principal) -> Consent:
    """A holder who has taken their consent back agrees again, which is another consent; one that stands is
    not renewed.

    Case and consent are locked. Raises ConsentNotGiven for one that was never given, and ConsentOver.
    """
    if consent.given_at is None:
        raise ConsentNotGiven
    if consent.withdrawn_at is None:
        return consent
    again = _next(unit, case, consent)
    _give(unit, case, again, ConsentBasis.OWN, holder.subject)
    return again


def withdraw_consent(unit: Unit, case: Case, consent: Consent, sender: Principal) -> None:
    """A consent is taken back, by its holder, or at a counter by whom an operator serves: from here on
    nothing of the holder is read for this case. Withdrawing again changes nothing but whose no it is.

    Case and consent are locked. Raises ConsentNotGiven, and ConsentOver once the case is decided.
    """
    if consent.given_at is None:
        raise ConsentNotGiven
    if consent.withdrawn_at is not None:
        if sender.party == consent.holder:
            # Whoever had agreed in their place was first; now nobody agrees over the holder's own no.
            consent.withdrawn_for, consent.withdrawn_by = consent.holder, sender.subject
        return
    _check_undecided(case)
    consent.withdrawn_at = unit.legal
    consent.withdrawn_for, consent.withdrawn_by = sender.party, sender.subject
    by = WithdrawnBy.COUNTER
    if sender.kind is PrincipalKind.CITIZEN:
        by = WithdrawnBy.HOLDER
        _acted(case, consent.holder)
    fact = ConsentWithdrawn(holder=consent.holder, roles=consent.roles, by=by, withdrawn_at=unit.legal)
    _say(unit, case, fact)


def _next(unit: Unit, case: Case, consent: Consent) -> Consent:
    _check_undecided(case)
    again = Consent(
        case_no=consent.case_no,
        holder=consent.holder,
        nth=consent.nth + 1,
        roles=consent.roles,
        matter=consent.matter,
        matter_version=consent.matter_version,
        facts=consent.facts,
        asked_at=unit.legal,
    )
    unit.session.add(again)
    return again


def _give(unit: Unit, case: Case, consent: Consent, basis: ConsentBasis, recorded_by: str) -> None:
    consent.given_at, consent.basis, consent.recorded_by = unit.legal, basis, recorded_by
    if basis is ConsentBasis.OWN:
        _acted(case, consent.holder)
    given = ConsentGiven(holder=consent.holder, roles=consent.roles, basis=basis, given_at=unit.legal)
    _say(unit, case, given)


def _check_waits(case: Case) -> None:
    if case.state not in WAITS_FOR_CONSENT:
        raise ConsentNotNeeded


def _check_undecided(case: Case) -> None:
    if case.decided_at is not None or case.closed_at is not None:
        raise ConsentOver


def _acted(case: Case, person: UUID) -> None:
    case.acted = sorted({*case.acted, str(person)})


@dataclass(frozen=True, slots=True)
class SeenProxy:
    """What a counter has seen: which paper, and its number or where its copy is filed."""

    document: ProxyDocument
    reference: str


def record_proxy_consent(
    unit: Unit, case: Case, consent: Consent, seen: SeenProxy, operator: Principal
) -> Consent:
    """Whoever an operator serves agrees for a holder, by a paper that the operator has seen. Once somebody
    has agreed, nothing changes any more.

    Case and consent are locked. Raises Invalid where they would be their own proxy, ConsentNotNeeded,
    ConsentOver, and ConsentWithdrawnBefore where the holder has said no.
    """
    if operator.acting_for == consent.holder:
        own = "本人的同意由本人登录后作出。"
        raise Invalid(
            fields=[
                FieldError("/holder_role", "own", own, "Holders agree for themselves, by their own log-in.")
            ]
        )
    if consent.given_at is None:
        _check_waits(case)
    elif consent.withdrawn_at is None:
        return consent
    elif may_agree_again(operator.acting_for, consent.holder, consent.withdrawn_for):
        consent = _next(unit, case, consent)
    else:
        raise ConsentWithdrawnBefore(
            "持证人本人已撤回，只能由本人再次同意。", "The holder took it back, and alone may agree again."
        )
    _give(unit, case, consent, ConsentBasis.PROXY, operator.subject)
    consent.proxy, consent.document = operator.acting_for, seen.document
    consent.sealed_reference = unit.context.vault.seal(
        seen.reference,
        table="consents",
        row=f"{consent.case_no}/{consent.holder}/{consent.nth}",
        column="sealed_reference",
    )
    return consent


def supply_materials(unit: Unit, case: Case, uploads: Mapping[str, UUID]) -> None:
    """Take what was asked for; only that can be supplied.

    Raises NothingAsked, also when all of it has come and only was not looked at yet, and NotAskedFor.
    """
    matter = unit.context.matters.get(case.matter, case.matter_version)
    missing = still_asked(case.asked, case.materials)
    asked = [set(matter.uploads_for(code, case.facts)) for code in missing]
    if all(materials.intersection(case.supplied) for materials in asked):
        raise NothingAsked
    wrong = sorted(set(uploads).difference(*asked))
    if wrong:
        raise NotAskedFor(
            fields=[
                FieldError(
                    f"/uploads/{code}", "not-asked", "该材料不在补正清单内。", "This was not asked for."
                )
                for code in wrong
            ]
        )
    _say(unit, case, MaterialsSupplied(uploads=dict(uploads), supplied_at=unit.legal))


def _say(unit: Unit, case: Case, fact: Fact) -> None:
    """Say a fact of one's own, and show it as those of others are shown."""
    show(unit, case, unit.emit(case, fact))


def _unknown_uploads(matter: Matter, uploads: Mapping[str, UUID]) -> list[FieldError]:
    known = {material.code for material in matter.materials}
    return [
        FieldError(
            f"/uploads/{code}", "unknown", "该事项不需要这份材料。", "This matter has no such material."
        )
        for code in sorted(set(uploads) - known)
    ]


def _unknown_channel(matter: Matter, channel: str) -> list[FieldError]:
    # It goes into facts and timelines, where no text of the sender's own may stand.
    if channel in {known.code for known in matter.channels}:
        return []
    return [
        FieldError(
            "/channel",
            "unknown",
            "该事项不通过此渠道受理。",
            "This matter cannot be applied for through this channel.",
        )
    ]
