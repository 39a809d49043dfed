"""The pages of intake, rendered on the server; every one works without JavaScript."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request
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
from shared.bus.held_forms import HeldForm, KeptFile
from shared.bus.idempotency import KeyReused, StillRunning
from shared.errors import AppError, Conflict, FieldError, Invalid
from shared.http.capacity import in_thread
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
_FAULTS_OF_FILES = frozenset((413, 415, 422, 429))


class FilesWrong(Invalid):
    """What is marked is chosen again. A browser forgets its files, so we keep the others."""

    code = "case.files-wrong"
    title_zh = "请改正标出的材料后重新提交，其余已保留"
    title_en = "Please correct what is marked and send it again; everything else is kept"


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
        return page(context.pages, request, "lookup.html", {"problem": None, "number": "", "query_code": ""})

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
            values = {"problem": problem_of(request, missed), "number": number, "query_code": query_code}
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

    async def still_asked(request: Request, who: Principal) -> None:
        check = partial(handling.check_asked, context, request.path_params["number"], who)
        await in_thread(check)

    async def may_supply(request: Request) -> None:
        await still_asked(request, authenticator(request).sender_of(request))

    @router.post("/cases/{number}/supply")
    @comes_back(
        context.service,
        "/cases/{number}",
        secure=secure,
        keep_file=partial(_keep_file, context, held=True),
        still_asked=still_asked,
    )
    @takes(context.service.settings.web.max_upload_bytes, files=_MOST_FILES, admission=may_supply)
    async def supply(request: Request, number: str, party: Party) -> Response:
        """Everything that was asked for, in one go."""
        form = await request.form()
        posted = _posted(require_key(_text(form, FIELD)), form)
        return await in_turn(partial(_supply, context, request, party, number, posted))

    return router


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of the form."""

    name: str
    content: SealedFile


@dataclass(frozen=True, slots=True)
class Posted:
    """What the page brought: its key, and by what was asked for the files, the uploads that were kept before,
    and as which of the materials that meet it each is brought."""

    key: str
    sent: dict[str, SentFile]
    kept: dict[str, UUID]
    kinds: dict[str, str]

    def material(self, asked: str) -> str:
        """As what it is brought; what was asked for, by itself."""
        return self.kinds.get(asked) or asked


@dataclass(slots=True)
class Brought:
    """By what was asked for: the files that lie with materials, and what is wrong."""

    files: dict[str, KeptFile]
    wrong: list[FieldError]

    def held(self, path: str, kinds: Mapping[str, str]) -> HeldForm:
        """The form as it stands on the page again."""
        fields = {f"as.{asked}": kind for asked, kind in kinds.items()}
        return HeldForm(path, fields, {f"file.{asked}": file for asked, file in self.files.items()})


def _posted(key: str, form: FormData) -> Posted:
    """A field without a file is as good as no field."""
    posted = Posted(key, {}, {}, {})
    for field, value in form.items():
        part, _, asked = field.partition(".")
        if isinstance(value, SealedUpload):
            if part == "file" and value.filename:
                posted.sent[asked] = SentFile(value.filename, value.sealed)
        elif not isinstance(value, str):
            continue
        elif part == "kept":
            with suppress(ValueError):
                posted.kept[asked] = UUID(value)
        elif part == "as":
            posted.kinds[asked] = value
    return posted


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
    shown = handling.read_case(context, number, party)
    if not shown.case["asked"]:
        raise NothingAsked
    brought = _bring(context, party, [item["material"] for item in shown.case["asked"]], posted)
    problem = None
    if not brought.wrong:
        uploads = {posted.material(asked): UUID(file.upload) for asked, file in brought.files.items()}
        try:
            handling.supply(context, party, posted.key, number, uploads, said=_said(posted, brought))
        except StillRunning:
            pass
        except KeyReused:
            problem = problem_of(request, OtherFilesTaken())
        except (UploadTypeWrong, NotAskedFor) as error:
            # The file may be right, and the kind that was chosen for it wrong: both stand there again.
            brought.wrong += _by_asked(error.fields, posted, brought.files)
    if brought.wrong:
        problem = problem_of(request, FilesWrong(fields=_named(brought.wrong, shown.case)))
    if problem is None:
        return RedirectResponse(f"/cases/{number}", 303)
    kept = brought.held(request.url.path, posted.kinds)
    return _case_page(
        context,
        request,
        shown,
        can_supply=True,
        kept=kept,
        consent=consents.consent_of(context, party, number),
        problem=problem,
        back=f"/cases/{number}",
    )


def _said(posted: Posted, brought: Brought) -> str:
    """What tells one sending of a page from another: its files are kept anew, under other ids, each time."""
    return "&".join(
        f"{posted.material(asked)}={sent.content.sha256 if (sent := posted.sent.get(asked)) else file.upload}"
        for asked, file in sorted(brought.files.items())
    )


def _bring(context: WebContext, party: Principal, asked: Iterable[str], posted: Posted) -> Brought:
    """Keep each file that is taken, whatever is wrong with others. One that is chosen now takes the place of
    one that was kept before; an upload that is not there, or not this person's, is as good as none."""
    own = handling.kept_files(context, party, posted.kept.values())
    brought = Brought({}, [])
    for code in asked:
        kept = posted.kept.get(code)
        if kept in own:
            brought.files[code] = KeptFile(str(kept), own[kept])
        file = posted.sent.get(code)
        if file is not None:
            try:
                brought.files[code] = KeptFile(_keep_file(context, party, file.name, file.content), file.name)
            except AppError as error:
                brought.wrong.append(_fault_of_file(code, error))
        elif code not in brought.files:
            brought.wrong.append(FieldError(f"/uploads/{code}", *_MISSING))
    return brought


def _fault_of_file(asked: str, error: AppError) -> FieldError:
    """What is wrong with a file. Not the details: they name all types that there are, the page those that
    this material takes. Raises what is no fault of a file."""
    if error.status not in _FAULTS_OF_FILES:
        raise error
    return FieldError(f"/uploads/{asked}", error.code, f"{error.title_zh}。", f"{error.title_en}.")


def _keep_file(
    context: WebContext, who: Principal, name: str, content: SealedFile, *, held: bool = False
) -> str:
    brought = {"owner": str(who.party), "name": name, "held": held}
    return str(context.service.asker.hand_over("materials", "keep_upload", brought, content)["id"])


def _by_asked(fields: Iterable[FieldError], posted: Posted, asked: Iterable[str]) -> list[FieldError]:
    """The page's fields are named by what was asked for, the command's by what was brought for it."""
    codes = {f"/uploads/{posted.material(code)}": f"/uploads/{code}" for code in asked}
    return [replace(field, pointer=codes.get(field.pointer, field.pointer)) for field in fields]


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
