"""Use cases of materials: match, match again after a supply, order and issue, keep an upload."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import ceil
from uuid import UUID, uuid5

from sqlalchemy import insert

from services.materials import queries
from services.materials.errors import (
    UploadEmpty,
    UploadLocked,
    UploadNotFound,
    UploadsUntaken,
    UploadTooManyPixels,
    UploadTypeNotAllowed,
)
from services.materials.models import (
    CERTIFICATE_SERIAL,
    Case,
    Certificate,
    MaterialMatch,
    Upload,
    UploadPiece,
    UploadRead,
    UseGrant,
    UseRecord,
)
from services.materials.retention import UNTAKEN_FOR
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
from services.materials.rules.media import MOST_PIXELS, Media, is_locked, media_of
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
from shared.privacy.sealed_file import SealedFile

ISSUE_JOB = "materials.issue"
PURPOSE = "matching the materials of a case"
READER = "materials.match"
MOST_UNTAKEN, MOST_UNTAKEN_BYTES = 50, 200 * 2**20
"""Files that one person may keep here without an application that uses them."""


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


def keep_upload(unit: Unit, owner: UUID, name: str, file: SealedFile) -> Upload:
    """Keep a citizen's file, sealed piece by piece, under a generated id. The type is read from the content,
    not the name.

    Raises UploadEmpty, UploadTypeNotAllowed, UploadLocked, UploadTooManyPixels, and UploadsUntaken for
    whoever would keep more than MOST_UNTAKEN files or MOST_UNTAKEN_BYTES that no case took.
    """
    media = _check_content(file)
    _check_quota(unit, owner, file.size)
    vault, upload_id = unit.context.vault, new_id()
    # A browser may say any alphabet for the name, and some hold characters that no other can write.
    kept_name = name[:255].encode(errors="replace").decode()
    upload = Upload(
        id=upload_id,
        owner=owner,
        sealed_name=vault.seal(kept_name, table="uploads", row=upload_id, column="sealed_name"),
        media_type=media.type,
        size=file.size,
        sealed_sha256=vault.seal(file.sha256, table="uploads", row=upload_id, column="sealed_sha256"),
        uploaded_at=unit.wall,
        held_at=unit.wall,
    )
    unit.session.add(upload)
    unit.session.flush()
    for number, piece in enumerate(file.pieces()):
        sealed = vault.seal(piece, table="upload_pieces", row=f"{upload_id}/{number}", column="sealed")
        # Not through the session, which would keep them all until the end.
        unit.connection.execute(insert(UploadPiece).values(upload=upload_id, piece=number, sealed=sealed))
    return upload


def _check_content(file: SealedFile) -> Media:
    if not file.size:
        raise UploadEmpty
    media = media_of(file.pieces())
    if media is None:
        raise UploadTypeNotAllowed("请上传 PDF、JPEG 或 PNG 文件。", "Please upload a PDF, JPEG or PNG file.")
    if media.is_encrypted and is_locked(file.opened()):
        raise UploadLocked(
            "请去掉打开密码后重新上传。", "Please take the password off and upload the file again."
        )
    if media.pixels > MOST_PIXELS:
        millions = MOST_PIXELS // 1_000_000
        raise UploadTooManyPixels(
            f"图片最多 {millions * 100} 万像素，请缩小后再上传。",
            f"At most {millions} million pixels; please make the picture smaller.",
        )
    return media


def _check_quota(unit: Unit, owner: UUID, size: int) -> None:
    found = queries.untaken(unit.session, owner, MOST_UNTAKEN)
    if found.count < MOST_UNTAKEN and found.size + size <= MOST_UNTAKEN_BYTES:
        return
    frees_at = (found.oldest or unit.wall) + UNTAKEN_FOR
    days, most_mb = UNTAKEN_FOR.days, MOST_UNTAKEN_BYTES // 2**20
    raise UploadsUntaken(
        f"最多可保留 {MOST_UNTAKEN} 个、共 {most_mb} MB 未用于申请的附件；{days} 天未使用的会自动删除。",
        f"At most {MOST_UNTAKEN} files and {most_mb} MB may wait for an application; what is not used within "
        f"{days} days is removed.",
        retry_after_s=max(1, ceil((frees_at - unit.wall).total_seconds())),
    )


def hold_uploads(unit: Unit, owner: UUID, ids: Collection[UUID]) -> dict[UUID, str]:
    """Which of these uploads this person gave, with their media types. An application is about to name them:
    those that no case took wait on from now."""
    own = {
        found.id: found for found in queries.lock_uploads(unit.session, ids).values() if found.owner == owner
    }
    for upload in own.values():
        if upload.case_no is None:
            upload.held_at = unit.wall
    return {upload_id: upload.media_type for upload_id, upload in own.items()}


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


@dataclass(frozen=True, slots=True)
class ReadUpload:
    """A file of a case, and as which material it was brought."""

    upload: Upload
    material: str


def read_upload(unit: Unit, upload_id: UUID, number: str, reader: str, purpose: str) -> ReadUpload:
    """A file of a case for whoever handles it; the reading is noted.

    Raises UploadNotFound for a file of another case.
    """
    found = queries.upload_of_case(unit.session, upload_id, number)
    if found is None:
        raise UploadNotFound
    material, upload = found
    unit.session.add(
        UploadRead(upload=upload_id, case_no=number, reader=reader, purpose=purpose, read_at=unit.legal)
    )
    return ReadUpload(upload, material)


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
