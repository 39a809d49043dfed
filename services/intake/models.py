"""Tables of intake."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    String,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db.types import APPEND_ONLY, AwareDateTime, CaseRow


class Base(DeclarativeBase):
    """All tables of the schema `intake`."""

    metadata = MetaData(schema="intake")


CASE_SERIAL = Sequence("case_serial", metadata=Base.metadata)


class Person(Base):
    """Somebody we know by a random reference; found by the keyed HMAC of the ID number."""

    __tablename__ = "persons"

    person_ref: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    id_lookup: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    sealed_name: Mapped[bytes] = mapped_column(LargeBinary)
    name_source: Mapped[str] = mapped_column(String(40))
    """Where the name comes from: an identity provider, or `form`."""
    name_assurance: Mapped[str] = mapped_column(String(20))
    sealed_id_number: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(AwareDateTime)


class ContactPoint(Base):
    """A way to reach a person: what a provider vouches for, or what they added and may have verified.

    Read only with a purpose, and every reading by others is noted.
    """

    __tablename__ = "contact_points"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    person_ref: Mapped[UUID] = mapped_column(Uuid)
    kind: Mapped[str] = mapped_column(String(20))
    sealed_value: Mapped[bytes] = mapped_column(LargeBinary)
    value_lookup: Mapped[bytes] = mapped_column(LargeBinary)
    source: Mapped[str] = mapped_column(String(40))
    """Where it comes from: an identity provider, or `person`."""
    assurance: Mapped[str] = mapped_column(String(20))
    added_at: Mapped[datetime] = mapped_column(AwareDateTime)
    verified_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    """Notices go to the newest of a kind; to none that is not verified."""

    __table_args__ = (
        Index("contact_points_person", "person_ref", "kind", "verified_at", "id"),
        Index("contact_points_claimed", "added_at", postgresql_where=text("assurance = 'claimed'")),
    )


class OneTimeCode(Base):
    """A one-time code that somebody asked for: for which contact, from where, and what became of it."""

    __tablename__ = "one_time_codes"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    contact: Mapped[UUID] = mapped_column(Uuid)
    person_ref: Mapped[UUID] = mapped_column(Uuid)
    value_lookup: Mapped[bytes] = mapped_column(LargeBinary)
    network: Mapped[bytes] = mapped_column(LargeBinary)
    code: Mapped[bytes | None] = mapped_column(LargeBinary)
    """A keyed HMAC of it; there is none before it is handed out to be sent."""
    tries: Mapped[int] = mapped_column(Integer)
    made_at: Mapped[datetime] = mapped_column(AwareDateTime)
    handed_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    used_at: Mapped[datetime | None] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("one_time_codes_contact", "contact", "made_at", "id"),
        Index("one_time_codes_person", "person_ref", "made_at"),
        Index("one_time_codes_value", "value_lookup", "made_at"),
        Index("one_time_codes_network", "network", "made_at"),
        Index("one_time_codes_made", "made_at"),
    )


class CaseContact(Base):
    """How a form says that somebody is reached about this case. It is nobody's contact beyond it."""

    __tablename__ = "case_contacts"

    case_no: Mapped[str] = mapped_column(String(50), primary_key=True)
    person_ref: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    sealed_value: Mapped[bytes] = mapped_column(LargeBinary)
    own: Mapped[bool] = mapped_column(Boolean)
    """Whether the person gave it themselves, under their own log-in or at a counter that serves them."""


class PersonRead(Base):
    """One reading of personal data: who, what, whose, for which case, why (PIPL art. 54)."""

    __tablename__ = "person_reads"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    person_ref: Mapped[UUID] = mapped_column(Uuid)
    case_no: Mapped[str | None] = mapped_column(String(50))
    what: Mapped[str] = mapped_column(String(40))
    reader: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(60))
    read_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("person_reads_person", "person_ref"), {"info": APPEND_ONLY})


class Account(Base):
    """Somebody who comes by office and not in their own affairs, and what they may do.

    `version` counts the changes: log-ins carry it, so that what is newer is told from what is older.
    """

    __tablename__ = "accounts"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    subject: Mapped[str] = mapped_column(String(100), primary_key=True)
    person_ref: Mapped[UUID | None] = mapped_column(Uuid)
    organisation: Mapped[str | None] = mapped_column(String(18))
    departments: Mapped[list[str]] = mapped_column(JSONB)
    supervises: Mapped[list[str]] = mapped_column(JSONB)
    channels: Mapped[list[str]] = mapped_column(JSONB)
    filings_a_day: Mapped[int | None] = mapped_column(Integer)
    """Of a client program, where the general limit is not its own."""
    active: Mapped[bool] = mapped_column(Boolean)
    version: Mapped[int] = mapped_column(Integer)
    changed_at: Mapped[datetime] = mapped_column(AwareDateTime)
    changed_by: Mapped[str] = mapped_column(String(100))

    __table_args__ = (Index("accounts_changed", "changed_at", "kind", "subject"),)


class ClientKey(Base):
    """A public key that a client program signs with to log in; removed ones stay, to tell who did it."""

    __tablename__ = "client_keys"

    client: Mapped[str] = mapped_column(String(100), primary_key=True)
    kid: Mapped[str] = mapped_column(String(100), primary_key=True)
    """Its thumbprint (RFC 7638)."""
    jwk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    added_at: Mapped[datetime] = mapped_column(AwareDateTime)
    added_by: Mapped[str] = mapped_column(String(100))
    removed_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    removed_by: Mapped[str | None] = mapped_column(String(100))


class ClientAssertion(Base):
    """What a client program signed and used: a digest, so that nobody uses it again while it is good."""

    __tablename__ = "client_assertions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    spent_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("client_assertions_spent", "spent_at"),)


class LogIn(Base):
    """One session: who logged in, how we know them, until when, and how it ended before its time."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str] = mapped_column(String(100))
    person_ref: Mapped[UUID | None] = mapped_column(Uuid)
    acting_for: Mapped[UUID | None] = mapped_column(Uuid)
    provider: Mapped[str] = mapped_column(String(40))
    assurance: Mapped[str] = mapped_column(String(20))
    began_at: Mapped[datetime] = mapped_column(AwareDateTime)
    expires_at: Mapped[datetime] = mapped_column(AwareDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    ended_by: Mapped[str | None] = mapped_column(String(100))
    ended_why: Mapped[str | None] = mapped_column(String(40))

    __table_args__ = (
        Index("sessions_subject", "kind", "subject", "expires_at"),
        Index("sessions_ended", "ended_at", "id", postgresql_where=text("ended_at IS NOT NULL")),
        Index("sessions_expires", "expires_at"),
    )


class ProviderSession(Base):
    """What the identity provider calls the person and its own session, as keyed HMACs: by these it ends ours.
    They are let go when the session is over."""

    __tablename__ = "provider_sessions"

    session: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    sub: Mapped[bytes] = mapped_column(LargeBinary)
    sid: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("provider_sessions_sub", "sub"),
        Index("provider_sessions_sid", "sid", postgresql_where=text("sid IS NOT NULL")),
        Index("provider_sessions_expires", "expires_at"),
    )


class Case(CaseRow, Base):
    """An application as its citizen sees it. What others decide is kept as their events told it."""

    __tablename__ = "cases"

    matter: Mapped[str] = mapped_column(String(100))
    matter_version: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(6))
    applicant: Mapped[UUID] = mapped_column(Uuid)
    agent: Mapped[UUID | None] = mapped_column(Uuid)
    filed_by_kind: Mapped[str] = mapped_column(String(20))
    filed_by: Mapped[str] = mapped_column(String(100))
    """Who sent it in: a citizen, an operator for them, or a client program."""
    channel: Mapped[str] = mapped_column(String(40))
    client: Mapped[str] = mapped_column(String(100))
    sealed_form: Mapped[bytes] = mapped_column(LargeBinary)
    query_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """See `rules.query_code`."""
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    consents: Mapped[dict[str, str]] = mapped_column(JSONB)
    """Holder role -> how that holder's consent is proven."""
    state: Mapped[str] = mapped_column(String(40))
    stage: Mapped[str | None] = mapped_column(String(60))
    department: Mapped[str | None] = mapped_column(String(60))
    asked: Mapped[list[str]] = mapped_column(JSONB, default=list)
    supplied: Mapped[list[str]] = mapped_column(JSONB, default=list)
    """What has come of what is asked for now."""
    materials: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, default=list)
    visits: Mapped[int] = mapped_column(Integer, default=0)
    provisional: Mapped[bool] = mapped_column(Boolean, default=False)
    outcome: Mapped[str | None] = mapped_column(String(40))
    acted: Mapped[list[str]] = mapped_column(JSONB)
    """person_refs of those who did something in it themselves: they know why they are told."""
    received_at: Mapped[datetime] = mapped_column(AwareDateTime)
    accepted_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    legal_due_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    promised_due_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("cases_applicant", "applicant", "received_at", "number"),
        Index("cases_agent", "agent", "received_at", "number", postgresql_where=text("agent IS NOT NULL")),
        Index("cases_undecided", "applicant", "matter", postgresql_where=text("decided_at IS NULL")),
    )


class Consent(Base):
    """One consent of a holder whose certificates a case looks for, from the day it is asked for: who gave it,
    when and by what it is proven, and who took it back.

    Whoever agrees again after that gives another one: what was said before is not written over.
    """

    __tablename__ = "consents"

    case_no: Mapped[str] = mapped_column(String(50), primary_key=True)
    holder: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    nth: Mapped[int] = mapped_column(Integer, primary_key=True)
    """1 for the first one of this holder in this case."""
    roles: Mapped[list[str]] = mapped_column(JSONB)
    matter: Mapped[str] = mapped_column(String(100))
    matter_version: Mapped[int] = mapped_column(Integer)
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    asked_at: Mapped[datetime] = mapped_column(AwareDateTime)
    given_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    basis: Mapped[str | None] = mapped_column(String(20))
    recorded_by: Mapped[str | None] = mapped_column(String(100))
    """Subject of whoever gave it, or of the counter that saw the authority."""
    proxy: Mapped[UUID | None] = mapped_column(Uuid)
    """Who agreed for the holder, if it was not the holder."""
    document: Mapped[str | None] = mapped_column(String(40))
    """What the counter has seen: see `rules.consent.ProxyDocument`."""
    sealed_reference: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Its number, or where its copy is filed."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    withdrawn_for: Mapped[UUID | None] = mapped_column(Uuid)
    """Whose word it was: the holder's, or that of whoever had agreed in their place."""
    withdrawn_by: Mapped[str | None] = mapped_column(String(100))
    """Subject of whoever withdrew, or of the counter that noted it."""

    __table_args__ = (
        Index(
            "consents_open",
            "holder",
            "asked_at",
            "case_no",
            postgresql_where=text("given_at IS NULL"),
        ),
        Index(
            "consents_given",
            "holder",
            "given_at",
            "case_no",
            postgresql_where=text("given_at IS NOT NULL"),
        ),
    )


class TimelineEntry(Base):
    """One fact as the citizen sees it; `details` holds what may be shown of it, codes and dates only.

    The key is its place: by its moment, and by speaker and number where two are of one moment. So the order
    does not hang on which of them was heard first.
    """

    __tablename__ = "timeline"

    case_no: Mapped[str] = mapped_column(String(50), primary_key=True)
    at: Mapped[datetime] = mapped_column(AwareDateTime, primary_key=True)
    service: Mapped[str] = mapped_column(String(40), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Among the facts of its speaker about the case."""
    fact: Mapped[str] = mapped_column(String(60))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    only_for: Mapped[str | None] = mapped_column(String(60))
    """The holder role that alone sees it; None when all do who see the case."""

    __table_args__ = ({"info": APPEND_ONLY},)


class LookupMiss(Base):
    """A look-up by number and query code that found nothing; whoever has too many is not answered for a
    while."""

    __tablename__ = "lookup_misses"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    asker: Mapped[bytes] = mapped_column(LargeBinary)
    missed_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (
        Index("lookup_misses_asker", "asker", "missed_at"),
        Index("lookup_misses_missed", "missed_at"),
    )


class DayCount(Base):
    """How often something was done in one legal day that has a limit: `who` is whom or what it counts for, as
    a keyed HMAC, because phone numbers are among them."""

    __tablename__ = "day_counts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    who: Mapped[bytes] = mapped_column(LargeBinary)
    day: Mapped[date] = mapped_column(Date)
    times: Mapped[int] = mapped_column(Integer)
    counted_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (
        UniqueConstraint("who", "day"),
        Index("day_counts_counted", "counted_at"),
    )


class UnaskedContact(Base):
    """A number or address that is told about a case of which its holder may know nothing: the code by which
    they stop that, and whether they have."""

    __tablename__ = "unasked_contacts"

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    case_no: Mapped[str] = mapped_column(String(50))
    sealed_value: Mapped[bytes] = mapped_column(LargeBinary)
    value_lookup: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_code: Mapped[bytes] = mapped_column(LargeBinary)
    code_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    made_at: Mapped[datetime] = mapped_column(AwareDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    """Nothing more of this case."""
    all_stopped_at: Mapped[datetime | None] = mapped_column(AwareDateTime)
    """Nothing more of any case that its holder did nothing in."""

    __table_args__ = (
        UniqueConstraint("case_no", "value_lookup"),
        Index(
            "unasked_contacts_stopped", "value_lookup", postgresql_where=text("all_stopped_at IS NOT NULL")
        ),
    )


class UnaskedNotice(Base):
    """A message to such a number: it counts once, however often notify has to ask for the number."""

    __tablename__ = "unasked_notices"

    delivery: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    withheld: Mapped[bool] = mapped_column(Boolean)
    asked_at: Mapped[datetime] = mapped_column(AwareDateTime)

    __table_args__ = (Index("unasked_notices_asked", "asked_at"),)
