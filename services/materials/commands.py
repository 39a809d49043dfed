"""Use cases of materials: match, match again after a supply or a consent or without one, order and issue."""

from collections.abc import Collection, ItemsView, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID, uuid5

from services.materials import queries
from services.materials.models import (
    CERTIFICATE_SERIAL,
    Case,
    Certificate,
    GrantWithdrawal,
    MaterialMatch,
    Upload,
    UseGrant,
    UseRecord,
)
from services.materials.rules.issuing import (
    Standing,
    certificate_identifier,
    check_standing,
    validity,
)
from services.materials.rules.matching import (
    CertificateState,
    CertificateView,
    MatchOutcome,
    MatchResult,
    MaterialOutcome,
    is_valid,
    match,
    settled,
)
from shared import metrics
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter
from shared.events.approval import CaseDecided, Decision
from shared.events.fact import Event
from shared.events.ids import new_id
from shared.events.intake import (
    CaseSubmitted,
    ConsentGiven,
    ConsentWithdrawn,
    MaterialsSupplied,
    known_cases,
)
from shared.events.materials import (
    CertificateIssued,
    MatchedMaterial,
    MaterialsMatched,
    MaterialsPartlyMatched,
)
from shared.legal_time import legal_day

ISSUE_JOB = "materials.issue"
PURPOSE = "matching the materials of a case"
READER = "materials.match"


@dataclass(slots=True)
class Checklists:
    """What a batch needs: the cases, and the certificates of everyone whose certificates may be asked for."""

    cases: dict[str, Case]
    certificates: dict[UUID, list[Certificate]]
    found: dict[str, dict[str, MaterialOutcome]] = field(default_factory=dict)
    """What the last look at each case found that is looked at again, by material."""
    holder_of: dict[UUID, UUID] = field(default_factory=dict)
    """Whose the certificates in `found` are, where it matters."""
    rounds: dict[tuple[str, int], dict[str, MaterialOutcome]] = field(default_factory=dict)
    """What a look found on which a decision may rest that did not know of a later one."""
    uploads: dict[UUID, Upload] = field(default_factory=dict)
    """The files that the batch's facts bring."""


def load_checklists(unit: Unit, events: Sequence[Event]) -> Checklists:
    """Lock the cases of the batch, then read the certificates that are to be matched, and no others."""
    cases = queries.lock_cases(unit.session, known_cases(events))
    again = {
        event.case
        for event in events
        if isinstance(event.fact, MaterialsSupplied | ConsentGiven | ConsentWithdrawn)
    }
    matched: list[Case | CaseSubmitted] = [cases[number] for number in again if number in cases]
    matched += [event.fact for event in events if isinstance(event.fact, CaseSubmitted)]
    types = {
        wanted
        for case in matched
        for wanted in unit.context.matters.get(case.matter, case.matter_version).certificate_types(case.facts)
    }
    found = {number: outcomes for (number, _), outcomes in _found(queries.last_outcomes(unit.session, again))}
    return Checklists(
        cases=cases,
        certificates=queries.certificates_of(unit.session, _holders_read(events, cases), types),
        found=found,
        holder_of=queries.holders_of(unit.session, _in_doubt(events, found)),
        rounds=dict(_found(queries.outcomes_in(unit.session, _decided_on(events, cases, again)))),
        uploads=queries.lock_uploads(unit.session, _brought(events)),
    )


def _holders_read(events: Sequence[Event], cases: Mapping[str, Case]) -> set[UUID]:
    """Who agrees at a moment at which their case is looked at: whoever has withdrawn before is not among
    them."""
    agree = {
        number: {UUID(str(case.holders[role])) for role in case.consents} for number, case in cases.items()
    }
    read: set[UUID] = set()
    for event in events:
        now = agree.setdefault(event.case, set())
        match event.fact:
            case CaseSubmitted() as fact:
                now |= {fact.holders[role] for role in fact.consents}
            case ConsentGiven() as fact:
                now.add(fact.holder)
            case ConsentWithdrawn() as fact:
                now.discard(fact.holder)
            case MaterialsSupplied():
                pass
            case _:
                continue
        read |= now
    return read


def _in_doubt(events: Sequence[Event], found: Mapping[str, Mapping[str, MaterialOutcome]]) -> set[UUID]:
    """The certificates that met something in cases from which a holder withdraws."""
    return {
        outcome.certificate
        for event in events
        if isinstance(event.fact, ConsentWithdrawn)
        for outcome in found.get(event.case, {}).values()
        if outcome.certificate is not None
    }


def _decided_on(
    events: Sequence[Event], cases: Mapping[str, Case], again: Collection[str]
) -> set[tuple[str, int]]:
    """The looks that the batch's decisions rest on, where a later one was or may be taken."""
    return {
        (event.case, event.fact.materials_round)
        for event in events
        if isinstance(event.fact, CaseDecided)
        and event.fact.materials_round is not None
        and event.case in cases
        and (event.case in again or cases[event.case].round != event.fact.materials_round)
    }


def match_materials(unit: Unit, event: Event, loaded: Checklists) -> None:
    """Open the checklist of a case and match it (国令716 art. 7: never ask for what sharing provides)."""
    fact = event.fact
    assert isinstance(fact, CaseSubmitted)
    case = Case(
        number=event.case,
        sequence=0,
        matter=fact.matter,
        matter_version=fact.matter_version,
        holders={role: str(ref) for role, ref in fact.holders.items()},
        facts=fact.facts,
        consents=dict(fact.consents),
        uploads={code: str(upload) for code, upload in fact.uploads.items()},
        round=1,
        gaps=[],
        withdrawals={},
        last_round=None,
        last_received_at=fact.received_at,
    )
    unit.session.add(case)
    loaded.cases[case.number] = case
    _take(loaded, case, fact.uploads)
    _grant(unit, case, {UUID(case.holders[role]): basis for role, basis in case.consents.items()})
    result = _match(unit, case, loaded, {})
    case.gaps = list(result.gaps)
    _record(unit, case, result, loaded)


def match_again(unit: Unit, event: Event, loaded: Checklists) -> None:
    """Match again with what the citizen supplied. While something asked for is missing, nothing is said:
    a second notice about a gap known at the first would be against the law (行政许可法 art. 32)."""
    fact = event.fact
    assert isinstance(fact, MaterialsSupplied)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if not case.gaps or _is_over(case):
        # All is there and was said: what comes now replaces nothing that the case was accepted on.
        return
    case.uploads = case.uploads | {code: str(upload) for code, upload in fact.uploads.items()}
    _take(loaded, case, fact.uploads)
    _match_anew(unit, case, loaded, fact.supplied_at)


def match_after_consent(unit: Unit, event: Event, loaded: Checklists) -> None:
    """A holder agreed: note the grant, and look at their certificates if something is still missing. Nobody
    waits for this consent any more, so what stands otherwise now is told though more is missing."""
    fact = event.fact
    assert isinstance(fact, ConsentGiven)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if case.consents.keys() >= set(fact.roles):
        return
    case.consents = {**case.consents, **dict.fromkeys(fact.roles, fact.basis.value)}
    _grant(unit, case, {fact.holder: fact.basis})
    if case.gaps and not _is_over(case):
        _match_anew(unit, case, loaded, fact.given_at, in_part=True)


def match_without_consent(unit: Unit, event: Event, loaded: Checklists) -> None:
    """A holder's consent is taken back: nothing of theirs is read from here on, and what their certificates
    met is missing again. A case that is decided stays so, and so does the record of what was read before
    (PIPL art. 15, 47)."""
    fact = event.fact
    assert isinstance(fact, ConsentWithdrawn)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if not case.consents.keys() & set(fact.roles):
        return
    case.consents = {role: basis for role, basis in case.consents.items() if role not in fact.roles}
    _end_grant(unit, case, fact)
    if _is_over(case):
        return
    before = loaded.found.get(case.number, {})
    theirs = {certificate for certificate, holder in loaded.holder_of.items() if holder == fact.holder}
    result = _match(unit, case, loaded, settled(before, theirs))
    case.gaps = list(result.gaps)
    if {outcome.material: outcome for outcome in result.outcomes} != before:
        case.round += 1
        _record(unit, case, result, loaded, withdrawn=True)


def _match_anew(unit: Unit, case: Case, loaded: Checklists, at: datetime, *, in_part: bool = False) -> None:
    case.last_received_at = at
    before = loaded.found.get(case.number, {})
    result = _match(unit, case, loaded, settled(before))
    case.gaps = list(result.gaps)
    if not result.gaps:
        case.round += 1
        _record(unit, case, result, loaded)
    elif in_part and _told(result.outcomes) != _told(before.values()):
        case.round += 1
        _note_matches(unit, case, result, loaded)
        unit.emit(
            case,
            MaterialsPartlyMatched(
                round=case.round, outcomes=_told(result.outcomes), gaps=case.gaps, matched_at=unit.legal
            ),
        )


def order_certificate(unit: Unit, event: Event, loaded: Checklists) -> None:
    """A case is decided: nothing is looked at any more, and for an approved one there is the job that issues
    its certificate. Nothing is issued on the word of a fact alone: the job asks approval."""
    fact = event.fact
    assert isinstance(fact, CaseDecided)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    case.last_round = fact.materials_round or case.round
    if case.round > case.last_round:
        _back_to(unit, case, case.last_round, loaded)
    matter = unit.context.matters.get(case.matter, case.matter_version)
    if fact.outcome is Decision.APPROVED and matter.result is not None:
        unit.later(ISSUE_JOB, case.number, {}, case=case.number)


def _back_to(unit: Unit, case: Case, round_: int, loaded: Checklists) -> None:
    """A consent that was withdrawn while the decision was on its way came too late for it: what counts is
    what the decision rests on, whichever was heard first."""
    outcomes = loaded.rounds[case.number, round_]
    case.round = round_
    case.gaps = [code for code, outcome in outcomes.items() if not outcome.met]
    _say_matched(unit, case, tuple(outcomes.values()), withdrawn=True)


def _is_over(case: Case) -> bool:
    """Whether the case is decided, and on nothing that is still to be looked at: facts of other speakers may
    be heard late."""
    return case.last_round is not None and case.round >= case.last_round


@dataclass(slots=True)
class Orders:
    """What issuing needs: the cases, how each stands in approval, and which have their certificate."""

    cases: dict[str, Case]
    standings: Mapping[str, Standing]
    issued: set[str]
    serials: list[int]


def load_orders(unit: Unit, numbers: Collection[str], standings: Mapping[str, Standing]) -> Orders:
    """Lock the cases, and take a serial for each certificate that may be issued."""
    cases = queries.lock_cases(unit.session, numbers)
    issued = queries.issued_for(unit.session, numbers)
    granted = [n for n, standing in standings.items() if standing.outcome == Decision.APPROVED]
    serials = unit.serials(CERTIFICATE_SERIAL.name, len({*granted} & {*numbers} - issued))
    return Orders(cases, standings, issued, serials)


def issue_certificate(unit: Unit, number: str, loaded: Orders) -> None:
    """Issue the result certificate of a case to its applicant, once.

    Raises IssueRefused when approval says that the case does not stand so.
    """
    if number in loaded.issued:
        return
    case = loaded.cases[number]
    matter = unit.context.matters.get(case.matter, case.matter_version)
    decided_on = check_standing(matter, loaded.standings.get(number))
    assert matter.result is not None
    valid_from, valid_until = validity(matter.result, decided_on)
    certificate = Certificate(
        id=new_id(),
        identifier=certificate_identifier(matter, decided_on, loaded.serials.pop()),
        type_code=matter.result.certificate_type,
        holder=UUID(case.holders["applicant"]),
        issuer=matter.department,
        state="normal",
        trust_level="A",
        valid_from=valid_from,
        valid_until=valid_until,
        case_no=case.number,
        recorded_at=unit.wall,
    )
    unit.session.add(certificate)
    unit.emit(
        case,
        CertificateIssued(
            certificate=certificate.id, certificate_type=certificate.type_code, issued_at=unit.legal
        ),
    )


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate as its issuer hands it over; `identifier` is the issuer's, and unique."""

    identifier: str
    type_code: str
    holder: UUID
    issuer: str
    trust_level: str
    valid_from: date | None
    valid_until: date | None


def record_certificate(unit: Unit, new: NewCertificate) -> bool:
    """Keep a certificate that another authority issued; False when it is here already."""
    if queries.certificate_by_identifier(unit.session, new.identifier) is not None:
        return False
    unit.session.add(
        Certificate(
            id=new_id(),
            identifier=new.identifier,
            type_code=new.type_code,
            holder=new.holder,
            issuer=new.issuer,
            state=CertificateState.NORMAL,
            trust_level=new.trust_level,
            valid_from=new.valid_from,
            valid_until=new.valid_until,
            recorded_at=unit.wall,
        )
    )
    return True


@dataclass(frozen=True, slots=True)
class Amiss:
    """What a case cannot be approved on: materials whose certificate is not valid today, and what is missing
    since a consent was withdrawn."""

    lost: list[str]
    missing: list[str]


def look_before_approval(unit: Unit, number: str, reader: str, purpose: str) -> Amiss:
    """Look once more at the certificates that met something in a case; each is a use. What cannot be approved
    anyway is not looked at."""
    case = queries.lock_cases(unit.session, {number}).get(number)
    if case is None or case.gaps:
        return Amiss([], case.gaps if case is not None else [])
    today = legal_day(unit.legal)
    matched = queries.matched_certificates(unit.session, number)
    for _, certificate in matched:
        _note_use(unit, certificate, case, reader, purpose)
    lost = sorted(material for material, certificate in matched if not is_valid(_view(certificate), today))
    return Amiss(lost, [])


def _brought(events: Sequence[Event]) -> set[UUID]:
    brought = [
        event.fact.uploads for event in events if isinstance(event.fact, CaseSubmitted | MaterialsSupplied)
    ]
    return {upload for uploads in brought for upload in uploads.values()}


def _take(loaded: Checklists, case: Case, uploads: Mapping[str, UUID]) -> None:
    """The case's files stay as long as it does."""
    for upload_id in uploads.values():
        upload = loaded.uploads.get(upload_id)
        if upload is not None and upload.case_no is None:
            upload.case_no = case.number


def _found(
    rows: Iterable[MaterialMatch],
) -> ItemsView[tuple[str, int], dict[str, MaterialOutcome]]:
    found: dict[tuple[str, int], dict[str, MaterialOutcome]] = {}
    for row in rows:
        found.setdefault((row.case_no, row.round), {})[row.material] = MaterialOutcome(
            row.material,
            MatchOutcome(row.outcome),
            "certificate" if row.certificate else "upload" if row.upload else None,
            certificate=row.certificate,
            upload=row.upload,
        )
    return found.items()


def _match(unit: Unit, case: Case, loaded: Checklists, stays: Mapping[str, MaterialOutcome]) -> MatchResult:
    matter = unit.context.matters.get(case.matter, case.matter_version)
    views = [_view(certificate) for certificate in _read_certificates(unit, case, matter, loaded, stays)]
    return match(
        matter,
        facts=case.facts,
        holders={role: UUID(ref) for role, ref in case.holders.items()},
        certificates=views,
        uploads={code: UUID(upload) for code, upload in case.uploads.items()},
        consents=case.consents,
        # As things stood when the citizen acted, however long the fact was on its way.
        on=legal_day(case.last_received_at),
        settled=stays,
    )


def _read_certificates(
    unit: Unit, case: Case, matter: Matter, loaded: Checklists, stays: Collection[str]
) -> list[Certificate]:
    """The certificates that the matter may look at, each reading noted; nobody's without their consent, and
    none for what stays as it is."""
    found = []
    wanted_of: dict[UUID, set[str]] = {}
    for role in case.consents:
        wanted_of.setdefault(UUID(case.holders[role]), set()).update(
            matter.certificate_types_of(role, case.facts, but=stays)
        )
    for holder, wanted in sorted(wanted_of.items()):
        for certificate in loaded.certificates.get(holder, ()):
            if certificate.type_code not in wanted:
                continue
            found.append(certificate)
            loaded.holder_of[certificate.id] = holder
            _note_use(unit, certificate, case, READER, PURPOSE)
    return found


def _note_use(unit: Unit, certificate: Certificate, case: Case, reader: str, purpose: str) -> None:
    unit.append(
        UseRecord,
        grant=_grant_of(case, certificate.holder),
        certificate=certificate.id,
        case_no=case.number,
        reader=reader,
        purpose=purpose,
        used_at=unit.legal,
    )


def _grant(unit: Unit, case: Case, holders: Mapping[UUID, str]) -> None:
    for holder, basis in sorted(holders.items()):
        unit.append(
            UseGrant,
            id=_grant_of(case, holder),
            case_no=case.number,
            holder=holder,
            matter=case.matter,
            purpose=PURPOSE,
            basis=basis,
            granted_at=unit.legal,
        )


def _end_grant(unit: Unit, case: Case, fact: ConsentWithdrawn) -> None:
    unit.append(
        GrantWithdrawal,
        grant=_grant_of(case, fact.holder),
        case_no=case.number,
        by=fact.by,
        withdrawn_at=fact.withdrawn_at,
    )
    before = case.withdrawals.get(str(fact.holder), 0)
    case.withdrawals = {**case.withdrawals, str(fact.holder): before + 1}


def _grant_of(case: Case, holder: UUID) -> UUID:
    return grant_id(case.number, holder, case.withdrawals.get(str(holder), 0))


def grant_id(case_no: str, holder: UUID, withdrawn: int = 0) -> UUID:
    """One grant per case, holder and consent; its id follows from these, so that a use names it without a
    look-up. `withdrawn` is how often the holder has taken a consent back."""
    return uuid5(holder, f"{case_no}/{withdrawn}" if withdrawn else case_no)


def _record(
    unit: Unit, case: Case, result: MatchResult, loaded: Checklists, *, withdrawn: bool = False
) -> None:
    _note_matches(unit, case, result, loaded)
    _say_matched(unit, case, result.outcomes, withdrawn=withdrawn)


def _note_matches(unit: Unit, case: Case, result: MatchResult, loaded: Checklists) -> None:
    for outcome in result.outcomes:
        unit.append(
            MaterialMatch,
            case_no=case.number,
            round=case.round,
            material=outcome.material,
            outcome=outcome.outcome,
            source=outcome.source,
            certificate=outcome.certificate,
            upload=outcome.upload,
            matched_at=unit.legal,
        )
        unit.after_commit(metrics.MATERIALS.labels(outcome.source or "none").inc)
    found = {outcome.material: outcome for outcome in result.outcomes}
    loaded.found[case.number] = loaded.rounds[case.number, case.round] = found


def _say_matched(unit: Unit, case: Case, outcomes: Sequence[MaterialOutcome], *, withdrawn: bool) -> None:
    unit.emit(
        case,
        MaterialsMatched(
            round=case.round,
            outcomes=_told(outcomes),
            gaps=case.gaps,
            consent_withdrawn=withdrawn,
            matched_at=unit.legal,
            last_received_at=case.last_received_at,
        ),
    )


def _told(outcomes: Iterable[MaterialOutcome]) -> list[MatchedMaterial]:
    return [MatchedMaterial(material=o.material, outcome=o.told, source=o.source) for o in outcomes]


def _view(certificate: Certificate) -> CertificateView:
    return CertificateView(
        id=certificate.id,
        type_code=certificate.type_code,
        holder_ref=certificate.holder,
        state=CertificateState(certificate.state),
        trust_level=certificate.trust_level,
        valid_from=certificate.valid_from,
        valid_until=certificate.valid_until,
        issuer=certificate.issuer,
    )
