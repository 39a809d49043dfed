"""The pages of consents: what holders agreed to and take back, and what a counter notes for people."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Form, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from services.intake import consents
from services.intake.consents import CounterWithdrawal, ProxyConsent
from services.intake.errors import CaseNotFound, ConsentNotNeeded, ConsentOver, ConsentWithdrawnBefore
from services.intake.rules.consent import ProxyDocument
from shared.auth.deps import Citizen, Operator
from shared.auth.principal import Principal
from shared.bus.held_forms import HeldForm
from shared.errors import AppError, FieldError, Invalid
from shared.http.body import Body
from shared.http.context import WebContext
from shared.http.doors import doors
from shared.http.held import comes_back, filled_in
from shared.http.idempotency import require_key
from shared.http.paging import Cursor
from shared.http.problems import problem_of
from shared.http.rendering import page
from shared.http.validation import field_errors
from shared.typed import clean_code

_A_PAGE = 20
_NOTED = ("consent", "withdrawal")
_SHOWN_ON_THE_PAGE = (Invalid, ConsentNotNeeded, ConsentOver, ConsentWithdrawnBefore)
# What the browser says of a field nobody filled in is of no help far from it.
_WHAT_TO_DO = {
    "/holder_role": ("请选择持证人。", "Choose whose consent it is."),
    "/document": ("请选择核验的文件。", "Choose which paper you have seen."),
    "/reference": (
        "请填写文件编号或复印件存放处，最多 100 个字。",
        "Write the number of the paper or where its copy is filed, in at most 100 characters.",
    ),
    "/number": ("请填写办件编号。", "Write the case number."),
}

_NOT_FOUND = FieldError(
    "/number",
    "case.not-found",
    "没有找到与当前服务的办事人有关的这个办件，请核对编号。",
    "No such case concerns whom you serve now; please check the number.",
)

Sent = TypeVar("Sent", bound=Body)
Typed = Annotated[str, Form(max_length=400)]
Key = Annotated[str | None, Form()]


def consent_pages(context: WebContext) -> APIRouter:
    """The pages."""
    router = doors(include_in_schema=False)
    router.include_router(_holder_pages(context))
    router.include_router(_counter_pages(context))
    return router


def _holder_pages(context: WebContext) -> APIRouter:
    """A holder's own."""
    router = doors()
    back = comes_back(
        context.service, "/cases/{number}/consent", secure=context.service.settings.web.cookie_secure
    )

    @router.get("/consents")
    def list_consents(request: Request, citizen: Citizen, cursor: Cursor = None) -> Response:
        """What waits for one's consent, and what one has agreed to."""
        given = consents.given_consents(context, citizen, cursor=cursor, limit=_A_PAGE)
        waiting = (
            [] if cursor else consents.open_consents(context, citizen, cursor=None, limit=_A_PAGE)["consents"]
        )
        values = {
            "waiting": waiting,
            "given": given["consents"],
            "next": given["next"],
            "cursor": cursor,
        }
        return page(context.pages, request, "consents.html", values)

    @router.get("/cases/{number}/consent")
    def read_consent(request: Request, number: str, citizen: Citizen, held: UUID | None = None) -> Response:
        """What a case asks of one, how that stands, and what can be done about it."""
        values = {
            "consent": consents.own_consent(context, citizen, number),
            "held": filled_in(context.service, citizen, held) is not None,
        }
        return page(context.pages, request, "consent.html", values)

    @router.post("/cases/{number}/consent")
    @back
    def give(number: str, citizen: Citizen) -> Response:
        """Agree that one's own certificates are read for a case."""
        consents.give_consent(context, citizen, number)
        return _to(number, "consent")

    @router.post("/cases/{number}/consent/withdrawal")
    @back
    def withdraw(number: str, citizen: Citizen, idempotency_key: Key = None) -> Response:
        """Take it back."""
        consents.withdraw_consent(context, citizen, require_key(idempotency_key), number)
        return _to(number, "consent")

    @router.post("/cases/{number}/consent/renewal")
    @back
    def renew(number: str, citizen: Citizen, idempotency_key: Key = None) -> Response:
        """Agree again."""
        consents.renew_consent(context, citizen, require_key(idempotency_key), number)
        return _to(number, "consent")

    return router


@dataclass(frozen=True, slots=True)
class Noting:
    """What an operator sent and was not taken, as it was typed; no error: their session was over."""

    error: AppError | None = None
    holder_role: str = ""
    document: str = ""
    reference: str = ""
    withdrawing: bool = False


def _counter_pages(context: WebContext) -> APIRouter:
    """What a counter notes for whom it serves."""
    router = doors()
    secure = context.service.settings.web.cookie_secure

    @router.get("/counter")
    def ask_for_a_case(request: Request, operator: Operator, held: UUID | None = None) -> Response:
        """The form for the number of the case."""
        consents.check_counter(operator)
        kept = filled_in(context.service, operator, held)
        number = kept.fields.get("number", "") if kept is not None else ""
        return page(context.pages, request, "counter.html", {"problem": None, "number": number})

    @router.post("/counter")
    @comes_back(context.service, "/counter", secure=secure)
    def find_a_case(request: Request, operator: Operator, number: Typed = "") -> Response:
        """On to the case, or the form again: a case of others is as one that is not there."""
        consents.check_counter(operator)
        try:
            typed = clean_code(number).upper()
            if not typed:
                raise Invalid(fields=[FieldError("/number", "field.missing", *_WHAT_TO_DO["/number"])])
            found = consents.at_the_counter(context, operator, typed)
        except (CaseNotFound, Invalid) as error:
            refused = error if error.fields else CaseNotFound(fields=[_NOT_FOUND])
            values = {"problem": problem_of(request, refused), "number": number}
            return page(context.pages, request, "counter.html", values, refused=refused, back="/counter")
        return _to(found["number"], "counter")

    @router.get("/cases/{number}/counter")
    def at_a_case(
        request: Request, number: str, operator: Operator, held: UUID | None = None, noted: str | None = None
    ) -> Response:
        """For whom something can be noted in a case, and what was filled in before the session ended."""
        kept = _kept(filled_in(context.service, operator, held))
        return _counter_page(context, request, number, operator, kept, noted if noted in _NOTED else None)

    router.include_router(_noting(context))
    return router


def _kept(form: HeldForm | None) -> Noting | None:
    if form is None:
        return None
    role, document, reference = (
        form.fields.get(name, "") for name in ("holder_role", "document", "reference")
    )
    return Noting(None, role, document, reference, withdrawing=form.path.endswith("/withdrawal"))


def _noting(context: WebContext) -> APIRouter:
    """What an operator sends in."""
    router = doors()
    secure = context.service.settings.web.cookie_secure
    back = comes_back(context.service, "/cases/{number}/counter", secure=secure)

    @router.post("/cases/{number}/counter/consent")
    @back
    def note_consent(
        request: Request,
        number: str,
        operator: Operator,
        holder_role: Typed = "",
        document: Typed = "",
        reference: Typed = "",
        idempotency_key: Key = None,
    ) -> Response:
        """Somebody agrees for a holder; or the page again with what was typed, and all that is wrong."""
        typed = Noting(None, holder_role, document, reference)
        try:
            body = _checked(ProxyConsent, holder_role=holder_role, document=document, reference=reference)
            consents.record_proxy_consent(context, operator, require_key(idempotency_key), number, body)
        except _SHOWN_ON_THE_PAGE as error:
            return _counter_page(context, request, number, operator, replace(typed, error=error))
        return _to(number, "counter?noted=consent")

    @router.post("/cases/{number}/counter/withdrawal")
    @back
    def note_withdrawal(
        request: Request,
        number: str,
        operator: Operator,
        holder_role: Typed = "",
        idempotency_key: Key = None,
    ) -> Response:
        """A consent is taken back; or the page again with what is wrong."""
        typed = Noting(None, holder_role, withdrawing=True)
        try:
            body = _checked(CounterWithdrawal, holder_role=holder_role)
            consents.record_withdrawal(context, operator, require_key(idempotency_key), number, body)
        except _SHOWN_ON_THE_PAGE as error:
            return _counter_page(context, request, number, operator, replace(typed, error=error))
        return _to(number, "counter?noted=withdrawal")

    return router


def _counter_page(
    context: WebContext,
    request: Request,
    number: str,
    operator: Principal,
    sent: Noting | None = None,
    noted: str | None = None,
) -> Response:
    found = consents.at_the_counter(context, operator, number)
    values: dict[str, Any] = {
        "case": found,
        "operator": operator.subject,
        "documents": list(ProxyDocument),
        "typed": sent or Noting(),
        "held": sent is not None and sent.error is None,
        "problem": problem_of(request, sent.error) if sent and sent.error else None,
        "noted": noted,
    }
    refused = sent.error if sent else None
    back = f"/cases/{quote(number, safe='')}/counter"
    return page(context.pages, request, "counter_case.html", values, refused=refused, back=back)


def _checked(model: type[Sent], **typed: str) -> Sent:
    """What was typed, as the API takes it. Raises Invalid with all that is wrong."""
    try:
        return model.model_validate({name: value for name, value in typed.items() if value.strip()})
    except ValidationError as error:
        wrong = field_errors([dict(found) for found in error.errors()])
        raise Invalid(fields=[_told(field) for field in wrong]) from None


def _told(field: FieldError) -> FieldError:
    zh, en = _WHAT_TO_DO.get(field.pointer, (field.message_zh, field.message_en))
    return replace(field, message_zh=zh, message_en=en)


def _to(number: str, where: str) -> Response:
    return RedirectResponse(f"/cases/{quote(number, safe='')}/{where}", 303)
