"""What an identity provider is: one file of this folder, called as the provider.

It proves who somebody is; what they may do is `accounts`'. Its file has

    SETTINGS            the class of its settings, read from `ONESTOP_IDENTITY__<PROVIDER>__…`
    is_on(settings)     whether this installation offers it
    ways(own)           how the log-in page leads to it, by its own settings; none if it lets no people in
    verifies(own)       the kinds of contact that people may verify by it
    router(desk)        its doors

and makes sessions with what a LogInDesk gives it. A contract test holds every file to this; files that begin
with an underscore are a provider's helpers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import AfterValidator
from starlette.responses import JSONResponse, RedirectResponse, Response

from services.intake.identity.sessions import LASTS, Ended, Proof, open_session
from shared.auth.deps import authenticator
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.unit import Unit, unit_of
from shared.http.context import WebContext
from shared.http.held import BACK_COOKIE, back_from_log_in
from shared.sections import Section
from shared.settings import Settings, read_sections

PARTS = frozenset(
    (
        *("accounts", "attributes", "client_keys", "codes", "contacts", "my_contacts", "persons"),
        *("provider", "sessions", "web"),
    )
)
"""The files of this folder that are no providers."""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise ValueError("must be an address such as https://hall.example.org")
    return url.rstrip("/")


Origin = Annotated[str, AfterValidator(_origin)]
"""A setting of a provider: where others reach this installation, without a path."""


@dataclass(frozen=True, slots=True)
class Way:
    """A line of the log-in page: where it leads, and what it says."""

    path: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class LogInDesk:
    """What a provider works with: its settings, pages and a transaction of intake; and how people get in."""

    context: WebContext
    settings: Section

    def open(self, proof: Proof, who: Callable[[Unit], Principal], lasts: timedelta = LASTS) -> Principal:
        """A session for whom `who` finds in the transaction, which may refuse by raising."""
        with unit_of(self.context.service, "session.open") as unit:
            return open_session(unit, who(unit), proof, lasts)

    def let_in(self, request: Request, principal: Principal) -> Response:
        """To where their work is, with the cookie."""
        usual = "/desk" if principal.kind is PrincipalKind.OFFICER else "/cases"
        back = back_from_log_in(request.cookies, principal)
        response = RedirectResponse(back or usual, 303)
        response.delete_cookie(BACK_COOKIE)
        authenticator(request).log_in(request, response, principal, int(LASTS.total_seconds()))
        return response

    def token(self, request: Request, principal: Principal) -> Response:
        """The token itself, for programs."""
        token = authenticator(request).issue(principal, int(LASTS.total_seconds()))
        person_ref = principal.party or principal.person_ref
        return JSONResponse({"token": token, "person_ref": str(person_ref) if person_ref else None})


def forget_here(request: Request, ended: list[Ended], *, logged_out: bool) -> None:
    """Sessions that ended are over in this process at once, and in the others within a minute."""
    for session in ended:
        authenticator(request).end(session.id, session.expires_at, logged_out=logged_out)


def provider_names() -> tuple[str, ...]:
    """Every provider that there is a file for."""
    folder = import_module("services.intake.identity")
    names = (found.name for found in iter_modules(folder.__path__))
    return tuple(sorted(name for name in names if name not in PARTS and not name.startswith("_")))


def provider_file(name: str) -> Any:
    """The module of a provider."""
    found: ModuleType = import_module(f"services.intake.identity.{name}")
    return found


def providers_on(settings: Settings) -> dict[str, tuple[Any, Section]]:
    """The providers that this installation offers, with their settings.

    Raises SettingsError, which names all that is broken.
    """
    files = {name: provider_file(name) for name in provider_names()}
    given = read_sections({name: file.SETTINGS for name, file in files.items()}, settings, "identity")
    return {name: (file, given.get(name, Section())) for name, file in files.items() if file.is_on(settings)}
