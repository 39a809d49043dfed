"""Log-ins: a row from the first moment to the last, a signed token to show, and what tells everybody of the
end. The row says who was here and how we knew them; nobody reads it to let a request in."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select, update

from services.intake import queries
from services.intake.models import LogIn, ProviderSession
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.auth.revocations import ChangedRights, Changes, EndedSession
from shared.auth.tokens import LONGEST_SESSION
from shared.bus.unit import Unit
from shared.events.ids import new_id
from shared.paging import CursorInvalid, moment, page_of, plain, read_cursor

LASTS = timedelta(hours=8)
"""A working day."""
PAGE = 500
"""Lines of one answer."""

_ENDED, _RIGHTS = "ended", "rights"


class Why(StrEnum):
    """How a session ends before its time."""

    LOGGED_OUT = "logged-out"
    PROVIDER = "provider"
    ACCOUNT_CLOSED = "account-closed"
    KEY_REMOVED = "key-removed"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True)
class Proof:
    """How we know who logs in. `sub` and `sid` are what the provider calls the person and its own session."""

    provider: str
    assurance: Assurance
    sub: str | None = None
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that ended, and when its token would have."""

    id: UUID
    expires_at: datetime


def open_session(unit: Unit, principal: Principal, proof: Proof, lasts: timedelta = LASTS) -> Principal:
    """The principal with a session, from which a token can be made."""
    opened = replace(principal, provider=proof.provider, assurance=proof.assurance, session=new_id())
    unit.session.add(
        LogIn(
            id=opened.session,
            kind=opened.kind,
            subject=opened.subject,
            person_ref=opened.person_ref,
            acting_for=opened.acting_for,
            provider=proof.provider,
            assurance=proof.assurance,
            began_at=unit.wall,
            expires_at=unit.wall + lasts,
        )
    )
    if proof.sub is not None:
        unit.session.add(
            ProviderSession(
                session=opened.session,
                sub=_lookups(unit, proof.provider, "sub", proof.sub)[-1],
                sid=_lookups(unit, proof.provider, "sid", proof.sid)[-1] if proof.sid else None,
                expires_at=unit.wall + lasts,
            )
        )
    return opened


def end_session(unit: Unit, session: UUID, by: str, why: Why) -> list[Ended]:
    """End one session. One that is over, or was never there, stays as it is."""
    return _end(unit, LogIn.id == session, by, why)


def end_sessions_of(unit: Unit, kind: PrincipalKind, subject: str, by: str, why: Why) -> list[Ended]:
    """End all sessions of somebody."""
    return _end(unit, (LogIn.kind == kind) & (LogIn.subject == subject), by, why)


def end_sessions_at(
    unit: Unit, provider: str, *, sub: str | None = None, sid: str | None = None
) -> list[Ended]:
    """A provider says that its session `sid` is over, or without one, all of its person `sub`."""
    if sid is not None:
        named = ProviderSession.sid.in_(_lookups(unit, provider, "sid", sid))
    else:
        named = ProviderSession.sub.in_(_lookups(unit, provider, "sub", sub or ""))
    which = LogIn.id.in_(select(ProviderSession.session).where(named))
    return _end(unit, which, provider, Why.PROVIDER)


def changes(unit: Unit, since: datetime | None, cursor: str | None, signed_at: datetime) -> Changes:
    """What ended and whose rights changed after `since`, as far as tokens of today are concerned.

    First all endings, then all rights, page by page. Raises CursorInvalid.
    """
    # How a session ended counts as long again as it may have lasted: until then its token may bring a form.
    longest = LONGEST_SESSION * 2 if (cursor or _ENDED).startswith(_ENDED) else LONGEST_SESSION
    after = max(since or unit.wall - longest, unit.wall - longest)
    which, _, place = (cursor or f"{_ENDED}:").partition(":")
    ended: list[EndedSession] = []
    rights: list[ChangedRights] = []
    if which == _ENDED:
        ended, following = _ended(unit, after, place)
    elif which == _RIGHTS:
        rights, following = _rights(unit, after, place)
    else:
        raise CursorInvalid
    return Changes(signed_at=signed_at, read_at=unit.wall, ended=ended, rights=rights, next=following)


def _ended(unit: Unit, after: datetime, place: str) -> tuple[list[EndedSession], str | None]:
    key = read_cursor(place, moment, UUID) if place else None
    found = queries.ended_sessions(unit.session, after, unit.wall - LONGEST_SESSION, key, PAGE)
    page = page_of(found, PAGE, lambda one: (one.ended_at, one.id))
    following = f"{_ENDED}:{page.next}" if page.next else f"{_RIGHTS}:"
    ended = [
        EndedSession(id=one.id, expires_at=one.expires_at, logged_out=one.why == Why.LOGGED_OUT)
        for one in page.lines
    ]
    return ended, following


def _rights(unit: Unit, after: datetime, place: str) -> tuple[list[ChangedRights], str | None]:
    key = read_cursor(place, moment, plain, plain) if place else None
    found = queries.changed_accounts(unit.session, after, key, PAGE)
    page = page_of(found, PAGE, lambda one: (one.changed_at, one.kind, one.subject))
    changed = [
        ChangedRights(
            kind=PrincipalKind(account.kind),
            subject=account.subject,
            version=account.version,
            person_ref=account.person_ref,
            departments=account.departments,
            supervises=account.supervises,
            channels=account.channels,
        )
        for account in page.lines
    ]
    return changed, f"{_RIGHTS}:{page.next}" if page.next else None


def _end(unit: Unit, which: ColumnElement[bool], by: str, why: Why) -> list[Ended]:
    ended = unit.session.execute(
        update(LogIn)
        .where(which, LogIn.ended_at.is_(None), LogIn.expires_at > unit.wall)
        .values(ended_at=unit.wall, ended_by=by, ended_why=why)
        .returning(LogIn.id, LogIn.expires_at)
    )
    return [Ended(row.id, row.expires_at) for row in ended]


def _lookups(unit: Unit, provider: str, kind: str, value: str) -> list[bytes]:
    """Under each key that is in use, the one that writes last."""
    return unit.context.vault.lookups(f"{provider}|{value}", kind=f"provider-{kind}")
