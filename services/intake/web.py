"""The HTTP doors of intake: apply, follow, supply; the development log-in; what the other services may
ask."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field
from starlette.responses import JSONResponse

from services.intake import access, commands, view
from services.intake.commands import Submission
from services.intake.errors import UploadNotYours, UploadTypeWrong
from services.intake.identity_web import identity_router
from services.intake.web_pages import page_router
from shared.auth.deps import Citizen
from shared.auth.principal import Principal
from shared.bus.context import ServiceContext
from shared.bus.idempotency import StoredResponse, answer_once
from shared.bus.unit import unit_of
from shared.catalogue.matter import Matter
from shared.errors import FieldError
from shared.http.ask import Params, QuestionHandler
from shared.http.body import Body
from shared.http.context import WebContext
from shared.http.idempotency import fingerprint, require_key

Code = Annotated[str, Field(min_length=1, max_length=100)]


class CaseForm(Body):
    """An application. `form` follows the matter's JSON Schema; `uploads` maps material codes to upload ids.

    `channel` is one of the matter's; `client` names the program that sends, without digits: it is kept plain.
    """

    matter: Code
    version: Annotated[int, Field(ge=1)] | None = None
    form: dict[str, Any]
    uploads: Annotated[dict[str, UUID], Field(default_factory=dict, max_length=50)]
    channel: Code = "web"
    client: Annotated[str, Field(max_length=100, pattern=r"^[a-z][a-z._-]*$")] = "onestop-web"
    locale: Annotated[str, Field(pattern="^(zh-CN|en)$")] = "zh-CN"


class LookUp(Body):
    """Case number and query code; both in the body, so that neither stands in a URL or a log."""

    number: Annotated[str, Field(min_length=1, max_length=50)]
    query_code: Annotated[str, Field(min_length=1, max_length=64)]


class Supply(Body):
    """What a correction notice asked for: material code -> upload id."""

    uploads: Annotated[dict[str, UUID], Field(min_length=1, max_length=50)]


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask intake. Each reading of personal data is noted."""

    def contact(params: Params) -> Params:
        """How to reach a person about a case; `phone` is null when we do not know one."""
        with unit_of(context, "intake.contact") as unit:
            return {
                "phone": access.read_phone(
                    unit, UUID(params["person"]), params["case"], "notify", params["purpose"]
                )
            }

    def application(params: Params) -> Params:
        """The filled form of a case, for whoever handles it."""
        with unit_of(context, "intake.application") as unit:
            return access.read_application(unit, params["case"], params["reader"], params["purpose"])

    return {"contact": contact, "application": application}


def submit(context: WebContext, citizen: Principal, key: str, body: CaseForm) -> StoredResponse:
    """Take an application once, for API and pages alike."""
    matter = (
        context.service.matters.get(body.matter, body.version)
        if body.version
        else context.service.matters.latest(body.matter)
    )
    check_uploads(context, matter, citizen.person_ref, body.uploads)
    submission = Submission(
        matter=matter,
        form=body.form,
        uploads=body.uploads,
        channel=body.channel,
        client=body.client,
        locale=body.locale,
        submitter=citizen.person_ref,
    )
    with unit_of(context.service, "case.submit") as unit:

        def make() -> tuple[int, dict[str, Any]]:
            receipt = commands.submit_case(unit, submission)
            return 201, {
                "number": receipt.number,
                "query_code": receipt.query_code,
                "received_at": receipt.received_at,
            }

        said = body.model_dump_json().encode()
        return answer_once(unit, citizen.subject, key, fingerprint("POST", "/api/v1/cases", said), make)


def supply(
    context: WebContext, citizen: Principal, key: str, number: str, uploads: dict[str, UUID]
) -> StoredResponse:
    """Supply once, for API and pages alike."""
    with unit_of(context.service, "case.look") as unit:
        case = access.own_case(unit, number, citizen)
        matter = context.service.matters.get(case.matter, case.matter_version)
    check_uploads(context, matter, citizen.person_ref, uploads)
    said = "&".join(f"{code}={upload}" for code, upload in sorted(uploads.items()))
    with unit_of(context.service, "case.supply") as unit:
        case = access.lock_own_case(unit, number, citizen)

        def make() -> tuple[int, dict[str, Any]]:
            commands.supply_materials(unit, case, uploads)
            return 202, {"number": number, "supplied": sorted(uploads)}

        return answer_once(
            unit,
            citizen.subject,
            key,
            fingerprint("POST", f"/api/v1/cases/{number}/supplements", said.encode()),
            make,
        )


def with_reasons(context: WebContext, shown: dict[str, Any]) -> dict[str, Any]:
    """The view, with the reasons that approval keeps when the case was refused."""
    refused = shown["outcome"] == "denied"
    asked = (
        context.service.asker.ask("approval", "reasons", {"case": shown["number"]})
        if refused
        else {"reasons": []}
    )
    return {**shown, "reasons": asked["reasons"]}


def asker_of(request: Request) -> str:
    """Who looks up without a log-in, as far as we can tell them apart."""
    return request.client.host if request.client else "unknown"


def check_uploads(
    context: WebContext, matter: Matter, owner: UUID | None, uploads: Mapping[str, UUID]
) -> None:
    """Raises UploadNotYours unless this person gave every upload, UploadTypeWrong for one that the material
    does not take."""
    if not uploads:
        return
    asked = {"owner": str(owner), "uploads": [str(upload) for upload in uploads.values()]}
    owned = context.service.asker.ask("materials", "uploads_owned", asked)["uploads"]
    if {str(upload) for upload in uploads.values()} - set(owned):
        raise UploadNotYours
    accepted = {material.code: material.accept for material in matter.materials}
    wrong = [
        FieldError(
            f"/uploads/{code}", "upload-type", "该材料不接受这种文件。", "This material takes other files."
        )
        for code, upload in sorted(uploads.items())
        if accepted.get(code) and owned[str(upload)] not in accepted[code]
    ]
    if wrong:
        raise UploadTypeWrong(fields=wrong)


def router(context: WebContext) -> APIRouter:
    """All doors of intake."""
    root = APIRouter()
    api = APIRouter(prefix="/api/v1", tags=["intake"])

    @api.post("/cases", status_code=201)
    def submit_case(
        citizen: Citizen, body: CaseForm, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Apply. The answer carries the case number before anything else has run."""
        answer = submit(context, citizen, require_key(idempotency_key), body)
        return JSONResponse(answer.body, answer.status)

    @api.get("/cases")
    def my_cases(citizen: Citizen) -> dict[str, Any]:
        """One's own cases, the newest first."""
        with unit_of(context.service, "cases.mine") as unit:
            return {"cases": access.own_cases(unit, citizen)}

    @api.post("/cases/lookup")
    def look_up(request: Request, body: LookUp) -> dict[str, Any]:
        """A case by number and query code, without a log-in."""
        with unit_of(context.service, "case.lookup") as unit:
            found = access.look_up(unit, body.number, body.query_code, asker_of(request))
            shown = view.case_view(unit, found) if found is not None else None
        return with_reasons(context, access.or_not_found(shown))

    @api.get("/cases/{number}")
    def read_case(number: str, citizen: Citizen) -> dict[str, Any]:
        """One's own case; other people's answer like cases that are not there."""
        with unit_of(context.service, "case.read") as unit:
            shown = view.case_view(unit, access.own_case(unit, number, citizen))
        return with_reasons(context, shown)

    @api.post("/cases/{number}/supplements", status_code=202)
    def supply_materials(
        number: str, citizen: Citizen, body: Supply, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Supply what a correction notice asked for."""
        answer = supply(context, citizen, require_key(idempotency_key), number, dict(body.uploads))
        return JSONResponse(answer.body, answer.status)

    @api.get("/matters/{code}")
    def read_matter(code: str) -> dict[str, Any]:
        """A matter as published: conditions, form, materials, limits, remedies. No log-in."""
        return context.service.matters.latest(code).model_dump(mode="json")

    root.include_router(api)
    root.include_router(identity_router(context))
    root.include_router(page_router(context))
    return root
