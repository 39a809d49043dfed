"""The HTTP doors of materials: uploads, and what the other services may ask."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, File, Header, Request, UploadFile
from starlette.responses import JSONResponse, Response

from services.materials import commands, handling, queries, schemas, uploads
from services.materials.errors import (
    UploadEmpty,
    UploadLocked,
    UploadNotFound,
    UploadsUntaken,
    UploadTooManyPixels,
    UploadTypeNotAllowed,
)
from services.materials.models import Upload
from shared.ask import FileAnswer, GivesFile, Params, Question, TakesFile
from shared.auth.deps import Citizen, Party
from shared.auth.principal import Principal
from shared.bus.context import ServiceContext
from shared.bus.idempotency import StoredResponse, answer_once
from shared.bus.unit import unit_of
from shared.http.context import WebContext
from shared.http.doors import doors, in_turn, raises, takes
from shared.http.downloads import DOWNLOAD, attachment
from shared.http.idempotency import fingerprint, require_key
from shared.http.request_body import sealed_file_of
from shared.privacy.sealed_file import SealedFile


def answers(context: ServiceContext) -> dict[str, Question]:
    """What the other services may ask materials."""

    def checklist(params: Params) -> Params:
        """How each required material of a case stands."""
        with unit_of(context, "materials.checklist") as unit:
            return {"outcomes": queries.outcomes_of(unit.session, params["case"])}

    def uploads_owned(params: Params) -> Params:
        """Which of these uploads the person gave, with their media types; they wait on for a case."""
        with unit_of(context, "materials.uploads_owned") as unit:
            ids = {UUID(upload) for upload in params["uploads"]}
            owned = uploads.hold_uploads(unit, UUID(params["owner"]), ids)
            return {"uploads": {str(upload): media_type for upload, media_type in owned.items()}}

    def upload_names(params: Params) -> Params:
        """What those of these uploads are called that the person gave; they wait on for a page."""
        with unit_of(context, "materials.upload_names") as unit:
            ids = {UUID(upload) for upload in params["uploads"]}
            owned = uploads.hold_named_uploads(unit, UUID(params["owner"]), ids)
            return {"names": {str(upload): name for upload, name in owned.items()}}

    def keep_upload(params: Params, file: SealedFile) -> Params:
        """Keep a file that came through a page of another service."""
        checked = uploads.check_file(file)
        with unit_of(context, "materials.keep_upload") as unit:
            kept = uploads.keep_upload(
                unit, UUID(params["owner"]), params["name"], checked, held=params.get("held", False)
            )
            return {"id": str(kept.id)}

    def read_upload(params: Params) -> FileAnswer:
        """One upload of a case, for whoever handles it; the reading is noted by materials."""
        with unit_of(context, "materials.read_upload") as unit:
            read = uploads.read_upload(
                unit, UUID(params["upload"]), params["case"], params["reader"], params["purpose"]
            )
        return handling.file_of(context, read.upload, read.material)

    def still_valid(params: Params) -> Params:
        """Which certificates matched for a case are not valid any more on the day of asking, and what is
        missing since a consent was withdrawn; it is a use."""
        with unit_of(context, "materials.still_valid") as unit:
            amiss = commands.look_before_approval(unit, params["case"], params["reader"], params["purpose"])
            return {"lost": amiss.lost, "missing": amiss.missing}

    def certificate(params: Params) -> Params:
        """The certificate that a case ended with, for its holder; null until it is there."""
        with unit_of(context, "materials.certificate") as unit:
            found = queries.certificate_of_case(unit.session, params["case"])
            if found is None or str(found.holder) != params["person"]:
                return {"certificate": None}
            return {
                "certificate": {
                    "identifier": found.identifier,
                    "state": found.state,
                    "valid_from": found.valid_from.isoformat() if found.valid_from else None,
                    "valid_until": found.valid_until.isoformat() if found.valid_until else None,
                }
            }

    return {
        "certificate": certificate,
        "checklist": checklist,
        "uploads_owned": uploads_owned,
        "upload_names": upload_names,
        "keep_upload": TakesFile(keep_upload),
        "read_upload": GivesFile(read_upload),
        "still_valid": still_valid,
    }


def router(context: WebContext) -> APIRouter:
    """All doors of materials."""
    api = doors("/api/v1")

    async def has_key(request: Request) -> None:
        require_key(request.headers.get("idempotency-key"))

    @api.post("/uploads", status_code=201, response_model=schemas.UploadReceipt)
    @raises(UploadEmpty, UploadTypeNotAllowed, UploadLocked, UploadTooManyPixels, UploadsUntaken)
    @takes(context.service.settings.web.max_upload_bytes, files=1, admission=has_key)
    async def upload_file(
        party: Party,
        # Its `format` is what makers of clients know a file by.
        file: Annotated[UploadFile, File(json_schema_extra={"format": "binary"})],
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Give a file (PDF, JPEG, PNG); its id is what a submission or a supply names."""
        key = require_key(idempotency_key)
        owner = owner_of(party)
        content = sealed_file_of(file)
        name = file.filename or ""

        said = fingerprint("POST", "/api/v1/uploads", f"{content.sha256}/{name}".encode(errors="replace"))

        def store() -> StoredResponse:
            checked = uploads.check_file(content)
            with unit_of(context.service, "upload") as unit:
                return answer_once(
                    unit,
                    party.scope,
                    key,
                    said,
                    lambda: (201, _receipt(uploads.keep_upload(unit, owner, name, checked), content)),
                )

        answer = await in_turn(store)
        return JSONResponse(answer.body, answer.status)

    @api.get("/uploads/{upload_id}", response_class=Response, responses=DOWNLOAD)
    @raises(UploadNotFound)
    def read_upload(upload_id: UUID, citizen: Citizen) -> Response:
        """One's own file back; somebody else's answers as one that is not there."""
        with unit_of(context.service, "upload.read") as unit:
            found = queries.upload(unit.session, upload_id)
            if found is None or found.owner != citizen.person_ref:
                raise UploadNotFound
        file = handling.file_of(context.service, found)
        return attachment(file, name=f"附件-{upload_id}", plain_name=f"upload-{upload_id}")

    return api


def owner_of(party: Principal) -> UUID:
    """The person whose files these are."""
    assert party.party is not None
    return party.party


def _receipt(upload: Upload, content: SealedFile) -> dict[str, Any]:
    return {
        "id": str(upload.id),
        "media_type": upload.media_type,
        "size": upload.size,
        "sha256": content.sha256,
    }
