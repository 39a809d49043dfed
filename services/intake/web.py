"""The HTTP doors of intake: apply, follow, supply, what other services may ask; pages and log-in mounted."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import BeforeValidator, Field, Strict
from starlette.responses import JSONResponse

from services.intake import access, handling, schemas
from services.intake.access import Message
from services.intake.commands import SeenProxy
from services.intake.errors import (
    AgentNotAllowed,
    CaseNotFound,
    ConsentNotNeeded,
    IdenticalApplicationOpen,
    NameDiffers,
    NotAskedFor,
    NotAtACounter,
    NothingAsked,
    NotYourApplication,
    StopCodeUnknown,
    TooManyApplications,
    TooManyLookups,
    UploadNotYours,
    UploadTypeWrong,
)
from services.intake.handling import CaseForm
from services.intake.identity.web import identity_answers, identity_router
from services.intake.rules.consent import ProxyDocument
from services.intake.web_pages import page_router
from shared.ask import Params, PeerUnavailable, QuestionHandler
from shared.auth.deps import Citizen, Filer, Operator, Party
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.catalogue.matter import Matter
from shared.catalogue.published import UnknownMatter, UnknownMatterVersion
from shared.http.body import Body, Uuid, cleaned
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


class ProxyConsent(Body):
    """What a counter has seen of somebody who agrees for a holder: which paper, and its number or where its
    copy is filed."""

    holder_role: Annotated[str, Field(min_length=1, max_length=60, examples=["applicant"])]
    document: Annotated[ProxyDocument, Strict(False)]
    reference: Annotated[
        str, BeforeValidator(cleaned), Field(min_length=1, max_length=100, examples=["2026-0412"])
    ]


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

    def contact(params: Params) -> Params:
        """How to reach a person about a case, by `kind`: phone or email; null when we do not know. `stop` is
        the code that a message must name, `withheld` why none may go."""
        message = Message(
            UUID(params["delivery"]),
            params["kind"],
            params["case"],
            params["purpose"],
            params["sent"],
            params.get("only_verified", False),
        )
        with unit_of(context, "intake.contact") as unit:
            found = access.read_contact(unit, UUID(params["person"]), message, "notify")
            return {"contact": found.contact, "stop": found.stop, "withheld": found.withheld}

    def application(params: Params) -> Params:
        """The filled form of a case, for whoever handles it."""
        with unit_of(context, "intake.application") as unit:
            return access.read_application(unit, params["case"], params["reader"], params["purpose"])

    return {"contact": contact, "application": application, **identity_answers(context)}


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
        answer = handling.submit(context, filer, require_key(idempotency_key), body)
        return JSONResponse(answer.body, answer.status)

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
        answer = handling.supply(context, party, require_key(idempotency_key), number, body.uploads)
        return JSONResponse(answer.body, answer.status)

    @api.get("/consents", response_model=schemas.ConsentList)
    def list_consents(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """Cases that would use one's own certificates and wait for one's consent, the oldest first."""
        return handling.open_consents(context, citizen, cursor=cursor, limit=limit)

    @api.post("/cases/{number}/consent", response_model=schemas.ConsentGiven)
    @raises(CaseNotFound, ConsentNotNeeded)
    def give_consent(number: str, citizen: Citizen) -> dict[str, Any]:
        """Agree that one's own certificates are read for this case. Agreeing again changes nothing, so no
        Idempotency-Key is needed."""
        return handling.give_consent(context, citizen, number)

    @api.get("/matters/{code}")
    @raises(UnknownMatter)
    def read_matter(code: str) -> Matter:
        """A matter as published: conditions, form, materials, limits, remedies. No log-in."""
        return context.service.matters.latest(code)

    root.include_router(_without_a_log_in(context))
    root.include_router(_by_proxy(context))
    root.include_router(api)
    root.include_router(identity_router(context))
    root.include_router(page_router(context))
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


def _by_proxy(context: WebContext) -> APIRouter:
    """What somebody agrees to for a holder, and where the holder sees it."""
    api = doors("/api/v1")

    @api.post("/cases/{number}/proxy-consents", response_model=schemas.ConsentGiven)
    @raises(CaseNotFound, ConsentNotNeeded, NotAtACounter)
    def record_proxy_consent(number: str, operator: Operator, body: ProxyConsent) -> dict[str, Any]:
        """At a counter: whom the operator serves agrees for a holder, by a paper that was seen. The holder is
        told. Recording it again changes nothing, so no Idempotency-Key is needed."""
        seen = SeenProxy(body.document, body.reference)
        return handling.record_proxy_consent(context, operator, number, body.holder_role, seen)

    @api.get("/consents/given", response_model=schemas.GivenConsentList)
    def list_given_consents(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """Cases for which one's own certificates may be read because one agreed after the application, or
        somebody did by proxy, the newest first."""
        return handling.given_consents(context, citizen, cursor=cursor, limit=limit)

    return api
