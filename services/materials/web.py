"""The HTTP doors of materials: uploads, and what the other services may ask."""

from base64 import b64decode, b64encode
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, UploadFile
from starlette.responses import JSONResponse, Response

from services.materials import commands, queries
from services.materials.errors import UploadNotFound
from shared.ask import Params, QuestionHandler
from shared.auth.deps import Citizen
from shared.bus.context import ServiceContext
from shared.bus.idempotency import answer_once
from shared.bus.unit import unit_of
from shared.http.again import doors
from shared.http.context import WebContext
from shared.http.downloads import attachment
from shared.http.idempotency import fingerprint, require_key


def answers(context: ServiceContext) -> dict[str, QuestionHandler]:
    """What the other services may ask materials."""

    def checklist(params: Params) -> Params:
        """How each required material of a case stands."""
        with unit_of(context, "materials.checklist") as unit:
            return {"outcomes": queries.outcomes_of(unit.session, params["case"])}

    def uploads_owned(params: Params) -> Params:
        """Which of these uploads the person gave, with their media types; they wait on for a case."""
        with unit_of(context, "materials.uploads_owned") as unit:
            ids = {UUID(upload) for upload in params["uploads"]}
            owned = commands.hold_uploads(unit, UUID(params["owner"]), ids)
            return {"uploads": {str(upload): media_type for upload, media_type in owned.items()}}

    def keep_upload(params: Params) -> Params:
        """Keep a file that came through a page of another service; base64 content."""
        with unit_of(context, "materials.keep_upload") as unit:
            kept = commands.keep_upload(
                unit, UUID(params["owner"]), params["name"], b64decode(params["content"], validate=True)
            )
            return {"id": str(kept.id)}

    def read_upload(params: Params) -> Params:
        """One upload of a case, for whoever handles it; the reading is noted by materials."""
        with unit_of(context, "materials.read_upload") as unit:
            read = commands.read_upload(
                unit, UUID(params["upload"]), params["case"], params["reader"], params["purpose"]
            )
            return {
                "content": b64encode(read.content).decode(),
                "media_type": read.media_type,
                "material": read.material,
            }

    def still_valid(params: Params) -> Params:
        """Which certificates matched for a case are not valid any more on the day of asking; it is a use."""
        with unit_of(context, "materials.still_valid") as unit:
            lost = commands.lost_certificates(unit, params["case"], params["reader"], params["purpose"])
            return {"lost": lost}

    return {
        "checklist": checklist,
        "uploads_owned": uploads_owned,
        "keep_upload": keep_upload,
        "read_upload": read_upload,
        "still_valid": still_valid,
    }


def router(context: WebContext) -> APIRouter:
    """All doors of materials."""
    api = doors("/api/v1", ["materials"])

    @api.post("/uploads", status_code=201)
    def upload(
        citizen: Citizen,
        file: UploadFile,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Give a file (PDF, JPEG, PNG); its id is what a submission or a supply names."""
        key = require_key(idempotency_key)
        owner = owner_of(citizen)
        file.file.seek(0)
        content = file.file.read()
        name = file.filename or ""

        with unit_of(context.service, "upload") as unit:
            answer = answer_once(
                unit,
                citizen.subject,
                key,
                fingerprint("POST", "/api/v1/uploads", name.encode(errors="replace") + b"\0" + content),
                lambda: (201, _receipt(commands.keep_upload(unit, owner, name, content))),
            )
        return JSONResponse(answer.body, answer.status)

    @api.get("/uploads/{upload_id}")
    def read_own(upload_id: UUID, citizen: Citizen) -> Response:
        """One's own file back; somebody else's answers as one that is not there."""
        with unit_of(context.service, "upload.read") as unit:
            found = queries.upload(unit.session, upload_id)
            if found is None or found.owner != citizen.person_ref:
                raise UploadNotFound
            content = context.service.vault.open_bytes(
                found.sealed_content, table="uploads", row=upload_id, column="sealed_content"
            )
            return attachment(
                content, found.media_type, name=f"附件-{upload_id}", plain_name=f"upload-{upload_id}"
            )

    return api


def owner_of(citizen: Any) -> UUID:
    """The person behind a citizen's log-in."""
    assert isinstance(citizen.person_ref, UUID)
    return citizen.person_ref


def _receipt(upload: Any) -> dict[str, Any]:
    return {
        "id": str(upload.id),
        "media_type": upload.media_type,
        "size": upload.size,
        "sha256": upload.sha256,
    }
