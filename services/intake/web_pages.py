"""The pages of intake, rendered on the server; every one works without JavaScript."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import RedirectResponse, Response

from services.intake import access, view
from services.intake.errors import CaseNotFound, NotAskedFor, NothingAsked, UploadTypeWrong
from shared.auth.csrf import check_same_origin
from shared.auth.deps import Citizen, authenticator, visitor_of
from shared.auth.principal import Principal
from shared.bus.unit import unit_of
from shared.errors import AppError, FieldError, Invalid
from shared.http.context import WebContext
from shared.http.idempotency import FIELD, KeyReused, StillRunning, require_key
from shared.http.preferences import preferences_router
from shared.http.problems import Problem, problem_of
from shared.http.rendering import page
from shared.http.validation import field_errors
from shared.legal_time import legal_day

_MISSING = ("field.missing", "请选择文件。", "Choose a file.")
# What is wrong with a file, not with us; anything else is no fault of the form.
_FAULTS_OF_FILES = frozenset((413, 415, 422))


class FilesWrong(Invalid):
    """A browser forgets the chosen files when a form comes back, so all must be chosen again."""

    code = "case.files-wrong"
    title_zh = "请改正后重新选择全部文件"
    title_en = "Please correct this and choose all files again"


def render(
    context: WebContext,
    request: Request,
    template: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    back: str | None = None,
) -> Response:
    """One page in the visitor's language and mode; see `shared.http.rendering.page`."""
    given = {**values, "development": context.service.settings.dev_identity}
    return page(
        context.pages, request, template, given, visitor=visitor_of(request), status=status, back=back
    )


def page_router(context: WebContext) -> APIRouter:
    """The pages."""
    router = APIRouter(include_in_schema=False)
    router.include_router(preferences_router(cookie_secure=context.service.settings.web.cookie_secure))
    router.include_router(_open_pages(context))
    router.include_router(_case_pages(context))
    if context.service.settings.dev_identity:
        router.include_router(_development_pages(context))
    return router


def _development_pages(context: WebContext) -> APIRouter:
    """The part of the development log-in where an applicant says who they are."""
    from services.intake.identity_web import TTL_S, DevCitizen, known_citizen

    def _dev_citizen(name: str, id_number: str) -> DevCitizen:
        try:
            return DevCitizen(name=name, id_number=id_number)
        except ValidationError as error:
            raise Invalid(fields=field_errors([dict(found) for found in error.errors()])) from None

    router = APIRouter(prefix="/dev")

    @router.post("/login/citizen")
    def log_in_citizen(
        request: Request, name: Annotated[str, Form()], id_number: Annotated[str, Form()]
    ) -> Response:
        """Be this person in this browser, and become known to intake; or the form again."""
        check_same_origin(request)
        try:
            citizen = known_citizen(context, _dev_citizen(name, id_number))
        except Invalid as error:
            values = {
                "people": context.identity.people(),
                "problem": problem_of(request, error),
                "name": name,
            }
            return render(context, request, "login.html", values, status=error.status, back="/dev/login")
        response = RedirectResponse("/cases", 303)
        authenticator(request).log_in(response, citizen, TTL_S)
        return response

    return router


def _open_pages(context: WebContext) -> APIRouter:
    """What needs no log-in."""
    from services.intake.web import asker_of

    router = APIRouter()

    @router.get("/")
    def home(request: Request) -> Response:
        """What can be done here."""
        return render(
            context, request, "home.html", {"matters": context.service.matters.all_latest(), "problem": None}
        )

    @router.get("/lookup")
    def ask_for_a_case(request: Request) -> Response:
        """The form for number and query code."""
        return render(context, request, "lookup.html", {"problem": None, "number": ""})

    @router.post("/lookup")
    def look_up(
        request: Request,
        number: Annotated[str, Form(max_length=50)] = "",
        query_code: Annotated[str, Form(max_length=64)] = "",
    ) -> Response:
        """The case, or the form again: a wrong number and a wrong code answer alike."""
        check_same_origin(request)
        with unit_of(context.service, "case.lookup") as unit:
            found = access.look_up(unit, number.strip(), query_code, asker_of(request))
            shown = view.case_view(unit, found) if found is not None else None
            today = legal_day(unit.legal)
        if shown is None:
            missed = CaseNotFound(
                "请核对办件编号和查询码，两者都印在收件凭证上。",
                "Check the number and the query code; both are printed on your receipt.",
            )
            values = {"problem": problem_of(request, missed), "number": number}
            return render(context, request, "lookup.html", values, status=missed.status, back="/lookup")
        return _case_page(context, request, Shown(shown, today, can_supply=False), back="/lookup")

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        """Forget who sits here. Whoever has an old session may leave too, so no session is asked for."""
        check_same_origin(request)
        response = RedirectResponse("/", 303)
        authenticator(request).log_out(response)
        return response

    return router


@dataclass(frozen=True, slots=True)
class Shown:
    """A case as the page has it. `today` is the legal day."""

    case: dict[str, Any]
    today: date
    can_supply: bool
    problem: Problem | None = None


def _case_pages(context: WebContext) -> APIRouter:
    """What a citizen sees and sends."""
    router = APIRouter()

    @router.get("/cases")
    def my_cases(request: Request, citizen: Citizen) -> Response:
        """One's own cases."""
        with unit_of(context.service, "cases.mine") as unit:
            cases = access.own_cases(unit, citizen)
        return render(context, request, "my_cases.html", {"cases": cases})

    @router.get("/cases/{number}")
    def read_case(request: Request, number: str, citizen: Citizen) -> Response:
        """One's own case."""
        return _case_page(context, request, _own(context, number, citizen))

    @router.post("/cases/{number}/supply")
    async def supply(request: Request, number: str, citizen: Citizen) -> Response:
        """Everything that was asked for, in one go."""
        form = await request.form()
        sent = await _files_of(form)
        key = require_key(_text(form, FIELD))
        return await run_in_threadpool(_supply, context, request, citizen, number, (key, sent))

    return router


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of the form: for which asked material, and as which of the materials that meet it."""

    material: str
    name: str
    content: bytes


async def _files_of(form: FormData) -> dict[str, SentFile]:
    """By what was asked for. A field without a file is as good as no field."""
    found = {}
    for field, value in form.items():
        if isinstance(value, UploadFile) and field.startswith("file.") and value.filename:
            asked = field.removeprefix("file.")
            material = _text(form, f"as.{asked}") or asked
            found[asked] = SentFile(material, value.filename, await value.read())
    return found


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


def _supply(
    context: WebContext,
    request: Request,
    citizen: Principal,
    number: str,
    posted: tuple[str, dict[str, SentFile]],
) -> Response:
    from services.intake import web

    key, sent = posted
    shown = _own(context, number, citizen)
    if not shown.case["asked"]:
        raise NothingAsked
    uploads, wrong = _keep(context, citizen, [item["material"] for item in shown.case["asked"]], sent)
    if not wrong:
        try:
            web.supply(context, citizen, key, number, uploads)
        except (KeyReused, StillRunning):
            # The button was pressed twice: the page's key is one, the files were kept anew under other ids.
            return RedirectResponse(f"/cases/{number}", 303)
        except (UploadTypeWrong, NotAskedFor) as error:
            wrong = _by_asked(error.fields, sent)
    if wrong:
        problem = problem_of(request, FilesWrong(fields=_named(wrong, shown.case)))
        again = replace(shown, problem=problem)
        return _case_page(context, request, again, status=problem.status, back=f"/cases/{number}")
    return RedirectResponse(f"/cases/{number}", 303)


def _keep(
    context: WebContext, citizen: Principal, asked: list[str], sent: Mapping[str, SentFile]
) -> tuple[dict[str, UUID], list[FieldError]]:
    """Material code -> upload id, and what is wrong. Nothing is kept while a file is missing."""
    wrong = [FieldError(f"/uploads/{code}", *_MISSING) for code in asked if code not in sent]
    uploads: dict[str, UUID] = {}
    for code in asked if not wrong else ():
        file = sent[code]
        content = {"content": b64encode(file.content).decode(), "name": file.name}
        try:
            kept = context.service.asker.ask(
                "materials", "keep_upload", {"owner": str(citizen.person_ref), **content}
            )
        except AppError as error:
            if error.status not in _FAULTS_OF_FILES:
                raise
            # Not the details: they name all types that there are, the page those that this material takes.
            wrong.append(
                FieldError(f"/uploads/{code}", error.code, f"{error.title_zh}。", f"{error.title_en}.")
            )
        else:
            uploads[file.material] = UUID(kept["id"])
    return uploads, wrong


def _by_asked(fields: Iterable[FieldError], sent: Mapping[str, SentFile]) -> list[FieldError]:
    """The page's fields are named by what was asked for, the command's by what was brought for it."""
    asked = {f"/uploads/{file.material}": f"/uploads/{code}" for code, file in sent.items()}
    return [replace(field, pointer=asked.get(field.pointer, field.pointer)) for field in fields]


def _named(fields: Iterable[FieldError], case: Mapping[str, Any]) -> list[FieldError]:
    """With the name of the material in front: the summary stands far from the fields."""
    names = {f"/uploads/{item['material']}": (item["name_zh"], item["name_en"]) for item in case["asked"]}
    named = []
    for field in fields:
        zh, en = names.get(field.pointer, ("", ""))
        named.append(
            replace(
                field,
                message_zh=f"{zh}：{field.message_zh}" if zh else field.message_zh,
                message_en=f"{en}: {field.message_en}" if en else field.message_en,
            )
        )
    return named


def _own(context: WebContext, number: str, citizen: Principal) -> Shown:
    with unit_of(context.service, "case.read") as unit:
        shown = view.case_view(unit, access.own_case(unit, number, citizen))
        return Shown(shown, legal_day(unit.legal), can_supply=True)


def _case_page(
    context: WebContext, request: Request, shown: Shown, *, status: int = 200, back: str | None = None
) -> Response:
    from services.intake.web import with_reasons

    case = with_reasons(context, shown.case)
    values = {
        "case": case,
        "matter": context.service.matters.get(case["matter"], case["matter_version"]),
        "today": shown.today,
        "can_supply": shown.can_supply,
        "supplied": awaiting_check(case),
        "most_mb": context.service.settings.web.max_upload_bytes // 2**20,
        "problem": shown.problem,
    }
    return render(context, request, "case.html", values, status=status, back=back)


def awaiting_check(case: Mapping[str, Any]) -> bool:
    """Whether everything that was asked for has come and only has not been looked at yet."""
    got: set[str] = set()
    for entry in case["timeline"]:
        if entry["fact"] == "correction-required":
            got = set()
        elif entry["fact"] == "materials-supplied":
            got |= set(entry["details"]["materials"])
    return bool(case["asked"]) and all(got & {*item["uploads"], item["material"]} for item in case["asked"])
