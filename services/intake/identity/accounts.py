"""Who comes by office and not in their own affairs, and what they may do: officers, operators, clerks, client
programs. Providers prove who they are; what they may do stands here, and changes while they work."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from stdnum.cn import uscc

from services.intake import queries
from services.intake.errors import AccountWrong, NoAccount
from services.intake.identity import sessions
from services.intake.models import Account
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.unit import Unit

KINDS = (PrincipalKind.OFFICER, PrincipalKind.OPERATOR, PrincipalKind.CLERK, PrincipalKind.CLIENT)
_SUBJECT = re.compile(r"[A-Za-z0-9][\w.@:-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Office:
    """What an account says: see `shared.auth.principal.Principal` for what each of it allows.

    Raises AccountWrong where the kind does not allow it.
    """

    kind: PrincipalKind
    subject: str
    person_ref: UUID | None = None
    organisation: str | None = None
    departments: tuple[str, ...] = ()
    supervises: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    filings_a_day: int | None = None
    """Of a client program, where it may file otherwise than programs may in general."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not is_subject(self.subject):
            raise AccountWrong(detail_en=f"{self.kind} {self.subject!r} is no account")
        if self.filings_a_day is not None and (
            self.kind is not PrincipalKind.CLIENT or self.filings_a_day < 0
        ):
            raise AccountWrong(detail_en="only a client program has a number of filings a day, 0 at least")
        if self.organisation is not None and not uscc.is_valid(self.organisation):
            raise AccountWrong(detail_en=f"{self.organisation!r} is no credit code (GB 32100)")
        try:
            self.principal()
        except ValueError as error:
            raise AccountWrong(detail_en=str(error)) from None

    def principal(self, version: int = 0, *, acting_for: UUID | None = None, name: str = "") -> Principal:
        """Who comes by this office."""
        return Principal(
            self.kind,
            self.subject,
            person_ref=self.person_ref,
            departments=self.departments,
            name=name,
            supervises=self.supervises,
            channels=self.channels,
            organisation=self.organisation,
            acting_for=acting_for,
            rights_version=version,
        )


def is_subject(name: str) -> bool:
    """Whether an account can be called so."""
    return _SUBJECT.fullmatch(name) is not None


def set_account(unit: Unit, office: Office, by: str) -> int:
    """Make an account, or change what it may do: everywhere within a minute, without a new log-in.

    Its version, which grows with each change. An account that was closed is open again.
    """
    if _made(unit, office, by):
        return 1
    account = _locked(unit, office.kind, office.subject)
    said = _said(office)
    if any(getattr(account, name) != value for name, value in said.items()):
        for name, value in said.items():
            setattr(account, name, value)
        account.version += 1
        account.changed_at, account.changed_by = unit.wall, by
    return account.version


def open_account(unit: Unit, office: Office, by: str) -> tuple[Office, int]:
    """The account as it is, made so when there is none. Raises NoAccount for one that was closed."""
    _made(unit, office, by)
    return office_of(unit, office.kind, office.subject)


def close_account(unit: Unit, kind: PrincipalKind, subject: str, by: str) -> list[sessions.Ended]:
    """Somebody leaves: nobody logs in by this account any more, and its sessions end. Raises NoAccount."""
    account = _locked(unit, kind, subject)
    if account.active:
        account.active = False
        account.version += 1
        account.changed_at, account.changed_by = unit.wall, by
    return sessions.end_sessions_of(unit, kind, subject, by, sessions.Why.ACCOUNT_CLOSED)


def office_of(unit: Unit, kind: PrincipalKind, subject: str) -> tuple[Office, int]:
    """The account of somebody who has proved to be its subject, and its version. Raises NoAccount."""
    # Locked: an account that is closed meanwhile ends this log-in too.
    account = _locked(unit, kind, subject)
    if not account.active:
        raise NoAccount
    return _office(account), account.version


def _said(office: Office) -> dict[str, Any]:
    return {
        "person_ref": office.person_ref,
        "organisation": office.organisation,
        "departments": list(office.departments),
        "supervises": list(office.supervises),
        "channels": list(office.channels),
        "filings_a_day": office.filings_a_day,
        "active": True,
    }


def _made(unit: Unit, office: Office, by: str) -> bool:
    made = unit.session.execute(
        insert(Account)
        .values(
            kind=office.kind,
            subject=office.subject,
            version=1,
            changed_at=unit.wall,
            changed_by=by,
            **_said(office),
        )
        .on_conflict_do_nothing()
        .returning(Account.version)
    )
    return made.first() is not None


def _office(account: Account) -> Office:
    return Office(
        PrincipalKind(account.kind),
        account.subject,
        account.person_ref,
        account.organisation,
        tuple(account.departments),
        tuple(account.supervises),
        tuple(account.channels),
        account.filings_a_day,
    )


def _locked(unit: Unit, kind: PrincipalKind, subject: str) -> Account:
    account = queries.account(unit.session, kind, subject, lock=True)
    if account is None:
        raise NoAccount
    return account
