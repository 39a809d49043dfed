"""Which sessions ended before their time, and whose rights changed: kept in memory, brought by intake.

Every web process asks intake for it each FETCH_EVERY and checks each request against what it has: no
statement and no question is spent on a request. What has not been renewed for OLDEST is not believed: then
nobody is let in until intake answers again. So an ended session ends everywhere within OLDEST, and rights
change everywhere within OLDEST.

intake signs each answer: whoever stands between two services can neither hide an ending nor give rights.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from shared.auth.principal import Principal, PrincipalKind
from shared.auth.signatures import NotSigned, PublicKeys, SigningKey
from shared.auth.tokens import LONGEST_SESSION
from shared.describe import kind_of
from shared.errors import AppError, Unauthenticated, Unavailable

FETCH_EVERY = timedelta(seconds=30)
OLDEST = timedelta(seconds=60)
LOOK_BACK = timedelta(minutes=5)
"""How far before the last answer the next one begins again: an ending is stamped before it is committed, and
no transaction of ours lasts so long."""
RETRY_AFTER_S = 2.0

_PURPOSE = "revocations+json"
_LEEWAY = timedelta(seconds=5)
_log = structlog.get_logger()

Fetch = Callable[[dict[str, Any]], dict[str, Any]]
"""Asks intake `revocations`."""


class SessionEnded(Unauthenticated):
    """A session that was good until somebody logged out or ended it."""

    code = "auth.session-ended"
    title_zh = "登录已退出，请重新登录"
    title_en = "This log-in was ended; please log in again"


class RevocationsOld(Unavailable):
    """We do not know which sessions have ended, so we let nobody in."""

    code = "auth.revocations-old"
    title_zh = "暂时无法核验登录状态，请稍后再试"
    title_en = "We cannot check log-ins for the moment; try again later"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class EndedSession(_Part):
    """A session that ended before `expires_at`, when its token ends anyway. Unless its own log-out ended it,
    no form that was open in it is kept."""

    id: UUID
    expires_at: AwareDatetime
    logged_out: bool = False


class ChangedRights(_Part):
    """What somebody may do by office, since a version that their older tokens do not know."""

    kind: PrincipalKind
    subject: str
    version: Annotated[int, Field(ge=0)]
    person_ref: UUID | None
    departments: list[str]
    supervises: list[str]
    channels: list[str]


class Changes(_Part):
    """One answer of intake. `signed_at` is the signer's clock, `read_at` the database's; `next` leads on."""

    signed_at: AwareDatetime
    read_at: AwareDatetime
    ended: list[EndedSession]
    rights: list[ChangedRights]
    next: str | None


def sign_changes(key: SigningKey, changes: Changes) -> dict[str, Any]:
    """As it travels."""
    return {"signed": key.sign(changes.model_dump_json().encode(), _PURPOSE)}


class Revocations:
    """What one process knows. `clock` gives the present moment, aware.

    `renew` is called by one thread, `current` by every request.
    """

    def __init__(self, fetch: Fetch, keys: PublicKeys, clock: Callable[[], datetime]) -> None:
        self._fetch = fetch
        self._keys = keys
        self._clock = clock
        self._known_at: datetime | None = None
        self._read_at: datetime | None = None
        self._ended: dict[UUID, EndedSession] = {}
        self._rights: dict[tuple[PrincipalKind, str], ChangedRights] = {}
        self._one_at_a_time = threading.Lock()

    def current(self, principal: Principal) -> Principal:
        """The principal of a token, with the rights of this moment.

        Raises SessionEnded, and RevocationsOld when what we know is older than OLDEST.
        """
        if self._ending(principal) is not None:
            raise SessionEnded
        newer = self._rights.get((principal.kind, principal.subject))
        return (
            principal
            if newer is None or newer.version <= principal.rights_version
            else _with(principal, newer)
        )

    def left(self, principal: Principal) -> bool:
        """Whether a session that may be over ended by nothing but its own log-out or its age.

        Raises RevocationsOld.
        """
        ending = self._ending(principal)
        return ending is None or ending.logged_out

    def end(self, session: UUID, expires_at: datetime, *, logged_out: bool) -> None:
        """A session ended in this very process: nobody here need wait for the next answer."""
        self._ended[session] = EndedSession(id=session, expires_at=expires_at, logged_out=logged_out)

    def _ending(self, principal: Principal) -> EndedSession | None:
        """How the session of a token ended before its time, if it did. Raises RevocationsOld."""
        if self._known_at is None or self._clock() - self._known_at > OLDEST:
            raise RevocationsOld
        return self._ended.get(principal.session) if principal.session is not None else None

    def renew(self) -> None:
        """Ask intake for what is new. Raises AppError as asking does, and RevocationsOld for an answer that
        is not intake's or not of now."""
        with self._one_at_a_time:
            since = self._read_at - LOOK_BACK if self._read_at is not None else None
            asked: dict[str, Any] = {"since": since.isoformat() if since else None, "cursor": None}
            first = page = self._page(asked)
            while page.next is not None:
                page = self._page({**asked, "cursor": page.next})
            self._read_at, self._known_at = first.read_at, first.signed_at
            now = self._clock()
            for over in [id for id, one in self._ended.copy().items() if _matters_until(one) <= now]:
                del self._ended[over]

    def _page(self, asked: dict[str, Any]) -> Changes:
        answer = self._fetch(asked)
        try:
            page = Changes.model_validate_json(self._keys.open(str(answer.get("signed")), _PURPOSE))
        except (NotSigned, ValidationError):
            raise RevocationsOld(detail_en="the answer was not signed by intake") from None
        if abs(self._clock() - page.signed_at) > OLDEST:
            # Somebody says again what was true once, or the clocks of the hosts are apart.
            raise RevocationsOld(detail_en="the answer is not of now: compare the clocks of the hosts")
        for ended in page.ended:
            self._ended[ended.id] = ended
        for rights in page.rights:
            known = self._rights.get((rights.kind, rights.subject))
            if known is None or known.version < rights.version:
                self._rights[rights.kind, rights.subject] = rights
        return page


class Renewing:
    """The thread that keeps Revocations young. Start it with the app, stop it at its end."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._stop = threading.Event()

    def start(self) -> None:
        """Ask now, so that the first request finds an answer, and then every FETCH_EVERY."""
        pause_s = self._once()
        threading.Thread(target=self._run, args=(pause_s,), name="revocations", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _run(self, pause_s: float) -> None:
        while not self._stop.wait(pause_s):
            pause_s = self._once()

    def _once(self) -> float:
        try:
            self._revocations.renew()
        except AppError as error:
            _log.warning("revocations_not_renewed", error=error.code)
            return RETRY_AFTER_S
        except Exception as error:
            # The thread must outlive it: without it nobody is let in until the process is started again.
            _log.error("revocations_not_renewed", error=kind_of(error), exc_info=error)
            return RETRY_AFTER_S
        return FETCH_EVERY.total_seconds()


def _matters_until(ended: EndedSession) -> datetime:
    """A token tells whose form was open for LONGEST_SESSION after its time."""
    return ended.expires_at + (_LEEWAY if ended.logged_out else LONGEST_SESSION)


def _with(principal: Principal, rights: ChangedRights) -> Principal:
    return replace(
        principal,
        rights_version=rights.version,
        person_ref=rights.person_ref,
        departments=tuple(rights.departments),
        supervises=tuple(rights.supervises),
        channels=tuple(rights.channels),
    )
