"""The HTTP doors of intake: apply, follow, supply, what other services may ask; pages and log-in mounted."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field
from starlette.responses import JSONResponse

from services.intake import access, consents, handling, schemas
from services.intake.access import Message
from services.intake.consent_pages import consent_pages
from services.intake.errors import (
    AgentNotAllowed,
    CaseNotFound,
    ConsentNotGiven,
    ConsentNotNeeded,
    ConsentOver,
    ConsentWithdrawnBefore,
    IdenticalApplicationOpen,
    NameDiffers,
    NotAskedFor,
    NotAtACounter,
    NothingAsked,
    NotVerified,
    NotYourApplication,
    StopCodeUnknown,
    TooManyApplications,
    TooManyLookups,
    UploadNotYours,
    UploadTypeWrong,
)
from services.intake.handling import CaseForm
from services.intake.identity.web import identity_answers, identity_router
from services.intake.web_pages import page_router
from shared.ask import Params, PeerUnavailable, QuestionHandler
from shared.auth.deps import Citizen, Filer, Operator, Party
from shared.bus.context import ServiceContext
from shared.bus.idempotency import StoredResponse
from shared.bus.unit import unit_of
from shared.catalogue.matter import Matter
from shared.catalogue.published import UnknownMatter, UnknownMatterVersion
from shared.http.body import Body, Uuid
from shared.http.context import WebContext
from shared.http.doors import doors, raises
from shared.http.idempotency import require_key
from shared.http.paging import Cursor, Limit


class LookUp(Body):
    """Case number and query code, as pasted; both in the body, so that neither stands in a URL or a log."""

    number: Annotated[str, Field(min_length=1, max_length=100, examples=["330106261123000017"])]
    query_code: Annotated[
        str, Field(min_length=1, max_length=200, examples=["9f86d081884c7d659a2feaa0c55ad015"])
    ]


class StopNotices(Body):
    """The stop code of a message, as pasted, and whether it is to end for all such cases."""

    code: Annotated[str, Field(min_length=1, max_length=200, examples=["BCDF-GHJK-LMNP"])]
    everything: bool = False


class Supply(Body):
    """What a correction notice asked for: material code -> upload id."""

    uploads: Annotated[
        dict[str, Uuid],
        Field(
            min_length=1,
            max_length=50,
            examples=[{"lease_contract": "01990a8e-5d2c-7a41-9c1b-0d6a4f3e2b10"}],
        ),
    ]


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask intake. Each reading of personal data is noted."""

    def contacts(params: Params) -> Params:
        """How to reach people about cases, by `kind`: phone or email; a `contact` is null when we do not know
        it. `stop` is the code that a message must name, `withheld` why none may go. In the order asked."""
        messages = [_message(one) for one in params["messages"]]
        with unit_of(context, "intake.contacts") as unit:
            found = access.read_contacts(unit, messages, "notify")
            return {
                "contacts": [
                    {"contact": one.contact, "stop": one.stop, "withheld": one.withheld} for one in found
                ]
            }

    def contact(params: Params) -> Params:
        """The same about one."""
        [found] = contacts({"messages": [params]})["contacts"]
        return dict(found)

    def application(params: Params) -> Params:
        """The filled form of a case, for whoever handles it."""
        with unit_of(context, "intake.application") as unit:
            return access.read_application(unit, params["case"], params["reader"], params["purpose"])

    return {"contact": contact, "contacts": contacts, "application": application, **identity_answers(context)}


def _message(params: Params) -> Message:
    return Message(
        UUID(params["person"]),
        UUID(params["delivery"]),
        params["kind"],
        params["case"],
        params["purpose"],
        params["sent"],
        params.get("only_verified", False),
    )


def router(context: WebContext) -> APIRouter:
    """All doors of intake."""
    root = doors()
    api = doors("/api/v1")

    @api.post("/cases", status_code=201, response_model=schemas.Receipt)
    @raises(
        NotYourApplication,
        AgentNotAllowed,
        NameDiffers,
        IdenticalApplicationOpen,
        TooManyApplications,
        UploadNotYours,
        UploadTypeWrong,
        UnknownMatter,
        UnknownMatterVersion,
        PeerUnavailable,
    )
    def submit_case(
        filer: Filer, body: CaseForm, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Apply. The answer carries the case number before anything else has run."""
        return _answer(handling.submit(context, filer, require_key(idempotency_key), body))

    @api.get("/cases", response_model=schemas.CaseList)
    def list_cases(party: Party, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """One's own cases, the newest first; `next` is the cursor of the next page, null at the end."""
        return handling.my_cases(context, party, cursor=cursor, limit=limit)

    @api.get("/cases/{number}", response_model=schemas.Case)
    @raises(CaseNotFound, PeerUnavailable)
    def read_case(number: str, party: Party) -> dict[str, Any]:
        """One's own case; other people's answer like cases that are not there.

        `timeline` holds the newest 100 entries, the oldest of these first.
        """
        return handling.read_case(context, number, party).case

    @api.get("/cases/{number}/timeline", response_model=schemas.Timeline)
    @raises(CaseNotFound)
    def read_timeline(number: str, party: Party, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """What happened in one's own case, the newest first; `timeline_next` of the case is a cursor here."""
        return handling.read_timeline(context, number, party, cursor=cursor, limit=limit)

    @api.post("/cases/{number}/supplements", status_code=202, response_model=schemas.Supplied)
    @raises(CaseNotFound, NothingAsked, NotAskedFor, UploadNotYours, UploadTypeWrong, PeerUnavailable)
    def supply_materials(
        number: str, party: Party, body: Supply, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Supply what a correction notice asked for."""
        return _answer(handling.supply(context, party, require_key(idempotency_key), number, body.uploads))

    @api.get("/matters/{code}")
    @raises(UnknownMatter)
    def read_matter(code: str) -> Matter:
        """A matter as published: conditions, form, materials, limits, remedies. No log-in."""
        return context.service.matters.latest(code)

    root.include_router(_without_a_log_in(context))
    root.include_router(_consents(context))
    root.include_router(_at_the_counter(context))
    root.include_router(api)
    root.include_router(identity_router(context))
    root.include_router(page_router(context))
    root.include_router(consent_pages(context))
    return root


def _without_a_log_in(context: WebContext) -> APIRouter:
    """What is opened by a code."""
    api = doors("/api/v1")

    @api.post("/cases/lookup", response_model=schemas.Case)
    @raises(CaseNotFound, TooManyLookups, PeerUnavailable)
    def look_up_case(request: Request, body: LookUp) -> dict[str, Any]:
        """A case by number and query code, without a log-in."""
        return handling.look_up(context, request, body.number, body.query_code).case

    @api.post("/notices/stop", response_model=schemas.NoticesStopped)
    @raises(StopCodeUnknown, TooManyLookups)
    def stop_notices(request: Request, body: StopNotices) -> dict[str, Any]:
        """Stop what a number or address is told of a case in which its holder did nothing, or of all such
        cases: by the code in any such message, without a log-in. Stopping again changes nothing."""
        handling.stop_notices(context, request, body.code, everything=body.everything)
        return {"stopped": "everything" if body.everything else "case"}

    return api


def _consents(context: WebContext) -> APIRouter:
    """What holders agree to and take back."""
    api = doors("/api/v1")

    @api.get("/consents", response_model=schemas.ConsentList)
    def list_consents(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """Cases that would use one's own certificates and wait for one's consent, the oldest first."""
        return consents.open_consents(context, citizen, cursor=cursor, limit=limit)

    @api.get("/consents/given", response_model=schemas.GivenConsentList)
    def list_given_consents(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """What one has agreed to, with an application or after it, or somebody by proxy, and took back, the
        newest first."""
        return consents.given_consents(context, citizen, cursor=cursor, limit=limit)

    @api.post("/cases/{number}/consent", response_model=schemas.ConsentGiven)
    @raises(CaseNotFound, ConsentNotNeeded, ConsentWithdrawnBefore, NotVerified)
    def give_consent(number: str, citizen: Citizen) -> dict[str, Any]:
        """Agree that one's own certificates are read for this case. Agreeing again changes nothing, so no
        Idempotency-Key is needed; what was taken back is given again by `renew_consent`."""
        return consents.give_consent(context, citizen, number)

    @api.post("/cases/{number}/consent/withdrawal", response_model=schemas.ConsentWithdrawn)
    @raises(CaseNotFound, ConsentNotGiven, ConsentOver, NotVerified)
    def withdraw_consent(
        number: str, citizen: Citizen, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Take one's own consent back, whoever gave it: nothing more is read for this case, and what one's
        certificates had met is asked for. What was read before stays on record, and a decision stands."""
        return _answer(consents.withdraw_consent(context, citizen, require_key(idempotency_key), number))

    @api.post("/cases/{number}/consent/renewal", response_model=schemas.ConsentGiven)
    @raises(CaseNotFound, ConsentNotGiven, ConsentOver, NotVerified)
    def renew_consent(
        number: str, citizen: Citizen, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Agree again after one has taken one's consent back."""
        return _answer(consents.renew_consent(context, citizen, require_key(idempotency_key), number))

    return api


def _at_the_counter(context: WebContext) -> APIRouter:
    """What a counter notes of what people agree to for others, or take back."""
    api = doors("/api/v1")

    @api.post("/cases/{number}/proxy-consents", response_model=schemas.ConsentGiven)
    @raises(CaseNotFound, ConsentNotNeeded, ConsentOver, ConsentWithdrawnBefore, NotAtACounter)
    def record_proxy_consent(
        number: str,
        operator: Operator,
        body: consents.ProxyConsent,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """At a counter: whom the operator serves agrees for a holder, by a paper that was seen. The holder is
        told. Nobody agrees over a holder who has taken their consent back themselves."""
        key = require_key(idempotency_key)
        return _answer(consents.record_proxy_consent(context, operator, key, number, body))

    @api.post("/cases/{number}/counter-withdrawals", response_model=schemas.ConsentWithdrawn)
    @raises(CaseNotFound, ConsentNotGiven, ConsentOver, NotAtACounter)
    def record_withdrawal(
        number: str,
        operator: Operator,
        body: consents.CounterWithdrawal,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """At a counter: whom the operator serves takes back their own consent, or the one that they gave in a
        holder's place. The holder is told."""
        key = require_key(idempotency_key)
        return _answer(consents.record_withdrawal(context, operator, key, number, body))

    return api


def _answer(stored: StoredResponse) -> Response:
    return JSONResponse(stored.body, stored.status)
