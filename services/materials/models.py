"""Tables of materials."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db.types import APPEND_ONLY, AwareDateTime, CaseRow


class Base(DeclarativeBase):
    """All tables of the schema `materials`."""

    metadata = MetaData(schema="materials")


CERTIFICATE_SERIAL = Sequence("certificate_serial", metadata=Base.metadata)


class Case(CaseRow, Base):
    """What materials needs to know of a case to match it."""

    __tablename__ = "cases"

    matter: Mapped[str] = mapped_column(String(100))
    matter_version: Mapped[int] = mapped_column(Integer)
    holders: Mapped[dict[str, str]] = mapped_column(JSONB)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    consents: Mapped[dict[str, str]] = mapped_column(JSONB)
    """Holder role -> how the consent is proven."""
    uploads: Mapped[dict[str, str]] = mapped_column(JSONB)
    round: Mapped[int] = mapped_column(Integer)
    gaps: Mapped[list[str]] = mapped_column(JSONB)
    withdrawals: Mapped[dict[str, int]] = mapped_column(JSONB)
    """Holder -> how often they took a consent back."""
    last_round: Mapped[int | None] = mapped_column(Integer)
    """The look that the decision rests on, once there is one: after it nothing is looked at any more."""
    last_received_at: Mapped[datetime] = mapped_column(AwareDateTime)


class MaterialMatch(Base):
    """How one required material of a case was met in one round of matching."""

    __tablename__ = "match_outcomes"

    case_no: Mapped[str] = mapped_column(String(50), primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True)
    material: Mapped[str] = mapped_column(String(60), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(40))
    source: Mapped[str | None] = mapped_column(String(40))
    certificate: Mapped[UUID | None] = mapped_column(Uuid)
    upload: Mapped[UUID | None] = mapped_column(Uuid)
    matched_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = ({"info": APPEND_ONLY},)


class Certificate(Base):
    """An electronic certificate, held by a person_ref: what matching needs, and none of its contents."""

    __tablename__ = "certificates"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    identifier: Mapped[str] = mapped_column(String(120), unique=True)
    type_code: Mapped[str] = mapped_column(String(60))
    holder: Mapped[UUID] = mapped_column(Uuid)
    issuer: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(20))
    trust_level: Mapped[str] = mapped_column(String(1))
    valid_from: Mapped[date | None] = mapped_column(Date)
    valid_until: Mapped[date | None] = mapped_column(Date)
    case_no: Mapped[str | None] = mapped_column(String(50))
    recorded_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("certificates_holder", "holder", "type_code"),
        # A case ends with one certificate.
        Index("certificates_case", "case_no", unique=True, postgresql_where=text("case_no IS NOT NULL")),
    )


class UseGrant(Base):
    """What allows reading somebody's certificates for one case (国令809: purpose-bound)."""

    __tablename__ = "use_grants"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    case_no: Mapped[str] = mapped_column(String(50))
    holder: Mapped[UUID] = mapped_column(Uuid)
    matter: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(60))
    basis: Mapped[str] = mapped_column(String(20))
    """How the holder's consent is proven: `shared.events.intake.ConsentBasis`."""
    granted_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("use_grants_case", "case_no"), {"info": APPEND_ONLY})


class GrantWithdrawal(Base):
    """The end of a grant: from then on nothing is read under it (PIPL art. 15)."""

    __tablename__ = "grant_withdrawals"

    grant: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    case_no: Mapped[str] = mapped_column(String(50))
    by: Mapped[str] = mapped_column(String(20))
    """`shared.events.intake.WithdrawnBy`; whoever it was, intake knows."""
    withdrawn_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("grant_withdrawals_case", "case_no"), {"info": APPEND_ONLY})


class UseRecord(Base):
    """One reading of one certificate: who read it, for which case, why, under which grant."""

    __tablename__ = "use_records"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    grant: Mapped[UUID] = mapped_column(Uuid)
    certificate: Mapped[UUID] = mapped_column(Uuid)
    case_no: Mapped[str] = mapped_column(String(50))
    reader: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(60))
    used_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("use_records_case", "case_no"),
        Index("use_records_certificate", "certificate"),
        {"info": APPEND_ONLY},
    )


class Upload(Base):
    """A file that a citizen gave, under a generated name; its content lies in pieces."""

    __tablename__ = "uploads"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    owner: Mapped[UUID] = mapped_column(Uuid)
    sealed_name: Mapped[bytes] = mapped_column(LargeBinary)
    media_type: Mapped[str] = mapped_column(String(60))
    size: Mapped[int] = mapped_column(Integer)
    sealed_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    uploaded_at: Mapped[datetime] = mapped_column(AwareDateTime)
    held_at: Mapped[datetime] = mapped_column(AwareDateTime)
    """When it was given, or last named in an application: it waits from here on to be taken."""
    case_no: Mapped[str | None] = mapped_column(String(50))
    """The first case that took it; None: it goes after some days (`retention`)."""

    __table_args__ = (
        Index("uploads_untaken", "owner", postgresql_where=text("case_no IS NULL")),
        Index("uploads_held", "held_at", postgresql_where=text("case_no IS NULL")),
    )


class UploadPiece(Base):
    """A part of a file, sealed by itself: nobody ever holds the whole."""

    __tablename__ = "upload_pieces"

    upload: Mapped[UUID] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    piece: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Which it is, from 0."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class UploadRead(Base):
    """One reading of a citizen's file by somebody who handles the case."""

    __tablename__ = "upload_reads"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    upload: Mapped[UUID] = mapped_column(Uuid)
    case_no: Mapped[str] = mapped_column(String(50))
    reader: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(60))
    read_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("upload_reads_upload", "upload"), {"info": APPEND_ONLY})
