"""The doors of identity: the ways to log in, the way out, how one is reached, and what others may ask."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from services.intake import queries
from services.intake.errors import ContactNotFound, ContactVouched
from services.intake.identity import sessions
from services.intake.identity.codes import hand_out_code
from services.intake.identity.my_contacts import ContactList, contacts_page, forget_contact, read_contacts
from services.intake.identity.provider import LogInDesk, forget_here, providers_on
from services.intake.rules.contacts import ContactKind
from shared.ask import Params, QuestionHandler
from shared.auth import revocations
from shared.auth.csrf import check_same_origin
from shared.auth.deps import Party, authenticator
from shared.auth.principal import PrincipalKind
from shared.auth.signatures import SigningKey
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.http.context import WebContext
from shared.http.doors import doors, raises
from shared.http.held import comes_back, filled_in
from shared.http.rendering import page
from shared.paging import moment
from shared.peers import REVOCATIONS
from shared.privacy.secret_files import SESSION_KEY, load_secret


def identity_answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask about log-ins and accounts."""
    key = SigningKey(load_secret(context.settings, context.service, SESSION_KEY))

    def ended_and_changed(params: Params) -> Params:
        """Which sessions ended and whose rights changed since; signed, page by page."""
        since = moment(params["since"]) if params["since"] else None
        with unit_of(context, "intake.revocations") as unit:
            found = sessions.changes(unit, since, params["cursor"], datetime.now(UTC))
        return revocations.sign_changes(key, found)

    def officer(params: Params) -> Params:
        """What an officer may do now, by subject; null for nobody and for whoever has left."""
        with unit_of(context, "intake.officer") as unit:
            account = queries.account(unit.session, PrincipalKind.OFFICER, params["subject"])
            if account is None or not account.active:
                return {"officer": None}
            person = str(account.person_ref) if account.person_ref else None
            return {"officer": {"departments": account.departments, "person_ref": person}}

    def one_time_code(params: Params) -> Params:
        """A one-time code and where to send it, for whoever sends it now; null once it is of no use."""
        with unit_of(context, "intake.one_time_code") as unit:
            found = hand_out_code(unit, UUID(params["code_id"]), "notify")
            return {"address": found.address, "code": found.code} if found else {"address": None}

    return {
        REVOCATIONS: ended_and_changed,
        "officer": officer,
        "one_time_code": one_time_code,
    }


def identity_router(context: WebContext) -> APIRouter:
    """The log-in page, log-out, and the doors of every provider that is on."""
    router = doors()
    on = providers_on(context.service.settings)
    verifiable = {kind for file, own in on.values() for kind in file.verifies(own)}
    router.include_router(_contacts(context, verifiable))
    ways = [way for file, own in on.values() for way in file.ways(own)]

    @router.get("/login", include_in_schema=False)
    def log_in(request: Request) -> Response:
        """Which ways there are; straight on where there is only one."""
        if len(ways) == 1:
            return RedirectResponse(ways[0].path, 303)
        return page(context.pages, request, "login.html", {"ways": ways})

    @router.post("/logout", include_in_schema=False)
    def log_out(request: Request) -> Response:
        """End the session, here at once and everywhere within a minute. An old one may leave too."""
        check_same_origin(request)
        leaving = authenticator(request).leaving(request)
        if leaving is not None and leaving.session is not None:
            with unit_of(context.service, "session.end") as unit:
                ended = sessions.end_session(unit, leaving.session, leaving.subject, sessions.Why.LOGGED_OUT)
            forget_here(request, ended, logged_out=True)
        response = RedirectResponse("/", 303)
        authenticator(request).log_out(request, response)
        return response

    for file, settings in on.values():
        router.include_router(file.router(LogInDesk(context, settings)))
    return router


def _contacts(context: WebContext, verifiable: Collection[ContactKind]) -> APIRouter:
    """How one is reached: see, and remove. What adds and verifies is a provider's."""
    router = doors()

    @router.get("/api/v1/contacts")
    def list_contacts(party: Party) -> ContactList:
        """One's own contact points, those of a kind together; the one that is `used` is where notices go."""
        return read_contacts(context, party)

    @router.delete("/api/v1/contacts/{contact}")
    @raises(ContactNotFound, ContactVouched)
    def remove_contact(party: Party, contact: UUID) -> ContactList:
        """Remove a contact of one's own; nothing is sent there any more. The answer is what is left."""
        return forget_contact(context, party, contact)

    @router.get("/contacts", include_in_schema=False)
    def show(request: Request, party: Party, held: UUID | None = None) -> Response:
        """The page, and what was typed before the session ended."""
        kept = filled_in(context.service, party, held)
        return contacts_page(context, request, party, verifiable, kept=kept)

    @router.post("/contacts/{contact}/removal", include_in_schema=False)
    @comes_back(context.service, "/contacts", secure=context.service.settings.web.cookie_secure)
    def remove_on_page(party: Party, contact: UUID) -> Response:
        """Removed."""
        forget_contact(context, party, contact)
        return RedirectResponse("/contacts", 303)

    return router
