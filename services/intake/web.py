"""The HTTP doors of intake: apply, follow, supply, what other services may ask; pages and log-in mounted."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field
from starlette.responses import JSONResponse

from services.intake import access, handling
from services.intake.handling import CaseForm
from services.intake.identity.web import identity_answers, identity_router
from services.intake.web_pages import page_router
from shared.ask import Params, QuestionHandler
from shared.auth.deps import Citizen, Filer, Party
from shared.bus.context import ServiceContext
from shared.bus.unit import unit_of
from shared.http.body import Body, Uuid
from shared.http.context import WebContext
from shared.http.doors import doors
from shared.http.idempotency import require_key
from shared.http.paging import Cursor, Limit


class LookUp(Body):
    """Case number and query code, as pasted; both in the body, so that neither stands in a URL or a log."""

    number: Annotated[str, Field(min_length=1, max_length=100)]
    query_code: Annotated[str, Field(min_length=1, max_length=200)]


class Supply(Body):
    """What a correction notice asked for: material code -> upload id."""

    uploads: Annotated[dict[str, Uuid], Field(min_length=1, max_length=50)]


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask intake. Each reading of personal data is noted."""

    def contact(params: Params) -> Params:
        """How to reach a person about a case, by `kind`: phone or email; null when we do not know."""
        person, case = UUID(params["person"]), params["case"]
        with unit_of(context, "intake.contact") as unit:
            found = access.read_contact(unit, person, params["kind"], case, "notify", params["purpose"])
            return {"contact": found}

    def application(params: Params) -> Params:
        """The filled form of a case, for whoever handles it."""
        with unit_of(context, "intake.application") as unit:
            return access.read_application(unit, params["case"], params["reader"], params["purpose"])

    return {"contact": contact, "application": application, **identity_answers(context)}


def router(context: WebContext) -> APIRouter:
    """All doors of intake."""
    root = doors()
    api = doors("/api/v1", ["intake"])

    @api.post("/cases", status_code=201)
    def submit_case(
        filer: Filer, body: CaseForm, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Apply. The answer carries the case number before anything else has run."""
        answer = handling.submit(context, filer, require_key(idempotency_key), body)
        return JSONResponse(answer.body, answer.status)

    @api.get("/cases")
    def my_cases(party: Party, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """One's own cases, the newest first; `next` is the cursor of the next page, null at the end."""
        return handling.my_cases(context, party, cursor=cursor, limit=limit)

    @api.post("/cases/lookup")
    def look_up(request: Request, body: LookUp) -> dict[str, Any]:
        """A case by number and query code, without a log-in."""
        return handling.look_up(context, request, body.number, body.query_code).case

    @api.get("/cases/{number}")
    def read_case(number: str, party: Party) -> dict[str, Any]:
        """One's own case; other people's answer like cases that are not there.

        `timeline` holds the newest 100 entries, the oldest of these first.
        """
        return handling.read_case(context, number, party).case

    @api.get("/cases/{number}/timeline")
    def read_timeline(number: str, party: Party, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """What happened in one's own case, the newest first; `timeline_next` of the case is a cursor here."""
        return handling.read_timeline(context, number, party, cursor=cursor, limit=limit)

    @api.post("/cases/{number}/supplements", status_code=202)
    def supply_materials(
        number: str, party: Party, body: Supply, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Supply what a correction notice asked for."""
        answer = handling.supply(context, party, require_key(idempotency_key), number, body.uploads)
        return JSONResponse(answer.body, answer.status)

    @api.get("/consents")
    def my_consents(citizen: Citizen, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        """Cases that would use one's own certificates and wait for one's consent, the oldest first."""
        return handling.open_consents(context, citizen, cursor=cursor, limit=limit)

    @api.post("/cases/{number}/consent")
    def give_consent(number: str, citizen: Citizen) -> dict[str, Any]:
        """Agree that one's own certificates are read for this case. Agreeing again changes nothing, so no
        Idempotency-Key is needed."""
        return handling.give_consent(context, citizen, number)

    @api.get("/matters/{code}")
    def read_matter(code: str) -> dict[str, Any]:
        """A matter as published: conditions, form, materials, limits, remedies. No log-in."""
        return context.service.matters.latest(code).model_dump(mode="json")

    root.include_router(api)
    root.include_router(identity_router(context))
    root.include_router(page_router(context))
    return root
