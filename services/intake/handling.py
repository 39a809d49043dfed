"""What a citizen does and sees, for API and pages alike: apply, follow, look up, supply."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import Request
from pydantic import ConfigDict, Field, JsonValue

from services.intake import access, commands, view
from services.intake.commands import Submission
from services.intake.errors import (
    CaseNotFound,
    NothingAsked,
    StopCodeUnknown,
    UploadNotYours,
    UploadTypeWrong,
)
from services.intake.rules.asked import still_asked
from shared.auth.principal import Principal
from shared.bus.idempotency import StoredResponse, answer_once
from shared.bus.unit import unit_of
from shared.catalogue.matter import Matter
from shared.errors import FieldError, Unavailable
from shared.http.body import Body, Uuid
from shared.http.context import WebContext
from shared.http.idempotency import fingerprint
from shared.http.networks import network_of
from shared.legal_time import legal_day

Code = Annotated[str, Field(min_length=1, max_length=100)]
_EXAMPLE: dict[str, JsonValue] = {
    "matter": "residence_permit.apply",
    "form": {
        "applicant": {"name": "林小满", "id_number": "330106199003071234", "phone": "13800000001"},
        "residence": {"address": "文三路 1 号", "kind": "rented", "since": "2024-03-01"},
        "ground": "employment",
        "fetch_consent": True,
    },
    "channel": "app",
    "locale": "zh-CN",
}


class CaseForm(Body):
    """An application. `form` follows the matter's JSON Schema; `uploads` maps material codes to upload ids.

    `channel` is one of the matter's; `client` names the program that sends, without digits: it is kept plain.
    `another` says that a second application is meant while one like it is open, where the matter allows it;
    `name_as_written` that the sender's name in the form is meant although they were verified by another one.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    matter: Code
    version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    form: dict[str, Any]
    uploads: Annotated[dict[str, Uuid], Field(default_factory=dict, max_length=50)]
    channel: Code = "web"
    client: Annotated[str, Field(max_length=100, pattern=r"^[a-z][a-z._-]*$")] = "onestop-web"
    locale: Annotated[str, Field(pattern="^(zh-CN|en)$")] = "zh-CN"
    another: bool = False
    name_as_written: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A case as its citizen may see it, on one legal day."""

    case: dict[str, Any]
    today: date


def submit(context: WebContext, filer: Principal, key: str, body: CaseForm) -> StoredResponse:
    """Take an application, once for each key. Raises as the command does, UploadNotYours, UploadTypeWrong."""
    matter = (
        context.service.matters.get(body.matter, body.version)
        if body.version
        else context.service.matters.latest(body.matter)
    )
    _check_uploads(context, matter, filer.party, body.uploads)
    submission = Submission(
        matter=matter,
        form=body.form,
        uploads=body.uploads,
        channel=body.channel,
        client=body.client,
        locale=body.locale,
        submitter=filer,
        another=body.another,
        name_as_written=body.name_as_written,
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
        return answer_once(unit, filer.scope, key, fingerprint("POST", "/api/v1/cases", said), make)


def supply(
    context: WebContext,
    party: Principal,
    key: str,
    number: str,
    uploads: Mapping[str, UUID],
    *,
    said: str | None = None,
) -> StoredResponse:
    """Take what a correction notice asked for, once for each key. `said` tells one request from another under
    a key, where ids of uploads are new each time; by itself these do.

    Raises CaseNotFound for somebody else's case, as the command does, UploadNotYours, UploadTypeWrong.
    """
    with unit_of(context.service, "case.look") as unit:
        case = access.own_case(unit, number, party)
        matter = context.service.matters.get(case.matter, case.matter_version)
    _check_uploads(context, matter, party.party, uploads)
    said = said or "&".join(f"{code}={upload}" for code, upload in sorted(uploads.items()))
    with unit_of(context.service, "case.supply") as unit:
        case = access.lock_own_case(unit, number, party)

        def make() -> tuple[int, dict[str, Any]]:
            commands.supply_materials(unit, case, uploads)
            return 202, {"number": number, "supplied": sorted(uploads)}

        return answer_once(
            unit,
            party.scope,
            key,
            fingerprint("POST", f"/api/v1/cases/{number}/supplements", said.encode()),
            make,
        )


def kept_files(context: WebContext, party: Principal, uploads: Collection[UUID]) -> dict[UUID, str]:
    """What those of these uploads are called that this person gave; they wait on from now."""
    if not uploads or party.party is None:
        return {}
    asked = {"owner": str(party.party), "uploads": [str(upload) for upload in uploads]}
    names = context.service.asker.ask("materials", "upload_names", asked)["names"]
    return {UUID(upload): name for upload, name in names.items()}


def check_asked(context: WebContext, number: str, party: Principal) -> None:
    """Whether this citizen may send files for the case. Raises CaseNotFound and NothingAsked."""
    with unit_of(context.service, "case.look") as unit:
        case = access.own_case(unit, number, party)
        if not still_asked(case.asked, case.materials):
            raise NothingAsked


def my_cases(context: WebContext, party: Principal, *, cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of one's own cases, the newest first. Raises CursorInvalid."""
    with unit_of(context.service, "cases.mine") as unit:
        return access.own_cases(unit, party, cursor=cursor, limit=limit)


def read_case(context: WebContext, number: str, party: Principal, *, cursor: str | None = None) -> Shown:
    """One's own case; `cursor` is of its timeline.

    Raises CaseNotFound, CursorInvalid, and PeerUnavailable where the reasons of a refusal are away.
    """
    with unit_of(context.service, "case.read") as unit:
        case = access.own_case(unit, number, party)
        role = access.role_of(unit, case, party)
        shown = Shown(view.case_view(unit, case, role, cursor), legal_day(unit.legal))
    return _with_reasons(context, shown)


@dataclass(frozen=True, slots=True)
class Held:
    """What other services keep for a citizen about a case. The page goes without what is away."""

    messages: list[dict[str, Any]] | None
    """What they were told, the newest first."""
    certificate: dict[str, Any] | None


NOTHING_HELD = Held(None, None)


def read_held(context: WebContext, number: str, party: Principal, *, decided: bool) -> Held:
    """Notices with their text, and the certificate if the case may have one."""
    asked = {"case": number, "person": str(party.party)}
    try:
        messages = context.service.asker.ask("notify", "messages", asked)["messages"]
    except Unavailable:
        messages = None
    try:
        found = context.service.asker.ask("materials", "certificate", asked) if decided else {}
    except Unavailable:
        found = {}
    return Held(messages, found.get("certificate"))


def read_timeline(
    context: WebContext, number: str, party: Principal, *, cursor: str | None, limit: int
) -> dict[str, Any]:
    """A page of what happened in one's own case, the newest first. Raises CaseNotFound, CursorInvalid."""
    with unit_of(context.service, "case.timeline") as unit:
        case = access.own_case(unit, number, party)
        page = view.timeline_page(unit, case, access.role_of(unit, case, party), cursor, limit)
        matter = context.service.matters.get(case.matter, case.matter_version)
    return {"timeline": [view.timeline_line(entry, matter) for entry in page.lines], "next": page.next}


def look_up(context: WebContext, request: Request, number: str, query_code: str) -> Shown:
    """A case by number and query code, without a log-in.

    Raises CaseNotFound, the same for a wrong number and a wrong code, and TooManyLookups.
    """
    with unit_of(context.service, "case.lookup") as unit:
        found = access.look_up(unit, number, query_code, _asker_of(request))
        shown = Shown(view.case_view(unit, found, None), legal_day(unit.legal)) if found else None
    if shown is None:
        # After the miss was committed, not inside its transaction.
        raise CaseNotFound(
            "请核对办件编号和查询码，两者都印在收件凭证上。",
            "Check the number and the query code; both are printed on your receipt.",
        )
    return _with_reasons(context, shown)


def stop_notices(context: WebContext, request: Request, code: str, *, everything: bool) -> None:
    """Stop messages to the number that got this code. Raises StopCodeUnknown and TooManyLookups."""
    with unit_of(context.service, "notices.stop") as unit:
        stopped = access.stop_notices(unit, code, _asker_of(request), everything=everything)
    if not stopped:
        # After the miss was committed, not inside its transaction.
        raise StopCodeUnknown(
            "请核对短信或邮件中的停发码。", "Check the code; it is in the message that you got."
        )


def _with_reasons(context: WebContext, shown: Shown) -> Shown:
    """With the reasons that approval keeps, when the case was refused."""
    asked: dict[str, Any] = {"reasons": []}
    if shown.case["outcome"] == "denied":
        asked = context.service.asker.ask("approval", "reasons", {"case": shown.case["number"]})
    return Shown({**shown.case, "reasons": asked["reasons"]}, shown.today)


def _asker_of(request: Request) -> str:
    """Who looks up without a log-in, as far as we can tell them apart: the network they come from."""
    return network_of(request.client.host if request.client else "")


def _check_uploads(
    context: WebContext, matter: Matter, owner: UUID | None, uploads: Mapping[str, UUID]
) -> None:
    """Raises UploadNotYours unless this person gave every upload, UploadTypeWrong for one that the material
    does not take."""
    if not uploads:
        return
    if owner is None:
        raise UploadNotYours
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
