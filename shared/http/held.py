"""A form whose session ended while it was open leads back to it, with what was filled in: through log-in, or
straight on where its person has logged in again meanwhile.

Who sends it is told by what the session was, and the page's own field proves that a page of that session made
it. Nothing is done in anybody's name: what was filled in is kept, and shown to that person alone once they
have logged in; they send it again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse

from shared.auth.csrf import FIELD, check_same_origin
from shared.auth.deps import authenticator
from shared.auth.principal import Principal
from shared.bus.context import ServiceContext
from shared.bus.held_forms import HeldForm, KeptFile, has_room, held_form, hold_form
from shared.bus.unit import unit_of
from shared.errors import AppError
from shared.http.request_body import SealedUpload
from shared.privacy.sealed_file import SealedFile

BACK_COOKIE = "onestop_back"
"""Where log-in leads to: a path of ours that names a kept form."""
_BACK_FOR_S = 3600
_BACK = re.compile(r"/[\w%.-]+(/[\w%.-]+)*\?held=[0-9a-f-]{36}", re.ASCII)
_ENDPOINT = "comes_back"
_NOT_KEPT = frozenset((FIELD, "idempotency_key"))

KeepFile = Callable[[Principal, str, SealedFile], str]
"""Keep a file for somebody under a name; the id of the upload. Raises AppError for one that is not taken."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ComesBack:
    """Of the forms of one door: which page they stand on, and who keeps their files."""

    service: ServiceContext
    page: str
    keep_file: KeepFile | None
    secure: bool

    async def leads_back(self, request: Request, form: FormData) -> Response | None:
        """To the log-in, what was filled in being kept; None where it is nobody's that we know.

        Raises CsrfFailed where the browser says that another site sent this.
        """
        check_same_origin(request)
        who = authenticator(request).came_with(request, str(form.get(FIELD, "")))
        kept = await self._kept(request, form, who) if who else None
        if kept is None:
            return None
        response = RedirectResponse("/login", 303)
        response.set_cookie(
            BACK_COOKIE,
            kept,
            max_age=_BACK_FOR_S,
            httponly=True,
            samesite="lax",
            secure=self.secure,
        )
        return response

    async def leads_on(self, request: Request, form: FormData) -> Response | None:
        """To the page of a form that an earlier session of the very person who is logged in made, what was
        filled in being kept; None for any other form.

        Raises CsrfFailed where the browser says that another site sent this.
        """
        check_same_origin(request)
        now = authenticator(request).sender_of(request)
        who = authenticator(request).came_with(request, str(form.get(FIELD, "")))
        if who is None or who.session == now.session or _holder(who) != _holder(now):
            return None
        kept = await self._kept(request, form, who)
        return RedirectResponse(kept, 303) if kept else None

    async def _kept(self, request: Request, form: FormData, who: Principal) -> str | None:
        """The path to the page with what was filled in; None when no more of this session is kept."""
        if who.session is None:
            return None
        kept = await run_in_threadpool(self._keep, who, who.session, request.url.path, form)
        names = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
        return f"{self.page.format_map(names)}?held={kept}" if kept else None

    def _keep(self, who: Principal, session: UUID, path: str, form: FormData) -> UUID | None:
        with unit_of(self.service, "form.room") as unit:
            if not has_room(unit, session):
                return None
        fields = {n: v for n, v in form.items() if isinstance(v, str) and n not in _NOT_KEPT}
        kept = HeldForm(path, fields, self._files(who, form))
        with unit_of(self.service, "form.hold") as unit:
            return hold_form(unit, _holder(who), session, kept)

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


def comes_back(
    service: ServiceContext, page: str, *, secure: bool, keep_file: KeepFile | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Say of an endpoint which page its form stands on, with the names of its path in braces."""

    def say(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ENDPOINT, ComesBack(service, page, keep_file, secure))
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
        return held_form(unit, _holder(who), held)


def back_from_log_in(cookies: Mapping[str, str]) -> str | None:
    """Where somebody goes on who has logged in; None for nowhere in particular."""
    back = cookies.get(BACK_COOKIE)
    return back if back is not None and _BACK.fullmatch(back) else None


def _holder(who: Principal) -> str:
    return f"{who.kind}/{who.scope}"
