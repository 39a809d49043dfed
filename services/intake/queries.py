"""Reads of intake."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    String,
    cast,
    column,
    func,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy import Uuid as UuidType
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.orm import Session, aliased, load_only

from services.intake.models import (
    Account,
    Case,
    CaseContact,
    ClientKey,
    Consent,
    ContactPoint,
    DayCount,
    LogIn,
    LookupMiss,
    OneTimeCode,
    Person,
    TimelineEntry,
    UnaskedContact,
)
from services.intake.rules.consent import WAITS_FOR_CONSENT
from shared.db.locking import lock_rows
from shared.db.merging import merged


def person_by_lookup(session: Session, lookups: Sequence[bytes]) -> UUID | None:
    """The person with one of these keyed HMACs of one ID number, a key each."""
    found = persons_by_lookup(session, lookups)
    if len(found) > 1:
        raise MultipleResultsFound
    return next(iter(found.values()), None)


def persons_by_lookup(session: Session, lookups: Sequence[bytes]) -> dict[bytes, UUID]:
    """The persons with these keyed HMACs of ID numbers, as far as there are any."""
    found = session.connection().execute(_BY_LOOKUP, {"lookups": list(lookups)})
    return {bytes(row.id_lookup): row.person_ref for row in found}


# Compiled once: a list of an ORM statement is rendered anew each time.
_BY_LOOKUP = text(
    "SELECT id_lookup, person_ref FROM intake.persons WHERE id_lookup = ANY(CAST(:lookups AS bytea[]))"
).columns(person_ref=UuidType)


def lock_lookups(session: Session, lookups: Sequence[bytes]) -> None:
    """Whoever locks one of these look-ups, too, waits until this transaction ends: whoever would make the
    same person, or count the same codes. In one order for everybody."""
    keys = [int.from_bytes(lookup[-8:], "big", signed=True) for lookup in lookups]
    session.execute(_LOCK, {"keys": keys})


_LOCK = text("SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(:keys AS bigint[])) AS k")


def case_contacts(
    session: Session, wanted: Collection[tuple[str, UUID, str]]
) -> dict[tuple[str, UUID, str], CaseContact]:
    """How the forms of cases say that people are reached, by case, person and kind; whoever reads it notes
    why."""
    key = tuple_(CaseContact.case_no, CaseContact.person_ref, CaseContact.kind)
    found = session.scalars(select(CaseContact).where(key.in_(wanted))) if wanted else ()
    return {(one.case_no, one.person_ref, one.kind): one for one in found}


def verified_points(
    session: Session, wanted: Collection[tuple[UUID, str]], *, limit: int
) -> dict[tuple[UUID, str], list[ContactPoint]]:
    """Where people are known to be reached, by person and kind, as verified last first, `limit` of each;
    whoever reads them notes why."""
    if not wanted:
        return {}
    people, kinds = zip(*wanted, strict=True)
    asked = func.unnest(cast(people, ARRAY(UuidType)), cast(kinds, ARRAY(String)))
    key = asked.table_valued(column("person_ref", UuidType), column("kind", String)).render_derived()
    newest = (
        select(ContactPoint)
        .where(
            ContactPoint.person_ref == key.c.person_ref,
            ContactPoint.kind == key.c.kind,
            ContactPoint.verified_at.is_not(None),
        )
        .order_by(ContactPoint.verified_at.desc(), ContactPoint.id.desc())
        .limit(limit)
        .lateral()
    )
    points = session.scalars(select(aliased(ContactPoint, newest)).select_from(key.join(newest, true())))
    found: dict[tuple[UUID, str], list[ContactPoint]] = {}
    for point in sorted(points, key=lambda one: (one.verified_at, one.id), reverse=True):
        found.setdefault((point.person_ref, point.kind), []).append(point)
    return found


def acted_in(session: Session, numbers: Collection[str]) -> dict[str, list[str]]:
    """Who did something in each of these cases themselves."""
    if not numbers:
        return {}
    found = session.execute(select(Case.number, Case.acted).where(Case.number.in_(numbers)))
    return {row.number: row.acted for row in found}


def contact_points(session: Session, person_ref: UUID, *, limit: int) -> list[ContactPoint]:
    """All contact points of a person, by kind, those that are not verified and the newest first."""
    found = select(ContactPoint).where(ContactPoint.person_ref == person_ref)
    order = (ContactPoint.kind.desc(), ContactPoint.verified_at.desc(), ContactPoint.id.desc())
    return list(session.scalars(found.order_by(*order).limit(limit)))


def contact_point(session: Session, point: UUID) -> ContactPoint | None:
    """One contact point, of whomever."""
    return session.get(ContactPoint, point)


def lock_person(session: Session, person_ref: UUID) -> None:
    """Nobody else changes this person's name and contacts before this transaction ends."""
    session.execute(select(Person.person_ref).where(Person.person_ref == person_ref).with_for_update())


def recent_codes(
    session: Session, which: ColumnElement[bool], since: datetime, *, limit: int
) -> list[datetime]:
    """When one-time codes were asked for since then, in no order, `limit` at most."""
    asked = select(OneTimeCode.made_at).where(which, OneTimeCode.made_at > since)
    return list(session.scalars(asked.limit(limit)))


def lock_code(session: Session, code: UUID) -> OneTimeCode | None:
    """One one-time code, locked."""
    return session.get(OneTimeCode, code, with_for_update=True, populate_existing=True)


def newest_code(session: Session, contact: UUID, *, lock: bool = False) -> OneTimeCode | None:
    """The one-time code of a contact point that may be good: those before it are void."""
    newest = (
        select(OneTimeCode)
        .where(OneTimeCode.contact == contact)
        .order_by(OneTimeCode.made_at.desc(), OneTimeCode.id.desc())
        .limit(1)
    )
    return session.scalars(newest.with_for_update() if lock else newest).one_or_none()


def account(session: Session, kind: str, subject: str, *, lock: bool = False) -> Account | None:
    """Somebody who comes by office."""
    return session.get(Account, (kind, subject), with_for_update=lock or None, populate_existing=lock)


def client_keys(session: Session, client: str, limit: int) -> list[ClientKey]:
    """The public keys that a client program signs with now."""
    keys = select(ClientKey).where(ClientKey.client == client, ClientKey.removed_at.is_(None))
    return list(session.scalars(keys.order_by(ClientKey.kid).limit(limit)))


@dataclass(frozen=True, slots=True)
class EndedLogIn:
    """A session that ended before its time."""

    id: UUID
    ended_at: datetime
    expires_at: datetime
    why: str


def ended_sessions(
    session: Session, since: datetime, at: datetime, after: tuple[datetime, UUID] | None, limit: int
) -> list[EndedLogIn]:
    """Sessions that ended after a moment and whose tokens would be good after `at`, a page and one, as they
    ended."""
    ended = select(LogIn.id, LogIn.ended_at, LogIn.expires_at, LogIn.ended_why).where(
        LogIn.ended_at > since, LogIn.expires_at > at
    )
    if after is not None:
        ended = ended.where(tuple_(LogIn.ended_at, LogIn.id) > after)
    rows = session.execute(ended.order_by(LogIn.ended_at, LogIn.id).limit(limit + 1))
    return [EndedLogIn(row.id, row.ended_at, row.expires_at, row.ended_why) for row in rows]


def changed_accounts(
    session: Session, since: datetime, after: tuple[datetime, str, str] | None, limit: int
) -> list[Account]:
    """Accounts that changed after a moment, a page and one, as they changed."""
    order = (Account.changed_at, Account.kind, Account.subject)
    changed = select(Account).where(Account.changed_at > since)
    if after is not None:
        changed = changed.where(tuple_(*order) > after)
    return list(session.scalars(changed.order_by(*order).limit(limit + 1)))


def lock_cases(session: Session, numbers: Collection[str]) -> dict[str, Case]:
    """The cases that exist, locked in order."""
    return lock_rows(session, Case, numbers)


def case(session: Session, number: str) -> Case | None:
    """One case, for reading."""
    return session.get(Case, number)


def case_by_digest(session: Session, digest: bytes) -> Case | None:
    """The case whose number and query code have this digest, for reading."""
    return session.scalars(select(Case).where(Case.query_digest == digest)).one_or_none()


_LINE = (
    Case.number,
    Case.matter,
    Case.matter_version,
    Case.channel,
    Case.state,
    Case.outcome,
    Case.received_at,
    Case.decided_at,
    Case.closed_at,
)


def cases_of(
    session: Session, person_ref: UUID, *, after: tuple[datetime, str] | None, limit: int
) -> list[Case]:
    """The cases of a person, as applicant or agent, the newest first, a page and one.

    Only what a line of the list shows is loaded; the form stays where it is.
    """
    newest = select(Case.received_at, Case.number).order_by(Case.received_at.desc(), Case.number.desc())
    if after is not None:
        newest = newest.where(tuple_(Case.received_at, Case.number) < after)
    # An agent is never the applicant, so nothing comes twice.
    branches = [newest.where(mine).limit(limit + 1) for mine in _parts_of(person_ref)]
    page = merged(branches, "received_at", "number", newest_first=True)
    return list(
        session.scalars(
            select(Case)
            .options(load_only(*_LINE, raiseload=True))
            .join(page, page.c.number == Case.number)
            .order_by(page.c.received_at.desc(), page.c.number.desc())
        )
    )


def _parts_of(person_ref: UUID) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Case.applicant == person_ref, Case.agent == person_ref


def asks_consent(session: Session, number: str, holder: UUID) -> bool:
    """Whether a case asks anything of this holder."""
    asked = select(Consent.case_no).where(Consent.case_no == number, Consent.holder == holder)
    return session.execute(asked.limit(1)).first() is not None


def lock_consent(session: Session, number: str, holder: UUID) -> Consent | None:
    """The last consent of this holder in a case, asked for or given, locked."""
    last = select(Consent).where(Consent.case_no == number, Consent.holder == holder)
    last = last.order_by(Consent.nth.desc()).limit(1).with_for_update()
    # It may have been read before the case was locked.
    return session.scalars(last, execution_options={"populate_existing": True}).one_or_none()


def consents_in(session: Session, number: str) -> list[Consent]:
    """The last consent of each holder of whom a case asks one, for reading; holders in order."""
    every = select(Consent).where(Consent.case_no == number).order_by(Consent.holder, Consent.nth)
    return list({one.holder: one for one in session.scalars(every)}.values())


class GivenConsent(NamedTuple):
    """A consent that was given, whether its case is undecided, and whether another one was given since."""

    consent: Consent
    undecided: bool
    replaced: bool


def given_consents(
    session: Session, holder: UUID, *, before: tuple[datetime, str] | None, limit: int
) -> list[GivenConsent]:
    """What this holder, or somebody for them, agreed to, the newest first, a page and one."""
    key = (Consent.given_at, Consent.case_no)
    found = select(Consent).where(Consent.holder == holder, Consent.given_at.is_not(None))
    if before is not None:
        found = found.where(tuple_(*key) < before)
    page = found.order_by(*(part.desc() for part in key)).limit(limit + 1).subquery()
    one, later = aliased(Consent, page), aliased(Consent)
    replaced = select(later.nth).where(
        later.case_no == one.case_no, later.holder == one.holder, later.nth == one.nth + 1
    )
    undecided = Case.decided_at.is_(None) & Case.closed_at.is_(None)
    rows = session.execute(
        select(one, undecided, replaced.exists())
        .join(Case, Case.number == one.case_no)
        .order_by(one.given_at.desc(), one.case_no.desc())
    )
    return [GivenConsent(*row) for row in rows]


def open_consents(
    session: Session, holder: UUID, *, after: tuple[datetime, str] | None, limit: int
) -> list[Consent]:
    """What waits for this holder's consent, the oldest first, a page and one; not where the case went on
    without."""
    key = tuple_(Consent.asked_at, Consent.case_no)
    found = (
        select(Consent)
        .join(Case, Case.number == Consent.case_no)
        .where(
            Consent.holder == holder,
            Consent.given_at.is_(None),
            Case.state.in_(sorted(WAITS_FOR_CONSENT)),
        )
    )
    if after is not None:
        found = found.where(key > after)
    return list(session.scalars(found.order_by(Consent.asked_at, Consent.case_no).limit(limit + 1)))


def timeline(
    session: Session,
    number: str,
    role: str | None,
    *,
    before: tuple[datetime, str, int] | None,
    limit: int,
) -> list[TimelineEntry]:
    """What happened in a case and this holder role may see, in its order, the newest first, a page and
    one."""
    order = (TimelineEntry.at, TimelineEntry.service, TimelineEntry.sequence)
    entries = select(TimelineEntry).where(
        TimelineEntry.case_no == number,
        or_(TimelineEntry.only_for.is_(None), TimelineEntry.only_for == role),
    )
    if before is not None:
        entries = entries.where(tuple_(*order) < before)
    newest = entries.order_by(*(column.desc() for column in order))
    return list(session.scalars(newest.limit(limit + 1)))


def recent_misses(session: Session, asker: Sequence[bytes], since: datetime, most: int) -> int:
    """Look-ups of this asker, who is given under every key, that found nothing since then; counted up to
    `most`."""
    some = select(LookupMiss.id).where(LookupMiss.asker.in_(asker), LookupMiss.missed_at > since).limit(most)
    return session.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def undecided_of(
    session: Session, applicant: UUID, matter: str, known_to: UUID | None, filed_by: tuple[str, str]
) -> str | None:
    """The number of the applicant's oldest case in a matter that is not decided and that is known to this
    person, as applicant or agent, or to whoever (kind, subject) filed it."""
    may_know: ColumnElement[bool] = (Case.filed_by_kind == filed_by[0]) & (Case.filed_by == filed_by[1])
    if known_to is not None:
        may_know = or_(may_know, *_parts_of(known_to))
    found = (
        select(Case.number)
        .where(
            Case.applicant == applicant,
            Case.matter == matter,
            Case.decided_at.is_(None),
            Case.closed_at.is_(None),
            may_know,
        )
        .order_by(Case.received_at, Case.number)
        .limit(1)
    )
    return session.scalars(found).first()


def counted_today(session: Session, day: date, keys: Sequence[bytes]) -> dict[bytes, int]:
    """How often each of these was counted on a day."""
    found = select(DayCount.who, DayCount.times).where(DayCount.day == day, DayCount.who.in_(keys))
    return {row.who: row.times for row in session.execute(found)}


def has_stopped(session: Session, number: str, lookups: Sequence[bytes]) -> bool:
    """Whether a number or address, given under every key, is told nothing more of a case."""
    same = UnaskedContact.value_lookup.in_(lookups)
    of_case = select(UnaskedContact.id).where(
        same, UnaskedContact.case_no == number, UnaskedContact.stopped_at.is_not(None)
    )
    of_all = select(UnaskedContact.id).where(same, UnaskedContact.all_stopped_at.is_not(None))
    return bool(session.execute(select(of_case.exists() | of_all.exists())).scalar_one())


def unasked_contact(session: Session, number: str, lookups: Sequence[bytes]) -> UnaskedContact | None:
    """What is kept of a number or address, given under every key, that is told of a case."""
    found = select(UnaskedContact).where(
        UnaskedContact.case_no == number, UnaskedContact.value_lookup.in_(lookups)
    )
    return session.scalars(found.order_by(UnaskedContact.id).limit(1)).one_or_none()


def lock_unasked_contact(session: Session, digest: bytes) -> UnaskedContact | None:
    """The one whose stop code has this digest, locked."""
    found = select(UnaskedContact).where(UnaskedContact.code_digest == digest)
    return session.scalars(found.with_for_update()).one_or_none()
