"""Use cases of materials: match, match again after a supply or a consent, order and issue."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID, uuid5

from services.materials import queries
from services.materials.models import (
    CERTIFICATE_SERIAL,
    Case,
    Certificate,
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
    keep_met,
    match,
)
from shared import metrics
from shared.bus.inbox import NotYet
from shared.bus.unit import Unit
from shared.catalogue.matter import Matter
from shared.events.approval import CaseDecided, Decision
from shared.events.fact import Event
from shared.events.ids import new_id
from shared.events.intake import CaseSubmitted, ConsentGiven, MaterialsSupplied, known_cases
from shared.events.materials import CertificateIssued, MatchedMaterial, MaterialsMatched
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
    """What the last look at each supplied case found, by material."""
    uploads: dict[UUID, Upload] = field(default_factory=dict)
    """The files that the batch's facts bring."""


def load_checklists(unit: Unit, events: Sequence[Event]) -> Checklists:
    """Lock the cases of the batch, then read the certificates that are to be matched, and no others."""
    cases = queries.lock_cases(unit.session, known_cases(events))
    again = {event.case for event in events if isinstance(event.fact, MaterialsSupplied | ConsentGiven)}
    matched: list[Case | CaseSubmitted] = [cases[number] for number in again if number in cases]
    matched += [event.fact for event in events if isinstance(event.fact, CaseSubmitted)]
    holders = {UUID(str(case.holders[role])) for case in matched for role in case.consents}
    # Whose consent is in this batch: it is noted before anything of theirs is matched.
    holders |= {event.fact.holder for event in events if isinstance(event.fact, ConsentGiven)}
    types = {
        wanted
        for case in matched
        for wanted in unit.context.matters.get(case.matter, case.matter_version).certificate_types(case.facts)
    }
    return Checklists(
        cases=cases,
        certificates=queries.certificates_of(unit.session, holders, types),
        found=_found(unit, again),
        uploads=queries.lock_uploads(unit.session, _brought(events)),
    )


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
        last_received_at=fact.received_at,
    )
    unit.session.add(case)
    loaded.cases[case.number] = case
    _take(loaded, case, fact.uploads)
    _grant(unit, case, {UUID(case.holders[role]): basis for role, basis in case.consents.items()})
    result = _match(unit, case, loaded)
    case.gaps = list(result.gaps)
    _record(unit, case, result)


def match_again(unit: Unit, event: Event, loaded: Checklists) -> None:
    """Match again with what the citizen supplied. While something asked for is missing, nothing is said:
    a second notice about a gap known at the first would be against the law (行政许可法 art. 32)."""
    fact = event.fact
    assert isinstance(fact, MaterialsSupplied)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if not case.gaps:
        # All is there and was said: what comes now replaces nothing that the case was accepted on.
        return
    case.uploads = case.uploads | {code: str(upload) for code, upload in fact.uploads.items()}
    _take(loaded, case, fact.uploads)
    _match_anew(unit, case, loaded, fact.supplied_at)


def match_after_consent(unit: Unit, event: Event, loaded: Checklists) -> None:
    """A holder agreed: note the grant, and look at their certificates if something is still missing."""
    fact = event.fact
    assert isinstance(fact, ConsentGiven)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    if case.consents.keys() >= set(fact.roles):
        return
    case.consents = {**case.consents, **dict.fromkeys(fact.roles, fact.basis.value)}
    _grant(unit, case, {fact.holder: fact.basis})
    if case.gaps:
        _match_anew(unit, case, loaded, fact.given_at)


def _match_anew(unit: Unit, case: Case, loaded: Checklists, at: datetime) -> None:
    case.last_received_at = at
    result = keep_met(_match(unit, case, loaded), loaded.found.get(case.number, {}))
    case.gaps = list(result.gaps)
    if result.gaps:
        return
    case.round += 1
    _record(unit, case, result)


def order_certificate(unit: Unit, event: Event, loaded: Checklists) -> None:
    """Leave the job that issues the result certificate of an approved case. Nothing is issued on the word of
    a fact alone: the job asks approval."""
    fact = event.fact
    assert isinstance(fact, CaseDecided)
    case = loaded.cases.get(event.case)
    if case is None:
        raise NotYet(CaseSubmitted)
    matter = unit.context.matters.get(case.matter, case.matter_version)
    if fact.outcome is Decision.APPROVED and matter.result is not None:
        unit.later(ISSUE_JOB, case.number, {}, case=case.number)


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


def lost_certificates(unit: Unit, number: str, reader: str, purpose: str) -> list[str]:
    """The materials of a case that were met by a certificate which is not valid today. Looking is a use."""
    today = legal_day(unit.legal)
    matched = queries.matched_certificates(unit.session, number)
    for _, certificate in matched:
        _note_use(unit, certificate, number, reader, purpose)
    return sorted(material for material, certificate in matched if not is_valid(_view(certificate), today))


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


def _found(unit: Unit, numbers: Collection[str]) -> dict[str, dict[str, MaterialOutcome]]:
    found: dict[str, dict[str, MaterialOutcome]] = {}
    for row in queries.last_outcomes(unit.session, numbers):
        found.setdefault(row.case_no, {})[row.material] = MaterialOutcome(
            row.material,
            MatchOutcome(row.outcome),
            "certificate" if row.certificate else "upload" if row.upload else None,
            certificate=row.certificate,
            upload=row.upload,
        )
    return found


def _match(unit: Unit, case: Case, loaded: Checklists) -> MatchResult:
    matter = unit.context.matters.get(case.matter, case.matter_version)
    views = [_view(certificate) for certificate in _read_certificates(unit, case, matter, loaded)]
    return match(
        matter,
        facts=case.facts,
        holders={role: UUID(ref) for role, ref in case.holders.items()},
        certificates=views,
        uploads={code: UUID(upload) for code, upload in case.uploads.items()},
        consents=case.consents,
        # As things stood when the citizen acted, however long the fact was on its way.
        on=legal_day(case.last_received_at),
    )


def _read_certificates(unit: Unit, case: Case, matter: Matter, loaded: Checklists) -> list[Certificate]:
    """The certificates that the matter may look at, each reading noted; nobody's without their consent."""
    found = []
    wanted_of: dict[UUID, set[str]] = {}
    for role in case.consents:
        wanted_of.setdefault(UUID(case.holders[role]), set()).update(
            matter.certificate_types_of(role, case.facts)
        )
    for holder, wanted in sorted(wanted_of.items()):
        for certificate in loaded.certificates.get(holder, ()):
            if certificate.type_code not in wanted:
                continue
            found.append(certificate)
            _note_use(unit, certificate, case.number, READER, PURPOSE)
    return found


def _note_use(unit: Unit, certificate: Certificate, number: str, reader: str, purpose: str) -> None:
    unit.append(
        UseRecord,
        grant=grant_id(number, certificate.holder),
        certificate=certificate.id,
        case_no=number,
        reader=reader,
        purpose=purpose,
        used_at=unit.legal,
    )


def _grant(unit: Unit, case: Case, holders: Mapping[UUID, str]) -> None:
    for holder, basis in sorted(holders.items()):
        unit.append(
            UseGrant,
            id=grant_id(case.number, holder),
            case_no=case.number,
            holder=holder,
            matter=case.matter,
            purpose=PURPOSE,
            basis=basis,
            granted_at=unit.legal,
        )


def grant_id(case_no: str, holder: UUID) -> UUID:
    """One grant per case and holder; its id follows from both, so that a use names it without a look-up."""
    return uuid5(holder, case_no)


def _record(unit: Unit, case: Case, result: MatchResult) -> None:
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
    unit.emit(
        case,
        MaterialsMatched(
            round=case.round,
            outcomes=[
                MatchedMaterial(material=o.material, outcome=o.told, source=o.source) for o in result.outcomes
            ],
            gaps=case.gaps,
            matched_at=unit.legal,
            last_received_at=case.last_received_at,
        ),
    )


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
