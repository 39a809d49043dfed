"""One-time codes by SMS and e-mail: whoever is logged in shows that a phone or a mailbox is theirs.

A code proves a phone and no more: numbers are given to others after a year, and families share them. So it
lets nobody in, gives no consent and opens no certificate; it says where notices may go.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Header, Request
from pydantic import Field, Strict, field_validator
from starlette.responses import JSONResponse, RedirectResponse, Response

from services.intake.errors import (
    CodeOver,
    CodeWrong,
    ContactNotFound,
    ContactWrong,
    KindNotVerified,
    TooManyCodes,
    TooManyContacts,
)
from services.intake.identity import contacts
from services.intake.identity.codes import Tried, ask_for_code, try_code
from services.intake.identity.contacts import (
    LOOKUP,
    Contact,
    contact_of,
    own_point,
)
from services.intake.identity.my_contacts import Refused, contacts_page, note_operator, sendable
from services.intake.identity.provider import LogInDesk, Way
from services.intake.rules.contacts import ContactKind, clean_contact
from services.intake.rules.one_time_code import DIGITS, LIVES
from shared.ask import PeerUnavailable
from shared.auth.deps import Party
from shared.auth.principal import Principal
from shared.bus.idempotency import StoredResponse, answer_once
from shared.bus.unit import unit_of
from shared.errors import AppError, FieldError
from shared.http.answers import Answer, Id
from shared.http.body import Body
from shared.http.doors import doors, raises
from shared.http.held import Endpoint, comes_back, filled_in
from shared.http.idempotency import FIELD, fingerprint, require_key
from shared.http.locale import locale_of
from shared.http.networks import network_of
from shared.http.problems import problem_of
from shared.http.rendering import page
from shared.sections import Section
from shared.settings import Settings

NAME = "one_time_code"
_ROUTE = "/api/v1/contacts"
_FAULTS = frozenset((409, 422, 429))
"""What the page itself says; anything else is no fault of the form."""


class OneTimeCodeSettings(Section):
    """`ONESTOP_IDENTITY__ONE_TIME_CODE__…`"""

    kinds: tuple[ContactKind, ...] = Field(
        min_length=1,
        description="kinds of contact that codes are sent to, phone and email; notify needs their channels",
        examples=["phone,email"],
    )

    @field_validator("kinds", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        return [kind.strip() for kind in given.split(",")] if isinstance(given, str) else given


SETTINGS = OneTimeCodeSettings


class NewContact(Body):
    """A phone number or an e-mail address of one's own, as typed or pasted."""

    kind: Annotated[ContactKind, Strict(False)]
    value: Annotated[str, Field(min_length=1, max_length=254, examples=["138 0013 8000"])]


class CodeSent(Answer):
    """A code is on its way to this contact."""

    id: Id
    kind: ContactKind


class TypedCode(Body):
    """The code that came."""

    code: Annotated[str, Field(min_length=1, max_length=40, examples=["271828"])]


def is_on(settings: Settings) -> bool:
    """Where it is set up."""
    return NAME in settings.identity


def ways(settings: Section) -> list[Way]:
    """It lets nobody in."""
    return []


def verifies(settings: Section) -> tuple[ContactKind, ...]:
    """The kinds that codes are sent to here."""
    assert isinstance(settings, OneTimeCodeSettings)
    return settings.kinds


def router(desk: LogInDesk) -> APIRouter:
    """Its doors: add a contact, have a code sent, type it in."""
    root = doors()
    root.include_router(_api(desk))
    root.include_router(_page_to_add(desk))
    root.include_router(_pages_of_the_code(desk))
    return root


def _api(desk: LogInDesk) -> APIRouter:
    router = doors(_ROUTE)

    @router.post("", status_code=201, response_model=CodeSent)
    @raises(ContactWrong, KindNotVerified, TooManyContacts, TooManyCodes, PeerUnavailable)
    def add_contact(
        request: Request,
        party: Party,
        body: NewContact,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Add a contact of one's own, to which a code is sent. Nothing else is, before it is verified."""
        answer = _added(desk, request, party, require_key(idempotency_key), body)
        return JSONResponse(answer.body, answer.status)

    @router.post("/{contact}/code", status_code=202, response_model=CodeSent)
    @raises(ContactNotFound, KindNotVerified, TooManyCodes, PeerUnavailable)
    def send_contact_code(
        request: Request, party: Party, contact: UUID, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Response:
        """Send another code, which takes the place of the one before."""
        answer = _sent_again(desk, request, party, require_key(idempotency_key), contact)
        return JSONResponse(answer.body, answer.status)

    @router.post("/{contact}/verification")
    @raises(ContactNotFound, CodeWrong, CodeOver)
    def verify_contact(party: Party, contact: UUID, body: TypedCode) -> Contact:
        """Say which code came. From then on notices go there."""
        return _verified(desk, party, contact, body.code)

    return router


def _page_to_add(desk: LogInDesk) -> APIRouter:
    router = doors("/contacts", include_in_schema=False)

    @router.post("")
    @_comes_back(desk, "/contacts")
    def add(
        request: Request,
        party: Party,
        kind: Annotated[ContactKind, Form()],
        value: Annotated[str, Form(max_length=254)] = "",
        key: Annotated[str | None, Form(alias=FIELD)] = None,
    ) -> Response:
        """Add a contact and have a code sent, or the form again."""
        try:
            answer = _added(desk, request, party, require_key(key), NewContact(kind=kind, value=value or " "))
        except AppError as error:
            if error.status not in _FAULTS:
                raise
            refused = Refused(error, kind, value)
            return contacts_page(desk.context, request, party, verifies(desk.settings), refused)
        return RedirectResponse(f"/contacts/{answer.body['id']}", 303)

    return router


def _pages_of_the_code(desk: LogInDesk) -> APIRouter:
    router = doors("/contacts", include_in_schema=False)
    show = partial(page, desk.context.pages)

    @router.get("/{contact}")
    def ask_for_code_page(
        request: Request, party: Party, contact: UUID, held: UUID | None = None
    ) -> Response:
        """The form for the code, and what was typed before the session ended."""
        kept = filled_in(desk.context.service, party, held)
        typed = kept.fields.get("code", "") if kept else ""
        values = {**_code_values(desk, party, contact), "typed": typed, "held": kept is not None}
        return show(request, "contact_code.html", {**values, "problem": None})

    @router.post("/{contact}/code")
    # There stands a button for it whether a code was sent before or not.
    @_comes_back(desk, "/contacts")
    def send_code(
        request: Request, party: Party, contact: UUID, key: Annotated[str | None, Form(alias=FIELD)] = None
    ) -> Response:
        """Another code."""
        try:
            _sent_again(desk, request, party, require_key(key), contact)
        except AppError as error:
            if error.status not in _FAULTS:
                raise
            return _again(request, party, contact, error)
        return RedirectResponse(f"/contacts/{contact}", 303)

    @router.post("/{contact}/verification")
    @_comes_back(desk, "/contacts/{contact}")
    def verify(
        request: Request, party: Party, contact: UUID, code: Annotated[str, Form(max_length=40)] = ""
    ) -> Response:
        """Verified, or the form again."""
        try:
            _verified(desk, party, contact, code)
        except (CodeWrong, CodeOver) as error:
            return _again(request, party, contact, error)
        return RedirectResponse("/contacts", 303)

    def _again(request: Request, party: Principal, contact: UUID, error: AppError) -> Response:
        problem = problem_of(request, error)
        values = {**_code_values(desk, party, contact), "typed": "", "held": False, "problem": problem}
        back = f"/contacts/{contact}"
        return show(request, "contact_code.html", values, status=error.status, back=back)

    return router


def _comes_back(desk: LogInDesk, where: str) -> Callable[[Endpoint], Endpoint]:
    """The form stands on this page, where it is filled in again after its session has ended."""
    service = desk.context.service
    return comes_back(service, where, secure=service.settings.web.cookie_secure)


def _added(desk: LogInDesk, request: Request, party: Principal, key: str, body: NewContact) -> StoredResponse:
    """Once for each key. Raises ContactWrong, KindNotVerified, TooManyContacts, TooManyCodes,
    PeerUnavailable."""
    assert party.party is not None
    person = party.party
    value = clean_contact(body.kind, body.value)
    if isinstance(value, FieldError):
        raise ContactWrong(fields=[value])
    if body.kind not in sendable(desk.context, verifies(desk.settings)):
        raise KindNotVerified
    with unit_of(desk.context.service, "contact.add") as unit:

        def make() -> tuple[int, dict[str, Any]]:
            note_operator(unit, party)
            point = contacts.add_contact(unit, person, body.kind, value)
            code = ask_for_code(unit, point, _network_of(request))
            return 201, {"id": str(point.id), "kind": point.kind, "code_id": str(code)}

        # Who reads a fingerprint must not find the number by trying all there are.
        said = unit.context.vault.lookups(value, kind=LOOKUP)[0]
        answer = answer_once(unit, party.scope, key, fingerprint("POST", _ROUTE, said), make)
    return _handed_over(desk, request, answer)


def _sent_again(
    desk: LogInDesk, request: Request, party: Principal, key: str, contact: UUID
) -> StoredResponse:
    """Once for each key. Raises ContactNotFound, KindNotVerified, TooManyCodes."""
    assert party.party is not None
    kinds = sendable(desk.context, verifies(desk.settings))
    with unit_of(desk.context.service, "contact.code") as unit:
        point = own_point(unit, party.party, contact)
        if ContactKind(point.kind) not in kinds:
            raise KindNotVerified

        def make() -> tuple[int, dict[str, Any]]:
            code = ask_for_code(unit, point, _network_of(request))
            return 202, {"id": str(point.id), "kind": point.kind, "code_id": str(code)}

        route = f"{_ROUTE}/{contact}/code"
        answer = answer_once(unit, party.scope, key, fingerprint("POST", route, b""), make)
    return _handed_over(desk, request, answer)


def _handed_over(desk: LogInDesk, request: Request, answer: StoredResponse) -> StoredResponse:
    """Tell notify to send the code, after all is committed. The same code is sent once, however often told.

    Raises PeerUnavailable.
    """
    told = {name: answer.body[name] for name in ("code_id", "kind")}
    desk.context.service.asker.ask("notify", "send_code", {**told, "locale": locale_of(request).value})
    return StoredResponse(answer.status, {name: answer.body[name] for name in ("id", "kind")})


def _verified(desk: LogInDesk, party: Principal, contact: UUID, typed: str) -> Contact:
    """Raises ContactNotFound, CodeWrong, CodeOver."""
    assert party.party is not None
    with unit_of(desk.context.service, "contact.verify") as unit:
        point = own_point(unit, party.party, contact)
        note_operator(unit, party)
        tried = try_code(unit, point, typed)
        shown = contact_of(unit, point, used=tried is Tried.RIGHT)
    # After the try was committed, not inside its transaction.
    match tried:
        case Tried.WRONG:
            wrong = FieldError(
                "/code", "code.wrong", "验证码不正确，请核对。", "Check the code, digit by digit."
            )
            raise CodeWrong(fields=[wrong])
        case Tried.OVER:
            raise CodeOver
        case Tried.RIGHT:
            return shown


def _code_values(desk: LogInDesk, party: Principal, contact: UUID) -> dict[str, Any]:
    assert party.party is not None
    with unit_of(desk.context.service, "contact.look") as unit:
        shown = contact_of(unit, own_point(unit, party.party, contact, lock=False))
    return {"contact": shown, "digits": DIGITS, "minutes": int(LIVES.total_seconds() // 60)}


def _network_of(request: Request) -> str:
    return network_of(request.client.host if request.client else "")
