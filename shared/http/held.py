"""A form whose session ended while it was open leads back to it, with what was filled in: through log-in, or
straight on where its person has logged in again meanwhile.

Who sends it is told by what the session was, and the page's own field proves that a page of that session made
it. Nothing is done in anybody's name: what was filled in is kept, and shown to that person alone once they
have logged in; they send it again. Whoever has got hold of a cookie can send a form as well: so nothing is
kept that the door would refuse its owner, and no form of a session that something else than its own log-out
or its age ended.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import Request, Response
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from shared.auth.csrf import FIELD, check_same_origin
from shared.auth.deps import authenticator
from shared.auth.principal import Principal
from shared.bus.context import ServiceContext
from shared.bus.held_forms import HeldForm, KeptFile, has_room, held_form, hold_form
from shared.bus.unit import unit_of
from shared.errors import AppError
from shared.http.capacity import in_thread
from shared.http.request_body import SealedUpload
from shared.privacy.sealed_file import SealedFile

BACK_COOKIE = "onestop_back"
"""Where log-in leads to: a path of ours that names a kept form, and whose it is, as a digest."""
_BACK_FOR_S = 3600
_BACK = re.compile(
    r"(?P<path>/[\w%.-]+(/[\w%.-]+)*\?held=(?P<held>[0-9a-f-]{36}))&for=(?P<whose>[0-9a-f]{64})", re.ASCII
)
_ENDPOINT = "comes_back"
_NOT_KEPT = frozenset((FIELD, "idempotency_key"))

KeepFile = Callable[[Principal, str, SealedFile], str]
"""Keep a file for somebody under a name; the id of the upload. Raises AppError for one that is not taken."""
Admit = Callable[[Principal], Awaitable[object]]
"""Whether somebody may send a form. Raises AppError where they may not."""
StillAsked = Callable[[Request, Principal], Awaitable[None]]
"""What a door asks of a form besides who sends it. Raises AppError for one that it would not take."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ComesBack:
    """Of the forms of one door: which page they stand on, and who keeps their files."""

    service: ServiceContext
    page: str
    keep_file: KeepFile | None
    secure: bool
    still_asked: StillAsked | None

    async def leads_back(self, request: Request, form: FormData, admit: Admit) -> Response | None:
        """To the log-in, what was filled in being kept; None where it is nobody's that we know.

        Raises CsrfFailed where the browser says that another site sent this.
        """
        check_same_origin(request)
        who = authenticator(request).came_with(request, str(form.get(FIELD, "")))
        kept = await self._kept(request, form, who, admit) if who else None
        if kept is None:
            return None
        response = RedirectResponse("/login", 303)
        response.set_cookie(
            BACK_COOKIE,
            kept.back,
            max_age=_BACK_FOR_S,
            httponly=True,
            samesite="lax",
            secure=self.secure,
        )
        return response

    async def leads_on(self, request: Request, form: FormData, admit: Admit) -> Response | None:
        """To the page of a form that an earlier session of the very person who is logged in made, what was
        filled in being kept; None for any other form.

        Raises CsrfFailed where the browser says that another site sent this.
        """
        check_same_origin(request)
        now = authenticator(request).sender_of(request)
        who = authenticator(request).came_with(request, str(form.get(FIELD, "")))
        if who is None or who.session == now.session or who.scope != now.scope:
            return None
        kept = await self._kept(request, form, who, admit)
        return RedirectResponse(kept.path, 303) if kept else None

    async def _kept(self, request: Request, form: FormData, who: Principal, admit: Admit) -> "_Kept | None":
        """Where the page is with what was filled in; None when no more of this session is kept, or the door
        would not take it from them."""
        if who.session is None or not await self._would_take(request, who, admit):
            return None
        kept = await in_thread(partial(self._keep, who, who.session, request.url.path, form))
        names = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
        if kept is None:
            return None
        path = f"{self.page.format_map(names)}?held={kept}"
        return _Kept(path, f"{path}&for={_meant_for(str(kept), who)}")

    async def _would_take(self, request: Request, who: Principal, admit: Admit) -> bool:
        try:
            await admit(who)
            if self.still_asked is not None:
                await self.still_asked(request, who)
        except AppError as error:
            if error.status >= 500:
                raise
            return False
        return True

    def _keep(self, who: Principal, session: UUID, path: str, form: FormData) -> UUID | None:
        with unit_of(self.service, "form.room") as unit:
            if not has_room(unit, session):
                return None
        fields = {n: v for n, v in form.items() if isinstance(v, str) and n not in _NOT_KEPT}
        kept = HeldForm(path, fields, self._files(who, form))
        with unit_of(self.service, "form.hold") as unit:
            return hold_form(unit, who.scope, session, kept)

    def _files(self, who: Principal, form: FormData) -> dict[str, KeptFile]:
        """No session with the database is held meanwhile. What is not taken is chosen again."""
        found: dict[str, KeptFile] = {}
        for name, value in form.items():
            if self.keep_file is None or not isinstance(value, SealedUpload) or not value.filename:
                continue
            try:
                found[name] = KeptFile(self.keep_file(who, value.filename, value.sealed), value.filename)
            except AppError as error:
                if error.status >= 500:
                    raise
        return found


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a kept form is seen, and how log-in leads its sender and nobody else there."""

    path: str
    back: str


def comes_back(
    service: ServiceContext,
    page: str,
    *,
    secure: bool,
    keep_file: KeepFile | None = None,
    still_asked: StillAsked | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Say of an endpoint which page its form stands on, with the names of its path in braces; and what it
    asks of a form before its body, besides who may send it."""

    def say(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ENDPOINT, ComesBack(service, page, keep_file, secure, still_asked))
        return endpoint

    return say


def comes_back_of(endpoint: Callable[..., Any]) -> ComesBack | None:
    """What was said of an endpoint."""
    found: ComesBack | None = getattr(endpoint, _ENDPOINT, None)
    return found


def filled_in(service: ServiceContext, who: Principal, held: UUID | None) -> HeldForm | None:
    """What somebody had filled in on a page that they come back to."""
    if held is None:
        return None
    with unit_of(service, "form.look") as unit:
        return held_form(unit, who.scope, held)


def back_from_log_in(cookies: Mapping[str, str], who: Principal) -> str | None:
    """Where somebody goes on who has logged in; None for nowhere in particular, and for where another
    person's form stands: the path names what they had open. The form may lie with another service, so that
    the cookie says whose it is."""
    back = _BACK.fullmatch(cookies.get(BACK_COOKIE, ""))
    if back is None or not hmac.compare_digest(back["whose"], _meant_for(back["held"], who)):
        return None
    return back["path"]


def _meant_for(held: str, who: Principal) -> str:
    return sha256(f"{held} {who.scope}".encode()).hexdigest()
