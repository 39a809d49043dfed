"""The pages of intake, rendered on the server; every one works without JavaScript."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from services.intake import consents, handling
from services.intake.errors import (
    CaseNotFound,
    NotAskedFor,
    NothingAsked,
    StopCodeUnknown,
    TooManyLookups,
    UploadTypeWrong,
)
from services.intake.handling import NOTHING_HELD, Held, Shown
from shared.auth.csrf import check_same_origin
from shared.auth.deps import Party, authenticator
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.held_forms import HeldForm
from shared.bus.idempotency import KeyReused, StillRunning
from shared.errors import AppError, Conflict, FieldError, Invalid
from shared.http.context import WebContext
from shared.http.doors import doors, in_turn, takes
from shared.http.held import comes_back, filled_in
from shared.http.idempotency import FIELD, require_key
from shared.http.paging import Cursor
from shared.http.preferences import preferences_router
from shared.http.problems import Problem, problem_of
from shared.http.rendering import page
from shared.http.request_body import SealedUpload
from shared.paging import page_of, plain, read_cursor
from shared.privacy.sealed_file import SealedFile

_MISSING = ("field.missing", "请选择文件。", "Choose a file.")
_MATTERS, _CASES = 20, 20
_MOST_FILES = 50
_STOPS = ("case", "everything")
# What is wrong with a file, not with us; anything else is no fault of the form.
_FAULTS_OF_FILES = frozenset((413, 415, 422))


class FilesWrong(Invalid):
    """A browser forgets the chosen files when a form comes back, so all must be chosen again."""

    code = "case.files-wrong"
    title_zh = "请改正后重新选择全部文件"
    title_en = "Please correct this and choose all files again"


class OtherFilesTaken(Conflict):
    """The page was sent twice, with different files: the first ones count, and whoever sent them is told."""

    code = "case.other-files-taken"
    title_zh = "本页已用另外的文件提交过，以先提交的为准；这次的文件没有采用"
    title_en = "This page was sent before with other files. Those count; the ones of this time were not taken"


def page_router(context: WebContext) -> APIRouter:
    """The pages."""
    router = doors(include_in_schema=False)
    router.include_router(preferences_router(cookie_secure=context.service.settings.web.cookie_secure))
    router.include_router(_open_pages(context))
    router.include_router(_case_pages(context))
    return router


def _open_pages(context: WebContext) -> APIRouter:
    """What needs no log-in."""
    router = doors()

    @router.get("/")
    def home(request: Request, cursor: Cursor = None) -> Response:
        """What can be done here."""
        after = read_cursor(cursor, plain)[0] if cursor else None
        found = page_of(
            context.service.matters.page(after, _MATTERS), _MATTERS, lambda matter: (matter.code,)
        )
        values = {"matters": found.lines, "next": found.next, "problem": None}
        return page(context.pages, request, "home.html", values)

    @router.get("/lookup")
    def ask_for_a_case(request: Request) -> Response:
        """The form for number and query code."""
        return page(context.pages, request, "lookup.html", {"problem": None, "number": ""})

    @router.post("/lookup")
    def look_up(
        request: Request,
        number: Annotated[str, Form(max_length=100)] = "",
        query_code: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        """The case, or the form again: a wrong number and a wrong code answer alike."""
        check_same_origin(request)
        try:
            shown = handling.look_up(context, request, number, query_code)
        except (CaseNotFound, TooManyLookups) as missed:
            values = {"problem": problem_of(request, missed), "number": number}
            return page(context.pages, request, "lookup.html", values, refused=missed, back="/lookup")
        return _case_page(context, request, shown, can_supply=False, back="/lookup")

    _stop_pages(context, router)
    return router


def _stop_pages(context: WebContext, router: APIRouter) -> None:
    """For whoever is told of what is not theirs."""

    @router.get("/stop")
    def ask_for_a_stop_code(request: Request) -> Response:
        """The form for the code of a message."""
        return page(context.pages, request, "stop.html", _stopping("", "", None))

    @router.post("/stop")
    def stop_notices(
        request: Request,
        code: Annotated[str, Form(max_length=200)] = "",
        what: Annotated[str, Form(max_length=20)] = "",
    ) -> Response:
        """What is stopped now, or the form again with what was typed."""
        check_same_origin(request)
        try:
            if what not in _STOPS:
                raise Invalid(
                    fields=[FieldError("/what", "required", "请选择停发范围。", "Choose what to stop.")]
                )
            handling.stop_notices(context, request, code, everything=what == "everything")
        except (Invalid, StopCodeUnknown, TooManyLookups) as error:
            values = _stopping(code, what, problem_of(request, error))
            return page(context.pages, request, "stop.html", values, refused=error, back="/stop")
        return page(context.pages, request, "stopped.html", {"what": what}, back="/stop")


def _stopping(code: str, what: str, problem: Problem | None) -> dict[str, Any]:
    return {"problem": problem, "code": code, "what": what}


def _case_pages(context: WebContext) -> APIRouter:
    """What a citizen sees and sends."""
    router = doors()

    @router.get("/cases")
    def my_cases(request: Request, party: Party, cursor: Cursor = None, held: UUID | None = None) -> Response:
        """One's own cases."""
        found = handling.my_cases(context, party, cursor=cursor, limit=_CASES)
        own = party.kind is PrincipalKind.CITIZEN
        waiting = (
            consents.open_consents(context, party, cursor=None, limit=_CASES) if own and not cursor else {}
        )
        values = {
            **found,
            "cursor": cursor,
            "own": own,
            "consents": waiting.get("consents", []),
            "held": filled_in(context.service, party, held) is not None,
        }
        return page(context.pages, request, "my_cases.html", values)

    secure = context.service.settings.web.cookie_secure

    def keep_file(who: Principal, name: str, content: SealedFile) -> str:
        brought = {"owner": str(who.party), "name": name}
        return str(context.service.asker.hand_over("materials", "keep_upload", brought, content)["id"])

    @router.get("/cases/{number}")
    def read_case(
        request: Request, number: str, party: Party, cursor: Cursor = None, held: UUID | None = None
    ) -> Response:
        """One's own case, with the newest part of its timeline or an earlier one; and the files that were
        chosen before the session ended."""
        shown = handling.read_case(context, number, party, cursor=cursor)
        kept = filled_in(context.service, party, held)
        elsewhere = handling.read_held(context, number, party, decided=shown.case["decided_at"] is not None)
        consent = consents.consent_of(context, party, number)
        return _case_page(
            context, request, shown, can_supply=True, held=elsewhere, kept=kept, consent=consent
        )

    async def may_supply(request: Request) -> None:
        citizen = authenticator(request).sender_of(request)
        check = partial(handling.check_asked, context, request.path_params["number"], citizen)
        await run_in_threadpool(check)

    @router.post("/cases/{number}/supply")
    @comes_back(context.service, "/cases/{number}", secure=secure, keep_file=keep_file)
    @takes(context.service.settings.web.max_upload_bytes, files=_MOST_FILES, admission=may_supply)
    async def supply(request: Request, number: str, party: Party) -> Response:
        """Everything that was asked for, in one go."""
        form = await request.form()
        sent, kept = _files_of(form), _kept_of(form)
        key = require_key(_text(form, FIELD))
        return await in_turn(partial(_supply, context, request, party, number, Posted(key, sent, kept)))

    return router


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of the form: for which asked material, and as which of the materials that meet it."""

    material: str
    name: str
    content: SealedFile


@dataclass(frozen=True, slots=True)
class Posted:
    """What the page brought: its key, files by what was asked for, and those kept from before log-in as
    (material, upload)."""

    key: str
    sent: dict[str, SentFile]
    kept: dict[str, tuple[str, UUID]]


def _kept_of(form: FormData) -> dict[str, tuple[str, UUID]]:
    """A file that is chosen now takes the place of one that was kept."""
    found = {}
    for field, value in form.items():
        asked = field.removeprefix("kept.")
        if asked != field and isinstance(value, str) and asked not in _files_of(form):
            with suppress(ValueError):
                found[asked] = (_text(form, f"as.{asked}") or asked, UUID(value))
    return found


def _files_of(form: FormData) -> dict[str, SentFile]:
    """By what was asked for. A field without a file is as good as no field."""
    found = {}
    for field, value in form.items():
        if isinstance(value, SealedUpload) and field.startswith("file.") and value.filename:
            asked = field.removeprefix("file.")
            material = _text(form, f"as.{asked}") or asked
            found[asked] = SentFile(material, value.filename, value.sealed)
    return found


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


def _supply(
    context: WebContext,
    request: Request,
    party: Principal,
    number: str,
    posted: Posted,
) -> Response:
    sent = posted.sent
    shown = handling.read_case(context, number, party)
    if not shown.case["asked"]:
        raise NothingAsked
    asked = [item["material"] for item in shown.case["asked"] if item["material"] not in posted.kept]
    uploads, wrong = _keep(context, party, asked, sent)
    if not wrong:
        # A page has one key; its files are kept anew, under other ids, each time that it is sent.
        uploads |= dict(posted.kept.values())
        said = "&".join(
            sorted(
                [
                    *(f"{file.material}={file.content.sha256}" for file in sent.values()),
                    *(f"{material}={upload}" for material, upload in posted.kept.values()),
                ]
            )
        )
        try:
            handling.supply(context, party, posted.key, number, uploads, said=said)
        except StillRunning:
            return RedirectResponse(f"/cases/{number}", 303)
        except KeyReused:
            problem = problem_of(request, OtherFilesTaken())
            return _case_page(context, request, shown, can_supply=True, problem=problem)
        except (UploadTypeWrong, NotAskedFor) as error:
            wrong = _by_asked(error.fields, sent)
    if wrong:
        problem = problem_of(request, FilesWrong(fields=_named(wrong, shown.case)))
        return _case_page(context, request, shown, can_supply=True, problem=problem, back=f"/cases/{number}")
    return RedirectResponse(f"/cases/{number}", 303)


def _keep(
    context: WebContext, party: Principal, asked: list[str], sent: Mapping[str, SentFile]
) -> tuple[dict[str, UUID], list[FieldError]]:
    """Material code -> upload id, and what is wrong. Nothing is kept while a file is missing."""
    wrong = [FieldError(f"/uploads/{code}", *_MISSING) for code in asked if code not in sent]
    uploads: dict[str, UUID] = {}
    for code in asked if not wrong else ():
        file = sent[code]
        brought = {"owner": str(party.party), "name": file.name}
        try:
            kept = context.service.asker.hand_over("materials", "keep_upload", brought, file.content)
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


def _case_page(
    context: WebContext,
    request: Request,
    shown: Shown,
    *,
    can_supply: bool,
    held: Held = NOTHING_HELD,
    kept: HeldForm | None = None,
    consent: Mapping[str, Any] | None = None,
    problem: Problem | None = None,
    back: str | None = None,
) -> Response:
    case = shown.case
    values = {
        "case": case,
        "matter": context.service.matters.get(case["matter"], case["matter_version"]),
        "today": shown.today,
        "messages": held.messages,
        "certificate": held.certificate,
        "can_supply": can_supply,
        "kept": kept,
        "consent": consent,
        "supplied": case["awaiting_check"],
        "most_mb": context.service.settings.web.max_upload_bytes // 2**20,
        "problem": problem,
    }
    status = problem.status if problem else 200
    return page(context.pages, request, "case.html", values, status=status, back=back)
