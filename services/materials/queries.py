"""Reads of materials."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, select, tuple_
from sqlalchemy.orm import Session, load_only

from services.materials.models import Case, Certificate, MaterialMatch, Upload, UploadPiece
from shared.db.locking import lock_rows


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


_CERTIFICATES = select(Certificate).where(
    Certificate.holder.in_(bindparam("holders", expanding=True)),
    Certificate.type_code.in_(bindparam("types", expanding=True)),
)


def certificates_of(
    session: Session, holders: Collection[UUID], types: Collection[str]
) -> dict[UUID, list[Certificate]]:
    """The certificates of these types that these people hold; whoever looks at one notes the use."""
    if not holders or not types:
        return {}
    grouped: dict[UUID, list[Certificate]] = {}
    for certificate in session.scalars(_CERTIFICATES, {"holders": sorted(holders), "types": sorted(types)}):
        grouped.setdefault(certificate.holder, []).append(certificate)
    return grouped


def issued_for(session: Session, numbers: Collection[str]) -> set[str]:
    """Which of these cases have their certificate."""
    return set(session.scalars(_ISSUED, {"numbers": sorted(numbers)}))


def certificate_of_case(session: Session, number: str) -> Certificate | None:
    """The certificate that was issued for a case."""
    return session.scalars(select(Certificate).where(Certificate.case_no == number)).one_or_none()


_ISSUED = select(Certificate.case_no).where(Certificate.case_no.in_(bindparam("numbers", expanding=True)))


# Every round says how each material stands, so the last one says it all.
_LAST_ROUND = (
    select(MaterialMatch)
    .join(Case, (Case.number == MaterialMatch.case_no) & (Case.round == MaterialMatch.round))
    .where(Case.number.in_(bindparam("numbers", expanding=True)))
    .order_by(MaterialMatch.case_no, MaterialMatch.material)
)


def outcomes_of(session: Session, number: str) -> list[dict[str, Any]]:
    """The latest outcome of each required material of a case."""
    return [
        {
            "material": row.material,
            "outcome": row.outcome,
            "source": row.source,
            "certificate": str(row.certificate) if row.certificate else None,
            "upload": str(row.upload) if row.upload else None,
        }
        for row in last_outcomes(session, {number})
    ]


def last_outcomes(session: Session, numbers: Collection[str]) -> list[MaterialMatch]:
    """How each material of these cases stood when it was last looked at."""
    if not numbers:
        return []
    return list(session.scalars(_LAST_ROUND, {"numbers": sorted(numbers)}))


def outcomes_in(session: Session, looks: Collection[tuple[str, int]]) -> list[MaterialMatch]:
    """How each material stood at these looks, by case and round."""
    if not looks:
        return []
    key = tuple_(MaterialMatch.case_no, MaterialMatch.round)
    found = select(MaterialMatch).where(key.in_(sorted(looks)))
    return list(session.scalars(found.order_by(MaterialMatch.case_no, MaterialMatch.material)))


def holders_of(session: Session, certificates: Collection[UUID]) -> dict[UUID, UUID]:
    """Who holds each of these certificates; nothing else of it."""
    if not certificates:
        return {}
    found = select(Certificate.id, Certificate.holder).where(Certificate.id.in_(sorted(certificates)))
    return {row.id: row.holder for row in session.execute(found)}


def upload(session: Session, upload_id: UUID) -> Upload | None:
    """One upload, or None."""
    return session.get(Upload, upload_id)


def upload_piece(session: Session, upload_id: UUID, number: int) -> bytes | None:
    """One piece of a file, sealed; None after the last one."""
    wanted = select(UploadPiece.sealed).where(UploadPiece.upload == upload_id, UploadPiece.piece == number)
    return session.execute(wanted).scalar_one_or_none()


def sealed_names(session: Session, ids: Collection[UUID]) -> dict[UUID, bytes]:
    """What their senders call these uploads."""
    rows = session.execute(select(Upload.id, Upload.sealed_name).where(Upload.id.in_(ids)))
    return {upload_id: sealed for upload_id, sealed in rows}


def lock_uploads(session: Session, ids: Collection[UUID]) -> dict[UUID, Upload]:
    """The uploads that exist, locked in order."""
    if not ids:
        return {}
    wanted = select(Upload).options(load_only(*_LABEL, raiseload=True)).where(Upload.id.in_(sorted(ids)))
    return {found.id: found for found in session.scalars(wanted.order_by(Upload.id).with_for_update())}


_LABEL = (Upload.id, Upload.owner, Upload.media_type, Upload.held_at, Upload.case_no)


@dataclass(frozen=True, slots=True)
class Untaken:
    """A person's files that no case took: how many, their bytes together, the moment from which the oldest
    waits."""

    count: int
    size: int
    oldest: datetime | None


def untaken(session: Session, owner: UUID, most: int) -> Untaken:
    """The files of this person that no case took; counted up to `most`."""
    files = select(Upload.size, Upload.held_at).where(Upload.owner == owner, Upload.case_no.is_(None))
    some = files.limit(most).subquery()
    sums = select(func.count(), func.coalesce(func.sum(some.c.size), 0), func.min(some.c.held_at))
    return Untaken(*session.execute(sums).one())


def matched_certificates(session: Session, number: str) -> list[tuple[str, Certificate]]:
    """Material and certificate of what was met by a certificate in the latest round."""
    rows = session.execute(
        select(MaterialMatch.material, Certificate)
        .join(Case, (Case.number == MaterialMatch.case_no) & (Case.round == MaterialMatch.round))
        .join(Certificate, Certificate.id == MaterialMatch.certificate)
        .where(Case.number == number, MaterialMatch.outcome == "matched")
    )
    return [(row[0], row[1]) for row in rows]


def upload_of_case(session: Session, upload_id: UUID, number: str) -> tuple[str, Upload] | None:
    """The material as which an upload was brought, and the upload, if it belongs to this case."""
    case = session.get(Case, number)
    brought = {} if case is None else {upload: code for code, upload in case.uploads.items()}
    material = brought.get(str(upload_id))
    upload = session.get(Upload, upload_id) if material is not None else None
    return (material, upload) if material is not None and upload is not None else None


def certificate_by_identifier(session: Session, identifier: str) -> UUID | None:
    """The certificate with this identifier of its issuer."""
    found = session.execute(select(Certificate.id).where(Certificate.identifier == identifier))
    return found.scalar_one_or_none()
